"""What people save in the dashboard: searches of the list (views), and what they typed into a launch form (presets).

They belong to everybody. Names are unique; saving under a name that is there already replaces what was saved before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import uuid_utils
from sqlalchemy import Connection, Table, delete, func, insert, select
from sqlmodel import SQLModel

from app.db.store import Store
from app.errors import FieldError, Invalid

MAX_VIEWS = 50
MAX_PRESETS = 50
"""Of one target."""
MAX_NAME = 100
MAX_QUERY = 2000
MAX_TYPED = 256 * 1024
"""Characters of all that was typed into a form."""

_view = SQLModel.metadata.tables["view"]
_preset = SQLModel.metadata.tables["preset"]


@dataclass(frozen=True, slots=True)
class View:
    """A saved search; ``query`` is the query string of the list, without a cursor."""

    id: str
    name: str
    query: str
    created_at: datetime
    actor: str


@dataclass(frozen=True, slots=True)
class Preset:
    """A saved launch form; ``typed`` is what was typed, by the names of the inputs."""

    id: str
    target: str
    name: str
    typed: Mapping[str, str]
    created_at: datetime
    actor: str


class Saved:
    """Views and presets. Reads block; writes are coroutines. Both raise `app.errors.RecordUnavailable`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def views(self) -> list[View]:
        """All views, by name."""
        return [View(*row) for row in self._store.rows(select(_view).order_by(func.lower(_view.c.name)))]

    def view(self, view_id: str) -> View | None:
        """The view of this id."""
        rows = self._store.rows(select(_view).where(_view.c.id == view_id))
        return View(*rows[0]) if rows else None

    def presets(self, target: str) -> list[Preset]:
        """The presets of a target, by name."""
        query = select(_preset).where(_preset.c.target == target).order_by(func.lower(_preset.c.name))
        return [Preset(*row) for row in self._store.rows(query)]

    def preset(self, preset_id: str) -> Preset | None:
        """The preset of this id."""
        rows = self._store.rows(select(_preset).where(_preset.c.id == preset_id))
        return Preset(*rows[0]) if rows else None

    async def save_view(self, name: str, query: str, actor: str) -> View:
        """Save a search under a name. Raises `app.errors.Invalid` naming ``name`` or ``query``."""
        view = View(_new_id(), _checked_name(name), query, datetime.now(UTC), actor)
        if len(query) > MAX_QUERY:
            _refuse("query", f"must have at most {MAX_QUERY} characters")
        await self._replace(_view, {"name": view.name}, {}, view, MAX_VIEWS)
        return view

    async def save_preset(self, target: str, name: str, typed: Mapping[str, str], actor: str) -> Preset:
        """Save a form under a name. Raises `app.errors.Invalid` naming ``name`` or ``typed``."""
        preset = Preset(_new_id(), target, _checked_name(name), dict(typed), datetime.now(UTC), actor)
        if sum(len(key) + len(text) for key, text in typed.items()) > MAX_TYPED:
            _refuse("typed", f"must have at most {MAX_TYPED} characters in all")
        await self._replace(_preset, {"target": target, "name": preset.name}, {"target": target}, preset, MAX_PRESETS)
        return preset

    async def delete_view(self, view_id: str) -> bool:
        """Whether there was such a view."""
        return await self._delete(_view, view_id)

    async def delete_preset(self, preset_id: str) -> bool:
        """Whether there was such a preset."""
        return await self._delete(_preset, preset_id)

    async def _replace(
        self, table: Table, same: Mapping[str, str], among: Mapping[str, str], row: View | Preset, most: int
    ) -> None:
        """Put ``row`` in the place of the one that is ``same``; there may be ``most`` that are ``among``."""
        values = {column.name: getattr(row, column.name) for column in table.c}

        def job(connection: Connection) -> None:
            connection.execute(delete(table).where(*_equal(table, same)))
            count = connection.scalar(select(func.count()).select_from(table).where(*_equal(table, among)))
            if (count or 0) >= most:
                _refuse("name", f"can't be added: there are {most} already; delete one first")
            connection.execute(insert(table).values(values))

        await self._store.writer.run(job)

    async def _delete(self, table: Table, row_id: str) -> bool:
        def job(connection: Connection) -> bool:
            return connection.execute(delete(table).where(table.c.id == row_id)).rowcount > 0

        return await self._store.writer.run(job)


def _equal(table: Table, values: Mapping[str, str]) -> list[Any]:
    return [table.c[name] == value for name, value in values.items()]


def _new_id() -> str:
    return str(uuid_utils.uuid7())


def _checked_name(name: str) -> str:
    name = name.strip()
    if not name:
        _refuse("name", "is required")
    if len(name) > MAX_NAME or "\0" in name:
        _refuse("name", f"must have at most {MAX_NAME} characters, and no NUL among them")
    return name


def _refuse(field: str, message: str) -> None:
    raise Invalid(f"The {field} {message}.", errors=[FieldError(field=field, message=message)])
