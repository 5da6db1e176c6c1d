"""The timeline: from processes and a range of time to rows, bars and ticks. Pure.

All places are percent of the width, so that one drawing fits every screen.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from app.errors import FieldError, Invalid

RANGES: Mapping[str, timedelta] = {
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
}
"""Ranges that end now, by their names in the address."""
DEFAULT = "24h"
SHORTEST, LONGEST = timedelta(minutes=1), timedelta(days=366)
AHEAD = 0.02
"""Part of a range that ends now which is left free behind now, so that the line of it is seen."""
THINNEST = 1.0
"""Percent that a bar takes at least: else what took a second would not be seen in a week."""
MAX_ROWS = 60
MAX_TICKS = 8
WIDEST_HEAP = 3.0
"""Percent after which a bar of processes that only come too close, and did not run at the same time, ends: a busy row
would be one long bar else."""
GAP = 0.15
HEIGHT, THINNEST_PART = 18.0, 3.0
"""Height of a bar, and at least of each of its parts, in pixels."""


@dataclass(frozen=True, slots=True)
class Range:
    """A range of time; ``name`` is the one of `RANGES` it is, empty for any other."""

    begin: datetime
    end: datetime
    name: str = ""

    @property
    def length(self) -> timedelta:
        """From begin to end."""
        return self.end - self.begin

    def place(self, at: datetime) -> float:
        """Where a time is, in percent; outside of the range below 0 or above 100."""
        return (at - self.begin) / self.length * 100

    def moved(self, parts: float) -> "Range":
        """The range so many lengths later, or earlier."""
        return Range(self.begin + parts * self.length, self.end + parts * self.length)

    def zoomed(self, factor: float) -> "Range":
        """A range of another length around the same middle, as far as `SHORTEST` and `LONGEST` allow."""
        length = min(max(self.length * factor, SHORTEST), LONGEST)
        middle = self.begin + self.length / 2
        return Range(middle - length / 2, middle + length / 2)


def range_of(name: str, begin: str, end: str, now: datetime) -> Range:
    """The range that an address asks for: a name, or two times in ISO 8601 (without a zone: UTC). Raises Invalid."""
    if begin or end:
        start = _time("from", begin) if begin else None
        stop = _time("to", end) if end else now
        start = start or stop - RANGES[DEFAULT]
        if not SHORTEST <= stop - start <= LONGEST:
            _refuse("to", f"must be from one minute to {LONGEST.days} days after from")
        return Range(start, stop)
    if name and name not in RANGES:
        _refuse("range", f"must be one of {', '.join(RANGES)}")
    length = RANGES[name or DEFAULT]
    return Range(now - length, now + AHEAD * length, name or DEFAULT)


def _time(field_name: str, text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        _refuse(field_name, "must be a time, such as 2026-11-22T14:00")
    if not 1971 <= at.year <= 9000:
        _refuse(field_name, "must be a time from 1971 to 9000")
    return at


def _refuse(field_name: str, message: str) -> NoReturn:
    raise Invalid(f"{field_name} {message}.", errors=[FieldError(field=field_name, message=message)])


@dataclass(frozen=True, slots=True)
class Span:
    """A process and when it ran; ``end`` is None while it does. ``status`` is its outcome, or its state until then."""

    id: str
    name: str
    target: str
    begin: datetime
    end: datetime | None
    status: str


@dataclass(slots=True)
class Bar:
    """A process, or several of a row that would be drawn over each other. ``begin`` and ``end`` are those of all of
    them; ``is_open``: one still runs."""

    x: float
    width: float
    spans: list[Span] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many processes it stands for."""
        return len(self.spans)

    @property
    def begin(self) -> datetime:
        """When the first began."""
        return min(span.begin for span in self.spans)

    def end(self, now: datetime) -> datetime:
        """When the last ended, or now."""
        return max(span.end or max(now, span.begin) for span in self.spans)

    @property
    def is_open(self) -> bool:
        """Whether one of them still runs."""
        return any(span.end is None for span in self.spans)

    @property
    def statuses(self) -> list[tuple[str, int]]:
        """How many there are of each status, those that need a look first."""
        counts = Counter(span.status for span in self.spans)
        return sorted(counts.items(), key=lambda item: (_RANK.get(item[0], len(_RANK)), item[0]))

    def parts(self) -> list[tuple[str, float, float]]:
        """(status, y, height) of each status in the bar, from the top down: each so much that it is seen, and the rest
        by its share."""
        statuses = self.statuses
        least = min(THINNEST_PART, HEIGHT / len(statuses))
        share = (HEIGHT - least * len(statuses)) / self.count
        y, found = 0.0, []
        for status, count in statuses:
            height = least + share * count
            found.append((status, y, height))
            y += height
        return found


