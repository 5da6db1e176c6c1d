"""Pages: the list of processes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from time import monotonic
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from markupsafe import Markup
from starlette.responses import RedirectResponse, Response

from app import arguments
from app.db.store import Found, Store
from app.deps import Parts, PartsDep
from app.errors import Invalid, RecordUnavailable
from app.lifecycle import Process
from app.listing import PAGE_SIZES, RECORDED, SORTS, STARTED, TABS, Counts, Listing, unknown
from app.pages import forms, strip, views, words
from app.pages.actions import row_actions
from app.pages.operations import BUTTONS
from app.pages.render import LIVE, page
from app.pages.targets import launchable
from app.presentation import duration, view
from app.search import QUALIFIERS
from app.settings import Settings
from app.supervisor.launches import Launch
from app.supervisor.supervisor import Supervisor
from procdeck.states import State

router = APIRouter(include_in_schema=False)

MOST_SORTED = 2000
"""Processes that are put in another order than the newest first."""
MOST_COUNTED = 10_000
"""Counts beyond this are shown as more than it."""
COUNT_SECONDS = 0.1
"""How long a page waits for the number of those that match, and as long again for those under the other tabs."""


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
    matches = Matches(None)
    saved = views.menu([], listing)
    try:
        listing, found = await _find(listing, supervisor, store)
        counts = await _counts(supervisor, store)
        matches = await _matches(listing, found, counts, supervisor, store)
        saved = views.menu(await run_in_threadpool(parts.saved.views), listing)
    except RecordUnavailable as error:
        counts, unreadable = None, error.detail  # what was counted may be of long ago
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
        tabs=[(tab, matches.by_tab.get(tab.key)) for tab in TABS],
        most_counted=MOST_COUNTED,
        matches=matches,
        unknown=unknown(request.query_params, "was"),
        is_new=counts is not None and not any(counts[0].values()),
        numbers=await _numbers(parts, counts),
        views=saved,
        qualifiers=_QUALIFIERS,
        started=STARTED,
        sizes=PAGE_SIZES,
        sorts=_sorts(listing, matches),
        most_sorted=MOST_SORTED,
        is_cut=is_cut(listing, matches),
        is_forgotten=bool(listing.operation) and supervisor.operations.touched(listing.operation) is None,
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
        "sample": sample(launchable(parts.supervisor), parts.settings),
    }


def sample(targets: Sequence[Mapping[str, Any]], settings: Settings) -> str:
    """A launch from a shell that works when it is pasted: of the first target that needs no arguments, or else of the
    first whose arguments an example can be made up for; of a made-up target when there is none."""
    given: dict[str, Any] = {}
    name = "jobs:hello"
    for target in sorted(targets, key=lambda target: bool(target["parameters"].get("required"))):
        example = _example(target["parameters"])
        if not arguments.check(dict(target), [], example):
            name, given = target["name"], example
            break
    launch = Launch(name, kwargs=given)
    return forms.curl(launch, settings.url, settings.data_dir / "token")


def _example(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A value for each argument that is required, as far as the schema of it tells one."""
    properties = parameters.get("properties", {})
    return {name: _example_of(properties.get(name, {})) for name in parameters.get("required", ())}


def _example_of(schema: Mapping[str, Any]) -> Any:
    if "const" in schema:
        return schema["const"]
    for among in ("examples", "enum"):
        if schema.get(among):
            return schema[among][0]
    if schema.get("anyOf"):
        return _example_of(schema["anyOf"][0])
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "string":
        return _EXAMPLES.get(schema.get("format", ""), "example")
    if kind in ("integer", "number"):
        return max(schema.get("minimum", 1), schema.get("exclusiveMinimum", 0) + 1)
    return {"boolean": True, "array": [], "object": {}}.get(kind or "", "example")


_EXAMPLES = {"date": "2026-01-31", "date-time": "2026-01-31T12:00:00Z", "time": "12:00:00", "uuid": str(UUID(int=0))}


_QUALIFIERS = [
    (name, Markup("").join(Markup("<code>{}</code>").format(part) if index % 2 else part for index, part in pieces))
    for name, pieces in ((name, list(enumerate(text.split("`")))) for name, text in QUALIFIERS.items())
]
"""The qualifiers of the search with their explanations, the examples marked."""


# --- finding -----------------------------------------------------------------------------------------------------


async def _find(listing: Listing, supervisor: Supervisor, store: Store) -> tuple[Listing, Found]:
    """This page of the list. What is too much to be put in order is the newest first, and the list that comes back
    says so."""
    if listing.operation:
        listing = replace(listing, sort="")
        ids = supervisor.operations.touched(listing.operation) or ()
        start, end = _part(listing)
        rows = await run_in_threadpool(store.several, ids[start:end])
        return listing, Found(rows, str(end) if end < len(ids) else None, None)
    if listing.is_sorted:
        found = await run_in_threadpool(store.search, listing.filter(), MOST_SORTED)
        start, end = _part(listing)
        if found.next is None or listing.is_active:
            ordered = _ordered(supervisor.refresh(found.items), listing.sort, supervisor)
            part = Found(ordered[start:end], str(end) if end < len(ordered) else None, found.searched_back_to)
            return listing, part
        listing = listing.unsorted()
    return listing, await run_in_threadpool(store.search, listing.filter(), listing.size, listing.cursor or None)


