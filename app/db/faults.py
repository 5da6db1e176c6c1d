"""What goes wrong with a database, told apart: what passes by itself (locked, full, away), and damage, which stays."""

import sqlite3

from sqlalchemy.exc import DatabaseError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.db.files import DatabaseGone
from app.errors import RecordUnavailable

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_FOREIGN = ("no such table", "no such column")
"""SQLite's words for a schema that is not ours: another database was copied over the open one."""

_PASSING = {
    sqlite3.SQLITE_BUSY: "another program holds it locked",
    sqlite3.SQLITE_FULL: "its disk is full",
    sqlite3.SQLITE_READONLY: "it may not be written",
    sqlite3.SQLITE_CANTOPEN: "its file can't be opened",
    sqlite3.SQLITE_IOERR: "its disk fails",
}


def is_damage(error: Exception) -> bool:
    """Whether the database can't be read as one."""
    if isinstance(error, DBAPIError):
        error = error.orig if isinstance(error.orig, Exception) else error
    if isinstance(error, sqlite3.Error):
        return _code(error) in _DAMAGED or str(error).startswith(_FOREIGN)
    return isinstance(error, DatabaseGone) or (isinstance(error, RecordUnavailable) and error.is_damage)


def fault_of(error: Exception) -> RecordUnavailable | None:
    """``error`` as the fault of a database; None when it is one of whoever asked, such as a broken constraint."""
    if isinstance(error, RecordUnavailable):
        return error
    if is_damage(error):
        return RecordUnavailable(f"The database is damaged: {_words(error)}.", is_damage=True)
    if isinstance(error, PoolTimeout):
        return RecordUnavailable("The database is busy: too many are asking it at once.")
    if isinstance(error, OperationalError | InterfaceError | sqlite3.OperationalError) or type(error) is DatabaseError:
        return RecordUnavailable(f"The database can't be used: {_words(error)}.")
    return None


def _words(error: Exception) -> str:
    orig = error.orig if isinstance(error, DBAPIError) else error
    told = " ".join(str(orig).split())
    meaning = _PASSING.get(_code(orig)) if isinstance(orig, sqlite3.Error) else None
    return f"{meaning} ({told})" if meaning else told


def _code(error: sqlite3.Error) -> int:
    """The primary result code (https://sqlite.org/rescode.html)."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
