"""Every query of the project.

Reads are methods of `Store`; they block, so asynchronous callers run them in a thread. Writes are functions of a
connection, for the writer to run: ``await store.writer.run(lambda connection: save(connection, process, [...], seq))``.
"""

import json
import sqlite3
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    Executable,
    Result,
    Select,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import SQLModel
from starlette.concurrency import run_in_threadpool

import app.db.models  # noqa: F401  the tables
from app.bulk import Chosen
from app.db import files, statistics, tally
from app.db.engine import make_engine, parse_url, sqlite_file, upgrade
from app.db.faults import fault_of
from app.db.search import NOT_OVER, Finder
from app.db.search import Filter as Filter
from app.db.statistics import Counted as Counted
from app.db.statistics import Run as Run
from app.db.writer import Writer
from app.errors import BadConfig, DatabaseDamaged, Invalid, RecordUnavailable, StartupError
from app.lifecycle import PROCESS_FIELDS, Process, Transition
from app.retention import Candidate, Held, Key
from procdeck.states import Outcome, State

T = TypeVar("T")

_process = SQLModel.metadata.tables["process"]
_transition = SQLModel.metadata.tables["transition"]
_label = SQLModel.metadata.tables["label"]
_counter = SQLModel.metadata.tables["counter"]
_session = SQLModel.metadata.tables["session"]
_activity = SQLModel.metadata.tables["activity"]

_TRANSITION_FIELDS = tuple(f.name for f in fields(Transition))

_PROCESS_COLUMNS = [_process.c[name] for name in PROCESS_FIELDS]
_TRANSITION_COLUMNS = [_transition.c[name] for name in _TRANSITION_FIELDS]

FIXED = frozenset(PROCESS_FIELDS[: PROCESS_FIELDS.index("state")])
"""What a launch is given at its creation and keeps; `save` leaves it alone."""

MEASURED = frozenset({"disk_bytes"})
"""What is measured when a process is over, see `save_measured`; `save` leaves it alone."""

_CHANGING = tuple(name for name in PROCESS_FIELDS if name not in FIXED | MEASURED)


SEARCH_SECONDS = 0.25
"""How long a search may take by default."""
IDS_AT_ONCE = 500
"""Ids that one query looks up."""


class Stale(Exception):
    """The process was changed by another since it was read; nothing was written."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, newest first; ``next`` is the cursor of what follows, None when nothing can.

    ``searched_back_to``: the time for the search was over before all was looked at; what was recorded since then was.
    """

    items: list[Process]
    next: str | None
    searched_back_to: datetime | None


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """A transition with its number in the stream of events, and what its process is now."""

    id: int
    transition: Transition
    number: int
    name: str
    target: str
    state: State
    outcome: Outcome | None
    pid: int | None
    exitcode: int | None


_OF_EVENT = ("number", "name", "target", "state", "outcome", "pid", "exitcode")


def _highest(counter: str, *numbers: Column[Any]) -> Select[Any]:
    """The highest number ever given: among the rows that there are, or of one that was deleted."""
    present = [select(func.max(column).label("number")) for column in numbers]
    deleted = select(_counter.c.value.label("number")).where(_counter.c.name == counter)
    every = union_all(*present, deleted).subquery()
    return select(func.coalesce(func.max(every.c.number), 0))


_LAST_NUMBER = _highest("process", _process.c.number)
_LAST_EVENT_ID = _highest("event", _transition.c.id, _activity.c.id)


# --- writes: jobs of the writer ----------------------------------------------------------------------------------

_INSERT_PROCESS = insert(_process)
_INSERT_TRANSITION = insert(_transition)
_UPDATE_PROCESS = update(_process).where(_process.c.id == bindparam("which"), _process.c.seq == bindparam("expect_seq"))


def insert_process(connection: Connection, process: Process, transitions: Sequence[Transition]) -> list[int]:
    """Add a process with its history so far; the numbers of the events.

    Raises `sqlalchemy.exc.IntegrityError` when its id, number or idempotency key is there already.
    """
    values = {name: getattr(process, name) for name in PROCESS_FIELDS}
    connection.execute(_INSERT_PROCESS, values | {"search": searched(process)})
    if process.labels:
        of_process = {"process_id": process.id, "number": process.number}
        rows = [of_process | {"key": key, "value": value} for key, value in process.labels.items()]
        connection.execute(insert(_label), rows)
    tally.note(connection, None, _fact(process))
    return _append(connection, transitions)


