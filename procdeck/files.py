"""Files whose removal or closing may fail without anything being lost."""

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
