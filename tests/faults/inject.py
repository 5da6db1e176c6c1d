"""Means to make things go wrong, one context manager each; all is undone at the end, however the test ends."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