@dataclass(frozen=True, slots=True)
class Matches:
    """How many processes a list has, None when that is not known; a lower bound unless ``is_exact``. ``by_tab`` are
    the same under each tab, by its key, as far as they could be counted in time."""

    count: int | None
    is_exact: bool = True
    by_tab: Mapping[str, int] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """`477 match`, `at least 3,200 match`, `more than 10,000 match`; empty when it is not known."""
        if self.count is None:
            return ""
        how = "" if self.is_exact else "more than " if self.count >= MOST_COUNTED else "at least "
        return f"{how}{self.count:,} match{'es' if self.count == 1 and self.is_exact else ''}"


async def _matches(
    listing: Listing, found: Found, counts: Counts | None, supervisor: Supervisor, store: Store
) -> Matches:
    if counts is not None and not listing.is_filtered:
        by_tab = {tab.key: tab.count(counts) for tab in TABS}
        return Matches(by_tab[listing.tab.key], by_tab=by_tab)
    if listing.operation:
        return Matches(len(supervisor.operations.touched(listing.operation) or ()))
    return await run_in_threadpool(_counted, listing, found, store)


def _counted(listing: Listing, found: Found, store: Store) -> Matches:
    """How many match. What stands on this page need not be counted once more. Blocks, for `COUNT_SECONDS` twice."""
    count, is_exact = len(found.items), bool(listing.is_first and found.next is None)
    if not is_exact:
        count, is_exact = store.count(listing.filter(), MOST_COUNTED, COUNT_SECONDS)
    by_tab: dict[str, int] = {}
    if not is_exact:
        return Matches(count, is_exact)  # the others would take as long, at every look of every reader
    deadline = monotonic() + COUNT_SECONDS
    known: tuple[int, bool]
    for tab in TABS:
        if tab is listing.tab and not listing.state:
            known = count, bool(is_exact)
        elif (left := deadline - monotonic()) > 0:
            known = store.count(listing.under(tab).filter(), MOST_COUNTED, left)
        else:
            known = (0, False)
        # More than are counted is shown as that; what was not counted to its end says nothing.
        if known[1] or known[0] >= MOST_COUNTED:
            by_tab[tab.key] = known[0] if known[1] else MOST_COUNTED + 1
    # Some without the others would look like tabs with nothing under them.
    return Matches(count, is_exact, by_tab if len(by_tab) == len(TABS) else {})


def _sorts(listing: Listing, matches: Matches) -> Sequence[str]:
    """What this list can be ordered by."""
    if listing.is_active:
        return tuple(SORTS)
    is_few = matches.count is not None and matches.is_exact and matches.count <= MOST_SORTED
    return RECORDED if is_few and not listing.operation else ()


def is_cut(listing: Listing, matches: Matches) -> bool:
    """Whether there are more than can be put in order, so that only the newest of them are."""
    return listing.is_sorted and matches.count is not None and matches.count > MOST_SORTED


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
        if key == "took":
            return duration(process)
        return None if process.started_at is None else process.started_at.timestamp()

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
    # Without counts the record can't be read, and the tally is as old as that.
    is_known = counts is not None and tally.is_known
    failed, succeeded = (tally.failed_since(), tally.succeeded_since()) if is_known else (None, None)
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
        **_asked(process, now),
        "spark": sparkline(supervisor.recent_cpu(process.id)) if process.is_alive else "",
    }


def _asked(process: Process, now: datetime) -> dict[str, Any]:
    """When a process that is being stopped was asked to end, and the seconds since."""
    at = process.asked["at"] if process.asked and process.state is State.STOPPING else None
    return {"asked_at": at, "asked_for": at and max(0.0, (now - datetime.fromisoformat(at)).total_seconds())}


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
LEAST_POINTS = 5
"""Fewer are no line."""
IDLE_PERCENT = 0.5
"""Less than that is drawn as nothing at all."""


def sparkline(values: Sequence[float]) -> str:
    """The points of a polyline through percentages of CPU, one to a unit of width, the last at the right; one core is
    the full height, or the greatest of them. A process that did nothing has a base line; empty for a few values."""
    if len(values) < LEAST_POINTS:
        return ""
    if max(values) < IDLE_PERCENT:
        return f"0,{SPARK_HEIGHT - 1} {SPARK_WIDTH},{SPARK_HEIGHT - 1}"
    scale = (SPARK_HEIGHT - 2) / max(100.0, *values)
    left = SPARK_WIDTH - len(values)
    return " ".join(f"{left + index},{SPARK_HEIGHT - 1 - value * scale:.1f}" for index, value in enumerate(values))
