"""The tree below a keeper: who belongs to it, and what it uses."""

from __future__ import annotations

import sys
from collections.abc import Container
from contextlib import suppress
from time import monotonic
from typing import Any

from procdeck import posix
from procdeck.pristine import os, signal

LEAST_SPAN = 0.25
"""Seconds over which the use of CPU is measured at least."""


class Meter:
    """CPU, memory, threads and open files of a tree, from /proc."""

    def __init__(self) -> None:
        self.sample: dict[str, Any] | None = None
        self.cpu_seconds = 0.0
        self.max_rss_bytes = 0
        self.reaped_seconds = 0.0
        self.begin()

    def begin(self) -> None:
        """What is measured begins now."""
        self._since = monotonic(), self.cpu_seconds

    def add_reaped(self, seconds: float) -> None:
        """CPU time of an orphan that the keeper reaped: no living process's counters hold it."""
        self.reaped_seconds += seconds

    def measure(self, pids: list[int]) -> bool:
        """Take a sample of ``pids``; whether it differs from the one before."""
        found = [(pid, stat) for pid in pids if (stat := posix.stat(pid)) is not None]
        stats = [stat for _, stat in found]
        now = monotonic()
        spent = max(self.cpu_seconds, sum(stat.ticks for stat in stats) / posix.TICKS_PER_SECOND + self.reaped_seconds)
        percent = self._percent(now, spent)
        rss = sum(stat.rss_bytes for stat in stats)
        self.cpu_seconds = spent
        self.max_rss_bytes = max(self.max_rss_bytes, rss)
        before, self.sample = (
            self.sample,
            {
                "cpu_percent": round(percent, 1),
                "cpu_seconds": round(spent, 3),
                "rss_bytes": rss,
                "max_rss_bytes": self.max_rss_bytes,
                "processes": len(stats),
                "threads": sum(stat.threads for stat in stats),
                "open_files": sum(posix.open_files(pid) for pid, _ in found),
                "state": stats[0].state if stats else None,
            },
        )
        return before != self.sample

    def _percent(self, now: float, spent: float) -> float:
        """CPU use since the sample before; between two that come close on each other it stays as it was, for the kernel
        counts in hundredths of a second."""
        at, spent_then = self._since
        if self.sample is not None and now - at < LEAST_SPAN:
            last: float = self.sample["cpu_percent"]
            return last
        self._since = now, spent
        return 100 * (spent - spent_then) / max(now - at, 0.001)


def leftovers(child: int) -> list[int]:
    """The living descendants of this process but ``child`` and multiprocessing's helpers. Raises OSError when they
    can't be looked for, as for want of a descriptor."""
    return [pid for pid in posix.descendants(os.getpid()) if _is_left(pid, child) and not _is_over(pid)]


def signal_below(child: int, number: signal.Signals) -> set[int]:
    """To all that `leftovers` gives now; those that are another user's (of a setuid program), and did not get it.

    Raises OSError; some may have got it then.
    """
    below = posix.descendants(os.getpid())
    ours = {os.getpid(), *below}
    return {pid for pid in below if _is_left(pid, child) and _reach(pid, number, ours) is False}


def kill_below(child: int, group: int | None) -> set[int]:
    """SIGKILL to all that `leftovers` gives, each stopped before the first is killed; those that may not be signalled.
    Raises OSError; some may have been signalled then.

    What forks without end takes the place of every one that is killed before it, and leaves us no time to look for it:
    killing alone never comes to an end. One that is stopped forks no more, and keeps its place. ``group`` is the
    process group of a child that is not reaped yet (so that nobody else can have the number): one call stops all of it.
    """
    if group is not None:
        with suppress(OSError):  # it has no group of its own yet, or has changed its user
            os.killpg(group, signal.SIGSTOP)
    seen: set[int] = set()
    deadline = monotonic() + STOP_WITHIN
    while _stop_below(child, seen) and monotonic() < deadline:
        continue
    denied = signal_below(child, signal.SIGKILL)
    _let_helpers_go_on()
    return denied


STOP_WITHIN = 5.0
"""Seconds after which the killing begins, whoever still forks; it is then repeated."""


def _stop_below(child: int, seen: set[int]) -> bool:
    """SIGSTOP to every living descendant but ``child`` and helpers that is not in ``seen``, and note it there; whether
    there were any. From the top down: whoever is stopped has got all its children, see copy_process() in the kernel,
    which gives up when a signal waits."""
    ours = {os.getpid()}
    fresh = False
    below = posix.children(os.getpid())
    for pid in below:  # grows while it is walked
        if pid not in seen and _is_left(pid, child) and _reach(pid, signal.SIGSTOP, ours) is not None:
            seen.add(pid)
            fresh = True
        ours.add(pid)
        below += posix.children(pid)
    return fresh


def _let_helpers_go_on() -> None:
    """Those of the child's group were stopped with it, and nobody else would wake them: they would never end."""
    below = posix.descendants(os.getpid())
    for pid in below:
        if _is_helper(pid):
            _reach(pid, signal.SIGCONT, {os.getpid(), *below})


def _reach(pid: int, number: signal.Signals, ours: Container[int]) -> bool | None:
    """A signal to a descendant that need not be our child, ``ours`` being where its parent must be; whether it may be
    signalled, None when it is over.

    Another may reap it and its number may come back, so it is held by a pidfd first and then looked for again.
    """
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    try:
        stat = posix.stat(pid)
        if stat is None or stat.parent not in ours or stat.state in "ZX":
            return None
        return send(fd, number)
    finally:
        os.close(fd)


def send(pidfd: int, number: signal.Signals) -> bool:
    """A signal through a pidfd, which does nothing when the process is gone; False when it is another user's and may
    not be signalled. Raises OSError for what is no pidfd."""
    try:
        signal.pidfd_send_signal(pidfd, number)
        if number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # A stopped process takes a signal that can be caught only when it goes on.
            signal.pidfd_send_signal(pidfd, signal.SIGCONT)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return True


def _is_left(pid: int, child: int) -> bool:
    return pid != child and not _is_helper(pid)


def _is_over(pid: int) -> bool:
    stat = posix.stat(pid)
    return stat is None or stat.state in "ZX"


def _is_helper(pid: int) -> bool:
    """multiprocessing's own resource tracker and fork server: they ignore SIGTERM and end by themselves when those who
    need them are gone. What a fork server forks has its command line too, so the server is told by its pid."""
    if pid == fork_server_pid():
        return True
    try:
        command = posix.read_file(f"/proc/{pid}/cmdline", 4096)
    except posix.GONE:
        return False
    return b"multiprocessing.resource_tracker" in command


def fork_server_pid() -> int | None:
    """The pid of this keeper's fork server, when the launch needed one."""
    module: Any = sys.modules.get("multiprocessing.forkserver")
    return module._forkserver._forkserver_pid if module is not None else None
