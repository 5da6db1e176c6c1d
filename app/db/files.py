"""The files of a SQLite database: whether they are still what is open, and moving them out of the way.

None of them is ever opened here but by SQLite itself: to close one again would drop the locks that SQLite holds on it
in this process (https://sqlite.org/howtocorrupt.html, 2.2).
"""

import contextlib
import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

_COMPANIONS = ("-wal", "-shm")
"""What SQLite makes beside a database in WAL mode; the name of the database stands before it."""

Identity = tuple[int, int]


class DatabaseGone(Exception):
    """A file of the database was removed or replaced while it was open: what is written to it now would vanish."""


class FileGuard:
    """Notices that the files of a database that is open are no longer those of their names.

    For SQLite a file that was removed is as good as any: writes to it succeed, and are gone with the last descriptor.
    One whose -wal was removed is damaged by the next program that opens it.
    """

    def __init__(self, path: Path) -> None:
        self._opened: dict[Path, Identity] = {}
        self._paths = companions(path)
        if (identity := _identity(path)) is not None:
            self._opened[path] = identity

    def check(self) -> None:
        """Raises DatabaseGone. Costs three stat(2)."""
        for path in self._paths:
            found = _identity(path)
            # The -wal and -shm are there from the first transaction on, and as long as a connection is open.
            opened = self._opened.get(path) if found is None else self._opened.setdefault(path, found)
            if found != opened:
                what = "removed" if found is None else "replaced"
                raise DatabaseGone(f"{path} was {what} while it was in use")


def companions(path: Path) -> tuple[Path, ...]:
    """The database and the files that belong to it."""
    return (path, *(path.with_name(path.name + suffix) for suffix in _COMPANIONS))


def _identity(path: Path) -> Identity | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def size_of(path: Path) -> int:
    """Bytes of a file; 0 when there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def connect(path: Path, *, write: bool) -> sqlite3.Connection:
    """A connection to a file that is there: none is made, so that a reader can't put an empty one in the place of one
    that was removed. Raises sqlite3.Error."""
    # A reader needs "rw" too, for the -shm. isolation_level None: the driver begins no transactions of its own, which
    # would be deferred ones.
    uri = f"file:{quote(str(path))}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    if not write:
        connection.execute("PRAGMA query_only=ON")
    return connection


def set_aside(path: Path) -> Path | None:
    """Rename a database with all that belongs to it to ``NAME.damaged-TIME``, where it is kept; the new path, or None
    when the database itself was gone. Nobody has it open here. Raises OSError."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    kept = path.with_name(f"{path.name}.damaged-{stamp}")
    is_there = path.exists()
    # The database last: when only a part could be moved, what is left has no -wal that is not its own.
    for old, new in reversed(list(zip(companions(path), companions(kept), strict=True))):
        with contextlib.suppress(FileNotFoundError):
            old.rename(new)
    return kept if is_there else None


def remove(path: Path) -> None:
    """Remove a database with all that belongs to it. Nobody has it open here."""
    for each in companions(path):
        with contextlib.suppress(OSError):
            each.unlink()


def salvage_counts(path: Path) -> dict[str, int]:
    """The highest number of a process and of an event in a database that was set aside, by the names of the table
    `counter`, as far as it can be read; so that no number is given again."""
    found: dict[str, int] = {}
    if not path.is_file():
        return found
    with contextlib.suppress(sqlite3.Error), contextlib.closing(connect(path, write=False)) as connection:
        for name, table, column in (("process", "process", "number"), ("event", "transition", "id")):
            with contextlib.suppress(sqlite3.Error):
                present = f'SELECT coalesce(max({column}), 0) FROM "{table}"'
                query = f"SELECT max(value, ({present})) FROM counter WHERE name = ?"
                row = connection.execute(query, (name,)).fetchone()
                if row is not None and isinstance(row[0], int) and 0 < row[0] < 2**53:
                    found[name] = row[0]
    return found


def owner_only(path: Path) -> None:
    """Make an empty file for its owner's eyes only. Raises OSError; FileExistsError when there is one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def examine(path: Path, largest: int) -> int:
    """Look at a database as somebody who comes anew; its size in bytes. ``largest`` is the size that it had before: it
    never shrinks by itself.

    Raises DatabaseGone, sqlite3.Error for one that is damaged: seen at once in its first page and its schema, and all
    through it when it is smaller than it was.
    """
    with contextlib.closing(connect(path, write=False)) as connection:
        connection.execute("SELECT 1 FROM process LIMIT 1").fetchall()
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (page_size,) = connection.execute("PRAGMA page_size").fetchone()
        size = size_of(path)
        # What it has grown by may be in the -wal still; no more than that.
        if size < max(largest, pages * page_size - size_of(companions(path)[1])):
            found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(1)")]
            if found != ["ok"]:
                raise DatabaseGone(f"{path} was cut while it was in use ({found[0]})")
    return size