def save(connection: Connection, process: Process, transitions: Sequence[Transition], expect_seq: int) -> list[int]:
    """Write what changed of a process that was at ``expect_seq`` when it was read; the numbers of the events.

    Raises `Stale` when it no longer is, or is gone.
    """
    values = {name: getattr(process, name) for name in _CHANGING}
    done = connection.execute(_UPDATE_PROCESS, values | {"which": process.id, "expect_seq": expect_seq})
    if done.rowcount != 1:
        raise Stale(f"process {process.id} is no longer at {expect_seq}")
    if transitions and (before := transitions[0].from_state) is not None:
        tally.note(connection, tally.Fact(before), _fact(process))  # one that goes on has no outcome yet
    return _append(connection, transitions)


def _fact(process: Process) -> tally.Fact:
    return tally.Fact(process.state, process.outcome, process.stopped_at)


def _append(connection: Connection, transitions: Sequence[Transition]) -> list[int]:
    ids = event_ids(connection, len(transitions))
    rows = [
        {"id": id_, **{name: getattr(transition, name) for name in _TRANSITION_FIELDS}}
        for id_, transition in zip(ids, transitions, strict=True)
    ]
    if rows:
        connection.execute(_INSERT_TRANSITION, rows)
    return list(ids)


def event_ids(connection: Connection, count: int) -> range:
    """The numbers of the next events, and of what is counted together with them.

    They are counted here, beside the only connection that writes: asking the database to number the rows and tell the
    numbers takes as long again as adding the rows. A transaction that fails leaves a gap.
    """
    last = connection.info.get("last_event_id")
    if last is None:
        last = connection.scalar(_LAST_EVENT_ID)
    connection.info["last_event_id"] = last + count
    return range(last + 1, last + 1 + count)


_OF_DELETED = [_process.c[name] for name in ("number", "state", "outcome", "stopped_at")]


def delete_process(connection: Connection, process_id: str) -> bool:
    """Remove a process with its history and labels; whether there was one. No number of it is given again."""
    events = select(func.max(_transition.c.id)).where(_transition.c.process_id == process_id)
    last_event_id = connection.scalar(events)
    gone = connection.execute(delete(_process).where(_process.c.id == process_id).returning(*_OF_DELETED)).first()
    if gone is None:
        return False
    number, *counted = gone
    tally.note(connection, tally.Fact(*counted), None)
    _keep_count(connection, "process", number)
    _keep_count(connection, "event", last_event_id or 0)
    return True


def keep_counts(connection: Connection, counts: Mapping[str, int]) -> None:
    """Never give these numbers, nor lower ones, to a ``process`` or an ``event``."""
    for name, number in counts.items():
        _keep_count(connection, name, number)
    connection.info.pop("last_event_id", None)


def try_to_write(connection: Connection) -> None:
    """Write what is there already, to see whether anything can be written."""
    connection.execute(update(_counter).values(value=_counter.c.value))


