"""What ran when, and for how long: the reads behind the timeline and the pages of targets. All of them are bounded."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, TextClause, select, text
from sqlmodel import SQLModel

import app.db.models  # noqa: F401  the tables
from app.db.search import NOT_OVER, plain
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


def spans(rows: Rows, begin: datetime, end: datetime, target: str | None, limit: int) -> list[Run]:
    """At most ``limit`` processes that ran at some time from ``begin`` to ``end``, by their start; of too many those
    are left out that ended first."""
    number, stopped, size = _process.c.number, _process.c.stopped_at, _process.c.disk_bytes
    # Compared where others have chosen already, this shall not lead to the index of all that the target ever ran.
    of_target: list[Condition] = [] if target is None else [plain("target") == target]
    in_range: list[Condition] = [stopped >= begin, stopped < end + LONG]
    conditions: list[list[Condition]] = [
        [_process.c.state.in_(NOT_OVER), *of_target],
        # One that runs on behind the end of the range for longer than `LONG` is long.
        [_IS_LONG, stopped >= end + LONG, *of_target],
    ]
    if target is None:
        conditions.append(in_range)
    else:
        # The index by targets has those whose size is known; that is all but the newest.
        newest = select(number).where(size.is_(None), stopped.is_not(None)).order_by(number.desc()).limit(UNMEASURED)
        conditions += [
            [number.in_(newest), *in_range, *of_target],
            [size.is_not(None), *in_range, _process.c.target == target],
        ]
    found: list[Run] = []
    for condition in conditions:
        query = select(*_COLUMNS).where(*condition, _process.c.started_at < end).order_by(stopped.desc())
        found += [Run(*row) for row in rows(query.limit(limit - len(found)))]
    return sorted(found, key=lambda run: (run.started_at or end, run.number))


def recent(rows: Rows, targets: Iterable[str], each: int) -> dict[str, list[Run]]:
    """The newest ``each`` processes of each of ``targets``, the newest first."""
    return {target: _newest(rows, each, _process.c.target == target) for target in targets}


def durations(rows: Rows, target: str, limit: int) -> list[Run]:
    """The newest ``limit`` processes of a target that ran and are over, the newest first, among its newest runs."""
    newest = _newest(rows, limit * 4, _process.c.target == target)
    return [run for run in newest if run.duration is not None][:limit]


def _newest(rows: Rows, limit: int, condition: ColumnElement[bool]) -> list[Run]:
    return [
        Run(*row) for row in rows(select(*_COLUMNS).where(condition).order_by(_process.c.number.desc()).limit(limit))
    ]
