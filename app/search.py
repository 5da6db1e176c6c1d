"""The language in which processes are searched: words, and qualifiers such as ``target:resize`` or ``-state:running``.

Parts are separated by spaces, and all must hold; several of one qualifier that a process has once (``state:``,
``target:``, ``exit:`` …) are alternatives. A leading ``-`` excludes. Quotes keep spaces together and take everything
for itself: ``"a b"``, ``-"a b"``, ``target:"a b"``, ``arg:title="a \\"b\\""``. Pure; `app.db.store` looks for what is
meant.
"""

import re
import signal as signals
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import NoReturn

from app.errors import FieldError, Invalid
from procdeck.states import Outcome, State

MAX_SEARCH = 1000
"""Characters of a search."""
MAX_PARTS = 30

WORD = "word"
"""The kind of a part without a qualifier."""

QUALIFIERS: Mapping[str, str] = {
    "target": "The target: its whole name, what follows the colon in it, or a beginning: `target:resize`,"
    " `target:images:*`.",
    "state": "A state, or an outcome: `state:running`, `state:failed`.",
    "outcome": "How it ended: `outcome:timed_out`.",
    "exit": "The exit code: `exit:1`, `exit:-9`, `exit:SIGKILL`, `exit:>0`.",
    "arg": "Text in the arguments, or the value of one by its name or place: `arg:cat.png`, `arg:lr=0.1`,"
    " `arg:0=fast`.",
    "label": "A label, with any value or this one: `label:team`, `label:team=vision`.",
    "name": "The name, or its beginning: `name:nightly`, `name:train-*`.",
    "by": "Who asked for it: `by:cli`.",
    "created": "Recorded within this time: `created:30m`.",
    "started": "Started within this time: `started:24h`.",
    "ended": "Ended within this time: `ended:7d`.",
    "is": "`is:alive`, `is:active` (alive, or waiting to be started), `is:over`, `is:daemon`, `is:relaunch`.",
}
"""What may stand before a colon, and an explanation of each, with examples between backticks."""

CONDITIONS = ("alive", "active", "over", "daemon", "relaunch")
"""What `is:` knows."""

_KEYED = frozenset({"arg", "label"})
_PREFIXED = frozenset({"target", "name", "by", "arg"})
"""Whose values may be beginnings, with a ``*`` at their end."""
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LONGEST = timedelta(days=3660)
_LARGEST_CODE = 2**31 - 1

