"""The kernel's answers, asked for real."""

import ctypes
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from procdeck import posix
from tests.waiting import wait_until


@contextmanager
def child(*code: str) -> Iterator[int]:
    """A program of the shell or of Python, reaped by nobody but this; its pid."""
    process = subprocess.Popen(code, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def exit_of(pid: int) -> posix.Exit:
    wait_until(lambda: posix.peek_exit(pid) is not None, 10, "it does not end")
    ended = posix.peek_exit(pid)
    assert ended is not None
    return ended


@pytest.mark.parametrize(
    ("command", "code", "status"), [("exit 0", 0, 0), ("exit 7", 7, 0x700), ("kill -TERM $$", -15, 15)]
)
def test_an_exit_is_seen_without_taking_it(command: str, code: int, status: int) -> None:
    with child("sh", "-c", command) as pid:
        ended = exit_of(pid)
        assert (ended.exitcode, ended.wait_status, ended.core_dumped) == (code, status, False)
        assert posix.peek_exit(pid) == ended
        assert os.waitstatus_to_exitcode(ended.wait_status) == code
        assert os.waitpid(pid, 0) == (pid, status)


def test_a_living_child_has_no_exit_and_a_stranger_is_nobody_s_child() -> None:
    with child("cat") as pid:
        assert posix.peek_exit(pid) is None
    with pytest.raises(ChildProcessError):
        posix.peek_exit(1)


def test_the_usage_of_a_zombie_is_that_which_the_kernel_gives_at_the_end() -> None:
    """Field by field as wait4(2) tells it afterwards; a buffer too short would also hit the memory behind it."""
    program = "import time, os\nx = bytearray(32 << 20)\nfor _ in range(3): time.sleep(0.001)\nsum(range(300000))"
    with child(sys.executable, "-c", program) as pid:
        told = exit_of(pid).usage
        _, _, usage = os.wait4(pid, 0)
    assert told == {
        "user_seconds": pytest.approx(usage.ru_utime),
        "system_seconds": pytest.approx(usage.ru_stime),
        "max_rss_bytes": usage.ru_maxrss * 1024,
        "minor_faults": usage.ru_minflt,
        "major_faults": usage.ru_majflt,
        "blocks_in": usage.ru_inblock,
        "blocks_out": usage.ru_oublock,
        "voluntary_switches": usage.ru_nvcsw,
        "involuntary_switches": usage.ru_nivcsw,
    }
    assert told["voluntary_switches"] >= 3
    assert told["max_rss_bytes"] > 32 << 20


def test_the_structures_are_as_long_as_the_kernel_s() -> None:
    class Rusage(ctypes.Structure):
        _fields_ = [("times", ctypes.c_long * 4), ("counts", ctypes.c_long * 14)]

    assert posix._USAGE.size == ctypes.sizeof(Rusage)
    assert posix._FLOCK.size == 32


# --- locks ----------------------------------------------------------------------------------------------------------

HOLD = """
import sys
from procdeck import posix
file = open(sys.argv[1], "r+")
assert posix.lock(file.fileno())
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_lock_of_another_process_is_seen_and_goes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not posix.is_locked(str(path))
    path.touch()
    assert not posix.is_locked(str(path))
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path.cwd()
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        assert posix.is_locked(str(path))
        with path.open("r+") as file:
            assert not posix.lock(file.fileno())
    finally:
        holder.kill()
        holder.communicate()
    assert not posix.is_locked(str(path))
    with path.open("r+") as file:
        assert posix.lock(file.fileno())


def test_a_lock_can_be_asked_about_where_nothing_can_be_written() -> None:
    assert not posix.is_locked("/proc/sys/kernel/osrelease")  # not even root may open it for writing


def test_a_link_in_place_of_a_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic links"):
        posix.is_locked(str(tmp_path / "lock"))


# --- /proc ----------------------------------------------------------------------------------------------------------


def test_what_proc_says_of_a_process() -> None:
    with child("cat") as pid:
        wait_until(lambda: (s := posix.stat(pid)) is not None and s.state == "S", 10, "cat does not wait")
        found = posix.stat(pid)
        assert found is not None
        assert (found.parent, found.session, found.threads) == (os.getpid(), os.getsid(0), 1)
        assert found.rss_bytes > 0
        assert found.start_ticks > 0
    assert posix.stat(pid) is None


def test_a_want_of_descriptors_is_not_taken_for_a_process_that_is_gone() -> None:
    def work() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        for look in (posix.stat, posix.children, posix.descendants):
            with pytest.raises(OSError, match="Too many open files"):
                look(os.getppid())

    in_a_child(work)


def test_a_name_with_brackets_and_blanks_confuses_nobody(tmp_path: Path) -> None:
    program = tmp_path / "a) R 1 (b"
    program.symlink_to("/bin/sleep")
    with child(str(program), "1000") as pid:
        wait_until(lambda: (s := posix.stat(pid)) is not None and s.state == "S", 10, "it does not sleep")
        found = posix.stat(pid)
        assert found is not None
        assert found.parent == os.getpid()


def test_children_that_fill_more_than_a_page() -> None:
    """So much one read of the kernel's list gives."""
    die_with_parent = f"__import__('ctypes').CDLL(None).prctl({posix.PR_SET_PDEATHSIG}, {signal.SIGKILL:d})"
    program = f"""
import os, signal
for _ in range(1200):
    if os.fork() == 0:
        {die_with_parent}
        signal.pause()
signal.pause()"""
    with child(sys.executable, "-c", program) as pid:
        wait_until(lambda: len(posix.children(pid)) == 1200, 30, lambda: f"{len(posix.children(pid))} children")
        assert len(set(posix.children(pid))) == 1200


@pytest.mark.parametrize("with_file", [True, False])
def test_children_and_descendants(monkeypatch: pytest.MonkeyPatch, with_file: bool) -> None:
    if not with_file:

        def read_whole(path: str) -> bytes:
            raise FileNotFoundError(path)

        monkeypatch.setattr(posix, "read_whole", read_whole)
        monkeypatch.setattr(posix, "HAS_CHILDREN_FILE", False)
    with child("sh", "-c", "sleep 1000 & sh -c 'sleep 1000 & wait' & wait") as pid:
        wait_until(lambda: len(posix.descendants(pid)) == 3, 10, "it has no family")
        direct, every = posix.children(pid), posix.descendants(pid)
        assert len(direct) == 2
        assert every[:2] == direct
        assert set(every) <= set(posix.all_pids())
        for each in every:
            os.kill(each, signal.SIGKILL)
    assert posix.children(pid) == []
    assert posix.descendants(pid) == []


def test_the_boot_has_a_name() -> None:
    assert len(posix.BOOT_ID) == 36


# --- signals and prctl ----------------------------------------------------------------------------------------------


def in_a_child(work: Callable[[], object]) -> None:
    """Run ``work`` in a forked child; its exception fails the test."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            work()
            text = b""
        except BaseException as error:
            text = repr(error).encode()
        os.write(write, text)
        os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    problem = os.read(read, 65536).decode()
    os.close(read)
    assert not problem


def test_signals_are_reset() -> None:
    def work() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGRTMIN, signal.SIG_IGN)
        posix.reset_signals()
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGRTMIN):
            assert signal.getsignal(number) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN

    in_a_child(work)


def test_a_subreaper_gets_the_orphans() -> None:
    def work() -> None:
        posix.prctl(posix.PR_SET_CHILD_SUBREAPER, 1)
        middle = os.fork()
        if middle == 0:
            if os.fork() == 0:
                signal.pause()
            os._exit(0)
        os.waitpid(middle, 0)
        [orphan] = posix.children(os.getpid())
        os.kill(orphan, signal.SIGKILL)
        os.waitpid(orphan, 0)

    in_a_child(work)


def test_prctl_says_what_is_wrong() -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        posix.prctl(999_999, 0)


def test_nothing_is_left_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        posix.stat(os.getpid())
        posix.children(os.getpid())
        posix.is_locked("/etc/passwd")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert resource.getpagesize() == posix.PAGE_BYTES
