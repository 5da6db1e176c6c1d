"""Pieces of a log by what an address or a request asks for: a place, how many lines, and which."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from app.errors import Invalid
from app.log import moments, text, window
from app.log.find import last_traceback
from app.log.lines import line_start
from app.log.numbering import Numbering
from app.log.query import Query, TooSlow
from app.log.source import LOOK_BACK, Source, extent, read_range
from app.log.window import Window
from procdeck.log import parse

numbering = Numbering()
"""Of all logs: what was counted once holds for every reader."""

LINES = 500
"""Lines of a piece, unless another number is asked for."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the log: the kind of place, and which one. `target` is the offset of the line that was asked for."""

    kind: Literal["tail", "before", "after", "around", "start"]
    offset: int = 0
    target: int | None = None


def number(given: Mapping[str, str], name: str, most: int = 2**63 - 1) -> int | None:
    """A parameter that is a whole number; None when it is not given. Raises Invalid."""
    typed = given.get(name, "").strip()
    if not typed:
        return None
    if not (typed.isascii() and typed.isdigit() and len(typed) < 20 and int(typed) <= most):
        message = (
            f"must be a whole number from 0 to {most}" if most < 2**63 - 1 else "must be a whole number, 0 or more"
        )
        raise Invalid(f"{name.capitalize()} {message}.", errors=[{"field": name, "message": message}])
    return int(typed)


def _place(source: Source, given: Mapping[str, str]) -> Place:
    """Read the parameters ``before after at line time``. Blocks. Raises Invalid."""
    at = given.get("at", "").strip()
    if at == "start":
        return Place("start")
    if at == "end":
        return Place("tail")
    if at == "traceback":
        found = last_traceback(source)
        return Place("tail") if found is None else Place("around", found, found)
    if (offset := number(given, "at")) is not None:
        start = line_start(source, offset)
        return Place("around", start, start)
    if (offset := number(given, "before")) is not None:
        return Place("before", offset)
    if (offset := number(given, "after")) is not None:
        return Place("after", offset)
    if (line := number({"line": given.get("line", "").replace(",", "")}, "line")) is not None:
        offset = numbering.offset_of(source, line)
        return Place("around", offset, offset)
    if given.get("time", "").strip():
        zone = text.zone_of(given.get("zone", "UTC"), given.get("offset", ""))
        moment = moments.read_moment(given["time"], _last_moment(source).astimezone(zone))
        offset = moments.offset_at(source, moment)
        return Place("around", offset, offset)
    return Place("tail")


def _last_moment(source: Source) -> datetime:
    """When the last record was written: a time of day is one of that day."""
    oldest, end = extent(source)
    records = list(parse(read_range(source, max(oldest, end - LOOK_BACK), end)))
    return (moments.of(records[-1].time) if records else None) or datetime.now(UTC)


def _window(source: Source, place: Place, count: int, query: Query) -> Window:
    """Blocks. Raises TooSlow."""
    match place.kind:
        case "before":
            return window.earlier(source, place.offset, count, query, numbering)
        case "after":
            return window.later(source, place.offset, count, query, numbering)
        case "around":
            return window.around(source, place.offset, count, query, numbering)
        case "start":
            return window.later(source, 0, count, query, numbering)
        case "tail":
            return window.tail(source, count, query, numbering)


def piece(source: Source, given: Mapping[str, str]) -> tuple[Place, Window]:
    """The piece that the parameters ``before after at line time count`` and those of `Query` ask for; its end without
    any. Blocks. Raises Invalid."""
    count = number(given, "count", window.MOST)
    place = _place(source, given)
    try:
        return place, _window(source, place, LINES if count is None else count, Query.of(given))
    except TooSlow:
        raise too_slow() from None


def too_slow() -> Invalid:
    """Said of an expression that took too long."""
    message = "takes too long on the lines of this log; a simpler one may do"
    return Invalid(f"The expression {message}.", errors=[{"field": "q", "message": message}])