_QUALIFIED = re.compile(r"([A-Za-z_]+):")
_COMPARED = re.compile(r"(>=|<=|>|<|)(-?[0-9]{1,10})")
_WITHIN = re.compile(r"([0-9]{1,9})([smhdw])")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Part:
    """One condition. ``kind`` is `WORD` or a qualifier; ``key`` is the name before ``=`` of `arg` and `label`;
    ``value`` is None for a label with any value. ``is_prefix``: the value is a beginning."""

    kind: str
    value: str | None
    key: str | None = None
    excluded: bool = False
    is_prefix: bool = False

    @property
    def text(self) -> str:
        """The part as it is typed."""
        minus = "-" if self.excluded else ""
        if self.kind == WORD:
            return minus + _word(self.value or "")
        key = "" if self.key is None else _bare_or_quoted(self.key, "=")
        equals = "=" if self.key is not None and self.value is not None else ""
        # Without a key of its own, what looks like one is text.
        stops = "=" if self.kind in _KEYED and self.key is None else ""
        value = "" if self.value is None else _value(self, stops)
        return f"{minus}{self.kind}:{key}{equals}{value}"

    @property
    def within(self) -> timedelta:
        """The time of `created`, `started` and `ended`."""
        found = _WITHIN.fullmatch(self.value or "")
        assert found is not None
        return timedelta(**{_UNITS[found[2]]: int(found[1])})

    @property
    def comparison(self) -> tuple[str, int]:
        """(``=``, ``<``, ``<=``, ``>`` or ``>=``, the code) of `exit`."""
        found = _COMPARED.fullmatch(self.value or "")
        assert found is not None
        return found[1] or "=", int(found[2])

    @property
    def number(self) -> int | None:
        """The number of a process that a word may mean: ``12`` and ``#12``."""
        digits = (self.value or "").removeprefix("#")
        is_number = self.kind == WORD and digits.isascii() and digits.isdigit() and len(digits) <= 18
        return int(digits) if is_number else None

    @property
    def id(self) -> str | None:
        """The id of a process that a word may mean."""
        text = self.value or ""
        try:
            return str(uuid.UUID(text)) if self.kind == WORD and len(text) == 36 else None
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched for: all ``parts`` hold. The empty one finds everything."""

    parts: tuple[Part, ...] = ()

    @property
    def text(self) -> str:
        """The search as it is typed; `parse` of it is this search."""
        return " ".join(part.text for part in self.parts)

    def of(self, kind: str, *, excluded: bool = False) -> tuple[Part, ...]:
        """The parts of one kind."""
        return tuple(part for part in self.parts if part.kind == kind and part.excluded == excluded)

    def minus(self, part: Part) -> "Search":
        """This search without ``part``."""
        return replace(self, parts=tuple(other for other in self.parts if other != part))

    def plus(self, kind: str, value: str, *, key: str | None = None, excluded: bool = False) -> "Search":
        """This search with one more condition, its value taken as it is. Raises `app.errors.Invalid`."""
        check = _CHECKS.get(kind)
        part = Part(kind, check(value) if check else value, key, excluded)
        return _checked(Search(tuple(dict.fromkeys((*self.parts, part)))))


EVERYTHING = Search()


def words(text: str) -> Search:
    """The search for plain words, with nothing special about any of them. Raises `app.errors.Invalid`."""
    return _checked(Search(tuple(dict.fromkeys(Part(WORD, word) for word in _clean(text).split()))))


def parse(text: str) -> Search:
    """The search that ``text`` asks for.

    Raises `app.errors.Invalid` with the field ``search`` and a sentence that names the part that is wrong.
    """
    if len(text) > MAX_SEARCH:
        _refuse(f"A search must have at most {MAX_SEARCH} characters.")
    reader = _Reader(_clean(text))
    found: dict[Part, None] = {}  # keeps the order, and each only once
    while not reader.at_end():
        part = reader.part()
        if part is not None:
            found[part] = None
    return _checked(Search(tuple(found)))


def _clean(text: str) -> str:
    """As the store keeps text: no NUL, and no half of a surrogate pair."""
    return _UNSTORABLE.sub("\ufffd", text)


def _checked(search: Search) -> Search:
    if len(search.parts) > MAX_PARTS:
        _refuse(f"A search must have at most {MAX_PARTS} parts.")
    if len(search.text) > MAX_SEARCH:
        _refuse(f"A search must have at most {MAX_SEARCH} characters.")
    return search


def _refuse(message: str) -> NoReturn:
    raise Invalid(message, errors=[FieldError(field="search", message=message)])


# --- reading -----------------------------------------------------------------------------------------------------


class _Reader:
    """Takes one part after the other from a text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def at_end(self) -> bool:
        """Whether nothing but spaces is left."""
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1
        return self._at == len(self._text)

    def part(self) -> Part | None:
        """The next part; None for one that says nothing."""
        begin = self._at
        excluded = self._peek() == "-" and not self._ends(self._at + 1)
        if excluded:
            self._at += 1
        qualified = _QUALIFIED.match(self._text, self._at)
        if qualified is None:
            value, _ = self._take()
            self._expect_end(begin)
            return Part(WORD, value, excluded=excluded) if value else None
        kind = qualified[1].lower()
        self._at = qualified.end()
        if kind not in QUALIFIERS:
            self._refuse_qualifier(begin, kind)
        part = self._qualified(kind, excluded)
        self._expect_end(begin)
        if part.value == "" and part.key is None and not part.is_prefix:
            _refuse(f"Something must follow “{self._since(begin)}”: {_plain(QUALIFIERS[kind])}")
        if part.value is not None and kind in _CHECKS:
            part = replace(part, value=_CHECKS[kind](part.value))
        return part

    def _qualified(self, kind: str, excluded: bool) -> Part:
        key = None
        value, is_quoted = self._take("=" if kind in _KEYED else "")
        if kind in _KEYED and self._peek() == "=":
            if not value:
                _refuse(f"The name before “=” is missing in “{_short(kind + ':' + self._rest())}”.")
            self._at += 1
            key = value
            value, is_quoted = self._take()
        elif kind == "label" and value:
            return Part(kind, None, value, excluded)
        is_prefix = kind in _PREFIXED and not is_quoted and value.endswith("*") and (kind != "arg" or key is not None)
        return Part(kind, value.removesuffix("*") if is_prefix else value, key, excluded, is_prefix)

    def _take(self, stop: str = "") -> tuple[str, bool]:
        """What is quoted here, or goes on to the next space or ``stop``; and whether it was quoted."""
        if self._peek() == '"':
            return self._take_quoted(), True
        begin = self._at
        while not self._ends(self._at) and (not stop or self._text[self._at] != stop):
            self._at += 1
        return self._text[begin : self._at], False

    def _take_quoted(self) -> str:
        begin = self._at
        taken: list[str] = []
        self._at += 1
        while self._peek() not in ('"', ""):
            if self._text[self._at : self._at + 2] in ('\\"', "\\\\"):
                self._at += 1
            taken.append(self._text[self._at])
            self._at += 1
        if not self._peek():
            _refuse(f"The quote is not closed: {_short(self._text[begin:])}")
        self._at += 1
        return "".join(taken)

    def _expect_end(self, begin: int) -> None:
        if not self._ends(self._at):
            _refuse(f"A space is missing after the quote in “{_short(self._since(begin) + self._rest())}”.")

    def _refuse_qualifier(self, begin: int, kind: str) -> NoReturn:
        self._take()
        whole = _short(self._since(begin))
        known = ", ".join(f"{name}:" for name in QUALIFIERS)
        _refuse(
            f"“{_short(kind)}:” in “{whole}” is unknown. Known are {known}. In quotes it is looked for as it stands."
        )

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _ends(self, at: int) -> bool:
        return at >= len(self._text) or self._text[at].isspace()

    def _since(self, begin: int) -> str:
        return self._text[begin : self._at]

    def _rest(self) -> str:
        begin = end = self._at
        while not self._ends(end):
            end += 1
        return self._text[begin:end]


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"


