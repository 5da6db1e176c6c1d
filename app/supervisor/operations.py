"""Doing one thing to many processes in the background, however the browser that asked fares.

An operation is begun with the exact list of processes that it is about. Whatever becomes of one of them is no reason
to leave the others: each is done, or skipped (and why), or has failed (and why).
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import uuid_utils

from app import bulk
from app.bulk import Chosen
from app.db.store import Filter, Store
from app.errors import AppError, Conflict, FieldError, Invalid, NotFound, Unavailable
from app.lifecycle import Process
from app.supervisor.background import Background

if TYPE_CHECKING:
    from app.supervisor.supervisor import Supervisor

logger = logging.getLogger("procdeck.operations")

KEPT = 20
"""Operations that are remembered; those that go on among them."""
AT_ONCE = 8
"""Processes that one operation works on at the same time."""
LISTED = 1000
"""Skipped or failed processes of one operation that are remembered by name; all are counted."""
TOUCHED = 10_000
"""Processes of one operation that can be looked at afterwards."""
TOPIC = "operations"
"""What `app.supervisor.changes` calls them."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which processes: those with these ids, or all that a filter matches. Exactly one of both is given."""

    ids: Sequence[str] | None = None
    filter: Filter | None = None


class Result(NamedTuple):
    """A process that was skipped, or with which it failed."""

    id: str
    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for. ``said`` is the selection in words, ``query`` the query string of the list that shows it;
    ``as_of`` the number of the newest event when the count was shown."""

    action: str
    actor: str
    reason: str | None = None
    grace: float | None = None
    said: str = ""
    query: str = ""
    as_of: int | None = None


@dataclass(eq=False)
class Operation:
    """An order that is being carried out, or was."""

    id: str
    order: Order
    total: int
    began_at: datetime
    ended_at: datetime | None = None
    is_cancelled: bool = False
    done: int = 0
    touched: list[str] = field(default_factory=list)
    """The processes to look at: those it was done to, or for Launch again the new ones; at most `TOUCHED`."""
    skipped: list[Result] = field(default_factory=list)
    skips: Counter[str] = field(default_factory=Counter)
    """How many were skipped, by reason."""
    failed: list[Result] = field(default_factory=list)
    failures: int = 0

    @property
    def is_over(self) -> bool:
        return self.ended_at is not None

    @property
    def left(self) -> int:
        """How many it has not come to, and never will once it is over."""
        return self.total - self.done - self.skips.total() - self.failures

    @property
    def state(self) -> str:
        """``running``, ``cancelled`` or ``done``."""
        if not self.is_over:
            return "running"
        return "cancelled" if self.left else "done"

    def skip(self, process: Chosen, why: str) -> None:
        """Note that nothing was done to a process."""
        self.skips[why] += 1
        if len(self.skipped) < LISTED:
            self.skipped.append(Result(process.id, process.name, why))

    def fail(self, process: Chosen, why: str) -> None:
        """Note that something went wrong with a process."""
        self.failures += 1
        if len(self.failed) < LISTED:
            self.failed.append(Result(process.id, process.name, why))

    def touch(self, process_id: str) -> None:
        """Note that it was done; ``process_id`` is the one to look at."""
        self.done += 1
        if len(self.touched) < TOUCHED:
            self.touched.append(process_id)


class CountChanged(Conflict):
    """It would be done to more or fewer processes than when the count was shown; to ``count`` now."""

    def __init__(self, shown: int, count: int) -> None:
        errors = [FieldError(field="expected_count", message=f"was {shown}, but it is {count} now")]
        super().__init__(
            f"It was about {shown} when you looked, and is about {count} now. Nothing was done.", errors=errors
        )
        self.count = count


class Operations:
    """Begins operations, and remembers the last `KEPT`."""

    def __init__(self, supervisor: "Supervisor", background: Background) -> None:
        self._supervisor = supervisor
        self._background = background
        self._operations: dict[str, Operation] = {}
        self._by_key: dict[str, tuple[Operation, object]] = {}
        self._beginning: dict[str, asyncio.Lock] = {}

    # --- asking -------------------------------------------------------------------------------------------------------

    def items(self) -> list[Operation]:
        """The operations that are remembered, newest first."""
        return list(self._operations.values())[::-1]

    def get(self, operation_id: str) -> Operation:
        """The operation of this id. Raises NotFound."""
        try:
            return self._operations[operation_id]
        except KeyError:
            detail = f"There is no operation {operation_id!r}: only the last {KEPT} are remembered, until a restart."
            raise NotFound(detail) from None

    async def choose(self, selection: Selection) -> list[Chosen]:
        """The processes that are selected, newest first, or in the order of the ids (those that are gone left out).

        Raises Invalid when there are too many for one operation.
        """
        if selection.filter is not None:
            return await asyncio.to_thread(_matching, self._supervisor.store, selection.filter)
        ids = list(dict.fromkeys(selection.ids or ()))
        if len(ids) > bulk.MOST_IDS:
            _refuse("ids", f"must be at most {bulk.MOST_IDS}; a search can select more")
        found = await asyncio.to_thread(_named, self._supervisor.store, ids)
        return [_chosen(process) for process in self._supervisor.refresh(found)]

    # --- doing --------------------------------------------------------------------------------------------------------

    async def begin(
        self, order: Order, selection: Selection, *, expected: int | None = None, key: str | None = None
    ) -> tuple[Operation, bool]:
        """Begin to carry out an order; (the operation, False when ``key`` began it before).

        ``expected`` is the count that was shown of those to which it would be done. Raises Invalid when nothing is
        selected, or too much, or ``key`` belongs to another order; CountChanged (409), and does nothing, when it would
        be done to another number by now; Unavailable when too many go on already.
        """
        if key is None:
            return await self._begin(order, selection, expected), True
        lock = self._beginning.setdefault(key, asyncio.Lock())
        what = (order.action, order.reason, order.grace, selection)
        try:
            async with lock:
                if key in self._by_key:
                    operation, asked = self._by_key[key]
                    if asked != what:
                        _refuse("Idempotency-Key", "was used for another operation")
                    return operation, False
                operation = await self._begin(order, selection, expected)
                self._by_key[key] = operation, what
                return operation, True
        finally:
            if not lock.locked():
                self._beginning.pop(key, None)

    async def _begin(self, order: Order, selection: Selection, expected: int | None) -> Operation:
        if self._supervisor.stopping:
            raise Unavailable("The service is ending; it begins no operations.")
        chosen = await self.choose(selection)
        count = len(bulk.plan(order.action, chosen).takes)
        if expected is not None and bulk.has_changed(expected, count):
            raise CountChanged(expected, count)
        if not chosen:
            _refuse("ids" if selection.filter is None else "search", "selects no process")
        self._make_room()
        operation = Operation(str(uuid_utils.uuid7()), order, len(chosen), datetime.now(UTC))
        self._operations[operation.id] = operation
        self._supervisor.changes.touched(TOPIC)
        self._background.spawn(self._run(operation, chosen))
        return operation

    def _make_room(self) -> None:
        over = [operation for operation in self._operations.values() if operation.is_over]
        if len(self._operations) < KEPT:
            return
        if not over:
            raise Unavailable(f"{KEPT} operations go on already; wait for one, or cancel it.", retry_after=5)
        oldest = over[0]
        del self._operations[oldest.id]
        self._by_key = {key: entry for key, entry in self._by_key.items() if entry[0] is not oldest}

    def cancel(self, operation_id: str) -> Operation:
        """Leave those that it has not come to. Raises NotFound."""
        operation = self.get(operation_id)
        if not operation.is_over:
            operation.is_cancelled = True
        return operation

    async def _run(self, operation: Operation, chosen: Sequence[Chosen]) -> None:
        do = self._doing(operation.order)
        following = iter(chosen)
        workers = min(AT_ONCE, len(chosen))
        try:
            await asyncio.gather(*(self._work(operation, following, do) for _ in range(workers)))
        finally:
            operation.ended_at = datetime.now(UTC)
            self._supervisor.changes.touched(TOPIC)
        await self._note(operation)

    async def _work(self, operation: Operation, following: Iterator[Chosen], do: "Do") -> None:
        for process in following:
            if operation.is_cancelled:
                return
            try:
                # As it is now: those further down the list have lived on meanwhile.
                now = await self._supervisor.get(process.id)
                reason = bulk.why_not(operation.order.action, now.state)
                if reason:
                    operation.skip(process, reason)
                else:
                    operation.touch(await do(process.id))
            except NotFound:
                operation.skip(process, "deleted meanwhile")
            except Conflict as error:
                operation.skip(process, error.detail)
            except AppError as error:
                operation.fail(process, _told(error))
            except Exception:
                logger.exception("the operation %s failed with process %s", operation.id, process.id)
                operation.fail(process, "a fault of the service; its log has the cause")
            self._supervisor.changes.touched(TOPIC)

    def _doing(self, order: Order) -> "Do":
        supervisor = self._supervisor

        async def end(process_id: str) -> str:
            is_kill = order.action == bulk.KILL
            grace = None if is_kill else order.grace
            await supervisor.end(process_id, order.action, order.actor, grace=grace, reason=order.reason, tree=is_kill)
            return process_id

        async def relaunch(process_id: str) -> str:
            return (await supervisor.relaunch(process_id, order.actor)).id

        async def delete(process_id: str) -> str:
            await supervisor.delete(process_id, order.actor)
            return process_id

        return {bulk.RELAUNCH: relaunch, bulk.DELETE: delete}.get(order.action, end)

    async def _note(self, operation: Operation) -> None:
        """Say in the activity what came of it."""
        order = operation.order
        detail = {
            "operation": order.action,
            "total": operation.total,
            "done": operation.done,
            "skipped": operation.skips.total(),
            "failed": operation.failures,
            "query": order.query,
        }
        await self._supervisor.activity.note(
            order.actor,
            f"{order.action}_many",
            subject_kind="operation",
            subject_id=operation.id,
            subject_name=order.said or f"{operation.total} processes",
            reason=order.reason,
            result="failed" if operation.failures else operation.state,
            detail=detail,
        )


Do = Callable[[str], Awaitable[str]]
"""Does it to the process of this id; the id of the process to look at afterwards."""


def _told(error: AppError) -> str:
    fields = "; ".join(f"{each['field']} {each['message']}" for each in error.errors[:3])
    return f"{error.detail} {fields}".strip()


def _refuse(field: str, message: str) -> None:
    raise Invalid(f"{field} {message}.", errors=[FieldError(field=field, message=message)])


def _chosen(process: Process) -> Chosen:
    return Chosen(process.id, process.name, process.state)


def _named(store: Store, ids: Sequence[str]) -> list[Process]:
    return [process for process in map(store.get, ids) if process is not None]


def _matching(store: Store, wanted: Filter) -> list[Chosen]:
    """All processes that match. Blocks. Raises Invalid when they are too many."""
    found = store.brief(wanted, bulk.MOST + 1)
    if len(found) > bulk.MOST:
        _refuse("search", f"selects more than {bulk.MOST:,} processes; narrow it down")
    return found
