"""The interface behind which the measured process managers look alike."""

import contextlib
import os
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "benchmarks" / "work"
BENCH_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
START_TIMEOUT = 60.0
STOP_TIMEOUT = 30.0


class BenchError(Exception):
    """A manager did not do what was measured."""


@dataclass(frozen=True)
class Program:
    """What the processes of one measure run: a function of a module in work/, `count` times at once."""

    module: str
    function: str
    args: tuple[int | float, ...] = ()
    count: int = 1


class Manager(ABC):
    """A process manager with its daemon and one program to launch; all it writes is in `folder`."""

    name: ClassVar[str]
    # What stands before each printed line in the log file, as a regular expression.
    log_prefix: ClassVar[bytes] = b""

    def __init__(self, folder: Path, program: Program) -> None:
        self.folder = folder
        self.program = program
        self.fifo = folder / "reports"
        self._daemon: subprocess.Popen[bytes] | None = None

    @property
    def daemon_pid(self) -> int:
        """The manager's own process. Raises BenchError before start()."""
        if self._daemon is None:
            raise BenchError(f"{self.name} is not running")
        return self._daemon.pid

    @abstractmethod
    def start(self) -> None:
        """Start the daemon and wait until it can launch. Raises BenchError."""

    @abstractmethod
    def launch(self) -> int:
        """Launch all copies of the program the fastest way there is; the monotonic ns right before the request."""

    @abstractmethod
    def wait_over(self) -> None:
        """Wait until the manager says that all copies are over, so that they can be launched again."""

    @abstractmethod
    def kill(self) -> None:
        """Kill all copies, and wait until they are over."""

    @abstractmethod
    def time_ends(self) -> dict[str, int]:
        """Launch one copy and wait for its end: told by which way (event, join, polling) at which monotonic ns."""

    def time_adoption(self) -> float:
        """Kill the daemon with all copies running, start it again; the seconds from its start until it has all of them.
        Raises BenchError where the copies do not outlive the daemon."""
        raise BenchError(f"what {self.name} runs is nobody's when it was killed")

    @abstractmethod
    def log_files(self) -> list[Path]:
        """Where the copy launched last has its output, oldest part first."""

    def close(self) -> None:
        """End the daemon, which ends its processes."""
        if self._daemon is None:
            return
        self._daemon.terminate()
        try:
            self._daemon.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._daemon.kill()
            self._daemon.wait()

    def _kill_daemon(self) -> None:
        if self._daemon is not None:
            self._daemon.kill()
            self._daemon.wait()

    def _start_daemon(self, *command: str | Path) -> None:
        with self._daemon_output.open("wb") as output:
            self._daemon = subprocess.Popen(
                [str(part) for part in command],
                cwd=self.folder,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C on the terminal is ours: we end the daemons in order.
                start_new_session=True,
            )

    def _wait_ready(self, ready: Callable[[], bool]) -> None:
        wait_until(lambda: self._check_alive() and ready(), START_TIMEOUT, f"{self.name} is ready", self.output_tail)

    def _check_alive(self) -> bool:
        if self._daemon is not None and self._daemon.poll() is not None:
            raise BenchError(f"ended with code {self._daemon.returncode}: {self.output_tail()}")
        return True

    def output_tail(self) -> str:
        """The last lines the daemon wrote, for a message."""
        with contextlib.suppress(OSError):
            return " | ".join(self._daemon_output.read_text(errors="replace").splitlines()[-5:])
        return ""

    @property
    def _daemon_output(self) -> Path:
        return self.folder / "daemon.out"


def script_command(manager: Manager) -> list[str]:
    """The command line by which a peer runs the manager's program."""
    program = manager.program
    script = WORK / f"{program.module}.py"
    return [str(BENCH_PYTHON), str(script), program.function, str(manager.fifo), *map(str, program.args)]


def wait_until(
    condition: Callable[[], bool],
    timeout: float,
    what: str,
    detail: Callable[[], str] = str,
    interval: float = 0.01,
) -> None:
    """Wait until the condition holds. Raises BenchError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"waited {timeout:g} s in vain until {what}. {detail()}")
        time.sleep(interval)


def _environment() -> dict[str, str]:
    # The caller's own settings of Procdeck, or of Python, must not change what is measured.
    return {name: value for name, value in os.environ.items() if not name.startswith(("PROCDECK_", "PYTHON"))}
