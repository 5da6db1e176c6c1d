"""The data folder: what its parts are called, and the lock of the one service that has it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from app.health.file_systems import refuse_network
from app.startup_errors import DataFolderInUse, DataFolderUnusable
from procdeck import posix

RECORD = "procdeck.db"
RUNS = "runs"
LOCK = "service.lock"
ADDRESS = "service.json"
SOCKET = "service.sock"
TOKEN = "token"


def run_ids(runs: Path) -> Iterator[str]:
    """The ids of all run folders, in any order. Raises OSError."""
    with os.scandir(runs) as entries:
        for entry in entries:
            # Never by a link: what it leads to is not ours to read, or to remove anything from.
            if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                yield entry.name


def lock_data_folder(data_dir: Path) -> int:
    """Make the data folder if needed and take it for this process; the descriptor that holds the lock.

    Raises DataFolderInUse when another service has it, DataFolderUnusable when it can't be made or written, or is on a
    network file system.
    """
    refuse_network("the data folder", data_dir)
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if data_dir.stat().st_mode & 0o077:
            data_dir.chmod(0o700)
        fd = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DataFolderUnusable(f"the data folder {data_dir} can't be used: {error.strerror}") from error
    if not posix.lock(fd):
        os.close(fd)
        raise DataFolderInUse(f"the data folder {data_dir} is in use by another service{_who(data_dir)}")
    return fd


def _who(data_dir: Path) -> str:
    try:
        told = json.loads((data_dir / ADDRESS).read_text())
        return f" (pid {told['pid']}, {told['url']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
