"""`procdeck stop --all` without a service: takes its place for as long as it takes.

Keepers call their service every half second while it is away. Whoever holds the lock of the data folder and listens
where they call is their service: it asks each to stop, and waits until the locks on the run folders are free. What
happened is in the journals, from which the next start of the service brings its record up to date.
"""

import asyncio
import getpass
import os
import time
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from app import lifecycle
from app.cli.trees import has_ended, is_alive
from app.data_folder import RUNS, SOCKET, lock_data_folder, run_ids
from app.db.store import Store
from app.errors import RecordUnavailable, StartupError
from app.lifecycle import Event
from app.presentation import view
from app.settings import Settings
from app.supervisor import connection as connections
from app.supervisor.connection import KeeperConnection
from app.supervisor.evidence import examine
from app.supervisor.recovery import process_of_folder
from app.supervisor.remains import Marks, end_remains
from procdeck import run_folder
from procdeck.protocol import Message
from procdeck.states import IllegalTransition

LOOK_EVERY = 0.05
ANSWER_WITHIN = 10.0
"""Seconds beyond the graces that keepers are given: to call, to record the end, and to end what is left of a tree."""

JSON = dict[str, Any]


def stop_all(settings: Settings, grace: float | None, reason: str | None) -> list[JSON]:
    """End every living process of the data folder; all that were alive, as the API shows processes.

    One that is still running in what is returned could not be ended. One whose keeper was killed is lost: what is left
    of its tree is ended here, and the next start of the service records it. Raises StartupError when the folder can't
    be taken.
    """
    runs = settings.data_dir / RUNS
    if not runs.is_dir():
        return []  # nothing was ever launched from there, and asking must not make the folder
    lock = lock_data_folder(settings.data_dir)
    try:
        unrecorded = _without_exit_record(settings, runs)
        stopping = Stopping(settings.data_dir, grace, reason)
        asyncio.run(stopping.run())
        return [_settled(runs / process_id) for process_id in sorted(unrecorded | set(stopping.met))]
    finally:
        os.close(lock)


class Stopping:
    """Listens in the service's place and tells each keeper that calls to stop its process.

    `met` holds all that were alive: their ids, and their launch specs.
    """

    def __init__(self, data_dir: Path, grace: float | None, reason: str | None) -> None:
        self._runs = data_dir / RUNS
        self._socket = data_dir / SOCKET
        self._grace = grace
        self._request = {
            "action": "stop",
            "actor": f"cli:{user_name()}",
            "grace": grace,
            "reason": reason or "stop --all",
        }
        self.met: dict[str, JSON] = {}

    async def run(self) -> None:
        """Until nobody is alive, or those who are do not end though all their time is over."""
        for process_id in run_ids(self._runs):
            if run_folder.is_kept(str(self._runs / process_id)):
                self._meet(process_id)
        listener = connections.listen(self._socket)
        accepting = asyncio.create_task(connections.accept(listener, lambda: KeeperConnection(self)))
        began = time.monotonic()
        try:
            # It is a lock in the kernel that is waited for: nothing tells when it becomes free.
            while self._is_anyone_alive() and time.monotonic() - began < self._limit():  # noqa: ASYNC110
                await asyncio.sleep(LOOK_EVERY)
        finally:
            accepting.cancel()
            await asyncio.wait((accepting,))
            listener.close()
            self._socket.unlink(missing_ok=True)

    def _meet(self, process_id: str) -> None:
        try:
            self.met[process_id] = run_folder.read_spec(str(self._runs / process_id))
        except (OSError, ValueError):
            self.met[process_id] = {}

    def _is_anyone_alive(self) -> bool:
        return any(is_alive(self._runs / process_id) for process_id in self.met)

    def _limit(self) -> float:
        graces = [spec.get("grace", 0.0) if self._grace is None else self._grace for spec in self.met.values()]
        return ANSWER_WITHIN + 2 * max(graces, default=0.0)

    # What a `KeeperConnection` tells.

    def keeper_connected(self, connection: KeeperConnection, hello: Message) -> None:
        """Perhaps one that was only being forked when we looked around."""
        assert connection.process_id is not None
        self._meet(connection.process_id)
        connection.send("end", request=0, **self._request)

    def keeper_said(self, process_id: str, message: Message) -> None:
        """Nothing to do: the journal says the same, for good."""

    def keeper_gone(self, connection: KeeperConnection) -> None:
        """Nothing to do: the lock on the run folder tells when it is over."""


def user_name() -> str:
    """Who runs this program, for the record."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an id without a name: usual in containers
        return str(os.getuid())


# --- those without a keeper --------------------------------------------------------------------------------------


def _without_exit_record(settings: Settings, runs: Path) -> set[str]:
    """The ids of those whose keeper is dead and left no exit record, and that are not known to be lost already."""
    found = {process_id for process_id in run_ids(runs) if _is_abandoned(runs / process_id)}
    return found & _active(settings, found) if found else found


def _is_abandoned(folder: Path) -> bool:
    try:
        evidence = examine(folder)
        return evidence.is_claimed and not evidence.is_kept and bool(evidence.entries) and not has_ended(folder)
    except (OSError, ValueError):
        return False


def _active(settings: Settings, otherwise: Iterable[str]) -> set[str]:
    """The ids of those that the record does not know to be over; `otherwise` when there is no record to be had."""
    try:
        with closing(Store.open(settings.record_url)) as store:
            return {process.id for process in store.active()}
    except (StartupError, RecordUnavailable, SQLAlchemyError, OSError):
        return set(otherwise)


def _settled(folder: Path) -> JSON:
    """What became of a process, as the API shows it. Of one that is lost, what is left is ended first."""
    try:
        evidence = examine(folder)
        process, _ = process_of_folder(run_folder.read_spec(str(folder)), evidence)
        if not evidence.is_kept and not process.is_over:
            ended = end_remains(Marks.of(process, folder))
            lost = Event("lost", datetime.now(UTC), lifecycle.SERVICE, "its keeper was killed", {"ended": ended})
            process, _ = lifecycle.apply(process, lost)
        return view(process)
    except (OSError, ValueError, KeyError, TypeError, IllegalTransition) as error:
        state = "running" if run_folder.is_kept(str(folder)) else "lost"
        summary = f"Its run folder can't be read: {error}"
        return {"id": folder.name, "number": 0, "name": folder.name, "state": state, "exit_summary": summary}
