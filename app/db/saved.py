"""What people save in the dashboard: searches of the list (views), and what they typed into a launch form (presets).

They belong to everybody. Names are unique; what is saved under a name that is there already replaces what was saved
before, a view only when that was meant.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import uuid_utils
from sqlalchemy import Connection, Table, delete, func, insert, select
from sqlmodel import SQLModel

from app.db.store import Store
from app.errors import Conflict, FieldError, refuse

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


class NameTaken(Conflict):
    """There is another view of this name: ``view``."""

    def __init__(self, view: View) -> None:
        errors = [FieldError(field="name", message=f"is that of a view that {view.actor} saved")]
        super().__init__(f"There is a view {view.name!r} already, saved by {view.actor}.", errors=errors)
        self.view = view


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

    async def save_view(self, name: str, query: str, actor: str, *, replace: bool | str = False) -> View:
        """Save a search under a name. ``replace`` says whether in the place of what has the name, or the id of the one
        that may be replaced.

        Raises `app.errors.Invalid` naming ``name`` or ``query``, `NameTaken` when another has the name.
        """
        view = View(_new_id(), _checked_name(name), query, datetime.now(UTC), actor)
        if len(query) > MAX_QUERY:
            refuse("query", f"must have at most {MAX_QUERY} characters", "The query")

        def check(connection: Connection) -> None:
            row = connection.execute(select(_view).where(_view.c.name == view.name)).first()
            if row is not None and replace not in (True, row.id) and row.query != query:
                raise NameTaken(View(*row))

        await self._replace(_view, {"name": view.name}, {}, view, MAX_VIEWS, check)
        return view

    async def save_preset(self, target: str, name: str, typed: Mapping[str, str], actor: str) -> Preset:
        """Save a form under a name. Raises `app.errors.Invalid` naming ``name`` or ``typed``."""
        preset = Preset(_new_id(), target, _checked_name(name), dict(typed), datetime.now(UTC), actor)
        if sum(len(key) + len(text) for key, text in typed.items()) > MAX_TYPED:
            refuse("typed", f"must have at most {MAX_TYPED} characters in all", "The typed")
        await self._replace(_preset, {"target": target, "name": preset.name}, {"target": target}, preset, MAX_PRESETS)
        return preset

    async def delete_view(self, view_id: str) -> bool:
        """Whether there was such a view."""
        return await self._delete(_view, view_id)

    async def delete_preset(self, preset_id: str) -> bool:
        """Whether there was such a preset."""
        return await self._delete(_preset, preset_id)

    async def _replace(
        self,
        table: Table,
        same: Mapping[str, str],
        among: Mapping[str, str],
        row: View | Preset,
        most: int,
        check: Callable[[Connection], None] = lambda connection: None,
    ) -> None:
        """Put ``row`` in the place of the one that is ``same``; there may be ``most`` that are ``among``. ``check`` may
        refuse before."""
        values = {column.name: getattr(row, column.name) for column in table.c}

        def job(connection: Connection) -> None:
            check(connection)
            connection.execute(delete(table).where(*_equal(table, same)))
            count = connection.scalar(select(func.count()).select_from(table).where(*_equal(table, among)))
            if (count or 0) >= most:
                refuse("name", f"can't be added: there are {most} already; delete one first", "The name")
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
        refuse("name", "is required", "The name")
    if len(name) > MAX_NAME or "\0" in name:
        refuse("name", f"must have at most {MAX_NAME} characters, and no NUL among them", "The name")
    return name
