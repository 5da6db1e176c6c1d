"""The tree below a keeper: who belongs to it, and what it uses."""

from __future__ import annotations

import sys
from contextlib import suppress
from time import monotonic
from typing import Any

from procdeck import posix
from procdeck.pristine import os, signal


class Meter:
    """CPU and memory of a tree, from /proc."""

    def __init__(self) -> None:
        self.sample: dict[str, Any] | None = None
        self.cpu_seconds = 0.0
        self.max_rss_bytes = 0
        self.reaped_seconds = 0.0
        self._at = monotonic()

    def add_reaped(self, seconds: float) -> None:
        """CPU time of an orphan that the keeper reaped: no living process's counters hold it."""
        self.reaped_seconds += seconds

    def measure(self, keeper: int, pids: list[int]) -> bool:
        """Take a sample of ``pids``; whether it differs from the one before."""
        stats = [stat for pid in pids if (stat := posix.stat(pid)) is not None]
        now = monotonic()
        spent = max(self.cpu_seconds, sum(stat.ticks for stat in stats) / posix.TICKS_PER_SECOND + self.reaped_seconds)
        percent = 100 * (spent - self.cpu_seconds) / max(now - self._at, 0.001)
        rss = sum(stat.rss_bytes for stat in stats)
        self._at, self.cpu_seconds = now, spent
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
                "state": stats[0].state if stats else None,
            },
        )
        return before != self.sample


def leftovers(child: int) -> list[int]:
    """The living descendants of this process but ``child`` and multiprocessing's helpers."""
    below = posix.descendants(os.getpid())
    return [pid for pid in below if pid != child and not _is_over(pid) and not _is_helper(pid)]


def signal_each(pids: list[int], number: signal.Signals) -> None:
    """To descendants that are not our children: another may reap one and its number may come back, so each is held by a
    pidfd first and looked for again."""
    for start in range(0, len(pids), HELD_AT_ONCE):
        held = {pid: fd for pid in pids[start : start + HELD_AT_ONCE] if (fd := _open_pidfd(pid)) is not None}
        try:
            below = set(posix.descendants(os.getpid()))
            for pid in held.keys() & below:
                send(held[pid], number)
        finally:
            for fd in held.values():
                os.close(fd)


HELD_AT_ONCE = 100
"""Descriptors that signalling takes at most; for each so many the tree is walked once more."""


def _open_pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def kill_below(child: int, group: int | None) -> None:
    """SIGKILL to all that `leftovers` gives, each stopped before the first is killed.

    What forks without end takes the place of every one that is killed before it, and leaves us no time to look for it:
    killing alone never comes to an end. One that is stopped forks no more, and keeps its place. ``group`` is the
    process group of a child that is not reaped yet (so that nobody else can have the number): one call stops all of it.
    """
    if group is not None:
        with suppress(OSError):  # it has no group of its own yet, or has changed its user
            os.killpg(group, signal.SIGSTOP)
    stopped: set[int] = set()
    deadline = monotonic() + STOP_WITHIN
    while _stop_below(child, stopped) and monotonic() < deadline:
        continue
    signal_each(leftovers(child), signal.SIGKILL)


STOP_WITHIN = 5.0
"""Seconds after which the killing begins, whoever still forks; it is then repeated."""


def _stop_below(child: int, stopped: set[int]) -> bool:
    """SIGSTOP to every living descendant but ``child`` and helpers that is not in ``stopped``, and note it there;
    whether there were any. From the top down: whoever is stopped has got all its children, see copy_process() in the
    kernel, which gives up when a signal waits."""
    ours = {os.getpid()}
    fresh = False
    below = posix.children(os.getpid())
    for pid in below:  # grows while it is walked
        if pid not in stopped and pid != child and not _is_helper(pid):
            fd = _open_pidfd(pid)
            stat = posix.stat(pid)
            if fd is not None:
                if stat is not None and stat.parent in ours and stat.state not in "ZX":
                    send(fd, signal.SIGSTOP)
                    stopped.add(pid)
                    fresh = True
                os.close(fd)
        ours.add(pid)
        below += posix.children(pid)
    return fresh


def send(pidfd: int, number: signal.Signals) -> None:
    """A signal through a pidfd; nothing happens when the process is gone."""
    try:
        signal.pidfd_send_signal(pidfd, number)
        if number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # A stopped process takes a signal that can be caught only when it goes on.
            signal.pidfd_send_signal(pidfd, signal.SIGCONT)
    except ProcessLookupError:
        return


def _is_over(pid: int) -> bool:
    stat = posix.stat(pid)
    return stat is None or stat.state in "ZX"


def _is_helper(pid: int) -> bool:
    """multiprocessing's own resource tracker and fork server: they ignore SIGTERM and end by themselves when those who
    need them are gone. What a fork server forks has its command line too, so the server is told by its pid."""
    if pid == _fork_server_pid():
        return True
    try:
        command = posix.read_file(f"/proc/{pid}/cmdline", 4096)
    except OSError:
        return False
    return b"multiprocessing.resource_tracker" in command


def _fork_server_pid() -> int | None:
    """The pid of this keeper's fork server, when the launch needed one."""
    module: Any = sys.modules.get("multiprocessing.forkserver")
    return module._forkserver._forkserver_pid if module is not None else None
