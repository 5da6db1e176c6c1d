"""How many processes there are in each state and of each outcome, and how many ended within a day: kept up to date with
every commit, so that a page which shows them reads nothing, however many processes there are.

Who writes notes its changes on the connection; the writer hands them over once they are committed, in the order of the
commits. When nobody can know whether something was committed, all is counted again.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any

from sqlalchemy import ColumnElement, Connection, String, cast, func, select
from sqlmodel import SQLModel

import app.db.models  # noqa: F401  the tables
from procdeck.states import Outcome, State

_process = SQLModel.metadata.tables["process"]

FAILURES = (Outcome.FAILED, Outcome.CRASHED, Outcome.TIMED_OUT, Outcome.NOT_STARTED, Outcome.LOST)
"""The outcomes that somebody should look at."""
LONGEST = 24
"""Hours for which ends are counted."""
_CHANGES = "changes"
_TIDY_ABOVE = 2 * LONGEST * 60


@dataclass(frozen=True, slots=True)
class Fact:
    """What is counted of a process."""

    state: State
    outcome: Outcome | None = None
    stopped_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Change:
    """One process is no longer counted as ``before``, but as ``after``; None is no process."""

    before: Fact | None
    after: Fact | None


@dataclass(frozen=True, slots=True)
class _Counts:
    """All that was counted; ends by their minute."""

    states: Counter[State] = field(default_factory=Counter)
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    ended: dict[int, Counter[Outcome]] = field(default_factory=dict)


Note = _Change | _Counts


def note(connection: Connection, before: Fact | None, after: Fact | None) -> None:
    """Note a change that is part of the transaction of ``connection``."""
    notes = connection.info.get(_CHANGES)
    if notes is not None:
        notes.append(_Change(before, after))


def notes_of(connection: Connection) -> list[Note]:
    """A new list for what is noted in the transaction that has just begun."""
    notes: list[Note] = []
    connection.info[_CHANGES] = notes
    return notes


class Tally:
    """The counts. Any thread may read them; only the writer's changes them."""

    def __init__(self, *, is_known: bool = False) -> None:
        self.is_known = is_known
        """Whether the counts hold: not before they were loaded, nor after a commit of which nobody knows."""
        self._counts = _Counts()
        self._lock = Lock()

    @property
    def states(self) -> Mapping[State, int]:
        """How many processes are in each state that occurs."""
        with self._lock:
            return {state: count for state, count in self._counts.states.items() if count}

    @property
    def outcomes(self) -> Mapping[Outcome, int]:
        """How many processes there are of each outcome that occurs."""
        with self._lock:
            return {outcome: count for outcome, count in self._counts.outcomes.items() if count}

    def failed_since(self, hours: int = LONGEST, now: datetime | None = None) -> int:
        """How many that still are on record failed in the last ``hours``, from a full minute on; at most `LONGEST`."""
        return self._ended_since(FAILURES, hours, now)

    def succeeded_since(self, hours: int = LONGEST, now: datetime | None = None) -> int:
        """How many succeeded, see `failed_since`."""
        return self._ended_since((Outcome.SUCCEEDED,), hours, now)

    def _ended_since(self, outcomes: Collection[Outcome], hours: int, now: datetime | None) -> int:
        first = _minute((now or datetime.now(UTC)) - timedelta(hours=hours))
        with self._lock:
            ended = [counts for minute, counts in self._counts.ended.items() if minute >= first]
            return sum(counts[outcome] for counts in ended for outcome in outcomes)

    def committed(self, notes: Sequence[Note]) -> None:
        """These changes are in the record now."""
        if not notes:
            return
        with self._lock:
            for each in notes:
                if isinstance(each, _Counts):
                    self._counts = each
                    self.is_known = True
                else:
                    self._count(each.before, -1)
                    self._count(each.after, 1)

    def doubt(self) -> None:
        """Something may be in the record, or not."""
        self.is_known = False

    def _count(self, fact: Fact | None, by: int) -> None:
        if fact is None:
            return
        self._counts.states[fact.state] += by
        if fact.outcome is None:
            return
        self._counts.outcomes[fact.outcome] += by
        if fact.stopped_at is None:
            return
        ended, minute = self._counts.ended, _minute(fact.stopped_at)
        if minute in ended:
            ended[minute][fact.outcome] += by
        elif minute >= _first_minute():
            if len(ended) > _TIDY_ABOVE:
                _forget_old(ended)
            ended[minute] = Counter({fact.outcome: by})


def count_all(connection: Connection) -> None:
    """A job of the writer: count what is there, and go on from that. 0.2 s for a million processes."""
    counts = _Counts()
    for state, count in _grouped(connection, _process.c.state):
        counts.states[state] = count
    for outcome, count in _grouped(connection, _process.c.outcome):
        counts.outcomes[outcome] = count
    minute = _minute_of(connection)
    since = datetime.fromtimestamp(_first_minute() * 60, UTC)
    columns = minute.label("minute"), _process.c.outcome
    recent = select(*columns, func.count()).where(_process.c.stopped_at >= since).group_by(*columns)
    for at, outcome, count in connection.execute(recent):
        if outcome is not None:
            counts.ended.setdefault(_minute(_time(at)), Counter())[outcome] += count
    notes = connection.info.get(_CHANGES)
    if notes is not None:
        notes.append(counts)


def _grouped(connection: Connection, column: ColumnElement[Any]) -> Iterable[tuple[Any, int]]:
    rows = connection.execute(select(column, func.count()).where(column.is_not(None)).group_by(column))
    return [(row[0], row[1]) for row in rows]


def _minute_of(connection: Connection) -> ColumnElement[Any]:
    """The minute in which a process ended, as each database can tell it."""
    if connection.dialect.name == "sqlite":
        return func.substr(cast(_process.c.stopped_at, String), 1, len("2026-11-22 18:44"))
    return func.date_trunc("minute", _process.c.stopped_at)


def _time(told: str | datetime) -> datetime:
    time = datetime.fromisoformat(told) if isinstance(told, str) else told
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _minute(time: datetime) -> int:
    return int(time.timestamp() // 60)


def _first_minute() -> int:
    """From here on ends are counted: a minute more than is asked for, which may be while the next begins."""
    return _minute(datetime.now(UTC) - timedelta(hours=LONGEST)) - 1


def _forget_old(ended: dict[int, Counter[Outcome]]) -> None:
    first = _first_minute()
    for minute in [minute for minute in ended if minute < first]:
        del ended[minute]
