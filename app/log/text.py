"""Lines as text to be kept: with or without times and colours, all of them or those that a query wants."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from app.errors import Invalid
from app.log import ansi
from app.log.levels import Classifier
from app.log.lines import Line
from app.log.query import Matcher, Query
from procdeck.log import Chunk, parse

LONGEST_KEPT = 16 * 1024 * 1024
"""Characters of a line that are held until its end comes; of a longer one they are written as one, and it goes on."""

Stamp = Callable[[str], str]
"""Makes of the time of a record what stands in front of its line."""


def no_stamp(_: str) -> str:
    """No time."""
    return ""


def zone_of(name: str, offset: str = "") -> tzinfo:
    """``UTC``, ``server``, or a name such as Europe/Berlin. Where this host does not know the name, ``offset`` minutes
    east of UTC. Raises Invalid."""
    if name in ("", "UTC"):
        return UTC
    if name == "server":
        found = datetime.now(UTC).astimezone().tzinfo
        return found or UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        digits = offset.removeprefix("-")
        if digits.isascii() and digits.isdigit() and int(digits[:6]) < 24 * 60:
            return timezone(timedelta(minutes=int(offset)))
        message = "must be UTC, server, or a name such as Europe/Berlin"
        raise Invalid(f"The time zone {message}.", errors=[{"field": "zone", "message": message}]) from error


def clock_stamp(zone: tzinfo) -> Stamp:
    """Date, time and offset in a zone; ``server`` follows its changes to summer time and back."""

    def stamp(time: str) -> str:
        try:
            moment = datetime.fromisoformat(time)
        except ValueError:
            return f"{time} "
        return moment.astimezone(zone).isoformat(" ", "milliseconds") + " "

    return stamp


def since_stamp(start: datetime) -> Stamp:
    """The time since ``start``, as hours, minutes and seconds."""

    def stamp(time: str) -> str:
        try:
            seconds = (datetime.fromisoformat(time) - start).total_seconds()
        except ValueError:
            return f"{time} "
        sign, seconds = ("-" if seconds < 0 else "+"), abs(seconds)
        return f"{sign}{int(seconds // 3600):02}:{int(seconds // 60 % 60):02}:{seconds % 60:06.3f} "

    return stamp


@dataclass(slots=True)
class _Open:
    time: str
    offset: int
    pieces: list[str]
    size: int = 0


class Writer:
    """Makes text of chunks, in the order of the log."""

    def __init__(self, query: Query, stamp: Stamp = no_stamp, *, with_colours: bool = False) -> None:
        self._query = query
        self._stamp = stamp
        self._with_colours = with_colours
        self._open: dict[str, _Open] = {}
        self._classifier = Classifier()

    def feed(self, chunk: Chunk, seconds: float = 2.0) -> bytes:
        """The text of the lines that end in a chunk. Raises `app.log.query.TooSlow`."""
        matcher = Matcher(self._query, seconds)
        written: list[str] = []
        for record in parse(chunk):
            held = self._open.pop(record.stream, None)
            if held is None:
                held = _Open(record.time, record.offset, [])
            held.pieces.append(record.text)
            held.size += len(record.text)
            if record.partial and held.size < LONGEST_KEPT:
                self._open[record.stream] = held
            else:
                written.append(self._line(held, record.stream, matcher))
        return "".join(written).encode(errors="backslashreplace")

    def end(self, seconds: float = 2.0) -> bytes:
        """What is unfinished at the end of the log."""
        matcher = Matcher(self._query, seconds)
        rest = [self._line(held, stream, matcher) for stream, held in self._open.items()]
        self._open.clear()
        return "".join(rest).encode(errors="backslashreplace")

    def _line(self, held: _Open, stream: str, matcher: Matcher) -> str:
        raw = "".join(held.pieces)
        if not self._query.is_all:
            line = Line(held.offset, held.offset, held.time, stream, raw)
            if self._query.level is not None:
                line.level, _ = self._classifier.feed(stream, line.text)
            if not matcher.wants(line):
                return ""
        text = raw if self._with_colours else ansi.last_part(ansi.ESCAPES.sub("", raw))
        return f"{self._stamp(held.time)}{text}\n"
