"""Connections to SQLite and PostgreSQL, and bringing the schema up to date.

There are two engines to a database. The one that writes has a single connection, owned by the thread of
`app.db.writer`: SQLite allows one writer at a time, and versions before 3.51.3 can corrupt a file that two connections
write or checkpoint at once (https://sqlite.org/wal.html#walresetbug). The one that reads can't write at all.
"""

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, column, create_engine, event, inspect, make_url, select, table
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import QueuePool

from app.db import files
from app.db.faults import is_damage
from app.errors import BadConfig, DatabaseDamaged, DatabaseTooNew, StartupError
from app.health.file_systems import refuse_network
from app.resources import resource_dir

HEAD = "0005"
"""The newest revision in alembic/versions; a database that is there need not pay 0.3 s for importing alembic."""

READERS = 40
"""As many as the thread pool of the service has threads: a reader never waits for a connection."""

_BUSY_TIMEOUT = 5000
"""Milliseconds to wait while another program holds the database locked."""

_OLDEST_SQLITE = (3, 35, 0)
"""The first with RETURNING."""


def parse_url(url: str | URL) -> URL:
    """``url`` with the driver that we use. Raises `BadConfig` for anything but a SQLite file or PostgreSQL."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise BadConfig(
            "The database URL can't be read; it looks like sqlite:////path/of/file or postgresql://user@host/name."
        ) from None
    if parsed.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise BadConfig(f"The database can be SQLite or PostgreSQL, not {parsed.drivername}.")
    if parsed.database in (None, "", ":memory:"):
        raise BadConfig("The database must be a file: one in memory would lose every record when the service stops.")
    return parsed


def make_engine(url: str | URL, *, write: bool = False, foreign_keys: bool = True) -> Engine:
    """An engine that reads (many connections, each statement its own transaction), or one that writes (one connection).

    A SQLite file that does not exist is created by the one that writes, for its owner's eyes only. Raises
    `StartupError` when the database can't be had here; no connection is made yet.
    """
    parsed = parse_url(url)
    options: dict[str, Any] = {"poolclass": QueuePool, "json_serializer": _compact_json}
    options |= {"pool_size": 1, "max_overflow": 0} if write else {"pool_size": 8, "max_overflow": READERS - 8}
    if not write:
        options["isolation_level"] = "AUTOCOMMIT"
    try:
        if parsed.get_backend_name() == "sqlite":
            return _sqlite(parsed, options, write, foreign_keys)
        return _postgresql(parsed, options, write)
    except (ModuleNotFoundError, NoSuchModuleError):
        raise BadConfig("PostgreSQL needs its driver: pip install 'procdeck[postgres]'.") from None


def _compact_json(value: Any) -> str:
    """``value`` as JSON. NaN and the infinities, which JSON does not have, become text."""
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return json.dumps(json.loads(json.dumps(value), parse_constant=str), separators=(",", ":"))


def _postgresql(url: URL, options: dict[str, Any], write: bool) -> Engine:
    # A ping before use: after a restart of the server the first job would fail on a dead connection.
    settings = {"application_name": "procdeck"}
    if not write:
        settings["options"] = "-c default_transaction_read_only=on"
    return create_engine(url, pool_pre_ping=True, connect_args=settings, **options)


def _sqlite(url: URL, options: dict[str, Any], write: bool, foreign_keys: bool) -> Engine:
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise StartupError(f"SQLite {sqlite3.sqlite_version} is too old: it must be 3.35 or newer.")
    if write:
        _create_file(sqlite_file(url))
    path = sqlite_file(url)
    engine = create_engine(url, creator=lambda: files.connect(path, write=write), **options)
    pragmas = _writing_pragmas(foreign_keys) if write else _READING_PRAGMAS

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    if write:

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            # A deferred one that reads first and then writes fails at once when it lost a race: no busy timeout there.
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


_READING_PRAGMAS = (f"busy_timeout={_BUSY_TIMEOUT}",)


def _writing_pragmas(foreign_keys: bool) -> tuple[str, ...]:
    return (
        f"busy_timeout={_BUSY_TIMEOUT}",
        "journal_mode=WAL",
        # After a power failure the last commits may be rolled back, consistently
        # (https://sqlite.org/pragma.html#pragma_synchronous). The run folders, whose journals are synced before
        # anything is answered, bring those processes back at the next start; so an fsync for each commit would buy
        # nothing, and it was half of what a launch takes.
        "synchronous=NORMAL",
        "journal_size_limit=67108864",  # bytes; a slow reader can make the WAL grow, this lets it shrink again
        f"foreign_keys={'ON' if foreign_keys else 'OFF'}",
    )


def sqlite_file(url: URL) -> Path:
    """The path of the file of a SQLite URL."""
    assert url.database is not None
    return Path(url.database)


def _create_file(path: Path) -> None:
    """Make an empty file if there is none; SQLite gives its -wal and -shm files the same mode.

    One that exists is not opened here: to close it again would drop the locks that SQLite holds on it in this process.
    """
    if path.exists():
        if not (path.is_file() and os.access(path, os.R_OK | os.W_OK)):
            raise StartupError(f"The database {path} is not a file that can be read and written.")
        return
    try:
        files.owner_only(path)
    except OSError as error:
        raise StartupError(f"The database {path} can't be created: {error.strerror}.") from error


def file_guard(engine: Engine) -> Callable[[], None]:
    """A check that the open database is still the files of its name; it raises `app.db.files.DatabaseGone`."""
    if engine.dialect.name != "sqlite":
        return lambda: None
    return files.FileGuard(sqlite_file(engine.url)).check


def checkpoint(engine: Engine) -> None:
    """Move what is in the -wal of a SQLite database into the database, and cut it; ``engine`` is the one that writes.

    Waits for nobody: what a reader still needs stays. Raises sqlite3.Error.
    """
    if engine.dialect.name != "sqlite":
        return
    pooled = engine.raw_connection()
    try:
        cursor = pooled.cursor()
        cursor.execute("PRAGMA busy_timeout=0")
        try:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            cursor.fetchall()
        finally:
            cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT}")
            cursor.close()
    finally:
        pooled.close()


def upgrade(url: str | URL) -> None:
    """Bring the schema up to date, in one transaction; make it if there is none.

    Raises `DatabaseTooNew` for a revision that this code does not know, `DatabaseDamaged` for a file that is none or
    is broken, `StartupError` when the database can't be used; nothing is modified then.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        refuse_network("the database", sqlite_file(parsed))
    try:
        found = _revision(parsed)
        if found != HEAD:
            _migrate(parsed, found)
    except DBAPIError as error:
        if is_damage(error):
            raise DatabaseDamaged(f"The database {sqlite_file(parsed)} is damaged: {error.orig}.") from error
        raise StartupError(f"The database {parsed.render_as_string()} can't be used: {error.orig}") from error


def _revision(url: URL) -> str | None:
    if url.get_backend_name() == "sqlite" and not sqlite_file(url).exists():
        return None
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            return connection.scalar(select(column("version_num")).select_from(table("alembic_version")))
    finally:
        engine.dispose()


def _migrate(url: URL, found: str | None) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(resource_dir("alembic")).replace("%", "%%"))
    config.attributes["url"] = url
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise DatabaseTooNew(
            f"The database is newer than this Procdeck: its revision is {found}, the newest known here is {HEAD}."
            " Install the newer version again; nothing was modified."
        )
    command.upgrade(config, "head")


@contextmanager
def migrating(url: str | URL) -> Iterator[Connection]:
    """A connection in a transaction for migrations.

    Foreign keys are not enforced on SQLite: altering a table there means to drop it, which would delete all that refers
    to it.
    """
    engine = make_engine(url, write=True, foreign_keys=False)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()
