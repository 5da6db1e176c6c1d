"""Pages: the page of one process, and what its buttons do."""

import contextlib
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.responses import Response

from app.deps import ActorDep, StoreDep, SupervisorDep
from app.errors import AppError, Invalid, NotFound
from app.lifecycle import Process
from app.pages import tail, words
from app.pages.actions import CONFIRMED, DELETE, ENDINGS, JOIN, KILL, RELAUNCH, START, WORDS, actions
from app.pages.render import LIVE, page, process_url, redirect
from app.presentation import exit_summary, view
from app.security.auth import safe_next
from app.supervisor.supervisor import Supervisor

router = APIRouter(include_in_schema=False)

MAX_WAIT = 3600.0
"""Seconds for which the page's Join may wait."""
MAX_ANCESTORS = 5


@router.get("/processes/{id}")
async def show_process(request: Request, id: str, supervisor: SupervisorDep, store: StoreDep) -> Response:
    """Everything about one process, its log first."""
    process = await supervisor.get(id)
    is_live = LIVE in request.headers
    return page(
        request,
        "process/page.html",
        process=view(process, supervisor.sample(id), supervisor.condition(id)),
        asked=process.asked,
        spec=process.spec,
        code_now=(supervisor.catalogue.get(process.target) or {}).get("fingerprint"),
        sample=supervisor.sample(id),
        actions=actions(process),
        transitions=await run_in_threadpool(store.transitions, id),
        ancestors=await _ancestors(process, supervisor),
        log=None if is_live else await tail.read(supervisor, id, _line_count(request)),
        json_url=f"/api/v1{process_url(id)}",
    )


def _line_count(request: Request) -> int:
    given = request.query_params.get("lines", "")
    return min(int(given), tail.MAX_LINES) if given.isascii() and given.isdigit() and len(given) < 9 else tail.LINES


async def _ancestors(process: Process, supervisor: Supervisor) -> list[Process]:
    """What it was launched again from, and that from, as far as the records are still there."""
    found: list[Process] = []
    with contextlib.suppress(NotFound):
        while process.origin_id is not None and len(found) < MAX_ANCESTORS:
            process = await supervisor.get(process.origin_id)
            found.append(process)
    return found


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


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= MAX_WAIT:
        message = f"must be a number of seconds from 0 to {MAX_WAIT:g}"
        raise Invalid(f"The time to wait {message}.", errors=[{"field": "timeout", "message": message}])
    return seconds


def _end(action: str) -> Do:
    assert action in ENDINGS or action in _DO

    async def end(process: Process, supervisor: Supervisor, actor: str, form: FormData) -> Done:
        reason = str(form.get("reason", "")).strip()[:500] or None
        await supervisor.end(process.id, action, actor, reason=reason, tree=action == KILL)
        return Done(f"{process.name}: {_SENT[action]}", process.id)

    return end


_SENT = {
    "stop": "it was asked to stop.",
    "terminate": "SIGTERM was sent.",
    "kill": "SIGKILL was sent to the whole tree.",
    "interrupt": "SIGINT was sent.",
}


async def _relaunch(process: Process, supervisor: Supervisor, actor: str, form: FormData) -> Done:
    launched = await supervisor.relaunch(process.id, actor)
    return Done(f"{launched.name} was launched.", launched.id, at=process_url(launched.id))


async def _delete(process: Process, supervisor: Supervisor, actor: str, form: FormData) -> Done:
    await supervisor.delete(process.id)
    return Done(f"The record of {process.name} and its log were deleted.", at="/processes")


_DO: dict[str, Do] = {START: _start, JOIN: _join, RELAUNCH: _relaunch, DELETE: _delete}
