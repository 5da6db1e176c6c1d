"""Pages: what can be launched."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from app.db.store import Filter
from app.deps import StoreDep, SupervisorDep
from app.errors import NotFound, Unavailable
from app.pages.forms import fields
from app.pages.render import page, redirect, target_url
from app.presentation import view
from app.supervisor.supervisor import Supervisor

router = APIRouter(include_in_schema=False)

RECENT = 20


def launchable(supervisor: Supervisor) -> list[dict[str, Any]]:
    """The targets that a launch may name."""
    return [entry for entry in supervisor.catalogue.items() if not entry.get("error")]


def find(supervisor: Supervisor, name: str) -> dict[str, Any]:
    """The target of this name. Raises NotFound, or Unavailable while it may still be on its way."""
    entry = supervisor.catalogue.get(name)
    if entry is not None:
        return entry
    if supervisor.engine.environments_not_ready():
        raise Unavailable(f"There is no target {name!r} yet: the targets are still being imported.", retry_after=2)
    raise NotFound(f"There is no target {name!r}.")


@router.get("/targets")
async def list_targets(request: Request, supervisor: SupervisorDep) -> Response:
    """The catalogue, with what could not be imported and why."""
    entries = supervisor.catalogue.items()
    return page(
        request,
        "targets/list.html",
        targets=[entry for entry in entries if entry["kind"] != "module"],
        broken=[entry for entry in entries if entry["kind"] == "module"],
        not_ready=supervisor.engine.environments_not_ready(),
        json_url="/api/v1/targets",
    )


@router.post("/targets/reload")
async def reload_targets(request: Request, supervisor: SupervisorDep) -> Response:
    """Import all target modules anew."""
    entries = await supervisor.reload_targets()
    return redirect(request, "/targets", _told(entries), kind="bad" if _broken(entries) else "good")


def _told(entries: list[dict[str, Any]]) -> str:
    good, broken = len(entries) - _broken(entries), _broken(entries)
    said = f"Imported anew: {good} target{'' if good == 1 else 's'}"
    return f"{said}, and {broken} with an error." if broken else f"{said}."


def _broken(entries: list[dict[str, Any]]) -> int:
    return sum(bool(entry.get("error")) for entry in entries)


@router.get("/targets/{name:path}")
async def show_target(request: Request, name: str, supervisor: SupervisorDep, store: StoreDep) -> Response:
    """One target: what it says of itself, what it takes, and its last processes."""
    entry = find(supervisor, name)
    recent, _ = await run_in_threadpool(store.page, Filter(target=name), RECENT)
    return page(
        request,
        "targets/page.html",
        target=entry,
        parameters=fields(entry["parameters"]),
        recent=[
            view(process, supervisor.sample(process.id), supervisor.condition(process.id))
            for process in supervisor.refresh(recent)
        ],
        json_url=f"/api/v1{target_url(name)}",
    )
