"""Ends what is left of a process whose keeper was killed.

The child itself dies with its keeper. Its descendants may live on, with other parents now. Three marks tell them, none
of which a stranger can have by chance: an open descriptor of the run folder's lock file (forked descendants),
``PROCDECK_ID`` in the environment (those that called exec), and the child's session as long as its leader is still the
same process.
"""

import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from procdeck import posix, run_folder

SETTLE = 5.0
"""Seconds to wait at most until all are gone after SIGKILL."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What tells the descendants of one process: its id, its run folder, and its child's pid and start as the journal
    has them; of another boot they say nothing, and ``session`` has to be None."""

    process_id: str
    folder: Path
    session: int | None
    start_ticks: int | None

    def __post_init__(self) -> None:
        # /proc shows where a descriptor leads to, and a data folder may be given by a symbolic link.
        object.__setattr__(self, "folder", self.folder.resolve())

    def are_on(self, pid: int) -> bool:
        """Whether ``pid`` is of this process's tree."""
        return pid != os.getpid() and (self._holds_lock(pid) or self._has_variable(pid) or self._is_in_session(pid))

    def _holds_lock(self, pid: int) -> bool:
        # By its beginning: a keeper shows the name under which it made the file, see `run_folder.claim`.
        lock = str(self.folder / run_folder.LOCK)
        try:
            return any(_link(fd).startswith(lock) for fd in Path(f"/proc/{pid}/fd").iterdir())
        except OSError:
            return False

    def _has_variable(self, pid: int) -> bool:
        try:
            variables = posix.read_file(f"/proc/{pid}/environ", 1024 * 1024)
        except OSError:
            return False
        return f"PROCDECK_ID={self.process_id}".encode() in variables.split(b"\0")

    def _is_in_session(self, pid: int) -> bool:
        if self.session is None:
            return False
        stat, leader = posix.stat(pid), posix.stat(self.session)
        if stat is None or leader is None:
            return False
        return stat.session == self.session and leader.start_ticks == self.start_ticks


def _link(fd: Path) -> str:
    try:
        return str(fd.readlink())
    except OSError:
        return ""


def end_remains(marks: Marks) -> int:
    """SIGKILL all that is left of a tree, until nobody is; how many there were. Blocks, for some seconds at most."""
    ended: set[int] = set()
    deadline = time.monotonic() + SETTLE
    while found := _alive(pid for pid in posix.all_pids() if marks.are_on(pid)):
        ended |= found
        for pid in found:
            _kill(pid, marks)
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    return len(ended)


def _alive(pids: Iterable[int]) -> set[int]:
    return {pid for pid in pids if (stat := posix.stat(pid)) is not None and stat.state != "Z"}


def _kill(pid: int, marks: Marks) -> None:
    """Hold the process by a descriptor first and look again: between the look and the signal its number could have gone
    to a stranger."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if marks.are_on(pid):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        os.close(fd)
