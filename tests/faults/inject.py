"""Means to make things go wrong, one context manager each; all is undone at the end, however the test ends."""

import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.waiting import wait_until


def command(*words: str | Path) -> None:
    """Run a program; raises AssertionError with what it said when it fails."""
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr or done.stdout}"


@contextmanager
def mounted(folder: Path, *options: str | Path) -> Iterator[Path]:
    """Something mounted at ``folder`` (made if needed); ``options`` are those of mount(8)."""
    folder.mkdir(parents=True, exist_ok=True)
    command("mount", *options, folder)
    try:
        yield folder
    finally:
        wait_until(lambda: _unmount(folder), 10, f"{folder} stays busy")


def _unmount(folder: Path) -> bool:
    return subprocess.run(["umount", folder], capture_output=True, check=False).returncode == 0


@contextmanager
def small_disk(folder: Path, size: str, inodes: int | None = None) -> Iterator[Path]:
    """A file system of ``size`` (``512k``) in memory, with so many inodes."""
    limit = f"size={size}" + (f",nr_inodes={inodes}" if inodes else "")
    with mounted(folder, "-t", "tmpfs", "-o", limit, "tmpfs") as disk:
        yield disk


@contextmanager
def frozen(mount: Path) -> Iterator[None]:
    """No write to the file system at ``mount`` returns: who tries sleeps, and can't be killed."""
    command("fsfreeze", "--freeze", mount)
    try:
        yield
    finally:
        command("fsfreeze", "--unfreeze", mount)


@contextmanager
def ext4(folder: Path, megabytes: int = 32) -> Iterator[Path]:
    """An ext4 file system in a file, which can be frozen and remounted."""
    image = folder.with_name(f"{folder.name}.img")
    with image.open("wb") as file:
        file.truncate(megabytes * 2**20)
    command("mkfs.ext4", "-q", "-F", image)
    try:
        with mounted(folder, "-o", "loop", image) as disk:
            yield disk
    finally:
        image.unlink()


class Clock:
    """The clock on the wall as the processes see it that were started with ``environ``; the monotonic one goes on."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("gcc") is None:
            pytest.skip("needs gcc")
        library, self._offset = folder / "clock.so", folder / "clock.offset"
        self.jump(0)
        command("gcc", "-shared", "-fPIC", "-O1", "-o", library, Path(__file__).with_name("clock.c"))
        self.environ = {"LD_PRELOAD": str(library), "TEST_CLOCK": str(self._offset)}

    def jump(self, seconds: int) -> None:
        """Show so many seconds more than the true time, from now on and in all of them."""
        # In place, for they have it mapped into their memory.
        with self._offset.open("r+b" if self._offset.exists() else "wb") as file:
            file.write(struct.pack("q", seconds))


@contextmanager
def paused(*pids: int) -> Iterator[None]:
    """SIGSTOP for these processes, and SIGCONT at the end for those that are still there."""
    fds = [os.pidfd_open(pid) for pid in pids]
    try:
        for fd in fds:
            signal.pidfd_send_signal(fd, signal.SIGSTOP)
        yield
    finally:
        for fd in fds:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, signal.SIGCONT)
            os.close(fd)


class Line:
    """A network line between this machine (``near``) and another one, that is only a network namespace."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.near = "10.213.7.1"
        self.far = "10.213.7.2"

    def far_client(self, port: int, request: bytes) -> subprocess.Popen[bytes]:
        """A program over there that connects to ``port`` here, sends ``request`` and reads until it is ended."""
        text = (
            "import socket, sys\n"
            f"peer = socket.create_connection(({self.near!r}, {port}))\n"
            f"peer.sendall({request!r})\n"
            "while peer.recv(65536): pass\n"
        )
        return subprocess.Popen(["ip", "netns", "exec", self._name, sys.executable, "-c", text])

    def cut(self) -> None:
        """From now on nothing comes through, and nobody is told."""
        command("ip", "netns", "exec", self._name, "ip", "link", "set", f"{self._name}f", "down")


@contextmanager
def network() -> Iterator[Line]:
    """A line to another machine."""
    name = f"pd{os.getpid()}"
    line = Line(name)
    command("ip", "netns", "add", name)
    try:
        command("ip", "link", "add", f"{name}n", "type", "veth", "peer", "name", f"{name}f", "netns", name)
        command("ip", "addr", "add", f"{line.near}/30", "dev", f"{name}n")
        command("ip", "link", "set", f"{name}n", "up")
        command("ip", "netns", "exec", name, "ip", "addr", "add", f"{line.far}/30", "dev", f"{name}f")
        command("ip", "netns", "exec", name, "ip", "link", "set", f"{name}f", "up")
        yield line
    finally:
        subprocess.run(["ip", "link", "del", f"{name}n"], capture_output=True, check=False)
        command("ip", "netns", "del", name)


@contextmanager
def control_group(controller: str, **limits: int) -> Iterator[Callable[[int], None]]:
    """A group of a v1 controller below our own, with these limits (``max=100`` for pids.max); gives what moves a
    process into it. At the end all in it are killed."""
    lines = (line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines())
    ours = next(path for _, names, path in lines if controller in names.split(","))
    group = Path("/sys/fs/cgroup", controller, ours.lstrip("/"), f"procdeck-{os.getpid()}")
    group.mkdir()
    try:
        for name, limit in limits.items():
            (group / f"{controller}.{name}").write_text(str(limit))

        def join(pid: int) -> None:
            (group / "cgroup.procs").write_text(str(pid))

        yield join
    finally:
        wait_until(lambda: not _kill_all_in(group), 10, f"{group} does not get empty")
        group.rmdir()


@contextmanager
def ourselves_in(controller: str, join: Callable[[int], None]) -> Iterator[None]:
    """What is started meanwhile is in the group that ``join`` moves into from its first instruction on."""
    lines = (line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines())
    ours = next(path for _, names, path in lines if controller in names.split(","))
    join(os.getpid())
    try:
        yield
    finally:
        Path("/sys/fs/cgroup", controller, ours.lstrip("/"), "cgroup.procs").write_text(str(os.getpid()))


@contextmanager
def file_limit(pid: int, limit: int) -> Iterator[None]:
    """``pid`` may not get a descriptor with this number or a higher one."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def fill(disk: Path) -> Path:
    """Take all the room that is left; the file that takes it."""
    ballast = disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            with suppress(OSError):
                while True:
                    file.write(b"x" * size)
    return ballast


@contextmanager
def failing_calls(pid: int, fault: str) -> Iterator[None]:
    """Let calls of ``pid`` fail as strace(1) has it: ``fdatasync:error=EIO:when=1``."""
    words = ["strace", "-qq", "-o", os.devnull, "-e", f"trace={fault.partition(':')[0]}", "-e", f"inject={fault}"]
    tracer = subprocess.Popen([*words, "-p", str(pid)])
    try:
        wait_until(lambda: _is_traced(pid), 10, f"strace does not get hold of {pid}")
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(10)


def _is_traced(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    return "TracerPid:\t0\n" not in status


def _kill_all_in(group: Path) -> list[str]:
    pids = (group / "cgroup.procs").read_text().split()
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    return pids
