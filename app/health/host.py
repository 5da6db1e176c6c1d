"""What this machine gives us: facts only, read from the kernel. What they mean is said by `app.health.doctor`."""

import os
import resource
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from procdeck import posix

UNLIMITED = sys.maxsize


@dataclass(frozen=True, slots=True)
class Disk:
    """Room on a file system for who is not root: bytes and inodes, free and in all. Some have no number of inodes:
    0 of 0 are free."""

    free: int
    size: int
    free_inodes: int
    inodes: int


def disk(folder: Path) -> Disk:
    """The disk that ``folder`` is on. Raises OSError; may take for ever when it does not answer."""
    found = os.statvfs(folder)
    return Disk(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize, found.f_favail, found.f_files)


def mount_type(folder: Path) -> str:
    """The type of the file system that ``folder`` is on, as /proc/self/mountinfo names it (proc_pid_mountinfo(5)): of
    the mount with the longest path above it."""
    best, kind = "", "unknown"
    for line in posix.read_whole("/proc/self/mountinfo").decode(errors="surrogateescape").splitlines():
        before, _, after = line.partition(" - ")
        point = _unescaped(before.split(" ")[4])
        # The last of several at one place covers the others.
        if len(point) >= len(best) and folder.is_relative_to(point):
            best, kind = point, after.split(" ")[0]
    return kind


def _unescaped(path: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, character)
    return path


@dataclass(frozen=True, slots=True)
class Descriptors:
    """File descriptors of this process: how many are open, and how many may be."""

    open: int
    most: int


def descriptors() -> Descriptors:
    """Of this process. When not even the folder of them can be opened, all are taken."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    try:
        return Descriptors(sum(1 for _ in os.scandir("/proc/self/fd")), most)
    except OSError:
        return Descriptors(most, most)


@dataclass(frozen=True, slots=True)
class Limits:
    """``open_files`` is the limit that the service raises its own to; each of ``tasks`` (by name) is a number of
    processes and threads that can't be exceeded."""

    open_files: int
    tasks: dict[str, int]


def limits() -> Limits:
    """The limits that a service started from here would have."""
    _, open_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = {
        "kernel.pid_max": _number("/proc/sys/kernel/pid_max"),
        "threads-max": _number("/proc/sys/kernel/threads-max"),
    }
    if os.geteuid() != 0:  # root is exempt
        found["RLIMIT_NPROC (ulimit -u)"] = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    found["pids.max of the control group"] = _group_number("pids", "pids.max")
    return Limits(_unless_infinite(open_files), {name: _unless_infinite(number) for name, number in found.items()})


def _unless_infinite(number: int) -> int:
    return UNLIMITED if number < 0 else number


def _number(path: str | Path) -> int:
    """The number in a file of the kernel; -1 for "max", and when there is none."""
    try:
        return int(posix.read_file(str(path), 100))
    except (OSError, ValueError):
        return -1


def _group_number(controller: str, name: str) -> int:
    """The lowest number of the control groups that this process is in."""
    numbers = [_number(folder / name) for folder in _groups(controller)]
    return min((number for number in numbers if number >= 0), default=-1)


def _groups(controller: str) -> list[Path]:
    """The folder of this process's control group and those above it, of version 2 or of a controller of version 1."""
    found: list[Path] = []
    for line in posix.read_file("/proc/self/cgroup").decode().splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" or controller in controllers.split(","):
            root = Path("/sys/fs/cgroup") / ("" if number == "0" else controller)
            inner = root / path.lstrip("/")
            # In a container the path may be the host's, and the root is all that is seen.
            found += [folder for folder in (inner, *inner.parents) if folder.is_relative_to(root) and folder.is_dir()]
    return found


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of memory: what can still be had and all there is, here or in the control group if that has less."""

    available: int
    size: int


def memory() -> Memory:
    """As /proc/meminfo and the control group have it. Raises OSError."""
    lines = posix.read_file("/proc/meminfo").decode().splitlines()
    kilobytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines) if rest}
    found = Memory(kilobytes.get("MemAvailable", 0) * 1024, kilobytes.get("MemTotal", 0) * 1024)
    for most, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        for group in _groups("memory"):
            size, taken = _number(group / most), _number(group / used)
            if 0 <= size < found.size and taken >= 0:
                found = Memory(min(found.available, max(0, size - taken)), size)
    return found


def cores() -> float:
    """How many cores this process may use at once, by its affinity and the quota of its control groups; it need not be
    a whole number."""
    found = float(len(os.sched_getaffinity(0)))
    for group in _groups("cpu"):
        quota, period = _quota(group)
        if quota > 0 and period > 0:
            found = min(found, quota / period)
    return found


def _quota(group: Path) -> tuple[int, int]:
    """Microseconds of CPU that a control group has in each period, and those of a period; -1 for no limit."""
    try:
        quota, period = posix.read_file(str(group / "cpu.max"), 100).split()
        return int(quota), int(period)
    except (OSError, ValueError):  # version 1, or "max"
        return _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")


@dataclass(frozen=True, slots=True)
class Kernel:
    """What the kernel can do for us."""

    pidfd: bool
    subreaper: bool
    children_file: bool
    proc: bool
    cgroup_v2: bool
    cgroup_v2_writable: bool


def kernel() -> Kernel:
    """Tried out, as far as that changes nothing."""
    groups = [folder for folder in _groups("") if (folder / "cgroup.procs").exists()]
    return Kernel(
        pidfd=_can_open_pidfd(),
        subreaper=_can_be_subreaper(),
        children_file=posix.HAS_CHILDREN_FILE,
        proc=Path("/proc/self/fd").is_dir(),
        cgroup_v2=bool(groups),
        cgroup_v2_writable=any(os.access(folder / "cgroup.procs", os.W_OK) for folder in groups[:1]),
    )


def _can_open_pidfd() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


def _can_be_subreaper() -> bool:
    try:
        posix.prctl(posix.PR_SET_CHILD_SUBREAPER, 1)
        posix.prctl(posix.PR_SET_CHILD_SUBREAPER, 0)
    except OSError:
        return False
    return True


def can_allocate(folder: Path) -> bool | None:
    """Whether room for a file can be set aside in ``folder``; None when no file can be made there at all."""
    try:
        fd = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    try:
        os.posix_fallocate(fd, 0, 4096)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def newest_file(folders: list[Path]) -> float:
    """When the newest file directly in these folders was changed, in seconds since 1970; 0 when there is none."""
    newest = 0.0
    for folder in folders:
        with suppress(OSError):
            newest = max([newest, *(entry.stat(follow_symlinks=False).st_mtime for entry in os.scandir(folder))])
    return newest


def first_process() -> str:
    """The command that is process 1 here, as far as we may see."""
    with suppress(OSError):
        return posix.read_file("/proc/1/cmdline", 4096).decode(errors="replace").replace("\0", " ").strip()
    return ""
