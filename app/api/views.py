"""REST: saved searches of the list of processes."""

from datetime import datetime
from typing import Any

from fastapi import Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from app.answers import JSONAnswer
from app.api import make_router, problems
from app.api.schemas import Text
from app.db.saved import MAX_NAME, MAX_QUERY, View
from app.deps import ActorDep, SavedDep, SupervisorDep
from app.supervisor import views

router = make_router("views")


class ViewRequest(BaseModel):
    """A search under a name."""

    model_config = ConfigDict(extra="forbid", title="SaveView")

    name: Text = Field(min_length=1, max_length=MAX_NAME)
    query: Text = Field(
        max_length=MAX_QUERY,
        description="The query string of the page `/processes`; its conditions are kept, as the page writes them.",
        examples=["view=failed&search=target%3Aresize"],
    )
    replace: bool = Field(
        default=False, description="Whether in the place of the view that has the name; else that is a conflict."
    )


class ViewView(BaseModel):
    """A saved search."""

    model_config = ConfigDict(title="View")

    id: str
    name: str
    query: str
    created_at: datetime
    actor: str


class ViewList(BaseModel):
    """All saved searches, by name."""

    items: list[ViewView]


def _shown(view: View) -> dict[str, Any]:
    return {
        "id": view.id,
        "name": view.name,
        "query": view.query,
        "created_at": view.created_at.isoformat(),
        "actor": view.actor,
    }


@router.get("/views", response_model=ViewList, responses=problems(503))
async def list_views(saved: SavedDep) -> Response:
    """All saved searches."""
    return JSONAnswer({"items": [_shown(view) for view in await run_in_threadpool(saved.views)]})


@router.post("/views", status_code=201, response_model=ViewView, responses=problems(409, 413, 415, 422, 503))
async def save_view(body: ViewRequest, saved: SavedDep, supervisor: SupervisorDep, actor: ActorDep) -> Response:
    """Save a search under a name."""
    view = await views.save(saved, supervisor.activity, body.name, body.query, actor, replace=body.replace)
    return JSONAnswer(_shown(view), 201)


@router.delete("/views/{id}", status_code=204, responses=problems(404, 503))
async def delete_view(id: str, saved: SavedDep, supervisor: SupervisorDep, actor: ActorDep) -> Response:
    """Forget a saved search; the processes stay."""
    await views.delete(saved, supervisor.activity, id, actor)
    return Response(status_code=204)