_RANK = {
    status: rank
    for rank, status in enumerate(
        ("crashed", "failed", "lost", "timed_out", "not_started", "stopping", "running", "starting", "stopped")
    )
}


@dataclass(slots=True)
class Row:
    """A line of the chart. ``key`` is a target or the id of a process."""

    key: str
    name: str
    spans: list[Span] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)

    @property
    def newest(self) -> datetime:
        """When the last of its processes began."""
        return max(span.begin for span in self.spans)

    @property
    def statuses(self) -> list[tuple[str, int]]:
        """How many there are of each status."""
        return Bar(0, 0, self.spans).statuses


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of the axis. Where there is little room the minor ones are left out. One on each side may be outside: a
    browser in another zone than UTC moves them all to even times of its own."""

    x: float
    at: datetime
    text: str
    is_minor: bool

    @property
    def is_outside(self) -> bool:
        """Whether it is not to be seen."""
        return not 0 <= self.x <= 100


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn; ``left_out`` rows had no room, ``step`` are the seconds between two ticks, ``now`` is None when it
    is not in the range."""

    rows: list[Row]
    left_out: int
    ticks: list[Tick]
    step: int
    now: float | None


def chart(spans: Iterable[Span], within: Range, now: datetime, *, by_process: bool, most: int = MAX_ROWS) -> Chart:
    """Rows by target or by process, the one with the newest start first."""
    rows: dict[str, Row] = {}
    for span in spans:
        key, name = (span.id, span.name) if by_process else (span.target, span.target)
        rows.setdefault(key, Row(key, name)).spans.append(span)
    ordered = sorted(rows.values(), key=lambda row: (row.newest, row.key), reverse=True)
    shown = ordered[:most]
    for row in shown:
        row.spans.sort(key=lambda span: (span.begin, span.id))
        row.bars = bars(row.spans, within, now)
    place = within.place(now)
    return Chart(shown, len(ordered) - len(shown), *ticks(within), place if 0 <= place <= 100 else None)


def bars(spans: Sequence[Span], within: Range, now: datetime) -> list[Bar]:
    """The bars of spans in the order of their begin: what would be drawn over each other is one."""
    found: list[Bar] = []
    ran_until = 0.0  # where the processes of the last bar really ended; it may be drawn wider
    for span in spans:
        begin = min(max(within.place(span.begin), 0.0), 100.0 - THINNEST)
        end = min(within.place(span.end or max(now, span.begin)), 100.0)
        drawn_end = max(end, begin + THINNEST)
        last = found[-1] if found else Bar(-1, 0)
        is_over = begin >= last.x + last.width
        if not is_over and begin >= max(ran_until, last.x + WIDEST_HEAP):
            last.width = begin - last.x - GAP
            is_over = True
        if is_over:
            found.append(Bar(begin, drawn_end - begin, [span]))
            ran_until = end
        else:
            last.width = max(last.x + last.width, drawn_end) - last.x
            last.spans.append(span)
            ran_until = max(ran_until, end)
    return found


# --- the axis -----------------------------------------------------------------------------------------------------

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_STEPS = (
    *(5, 10, 15, 30),
    *(_MINUTE * count for count in (1, 2, 5, 10, 15, 30)),
    *(_HOUR * count for count in (1, 2, 3, 6, 12)),
    *(_DAY * count for count in (1, 2, 5, 10, 15, 30, 61)),
)


def ticks(within: Range, most: int = MAX_TICKS) -> tuple[list[Tick], int]:
    """The marks of the axis, at even times of UTC, and the seconds between two of them."""
    seconds = within.length.total_seconds()
    step = next((step for step in _STEPS if seconds / step <= most), _STEPS[-1])
    first = int(within.begin.timestamp()) // step * step
    text = _texts(step)
    times = [datetime.fromtimestamp(at, UTC) for at in range(first, int(within.end.timestamp()) + step, step)]
    marks = [Tick(within.place(at), at, text(at), is_minor=number % 2 == 0) for number, at in enumerate(times)]
    return marks, step


def _texts(step: int) -> Callable[[datetime], str]:
    def text(at: datetime) -> str:
        if step >= _DAY or (at.hour, at.minute, at.second) == (0, 0, 0):
            return f"{at.day} {at:%b}"
        return f"{at:%H:%M}" if step >= _MINUTE else f"{at:%H:%M:%S}"

    return text


def told_range(within: Range) -> dict[str, Any]:
    """The times of a range as an address has them."""
    return {"from": stamp(within.begin), "to": stamp(within.end)}


def stamp(at: datetime) -> str:
    """A time as an address has it, to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
