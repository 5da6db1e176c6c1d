"""Who did what: notes of what changes no state of a process (deletions, reloads, bulk operations, sign-ins), and one
order of them and of the changes of state. Both are numbered from the same count, so the numbers are the order."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from heapq import merge
from time import monotonic
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, false, func, insert, not_, or_, select, true
from sqlmodel import SQLModel

from app.db.store import Store, event_ids
from app.lifecycle import KEEPER, PROCESS_FIELDS, SERVICE, Process, Transition
from procdeck.states import State

RETENTION = "retention"
"""The ``subject_id`` of every note of a pruning: so those of the past are found."""

_activity = SQLModel.metadata.tables["activity"]
_transition = SQLModel.metadata.tables["transition"]
_process = SQLModel.metadata.tables["process"]


@dataclass(frozen=True, slots=True)
class Note:
    """Who asked for what, of which subject (``subject_kind`` process, target, view, …), why, and with what result."""

    at: datetime
    actor: str
    action: str
    subject_kind: str
    subject_id: str
    subject_name: str
    reason: str | None = None
    result: str = "done"
    detail: Mapping[str, Any] = field(default_factory=dict)


_FIELDS = tuple(f.name for f in fields(Note))


def insert_note(connection: Connection, note: Note) -> int:
    """Add a note; its number, which is counted together with the events."""
    (number,) = event_ids(connection, 1)
    connection.execute(insert(_activity).values({"id": number} | {name: getattr(note, name) for name in _FIELDS}))
    return number


def trim_notes(connection: Connection, keep: int) -> None:
    """Remove the oldest notes beyond ``keep``. The newest stays, so that no number is given again."""
    oldest = select(_activity.c.id).order_by(_activity.c.id.desc()).limit(1).offset(keep - 1).scalar_subquery()
    connection.execute(delete(_activity).where(_activity.c.id < oldest))


# --- reading ------------------------------------------------------------------------------------------------------

LAUNCHER = "launcher"
OURS = (SERVICE, KEEPER, LAUNCHER)
"""The actors that are nobody: everyone else is a person, or somebody's program."""
WINDOW = 20_000
"""Events that one query looks at, at most."""
AT_ONCE = 0.5
"""Seconds within a process's creation in which its queueing is a part of the launch, and no start of its own."""


class Group(StrEnum):
    """Kinds of what is done."""

    LAUNCHES = "launches"
    REQUESTS = "requests"
    ENDS = "ends"
    STARTS = "starts"
    REMOVALS = "removals"
    SAVED = "saved"
    SIGN_INS = "sign-ins"
    SERVICE = "service"


