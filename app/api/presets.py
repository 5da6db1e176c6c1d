"""REST: presets, the launch forms that people keep under a name. They belong to everybody."""

from datetime import datetime
from typing import Annotated

from fastapi import Query, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from app.answers import JSONAnswer
from app.api import make_router, problems
from app.api.schemas import Text
from app.db.saved import MAX_NAME, Preset
from app.deps import ActorDep, SavedDep, SupervisorDep
from app.errors import FieldError, Invalid
from app.supervisor import presets

router = make_router("presets")


class PresetRequest(BaseModel):
    """A form to be kept."""

    model_config = ConfigDict(extra="forbid", title="SavePreset")

    target: Text = Field(max_length=500, description="The name of a registered target.")
    name: Text = Field(min_length=1, max_length=MAX_NAME, description="One that is there already is replaced.")
    typed: dict[Text, Text] = Field(
        description="What is typed, by the names of the inputs of the launch form: `arg-width`, `use-limit`, `labels` …"
    )


class PresetView(BaseModel):
    """A launch form that was kept; `/launch?preset=ID` shows it."""

    model_config = ConfigDict(title="Preset")

    id: str
    target: str
    name: str
    typed: dict[str, str]
    created_at: datetime
    actor: str = Field(description="Who saved it.")


class PresetList(BaseModel):
    """The presets of a target, by name."""

    items: list[PresetView]


def _view(preset: Preset) -> dict[str, object]:
    return {
        "id": preset.id,
        "target": preset.target,
        "name": preset.name,
        "typed": dict(preset.typed),
        "created_at": preset.created_at.isoformat(),
        "actor": preset.actor,
    }


@router.get("/presets", response_model=PresetList, responses=problems(422, 503))
async def list_presets(
    saved: SavedDep, target: Annotated[str, Query(max_length=500, description="Its name.")]
) -> Response:
    """The presets of a target."""
    found = await run_in_threadpool(saved.presets, target)
    return JSONAnswer({"items": [_view(preset) for preset in found]})


@router.post("/presets", status_code=201, response_model=PresetView, responses=problems(413, 415, 422, 503))
async def save_preset(body: PresetRequest, saved: SavedDep, supervisor: SupervisorDep, actor: ActorDep) -> Response:
    """Keep a form under a name."""
    if supervisor.catalogue.get(body.target) is None:
        message = f"is not a registered target: {body.target!r}"
        raise Invalid(f"The target {message}.", errors=[FieldError(field="target", message=message)])
    preset = await presets.save(saved, supervisor.activity, body.target, body.name, body.typed, actor)
    return JSONAnswer(_view(preset), 201)


@router.delete("/presets/{id}", status_code=204, responses=problems(404, 503))
async def delete_preset(id: str, saved: SavedDep, supervisor: SupervisorDep, actor: ActorDep) -> Response:
    """Forget a preset."""
    await presets.delete(saved, supervisor.activity, id, actor)
    return Response(status_code=204)
