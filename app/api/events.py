"""REST: what happens, as a stream of events."""

from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import Header, Response

from app import streams
from app.api import make_router, problems
from app.deps import AuthDep, IdentityDep, MetricsDep, SupervisorDep
from app.supervisor.broadcaster import Broadcaster, Reset

router = make_router("events")


@router.get(
    "/events",
    response_class=Response,
    responses=problems(422)
    | {
        200: {
            "description": "Events `process` (the id is the event's number), `reset` for a reader too far behind, and "
            "`restart` when the service ends.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        }
    },
)
async def stream_events(
    supervisor: SupervisorDep,
    metrics: MetricsDep,
    auth: AuthDep,
    identity: IdentityDep,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Every change of state of every process.

    A client that comes back with Last-Event-ID misses nothing and sees nothing twice.
    """
    events = _events(supervisor.broadcaster, streams.last_event_id(last_event_id))
    return streams.respond(events, lambda: auth.is_current(identity), metrics.sse_clients.labels("events"))


async def _events(broadcaster: Broadcaster, after: int | None) -> AsyncGenerator[bytes]:
    if after is not None and after < 0:
        # Not a number of ours: start over from here.
        after = broadcaster.last_id
        yield streams.event("reset", "{}", after)
    async for event in broadcaster.events(after):
        if isinstance(event, Reset):
            yield streams.event("reset", "{}", event.id)
        else:
            yield streams.event("process", event.data, event.id)
    yield streams.restart()
