"""What machines ask outside of the versioned API: health, readiness, metrics."""

from fastapi import APIRouter, Response
from fastapi.concurrency import run_in_threadpool

from app.deps import MetricsDep, StoreDep, SupervisorDep, TroublesDep
from app.errors import Unavailable
from app.metrics import CONTENT_TYPE

router = APIRouter(include_in_schema=False)


@router.get("/healthz")
async def healthz() -> Response:
    """Whether the service's loop turns."""
    return Response("ok\n", media_type="text/plain")


@router.get("/readyz")
async def readyz(supervisor: SupervisorDep, store: StoreDep, troubles: TroublesDep) -> Response:
    """Whether a launch would work now: not ending, record readable, every launcher up. Troubles that do not keep it
    from working are named by their keys alone, for anybody may ask this."""
    if supervisor.stopping:
        raise Unavailable("The service is ending.")
    missing = supervisor.engine.environments_not_ready()
    if missing:
        raise Unavailable(f"Launchers are not ready: {', '.join(missing)}.")
    await run_in_threadpool(store.last_event_id)
    keys = "".join(f"trouble: {trouble.key}\n" for trouble in troubles.present())
    return Response(f"ready\n{keys}", media_type="text/plain")


@router.get("/metrics")
async def metrics(metrics: MetricsDep, store: StoreDep, supervisor: SupervisorDep, troubles: TroublesDep) -> Response:
    """Prometheus' text format."""
    states, outcomes = await run_in_threadpool(store.counts_by_state_and_outcome)
    keys = [trouble.key for trouble in troubles.present()]
    return Response(
        metrics.render(states, outcomes, supervisor.engine.connected_count(), keys), media_type=CONTENT_TYPE
    )
