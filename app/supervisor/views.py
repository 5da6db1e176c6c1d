"""Saving and deleting views, and saying so in the activity."""

import asyncio

from app.db.saved import Saved, View
from app.errors import NotFound
from app.supervisor.activity import Activity


async def save(saved: Saved, activity: Activity, name: str, query: str, actor: str) -> View:
    """Save a search under a name, in place of what has the name already. Raises Invalid naming ``name`` or
    ``query``."""
    view = await saved.save_view(name, query, actor)
    await _note(activity, actor, "saved", view)
    return view


async def delete(saved: Saved, activity: Activity, view_id: str, actor: str) -> View:
    """Forget a view; what it was. Raises NotFound."""
    view = await asyncio.to_thread(saved.view, view_id)
    if view is None or not await saved.delete_view(view_id):
        raise NotFound(f"There is no view {view_id!r} any more.")
    await _note(activity, actor, "deleted", view)
    return view


async def _note(activity: Activity, actor: str, action: str, view: View) -> None:
    await activity.note(
        actor, action, subject_kind="view", subject_id=view.id, subject_name=view.name, detail={"query": view.query}
    )
