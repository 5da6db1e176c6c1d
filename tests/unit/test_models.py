"""The tables hold exactly what the record is; places in the store's queries depend on it."""

from typing import get_type_hints

from sqlalchemy import Table
from sqlmodel import SQLModel

from app.db.models import (
    ActivityRow,
    CounterRow,
    LabelRow,
    PresetRow,
    ProcessRow,
    SessionRow,
    TransitionRow,
    ViewRow,
)
from app.db.store import FIXED, MEASURED
from app.lifecycle import PROCESS_FIELDS, Process, Transition
from app.security.auth import Session


def columns(name: str) -> list[str]:
    return SQLModel.metadata.tables[name].columns.keys()


def test_a_process_is_its_record_and_what_is_searched() -> None:
    assert columns("process") == [*PROCESS_FIELDS, "search"]


def test_columns_are_nullable_where_the_record_has_none() -> None:
    table = SQLModel.metadata.tables["process"]
    optional = {name for name, hint in get_type_hints(Process).items() if "None" in str(hint)} | {"result"}
    assert {name for name in PROCESS_FIELDS if table.c[name].nullable} == optional


def test_a_transition_has_its_event_number_first() -> None:
    assert columns("transition") == ["id", *Transition.__dataclass_fields__]


def test_a_session_is_what_the_door_keeps() -> None:
    assert columns("session") == list(Session.__dataclass_fields__)


def test_all_tables_are_here() -> None:
    models = (ActivityRow, CounterRow, LabelRow, PresetRow, ProcessRow, SessionRow, TransitionRow, ViewRow)
    assert set(SQLModel.metadata.tables) == {model.__tablename__ for model in models}


def test_everything_that_a_migration_may_drop_has_a_name() -> None:
    tables: list[Table] = list(SQLModel.metadata.tables.values())
    assert all(constraint.name for table in tables for constraint in table.constraints)
    assert all(index.name for table in tables for index in table.indexes)


def test_what_an_event_changes_is_saved() -> None:
    changed_by_events = {"state", "outcome", "pid", "exitcode", "error", "result", "progress", "started_at"}
    changed_by_events |= {"stopped_at", "duration", "cpu_seconds", "max_rss_bytes", "asked", "detail"}
    changed_by_news = {"progress", "log_start"}
    assert set(PROCESS_FIELDS) - FIXED - MEASURED == changed_by_events | changed_by_news | {"journal_seq", "seq"}