BY_US = frozenset({Group.ENDS, Group.STARTS, Group.SERVICE})
"""What nobody does but the service and the keepers."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries: all conditions hold together. Without a group everything but the steps of a start is wanted.

    ``words`` all occur in the name or the target of the subject, in who did it, or in the reason; ``subject`` is the id
    of one.
    """

    by_people: bool = True
    group: Group | None = None
    subject: str = ""
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that was done.

    ``process`` is its subject as it is now, when that is a process of the record; ``result`` is None for a change of
    state, whose result is what became of the process.
    """

    number: int
    at: datetime
    actor: str
    action: str
    subject_kind: str
    subject_id: str
    subject_name: str
    reason: str | None
    result: str | None
    detail: Mapping[str, Any]
    process: Process | None = None


@dataclass(frozen=True, slots=True)
class Entries:
    """Entries, newest first. ``next`` is the number before which to go on, None at the end; ``searched_to`` is the time
    down to which was looked, when the time for it was used up before the page was full."""

    items: list[Entry]
    next: int | None
    searched_to: datetime | None = None


def entries(store: Store, wanted: Wanted, limit: int, before: int | None = None, seconds: float = 1.0) -> Entries:
    """At most ``limit`` entries with numbers below ``before``. Blocks, for little more than so many seconds. Raises
    `app.errors.RecordUnavailable`."""
    began = monotonic()
    found: list[Entry] = []
    # With a subject or without changes of state an index, or a short table, leads to all there is.
    is_bounded = bool(wanted.subject) or not _looks_at_transitions(wanted)
    end = before if before is not None else 2**62
    while True:
        end = _newest_below(store, end) + 1
        if end == 1:
            return Entries(_with_processes(store, found), None)
        start = 0 if is_bounded else max(0, end - WINDOW)
        room = limit + 1 - len(found)
        some = _between(store, wanted, start, end, room)
        found += [entry for entry in some if not _is_part_of_launch(entry)]
        # A query that was cut at its limit has not seen the rest of the window.
        end = some[-1].number if len(some) == room else start
        if len(found) > limit:
            return Entries(_with_processes(store, found[:limit]), found[limit - 1].number)
        if monotonic() - began > seconds:
            return Entries(_with_processes(store, found), end, _time_at(store, end))


def last_note_of(store: Store, subject_id: str) -> Entry | None:
    """The newest note of a subject: of a deleted process, who deleted it. Blocks."""
    rows = store.rows(_NOTES.where(_activity.c.subject_id == subject_id).order_by(_activity.c.id.desc()).limit(1))
    return Entry(*rows[0]) if rows else None


def prunings(store: Store, since: datetime, limit: int = 1000) -> list[Entry]:
    """The notes of prunings since a time, newest first. Blocks."""
    return _notes_since(store, since, _activity.c.subject_id == RETENTION, limit)


def deletions_of_many(store: Store, since: datetime, limit: int = 1000) -> list[Entry]:
    """The notes of operations that delete since a time, of their begin and their end, newest first. Blocks."""
    return _notes_since(store, since, _activity.c.action == "delete_many", limit)


def _notes_since(store: Store, since: datetime, condition: ColumnElement[bool], limit: int) -> list[Entry]:
    query = _NOTES.where(condition, _activity.c.at >= since)
    return [Entry(*row) for row in store.rows(query.order_by(_activity.c.id.desc()).limit(limit))]


_NOTES = select(
    *(_activity.c[name] for name in ("id", "at", "actor", "action", "subject_kind", "subject_id", "subject_name")),
    *(_activity.c[name] for name in ("reason", "result", "detail")),
)
_STEPS = (State.QUEUED, State.STARTING, State.RUNNING)
_BY_OURS = _transition.c.actor.in_(OURS)
_IS_STEP = and_(_transition.c.to_state.in_(_STEPS), _BY_OURS, _transition.c.from_state != _transition.c.to_state)
_IS_END = _transition.c.to_state.in_((State.EXITED, State.LOST))

_TRANSITIONS_OF: Mapping[Group, ColumnElement[bool]] = {
    Group.LAUNCHES: or_(
        _transition.c.to_state == State.CREATED, and_(_transition.c.to_state == State.QUEUED, not_(_BY_OURS))
    ),
    Group.REQUESTS: or_(
        _transition.c.to_state == State.STOPPING,
        _transition.c.from_state == _transition.c.to_state,
        and_(_IS_END, not_(_BY_OURS)),
    ),
    Group.ENDS: and_(_IS_END, _BY_OURS),
    Group.STARTS: _IS_STEP,
}
_REMOVALS = ("deleted", "pruned")
_NOTES_OF: Mapping[Group, ColumnElement[bool]] = {
    Group.REQUESTS: and_(
        _activity.c.subject_kind.in_(("process", "processes", "operation")),
        _activity.c.action.not_in((*_REMOVALS, "delete_many", "relaunch_many")),
    ),
    Group.REMOVALS: _activity.c.action.in_((*_REMOVALS, "delete_many")),
    Group.SAVED: _activity.c.subject_kind.in_(("target", "targets", "view", "preset")),
    Group.LAUNCHES: _activity.c.action == "relaunch_many",
    Group.SIGN_INS: _activity.c.subject_kind == "session",
    Group.SERVICE: _activity.c.subject_kind == "service",
}


def _looks_at_transitions(wanted: Wanted) -> bool:
    return wanted.group is None or wanted.group in _TRANSITIONS_OF


def _between(store: Store, wanted: Wanted, start: int, end: int, limit: int) -> list[Entry]:
    """The newest entries with numbers from ``start`` on and below ``end``."""
    by_number = [
        [_entry(row) for row in store.rows(_transitions(wanted, start, end).limit(limit))]
        if _looks_at_transitions(wanted)
        else [],
        [Entry(*row) for row in store.rows(_notes(wanted, start, end).limit(limit))]
        if wanted.group is None or wanted.group in _NOTES_OF
        else [],
    ]
    return list(merge(*by_number, key=lambda entry: -entry.number))[:limit]


def _transitions(wanted: Wanted, start: int, end: int) -> Select[Any]:
    columns = [_transition.c[name] for name in ("id", *(f.name for f in fields(Transition)))]
    query = select(*columns, _process.c.name, _process.c.created_at)
    query = query.join(_process, _process.c.id == _transition.c.process_id)
    query = query.where(_transition.c.id >= start, _transition.c.id < end)
    query = query.where(not_(_IS_STEP) if wanted.group is None else _TRANSITIONS_OF.get(wanted.group, false()))
    if wanted.by_people and wanted.group not in BY_US:
        query = query.where(not_(_BY_OURS))
    if wanted.subject:
        query = query.where(_transition.c.process_id == wanted.subject)
    searched = (_process.c.name, _process.c.target, _transition.c.reason, _transition.c.actor)
    return _with_words(query, wanted.words, searched).order_by(_transition.c.id.desc())


def _notes(wanted: Wanted, start: int, end: int) -> Select[Any]:
    query = _NOTES.where(_activity.c.id >= start, _activity.c.id < end)
    query = query.where(true() if wanted.group is None else _NOTES_OF.get(wanted.group, false()))
    if wanted.by_people and wanted.group not in BY_US:
        query = query.where(_activity.c.actor.not_in(OURS))
    if wanted.subject:
        query = query.where(_activity.c.subject_id == wanted.subject)
    searched = (_activity.c.subject_name, _activity.c.reason, _activity.c.actor, _activity.c.action)
    return _with_words(query, wanted.words, searched).order_by(_activity.c.id.desc())


def _with_words(query: Select[Any], words: Sequence[str], columns: Sequence[Any]) -> Select[Any]:
    for word in words:
        lowered = (func.lower(column).contains(word.lower(), autoescape=True) for column in columns)
        query = query.where(or_(*lowered))
    return query


def _entry(row: Sequence[Any]) -> Entry:
    number, *told, name, created_at = row
    change = Transition(*told)
    detail = dict(change.detail)
    if change.to_state is State.QUEUED:
        detail["since_creation"] = (change.at - created_at).total_seconds()
    action = action_of(change)
    return Entry(
        number, change.at, change.actor, action, "process", change.process_id, name, change.reason, None, detail
    )


def action_of(change: Transition) -> str:
    """What a change of state was, in a word: an action of the API, or a step."""
    if change.from_state is None:
        return "launched"
    if "action" in change.detail:
        return str(change.detail["action"])
    if change.from_state == change.to_state:
        return "signal" if "signal" in change.detail else "noted"
    if change.to_state is State.QUEUED:
        return "queued" if change.actor in OURS else "start"
    return "ended" if change.to_state is State.EXITED else str(change.to_state)


def _is_part_of_launch(entry: Entry) -> bool:
    return entry.action == "start" and entry.detail.get("since_creation", AT_ONCE) < AT_ONCE


def _newest_below(store: Store, number: int) -> int:
    """The highest number below this one that anything has, 0 when nothing has."""
    highest = (select(func.max(table.c.id)).where(table.c.id < number) for table in (_transition, _activity))
    return max(store.rows(query)[0][0] or 0 for query in highest)


def _time_at(store: Store, number: int) -> datetime | None:
    """When what has this number, or the next above it, was done."""
    found: list[tuple[int, datetime]] = []
    for table in (_transition, _activity):
        query = select(table.c.id, table.c.at).where(table.c.id >= number).order_by(table.c.id).limit(1)
        found += [(row[0], row[1]) for row in store.rows(query)]
    return min(found)[1] if found else None


def _with_processes(store: Store, found: Sequence[Entry]) -> list[Entry]:
    """The same, each with its process."""
    processes = _processes(store, {entry.subject_id for entry in found if entry.subject_kind == "process"})
    return [replace(entry, process=processes.get(entry.subject_id)) for entry in found]


def _processes(store: Store, ids: Iterable[str]) -> dict[str, Process]:
    columns = [_process.c[name] for name in PROCESS_FIELDS]
    rows = store.rows(select(*columns).where(_process.c.id.in_(sorted(ids))))
    return {process.id: process for process in (Process(*row) for row in rows)}
