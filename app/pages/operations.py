"""Pages: doing one thing to many processes: the question before it, how it goes, and what came of it."""

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.responses import Response

from app import bulk
from app.answers import JSONAnswer
from app.db.store import Store
from app.deps import ActorDep, StoreDep, SupervisorDep
from app.errors import AppError, FieldError, Invalid, refuse
from app.listing import Listing, unknown
from app.pages.actions import WORDS
from app.pages.render import page, redirect
from app.supervisor.operations import CountChanged, Operation, Order, Selection
from app.supervisor.supervisor import Supervisor
from procdeck.states import ALIVE

router = APIRouter(include_in_schema=False)

NAMED = 10
"""Names of processes that the question shows."""
MAX_REASON = 500
MAX_GRACE = 10 * 365 * 86400.0


_TYPED = ("reason", "grace", "typed", "expected", "as_of", "key")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the list, or the form of the question, asks for. What was typed is kept as it is."""

    action: str
    ids: tuple[str, ...] | None
    listing: Listing
    reason: str = ""
    grace: str = ""
    typed: str = ""
    expected: str = ""
    as_of: str = ""
    key: str = ""

    @classmethod
    def of(cls, fields: Mapping[str, str], ids: list[str]) -> "Asked":
        """Read a query string or a form. ``ids`` are those of ticked boxes. Raises Invalid."""
        _check_names(fields)
        action = fields.get("action", "")
        if action not in bulk.ACTIONS:
            refuse("action", f"must be one of {', '.join(bulk.ACTIONS)}")
        listing = Listing.of(fields)
        given = [*ids, *(id_ for id_ in fields.get("ids", "").split(",") if id_)]
        if len(given) > bulk.MOST_IDS:
            refuse("ids", f"must be at most {bulk.MOST_IDS}; a search can select more")
        typed = {
            name: fields.get(name, "").strip() for name in ("reason", "grace", "typed", "expected", "as_of", "key")
        }
        return cls(action, None if fields.get("all") else tuple(dict.fromkeys(given)), listing.first(), **typed)

    @property
    def by_filter(self) -> bool:
        return self.ids is None

    @property
    def selection(self) -> Selection:
        return _selection(self.listing) if self.ids is None else Selection(ids=self.ids)

    @property
    def said(self) -> str:
        """What was selected, in words."""
        return self.listing.said() if self.ids is None else ""

    def order(self, actor: str) -> Order:
        """What is to be done. Raises Invalid naming the field."""
        if len(self.reason) > MAX_REASON:
            refuse("reason", f"must have at most {MAX_REASON} characters")
        query = self.listing.query() if self.ids is None else ""
        as_of = int(self.as_of) if self.as_of.isascii() and self.as_of.isdigit() and len(self.as_of) < 19 else None
        return Order(self.action, actor, self.reason or None, self._seconds(), self.said, query, as_of)

    def _seconds(self) -> float | None:
        if not self.grace or self.action not in bulk.GRACED:
            return None
        try:
            seconds = float(self.grace)
        except ValueError:
            seconds = math.nan
        if not 0 <= seconds <= MAX_GRACE:
            refuse("grace", "must be a number of seconds, 0 or more")
        return seconds

    def check_count(self) -> int:
        """The count that was shown, and typed where it has to be. Raises Invalid."""
        if not (self.expected.isascii() and self.expected.isdigit() and len(self.expected) < 9):
            refuse("expected", "is missing: the count that was shown")
        expected = int(self.expected)
        if bulk.is_typed(expected, by_filter=self.by_filter):
            typed = self.typed.replace(",", "").replace(" ", "")
            if typed != str(expected):
                refuse("typed", f"must be {expected}, the number of processes that this is about")
        return expected


@router.get("/operations")
async def list_operations(request: Request, supervisor: SupervisorDep) -> Response:
    """The last operations."""
    return page(
        request,
        "operations/list.html",
        operations=supervisor.operations.items(),
        heading=heading,
        json_url="/api/v1/operations",
    )


@router.get("/operations/count")
async def count(request: Request, supervisor: SupervisorDep, store: StoreDep) -> Response:
    """How many processes a list has, for the button that selects them all."""
    _check_names(request.query_params)
    listing = Listing.of(request.query_params)
    if listing.operation:
        return JSONAnswer({"count": len(supervisor.operations.get(listing.operation).touched), "exact": True})
    number, is_exact = await run_in_threadpool(store.count, listing.filter(), bulk.MOST)
    return JSONAnswer({"count": number, "exact": is_exact})


@router.get("/operations/new")
async def ask_first(request: Request, supervisor: SupervisorDep) -> Response:
    """The question: what would be done, to whom, and who would be left out."""
    query = request.query_params
    _check_once(query)
    return await _question(request, supervisor, Asked.of(query, query.getlist("id")))


@router.post("/operations/new")
async def ask_first_about_many(request: Request, supervisor: SupervisorDep) -> Response:
    """The same, of more than an address can name."""
    form = await request.form()
    fields = {name: value for name, value in form.items() if isinstance(value, str)}
    return await _question(request, supervisor, Asked.of(fields, []))


async def _question(
    request: Request, supervisor: Supervisor, asked: Asked, error: AppError | None = None, status: int = 200
) -> Response:
    chosen = await supervisor.operations.choose(asked.selection)
    plan = bulk.plan(asked.action, chosen)
    messages: dict[str, str] = {each["field"]: each["message"] for each in error.errors} if error else {}
    return page(
        request,
        "operations/new.html",
        status=error.status if error else status,
        asked=asked,
        plan=plan,
        named=NAMED,
        listed=bulk.LISTED,
        word=BUTTONS[asked.action],
        heading=heading(asked.action, len(plan.takes)),
        is_typed=bulk.is_typed(len(plan.takes), by_filter=asked.by_filter),
        is_graced=asked.action in bulk.GRACED,
        error=error,
        messages=messages,
        has_changed=isinstance(error, CountChanged),
        as_of=supervisor.broadcaster.last_id,
        key=asked.key or secrets.token_urlsafe(18),
        back=asked.listing.url(),
    )


@router.post("/operations")
async def begin(request: Request, supervisor: SupervisorDep, actor: ActorDep) -> Response:
    """Begin what was asked about. When another number matches by now, the question is asked again."""
    form = await request.form()
    fields = {name: value for name, value in form.items() if isinstance(value, str)}
    asked = Asked.of(fields, [])
    try:
        order, expected = asked.order(actor), asked.check_count()
        operation, _ = await supervisor.operations.begin(
            order, asked.selection, expected=expected, key=asked.key[:200] or None
        )
    except (Invalid, CountChanged) as error:
        return await _question(request, supervisor, asked, error)
    return redirect(request, f"/operations/{operation.id}")


@router.get("/operations/{id}")
async def show(request: Request, id: str, supervisor: SupervisorDep, store: StoreDep) -> Response:
    """How an operation goes, or what came of it."""
    operation = supervisor.operations.get(id)
    return page(
        request,
        "operations/page.html",
        operation=operation,
        heading=heading(operation.order.action, operation.meant or operation.total),
        living=await _living(operation, store),
        ends=operation.order.action in _ENDING,
        done=DONE[operation.order.action],
        seconds=_seconds_of(operation),
        json_url=f"/api/v1/operations/{operation.id}",
    )


@router.post("/operations/{id}/cancel")
async def cancel(request: Request, id: str, supervisor: SupervisorDep, actor: ActorDep) -> Response:
    """Leave those that it has not come to."""
    operation = supervisor.operations.cancel(id, actor)
    if operation.is_over:
        return redirect(request, f"/operations/{operation.id}", "It was over already.", kind="bad")
    return redirect(request, f"/operations/{operation.id}", "The rest was cancelled; what is being done is finished.")


_ENDING = frozenset({bulk.STOP, bulk.TERMINATE, bulk.KILL})

DONE = {
    bulk.STOP: "asked to stop",
    bulk.TERMINATE: "sent SIGTERM",
    bulk.KILL: "sent SIGKILL",
    bulk.RELAUNCH: "launched again",
    bulk.DELETE: "deleted",
}


BUTTONS = {action: WORDS[action] for action in bulk.ACTIONS} | {bulk.DELETE: "Delete"}
_HEADINGS = {bulk.RELAUNCH: "Launch {} again", bulk.DELETE: "Delete the records of {}"}


def heading(action: str, count: int) -> str:
    """What an action does to so many: `Stop 3 processes`."""
    return _HEADINGS.get(action, f"{WORDS[action]} {{}}").format(f"{count:,} process{'' if count == 1 else 'es'}")


async def _living(operation: Operation, store: Store) -> int:
    """How many of those that were asked to end have not yet ended."""
    if operation.order.action not in _ENDING:
        return 0
    found = await run_in_threadpool(store.chosen, list(operation.touched))
    return sum(process.state in ALIVE for process in found)


def _check_names(fields: Mapping[str, str]) -> None:
    """Refuse what is not known: a condition that is misspelt, and dropped, would choose what nobody meant."""
    names = unknown(fields, "action", "all", "id", "ids", "was", *_TYPED)
    if names:
        errors = [FieldError(field=name[:100], message="is not known here") for name in names[:20]]
        raise Invalid(f"Not known here: {', '.join(names)[:500]}. Nothing was done.", errors=errors)


def _check_once(query: QueryParams) -> None:
    """Refuse what is given more than once, of which only the last would be looked at."""
    for name in query:
        if name != "id" and len(query.getlist(name)) > 1:
            refuse(name, "must be given once")


def _selection(listing: Listing) -> Selection:
    """All that a list shows, and its other pages."""
    return Selection(operation=listing.operation) if listing.operation else Selection(filter=listing.filter())


def _seconds_of(operation: Operation) -> float | None:
    return (operation.ended_at - operation.began_at).total_seconds() if operation.ended_at else None
