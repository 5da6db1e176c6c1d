"""What machines ask outside of the versioned API: health, readiness, metrics."""

from fastapi import APIRouter, Response
from fastapi.concurrency import run_in_threadpool

from app.db.store import Store
from app.deps import MetricsDep, StoreDep, SupervisorDep, TroublesDep
from app.errors import RecordUnavailable, Unavailable
from app.metrics import CONTENT_TYPE, Counts

router = APIRouter(include_in_schema=False)

PREVENTING = frozenset({"database", "database-writes"})
"""The troubles with which no launch would work, see `app.supervisor.record`."""


@router.get("/healthz")
async def healthz() -> Response:
    """Whether the service's loop turns."""
    return Response("ok\n", media_type="text/plain")


@router.get("/readyz")
async def readyz(supervisor: SupervisorDep, store: StoreDep, troubles: TroublesDep) -> Response:
    """Whether a launch would work now: not ending, record readable and writable, every launcher up. Troubles are named
    by their keys alone, and what the database says not at all, for anybody may ask this."""
    if supervisor.stopping:
        raise Unavailable("The service is ending.")
    missing = supervisor.engine.environments_not_ready()
    if missing:
        raise Unavailable(f"Launchers are not ready: {', '.join(missing)}.")
    keys = [trouble.key for trouble in troubles.present()]
    if not PREVENTING.isdisjoint(keys):
        raise Unavailable("The record can't be written.")
    try:
        await run_in_threadpool(store.last_event_id)
    except RecordUnavailable:
        raise Unavailable("The record can't be read.") from None
    return Response("".join(["ready\n", *(f"trouble: {key}\n" for key in keys)]), media_type="text/plain")


@router.get("/metrics")
async def metrics(metrics: MetricsDep, store: StoreDep, supervisor: SupervisorDep, troubles: TroublesDep) -> Response:
    """Prometheus' text format. While the record can't be read its counts are left out, and the rest is told."""
    counts = await run_in_threadpool(_counts, store)
    keys = [trouble.key for trouble in troubles.present()]
    return Response(metrics.render(counts, supervisor.engine.connected_count(), keys), media_type=CONTENT_TYPE)


def _counts(store: Store) -> Counts | None:
    try:
        return store.counts_by_state_and_outcome()
    except RecordUnavailable:
        return None
