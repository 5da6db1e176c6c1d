"""Pages: the list of processes."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from app.deps import SettingsDep, StoreDep, SupervisorDep
from app.lifecycle import Process
from app.pages.actions import row_actions
from app.pages.listing import PAGE_ROWS, STATUSES, TABS, Listing
from app.pages.render import page
from app.pages.targets import launchable
from app.presentation import view
from app.supervisor.supervisor import Supervisor

router = APIRouter(include_in_schema=False)


@router.get("/")
async def home() -> Response:
    """There is one home: the list."""
    return RedirectResponse("/processes", 303)


@router.get("/processes")
async def list_processes(
    request: Request, supervisor: SupervisorDep, store: StoreDep, settings: SettingsDep
) -> Response:
    """The processes, newest first; all of what is asked for stands in the query string."""
    listing = Listing.of(request.query_params)
    found, cursor = await run_in_threadpool(store.page, listing.filter(), PAGE_ROWS, listing.cursor or None)
    counts = await run_in_threadpool(store.counts_by_state_and_outcome)
    return page(
        request,
        "processes/list.html",
        listing=listing,
        rows=[_row(process, supervisor) for process in supervisor.refresh(found)],
        older_url=listing.older_url(cursor) if cursor else None,
        tabs=[(tab, tab.count(counts)) for tab in TABS],
        statuses=STATUSES,
        targets=launchable(supervisor),
        not_ready=supervisor.engine.environments_not_ready(),
        token_file=settings.data_dir / "token",
        server_url=settings.url,
        json_url=listing.api_url(),
    )


def _row(process: Process, supervisor: Supervisor) -> dict[str, Any]:
    main, behind = row_actions(process)
    return {
        "process": view(process, supervisor.sample(process.id), supervisor.condition(process.id)),
        "main": main,
        "behind": behind,
    }
