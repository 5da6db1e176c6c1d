"""Pages: views, which are searches of the list under a name. Some are built in, the others were saved by somebody."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.db.saved import MAX_NAME, NameTaken, View
from app.deps import ActorDep, SavedDep, SupervisorDep
from app.errors import Invalid
from app.listing import Listing
from app.pages.render import page, redirect
from app.security.auth import safe_next
from app.supervisor import views

router = APIRouter(include_in_schema=False)

BUILT_IN = (
    ("Failed in 24 h", "view=failed&search=ended%3A24h"),
    ("Running", "state=running"),
    ("Slow (running longest)", "view=active&sort=took"),
    ("Launched in 24 h", "started=24h"),
)
"""The name and the query string of each."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the menu. ``id`` is empty for what is built in; ``actor`` is who saved it."""

    name: str
    url: str
    id: str = ""
    actor: str = ""
    is_current: bool = False


@dataclass(frozen=True, slots=True)
class Menu:
    """The views as the list offers them. ``current`` is the one that is looked at; ``changed`` is set instead when the
    list began with that view and has other conditions by now."""

    built_in: Sequence[Entry]
    saved: Sequence[Entry]
    current: Entry | None
    changed: Entry | None


def menu(known: Sequence[View], listing: Listing) -> Menu:
    """The menu for a list."""
    query = listing.query()
    built_in = [Entry(name, f"/processes?{given}", is_current=_normal(given) == query) for name, given in BUILT_IN]
    saved = [
        Entry(
            view.name,
            f"/processes?{view.query}&saved={view.id}" if view.query else f"/processes?saved={view.id}",
            view.id,
            view.actor,
            # Of two with the same conditions, the one that it began with.
            is_current=_normal(view.query) == query and listing.saved in ("", view.id),
        )
        for view in known
    ]
    current = next((entry for entry in (*saved, *built_in) if entry.is_current), None)
    begun = next((entry for entry in saved if entry.id == listing.saved), None)
    return Menu(built_in, saved, current, begun if begun is not None and not begun.is_current else None)


def _normal(query: str) -> str:
    """The same query string as the list writes it."""
    try:
        return Listing.of_string(query).query()
    except Invalid:
        return query  # of another release; its link will say what is wrong


def _said(query: str) -> str:
    """A query string in words, or itself when it is of another release."""
    try:
        return Listing.of_string(query).said()
    except Invalid:
        return query


@router.post("/views")
async def save_view(request: Request, saved: SavedDep, supervisor: SupervisorDep, actor: ActorDep) -> Response:
    """Save the conditions of a list under a name. What has the name already is everybody's: whether to replace it is
    asked, unless the form named it."""
    form = await request.form()
    name, query = str(form.get("name", "")), str(form.get("query", ""))
    try:
        view = await views.save(
            saved, supervisor.activity, name, query, actor, replace=str(form.get("replace", "")) or False
        )
    except (Invalid, NameTaken) as error:
        return page(
            request,
            "processes/save_view.html",
            status=error.status,
            name=name,
            query=query,
            error=error.detail,
            most=MAX_NAME,
            taken=error.view if isinstance(error, NameTaken) else None,
            said=_said,
        )
    url = f"/processes?{view.query}&saved={view.id}" if view.query else f"/processes?saved={view.id}"
    return redirect(request, url, f"The view {view.name} was saved.")


@router.post("/views/{id}/delete")
async def delete_view(
    request: Request, id: str, saved: SavedDep, supervisor: SupervisorDep, actor: ActorDep
) -> Response:
    """Forget a view; the processes stay."""
    form = await request.form()
    view = await views.delete(saved, supervisor.activity, id, actor)
    return redirect(request, safe_next(str(form.get("next", "/processes"))), f"The view {view.name} was deleted.")
