"""Processes by the beginning of their id, as people copy it from somewhere."""

import re

from sqlalchemy import select
from sqlmodel import SQLModel

from app.db.store import Store

_BEGINNING = re.compile(r"[0-9a-f]{4,8}(?:-[0-9a-f-]{0,27})?", re.IGNORECASE)


def is_beginning(text: str) -> bool:
    """Whether ``text`` may be an id, or at least four digits of its beginning."""
    return _BEGINNING.fullmatch(text) is not None


def ids_beginning(store: Store, beginning: str, limit: int) -> list[str]:
    """The ids that begin like this, the newest first. Blocks. Raises `app.errors.RecordUnavailable`."""
    ids = SQLModel.metadata.tables["process"].c.id
    first = beginning.lower()
    # A range, which the index of the ids answers: everything after the prefix is a digit or a hyphen.
    query = select(ids).where(ids >= first, ids < f"{first}g").order_by(ids.desc()).limit(limit)
    return [row[0] for row in store.rows(query)]
