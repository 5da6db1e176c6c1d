"""Saving and deleting views, and saying so in the activity."""

import asyncio

from app.db.saved import Saved, View
from app.errors import FieldError, Invalid, NotFound
from app.listing import Listing
from app.supervisor.activity import Activity


async def save(
    saved: Saved, activity: Activity, name: str, query: str, actor: str, *, replace: bool | str = False
) -> View:
    """Save a search under a name: the conditions in a query string of the list, written as the list writes them.
    ``replace`` as of `Saved.save_view`. Raises Invalid naming ``name`` or ``query``,
    `app.db.saved.NameTaken`."""
    view = await saved.save_view(name, normal(query), actor, replace=replace)
    await _note(activity, actor, "saved", view)
    return view


async def delete(saved: Saved, activity: Activity, view_id: str, actor: str) -> View:
    """Forget a view; what it was. Raises NotFound."""
    view = await asyncio.to_thread(saved.view, view_id)
    if view is None or not await saved.delete_view(view_id):
        raise NotFound(f"There is no view {view_id!r} any more.")
    await _note(activity, actor, "deleted", view)
    return view


def normal(query: str) -> str:
    """The conditions of a query string as the list writes them. Raises Invalid naming ``query``."""
    try:
        listing = Listing.of_string(query.removeprefix("?"))
    except Invalid as error:
        raise _refusal(error.detail) from error
    if listing.operation:
        raise _refusal("What one operation touched is not remembered for long enough to be saved.")
    return listing.query()


def _refusal(detail: str) -> Invalid:
    return Invalid(detail, errors=[FieldError(field="query", message=detail)])


async def _note(activity: Activity, actor: str, action: str, view: View) -> None:
    await activity.note(
        actor, action, subject_kind="view", subject_id=view.id, subject_name=view.name, detail={"query": view.query}
    )
