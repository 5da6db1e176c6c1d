"""What is done to files in more than one place: removing and closing them when that may fail without anything being
lost, and making a name durable."""

from __future__ import annotations

from procdeck.pristine import os


def remove(path: str) -> None:
    """Unlink it; nothing happens when that can't be done, as when it is gone already."""
    try:
        os.unlink(path)
    except OSError:
        return


def close(fd: int) -> None:
    """Let go of a descriptor. The kernel does so whatever it reports (close(2)): the number must be forgotten before,
    for it may be another file's right after."""
    try:
        os.close(fd)
    except OSError:
        return


def sync_folder(path: str) -> None:
    """Wait until the names in a folder are on the disk: a rename is atomic, and durable only then. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
