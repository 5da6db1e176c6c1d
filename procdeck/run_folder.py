"""The folder of one process on disk: the truth about it, from which the database can be made anew.

``spec.json`` (the launch), ``journal.ndjson`` (what happened, one JSON object a line, fdatasynced), ``log/`` (see
`procdeck.log`), ``lock`` (held by the keeper as long as it lives), ``keeper.log`` (the keeper's own troubles) and
``usage`` (what it used, see `procdeck.usage`; there when it ran for longer than a moment).
Folders are 0700, files 0600.
"""

from __future__ import annotations

import stat
from _thread import get_native_id
from datetime import UTC, datetime
from errno import EDQUOT, ELOOP, ENOSPC, ENXIO
from typing import Any, NamedTuple

from procdeck import failpoints, files, posix
from procdeck.pristine import os
from procdeck.protocol import dump_json, load_json

SPEC = "spec.json"
JOURNAL = "journal.ndjson"
LOG = "log"
LOCK = "lock"
KEEPER_LOG = "keeper.log"
FULL = (ENOSPC, EDQUOT)
"""The errors of a disk that takes no more."""
RESERVE_BYTES = 16 * 1024
"""Room that a journal keeps ahead: some twenty entries, or an exit record without what a target may put into it."""
MAX_JOURNAL_BYTES = 64 * 1024 * 1024
"""What is longer is not read: no journal of ours is, and reading one that somebody made must not cost the memory."""

MOST_BYTES = {"signalled": 1024 * 1024, "asked": 2 * 1024 * 1024}
"""Length of a journal from which on entries of these kinds are left out: they may come without end, and what is behind
them, the exit record, must stay readable. A request has more room: by it an end is judged."""

Entry = dict[str, Any]
"""One entry of a journal: ``seq`` (1, 2, …), ``at`` (UTC, ISO 8601), ``event``, ``actor``, ``reason``, ``data``."""


def create(folder: str, spec: dict[str, Any]) -> None:
    """Make the run folder with its spec. Raises OSError; FileExistsError when it is there already."""
    os.mkdir(folder, 0o700)
    os.mkdir(f"{folder}/{LOG}", 0o700)
    _put_spec(folder, spec)


def _put_spec(folder: str, spec: dict[str, Any]) -> None:
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
    fd = _new_lock(draft)
    try:
        os.link(draft, f"{folder}/{LOCK}")
    except OSError as error:
        os.close(fd)
        if isinstance(error, FileExistsError):
            return None
        raise
    finally:
        os.unlink(draft)
    return fd


def reclaim(folder: str) -> int | None:
    """`claim` for the keeper of a folder that somebody has put in the place of its own (or that it made anew): the lock
    there is a copy, or missing. None when another process holds it. Raises OSError."""
    if is_kept(folder):
        return None
    draft = f"{folder}/{LOCK}.{get_native_id()}"
    fd = _new_lock(draft)
    try:
        os.rename(draft, f"{folder}/{LOCK}")
    except OSError:
        os.close(fd)
        files.remove(draft)
        raise
    return fd


def _new_lock(draft: str) -> int:
    """A new file that this process has locked, and that says which file it is."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        fd = os.open(draft, flags, 0o600)
    except FileExistsError:  # of one who was killed while claiming
        os.unlink(draft)
        fd = os.open(draft, flags, 0o600)
    try:
        posix.lock(fd)
        os.write(fd, _proof(fd))
    except OSError as error:
        # A disk so full costs the proof, and not the process.
        if error.errno not in FULL:
            os.close(fd)
            files.remove(draft)
            raise
    return fd


def _proof(fd: int) -> bytes:
    found = os.fstat(fd)
    return f"{posix.BOOT_ID} {found.st_dev} {found.st_ino}\n".encode()


def is_original(folder: str) -> bool:
    """Whether this very folder was claimed since the machine started: its lock says so. A copy of it, or what comes
    from a backup, has another file there, and nothing that its journal says of pids is of any worth."""
    try:
        fd = os.open(f"{folder}/{LOCK}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return os.read(fd, 256) == _proof(fd)
    except OSError:
        return False
    finally:
        os.close(fd)


def restore(folder: str, spec: dict[str, Any]) -> None:
    """Make again what somebody has removed of a run folder, but for what its keeper writes. Raises OSError."""
    for path in (folder, f"{folder}/{LOG}"):
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            continue
    if not os.path.exists(f"{folder}/{SPEC}"):
        files.remove(f"{folder}/{SPEC}.new")
        _put_spec(folder, spec)


def is_kept(folder: str) -> bool:
    """Whether a keeper lives that holds this folder."""
    return posix.is_locked(f"{folder}/{LOCK}")


def is_held(folder: str, lock_fd: int) -> bool:
    """Whether the folder's lock is the file that this process has claimed."""
    try:
        found = os.lstat(f"{folder}/{LOCK}")
    except FileNotFoundError:
        return False
    held = os.fstat(lock_fd)
    return (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)


