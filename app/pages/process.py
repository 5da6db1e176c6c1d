"""Pages: the page of one process, and what its buttons do."""

import contextlib
import itertools
import math
import signal as signals
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import uuid4

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.responses import Response

from app.db.store import Store
from app.deps import ActorDep, SettingsDep, StoreDep, SupervisorDep
from app.errors import AppError, Invalid, NotFound
from app.lifecycle import Process, Transition
from app.pages import forms, gone, words
from app.pages import log as log_page
from app.pages.actions import (
    BEHIND,
    CONFIRMED,
    DELETE,
    ENDINGS,
    JOIN,
    KILL,
    RELAUNCH,
    SIGNAL,
    SIGNALS,
    START,
    WORDS,
    actions,
)
from app.pages.render import page, process_url, redirect
from app.pages.stopping import stopping
from app.presentation import exit_parts, exit_summary, view
from app.security.auth import safe_next
from app.settings import Settings
from app.supervisor.launches import again
from app.supervisor.supervisor import Supervisor
from app.supervisor.usage import Usage
from procdeck.states import State

router = APIRouter(include_in_schema=False)

MAX_WAIT = 3600.0
"""Seconds for which the page's Join may wait."""
MAX_GRACE = 86400.0
MAX_ANCESTORS = 5
MAX_DESCENDANTS = 10
MAX_COPIED = 20_000
"""Characters of code that a button copies; longer ones stand on the tab of the details alone."""
TABLE_ROWS = 25
TABS = {"log": "Log", "details": "Details", "resources": "Resources", "events": "Events"}


@router.get("/processes/{id}")
async def show_process(
    request: Request, id: str, supervisor: SupervisorDep, store: StoreDep, settings: SettingsDep
) -> Response:
    """Everything about one process, its log first; the other tabs have addresses of their own."""
    try:
        process = await supervisor.get(id)
    except NotFound as error:
        why = await run_in_threadpool(gone.why, store, id)
        raise NotFound(f"{error.detail} {why}".rstrip()) from error
    tab = request.query_params.get("tab", "log")
    tab = tab if tab in TABS else "log"
    transitions = await run_in_threadpool(store.transitions, id)
    buttons = actions(process)
    return page(
        request,
        "process/page.html",
        process=view(process, supervisor.sample(id), supervisor.condition(id)),
        explained=exit_parts(process),
        stopping=stopping(process, transitions) if process.is_alive else None,
        waits_for=_waits_for(process, supervisor, settings),
        spec=process.spec,
        code_now=(supervisor.catalogue.get(process.target) or {}).get("fingerprint"),
        sample=supervisor.sample(id) if process.is_alive else None,
        left=_left(process),
        main=next((button for button in buttons if button.is_main), None),
        buttons=[button for button in buttons if not button.is_main and button.name not in BEHIND],
        behind={button.name: button for button in buttons if button.name in BEHIND},
        signals=SIGNALS,
        key=str(uuid4()),
        code=_code(process, settings),
        max_copied=MAX_COPIED,
        tab=tab,
        tabs=TABS,
        transitions=transitions,
        spans=_spans(transitions),
        usage=_table(await supervisor.usage(id)) if tab == "resources" else None,
        ancestors=await _ancestors(process, supervisor),
        descendants=await _descendants(process, supervisor, store),
        log=await log_page.view(supervisor, process, request) if tab == "log" else None,
        json_url=f"/api/v1{process_url(id)}",
    )


async def _ancestors(process: Process, supervisor: Supervisor) -> list[Process]:
    """What it was launched again from, and that from, as far as the records are still there."""
    found: list[Process] = []
    with contextlib.suppress(NotFound):
        while process.origin_id is not None and len(found) < MAX_ANCESTORS:
            process = await supervisor.get(process.origin_id)
            found.append(process)
    return found


async def _descendants(process: Process, supervisor: Supervisor, store: Store) -> list[Process]:
    """What was launched again from it."""
    found = await run_in_threadpool(store.relaunches, process.id, MAX_DESCENDANTS + 1)
    return supervisor.refresh(found)


def _waits_for(process: Process, supervisor: Supervisor, settings: Settings) -> str:
    """What a queued process waits for, and its place; empty for any other."""
    if process.state is not State.QUEUED:
        return ""
    alive, most = supervisor.alive_count(), settings.max_processes
    if not supervisor.engine.is_ready(process.environment):
        what = f"It waits for the launcher of environment {process.environment}, which is not ready yet"
    elif most and alive >= most:
        what = f"It waits for room: {alive} of {most} processes are running"
    else:
        what = "It is about to be started"
    place = supervisor.place_in_queue(process.id)
    return f"{what}; place {place} of {max(place, supervisor.queued_count())} in the queue." if place else f"{what}."


def _code(process: Process, settings: Settings) -> dict[str, str]:
    """The launch of the same again, as code."""
    launch, token_file = again(process), settings.data_dir / "token"
    return {
        "curl": forms.curl(launch, settings.url, token_file),
        "python": forms.httpx_code(launch, settings.url, token_file),
    }


def _left(process: Process) -> str:
    """About how long it will still take, going by its progress so far; empty while that says too little, or the
    progress itself says it."""
    if not process.is_alive or process.progress is None or process.started_at is None:
        return ""
    fraction = process.progress["fraction"]
    if not 0.02 <= fraction < 1 or process.progress["message"].endswith(" left"):
        return ""
    return words.about((datetime.now(UTC) - process.started_at).total_seconds() * (1 - fraction) / fraction)


