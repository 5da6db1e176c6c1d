"""Saving and deleting presets, noted in the activity."""

import asyncio
from collections.abc import Mapping

from app.db.saved import Preset, Saved
from app.errors import NotFound
from app.supervisor.activity import Activity


async def save(
    saved: Saved, activity: Activity, target: str, name: str, typed: Mapping[str, str], actor: str
) -> Preset:
    """Save what is typed into the form of a target; what has the name already is replaced. Raises Invalid."""
    preset = await saved.save_preset(target, name, typed, actor)
    await _note(activity, actor, "saved", preset)
    return preset


async def delete(saved: Saved, activity: Activity, preset_id: str, actor: str) -> Preset:
    """Forget a preset; what it was. Raises NotFound."""
    preset = await asyncio.to_thread(saved.preset, preset_id)
    if preset is None or not await saved.delete_preset(preset_id):
        raise NotFound("There is no such preset: it was deleted, or saved anew under its name.")
    await _note(activity, actor, "deleted", preset)
    return preset


async def _note(activity: Activity, actor: str, action: str, preset: Preset) -> None:
    await activity.note(
        actor,
        action,
        subject_kind="preset",
        subject_id=preset.id,
        subject_name=preset.name,
        detail={"target": preset.target},
    )
