"""What was asked of the service and changes no state of a process: deletions, reloads, bulk operations, sign-ins."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert
from sqlmodel import SQLModel

from app.db.store import event_ids

_activity = SQLModel.metadata.tables["activity"]


@dataclass(frozen=True, slots=True)
class Note:
    """Who asked for what, of which subject (``subject_kind`` process, target, view, …), why, and with what result."""

    at: datetime
    actor: str
    action: str
    subject_kind: str
    subject_id: str
    subject_name: str
    reason: str | None = None
    result: str = "done"
    detail: Mapping[str, Any] = field(default_factory=dict)


_FIELDS = tuple(f.name for f in fields(Note))


def insert_note(connection: Connection, note: Note) -> int:
    """Add a note; its number, which is counted together with the events."""
    (number,) = event_ids(connection, 1)
    connection.execute(insert(_activity).values({"id": number} | {name: getattr(note, name) for name in _FIELDS}))
    return number
