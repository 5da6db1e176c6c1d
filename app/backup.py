"""A backup of a data folder in one file, whether or not a service runs on it.

The archive holds a snapshot of the record (`procdeck.db`) and then the run folders. In this order: the run folders are
the truth, and what happened after the snapshot is learned from them when a service starts on what was unpacked. Left
out are the token, the sockets and the locks of the service; and the marks by which keepers hold their folders are files
only: whoever was alive is recorded as lost by a service on the copy.
"""

import contextlib
import io
import os
import sqlite3
import stat
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from app.data_folder import RECORD, RUNS, run_ids
from app.db.engine import parse_url, sqlite_file
from app.settings import Settings
from procdeck import files, run_folder, usage

_FILES = (run_folder.SPEC, run_folder.JOURNAL, run_folder.LOCK, run_folder.KEEPER_LOG, usage.USAGE)
_MOST = 256 * 2**20
"""Bytes of one file that are read: far more than any of ours has."""


class CannotBackUp(Exception):
    """The text is the reason."""


@dataclass(slots=True)
class Summary:
    """What is in an archive: run folders, the bytes of its files, and whether the record is among them."""

    processes: int = 0
    bytes: int = 0
    has_record: bool = False


def back_up(settings: Settings, file: Path, *, logs: bool = True, force: bool = False) -> tuple[Summary, int]:
    """Write the backup to ``file``, compressed when its name says so; what is in it, and its size.

    It is there as a whole or not at all. A record in PostgreSQL is not in it. Raises CannotBackUp, OSError.
    """
    runs = settings.data_dir / RUNS
    if not runs.is_dir():
        raise CannotBackUp(f"{settings.data_dir} is not the data folder of a service")
    if file.resolve().is_relative_to(settings.data_dir.resolve()):
        raise CannotBackUp(f"{file} is inside of the data folder, and would be lost with it")
    if file.is_dir() or (file.exists() and not force):
        raise CannotBackUp(f"{file} is there already" + ("" if file.is_dir() else "; --force replaces it"))
    summary = Summary()
    with _replacing(file) as part:
        mode = "w:gz" if file.name.endswith((".gz", ".tgz")) else "w"
        with _opened(part, mode) as archive:
            _add_record(settings, archive, _snapshot_beside(part), summary)
            _add_runs(runs, archive, summary, logs=logs)
    return summary, file.stat().st_size


@contextmanager
def _replacing(file: Path) -> Iterator[Path]:
    """A name beside ``file``, whose content gets the name when all is written and on the disk."""
    part = file.with_name(f"{file.name}.part")
    _remove(part)  # of a backup that was killed
    _remove(_snapshot_beside(part))
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.rename(file)
        files.sync_folder(str(file.absolute().parent))
    finally:
        _remove(part)


def _snapshot_beside(part: Path) -> Path:
    """Where the snapshot of the record is while it is copied into the archive."""
    return part.with_name(f"{part.name}.db")


def _remove(path: Path) -> None:
    """Remove a file that may be a database, with what SQLite has left beside it."""
    for end in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + end).unlink(missing_ok=True)


def _opened(part: Path, mode: str) -> tarfile.TarFile:
    if mode == "w:gz":
        return tarfile.open(part, "w:gz", compresslevel=6, format=tarfile.PAX_FORMAT)
    return tarfile.open(part, "w", format=tarfile.PAX_FORMAT)


# --- the record --------------------------------------------------------------------------------------------------


def _add_record(settings: Settings, archive: tarfile.TarFile, snapshot: Path, summary: Summary) -> None:
    url = parse_url(settings.record_url)
    if url.get_backend_name() != "sqlite" or not sqlite_file(url).exists():
        return
    try:
        os.close(os.open(snapshot, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        _snapshot(sqlite_file(url), snapshot)
        with snapshot.open("rb") as content:
            size = os.fstat(content.fileno()).st_size
            _add(archive, RECORD, content, size, snapshot.stat(), summary)
        summary.has_record = True
    except sqlite3.Error as error:
        raise CannotBackUp(f"the record {sqlite_file(url)} can't be read: {error}") from error
    finally:
        _remove(snapshot)  # now: it takes as much room as the record


def _snapshot(record: Path, snapshot: Path) -> None:
    """Copy the record as it is at one moment, in one read transaction: a service goes on writing meanwhile.

    The connection can't write: it neither checkpoints now nor when it closes, see `app.db.engine`.
    """
    source = f"{record.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(source, uri=True, timeout=30)) as reading:
        reading.execute("PRAGMA query_only=ON")
        with closing(sqlite3.connect(snapshot)) as writing:
            reading.backup(writing, pages=-1)


# --- run folders -------------------------------------------------------------------------------------------------


def _add_runs(runs: Path, archive: tarfile.TarFile, summary: Summary, *, logs: bool) -> None:
    _add_folder(archive, RUNS, runs.stat())
    for name in sorted(run_ids(runs)):
        try:
            _add_folder(archive, f"{RUNS}/{name}", (runs / name).stat())
        except FileNotFoundError:  # removed meanwhile
            continue
        _add_run(runs / name, f"{RUNS}/{name}", archive, summary, logs=logs)
        summary.processes += 1


def _add_run(folder: Path, name: str, archive: tarfile.TarFile, summary: Summary, *, logs: bool) -> None:
    """One run folder. What is not ours in it is left out, and what has vanished meanwhile."""
    for each in _FILES:
        _add_file(folder / each, f"{name}/{each}", archive, summary)
    log = folder / run_folder.LOG
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        facts = log.stat(follow_symlinks=False)
        if not stat.S_ISDIR(facts.st_mode):  # a link in its place would lead to the files of others
            return
        _add_folder(archive, f"{name}/{run_folder.LOG}", facts)
        for segment in sorted(log.glob("*.log")) if logs else ():
            _add_file(segment, f"{name}/{run_folder.LOG}/{segment.name}", archive, summary)


def _add_file(path: Path, name: str, archive: tarfile.TarFile, summary: Summary) -> None:
    """A file of ours as it is now; of one that is being written, the whole lines."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # gone, or replaced by a link: not ours any more
        return
    with open(fd, "rb") as content:  # noqa: PTH123 - a descriptor
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            return
        data = content.read(min(facts.st_size, _MOST))
    if path.suffix in (".log", ".ndjson"):
        data = data[: data.rfind(b"\n") + 1]
    _add(archive, name, io.BytesIO(data), len(data), facts, summary)


def _add(
    archive: tarfile.TarFile, name: str, content: IO[bytes], size: int, facts: os.stat_result, summary: Summary
) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, 0o600, int(facts.st_mtime)
    archive.addfile(entry, content)
    summary.bytes += size


def _add_folder(archive: tarfile.TarFile, name: str, facts: os.stat_result) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.mtime = tarfile.DIRTYPE, 0o700, int(facts.st_mtime)
    archive.addfile(entry)
