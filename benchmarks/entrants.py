"""Takes the managers through one measure: side by side, in turns, each with its own folder and its own troubles."""

import contextlib
import os
import select
import signal
import subprocess
import tempfile
import time
import xmlrpc.client
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from benchmarks import procfs
from benchmarks.managers import BenchError, Manager, Program

# After a round the machine comes to rest, so that the last steps of one manager are not paid by the next.
REST = 0.03


class Report(NamedTuple):
    """What a launched function wrote: when it ran (monotonic ns), and in which process."""

    at: int
    pid: int


class Reports:
    """The FIFO through which the launched functions report."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path, 0o600)
        # Open for writing too: else the end of each process would look like the end of the file.
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._received = b""

    def read(self, count: int, timeout: float = 120.0) -> list[Report]:
        """The next `count` reports. Raises BenchError when they don't come in time (seconds)."""
        deadline = time.monotonic() + timeout
        while self._received.count(b"\n") < count:
            ready, _, _ = select.select([self._descriptor], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                came = self._received.count(b"\n")
                raise BenchError(f"{came} of {count} processes reported in {timeout:g} s")
            self._received += os.read(self._descriptor, 65536)
        *lines, self._received = self._received.split(b"\n", count)
        return [Report(*map(int, line.split())) for line in lines]

    def close(self) -> None:
        """Close the FIFO."""
        os.close(self._descriptor)


@dataclass
class Entrant:
    """A manager in a measure, and what came out of it."""

    name: str
    samples: dict[str, list[float]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    trouble: str | None = None


class Run:
    """One manager at work: what a measure's action is given."""

    def __init__(self, entrant: Entrant, manager: Manager) -> None:
        self.entrant = entrant
        self.manager = manager
        self._reports = Reports(manager.fifo)
        self._children: dict[int, int] = {}  # pid -> pidfd

    def reports(self, count: int = 1) -> list[Report]:
        """The next reports of launched functions."""
        reports = self._reports.read(count)
        for report in reports:
            with contextlib.suppress(ProcessLookupError):
                self._children[report.pid] = os.pidfd_open(report.pid)
        return reports

    def over(self) -> None:
        """Wait until all is over, and let the machine come to rest."""
        self.manager.wait_over()
        self._forget()
        time.sleep(REST)

    def kill(self) -> None:
        """Kill all that runs."""
        self.manager.kill()
        self._forget()
        time.sleep(REST)

    def keepers(self, children: list[int]) -> set[int]:
        """The processes between the manager's daemon and these children; none where the daemon is the parent."""
        return {procfs.parent(child) for child in children} - {self.manager.daemon_pid, 1}

    def own_processes(self, children: list[int]) -> set[int]:
        """The daemon and its helpers, without children and keepers."""
        daemon = self.manager.daemon_pid
        return {daemon, *procfs.descendants(daemon)} - set(children) - self.keepers(children)

    def add(self, value: float, label: str = "") -> None:
        """Note one sample."""
        self.entrant.samples.setdefault(label, []).append(value)

    def close(self) -> None:
        """End the daemon; then whatever it left behind."""
        try:
            self.manager.close()
        finally:
            for descriptor in self._children.values():
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            self._forget()
            self._reports.close()

    def _forget(self) -> None:
        for descriptor in self._children.values():
            os.close(descriptor)
        self._children.clear()


Action = Callable[[Run], None]


class Field:
    """All managers of one measure, with their daemons, from `with` to its end."""

    def __init__(self, kinds: Sequence[type[Manager]], program: Program) -> None:
        self._kinds = kinds
        self._program = program
        self._stack = contextlib.ExitStack()
        self._runs: list[Run] = []
        self.entrants: list[Entrant] = []

    def __enter__(self) -> Self:
        with self._stack:
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="procdeck-bench-")))
            for kind in self._kinds:
                self._enter(kind, folder)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def turns(self, rounds: int, action: Action, warm_up: int = 0) -> None:
        """Give each manager its turn in each round, another one first each time; what the warm-up brings is dropped."""
        for number in range(warm_up + rounds):
            for run in _rotated([run for run in self._runs if run.entrant.trouble is None], number):
                with _noting_trouble(run.entrant):
                    action(run)
            if number + 1 == warm_up:
                for run in self._runs:
                    run.entrant.samples.clear()

    def _enter(self, kind: type[Manager], folder: Path) -> None:
        entrant = Entrant(kind.name)
        self.entrants.append(entrant)
        own_folder = folder / kind.name
        own_folder.mkdir()
        run = Run(entrant, kind(own_folder, self._program))
        self._stack.callback(run.close)
        with _noting_trouble(entrant):
            run.manager.start()
            self._runs.append(run)


@contextlib.contextmanager
def _noting_trouble(entrant: Entrant) -> Iterator[None]:
    """One manager's trouble ends its part in the measure, not the others'."""
    try:
        yield
    except (BenchError, OSError, ValueError, KeyError, subprocess.SubprocessError, xmlrpc.client.Error) as error:
        entrant.trouble = str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"


def _rotated(runs: list[Run], number: int) -> list[Run]:
    first = number % len(runs) if runs else 0
    return runs[first:] + runs[:first]
