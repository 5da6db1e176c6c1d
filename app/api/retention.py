"""REST: removing finished processes that are no longer to be kept."""

from typing import Annotated, Any

from fastapi import Body, Response

from app.answers import JSONAnswer
from app.api import make_router, problems
from app.api.schemas import PruneRequest, PruneResult
from app.deps import ActorDep, SettingsDep, SupervisorDep
from app.errors import FieldError, Invalid
from app.presentation import pruned_view
from app.retention import Limits

router = make_router("retention")


@router.post("/prune", response_model=PruneResult, responses=problems(413, 415, 422))
async def prune(
    supervisor: SupervisorDep,
    settings: SettingsDep,
    actor: ActorDep,
    body: Annotated[PruneRequest | None, Body()] = None,
) -> Response:
    """Remove finished processes, record and log; with `dry_run` only tell which.

    Without a limit in the body those of the settings hold; without any at all nothing is removed, 422. What is alive,
    queued or only created is never touched.
    """
    asked = body or PruneRequest()
    limits = Limits(asked.older_than_days, asked.keep_per_target, asked.keep_bytes) or Limits.of(settings)
    if not limits:
        message = "or another limit is needed: nothing says what is to be kept"
        raise Invalid(NO_LIMIT, errors=[FieldError(field=name, message=message) for name in LIMITS])
    pruned = await supervisor.prune(limits, asked.target, dry_run=asked.dry_run, actor=actor)
    answer: dict[str, Any] = pruned_view(pruned.shown, pruned.count, pruned.bytes, dry_run=asked.dry_run)
    return JSONAnswer(answer)


LIMITS = ("older_than_days", "keep_per_target", "keep_bytes")
NO_LIMIT = (
    "Nothing says what is to be kept: give older_than_days, keep_per_target or keep_bytes, or set keep_days, "
    "keep_per_target or keep_bytes for the service. Nothing was removed."
)
