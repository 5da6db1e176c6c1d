"""What the kernel says of processes: parents, memory, CPU time. Linux only, as Procdeck is."""

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

_CPUCLOCK_SCHED = 2  # linux/posix-timers.h: the time all threads of a process ran, in nanoseconds


def parent(pid: int) -> int:
    """The parent's pid. Raises FileNotFoundError when the process is gone."""
    # The name of the program stands in parentheses and may hold anything; the fields follow the last one.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1])


def _parents() -> dict[int, int]:
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):
                parents[int(folder.name)] = parent(int(folder.name))
    return parents


def descendants(pid: int) -> set[int]:
    """All processes below this one, not counting itself."""
    parents = _parents()
    found: set[int] = set()
    level = {pid}
    while level:
        level = {child for child, above in parents.items() if above in level}
        found |= level
    return found


def named(word: str) -> set[int]:
    """All processes that have a word in their command line."""
    found: set[int] = set()
    for pid in _parents():
        with contextlib.suppress(OSError):
            if word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(pid)
    return found


def pss(pids: Iterable[int]) -> int:
    """Memory of these processes together in bytes: pages shared by n processes count as an n-th for each."""
    return sum(_pss(pid) for pid in pids)


def _pss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/{pid}/smaps_rollup has no line Pss:")


def resident(pid: int) -> int:
    """Resident memory of a process in bytes. Raises OSError when it is gone."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors(pid: int) -> int:
    """Open descriptors of a process. Raises OSError when it is gone."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time of these processes together, user and system, in seconds; those that are gone count nothing.

    /proc/PID/stat counts in ticks of 10 ms: too coarse for hundreds of processes that do next to nothing.
    """
    return sum(_cpu_seconds(pid) for pid in pids)


def _cpu_seconds(pid: int) -> float:
    with contextlib.suppress(OSError):
        return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)
    return 0.0