def _plain(explanation: str) -> str:
    return explanation.replace("`", "")


# --- writing -----------------------------------------------------------------------------------------------------


def _word(text: str) -> str:
    is_plain = not text.startswith(("-", '"')) and _QUALIFIED.match(text) is None
    return text if is_plain and _is_bare(text) else _quoted(text)


def _value(part: Part, stops: str) -> str:
    value = part.value or ""
    if part.is_prefix:
        return f"{value}*"  # such a value is never quoted
    looks_like_prefix = part.kind in _PREFIXED and value.endswith("*") and (part.kind != "arg" or part.key is not None)
    return _quoted(value) if looks_like_prefix else _bare_or_quoted(value, stops)


def _bare_or_quoted(text: str, stops: str = "") -> str:
    is_bare = _is_bare(text) and not text.startswith('"') and not any(stop in text for stop in stops)
    # Nothing at all needs no quotes: it can only follow the = of a key.
    return text if is_bare or not text else _quoted(text)


def _is_bare(text: str) -> bool:
    return bool(text) and not any(map(str.isspace, text))


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


# --- values ------------------------------------------------------------------------------------------------------

_OUTCOMES = tuple(map(str, Outcome))
_STATES = tuple(dict.fromkeys([*map(str, State), *_OUTCOMES]))


def _one_of(kind: str, known: tuple[str, ...]) -> Callable[[str], str]:
    def check(value: str) -> str:
        word = value.lower().replace("-", "_")
        if word not in known:
            _refuse(f"“{kind}:{_short(value)}” is unknown; it can be {', '.join(known)}.")
        return word

    return check


def _exit_code(value: str) -> str:
    name = value.upper()
    try:
        return str(-signals.Signals[name if name.startswith("SIG") else f"SIG{name}"])
    except KeyError:
        pass
    found = _COMPARED.fullmatch(value)
    if found is None or abs(int(found[2])) > _LARGEST_CODE:
        _refuse(f"“exit:{_short(value)}” is no exit code; it can be 1, -9, SIGKILL, >0, <0 and the like.")
    return f"{found[1]}{int(found[2])}"


def _time(kind: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        found = _WITHIN.fullmatch(value.lower())
        within = timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else timedelta()
        if found is None or not timedelta() < within <= _LONGEST:
            _refuse(f"“{kind}:{_short(value)}” is no time; it can be 90s, 30m, 24h, 7d or 2w, up to ten years.")
        return f"{int(found[1])}{found[2]}"

    return check


_CHECKS: Mapping[str, Callable[[str], str]] = {
    "state": _one_of("state", _STATES),
    "outcome": _one_of("outcome", _OUTCOMES),
    "is": _one_of("is", CONDITIONS),
    "exit": _exit_code,
    **{kind: _time(kind) for kind in ("created", "started", "ended")},
}
"""What the values of these may be, and how they are written."""
