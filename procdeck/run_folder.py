"""The folder of one process on disk: the truth about it, from which the database can be made anew.

``spec.json`` (the launch), ``journal.ndjson`` (what happened, one JSON object a line, fdatasynced), ``log/`` (see
`procdeck.log`), ``lock`` (held by the keeper as long as it lives) and ``keeper.log`` (the keeper's own troubles).
Folders are 0700, files 0600.
"""

from __future__ import annotations

from _thread import get_native_id
from datetime import UTC, datetime
from errno import ENOSPC
from typing import Any

from procdeck import failpoints, posix
from procdeck.pristine import os
from procdeck.protocol import dump_json, load_json

SPEC = "spec.json"
JOURNAL = "journal.ndjson"
LOG = "log"
LOCK = "lock"
KEEPER_LOG = "keeper.log"

Entry = dict[str, Any]
"""One entry of a journal: ``seq`` (1, 2, …), ``at`` (UTC, ISO 8601), ``event``, ``actor``, ``reason``, ``data``."""


def create(folder: str, spec: dict[str, Any]) -> None:
    """Make the run folder with its spec. Raises OSError; FileExistsError when it is there already."""
    os.mkdir(folder, 0o700)
    os.mkdir(f"{folder}/{LOG}", 0o700)
    # Written under another name first: whoever finds spec.json finds all of it.
    _write_new(f"{folder}/{SPEC}.new", dump_json(spec))
    os.rename(f"{folder}/{SPEC}.new", f"{folder}/{SPEC}")


def settle(folder: str) -> None:
    """Make the spec of a new run folder durable.

    Its entry, and that of the folder among the others, need no sync of their own: file systems with a journal commit
    them with the file that was made after them (ext4, XFS and Btrfs do), and this file's fsync commits all that came
    before.
    """
    fd = os.open(f"{folder}/{SPEC}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _write_new(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        _write_whole(fd, data)
    finally:
        os.close(fd)


def _write_whole(fd: int, data: bytes) -> None:
    """Write all of it. Raises OSError also when a disk that is just full took a part."""
    if os.write(fd, data) < len(data):
        raise OSError(ENOSPC, os.strerror(ENOSPC))


def read_spec(folder: str) -> dict[str, Any]:
    """The launch spec. Raises OSError when it can't be read, ValueError when it is not what `create` wrote."""
    spec = load_json(posix.read_file(f"{folder}/{SPEC}", 4 * 1024 * 1024))
    if not isinstance(spec, dict):
        raise ValueError("spec.json does not hold an object")  # noqa: TRY004 - the text is wrong, not a caller's type
    return spec


def claim(folder: str) -> int | None:
    """The right to decide what becomes of the process: a file descriptor with the lock, or None when somebody has
    claimed it before. Raises OSError.

    The file is made by whoever comes first and is never removed, so a process is started at most once, however late a
    second keeper comes; and once the service has claimed a process that no keeper took, none ever will.
    """
    # Locked under a name of this thread's own before it gets the one that counts: nobody sees it claimed and not kept.
    draft = f"{folder}/{LOCK}.{get_native_id()}"
    fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        posix.lock(fd)
        os.link(draft, f"{folder}/{LOCK}")
    except OSError as error:
        os.close(fd)
        if isinstance(error, FileExistsError):
            return None
        raise
    finally:
        os.unlink(draft)
    return fd


def is_kept(folder: str) -> bool:
    """Whether a keeper lives that holds this folder."""
    return posix.is_locked(f"{folder}/{LOCK}")


def is_claimed(folder: str) -> bool:
    """Whether a keeper, or the service in its stead, ever took this folder."""
    return os.path.exists(f"{folder}/{LOCK}")


class Journal:
    """The writing end of a journal; one process writes it, the keeper."""

    def __init__(self, folder: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self.fd = os.open(f"{folder}/{JOURNAL}", flags, 0o600)
        self._size = os.fstat(self.fd).st_size
        self.seq = 0

    def append(self, event: str, actor: str, reason: str | None, data: dict[str, Any]) -> Entry:
        """Write an entry and wait until it is on the disk; the entry. Raises OSError, and leaves no part of it then."""
        entry = {"seq": self.seq + 1, "at": now_text(), "event": event, "actor": actor, "reason": reason, "data": data}
        line = dump_json(entry) + b"\n"
        try:
            failpoints.reach("journal.append.before")
            _write_whole(self.fd, line)
            failpoints.reach("journal.append.written")
            os.fdatasync(self.fd)
        except OSError:
            os.ftruncate(self.fd, self._size)
            raise
        self._size += len(line)
        self.seq += 1
        failpoints.reach("journal.append.synced")
        return entry


def read_journal(folder: str) -> list[Entry]:
    """The whole entries, oldest first; empty when there is none. A last line without its newline is being written: it
    does not count yet.

    Raises ValueError when a whole line is not an entry.
    """
    try:
        text = posix.read_whole(f"{folder}/{JOURNAL}")
    except FileNotFoundError:
        return []
    return [_entry(line) for line in text.split(b"\n")[:-1]]


def _entry(line: bytes) -> Entry:
    entry = load_json(line)
    if not isinstance(entry, dict) or not isinstance(entry.get("seq"), int) or not isinstance(entry.get("event"), str):
        raise ValueError("a line of the journal is not an entry")  # noqa: TRY004
    return entry


def now_text() -> str:
    """The time now, UTC, ISO 8601 with microseconds."""
    return datetime.now(UTC).isoformat()
