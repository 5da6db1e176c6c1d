"""Pages: the list of processes."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from markupsafe import Markup
from starlette.responses import RedirectResponse, Response

from app.db.store import Found, Store
from app.deps import Parts, PartsDep
from app.errors import Invalid, RecordUnavailable
from app.lifecycle import Process
from app.pages import strip, views, words
from app.pages.actions import row_actions
from app.pages.listing import PAGE_SIZES, SORTS, STARTED, TABS, Counts, Listing
from app.pages.operations import BUTTONS
from app.pages.render import LIVE, page
from app.pages.targets import launchable
from app.presentation import view
from app.search import QUALIFIERS
from app.supervisor.supervisor import Supervisor

router = APIRouter(include_in_schema=False)

MOST_SORTED = 2000
"""Active processes that are put in another order than the newest first."""
MOST_COUNTED = 10_000
"""Counts beyond this are shown as more than it."""


@router.get("/")
async def home() -> Response:
    """There is one home: the list."""
    return RedirectResponse("/processes", 303)


@router.get("/processes")
async def list_processes(request: Request, parts: PartsDep) -> Response:
    """The processes, newest first; all of what is asked for stands in the query string."""
    listing, wrong = _read(request.query_params)
    supervisor, store = parts.supervisor, parts.store
    found, counts, unreadable = Found([], None, None), None, None
    saved = views.menu([], listing)
    try:
        found = await _find(listing, supervisor, store)
        counts = await _counts(supervisor, store)
        saved = views.menu(await run_in_threadpool(parts.saved.views), listing)
    except RecordUnavailable as error:
        unreadable = error.detail
    now = datetime.now(UTC)
    return page(
        request,
        "processes/list.html",
        # The page asks for itself to stay up to date: what it shows then is in order.
        status=422 if wrong and LIVE not in request.headers else 503 if unreadable else 200,
        listing=listing,
        typed=request.query_params.get("search", "") if wrong else listing.search.text,
        wrong=wrong,
        unreadable=unreadable,
        rows=[_row(process, supervisor, now) for process in supervisor.refresh(found.items)],
        older_url=listing.older_url(found.next) if found.next else None,
        searched_back_to=found.searched_back_to,
        tabs=[(tab, None if counts is None else tab.count(counts)) for tab in TABS],
        total=None if counts is None or listing.is_filtered else listing.tab.count(counts),
        is_new=counts is not None and not any(counts[0].values()),
        numbers=await _numbers(parts, counts),
        views=saved,
        qualifiers=_QUALIFIERS,
        started=STARTED,
        sizes=PAGE_SIZES,
        sorts=SORTS,
        bulk_actions=list(BUTTONS.items()),
        json_url=listing.api_url(),
        **_targets(parts),
    )


def _read(query: Mapping[str, str]) -> tuple[Listing, str]:
    """What is asked for, and what is wrong with the search: then it is what was searched for before."""
    try:
        return Listing.of(query), ""
    except Invalid as error:
        if not any(each["field"] == "search" for each in error.errors):
            raise
        try:
            return Listing.of({**query, "search": query.get("was", ""), "q": ""}), error.detail
        except Invalid:
            return Listing.of({**query, "search": "", "q": ""}), error.detail


def _targets(parts: Parts) -> dict[str, Any]:
    entries = parts.supervisor.catalogue.items()
    return {
        "targets": launchable(parts.supervisor),
        "broken": [entry for entry in entries if entry.get("error")],
        "searched": list(parts.settings.targets),
        "not_ready": parts.supervisor.engine.environments_not_ready(),
        "token_file": parts.settings.data_dir / "token",
        "server_url": parts.settings.url,
    }


_QUALIFIERS = [
    (name, Markup("").join(Markup("<code>{}</code>").format(part) if index % 2 else part for index, part in pieces))
    for name, pieces in ((name, list(enumerate(text.split("`")))) for name, text in QUALIFIERS.items())
]
"""The qualifiers of the search with their explanations, the examples marked."""


# --- finding -----------------------------------------------------------------------------------------------------


async def _find(listing: Listing, supervisor: Supervisor, store: Store) -> Found:
    if listing.operation:
        ids = supervisor.operations.get(listing.operation).touched
        start, end = _part(listing)
        rows = await run_in_threadpool(lambda: [store.get(process_id) for process_id in ids[start:end]])
        return Found([row for row in rows if row is not None], str(end) if end < len(ids) else None, None)
    if listing.is_sorted:
        found = await run_in_threadpool(store.search, listing.filter(), MOST_SORTED)
        start, end = _part(listing)
        ordered = _ordered(supervisor.refresh(found.items), listing.sort, supervisor)
        return Found(ordered[start:end], str(end) if end < len(ordered) else None, found.searched_back_to)
    return await run_in_threadpool(store.search, listing.filter(), listing.size, listing.cursor or None)


def _part(listing: Listing) -> tuple[int, int]:
    """Where a page begins and ends in what is counted instead of searched: its cursor is a number."""
    text = listing.cursor or "0"
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        raise Invalid("The cursor is not one of this list.", errors=[{"field": "cursor", "message": "unknown cursor"}])
    return int(text), int(text) + listing.size


def _ordered(processes: Sequence[Process], sort: str, supervisor: Supervisor) -> list[Process]:
    key = sort.removeprefix("-")

    def measure(process: Process) -> float | None:
        if key in ("cpu", "memory"):
            sample = supervisor.sample(process.id) if process.is_alive else None
            return sample["cpu_percent" if key == "cpu" else "rss_bytes"] if sample else None
        at = process.started_at
        return None if at is None else at.timestamp() if key == "started" else -at.timestamp()

    measured = [(value, process) for process in processes if (value := measure(process)) is not None]
    measured.sort(key=lambda pair: pair[0], reverse=not sort.startswith("-"))
    known = {process.id for _, process in measured}
    # Those of which nothing is known come last, whatever the order.
    return [process for _, process in measured] + [process for process in processes if process.id not in known]


async def _counts(supervisor: Supervisor, store: Store) -> Counts:
    tally = supervisor.tally
    if tally.is_known:
        return tally.states, tally.outcomes
    return await run_in_threadpool(store.counts_by_state_and_outcome)


async def _numbers(parts: Parts, counts: Counts | None) -> list[strip.Number]:
    supervisor = parts.supervisor
    tally = supervisor.tally
    failed, succeeded = (tally.failed_since(), tally.succeeded_since()) if tally.is_known else (None, None)
    machine = await strip.watch(parts.settings.data_dir).look()
    return strip.numbers(counts[0] if counts else None, failed, succeeded, supervisor.usage_now(), machine)


# --- rows --------------------------------------------------------------------------------------------------------


def _row(process: Process, supervisor: Supervisor, now: datetime) -> dict[str, Any]:
    main, behind = row_actions(process)
    return {
        "process": view(process, supervisor.sample(process.id), supervisor.condition(process.id)),
        "main": main,
        "behind": behind,
        "left": _left(process, now),
        "spark": sparkline(supervisor.recent_cpu(process.id)) if process.is_alive else "",
    }


def _left(process: Process, now: datetime) -> str:
    """About how long it will still take, going by its progress so far; empty while that says too little."""
    if not process.is_alive or process.progress is None or process.started_at is None:
        return ""
    fraction = process.progress["fraction"]
    if not 0.02 <= fraction < 1:
        return ""
    seconds = (now - process.started_at).total_seconds() * (1 - fraction) / fraction
    return words.about(seconds)


SPARK_WIDTH, SPARK_HEIGHT = 60, 16


def sparkline(values: Sequence[float]) -> str:
    """The points of a polyline through percentages of CPU, one to a unit of width, the last at the right; one core is
    the full height, or the greatest of them."""
    if len(values) < 2:
        return ""
    scale = (SPARK_HEIGHT - 2) / max(100.0, *values)
    left = SPARK_WIDTH - len(values)
    return " ".join(f"{left + index},{SPARK_HEIGHT - 1 - value * scale:.1f}" for index, value in enumerate(values))
