"""The processes that are not over: their state in memory, saved in groups, published when saved.

What happens to a process is applied at once, in one thread and without waiting in between, so that no two changes can
race; then it is saved, and only then published and answered: nobody is told what a crash could take back.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection

from app import lifecycle
from app.db.store import RecordedEvent, Stale, Store, insert_process, save
from app.lifecycle import Event, Process, Transition
from app.supervisor.background import Background
from app.supervisor.broadcaster import Broadcaster, Published
from app.supervisor.pulse import Pulse
from app.supervisor.recovery import Memory
from procdeck.states import IllegalTransition, State

logger = logging.getLogger("procdeck.ledger")

JSON = dict[str, Any]

RECENT = 60
"""Measurements of CPU that are remembered of each process."""


@dataclass(eq=False)
class Live:
    """A process that is not over, and what is known of it beyond its record.

    ``process`` is it now, ``saved`` as it is in the record: what is told of it. ``requests`` are commands that wait to
    be carried out, by number; those ``answered`` wait to be saved. ``last_told`` is the last entry that the keeper
    told, which a full disk may have kept from its journal.
    """

    process: Process
    saved: Process
    unsaved: list[Transition] = field(default_factory=list)
    saving: bool = False
    is_new: bool = False
    is_launching: bool = False
    changed: Pulse = field(default_factory=Pulse)
    sample: JSON | None = None
    recent_cpu: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    condition: str | None = None
    log_grew: Pulse = field(default_factory=Pulse)
    log_readers: int = 0
    log_end: int = 0
    last_told: JSON | None = None
    requests: dict[int, asyncio.Future[None]] = field(default_factory=dict)
    answered: list[int] = field(default_factory=list)

    def answer(self, requests: Sequence[int]) -> None:
        """Tell those who wait that their commands were carried out."""
        for request in requests:
            waiting = self.requests.get(request)
            if waiting is not None and not waiting.done():
                waiting.set_result(None)

    def memory(self) -> Memory:
        """What is known of it here."""
        return Memory(self.process, self.saved, tuple(self.unsaved))

    async def until(self, is_so: Callable[[Process], bool]) -> None:
        """Wait until ``is_so`` of what is in the record."""
        while not is_so(self.saved):
            await self.changed.wait()


class Ledger:
    """Changes processes and saves the changes. ``on_over`` is called when one that was over has been saved."""

    def __init__(self, store: Store, background: Background, on_over: Callable[[], None]) -> None:
        self._store = store
        self._background = background
        self._on_over = on_over
        self.failing: Exception | None = None
        """Why the last change that was to be saved was not; None when it was."""
        self.lives: dict[str, Live] = {}
        self.broadcaster = Broadcaster(self._recall, store.last_event_id())

    def open(self, process: Process) -> Live:
        """Take up a process of the record."""
        return self.lives.setdefault(process.id, Live(process, process))

    def open_new(self, process: Process) -> Live:
        """Take up a process that is not in the record yet, see `insert`."""
        live = self.lives[process.id] = Live(process, process, is_new=True)
        live.unsaved.append(lifecycle.created(process))
        return live

    def close(self, live: Live) -> None:
        """Let go of a process that is over, or was not started."""
        self.lives.pop(live.process.id, None)

    async def insert(self, live: Live, make_folder: Callable[[], None]) -> None:
        """Put a new process into the record, with its run folder.

        Raises OSError, SQLAlchemyError, `app.errors.RecordUnavailable`; neither is there then, or both may be.
        """
        process, transitions = live.process, live.unsaved
        live.unsaved = []
        make_folder_once = cache(make_folder)  # the writer runs a job again when its neighbour failed

        def job(connection: Connection) -> list[int]:
            # The folder first: without one there is no row either. One thread does both, for handing over between
            # threads costs more than the folder.
            make_folder_once()
            return insert_process(connection, process, transitions)

        ids = await self._store.writer.run(job)
        live.is_new = False
        self._committed(live, process, transitions, ids)

    def apply(self, live: Live, event: Event) -> None:
        """Change the process, then save it.

        An event that does not fit is a fault of ours or of a journal: it is logged and changes nothing.
        """
        try:
            live.process, transition = lifecycle.apply(live.process, event)
        except IllegalTransition:
            logger.exception("process %s: the event %r does not fit", live.process.id, event.kind)
            return
        live.unsaved.append(transition)
        self.save(live)

    def save(self, live: Live) -> None:
        """Save what is unsaved; what is being inserted or saved now is saved with it or after it."""
        if live.unsaved and not live.saving and not live.is_new:
            live.saving = True
            self._background.spawn(self._save_all(live))

    async def _save_all(self, live: Live) -> None:
        """Save until nothing is unsaved.

        When the database can't take it, the next reconciliation tries again: nothing is lost, the journal has it.
        """
        try:
            while live.unsaved:
                process, transitions, answered = live.process, live.unsaved, live.answered
                live.unsaved, live.answered = [], []
                try:
                    ids = await self._store.writer.run(_saving(process, transitions, live.saved.seq))
                except Exception as error:  # whatever it is, the changes must not be forgotten for it
                    live.unsaved, live.answered = transitions + live.unsaved, answered + live.answered
                    if isinstance(error, Stale) and await self._find_saved(live):
                        continue
                    self.failing = error
                    logger.warning("process %s could not be saved (it will be tried again): %s", process.id, error)
                    return
                self.failing = None
                self._committed(live, process, transitions, ids)
                live.answer(answered)
        finally:
            live.saving = False

    async def _find_saved(self, live: Live) -> bool:
        """Whether the record holds what is unsaved, or the beginning of it, since the answer to a commit was lost. That
        is taken for saved then."""
        try:
            recorded = await asyncio.to_thread(self._store.events_of, live.process.id, live.saved.seq)
            process = await asyncio.to_thread(self._store.get, live.process.id)
        except Exception as error:
            logger.warning("process %s could not be read: %s", live.process.id, error)
            return False
        if process is None and self.lives.get(live.process.id) is not live:
            live.unsaved = []  # it was deleted
            return True
        count = len(recorded)
        rows = [_essence(event.transition) for event in recorded]
        is_ours = process is not None and count > 0 and process.seq == recorded[-1].transition.seq
        if process is None or not is_ours or rows != [_essence(row) for row in live.unsaved[:count]]:
            self._store.suspect(f"The database is damaged: it does not hold what was written of {live.process.id}.")
            return False
        transitions, live.unsaved = live.unsaved[:count], live.unsaved[count:]
        self._committed(live, process, transitions, [event.id for event in recorded])
        if not live.unsaved:
            self._answer_all(live)
        return True

    def _answer_all(self, live: Live) -> None:
        live.answer(live.answered)
        live.answered = []

    def resume(self, live: Live, recorded: Process) -> None:
        """Go on from what the record, which was made again, has of a process.

        What was not saved is in its journal, and comes again; but that it waits, or was handed to a launcher, is known
        here alone.
        """
        wanted = _STEPS.index(live.process.state) if live.process.state in _STEPS else 0
        now = live.process
        live.process = live.saved = replace(recorded, progress=now.progress, log_start=now.log_start)
        live.unsaved = []
        self._answer_all(live)
        if recorded.is_over:
            self._settle(live)
        elif recorded.state in _STEPS:
            for step in _STEPS[_STEPS.index(recorded.state) + 1 : wanted + 1]:
                self.apply(live, Event(step, datetime.now(UTC), lifecycle.SERVICE))
        live.changed.fire()

    def _committed(self, live: Live, process: Process, transitions: list[Transition], ids: Sequence[int]) -> None:
        """What is in the record now may be told."""
        now = live.process
        told_since = process.progress is not now.progress or process.log_start != now.log_start
        live.saved = replace(process, progress=now.progress, log_start=now.log_start) if told_since else process
        if process.is_over:
            self._settle(live)
        live.changed.fire()
        self._publish([Published(id_, event_facts(process, row)) for id_, row in zip(ids, transitions, strict=True)])
        if process.is_over:
            self._on_over()  # the last: whatever comes of it, those who wait for the end have been told

    def _settle(self, live: Live) -> None:
        """It is over, and in the record."""
        self.close(live)
        live.answer(list(live.requests))
        live.log_grew.fire()

    def _publish(self, events: Sequence[Published]) -> None:
        if events and events[0].id <= self.broadcaster.last_id:
            self.broadcaster.reset_readers()  # found saved later: they have read past it
        else:
            self.broadcaster.publish(events)

    async def _recall(self, after: int, limit: int) -> list[Published]:
        recorded = await asyncio.to_thread(self._store.events_after, after, limit)
        return [Published(event.id, event_facts(event, event.transition)) for event in recorded]


_STEPS = (State.CREATED, State.QUEUED, State.STARTING)
"""What the service alone decides, in this order; each is also the kind of the event that leads to it."""


def _essence(row: Transition) -> tuple[object, ...]:
    return row.seq, row.from_state, row.to_state, row.actor, row.at


def _saving(process: Process, transitions: list[Transition], expected: int) -> Callable[[Connection], list[int]]:
    return lambda connection: save(connection, process, transitions, expected)


def event_facts(process: Process | RecordedEvent, row: Transition) -> JSON:
    """One event of the stream: the process as it is now, and the change."""
    return {
        "id": row.process_id,
        "number": process.number,
        "name": process.name,
        "target": process.target,
        "state": process.state,
        "outcome": process.outcome,
        "pid": process.pid,
        "exitcode": process.exitcode,
        "seq": row.seq,
        "at": row.at,
        "from": row.from_state,
        "to": row.to_state,
        "actor": row.actor,
        "reason": row.reason,
    }
