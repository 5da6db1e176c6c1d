"""Thin wrappers around what the kernel offers and Python's `os` does not: prctl, waitid with usage, locks that can be
asked about, /proc.

Linux only. Nothing here can be reached by user code that patches the standard library, see `procdeck.pristine`.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import ctypes
import errno
import fcntl
import struct
import sys
import termios
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from procdeck.pristine import os, signal

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
"""From linux/prctl.h; see prctl(2)."""

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

_libc = ctypes.CDLL(None, use_errno=True)
_prctl = _libc.prctl
_prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)
_SYS_WAITID = {"x86_64": 247, "aarch64": 95, "riscv64": 95}.get(os.uname().machine)
_P_PID = 1
_waitid_arguments = (ctypes.c_long, ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


def prctl(option: int, value: int) -> None:
    """prctl(2) with one argument. Raises OSError."""
    if _prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


_FALLOC_FL_KEEP_SIZE = 1
_fallocate = _libc.fallocate64 if hasattr(_libc, "fallocate64") else _libc.fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def reserve(fd: int, offset: int, size: int) -> bool:
    """Have the file system keep room for ``size`` bytes from ``offset`` on, the file staying as long as it is; False
    when it has none or can't promise any (fallocate(2))."""
    return bool(_fallocate(fd, _FALLOC_FL_KEEP_SIZE, offset, size) == 0)


def set_process_name(name: str) -> None:
    """What `ps -o comm` and `top` show of this process: the first 15 bytes of ``name`` (proc_pid_comm(5))."""
    fd = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, name.encode(errors="replace")[:15])
    except OSError:
        return  # a name is a help to people, nothing depends on it
    finally:
        os.close(fd)


@dataclass(frozen=True, slots=True)
class Exit:
    """How a child ended.

    ``exitcode`` is multiprocessing's: the code, or -N for signal N. ``wait_status`` is what waitpid(2) would give.
    ``usage`` holds the child's and its awaited descendants' ``user_seconds``, ``system_seconds``, ``max_rss_bytes``,
    ``minor_faults``, ``major_faults``, ``blocks_in``, ``blocks_out``, ``voluntary_switches``, ``involuntary_switches``;
    empty where the kernel's number for waitid(2) is not known to us.
    """

    exitcode: int
    wait_status: int
    core_dumped: bool
    usage: dict[str, float]


def peek_exit(pid: int) -> Exit | None:
    """How child ``pid`` ended, without reaping it; None while it runs.

    The status stays with the kernel until the record of it is on disk: only then the child is reaped. waitid(2) as a
    system call also gives the resource usage of a zombie, which the C library's wrapper and `os.waitid` leave out.
    """
    info = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if info is None:
        return None
    if info.si_code == os.CLD_EXITED:
        return Exit(info.si_status, info.si_status << 8, False, _zombie_usage(pid))
    core = info.si_code == os.CLD_DUMPED
    return Exit(-info.si_status, info.si_status | (0x80 if core else 0), core, _zombie_usage(pid))


_USAGE = struct.Struct("18q")
"""struct rusage of getrusage(2) on 64-bit Linux: two timevals and fourteen longs."""


def _zombie_usage(pid: int) -> dict[str, float]:
    if _SYS_WAITID is None:
        return {}
    usage = ctypes.create_string_buffer(_USAGE.size)
    siginfo = ctypes.create_string_buffer(128)
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    arguments = (_SYS_WAITID, _P_PID, pid, ctypes.addressof(siginfo), options, ctypes.addressof(usage))
    converted = (kind(value) for kind, value in zip(_waitid_arguments, arguments, strict=True))
    if _libc.syscall(*converted) != 0:
        return {}
    v = _USAGE.unpack(usage.raw)
    return {
        "user_seconds": v[0] + v[1] / 1e6,
        "system_seconds": v[2] + v[3] / 1e6,
        "max_rss_bytes": v[4] * 1024,
        "minor_faults": v[8],
        "major_faults": v[9],
        "blocks_in": v[11],
        "blocks_out": v[12],
        "voluntary_switches": v[16],
        "involuntary_switches": v[17],
    }


# --- locks ------------------------------------------------------------------------------------------------------------

_FLOCK = struct.Struct("hhqqi4x")
"""struct flock of fcntl(2) on 64-bit Linux: type, whence, start, len, pid."""


def lock(fd: int) -> bool:
    """Take the POSIX record lock on all of ``fd`` for this process; False when another process has it.

    A record lock and not flock(2): it is not inherited through fork, so a child that lives longer than its keeper does
    not hold the keeper's lock. The price: the process must never open and close the same file elsewhere, for any close
    drops the lock (fcntl(2)).
    """
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        raise
    return True


def is_locked(path: str) -> bool:
    """Whether another process holds the lock on the file ``path``; False when there is no such file."""
    try:
        # For reading: on a volume that is read-only for now, asking must still be possible.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        answer = fcntl.fcntl(fd, fcntl.F_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)
    finally:
        os.close(fd)


# --- /proc ------------------------------------------------------------------------------------------------------------


