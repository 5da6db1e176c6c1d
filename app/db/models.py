"""The tables. Nothing here has behaviour; the queries are in `app.db.store`.

Text, JSON, numbers and UTC times only, so that the same schema serves SQLite and PostgreSQL.
"""

import re
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, Dialect, Enum, Index, Integer, String, TypeDecorator, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from procdeck.states import Outcome, State


class _Text(TypeDecorator[str]):
    """Text of strangers, as any database takes it: PostgreSQL has no NUL, UTF-8 no half of a surrogate pair."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or (value.isascii() and "\0" not in value):
            return value
        return _UNSTORABLE.sub("\ufffd", value)


_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def _words(kind: type[StrEnum]) -> Enum:
    """A text column that holds the values of ``kind``; a new value needs no migration."""
    return Enum(kind, native_enum=False, length=16, values_callable=lambda words: [word.value for word in words])


def _number_key() -> Any:
    """A primary key that we count ourselves. INTEGER on SQLite, where that is the row's address and needs no index."""
    kind = BigInteger().with_variant(Integer, "sqlite")
    return Field(primary_key=True, sa_type=kind, sa_column_kwargs={"autoincrement": False})


def _index_if_given(*columns: str, unique: bool = False) -> Index:
    """An index of the rows whose first column is not null."""
    return _index_where(f"{columns[0]} IS NOT NULL", *columns, unique=unique)


def _index_where(condition: str, *columns: str, unique: bool = False, name: str | None = None) -> Index:
    """An index of the rows for which ``condition`` holds."""
    where = text(condition)
    return Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)


_JSON = JSON(none_as_null=True)

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
"""Every constraint has a name, so that a later migration can drop it."""

SQLModel.metadata.naming_convention = NAMING


class ProcessRow(SQLModel, table=True):
    """One launch of a target: the fields of `app.lifecycle.Process`, and what is searched."""

    __tablename__ = "process"
    # A list is one of these filters, newest first: each index ends with the number that orders it. A commit writes a
    # page for each index that the row is in; so it is left out of those where nobody looks for it.
    __table_args__ = (
        Index(None, "state", "number"),
        _index_if_given("outcome", "number"),
        Index(None, "target", "number"),
        Index(None, "name", "number"),
        _index_if_given("idempotency_key", unique=True),
        _index_if_given("origin_id", "number"),
        # For retention, and for what ended within a time: a launch is in none of these.
        _index_where("disk_bytes IS NULL AND stopped_at IS NOT NULL", "number"),
        _index_if_given("stopped_at", "number"),
        # Those that ran for an hour or longer are few; the others ended within an hour of any time they ran at.
        _index_where("duration >= 3600", "stopped_at", name="ix_process_long_stopped_at"),
        # With the size, so that counts and sums for each target are read from here alone.
        _index_where("disk_bytes IS NOT NULL", "target", "stopped_at", "number", "disk_bytes"),
    )

    id: str = Field(unique=True, sa_type=_Text)
    number: int = _number_key()
    name: str = Field(sa_type=_Text)
    target: str = Field(sa_type=_Text)
    environment: str = Field(sa_type=_Text)
    kind: str = Field(sa_type=_Text)
    spec: dict[str, Any] = Field(sa_type=JSON)
    created_at: datetime
    requested_by: str = Field(sa_type=_Text)
    daemon: bool
    labels: dict[str, str] = Field(sa_type=JSON)
    origin_id: str | None = Field(sa_type=_Text)
    idempotency_key: str | None = Field(sa_type=_Text)
    request_hash: str | None = Field(sa_type=_Text)
    state: State = Field(sa_type=_words(State))
    outcome: Outcome | None = Field(sa_type=_words(Outcome))
    pid: int | None
    exitcode: int | None
    error: dict[str, Any] | None = Field(sa_type=_JSON)
    result: Any | None = Field(sa_type=_JSON)
    progress: dict[str, Any] | None = Field(sa_type=_JSON)
    started_at: datetime | None
    stopped_at: datetime | None
    duration: float | None
    cpu_seconds: float | None
    max_rss_bytes: int | None = Field(sa_type=BigInteger)
    asked: dict[str, Any] | None = Field(sa_type=_JSON)
    detail: dict[str, Any] = Field(sa_type=JSON)
    journal_seq: int
    seq: int
    log_start: int = Field(sa_type=BigInteger, sa_column_kwargs={"server_default": "0"})
    disk_bytes: int | None = Field(sa_type=BigInteger)
    search: str = Field(sa_type=_Text)
    """Name, target and arguments, case-folded; last, since a long one spills over to pages that a list need not see."""