def is_claimed(folder: str) -> bool:
    """Whether a keeper, or the service in its stead, ever took this folder."""
    return os.path.exists(f"{folder}/{LOCK}")


class Journal:
    """The writing end of a journal; one process writes it, the keeper.

    An entry that the disk does not take is owed: it is kept here, in its order, and written ahead of the next one, so
    that the journal has no gap once the disk works again. ``seq`` is the number of the last entry. What was written is
    kept here as well, a few kilobytes mostly (see `MOST_BYTES`): a file that somebody has cut, or that can't be read
    back, is written anew as a whole.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._path = f"{folder}/{JOURNAL}"
        self.fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        found = os.fstat(self.fd)
        self._file = (found.st_dev, found.st_ino)
        self._lines: list[bytes] = []  # what is on the disk
        self._size = 0  # of these
        self._room = 0  # up to which offset the disk has promised room
        self._owed: list[tuple[Entry, bytes]] = []  # each with its line
        self._left_out: set[str] = set()
        # Whoever opens it has claimed the folder: nobody can have written before but somebody else.
        self._is_suspect = found.st_size > 0
        self.seq = 0

    @property
    def is_behind(self) -> bool:
        """Whether entries are owed."""
        return bool(self._owed)

    @property
    def owed(self) -> list[Entry]:
        """The entries that are not on the disk, oldest first."""
        return [entry for entry, _ in self._owed]

    def add(self, event: str, actor: str, reason: str | None, data: dict[str, Any]) -> Entry:
        """The next entry; owed until `settle`, unless it is one too many of `MOST_BYTES`: that has its number and is
        not written. The last one before says so in its data, as ``left_out``."""
        entry = {"seq": self.seq + 1, "at": now_text(), "event": event, "actor": actor, "reason": reason, "data": data}
        if event not in self._left_out:
            if event in MOST_BYTES and self._size + sum(len(line) for _, line in self._owed) >= MOST_BYTES[event]:
                self._left_out.add(event)
                entry["data"] = {**data, "left_out": f"the journal is long: no {event!r} is written to it any more"}
            self._owed.append((entry, _line(entry)))
        self.seq += 1
        return entry

    def amend(self, data: dict[str, Any]) -> Entry:
        """The last entry, which is owed, with other data."""
        entry = {**self._owed[-1][0], "data": data}
        self._owed[-1] = (entry, _line(entry))
        return entry

    def settle(self) -> None:
        """Write what is owed, and wait until it is on the disk. Raises OSError; it is owed on then."""
        if not self._owed:
            return
        failpoints.reach("journal.append.before")
        lines = [line for _, line in self._owed]
        if self._is_suspect or not self._is_in_place():
            self._rewrite(b"".join(self._lines + lines))
        else:
            self._extend(b"".join(lines))
        self._lines += lines
        self._owed.clear()
        if self._room and self._room - self._size < RESERVE_BYTES // 2:
            self.reserve()
        failpoints.reach("journal.append.synced")

    def append(self, event: str, actor: str, reason: str | None, data: dict[str, Any]) -> Entry:
        """`add` and `settle`. Raises OSError."""
        entry = self.add(event, actor, reason, data)
        self.settle()
        return entry

    def reserve(self) -> None:
        """Have the disk keep room for entries to come, so that they can be written when it is full. Nothing happens
        when it has none now, or can't promise."""
        if posix.reserve(self.fd, self._size, RESERVE_BYTES):
            self._room = self._size + RESERVE_BYTES

    def restore(self) -> None:
        """Put the journal back into its folder when somebody has removed, replaced or cut it. Raises OSError."""
        if self._size and not self._is_in_place():
            self._rewrite(b"".join(self._lines))

    def close(self) -> None:
        """Give back the room that was not needed, and close the file."""
        try:
            if self._room and os.fstat(self.fd).st_size >= self._size:
                os.ftruncate(self.fd, self._size)
        except OSError:
            pass  # some kilobytes stay taken
        finally:
            files.close(self.fd)  # all of it was synced: an error says nothing new

    def _extend(self, text: bytes) -> None:
        # At its place and not at the file's end: what a disk just full took of an earlier try is written over. It has
        # no newline, so that no reader takes it for an entry.
        if os.pwrite(self.fd, text, self._size) < len(text):
            raise OSError(ENOSPC, os.strerror(ENOSPC))
        try:
            failpoints.reach("journal.append.written")
            os.fdatasync(self.fd)
        except OSError:
            # The kernel tells once of pages that it could not write, and takes them for clean from then on: a second
            # sync would succeed with nothing on the disk (fsync(2)). Only a new file can be trusted.
            self._is_suspect = True
            raise
        self._size += len(text)

    def _is_in_place(self) -> bool:
        """Whether the file that we write is still what its path leads to, with all that we wrote."""
        try:
            found = os.lstat(self._path)
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) == self._file and found.st_size >= self._size

    def _rewrite(self, text: bytes) -> None:
        """Put a new file with ``text``, all entries, in the place of what is there."""
        draft = f"{self._path}.new"
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            _write_whole(fd, text)
            failpoints.reach("journal.rewrite.written")
            os.fsync(fd)
            os.rename(draft, self._path)
            failpoints.reach("journal.rewrite.renamed")
            files.sync_folder(self._folder)
        except OSError:
            os.close(fd)
            files.remove(draft)  # it takes room on a disk that may be full
            raise
        before, found = self.fd, os.fstat(fd)
        self.fd, self._file, self._size, self._room = fd, (found.st_dev, found.st_ino), len(text), 0
        self._is_suspect = False
        files.close(before)  # of a disk that fails it may well report the failure again
        self.reserve()