def read_file(path: str, limit: int = 65536) -> bytes:
    """The first ``limit`` bytes of ``path``. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, limit)
    finally:
        os.close(fd)


def read_whole(path: str) -> bytes:
    """All of ``path``, however many reads that takes. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return b"".join(iter(lambda: os.read(fd, 65536), b""))
    finally:
        os.close(fd)


class Stat(NamedTuple):
    """Of /proc/PID/stat (proc_pid_stat(5)): ``ticks`` is CPU time of the process and of its awaited children in clock
    ticks, ``start_ticks`` its start since boot, ``state`` one letter (R, S, D, T, Z …), ``rss_bytes`` its resident
    memory."""

    state: str
    parent: int
    session: int
    ticks: int
    threads: int
    start_ticks: int
    rss_bytes: int


GONE = (FileNotFoundError, ProcessLookupError, PermissionError)
"""What /proc answers of a process that is gone, or that is another user's where those are hidden (hidepid of proc(5)).
Any other error, such as that no descriptor is left, says nothing of the process."""


def stat(pid: int) -> Stat | None:
    """What /proc says of ``pid``; None when there is no such process to be seen. Raises OSError when it can't be looked
    at, as for want of a descriptor."""
    try:
        text = read_file(f"/proc/{pid}/stat", 2048)
    except GONE:
        return None
    # The name stands in brackets and may itself hold brackets and blanks: count from the last one.
    f = text[text.rfind(b")") + 2 :].split()
    ticks = int(f[11]) + int(f[12]) + int(f[13]) + int(f[14])
    return Stat(f[0].decode(), int(f[1]), int(f[3]), ticks, int(f[17]), int(f[19]), int(f[21]) * PAGE_BYTES)


def children(pid: int) -> list[int]:
    """The pids of the children of ``pid``, those of all its threads; empty when it is gone. Raises OSError when it
    can't be looked at."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except GONE:
        return found
    for thread in threads:
        try:
            # One read gives a page at most, some 700 children.
            found += map(int, read_whole(f"/proc/{pid}/task/{thread}/children").split())
        except FileNotFoundError:
            if thread == str(pid) and not HAS_CHILDREN_FILE:
                return [other for other in all_pids() if (s := stat(other)) is not None and s.parent == pid]
        except (ProcessLookupError, PermissionError):
            continue
    return found


HAS_CHILDREN_FILE = os.path.exists(f"/proc/self/task/{os.getpid()}/children")
"""Whether the kernel was built with CONFIG_PROC_CHILDREN; without it the whole of /proc is searched."""


def descendants(pid: int) -> list[int]:
    """The pids of all descendants of ``pid``, parents before their children. Raises OSError as `children` does.

    Those whose parent died belong to the nearest subreaper.
    """
    found = children(pid)
    for child in found:  # grows while it is walked
        found += children(child)
    return found


def open_files(pid: int) -> int:
    """How many descriptors ``pid`` has open; 0 when it is gone, or another user's. Raises OSError when it can't be
    looked at.

    The kernel tells the number as the folder's size since Linux 6.2. Before that they are counted, and no further than
    to `MOST_COUNTED`: there may be a million of them.
    """
    folder = f"/proc/{pid}/fd"
    try:
        if TELLS_OPEN_FILES:
            return os.stat(folder).st_size
        with os.scandir(folder) as entries:
            return sum(1 for _ in islice(entries, MOST_COUNTED))
    except GONE:
        return 0


MOST_COUNTED = 4096
TELLS_OPEN_FILES = os.stat("/proc/self/fd").st_size > 0


def unread_bytes(fd: int) -> int:
    """How many bytes wait in a pipe (FIONREAD of ioctl_tty(2)). Raises OSError."""
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)


def all_pids() -> Iterator[int]:
    """Every pid that /proc shows."""
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


BOOT_ID = read_file("/proc/sys/kernel/random/boot_id").decode().strip()
"""The kernel's random id of this boot; with it a start time in ticks names a process for good on one host."""


set_handler = _signal.signal
_get_handler = _signal.getsignal
"""The functions in C: those of the module make an enumeration's member of every answer, for some sixty signals in each
new process."""
_handled = tuple(map(int, signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE, signal.SIGXFSZ}))


def note_handled_signals() -> None:
    """Remember which signals are handled or ignored now, so that the processes forked from here reset only those."""
    global _handled
    _handled = tuple(number for number in _handled if _get_handler(number) != _signal.SIG_DFL)


def reset_signal(number: int) -> None:
    """Default disposition for one signal."""
    set_handler(number, _signal.SIG_DFL)


def reset_signals() -> None:
    """Default disposition for every signal, and nothing blocked: dispositions and the mask are inherited through fork.

    Python itself ignores SIGPIPE and SIGXFSZ so that they become exceptions; that stays as in a new interpreter, and so
    does KeyboardInterrupt.
    """
    for number in _handled:
        reset_signal(number)
    set_handler(signal.SIGINT, signal.default_int_handler)
    _signal.pthread_sigmask(signal.SIG_SETMASK, ())
