"""How grave a line is, guessed from what it says; and which lines belong to the one before them."""

import re
from dataclasses import dataclass, field
from enum import IntEnum


class Level(IntEnum):
    """In the order of how grave they are; a line that names none counts as `INFO` where some are left out."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


NAMES = {"debug": Level.DEBUG, "info": Level.INFO, "warning": Level.WARNING, "error": Level.ERROR}
_WORDS = {
    **dict.fromkeys(("trace", "debug", "finest", "finer", "fine", "verbose"), Level.DEBUG),
    **dict.fromkeys(("info", "notice", "information", "success"), Level.INFO),
    **dict.fromkeys(("warn", "warning"), Level.WARNING),
    **dict.fromkeys(
        ("err", "error", "severe", "critical", "crit", "fatal", "alert", "emerg", "emergency", "panic", "exception"),
        Level.ERROR,
    ),
}
_LOOK_AT = 160
_MESSAGE_LINES = 50
"""Lines that a message may have behind the line that names the exception."""
_LOOK_AT_JSON = 4000

_UPPER = "TRACE|DEBUG|INFO|NOTICE|SUCCESS|WARN|WARNING|ERROR|SEVERE|CRITICAL|CRIT|FATAL|ALERT|EMERG|PANIC"
# A word in capitals is a level when it stands as one does: at the start, behind a bracket, a bar, a dash, a colon or a
# time; or in front of one of these.
_NAMED = re.compile(
    rf"(?:(?:^|[\[(<|:\-\]\dZ>])\s*(?P<a>{_UPPER})(?![A-Za-z0-9_]))"
    rf"|(?:(?<![A-Za-z0-9_])(?P<b>{_UPPER})(?=\s*[\]:|/)>]|\s+-\s|\s{{2,}}|\t))"
)
_LOWER = re.compile(
    r"(?:\[|\blevel=\"?|\blvl=\"?|\bseverity=\"?|^<\w+>\s*)\s*(?P<a>trace|debug|info|notice|warn|warning|err|error|critical|crit|fatal|panic)\b"
    r"|^(?P<b>debug|info|warning|error|fatal|critical|panic)(?:\[\w+\])?:",
    re.IGNORECASE,
)
_JSON = re.compile(
    r'"(?:level|levelname|log\.level|severity|lvl|level_name)"\s*:\s*(?:"(?P<word>\w+)"|(?P<number>\d{1,5}))'
)
_STAMPED = re.compile(r"[\[(<]?\d{2,4}[-/:.]\d\d[-/:.]\d\d")
"""How the next line of a log begins, rather than the message of an exception."""
_GLOG = re.compile(r"^([DIWEF])\d{4} \d\d:\d\d:\d\d")
_LETTERS = {"D": Level.DEBUG, "I": Level.INFO, "W": Level.WARNING, "E": Level.ERROR, "F": Level.ERROR}

TRACEBACK = "Traceback (most recent call last)"
_CHAINED = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)


def level_of(text: str) -> Level | None:
    """The level that a line names itself; None when it names none. ``text`` is the line as it is shown."""
    if text[:1] == "{":
        return _json_level(text[:_LOOK_AT_JSON])
    head = text[:_LOOK_AT]
    if (match := _NAMED.search(head)) or (match := _LOWER.search(head)):
        return _WORDS[(match["a"] or match["b"]).lower()]
    if match := _GLOG.match(head):
        return _LETTERS[match[1]]
    return None


def _json_level(text: str) -> Level | None:
    match = _JSON.search(text)
    if match is None:
        return None
    if match["word"]:
        return _WORDS.get(match["word"].lower())
    number = int(match["number"])  # as Python's logging counts, and pino and bunyan
    return Level(min(40, max(10, number // 10 * 10)))


@dataclass(slots=True)
class _Run:
    """Where one stream is: the level that its next indented lines inherit, and how far a traceback has come."""

    level: Level | None = None
    place: str = ""  # "", "in" a traceback, "after" its last line, "chain" between two
    since: int = 0  # lines since the one that named the exception
    chained: Level | None = None  # the level of a traceback that another may follow from, though lines stand between


@dataclass(slots=True)
class Classifier:
    """Tells levels line by line, in the order of the log; each stream by itself."""

    _runs: dict[str, _Run] = field(default_factory=dict)

    def feed(self, stream: str, text: str) -> tuple[Level | None, bool]:
        """(level, whether the line belongs to the one before it in its stream and can be folded under it)."""
        run = self._runs.get(stream)
        if run is None:
            run = self._runs[stream] = _Run()
        is_indented = text[:1] in (" ", "\t")
        run.since += 1
        if text.startswith(_CHAINED) and run.chained is not None and run.since <= 2 * _MESSAGE_LINES:
            run.level, run.place = run.chained, "chain"
            return run.level, True
        if TRACEBACK in text:
            return self._traceback(run, text)
        if run.place:
            told = self._inside(run, text, is_indented)
            if told is not None:
                return told
        if is_indented and run.level is not None and text.strip():
            own = level_of(text)
            if own is None:
                return run.level, False
            run.level = own
            return own, False
        run.level = level_of(text)
        return run.level, False

    def _traceback(self, run: _Run, text: str) -> tuple[Level, bool]:
        is_start = text.lstrip(" +|").startswith(TRACEBACK)
        # `logger.exception` writes its message, then the traceback; a chain writes one traceback after the other.
        belongs = is_start and (bool(run.place) or (run.level is not None and run.level >= Level.WARNING))
        level = max(run.level or Level.ERROR, Level.WARNING) if belongs else Level.ERROR
        run.level, run.place, run.chained = level, "in", None
        return level, belongs

    def _inside(self, run: _Run, text: str, is_indented: bool) -> tuple[Level | None, bool] | None:
        level = run.level
        if is_indented or (run.place == "in" and not text):
            if run.place == "in":
                return level, True
            if run.place == "after" and run.since <= _MESSAGE_LINES:
                return level, True
        elif run.place == "in":
            run.place, run.since, run.chained = "after", 0, level
            return level, True
        elif run.place == "after" and text and run.since <= _MESSAGE_LINES and _goes_on(text):
            return level, True
        if not text and run.place in ("after", "chain"):
            run.place = "chain"
            return level, True
        run.place = ""
        run.level = None
        return None


def _goes_on(text: str) -> bool:
    """Whether a line behind the one that names an exception is more of its message: it looks like no record of its
    own."""
    return level_of(text) is None and not _STAMPED.match(text)


_HINTS = (
    b"err",
    b"warn",
    b"crit",
    b"fatal",
    b"severe",
    b"alert",
    b"emerg",
    b"panic",
    b"exception",
    b"traceback",
    b'"level',
)
_HINTS_OF_PLACE = (b" F E", b" F W", b" F F", b" F  ", b" F \t", b" F \n")


def may_hold(data: bytes, level: Level) -> bool:
    """Whether some line in these bytes can be as grave as ``level``; quick, and True when in doubt."""
    if level <= Level.INFO:
        return True
    lowered = data.lower()
    # Lines that only inherit a level are indented: what they inherit it from may stand before these bytes.
    return any(hint in lowered for hint in _HINTS) or any(hint in data for hint in _HINTS_OF_PLACE)