def _keep_count(connection: Connection, name: str, number: int) -> None:
    lower = (_counter.c.name == name, _counter.c.value < number)
    connection.execute(update(_counter).where(*lower).values(value=number))


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run folder takes on the disk, and the offset of the oldest byte of log in it (None without a log)."""

    process_id: str
    disk_bytes: int
    log_start: int | None


def save_measured(connection: Connection, found: Sequence[Measured]) -> None:
    """Write what was measured of processes that are over."""
    for each in found:
        # What went can't come back: a log without any segment left does not begin at 0 again.
        start = _process.c.log_start
        values: dict[str, Any] = {"disk_bytes": each.disk_bytes}
        if each.log_start is not None:
            values["log_start"] = case((start > each.log_start, start), else_=each.log_start)
        is_meant = (_process.c.id == each.process_id, _process.c.stopped_at.is_not(None))
        connection.execute(update(_process).where(*is_meant).values(values))


def searched(process: Process) -> str:
    """The text in which the words of `Filter.q` are looked for."""
    arguments = [process.spec.get("args", []), process.spec.get("kwargs", {})]
    return "\n".join((process.name, process.target, json.dumps(arguments, ensure_ascii=False))).casefold()


# --- reads -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Renewed:
    """A database was put in the place of another: ``why``, where that is ``kept`` (None when nothing was left of it),
    and the highest numbers that can be read in it, by the names of the table `counter`."""

    why: str
    kept: Path | None
    counts: Mapping[str, int] = field(default_factory=dict)


class Store:
    """The record of all processes. Any number of threads may read at the same time.

    Whatever is wrong with the database itself is raised as `app.errors.RecordUnavailable`.
    """

    def __init__(self, url: str | URL, engine: Engine, writer: Writer) -> None:
        self._url = url
        self._engine = engine
        self._damage: str | None = None
        self._largest = 0
        self._closed = False
        self.writer = writer
        self.tally = writer.tally
        """How many processes there are of each kind, see `count_all`."""

    @classmethod
    def open(cls, url: str | URL) -> "Store":
        """The store at ``url``, its schema brought up to date. Raises `app.errors.StartupError`: `DatabaseDamaged` for
        one that has to be made again."""
        upgrade(url)
        return cls(url, make_engine(url), Writer(make_engine(url, write=True)))

    @classmethod
    def open_or_renew(cls, url: str | URL) -> tuple["Store", "Renewed | None"]:
        """`open`, or `renew` in the place of one that is damaged. Raises `app.errors.StartupError`."""
        try:
            store = cls.open(url)
        except DatabaseDamaged as error:
            return cls.renew(url, str(error))
        try:
            store._try_out()
        except RecordUnavailable as error:
            store.close()
            if error.is_damage:
                return cls.renew(url, error.detail)
            raise StartupError(error.detail) from error
        return store, None

    @classmethod
    def renew(cls, url: str | URL, why: str) -> tuple["Store", "Renewed"]:
        """An empty store in the place of the one at ``url``, which nobody has open; the files of that are kept.

        Blocks. Raises `app.errors.StartupError`: `BadConfig` when it is not SQLite's.
        """
        parsed = parse_url(url)
        if parsed.get_backend_name() != "sqlite":
            raise BadConfig("Only a SQLite database can be made again from the run folders; this one is PostgreSQL's.")
        path = sqlite_file(parsed)
        try:
            kept = files.set_aside(path)
        except OSError as error:
            raise StartupError(f"The database {path} can't be moved aside: {error.strerror}.") from error
        counts = files.salvage_counts(kept) if kept else {}
        try:
            store = cls.open(url)
            store.tally.is_known = True  # there is nothing to be counted
            return store, Renewed(why, kept, counts)
        except StartupError:
            files.remove(path)  # half a database of ours; the next try begins anew
            raise

    def discard(self) -> None:
        """Close, and remove the files: of a database that could not be filled."""
        self.close()
        files.remove(sqlite_file(self._engine.url))

    def _try_out(self) -> None:
        """Read what a start reads, but not the ids of all processes. Raises RecordUnavailable."""
        self.page(Filter(), 1)
        self.active()
        self.last_number()
        self.last_event_id()

    def adopt(self, fresh: "Store") -> None:
        """Go on with the database of ``fresh``, in place of the one that was closed."""
        self._engine, self.writer, self.tally = fresh._engine, fresh.writer, fresh.tally
        self._damage, self._largest, self._closed = None, 0, False

    def damage(self) -> str | None:
        """What a read or a write has met since the database was opened that says that it is damaged for good."""
        failing = self.writer.failing
        return self._damage or (str(failing) if failing is not None and failing.is_damage else None)

    @property
    def url(self) -> str | URL:
        """Where the database is."""
        return self._url

    async def count_all(self) -> None:
        """Make the `tally` hold, if it does not. Raises `app.errors.RecordUnavailable`."""
        if not self.tally.is_known:
            await self.writer.run(tally.count_all)

    def suspect(self, why: str) -> None:
        """Take the database for damaged: its content is not what was written to it."""
        if self.can_be_renewed:
            self._damage = why

    @property
    def can_be_renewed(self) -> bool:
        """Whether the database is a file of ours."""
        return self._engine.dialect.name == "sqlite"

    def examine(self) -> int:
        """Look at the files of the database as somebody who comes anew; how many bytes wait in the -wal.

        Blocks, briefly unless the file has shrunk. Raises `app.errors.RecordUnavailable` for one that is damaged.
        """
        if not self.can_be_renewed:
            return 0
        engine = self._engine
        path = sqlite_file(engine.url)
        try:
            self.writer.guard()
            size = files.examine(path, self._largest)
        except (sqlite3.Error, files.DatabaseGone) as error:
            raise self._fault(error, engine) from error
        self._largest = max(self._largest, size)
        return files.size_of(files.companions(path)[1])

    def close(self) -> None:
        """Finish what is being written. The writer closes last: whoever does so checkpoints the WAL of SQLite."""
        self._closed = True
        self._engine.dispose()
        self.writer.close()

    def get(self, process_id: str) -> Process | None:
        """The process of this id."""
        return self._one(_process.c.id == process_id)

    def get_by_idempotency_key(self, key: str) -> Process | None:
        """The process that was launched by the request with this key."""
        return self._one(_process.c.idempotency_key == key)

    def page(self, wanted: Filter, limit: int, cursor: str | None = None) -> tuple[list[Process], str | None]:
        """At most ``limit`` processes, newest first, and the cursor of the next page, or None when there is none.

        Raises `app.errors.Invalid` for a cursor that is not one of ours.
        """
        found = self.search(wanted, limit, cursor, budget=None)
        return found.items, found.next

    def search(
        self, wanted: Filter, limit: int, cursor: str | None = None, budget: float | None = SEARCH_SECONDS
    ) -> Found:
        """`page`, within about ``budget`` seconds (None: however long it takes).

        When the time is over before a page is full it tells what it found, and the cursor to continue from. Who is
        asked for by number or id comes first. Raises `app.errors.Invalid` for a cursor that is not one of ours.
        """
        below = None if cursor is None else decode_cursor(cursor)
        found = Finder(self.rows, wanted).page(limit, below, budget)
        following = None if found.next is None else encode_cursor(found.next)
        return Found(found.items, following, found.searched_back_to)

    def count(self, wanted: Filter, at_most: int = 10_000, budget: float | None = SEARCH_SECONDS) -> tuple[int, bool]:
        """(how many are wanted, True), or (a lower bound, False) when there are more than ``at_most`` or the time was
        over."""
        return Finder(self.rows, wanted).count(at_most, budget)

    def spans(self, begin: datetime, end: datetime, target: str | None = None, limit: int = 1000) -> list[Run]:
        """The processes that ran at some time from ``begin`` to ``end``, by their start; of more than ``limit`` those
        are left out that ended first."""
        return statistics.spans(self.rows, begin, end, target, limit)

    def counted(
        self, begin: datetime, end: datetime, target: str | None, limit: int, budget: float = SEARCH_SECONDS
    ) -> Counted:
        """All that ran from ``begin`` to ``end``, counted by target, outcome and time, within about ``budget`` seconds;
        at most ``limit`` of what is not over."""
        return statistics.counted(self.rows, begin, end, target, limit, budget)

    def recent_of_targets(self, targets: Iterable[str], each: int = 20) -> dict[str, list[Run]]:
        """The newest ``each`` processes of each of ``targets``, the newest first."""
        return statistics.recent(self.rows, targets, each)

    def brief(self, wanted: Filter, at_most: int, budget: float | None = None) -> list[Chosen]:
        """The first ``at_most`` that are wanted, newest first: half a second for 100,000, unless every one has to be
        looked at. Raises TimeoutError when that takes more than about ``budget`` seconds (None: however long)."""
        return Finder(self.rows, wanted).brief(at_most, budget)

    def chosen(self, ids: Sequence[str]) -> list[Chosen]:
        """Those of these processes that there are, in the same order; as much of each as `brief` tells."""
        found = {row[0]: Chosen(*row) for row in self._of_ids((_process.c.id, _process.c.name, _process.c.state), ids)}
        return [found[id_] for id_ in ids if id_ in found]

    def several(self, ids: Sequence[str]) -> list[Process]:
        """The same, all of each."""
        found = {process.id: process for process in (Process(*row) for row in self._of_ids(_PROCESS_COLUMNS, ids))}
        return [found[id_] for id_ in ids if id_ in found]

    def _of_ids(self, columns: Sequence[Column[Any]], ids: Sequence[str]) -> Iterator[Sequence[Any]]:
        for start in range(0, len(ids), IDS_AT_ONCE):
            yield from self.rows(select(*columns).where(_process.c.id.in_(ids[start : start + IDS_AT_ONCE])))

    def transitions(self, process_id: str) -> list[Transition]:
        """The history of a process, oldest first."""
        query = select(*_TRANSITION_COLUMNS).where(_transition.c.process_id == process_id).order_by(_transition.c.seq)
        return [Transition(*row) for row in self.rows(query)]

    def relaunches(self, process_id: str, limit: int) -> list[Process]:
        """The first ``limit`` processes that were launched again from this one, oldest first."""
        query = select(*_PROCESS_COLUMNS).where(_process.c.origin_id == process_id).order_by(_process.c.number)
        return [Process(*row) for row in self.rows(query.limit(limit))]

    def events_after(self, event_id: int, limit: int) -> list[RecordedEvent]:
        """The first ``limit`` events after the one of this number, in their order."""
        query = _EVENTS.where(_transition.c.id > event_id).order_by(_transition.c.id).limit(limit)
        return [_event(row) for row in self.rows(query)]

    def events_of(self, process_id: str, after_seq: int) -> list[RecordedEvent]:
        """The events of a process behind the one with this ``seq``, in their order."""
        of_process = (_transition.c.process_id == process_id, _transition.c.seq > after_seq)
        return [_event(row) for row in self.rows(_EVENTS.where(*of_process).order_by(_transition.c.seq))]

    def last_event_id(self) -> int:
        """The number of the newest event, 0 before the first."""
        return self._number(_LAST_EVENT_ID)

    def active(self) -> list[Process]:
        """The processes that are not over, oldest first."""
        query = select(*_PROCESS_COLUMNS).where(_process.c.state.in_(NOT_OVER)).order_by(_process.c.number)
        return [Process(*row) for row in self.rows(query)]

    def active_of(self, process_ids: Iterable[str]) -> list[Process]:
        """Those of these processes that are not over."""
        found = map(self.get, process_ids)
        return [process for process in found if process is not None and not process.is_over]

    def ids(self) -> set[str]:
        """The ids of all processes."""
        return self._read(select(_process.c.id), lambda rows: set(rows.scalars()))

    def counts_by_state_and_outcome(self) -> tuple[dict[State, int], dict[Outcome, int]]:
        """How many processes there are in each state, and of each outcome, that occurs."""
        return self._counts(_process.c.state), self._counts(_process.c.outcome)

    def last_number(self) -> int:
        """The highest number ever given to a process, 0 before the first; the next one is this plus 1."""
        return self._number(_LAST_NUMBER)

    def unmeasured(self, after: int, limit: int) -> list[tuple[int, str]]:
        """(number, id) of processes with numbers greater than ``after`` that are over and were not measured yet."""
        is_unmeasured = (_process.c.disk_bytes.is_(None), _process.c.stopped_at.is_not(None))
        query = select(_process.c.number, _process.c.id).where(*is_unmeasured, _process.c.number > after)
        return [(row[0], row[1]) for row in self.rows(query.order_by(_process.c.number).limit(limit))]

    def held(self, target: str | None = None) -> Held:
        """How many finished processes there are of each target, or of one, and the bytes they take.

        One read of an index: 0.1 s for a million.
        """
        query = select(_process.c.target, func.count(), func.sum(_process.c.disk_bytes)).where(_IS_MEASURED)
        rows = self.rows(_of_target(query, target).group_by(_process.c.target))
        return Held({row[0]: row[1] for row in rows}, sum(int(row[2]) for row in rows))

    def finished(self, after: Key | None, limit: int, target: str | None = None) -> list[Candidate]:
        """The first ``limit`` finished processes behind the place ``after``, oldest first, of all targets or of one."""
        query = _of_target(select(*_CANDIDATE_COLUMNS).where(_IS_MEASURED), target)
        if after is not None:
            query = query.where(after.stopped_at <= _STOPPED_AT)  # what an index can begin with
            query = query.where(or_(after.stopped_at < _STOPPED_AT, _process.c.number > after.number))
        rows = self.rows(query.order_by(_STOPPED_AT, _process.c.number).limit(limit))
        return [Candidate(*row) for row in rows]

    def session(self, id_hash: str) -> Sequence[Any] | None:
        """The columns of a session, in the order of the table."""
        rows = self.rows(select(_session).where(_session.c.id_hash == id_hash))
        return rows[0] if rows else None

    def _counts(self, kinds: Column[Any]) -> dict[Any, int]:
        query = select(kinds, func.count()).where(kinds.is_not(None)).group_by(kinds)
        return {row[0]: row[1] for row in self.rows(query)}

    def _one(self, condition: Any) -> Process | None:
        rows = self.rows(select(*_PROCESS_COLUMNS).where(condition))
        return Process(*rows[0]) if rows else None

    def _number(self, query: Select[Any]) -> int:
        number: int = self.rows(query)[0][0]
        return number

    def rows(self, query: Select[Any]) -> Sequence[Sequence[Any]]:
        """What a query gives; for the modules beside this one. Blocks. Raises `app.errors.RecordUnavailable`."""
        return self._read(query, lambda rows: rows.all())

    def _read(self, query: Select[Any], take: Callable[[Result[Any]], T]) -> T:
        if self._closed:
            # A reader that opened the file now would be in the way of whoever makes it again.
            raise RecordUnavailable("The database is closed: the service is ending, or makes it again.")
        engine = self._engine
        try:
            with engine.connect() as connection:
                return take(connection.execute(query))
        except SQLAlchemyError as error:
            raise self._fault(error, engine) from error

    def _fault(self, error: Exception, engine: Engine) -> Exception:
        fault = fault_of(error)
        # What is met in a database that was put aside meanwhile says nothing about the present one.
        if fault is not None and fault.is_damage and engine is self._engine and not self._closed:
            self._damage = fault.detail
        return fault or error


_STOPPED_AT = _process.c.stopped_at
_IS_MEASURED = and_(_process.c.disk_bytes.is_not(None), _STOPPED_AT.is_not(None))
_CANDIDATE_COLUMNS = [_process.c[name] for name in ("id", "number", "name", "target", "stopped_at", "disk_bytes")]


def _of_target(query: Select[Any], target: str | None) -> Select[Any]:
    return query if target is None else query.where(_process.c.target == target)


_EVENTS = select(_transition.c.id, *_TRANSITION_COLUMNS, *(_process.c[name] for name in _OF_EVENT)).join_from(
    _transition, _process
)


def _event(row: Sequence[Any]) -> RecordedEvent:
    of_process = 1 + len(_TRANSITION_FIELDS)
    return RecordedEvent(row[0], Transition(*row[1:of_process]), *row[of_process:])


def encode_cursor(number: int) -> str:
    """An opaque, URL-safe text for the place after the process of this number."""
    return urlsafe_b64encode(str(number).encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> int:
    """The number in ``cursor``. Raises `app.errors.Invalid` unless `encode_cursor` made it."""
    try:
        number = int(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError:
        number = -1
    if not 0 <= number < 2**63 or encode_cursor(number) != cursor:
        raise Invalid(
            "The cursor is not one of this service.", errors=[{"field": "cursor", "message": "unknown cursor"}]
        )
    return number


# --- sessions ----------------------------------------------------------------------------------------------------

S = TypeVar("S")


class Sessions(Generic[S]):
    """The sessions of browsers, as `app.security.auth.SessionStore` has them; ``kind`` makes one from its columns."""

    def __init__(self, store: Store, kind: Callable[[str, str, datetime, datetime], S]) -> None:
        self._store = store
        self._kind = kind

    async def create(self, session: S) -> None:
        values = {column: getattr(session, column) for column in _session.c.keys()}  # noqa: SIM118  not a dict

        def job(connection: Connection) -> None:
            # It may be there: one that began while the record was made again is put into it once more.
            connection.execute(delete(_session).where(_session.c.id_hash == values["id_hash"]))
            connection.execute(insert(_session).values(values))

        await self._store.writer.run(job)

    async def get(self, id_hash: str) -> S | None:
        found = await run_in_threadpool(self._store.session, id_hash)
        return self._kind(*found) if found else None

    async def touch(self, id_hash: str, last_seen_at: datetime) -> None:
        await self._run(update(_session).where(_session.c.id_hash == id_hash).values(last_seen_at=last_seen_at))

    async def delete(self, id_hash: str) -> None:
        await self._run(delete(_session).where(_session.c.id_hash == id_hash))

    async def purge(self, created_before: datetime, seen_before: datetime) -> None:
        old = or_(_session.c.created_at < created_before, _session.c.last_seen_at < seen_before)
        await self._run(delete(_session).where(old))

    async def _run(self, statement: Executable) -> None:
        def job(connection: Connection) -> None:
            connection.execute(statement)

        await self._store.writer.run(job)
