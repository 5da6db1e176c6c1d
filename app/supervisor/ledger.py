"""The processes that are not over: their state in memory, saved in groups, published when saved.

What happens to a process is applied at once, in one thread and without waiting in between, so that no two changes can
race; then it is saved, and only then published and answered: nobody is told what a crash could take back.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from app import lifecycle
from app.db.store import RecordedEvent, Stale, Store, insert_process, save
from app.lifecycle import Event, Process, Transition
from app.supervisor.background import Background
from app.supervisor.broadcaster import Broadcaster, Published
from app.supervisor.pulse import Pulse
from procdeck.states import IllegalTransition

logger = logging.getLogger("procdeck.ledger")

JSON = dict[str, Any]


@dataclass(eq=False)
class Live:
    """A process that is not over, and what is known of it beyond its record.

    ``process`` is it now, ``saved`` as it is in the record: what is told of it. ``requests`` are commands that wait to
    be carried out, by number; those ``answered`` wait to be saved.
    """

    process: Process
    saved: Process
    unsaved: list[Transition] = field(default_factory=list)
    saving: bool = False
    is_new: bool = False
    is_launching: bool = False
    changed: Pulse = field(default_factory=Pulse)
    sample: JSON | None = None
    log_grew: Pulse = field(default_factory=Pulse)
    log_readers: int = 0
    log_end: int = 0
    requests: dict[int, asyncio.Future[None]] = field(default_factory=dict)
    answered: list[int] = field(default_factory=list)

    def answer(self, requests: Sequence[int]) -> None:
        """Tell those who wait that their commands were carried out."""
        for request in requests:
            waiting = self.requests.get(request)
            if waiting is not None and not waiting.done():
                waiting.set_result(None)

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
        self.lives: dict[str, Live] = {}
        self.broadcaster = Broadcaster(self._recall, store.last_event_id())

    def forget_events(self) -> None:
        """Begin the streams anew behind what is in the record now: events were put there past them."""
        self.broadcaster = Broadcaster(self._recall, self._store.last_event_id())

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

        Raises OSError, SQLAlchemyError; neither is there then, or both may be.
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
                except (SQLAlchemyError, RuntimeError, Stale) as error:
                    live.unsaved, live.answered = transitions + live.unsaved, answered + live.answered
                    logger.warning("process %s could not be saved (it will be tried again): %s", process.id, error)
                    return
                self._committed(live, process, transitions, ids)
                live.answer(answered)
        finally:
            live.saving = False

    def _committed(self, live: Live, process: Process, transitions: list[Transition], ids: Sequence[int]) -> None:
        """What is in the record now may be told."""
        told_since = process.progress is not live.process.progress
        live.saved = replace(process, progress=live.process.progress) if told_since else process
        if process.is_over:
            self.close(live)
            live.answer(list(live.requests))
            live.log_grew.fire()
        live.changed.fire()
        self.broadcaster.publish(
            [Published(id_, event_facts(process, row)) for id_, row in zip(ids, transitions, strict=True)]
        )
        if process.is_over:
            self._on_over()  # the last: whatever comes of it, those who wait for the end have been told

    async def _recall(self, after: int, limit: int) -> list[Published]:
        recorded = await asyncio.to_thread(self._store.events_after, after, limit)
        return [Published(event.id, event_facts(event, event.transition)) for event in recorded]


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
