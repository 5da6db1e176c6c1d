"""REST: doing one thing to many processes."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Body, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from app import bulk
from app.answers import JSONAnswer
from app.api import make_router, problems
from app.api.processes import Key
from app.api.schemas import MAX_SECONDS, Name, Text
from app.bulk import Chosen
from app.db.store import Filter
from app.deps import ActorDep, SupervisorDep
from app.listing import Listing
from app.search import MAX_SEARCH, parse
from app.supervisor.operations import Operation, Order, Selection
from app.supervisor.supervisor import Supervisor
from procdeck.states import Outcome, State

router = make_router("operations")

NAMED = 1000
"""Processes of a preview that are named."""


class SelectionRequest(BaseModel):
    """Which processes: those of `ids`, or all that fit `search`, `state`, `outcome` and `target`, or those that an
    `operation` has touched."""

    model_config = ConfigDict(extra="forbid")

    action: Literal["stop", "terminate", "kill", "relaunch", "delete"]
    ids: Annotated[list[Name], Field(min_length=1, max_length=bulk.MOST_IDS)] | None = None
    search: Annotated[str, Field(max_length=MAX_SEARCH)] | None = Field(
        default=None, description="As of `GET /processes`; the empty one is all.", examples=["target:resize exit:>0"]
    )
    operation: Name | None = Field(
        default=None, description="Id of an operation that is remembered: the processes that it lists as `touched`."
    )
    state: list[State] = Field(default=[], max_length=20, description="Any of these.")
    outcome: list[Outcome] = Field(default=[], max_length=20, description="Any of these.")
    target: Name | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "SelectionRequest":
        if sum(given is not None for given in (self.ids, self.search, self.operation)) != 1:
            raise ValueError("must have exactly one of ids, search and operation")
        if self.search is None and (self.state or self.outcome or self.target):
            raise ValueError("must have state, outcome and target only beside search")
        return self

    def selection(self) -> Selection:
        """The same for the supervisor. Raises `app.errors.Invalid`."""
        if self.ids is not None:
            return Selection(ids=tuple(self.ids))
        if self.operation is not None:
            return Selection(operation=self.operation)
        wanted = Filter(tuple(self.state), tuple(self.outcome), self.target, search=parse(self.search or ""))
        return Selection(filter=wanted)

    def said(self) -> str:
        """The selection in words."""
        if self.ids is not None:
            return ""
        if self.operation is not None:
            return Listing(operation=self.operation).said()
        parts = [str(word) for word in (*self.state, *self.outcome)]
        parts += [f"target {self.target}"] if self.target else []
        parts += [f"search {self.search}"] if self.search else []
        return ", ".join(parts) or "all processes"


class OperationRequest(SelectionRequest):
    """What is to be done. Unless with `ids` the count of the preview is needed."""

    model_config = ConfigDict(title="OperationRequest")

    expected_count: Annotated[int, Field(ge=0, lt=2**31)] | None = Field(
        default=None,
        description="To how many it would be done, as was shown; 409 when that is off by more than 5 %.",
    )
    as_of: Annotated[int, Field(ge=0, lt=2**63)] | None = Field(
        default=None, description="Number of the newest event when that was shown; kept with the operation."
    )
    grace: Annotated[float, Field(ge=0, le=MAX_SECONDS)] | None = Field(
        default=None, description="Seconds until the next harder step, for stop and terminate."
    )
    reason: Annotated[Text, Field(max_length=500)] | None = None

    @model_validator(mode="after")
    def _counted(self) -> "OperationRequest":
        if self.ids is None and self.expected_count is None:
            raise ValueError("must have expected_count unless there are ids; the preview tells it")
        return self


class LeftOut(BaseModel):
    """How many are left out, and why."""

    reason: str
    count: int


class NamedProcess(BaseModel):
    """A process by its name."""

    id: str
    name: str
    state: State


class OperationPreview(BaseModel):
    """What an operation would do now."""

    count: int = Field(description="To how many it would be done.")
    processes: list[NamedProcess] = Field(description=f"The first {NAMED} of them.")
    left_out: list[LeftOut]
    as_of: int


class ResultView(BaseModel):
    """A process that was left out, or with which it failed."""

    id: str
    name: str
    why: str


class OperationView(BaseModel):
    """An operation, going on or over. Only the last 20 are remembered, until a restart."""

    model_config = ConfigDict(title="Operation")

    id: str
    action: str
    state: Literal["running", "done", "cancelled", "interrupted"] = Field(
        description="`interrupted`: the service ended before it had come to all."
    )
    selected: str = Field(description="What was selected, in words; empty for ids.")
    requested_by: str
    cancelled_by: str | None
    reason: str | None
    grace: float | None
    as_of: int | None
    began_at: datetime
    ended_at: datetime | None
    total: int
    done: int
    left_out: list[LeftOut]
    failures: int
    remaining: int = Field(description="Those that it has not come to; once it is over, never will.")
    touched: list[str] = Field(description="Ids of the processes to which it was done, or that were launched.")
    skipped: list[ResultView] = Field(description="The first 1000 that were left out.")
    failed: list[ResultView] = Field(description="The first 1000 with which it failed.")


class OperationList(BaseModel):
    """Operations, newest first."""

    items: list[OperationView]


def _shown(operation: Operation) -> dict[str, Any]:
    order = operation.order
    return {
        "id": operation.id,
        "action": order.action,
        "state": operation.state,
        "selected": order.said,
        "requested_by": order.actor,
        "cancelled_by": operation.cancelled_by,
        "reason": order.reason,
        "grace": order.grace,
        "as_of": order.as_of,
        "began_at": operation.began_at.isoformat(),
        "ended_at": operation.ended_at.isoformat() if operation.ended_at else None,
        "total": operation.total,
        "done": operation.done,
        "left_out": [{"reason": reason, "count": count} for reason, count in operation.skips.most_common()],
        "failures": operation.failures,
        "remaining": operation.left,
        "touched": operation.touched,
        "skipped": [result._asdict() for result in operation.skipped],
        "failed": [result._asdict() for result in operation.failed],
    }


@router.post("/preview", response_model=OperationPreview, responses=problems(404, 413, 415, 422, 503))
async def preview_operation(body: SelectionRequest, supervisor: SupervisorDep) -> Response:
    """What an operation would do now: to how many, and who would be left out and why. Nothing is done."""
    plan = bulk.plan(body.action, await supervisor.operations.choose(body.selection()))
    return JSONAnswer(_preview(plan, supervisor))


def _preview(plan: bulk.Plan, supervisor: Supervisor) -> dict[str, Any]:
    def named(process: Chosen) -> dict[str, Any]:
        return {"id": process.id, "name": process.name, "state": process.state}

    return {
        "count": len(plan.takes),
        "processes": [named(process) for process in plan.takes[:NAMED]],
        "left_out": [{"reason": reason, "count": len(left)} for reason, left in plan.skips.items()],
        "as_of": supervisor.broadcaster.last_id,
    }


@router.post(
    "/operations",
    status_code=202,
    response_model=OperationView,
    responses=problems(404, 409, 413, 415, 422, 503)
    | {200: {"model": OperationView, "description": "Begun before by a request with this Idempotency-Key."}},
)
async def begin_operation(
    body: Annotated[OperationRequest, Body()],
    supervisor: SupervisorDep,
    actor: ActorDep,
    idempotency_key: Key = None,
) -> Response:
    """Begin to do one thing to many processes, in the background. Each is done, left out or failed by itself."""
    order = Order(body.action, actor, body.reason, body.grace, body.said(), as_of=body.as_of)
    operation, is_new = await supervisor.operations.begin(
        order, body.selection(), expected=body.expected_count, key=idempotency_key
    )
    location = {"Location": f"/api/v1/operations/{operation.id}"}
    return JSONAnswer(_shown(operation), 202 if is_new else 200, location)


@router.get("/operations", response_model=OperationList, responses=problems())
async def list_operations(supervisor: SupervisorDep) -> Response:
    """The operations that are remembered, newest first."""
    return JSONAnswer({"items": [_shown(operation) for operation in supervisor.operations.items()]})


@router.get("/operations/{id}", response_model=OperationView, responses=problems(404))
async def show_operation(id: str, supervisor: SupervisorDep) -> Response:
    """How an operation goes, or what came of it."""
    return JSONAnswer(_shown(supervisor.operations.get(id)))


@router.post("/operations/{id}/cancel", response_model=OperationView, responses=problems(404))
async def cancel_operation(id: str, supervisor: SupervisorDep, actor: ActorDep) -> Response:
    """Leave those that it has not come to; what is being done is finished. Nothing happens to one that is over."""
    return JSONAnswer(_shown(supervisor.operations.cancel(id, actor)))
