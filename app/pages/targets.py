"""Pages: what can be launched."""

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from app.db.store import Filter, Store
from app.deps import ActorDep, SavedDep, StoreDep, SupervisorDep
from app.errors import NotFound, Unavailable
from app.pages.forms import fields
from app.pages.outcomes import Run, chart, run_of, summary
from app.pages.render import page, redirect, target_url
from app.pages.source import source_of
from app.presentation import view
from app.supervisor.supervisor import Supervisor

router = APIRouter(include_in_schema=False)

RECENT = 10
"""Processes in the table of one target."""
TICKS = 20
CHARTED = 50
MAX_LISTED = 100
"""Targets on one page; who has more searches among them."""
MAX_Q = 200

Entry = dict[str, Any]


def launchable(supervisor: Supervisor) -> list[Entry]:
    """The targets that a launch may name."""
    return [entry for entry in supervisor.catalogue.items() if not entry.get("error")]


def find(supervisor: Supervisor, name: str) -> Entry:
    """The target of this name. Raises NotFound, or Unavailable while it may still be on its way."""
    entry = supervisor.catalogue.get(name)
    if entry is not None:
        return entry
    if supervisor.engine.environments_not_ready():
        raise Unavailable(f"There is no target {name!r} yet: the targets are still being imported.", retry_after=2)
    raise NotFound(f"There is no target {name!r}.")


def matching(entries: Iterable[Entry], q: str) -> list[Entry]:
    """Those in whose name, signature or docstring all words of ``q`` occur."""
    wanted = q.casefold().split()
    return [
        entry
        for entry in entries
        if all(word in f"{entry['name']} {entry['signature']} {entry['doc']}".casefold() for word in wanted)
    ]


def grouped(entries: Iterable[Entry]) -> list[tuple[str, list[Entry]]]:
    """By module, the commands last."""

    def group(entry: Entry) -> tuple[bool, str]:
        return entry["kind"] == "command", str(entry["module"])

    return [(module or "Commands", list(found)) for (_, module), found in groupby(sorted(entries, key=group), group)]


# --- all of them -------------------------------------------------------------------------------------------------


@router.get("/targets")
async def list_targets(request: Request, supervisor: SupervisorDep, store: StoreDep, q: str = "") -> Response:
    """The catalogue by module, how each target has fared, and what could not be imported and why."""
    entries = supervisor.catalogue.items()
    targets = [entry for entry in entries if entry["kind"] != "module"]
    q = q[:MAX_Q].strip()
    found = matching(targets, q)
    shown = found[:MAX_LISTED]
    runs = await run_in_threadpool(_recent, store, [entry["name"] for entry in shown], TICKS)
    return page(
        request,
        "targets/list.html",
        groups=grouped(shown),
        runs=runs,
        summaries={name: summary(ran) for name, ran in runs.items()},
        total=len(targets),
        found=len(found),
        q=q,
        broken=[entry for entry in entries if entry["kind"] == "module"],
        not_ready=supervisor.engine.environments_not_ready(),
        json_url="/api/v1/targets",
    )


def _recent(store: Store, names: list[str], each: int) -> dict[str, list[Run]]:
    """The last runs of each target, the newest first."""
    return {name: [run_of(run) for run in runs] for name, runs in store.recent_of_targets(names, each).items()}


@router.post("/targets/reload")
async def reload_targets(request: Request, supervisor: SupervisorDep, actor: ActorDep) -> Response:
    """Import all target modules anew."""
    entries = await supervisor.reload_targets(actor)
    return redirect(request, "/targets", _told(entries), kind="bad" if _broken(entries) else "good")


def _told(entries: list[Entry]) -> str:
    good, broken = len(entries) - _broken(entries), _broken(entries)
    said = f"Imported anew: {good} target{'' if good == 1 else 's'}"
    return f"{said}, and {broken} with an error." if broken else f"{said}."


def _broken(entries: list[Entry]) -> int:
    return sum(bool(entry.get("error")) for entry in entries)


# --- one of them -------------------------------------------------------------------------------------------------


@router.get("/targets/{name:path}")
async def show_target(
    request: Request, name: str, supervisor: SupervisorDep, store: StoreDep, saved: SavedDep
) -> Response:
    """One target: what it says of itself, what it takes, how it has fared, its presets and last processes."""
    processes, _ = await run_in_threadpool(store.page, Filter(target=name), RECENT)
    recent = [
        view(process, supervisor.sample(process.id), supervisor.condition(process.id))
        for process in supervisor.refresh(processes)
    ]
    try:
        entry = find(supervisor, name)
    except NotFound as error:
        if not recent:
            raise
        return page(request, "targets/gone.html", status=404, name=name, sentence=error.detail, recent=recent)
    runs = (await run_in_threadpool(_recent, store, [name], CHARTED))[name]
    return page(
        request,
        "targets/page.html",
        target=entry,
        source=await run_in_threadpool(source_of, entry),
        parameters=list(_with_members(fields(entry["parameters"]))),
        recent=recent,
        runs=runs,
        summary=summary(runs),
        chart=chart(runs),
        presets=await run_in_threadpool(saved.presets, name),
        json_url=f"/api/v1{target_url(name)}",
    )


def _with_members(known: Iterable[Any]) -> Iterable[Any]:
    """The parameters, and what is inside of them."""
    for one in known:
        yield one
        yield from _with_members(one.members)
