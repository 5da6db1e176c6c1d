"""The kernel's out-of-memory killer: whom it takes first, and whether it was at work.

Service and keepers ask to be taken last (``oom_score_adj`` of proc_pid_oom_score_adj(5)), as far as they may; launchers
and children run with the value that the service found. Nothing here raises: it is help, nothing depends on it.
"""

from __future__ import annotations

from procdeck import posix
from procdeck.pristine import os

PROTECTED = -900
"""Of a service and of its keepers: nearly everybody else goes first."""

_SCORE = "/proc/self/oom_score_adj"


def score() -> int:
    """The value of this process; 0, the kernel's default, when it can't be read."""
    try:
        return int(posix.read_file(_SCORE, 32))
    except (OSError, ValueError):
        return 0


FOUND = score()
"""What this process was started with."""


def set_score(value: int) -> None:
    """Set the value of this process, from which its children inherit. Making it smaller is a privilege."""
    try:
        fd = os.open(_SCORE, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(fd, str(value).encode())
    except OSError:
        return
    finally:
        os.close(fd)


def protect() -> int:
    """Be taken late; the value before."""
    before = score()
    if before > PROTECTED:
        set_score(PROTECTED)
    return before


def kills() -> int | None:
    """How many processes of this process's control group the killer has ended so far; None when that can't be known.

    The group is looked up once, at import: a launcher's keepers and children are in its own.
    """
    return _count(_COUNTER) if _COUNTER else None


def limit() -> int | None:
    """How many bytes of memory this process's control group may use; None when it has no limit of its own, or that
    can't be known."""
    if _COUNTER is None:
        return None
    folder, _, name = _COUNTER.rpartition("/")
    try:
        text = posix.read_file(f"{folder}/{_LIMITS[name]}", 64).strip()
    except OSError:
        return None
    # Version 1 has a number near to the largest there is when there is no limit.
    return int(text) if text.isdigit() and int(text) < 2**60 else None


_LIMITS = {"memory.events": "memory.max", "memory.oom_control": "memory.limit_in_bytes"}


def _count(path: str) -> int | None:
    try:
        text = posix.read_file(path, 4096)
    except OSError:
        return None
    for line in text.splitlines():
        name, _, number = line.partition(b" ")
        if name == b"oom_kill" and number.isdigit():
            return int(number)
    return None


def _find_counter() -> str | None:
    """The file with the count: ``memory.events`` of version 2, ``memory.oom_control`` of version 1 (the kernel's
    admin-guide/cgroup-v2 and cgroup-v1/memory)."""
    try:
        groups = posix.read_file("/proc/self/cgroup").decode().splitlines()
    except (OSError, ValueError):
        return None
    for line in groups:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            paths = [f"/sys/fs/cgroup{group}/memory.events", f"/sys/fs/cgroup/unified{group}/memory.events"]
        elif "memory" in controllers.split(","):
            paths = [f"/sys/fs/cgroup/memory{group}/memory.oom_control"]
            # In a container the mount may show the group as its root.
            paths.append("/sys/fs/cgroup/memory/memory.oom_control")
        else:
            continue
        for path in paths:
            if _count(path) is not None:
                return path
    return None


_COUNTER = _find_counter()