def _line(entry: Entry) -> bytes:
    return dump_json(entry) + b"\n"


class Journalled(NamedTuple):
    """What can be read of a journal: the ``entries`` before the first damage, oldest first, and a sentence about the
    ``damage``; None when there is none."""

    entries: list[Entry]
    damage: str | None


def read_journal(folder: str) -> Journalled:
    """The journal in a run folder; without entries when there is none. A last line without its newline is being
    written: it does not count yet.

    Raises OSError when it could not be looked at, which says nothing of it.
    """
    try:
        text = _journal_text(f"{folder}/{JOURNAL}")
    except FileNotFoundError:
        return Journalled([], None)
    if text is None:
        return Journalled([], "the journal is not a file")
    entries: list[Entry] = []
    lines = text[:MAX_JOURNAL_BYTES].split(b"\n")[:-1]
    for number, line in enumerate(lines, 1):
        try:
            entries.append(_entry(line, entries[-1]["seq"] if entries else 0))
        except (ValueError, RecursionError) as error:
            return Journalled(entries, f"line {number} of the journal is not an entry: {error}")
    if len(text) > MAX_JOURNAL_BYTES:
        return Journalled(entries, f"the journal is longer than {MAX_JOURNAL_BYTES} bytes")
    return Journalled(entries, None)


def _journal_text(path: str) -> bytes | None:
    """A byte more of the file than may be, at most; None when it is something else than a file."""
    try:
        # Whatever somebody has put in its place must not lead elsewhere, and not hold us (fifo(7)).
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (ELOOP, ENXIO):
            return None
        raise
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        parts, left = [], MAX_JOURNAL_BYTES + 1
        while left and (part := os.read(fd, min(left, 1 << 20))):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)
    finally:
        os.close(fd)


_NEEDED: dict[str, tuple[str, type]] = {
    "started": ("pid", int),
    "asked": ("action", str),
    "signalled": ("signal", str),
}
"""What an event can't be understood without."""


def _entry(line: bytes, before: int) -> Entry:
    """The entry in a line behind number ``before``. Raises ValueError, RecursionError when there is none."""
    entry = load_json(line)
    if not isinstance(entry, dict):
        raise ValueError("it is no object")  # noqa: TRY004 - the text is wrong, not a caller's type
    kinds = (int, str, str, str, dict)
    for name, kind in zip(("seq", "at", "event", "actor", "data"), kinds, strict=True):
        _expect(entry, name, kind)
    if not isinstance(entry.get("reason"), str | None):
        raise ValueError("its reason is no text")  # noqa: TRY004
    if entry["seq"] <= before:
        raise ValueError(f"its number is {entry['seq']}, behind {before}")
    datetime.fromisoformat(entry["at"])
    data: dict[str, Any] = entry["data"]
    if (needed := _NEEDED.get(entry["event"])) is not None:
        _expect(data, *needed)
    if entry["event"] == "stopped" and data.get("exitcode") is not None:
        _expect(data, "exitcode", int)
    return entry


def _expect(facts: dict[str, Any], name: str, kind: type) -> None:
    if type(facts.get(name)) is not kind:
        raise ValueError(f"its {name} is missing, or is not what it has to be")


def now_text() -> str:
    """The time now, UTC, ISO 8601 with microseconds."""
    return datetime.now(UTC).isoformat()