def _spans(transitions: Sequence[Transition]) -> dict[int, str]:
    """How long after the event before it each one came, by its number; nothing for the first."""
    pairs = itertools.pairwise(transitions)
    return {later.seq: words.duration(max(0.0, (later.at - row.at).total_seconds())) for row, later in pairs}


def _table(found: Usage) -> dict[str, Any]:
    """A history of usage as numbers: what it comes to, and some of its points."""
    step = max(1, math.ceil(len(found.points) / TABLE_ROWS))
    rows = [(datetime.fromtimestamp(point.at, UTC), point) for point in found.points[::-step][::-1]]
    return {"average": found.average, "maximum": found.maximum, "rows": rows}


# --- buttons -----------------------------------------------------------------------------------------------------


@router.get("/processes/{id}/{action}")
async def confirm(request: Request, id: str, action: str, supervisor: SupervisorDep) -> Response:
    """Ask before what can't be taken back; with script the same question is a dialog on the page."""
    if action not in CONFIRMED:
        raise NotFound(f"There is nothing at {request.scope['path']}.")
    process = await supervisor.get(id)
    return page(
        request,
        "process/confirm.html",
        process=view(process),
        action=next(known for known in actions(process) if known.name == action),
        next=safe_next(request.query_params.get("next") or process_url(id)),
        json_url=f"/api/v1{process_url(id)}",
    )


@dataclass(frozen=True, slots=True)
class Done:
    """What an action did, as a sentence. `process` is the one to link to, `at` where to go unless told otherwise."""

    text: str
    process: str = ""
    at: str = ""
    kind: Literal["good", "bad"] = "good"


@router.post("/processes/{id}/{action}")
async def act(request: Request, id: str, action: str, supervisor: SupervisorDep, actor: ActorDep) -> Response:
    """Do what a button says, then go back with a notice. A refusal is a notice too, unless there is no such process."""
    if action not in WORDS:
        raise NotFound(f"There is nothing at {request.scope['path']}.")
    form = await request.form()
    back = safe_next(str(form["next"])) if "next" in form else ""
    process = await supervisor.get(id)
    try:
        done = await _DO.get(action, _end(action))(process, supervisor, actor, form)
    except NotFound:
        raise
    except AppError as error:
        return redirect(request, back or process_url(id), error.detail, kind="bad", process=id)
    return redirect(request, back or done.at or process_url(id), done.text, kind=done.kind, process=done.process)


Do = Callable[[Process, Supervisor, str, FormData], Awaitable[Done]]


async def _start(process: Process, supervisor: Supervisor, actor: str, form: FormData) -> Done:
    started = await supervisor.start_process(process.id, actor)
    if started.is_over and started.pid is None:
        return Done(f"{process.name}: {exit_summary(started)}", process.id, kind="bad")
    return Done(f"{process.name} was started.", process.id)


async def _join(process: Process, supervisor: Supervisor, actor: str, form: FormData) -> Done:
    seconds = _seconds(str(form.get("timeout", "10")))
    joined = await supervisor.join(process.id, seconds)
    if joined.is_over:
        return Done(f"{process.name} is over. {exit_summary(joined)}", process.id)
    return Done(f"{process.name} is still {joined.state} after {words.seconds(seconds)}.", process.id)


def _seconds(text: str, most: float = MAX_WAIT, field: str = "timeout", what: str = "The time to wait") -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= most:
        message = f"must be a number of seconds from 0 to {most:g}"
        raise Invalid(f"{what} {message}.", errors=[{"field": field, "message": message}])
    return seconds


def _end(action: str) -> Do:
    assert action in ENDINGS or action in _DO

    async def end(process: Process, supervisor: Supervisor, actor: str, form: FormData) -> Done:
        given = str(form.get("grace", "")).strip()
        grace = _seconds(given, MAX_GRACE, "grace", "The grace") if given else None
        await supervisor.end(process.id, action, actor, grace=grace, reason=_reason(form), tree=action == KILL)
        if process.state is State.QUEUED:
            return Done(f"{process.name}: it was taken off the queue.", process.id)
        after = process.spec["grace"] if grace is None else grace
        return Done(f"{process.name}: {_SENT[action].format(grace=words.seconds(after))}", process.id)

    return end


def _reason(form: FormData) -> str | None:
    return str(form.get("reason", "")).strip()[:500] or None


_SENT = {
    "stop": "it was asked to stop; SIGTERM follows after {grace}, SIGKILL after as many more.",
    "terminate": "SIGTERM was sent.",
    "kill": "SIGKILL was sent to the whole tree.",
    "interrupt": "SIGINT was sent.",
}


async def _signal(process: Process, supervisor: Supervisor, actor: str, form: FormData) -> Done:
    name = str(form.get("signal", ""))
    if name not in signals.Signals.__members__:
        message = "must be the name of a signal, such as SIGUSR1"
        raise Invalid(f"What is to be sent {message}.", errors=[{"field": "signal", "message": message}])
    await supervisor.signal(process.id, name, actor, reason=_reason(form), tree=bool(form.get("tree")))
    return Done(f"{process.name}: {name} was sent.", process.id)


async def _relaunch(process: Process, supervisor: Supervisor, actor: str, form: FormData) -> Done:
    launched = await supervisor.relaunch(process.id, actor, str(form.get("key", ""))[:200] or None)
    return Done(f"{launched.name} was launched.", launched.id, at=process_url(launched.id))


async def _delete(process: Process, supervisor: Supervisor, actor: str, form: FormData) -> Done:
    await supervisor.delete(process.id, actor)
    return Done(f"The record of {process.name} and its log were deleted.", at="/processes")


_DO: dict[str, Do] = {START: _start, JOIN: _join, SIGNAL: _signal, RELAUNCH: _relaunch, DELETE: _delete}
