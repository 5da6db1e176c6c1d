"""The local engine: launchers, keepers and run folders of this host.

An engine is a seam. What is outside of it asks to create, launch, command and examine processes by id, and to read
their logs by offset; it never assumes that a pid is of this host or a log on this disk.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from app.data_folder import RUNS, SOCKET
from app.errors import DataFolderUnusable
from app.lifecycle import Process
from app.settings import Settings
from app.supervisor import connection as connections
from app.supervisor.connection import KeeperConnection, KeeperListener
from app.supervisor.evidence import Evidence, examine, why_foreign
from app.supervisor.folders import RunFolders
from app.supervisor.launchers import Environment, LauncherConfig, LauncherGone, NotForked, make_runtime
from app.supervisor.remains import Marks, Registrar, end_remains, orphaned
from procdeck import failpoints, log, posix, run_folder
from procdeck.states import State

logger = logging.getLogger("procdeck.engine")


class NotStarted(Exception):
    """The process was not launched and never will be; the text is the reason."""


class LauncherSilent(NotStarted):
    """The launcher is there and does not answer."""


class LocalEngine:
    """Runs processes on this host. Made with the data folder's lock held; raises DataFolderUnusable."""

    def __init__(
        self,
        settings: Settings,
        configs: Sequence[LauncherConfig],
        listener: KeeperListener,
        on_catalogue: Callable[[str, list[dict[str, Any]]], None],
        on_keeper_exit: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._listener = listener
        self.runs = settings.data_dir / RUNS
        self.folders = RunFolders(self.runs)
        self._socket = settings.data_dir / SOCKET
        try:
            self.runs.mkdir(mode=0o700, exist_ok=True)
            runtime = make_runtime(settings.data_dir)
        except OSError as error:
            raise DataFolderUnusable(f"the data folder {settings.data_dir} can't be used: {error}") from error
        self.environments = {
            config.name: Environment(config, runtime, on_catalogue, on_keeper_exit) for config in configs
        }
        self._registrar = Registrar(self.runs)
        self._connections: dict[str, KeeperConnection] = {}
        self.foreign_versions: dict[str, object] = {}
        """The processes whose keepers are there and of a release too far from ours to be spoken to, with their
        versions of the protocol."""
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Listen for keepers, and start the launchers. Raises DataFolderUnusable."""
        try:
            listener = connections.listen(self._socket)
        except OSError as error:
            raise DataFolderUnusable(f"the data folder {self._settings.data_dir} can't be used: {error}") from error
        failpoints.reach("service.start.listening")
        accepting = connections.accept(listener, lambda: KeeperConnection(self._listener))
        self._tasks = [asyncio.create_task(accepting)]
        self._tasks += [asyncio.create_task(env.keep_alive()) for env in self.environments.values()]
        if self._settings.watch:
            self._tasks += [asyncio.create_task(env.reload_on_change()) for env in self.environments.values()]
        self._tasks[0].add_done_callback(lambda _: listener.close())

    async def close(self) -> None:
        """Let launchers end and hang up on keepers; processes go on."""
        for env in self.environments.values():
            env.close()
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for connection in list(self._connections.values()):
            connection.close()
        self._socket.unlink(missing_ok=True)

    # --- launching ----------------------------------------------------------------------------------------------------

    def folder(self, process_id: str) -> Path:
        """The run folder of a process."""
        return self.runs / process_id

    def create(self, process: Process) -> None:
        """Make the run folder.

        Blocks; raises OSError. The keeper makes it durable; one that has no keeper to come yet is at once.
        """
        folder = str(self.folder(process.id))
        failpoints.reach("service.launch.before_folder")
        run_folder.create(folder, process.spec)
        if process.state is State.CREATED:
            run_folder.settle(folder)
        failpoints.reach("service.launch.after_folder")

    def is_ready(self, environment: str) -> bool:
        """Whether the environment's launcher would take a launch at once."""
        found = self.environments.get(environment)
        return found is not None and found.is_ready

    async def wait_ready(self, environment: str, since: float) -> None:
        """Wait for the environment's launcher. Raises NotStarted when none comes up in time, which began ``since`` then
        (of the loop's clock)."""
        if environment not in self.environments:
            raise NotStarted(f"there is no environment {environment!r} any more")
        limit = self._settings.import_timeout + self._settings.start_timeout
        try:
            await self.environments[environment].launcher(since + limit - asyncio.get_running_loop().time())
        except TimeoutError:
            raise NotStarted(f"the launcher of environment {environment!r} was not ready within {limit:g} s") from None

    async def launch(self, process: Process) -> None:
        """Have a keeper forked for a process whose folder was made. Raises NotStarted when nothing is known of one.

        A launcher that dies before it answers may or may not have forked. Asking the next one is safe: the first keeper
        claims the folder, any later one ends at once.
        """
        folder = self.folder(process.id)
        if foreign := why_foreign(folder):
            raise NotStarted(f"its run folder can't be used: {foreign}")
        spec = {**process.spec, "folder": str(folder), "socket": str(self._socket)}
        limit = self._settings.start_timeout
        for _ in range(3):
            try:
                async with asyncio.timeout(limit):
                    launcher = await self.environments[process.environment].launcher(limit)
                    await launcher.launch(spec)
                return
            except NotForked as error:
                raise NotStarted(str(error)) from error
            except LauncherGone:
                logger.warning("the launcher ended while %s was being launched; asking the next", process.id)
            except TimeoutError:
                break
        raise LauncherSilent(f"the launcher of environment {process.environment!r} did not answer within {limit:g} s")

    def refuse(self, process_id: str, actor: str, reason: str | None, data: dict[str, Any]) -> run_folder.Entry | None:
        """Make sure that no keeper will ever start this process, and write so into its journal; the entry, or None when
        a keeper has it already. Blocks. Raises OSError."""
        folder = str(self.folder(process_id))
        failpoints.reach("service.refuse.before_claim")
        if foreign := why_foreign(self.folder(process_id)):
            raise OSError(f"its run folder can't be used: {foreign}")
        claimed = run_folder.claim(folder)
        if claimed is None:
            return None
        try:
            failpoints.reach("service.refuse.claimed")
            journal = run_folder.Journal(folder)
            try:
                return journal.append("not_started", actor, reason, data)
            finally:
                journal.close()
        finally:
            os.close(claimed)

    # --- keepers ------------------------------------------------------------------------------------------------------

    def connected(self, connection: KeeperConnection) -> None:
        """Note the connection of a keeper; one that it replaces is closed."""
        assert connection.process_id is not None
        before = self._connections.get(connection.process_id)
        self._connections[connection.process_id] = connection
        self.foreign_versions.pop(connection.process_id, None)
        if not connection.is_understood:
            self.foreign_versions[connection.process_id] = connection.version
        if before is not None and before is not connection:
            before.close()

    def disconnected(self, connection: KeeperConnection) -> bool:
        """Forget a connection; False when another has taken its place."""
        if connection.process_id is None or self._connections.get(connection.process_id) is not connection:
            return False
        del self._connections[connection.process_id]
        self.foreign_versions.pop(connection.process_id, None)
        return True

    def is_connected(self, process_id: str) -> bool:
        """Whether the keeper can be spoken to now."""
        return process_id in self._connections and process_id not in self.foreign_versions

    def connected_count(self) -> int:
        """How many keepers are connected."""
        return len(self._connections)

    def environments_not_ready(self) -> list[str]:
        """The names of the environments that would not take a launch at once."""
        return [name for name, env in self.environments.items() if not env.is_ready]

    def environments_unheard(self) -> list[str]:
        """The names of the environments whose targets are not known yet: no launcher was ready so far, none failed."""
        return [name for name, env in self.environments.items() if not env.has_reported]

    def send(self, process_id: str, type_: str, **fields: Any) -> bool:
        """Send a message to a keeper; False when it is not connected."""
        if not self.is_connected(process_id):
            return False
        self._connections[process_id].send(type_, **fields)
        return True

    # --- run folders --------------------------------------------------------------------------------------------------

    def examine(self, process_id: str) -> Evidence:
        """What the run folder says. Blocks. Raises OSError when it can't be looked at."""
        failpoints.reach("service.adopt.examine")
        return examine(self.folder(process_id))

    def is_child_alive(self, process: Process) -> bool:
        """Whether the child that was started for a process lives; so does its keeper then, even when nothing in the run
        folder says so any more. Blocks."""
        if process.pid is None or process.detail.get("boot_id") != posix.BOOT_ID:
            return False
        found = posix.stat(process.pid)
        return found is not None and found.state != "Z" and found.start_ticks == process.detail.get("start_ticks")

    def last_words(self, process_id: str) -> str | None:
        """What a keeper that could not start its process wrote last into its own log. Blocks."""
        try:
            text = posix.read_file(str(self.folder(process_id) / run_folder.KEEPER_LOG))
        except OSError:
            return None
        return text.decode(errors="replace").strip().rpartition("\n")[2][:300] or None

    def is_claimed(self, process_id: str) -> bool:
        """Whether a keeper, or a service in its stead, ever took the process. Blocks."""
        return run_folder.is_claimed(str(self.folder(process_id)))

    def end_remains(self, process: Process, since: float) -> int:
        """SIGKILL what is left of a process that is without a keeper ``since`` then (of `time.monotonic`) or longer;
        how many there were. Blocks."""
        marks = Marks.of(process, self.folder(process.id))
        return end_remains(marks) if self._registrar.since(since).shows(marks) else 0

    def orphaned(self) -> set[str]:
        """The ids of processes of which something lives without a keeper. Blocks."""
        return orphaned(self.runs)

    def delete(self, process_id: str) -> None:
        """Remove a run folder. Blocks."""
        self.folders.delete(process_id)

    # --- logs ---------------------------------------------------------------------------------------------------------

    def log_extent(self, process_id: str) -> tuple[int, int]:
        """(offset of the oldest byte kept, offset behind the last). Blocks."""
        return log.extent(str(self.folder(process_id) / run_folder.LOG))

    def log_segments(self, process_id: str) -> list[tuple[int, int]]:
        """(first offset, size) of each segment, oldest first. Blocks."""
        return log.segments(str(self.folder(process_id) / run_folder.LOG))

    def log_marks(self, process_id: str) -> dict[int, int]:
        """How many lines ended before a segment, by its first offset; see `procdeck.log.marks`. Blocks."""
        return log.marks(str(self.folder(process_id) / run_folder.LOG))

    def log_tail_offset(self, process_id: str, lines: int) -> int:
        """The offset of the ``lines``-th record from the end. Blocks."""
        return log.tail_offset(str(self.folder(process_id) / run_folder.LOG), lines)

    def read_log(self, process_id: str, after: int, limit: int = 256 * 1024) -> log.Chunk:
        """Whole records from an offset on, about ``limit`` bytes. Blocks."""
        return log.read_chunk(str(self.folder(process_id) / run_folder.LOG), after, limit)

    def watch_log(self, process_id: str, on: bool) -> None:
        """Ask the keeper to tell when the log grows, or no longer to."""
        self.send(process_id, "watch", on=on)