class TransitionRow(SQLModel, table=True):
    """One row of a process's history, never changed. ``id`` is the number of the event in the stream of events."""

    __tablename__ = "transition"
    __table_args__ = (UniqueConstraint("process_id", "seq"),)

    id: int = _number_key()
    process_id: str = Field(foreign_key="process.id", ondelete="CASCADE", sa_type=_Text)
    seq: int
    at: datetime
    from_state: State | None = Field(sa_type=_words(State))
    to_state: State = Field(sa_type=_words(State))
    actor: str = Field(sa_type=_Text)
    reason: str | None = Field(sa_type=_Text)
    detail: dict[str, Any] = Field(sa_type=JSON)


class LabelRow(SQLModel, table=True):
    """One label of a process: the index of the JSON column ``process.labels``. ``number`` is the process's, so that
    those with a label are found in the order of a list."""

    __tablename__ = "label"
    __table_args__ = (Index(None, "key", "value", "number"),)

    process_id: str = Field(primary_key=True, foreign_key="process.id", ondelete="CASCADE", sa_type=_Text)
    key: str = Field(primary_key=True, sa_type=_Text)
    value: str = Field(sa_type=_Text)
    number: int = Field(sa_type=BigInteger, sa_column_kwargs={"server_default": "0"})


class CounterRow(SQLModel, table=True):
    """The highest number of a deleted ``process`` and ``event``: numbers are never given again."""

    __tablename__ = "counter"

    name: str = Field(primary_key=True, sa_type=_Text)
    value: int = Field(sa_type=BigInteger)


class SessionRow(SQLModel, table=True):
    """A signed-in browser. Only the hash of the cookie's secret is kept."""

    __tablename__ = "session"

    id_hash: str = Field(primary_key=True, sa_type=_Text)
    actor: str = Field(sa_type=_Text)
    created_at: datetime
    last_seen_at: datetime


class ViewRow(SQLModel, table=True):
    """A search of the list that was saved under a name, for everybody."""

    __tablename__ = "view"
    __table_args__ = (UniqueConstraint("name"),)

    id: str = Field(primary_key=True, sa_type=_Text)
    name: str = Field(sa_type=_Text)
    query: str = Field(sa_type=_Text)
    created_at: datetime
    actor: str = Field(sa_type=_Text)


class PresetRow(SQLModel, table=True):
    """What was typed into the launch form of a target, saved under a name; ``typed`` goes by the names of inputs."""

    __tablename__ = "preset"
    __table_args__ = (UniqueConstraint("target", "name"),)

    id: str = Field(primary_key=True, sa_type=_Text)
    target: str = Field(sa_type=_Text)
    name: str = Field(sa_type=_Text)
    typed: dict[str, str] = Field(sa_type=JSON)
    created_at: datetime
    actor: str = Field(sa_type=_Text)


class ActivityRow(SQLModel, table=True):
    """Something that was asked of the service and is no change of a process's state. ``id`` is counted together with
    the events, so that both have one order."""

    __tablename__ = "activity"
    __table_args__ = (Index(None, "subject_id"),)

    id: int = _number_key()
    at: datetime
    actor: str = Field(sa_type=_Text)
    action: str = Field(sa_type=_Text)
    subject_kind: str = Field(sa_type=_Text)
    subject_id: str = Field(sa_type=_Text)
    subject_name: str = Field(sa_type=_Text)
    reason: str | None = Field(sa_type=_Text)
    result: str = Field(sa_type=_Text)
    detail: dict[str, Any] = Field(sa_type=JSON)
