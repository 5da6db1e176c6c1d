"""Every query of the project.

Reads are methods of `Store`; they block, so asynchronous callers run them in a thread. Writes are functions of a
connection, for the writer to run: ``await store.writer.run(lambda connection: save(connection, process, [...], seq))``.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    Executable,
    Select,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlmodel import SQLModel
from starlette.concurrency import run_in_threadpool

import app.db.models  # noqa: F401  the tables
from app.db.engine import make_engine, upgrade
from app.db.writer import Writer
from app.errors import Invalid
from app.lifecycle import PROCESS_FIELDS, Process, Transition
from procdeck.states import ACTIVE, Outcome, State

_process = SQLModel.metadata.tables["process"]
_transition = SQLModel.metadata.tables["transition"]
_label = SQLModel.metadata.tables["label"]
_counter = SQLModel.metadata.tables["counter"]
_session = SQLModel.metadata.tables["session"]

_TRANSITION_FIELDS = tuple(f.name for f in fields(Transition))

_PROCESS_COLUMNS = [_process.c[name] for name in PROCESS_FIELDS]
_TRANSITION_COLUMNS = [_transition.c[name] for name in _TRANSITION_FIELDS]

FIXED = frozenset(PROCESS_FIELDS[: PROCESS_FIELDS.index("state")])
"""What a launch is given at its creation and keeps; `save` leaves it alone."""

_CHANGING = tuple(name for name in PROCESS_FIELDS if name not in FIXED)


class Stale(Exception):
    """The process was changed by another since it was read; nothing was written."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which processes to list: all conditions hold together, an empty one holds always.

    ``labels`` are (key, value), where value None means any; ``q`` are words that all occur in name, target or
    arguments.
    """

    states: Sequence[State] = ()
    outcomes: Sequence[Outcome] = ()
    target: str | None = None
    name: str | None = None
    labels: Sequence[tuple[str, str | None]] = ()
    q: str = ""


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


def _highest(numbers: Column[Any], counter: str) -> Select[Any]:
    """The highest number ever given: among the rows that there are, or of one that was deleted."""
    present = select(func.coalesce(func.max(numbers), 0)).scalar_subquery()
    deleted = select(_counter.c.value).where(_counter.c.name == counter).scalar_subquery()
    return select(case((present > deleted, present), else_=deleted))


_LAST_NUMBER = _highest(_process.c.number, "process")
_LAST_EVENT_ID = _highest(_transition.c.id, "event")


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
        rows = [{"process_id": process.id, "key": key, "value": value} for key, value in process.labels.items()]
        connection.execute(insert(_label), rows)
    return _append(connection, transitions)


def save(connection: Connection, process: Process, transitions: Sequence[Transition], expect_seq: int) -> list[int]:
    """Write what changed of a process that was at ``expect_seq`` when it was read; the numbers of the events.

    Raises `Stale` when it no longer is, or is gone.
    """
    values = {name: getattr(process, name) for name in _CHANGING}
    done = connection.execute(_UPDATE_PROCESS, values | {"which": process.id, "expect_seq": expect_seq})
    if done.rowcount != 1:
        raise Stale(f"process {process.id} is no longer at {expect_seq}")
    return _append(connection, transitions)


def _append(connection: Connection, transitions: Sequence[Transition]) -> list[int]:
    ids = _event_ids(connection, len(transitions))
    rows = [
        {"id": id_, **{name: getattr(transition, name) for name in _TRANSITION_FIELDS}}
        for id_, transition in zip(ids, transitions, strict=True)
    ]
    if rows:
        connection.execute(_INSERT_TRANSITION, rows)
    return list(ids)


def _event_ids(connection: Connection, count: int) -> range:
    """The numbers of the next events.

    They are counted here, beside the only connection that writes: asking the database to number the rows and tell the
    numbers takes as long again as adding the rows. A transaction that fails leaves a gap.
    """
    last = connection.info.get("last_event_id")
    if last is None:
        last = connection.scalar(_LAST_EVENT_ID)
    connection.info["last_event_id"] = last + count
    return range(last + 1, last + 1 + count)


def delete_process(connection: Connection, process_id: str) -> bool:
    """Remove a process with its history and labels; whether there was one. No number of it is given again."""
    events = select(func.max(_transition.c.id)).where(_transition.c.process_id == process_id)
    last_event_id = connection.scalar(events)
    number = connection.scalar(delete(_process).where(_process.c.id == process_id).returning(_process.c.number))
    if number is None:
        return False
    _keep_count(connection, "process", number)
    _keep_count(connection, "event", last_event_id or 0)
    return True


def _keep_count(connection: Connection, name: str, number: int) -> None:
    lower = (_counter.c.name == name, _counter.c.value < number)
    connection.execute(update(_counter).where(*lower).values(value=number))


def searched(process: Process) -> str:
    """The text in which the words of `Filter.q` are looked for."""
    arguments = [process.spec.get("args", []), process.spec.get("kwargs", {})]
    return "\n".join((process.name, process.target, json.dumps(arguments, ensure_ascii=False))).casefold()


# --- reads -------------------------------------------------------------------------------------------------------


class Store:
    """The record of all processes. Any number of threads may read at the same time."""

    def __init__(self, engine: Engine, writer: Writer) -> None:
        self._engine = engine
        self.writer = writer

    @classmethod
    def open(cls, url: str | URL) -> "Store":
        """The store at ``url``, its schema brought up to date. Raises `app.errors.StartupError`."""
        upgrade(url)
        return cls(make_engine(url), Writer(make_engine(url, write=True)))

    def close(self) -> None:
        """Finish what is being written. The writer closes last: whoever does so checkpoints the WAL of SQLite."""
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
        query = _filtered(wanted).order_by(_process.c.number.desc()).limit(limit + 1)
        if cursor is not None:
            query = query.where(_process.c.number < decode_cursor(cursor))
        found = [Process(*row) for row in self._rows(query)]
        more = encode_cursor(found[limit - 1].number) if len(found) > limit else None
        return found[:limit], more

    def transitions(self, process_id: str) -> list[Transition]:
        """The history of a process, oldest first."""
        query = select(*_TRANSITION_COLUMNS).where(_transition.c.process_id == process_id).order_by(_transition.c.seq)
        return [Transition(*row) for row in self._rows(query)]

    def events_after(self, event_id: int, limit: int) -> list[RecordedEvent]:
        """The first ``limit`` events after the one of this number, in their order."""
        query = _EVENTS.where(_transition.c.id > event_id).order_by(_transition.c.id).limit(limit)
        return [_event(row) for row in self._rows(query)]

    def last_event_id(self) -> int:
        """The number of the newest event, 0 before the first."""
        return self._number(_LAST_EVENT_ID)

    def active(self) -> list[Process]:
        """The processes that are not over, oldest first."""
        query = select(*_PROCESS_COLUMNS).where(_process.c.state.in_(_NOT_OVER)).order_by(_process.c.number)
        return [Process(*row) for row in self._rows(query)]

    def ids(self) -> set[str]:
        """The ids of all processes."""
        return {row[0] for row in self._rows(select(_process.c.id))}

    def counts_by_state_and_outcome(self) -> tuple[dict[State, int], dict[Outcome, int]]:
        """How many processes there are in each state, and of each outcome, that occurs."""
        return self._counts(_process.c.state), self._counts(_process.c.outcome)

    def last_number(self) -> int:
        """The highest number ever given to a process, 0 before the first; the next one is this plus 1."""
        return self._number(_LAST_NUMBER)

    def session(self, id_hash: str) -> Sequence[Any] | None:
        """The columns of a session, in the order of the table."""
        rows = self._rows(select(_session).where(_session.c.id_hash == id_hash))
        return rows[0] if rows else None

    def _counts(self, kinds: Column[Any]) -> dict[Any, int]:
        query = select(kinds, func.count()).where(kinds.is_not(None)).group_by(kinds)
        return {row[0]: row[1] for row in self._rows(query)}

    def _one(self, condition: Any) -> Process | None:
        rows = self._rows(select(*_PROCESS_COLUMNS).where(condition))
        return Process(*rows[0]) if rows else None

    def _number(self, query: Select[Any]) -> int:
        number: int = self._rows(query)[0][0]
        return number

    def _rows(self, query: Select[Any]) -> Sequence[Sequence[Any]]:
        with self._engine.connect() as connection:
            return connection.execute(query).all()


_NOT_OVER = tuple(ACTIVE | {State.CREATED})

_EVENTS = select(_transition.c.id, *_TRANSITION_COLUMNS, *(_process.c[name] for name in _OF_EVENT)).join_from(
    _transition, _process
)


def _event(row: Sequence[Any]) -> RecordedEvent:
    of_process = 1 + len(_TRANSITION_FIELDS)
    return RecordedEvent(row[0], Transition(*row[1:of_process]), *row[of_process:])


def _filtered(wanted: Filter) -> Select[Any]:
    query = select(*_PROCESS_COLUMNS)
    if wanted.states:
        query = query.where(_process.c.state.in_(wanted.states))
    if wanted.outcomes:
        query = query.where(_process.c.outcome.in_(wanted.outcomes))
    if wanted.target is not None:
        query = query.where(_process.c.target == wanted.target)
    if wanted.name is not None:
        query = query.where(_process.c.name == wanted.name)
    for key, value in wanted.labels:
        query = query.where(_process.c.id.in_(_labelled(key, value)))
    for word in wanted.q.casefold().split():
        query = query.where(_process.c.search.contains(word, autoescape=True))
    return query


def _labelled(key: str, value: str | None) -> Select[Any]:
    query = select(_label.c.process_id).where(_label.c.key == key)
    return query if value is None else query.where(_label.c.value == value)


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
        await self._run(insert(_session).values(values))

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
