"""REST: the service itself."""

import os

from fastapi import Response

from app.answers import JSONAnswer
from app.api import make_router, problems
from app.api.schemas import ServiceView
from app.deps import PartsDep
from app.version import VERSION

router = make_router("service")


@router.get("/service", response_model=ServiceView, responses=problems())
async def show_service(parts: PartsDep) -> Response:
    """The service, how much it has to do, and what is wrong with it as a whole."""
    troubles = [
        {"key": trouble.key, "sentence": trouble.sentence, "since": trouble.since.isoformat()}
        for trouble in parts.troubles.present()
    ]
    told = {
        "version": VERSION,
        "started_at": parts.started_at.isoformat(),
        "pid": os.getpid(),
        "url": parts.settings.url,
        "alive": parts.supervisor.alive_count(),
        "queued": parts.supervisor.queued_count(),
        "troubles": troubles,
    }
    return JSONAnswer(told)
