"""What ran when, and for how long: the reads behind the timeline and the pages of targets. All of them are bounded."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, String, TextClause, cast, func, select, text
from sqlmodel import SQLModel

import app.db.models  # noqa: F401  the tables
from app.db.search import LIVING, plain
from procdeck.states import Outcome, State

_process = SQLModel.metadata.tables["process"]

LONG = timedelta(hours=1)
"""What ran so long or longer has an index of its own."""
UNMEASURED = 5000
"""Of so many at most that ended lately, and were not measured yet, those of one target are picked."""
_IS_LONG = text("process.duration >= 3600")  # as that index has it: a parameter would not choose it

Condition = ColumnElement[bool] | TextClause
Rows = Callable[[Select[Any]], Sequence[Sequence[Any]]]


@dataclass(frozen=True, slots=True)
class Run:
    """What a list of runs shows of a process; ``duration`` in seconds. ``stopped_at`` None: it is not over."""

    id: str
    number: int
    name: str
    target: str
    state: State
    outcome: Outcome | None
    started_at: datetime | None
    stopped_at: datetime | None
    duration: float | None


_COLUMNS = [_process.c[name] for name in Run.__slots__]


@dataclass(frozen=True, slots=True)
class Heap:
    """The runs of a target with one outcome (or final state) that began within the same unit of time: how many, when
    the first and the last of them began, and when the last ended. ``id`` and ``name`` are those of one of them."""

    target: str
    status: str
    count: int
    first: datetime
    last: datetime
    end: datetime
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Counted:
    """What ran in a range, counted: ``heaps`` of what is over, and ``runs`` one by one of what is not, or went on long
    behind the range. When the time did not suffice, what ended before ``since`` is missing."""

    heaps: list[Heap]
    runs: list[Run]
    since: datetime | None


UNITS = ((timedelta(minutes=1), 16), (timedelta(minutes=10), 15), (timedelta(hours=1), 13), (timedelta(days=1), 10))
"""Units of time, and how much of "2026-11-22 18:44" tells two of them apart."""
MOST_UNITS = 400
"""In one range."""
STRETCHES = 24
"""Parts in which a range is counted, so that it can end between two of them."""


def spans(rows: Rows, begin: datetime, end: datetime, target: str | None, limit: int) -> list[Run]:
    """At most ``limit`` processes that ran at some time from ``begin`` to ``end``, by their start, and that were to run
    then and did not; of too many those are left out that ended first."""
    # By id: one that ends, or is measured, between two of the looks is seen by both; the later one knows more.
    found: dict[str, Run] = {}
    for condition in [*_going_on(end, target), *_ended(begin, end + LONG, target)]:
        query = select(*_COLUMNS).where(*condition, _began < end).order_by(_process.c.stopped_at.desc())
        found |= {run.id: run for run in (Run(*row) for row in rows(query.limit(limit - len(found))))}
    return sorted(found.values(), key=lambda run: (run.started_at or run.stopped_at or end, run.number))


def counted(rows: Rows, begin: datetime, end: datetime, target: str | None, limit: int, budget: float) -> Counted:
    """All that ran from ``begin`` to ``end``, counted from the newest back, within about ``budget`` seconds.

    At most ``limit`` that are not over, and as many that ended long after ``end``, are among it.
    """
    deadline = time.monotonic() + budget
    runs: list[Run] = []
    for condition in _going_on(end, target):
        query = select(*_COLUMNS).where(*condition, _began < end).order_by(_process.c.stopped_at.desc())
        runs += [Run(*row) for row in rows(query.limit(limit))]
    # What has no start never ran: it is counted where it ended.
    unit = func.substr(cast(_began, String), 1, _digits(end - begin))
    columns = [_process.c.target, func.coalesce(cast(_process.c.outcome, String), cast(_process.c.state, String))]
    told = [func.count(), func.min(_began), func.max(_began), func.max(_process.c.stopped_at)]
    whose = [func.max(_process.c.id), func.max(_process.c.name)]
    heaps: list[Heap] = []
    for first, behind in [(end, end + LONG), *_stretches(begin, end)]:
        for condition in _ended(first, behind, target):
            query = select(*columns, *told, *whose).where(*condition, _began < end)
            heaps += [Heap(*row) for row in rows(query.group_by(*columns, unit))]
        if time.monotonic() > deadline and begin < first < end and _is_any(rows, _ended(begin, first, target)):
            return Counted(heaps, runs, first)
    return Counted(heaps, runs, None)


_began = func.coalesce(_process.c.started_at, _process.c.stopped_at)
"""When a process began; what never ran has only an end."""


def _is_any(rows: Rows, conditions: list[list[Condition]]) -> bool:
    return any(rows(select(_process.c.number).where(*condition).limit(1)) for condition in conditions)


def _going_on(end: datetime, target: str | None) -> list[list[Condition]]:
    """Conditions of what is not over, and of what ran on behind ``end`` for longer than `LONG`, which is long."""
    # Compared where others have chosen already, this shall not lead to the index of all that the target ever ran.
    of_target: list[Condition] = [] if target is None else [plain("target") == target]
    return [
        [_process.c.state.in_(LIVING), *of_target],
        [_IS_LONG, _process.c.stopped_at >= end + LONG, *of_target],
    ]


def _ended(begin: datetime, end: datetime, target: str | None) -> list[list[Condition]]:
    """Conditions of what ended from ``begin`` on and before ``end``; a process meets one of them."""
    number, stopped, size = _process.c.number, _process.c.stopped_at, _process.c.disk_bytes
    in_range: list[Condition] = [stopped >= begin, stopped < end]
    if target is None:
        return [in_range]
    # The index by targets has those whose size is known; that is all but the newest.
    newest = select(number).where(size.is_(None), stopped.is_not(None)).order_by(number.desc()).limit(UNMEASURED)
    return [
        [number.in_(newest), *in_range, plain("target") == target],
        [size.is_not(None), *in_range, _process.c.target == target],
    ]


def _digits(length: timedelta) -> int:
    return next((digits for unit, digits in UNITS if length / unit <= MOST_UNITS), UNITS[-1][1])


def _stretches(begin: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The parts of a range, the last first."""
    length = (end - begin) / STRETCHES
    for number in reversed(range(STRETCHES)):
        yield begin + number * length, begin + (number + 1) * length if number < STRETCHES - 1 else end


def recent(rows: Rows, targets: Iterable[str], each: int) -> dict[str, list[Run]]:
    """The newest ``each`` processes of each of ``targets``, the newest first."""
    return {target: _newest(rows, each, _process.c.target == target) for target in targets}


def _newest(rows: Rows, limit: int, condition: ColumnElement[bool]) -> list[Run]:
    return [
        Run(*row) for row in rows(select(*_COLUMNS).where(condition).order_by(_process.c.number.desc()).limit(limit))
    ]
