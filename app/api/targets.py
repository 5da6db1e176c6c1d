"""REST: what can be launched."""

from typing import Any

from fastapi import Response

from app.answers import JSONAnswer
from app.api import make_router, problems
from app.api.schemas import LoginLink, TargetList, TargetView
from app.deps import ActorDep, AuthDep, SettingsDep, SupervisorDep
from app.errors import NotFound

router = make_router("targets")

_FIELDS = tuple(TargetView.model_fields)


def _view(entry: dict[str, Any]) -> dict[str, Any]:
    return {"defaults": {}} | {name: entry[name] for name in _FIELDS if name in entry}


@router.get("/targets", response_model=TargetList, responses=problems())
async def list_targets(supervisor: SupervisorDep) -> Response:
    """The catalogue: every registered target, and every module that could not be imported."""
    return JSONAnswer({"items": [_view(entry) for entry in supervisor.catalogue.items()]})


@router.post("/targets/reload", response_model=TargetList, responses=problems(503))
async def reload_targets(supervisor: SupervisorDep, actor: ActorDep) -> Response:
    """Import all target modules anew. Processes that run keep the code they began with."""
    return JSONAnswer({"items": [_view(entry) for entry in await supervisor.reload_targets(actor)]})


@router.get("/targets/{name}", response_model=TargetView, responses=problems(404))
async def show_target(name: str, supervisor: SupervisorDep) -> Response:
    """One target."""
    entry = supervisor.catalogue.get(name)
    if entry is None:
        raise NotFound(f"There is no target {name!r}.")
    return JSONAnswer(_view(entry))


@router.post("/login-links", status_code=201, response_model=LoginLink, responses=problems(), tags=["door"])
async def make_login_link(auth: AuthDep, settings: SettingsDep) -> Response:
    """A link that signs a browser in, once, within ten minutes."""
    return JSONAnswer({"url": auth.login_link(settings.url)}, 201)
