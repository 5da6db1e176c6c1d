"""Ends what is left of a process whose keeper was killed.

The child itself dies with its keeper. Its descendants may live on, with other parents now. Three marks tell them, none
of which a stranger can have by chance: an open descriptor of the run folder's lock file (forked descendants),
``PROCDECK_ID`` in the environment (those that called exec), and the child's session as long as its leader is still the
same process. The last two are those of a copy of the folder just as well, and the processes of its living original are
none of ours: they count only in the folder that was claimed itself (`run_folder.is_original`).
"""

import os
import signal
import threading
import time
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from app.lifecycle import Process
from procdeck import posix, run_folder
from procdeck.tree import send

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
    _is_original: bool = field(init=False)
    _lock: tuple[int, int] | None = field(init=False)

    @classmethod
    def of(cls, process: Process, folder: Path) -> "Marks":
        """Those of a process as its journal has it."""
        # A pid and a start time name a process only together with the boot they are of.
        session = process.pid if process.detail.get("boot_id") == posix.BOOT_ID else None
        return cls(process.id, folder, session, process.detail.get("start_ticks"))

    def __post_init__(self) -> None:
        # /proc shows where a descriptor leads to, and a data folder may be given by a symbolic link. The run folder may
        # not: one in its place could lead to that of another process.
        object.__setattr__(self, "folder", self.folder.parent.resolve() / self.folder.name)
        object.__setattr__(self, "_is_original", run_folder.is_original(str(self.folder)))
        object.__setattr__(self, "_lock", _file(self.folder / run_folder.LOCK))

    def are_on(self, pid: int) -> bool:
        """Whether ``pid`` is of this process's tree. Raises OSError when it can't be looked at, as for want of a
        descriptor: that says nothing of it."""
        if pid == os.getpid():
            return False
        return self._holds_lock(pid) or (self._is_original and (self._has_variable(pid) or self._is_in_session(pid)))

    def _holds_lock(self, pid: int) -> bool:
        # By its beginning: a keeper shows the name under which it made the file, see `run_folder.claim`.
        lock = str(self.folder / run_folder.LOCK)
        try:
            return any(_link(fd).startswith(lock) and self._is_ours(fd) for fd in Path(f"/proc/{pid}/fd").iterdir())
        except posix.GONE:
            return False

    def _is_ours(self, fd: Path) -> bool:
        # Whose folder was removed shows its path as well, and a copy may lie there by now.
        return self._is_original or self._lock is None or _file(fd) == self._lock

    def _has_variable(self, pid: int) -> bool:
        try:
            variables = posix.read_file(f"/proc/{pid}/environ", 1024 * 1024)
        except posix.GONE:
            return False
        return f"PROCDECK_ID={self.process_id}".encode() in variables.split(b"\0")

    def _is_in_session(self, pid: int) -> bool:
        if self.session is None:
            return False
        stat, leader = posix.stat(pid), posix.stat(self.session)
        if stat is None or leader is None:
            return False
        return stat.session == self.session and leader.start_ticks == self.start_ticks


def _file(path: Path) -> tuple[int, int] | None:
    """Device and number of the file at ``path``."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _link(fd: Path) -> str:
    try:
        return str(fd.readlink())
    except OSError:
        return ""


def end_remains(marks: Marks) -> int:
    """SIGKILL all that is left of a tree, until nobody is whom we may signal; how many there were. Blocks, for some
    seconds at most. Raises OSError when processes can't be looked at, as for want of a descriptor.

    All are stopped before the first is killed, see `procdeck.tree.kill_below`.
    """
    ended: set[int] = set()
    denied: set[int] = set()
    deadline = time.monotonic() + SETTLE
    while found := _stop(marks, ended, denied):
        is_late = time.monotonic() > deadline
        if is_late or found <= ended:
            for pid in found:
                _signal(pid, signal.SIGKILL, marks)
        ended |= found
        if is_late:
            break
        time.sleep(0.01)
    return len(ended)


def _stop(marks: Marks, known: Container[int], denied: set[int]) -> set[int]:
    """All of the tree that is alive, having stopped each that is not ``known`` as soon as it was met. Those that are
    another user's are added to ``denied`` instead."""
    found: set[int] = set()
    for pid in posix.all_pids():
        if pid in denied or not marks.are_on(pid) or (stat := posix.stat(pid)) is None or stat.state == "Z":
            continue
        if pid in known or _signal(pid, signal.SIGSTOP, marks):
            found.add(pid)
        else:
            denied.add(pid)
    return found


@dataclass(frozen=True, slots=True)
class Census:
    """One look at every process there is: of which of ours something seems to live. `Marks` tell for sure; where
    nothing shows, nothing is. ``began`` is a time of `time.monotonic`."""

    began: float
    ids: set[str]
    sessions: set[int]

    @classmethod
    def take(cls, runs: Path) -> "Census":
        """For the run folders in ``runs``. Blocks."""
        began, runs = time.monotonic(), runs.resolve()
        ids, sessions = set[str](), set[int]()
        for pid in posix.all_pids():
            ids.update(_hints(pid, runs))
            if (stat := posix.stat(pid)) is not None:
                sessions.add(stat.session)
        return cls(began, ids, sessions)

    def shows(self, marks: Marks) -> bool:
        """Whether anything may be left of the process with these marks."""
        return marks.process_id in self.ids or marks.session in self.sessions


class Registrar:
    """Takes a `Census` for all who need one at about the same time: a machine on which hundreds of keepers were killed
    at once is not looked through for each of them."""

    def __init__(self, runs: Path) -> None:
        self._runs = runs
        self._lock = threading.Lock()
        self._latest: Census | None = None

    def since(self, moment: float) -> Census:
        """One that began at ``moment`` (of `time.monotonic`) or later. Blocks."""
        with self._lock:
            if self._latest is None or self._latest.began < moment:
                self._latest = Census.take(self._runs)
            return self._latest


def orphaned(runs: Path) -> set[str]:
    """The ids of those processes with a folder in ``runs`` that have no keeper, and of whose tree something seems to
    live: `Marks` tell for sure. Blocks, for a look at every process there is."""
    seen = Census.take(runs).ids
    return {each for each in seen if (runs / each).is_dir() and not run_folder.is_kept(str(runs / each))}


def _hints(pid: int, runs: Path) -> Iterator[str]:
    """Ids in the environment of ``pid``, and in the paths of the files that it holds open."""
    try:
        for variable in posix.read_file(f"/proc/{pid}/environ", 1024 * 1024).split(b"\0"):
            if variable.startswith(b"PROCDECK_ID=") and b"/" not in variable:
                yield variable.partition(b"=")[2].decode(errors="replace")
        for link in map(_link, Path(f"/proc/{pid}/fd").iterdir()):
            if link.startswith(f"{runs}/"):
                yield link.removeprefix(f"{runs}/").partition("/")[0]
    except posix.GONE:
        return  # or another user's


def _signal(pid: int, number: signal.Signals, marks: Marks) -> bool:
    """Hold the process by a descriptor first and look again: between the look and the signal its number could have gone
    to a stranger. False when it is another user's, and may not be signalled."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return not marks.are_on(pid) or send(fd, number)
    finally:
        os.close(fd)
