"""REST: what a process used over its life."""

from fastapi import Response

from app.answers import JSONAnswer
from app.api import make_router, problems
from app.api.schemas import UsageHistory
from app.deps import SupervisorDep
from app.supervisor.usage import view

router = make_router("processes")


@router.get("/processes/{id}/usage", response_model=UsageHistory, responses=problems(404))
async def show_usage(id: str, supervisor: SupervisorDep) -> Response:
    """CPU, memory, threads, open files and processes of the tree over time.

    Measured every second while something changes. Empty for a process that was over sooner, and without its run folder.
    """
    return JSONAnswer(view(await supervisor.usage(id)))
