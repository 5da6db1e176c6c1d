"""REST: processes."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Body, Header, Query, Response
from fastapi.concurrency import run_in_threadpool

from app.answers import JSONAnswer
from app.api import make_router, problems
from app.api.schemas import (
    MAX_SECONDS,
    EndRequest,
    LaunchRequest,
    ProcessPage,
    ProcessView,
    SignalRequest,
    TransitionList,
)
from app.db.store import Filter
from app.deps import ActorDep, StoreDep, SupervisorDep
from app.lifecycle import Process, Transition
from app.presentation import view
from app.search import QUALIFIERS, parse
from app.supervisor.launches import Launch
from app.supervisor.supervisor import Supervisor
from procdeck.states import Outcome, State

router = make_router("processes")

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="The same key and body give the same process, never a second one.",
    ),
]
Words = Annotated[list[str], Query(max_length=50)]


def shown(supervisor: Supervisor, process: Process, status: int = 200, **headers: str) -> Response:
    """The process as the contract has it.

    Made without a response model: it is ours, and this is the hot path of launches.
    """
    return JSONAnswer(view(process, supervisor.sample(process.id), supervisor.condition(process.id)), status, headers)


@router.post(
    "/processes",
    status_code=201,
    response_model=ProcessView,
    responses=problems(409, 413, 415, 422, 503)
    | {200: {"model": ProcessView, "description": "Made before by a request with this Idempotency-Key."}},
)
async def launch(
    body: LaunchRequest, supervisor: SupervisorDep, actor: ActorDep, idempotency_key: Key = None
) -> Response:
    """Launch a target. The arguments are checked against its signature first; a 422 names the fields.

    Answers when the process runs; its state is `queued` when it still waits for its launcher after some seconds.
    """
    process, is_new = await supervisor.create(Launch(**body.__dict__), actor, idempotency_key)
    return shown(supervisor, process, 201 if is_new else 200, Location=f"/api/v1/processes/{process.id}")


_SEARCH_HELP = (
    "Words, which all must occur in name, target or arguments, and qualifiers. Quotes keep words together; a leading"
    " `-` excludes.\n\n"
) + "\n".join(f"- `{name}:` {meaning}" for name, meaning in QUALIFIERS.items())


@router.get("/processes", response_model=ProcessPage, responses=problems(422))
async def list_processes(
    supervisor: SupervisorDep,
    store: StoreDep,
    state: Annotated[list[State], Query(description="Any of these.")] = [],  # noqa: B006 - FastAPI copies it
    outcome: Annotated[list[Outcome], Query(description="Any of these.")] = [],  # noqa: B006
    target: str | None = None,
    name: str | None = None,
    label: Annotated[list[str], Query(description="`key` or `key=value`; all must fit.")] = [],  # noqa: B006
    q: Annotated[str, Query(max_length=500, description="Words in name, target or arguments.")] = "",
    search: Annotated[str, Query(description=_SEARCH_HELP)] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """The processes, newest first. All conditions hold together.

    A search through very many that takes too long ends early: `searched_back_to` tells how far it came, and the cursor
    `next` continues it. So a page may have fewer items than `limit`, even none, while `next` is given.
    """
    labels = [_label(text) for text in label]
    wanted = Filter(state, outcome, target, name, labels, q, parse(search))
    found = await run_in_threadpool(store.search, wanted, limit, cursor)
    items = [
        view(process, supervisor.sample(process.id), supervisor.condition(process.id))
        for process in supervisor.refresh(found.items)
    ]
    back_to = found.searched_back_to
    return JSONAnswer({"items": items, "next": found.next, "searched_back_to": back_to and back_to.isoformat()})


def _label(text: str) -> tuple[str, str | None]:
    key, equals, value = text.partition("=")
    return key, value if equals else None


@router.get("/processes/{id}", response_model=ProcessView, responses=problems(404))
async def show_process(id: str, supervisor: SupervisorDep) -> Response:
    """One process."""
    return shown(supervisor, await supervisor.get(id))


@router.delete("/processes/{id}", status_code=204, responses=problems(404, 409))
async def delete_process(id: str, supervisor: SupervisorDep, actor: ActorDep) -> Response:
    """Remove the record and the log; 409 while it is alive."""
    await supervisor.delete(id, actor)
    return Response(status_code=204)


@router.get("/processes/{id}/transitions", response_model=TransitionList, responses=problems(404))
async def list_transitions(id: str, supervisor: SupervisorDep, store: StoreDep) -> Response:
    """Every change of state, who asked for it and why."""
    await supervisor.get(id)
    rows = await run_in_threadpool(store.transitions, id)
    return JSONAnswer({"items": [_transition(row) for row in rows]})


def _transition(row: Transition) -> dict[str, Any]:
    told = asdict(row)
    at, from_state, to_state = row.at.isoformat(), told.pop("from_state"), told.pop("to_state")
    del told["process_id"]
    return told | {"at": at, "from": from_state, "to": to_state}


@router.post("/processes/{id}/start", response_model=ProcessView, responses=problems(404, 409, 503))
async def start_process(id: str, supervisor: SupervisorDep, actor: ActorDep) -> Response:
    """Start a process that was only created; 409 otherwise."""
    return shown(supervisor, await supervisor.start_process(id, actor))


@router.post("/processes/{id}/join", response_model=ProcessView, responses=problems(404, 409, 422))
async def join_process(
    id: str,
    supervisor: SupervisorDep,
    timeout: Annotated[float | None, Query(ge=0, le=MAX_SECONDS, description="Seconds; none waits for ever.")] = None,
) -> Response:
    """Wait until it is over or the time is up; `is_alive` tells which. 409 when it was never started."""
    return shown(supervisor, await supervisor.join(id, timeout))


_ENDINGS = {
    "stop": "Ask it to stop: `procdeck.stop_requested()` turns true; SIGTERM after the grace, SIGKILL after another.",
    "terminate": "SIGTERM. With a grace, SIGKILL after it.",
    "kill": "SIGKILL, to the whole tree.",
    "interrupt": "SIGINT, as Ctrl-C. With a grace, SIGKILL after it.",
}


def _add_ending(action: str, summary: str) -> None:
    async def end_process(
        id: str,
        supervisor: SupervisorDep,
        actor: ActorDep,
        body: Annotated[EndRequest | None, Body()] = None,
    ) -> Response:
        asked = body or EndRequest()
        process = await supervisor.end(
            id, action, actor, grace=asked.grace, reason=asked.reason, tree=asked.tree or action == "kill"
        )
        return shown(supervisor, process)

    router.add_api_route(
        f"/processes/{{id}}/{action}",
        end_process,
        methods=["POST"],
        name=f"{action}_process",
        description=summary,
        response_model=ProcessView,
        responses=problems(404, 409, 413, 415, 422, 503),
    )


for _action, _summary in _ENDINGS.items():
    _add_ending(_action, _summary)


@router.post("/processes/{id}/signal", response_model=ProcessView, responses=problems(404, 409, 413, 415, 422, 503))
async def signal_process(id: str, body: SignalRequest, supervisor: SupervisorDep, actor: ActorDep) -> Response:
    """Send any signal by its name."""
    process = await supervisor.signal(id, body.signal, actor, reason=body.reason, tree=body.tree)
    return shown(supervisor, process)


@router.post(
    "/processes/{id}/relaunch",
    status_code=201,
    response_model=ProcessView,
    responses=problems(404, 409, 422, 503),
)
async def relaunch_process(
    id: str, supervisor: SupervisorDep, actor: ActorDep, idempotency_key: Key = None
) -> Response:
    """Launch a new process with the same spec; its `origin_id` is this one."""
    process = await supervisor.relaunch(id, actor, idempotency_key)
    return shown(supervisor, process, 201, Location=f"/api/v1/processes/{process.id}")
