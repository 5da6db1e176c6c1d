"""The timeline: from processes and a range of time to rows, bars and ticks. Pure.

All places are percent of the width, so that one drawing fits every screen.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from app.errors import refuse

RANGES: Mapping[str, timedelta] = {
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
}
"""The usual ranges that end now, by their names in the address."""
DEFAULT = "24h"
SHORTEST, LONGEST = timedelta(minutes=1), timedelta(days=366)
AHEAD = 0.02
"""Part of a range that ends now which is left free behind now, so that the line of it is seen."""
THINNEST = 0.35
"""Percent below which a bar is drawn some pixels wide, towards the left: else what took a second would not be seen in a
week."""
CLOSE = 0.5
"""Percent between two bars of a row: what is closer is one."""
MAX_ROWS = 60
MAX_TICKS = 8
WIDEST_HEAP = 3.0
"""Percent after which a bar of processes that only come too close, and did not run at the same time, ends: a busy row
would be one long bar else. So wide are the bars of what was counted by its time, too."""
GAP = 0.15
HEIGHT, THINNEST_PART = 18.0, 2.0
"""Height of a bar, and at least of each of its parts, in pixels."""


@dataclass(frozen=True, slots=True)
class Range:
    """A range of time; ``name`` is how the address calls it if it ends now and goes on with the time, else empty."""

    begin: datetime
    end: datetime
    name: str = ""

    @classmethod
    def until(cls, now: datetime, length: timedelta) -> "Range":
        """The range of about this length that ends now: whole minutes, within `SHORTEST` and `LONGEST`."""
        minutes = round(min(max(length, SHORTEST), LONGEST) / timedelta(minutes=1))
        length = timedelta(minutes=minutes)
        return cls(now - length, now + AHEAD * length, _name(minutes))

    @property
    def length(self) -> timedelta:
        """From begin to end."""
        return self.end - self.begin

    @property
    def asked(self) -> timedelta:
        """What was asked for: without what is left free behind now."""
        return self.length / (1 + AHEAD) if self.name else self.length

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
            refuse("to", f"must be from one minute to {LONGEST.days} days after from")
        return Range(start, stop)
    found = _NAME.fullmatch(name or DEFAULT)
    length = timedelta(minutes=int(found[1]) * _MINUTES[found[2]]) if found else timedelta(0)
    if not SHORTEST <= length <= LONGEST:
        refuse("range", f"must be {', '.join(RANGES)} or another number of m, h or d up to {LONGEST.days}d")
    return Range.until(now, length)


_MINUTES = {"m": 1, "h": 60, "d": 24 * 60}
_NAME = re.compile(r"(\d{1,6})([mhd])", re.ASCII)


def _name(minutes: int) -> str:
    """`24h` of 1440; the usual ranges go by their names."""
    for name, length in RANGES.items():
        if length == timedelta(minutes=minutes):
            return name
    unit = next(unit for unit in ("d", "h", "m") if minutes % _MINUTES[unit] == 0)
    return f"{minutes // _MINUTES[unit]}{unit}"


def _time(field_name: str, text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        refuse(field_name, "must be a time, such as 2026-11-22T14:00")
    if not 1971 <= at.year <= 9000:
        refuse(field_name, "must be a time from 1971 to 9000")
    return at


@dataclass(frozen=True, slots=True)
class Span:
    """A process and when it ran; ``end`` is None while it does. ``status`` is its outcome, or its state until then.
    One that never ran is where it ended.

    Or ``count`` processes of a target and an outcome that began close to each other, the last of them at ``last``.
    """

    id: str
    name: str
    target: str
    begin: datetime
    end: datetime | None
    status: str
    count: int = 1
    last: datetime | None = None

    @property
    def last_begin(self) -> datetime:
        """When the last of them began."""
        return self.last or self.begin


def statuses_of(spans: Iterable[Span]) -> list[tuple[str, int]]:
    """How many there are of each status, those that need a look first."""
    counts: Counter[str] = Counter()
    for span in spans:
        counts[span.status] += span.count
    return sorted(counts.items(), key=lambda item: (_RANK.get(item[0], len(_RANK)), item[0]))


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
        return sum(span.count for span in self.spans)

    @property
    def is_thin(self) -> bool:
        """Whether it is drawn wider than it is, from its end to the left."""
        return self.width < THINNEST

    @property
    def right(self) -> float:
        """Where it ends."""
        return self.x + self.width

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
        return statuses_of(self.spans)

    def parts(self) -> list[tuple[str, float, float]]:
        """(status, y, height) of each status in the bar, from the top down: each so much that it is seen, and the rest
        by its share."""
        statuses = self.statuses
        least = min(THINNEST_PART, HEIGHT / 2 / len(statuses))
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
    def count(self) -> int:
        """How many processes it has."""
        return sum(span.count for span in self.spans)

    @property
    def newest(self) -> datetime:
        """When the last of its processes began."""
        return max(span.last_begin for span in self.spans)

    @property
    def statuses(self) -> list[tuple[str, int]]:
        """How many there are of each status."""
        return statuses_of(self.spans)


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


def chart(
    spans: Iterable[Span],
    within: Range,
    now: datetime,
    *,
    by_process: bool,
    most: int = MAX_ROWS,
    is_counted: bool = False,
) -> Chart:
    """Rows by target or by process, the one with the newest start first. ``is_counted``: the spans stand for many
    processes, and bars for those that began in their time."""
    rows: dict[str, Row] = {}
    for span in spans:
        key, name = (span.id, span.name) if by_process else (span.target, span.target)
        rows.setdefault(key, Row(key, name)).spans.append(span)
    ordered = sorted(rows.values(), key=lambda row: (row.newest, row.key), reverse=True)
    shown = ordered[:most]
    for row in shown:
        row.spans.sort(key=lambda span: (span.begin, span.id))
        row.bars = bars(row.spans, within, now, is_counted=is_counted)
    place = within.place(now)
    return Chart(shown, len(ordered) - len(shown), *ticks(within, now), place if 0 <= place <= 100 else None)


def bars(spans: Sequence[Span], within: Range, now: datetime, *, is_counted: bool = False) -> list[Bar]:
    """The bars of spans in the order of their begin: what would be drawn over each other is one.

    Where ``is_counted`` a bar ends where the next begins, though some of its processes may run on: a busy row would be
    one long bar, that does not tell when anything happened.
    """
    found: list[Bar] = []
    for span in spans:
        begin = min(max(within.place(span.begin), 0.0), 100.0)
        end = max(min(within.place(span.end or max(now, span.begin)), 100.0), begin)
        last = found[-1] if found else None
        if last is None or begin >= _following(last, is_counted):
            if last is not None and last.right > begin:
                last.width = max(begin - last.x - GAP, 0.0)
            found.append(Bar(begin, end - begin, [span]))
        else:
            last.width = max(last.right, end) - last.x
            last.spans.append(span)
    return found


def _following(last: Bar, is_counted: bool) -> float:
    """From where on another bar may begin."""
    heap = last.x + WIDEST_HEAP
    return heap if is_counted else min(last.right + CLOSE, max(last.right, heap))


# --- the axis -----------------------------------------------------------------------------------------------------

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_STEPS = (
    *(5, 10, 15, 30),
    *(_MINUTE * count for count in (1, 2, 5, 10, 15, 30)),
    *(_HOUR * count for count in (1, 2, 3, 6, 12)),
    *(_DAY * count for count in (1, 2, 5, 10, 15, 30, 61)),
)


def ticks(within: Range, now: datetime, most: int = MAX_TICKS) -> tuple[list[Tick], int]:
    """The marks of the axis, at even times of UTC, and the seconds between two of them; a year is told when it is not
    that of ``now``."""
    seconds = within.length.total_seconds()
    step = next((step for step in _STEPS if seconds / step <= most), _STEPS[-1])
    first = int(within.begin.timestamp()) // step * step
    text = _texts(step, now.year)
    times = [datetime.fromtimestamp(at, UTC) for at in range(first, int(within.end.timestamp()) + step, step)]
    marks = [Tick(within.place(at), at, text(at), is_minor=number % 2 == 0) for number, at in enumerate(times)]
    return marks, step


def _texts(step: int, year: int) -> Callable[[datetime], str]:
    def text(at: datetime) -> str:
        if step >= _DAY or (at.hour, at.minute, at.second) == (0, 0, 0):
            return day(at, year)
        return f"{at:%H:%M}" if step >= _MINUTE else f"{at:%H:%M:%S}"

    return text


def day(at: datetime, year: int) -> str:
    """`22 Nov`, and its year where that is another than the present one."""
    return f"{at.day} {at:%b}" if at.year == year else f"{at.day} {at:%b} {at.year}"


def stamp(at: datetime) -> str:
    """A time as an address has it, to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
