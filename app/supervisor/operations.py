"""Doing one thing to many processes in the background, however the browser that asked fares.

An operation is begun with the exact list of processes that it is about. Whatever becomes of one of them is no reason
to leave the others: each is done, or skipped (and why), or has failed (and why).

Operations end with the service, and only the activity remembers them then: a note is written before the first process
is touched, and another one of what came of it.
"""

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import uuid_utils

from app import bulk
from app.activity_view import BEGUN
from app.bulk import Chosen
from app.db.store import Filter, Store
from app.errors import AppError, Conflict, FieldError, NotFound, Unavailable, refuse
from app.lifecycle import Process
from app.supervisor.activity import removed
from app.supervisor.background import Background
from app.supervisor.keyed import Keyed

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
CHOOSE_WITHIN = 10.0
"""Seconds that may be spent on looking for all that a filter matches."""
CHOICES_AT_ONCE = 2
"""Filters whose matches are looked for at the same time: each takes a core of the service."""
CLOSE_WITHIN = 2.0
"""Seconds for which the end of the service waits for what is being done."""
TOPIC = "operations"
"""What `app.supervisor.changes` calls them."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which processes: those with these ids, all that a filter matches, or those that the operation of this id has
    touched so far. Exactly one is given."""

    ids: Sequence[str] | None = None
    filter: Filter | None = None
    operation: str | None = None


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
    key: str | None = None
    """The idempotency key of who began it."""
    ended_at: datetime | None = None
    cancelled_by: str | None = None
    done: int = 0
    touched: list[str] = field(default_factory=list)
    """The processes to look at: those it was done to, or for Launch again the new ones; at most `TOUCHED`."""
    skipped: list[Result] = field(default_factory=list)
    skips: Counter[str] = field(default_factory=Counter)
    """How many were skipped, by reason."""
    failed: list[Result] = field(default_factory=list)
    failures: int = 0
    meant: int = 0
    """To how many it was to be done when it began: the number that was confirmed."""
    ends: tuple[str, str] | None = None
    """The lowest and the highest id of all that it was done to."""

    @property
    def is_over(self) -> bool:
        return self.ended_at is not None

    @property
    def left(self) -> int:
        """How many it has not come to, and never will once it is over."""
        return self.total - self.done - self.skips.total() - self.failures

    @property
    def state(self) -> str:
        """``running``, ``done``, ``cancelled``, or ``interrupted`` by the end of the service."""
        if not self.is_over:
            return "running"
        if not self.left:
            return "done"
        return "interrupted" if self.cancelled_by is None else "cancelled"

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
        lowest, highest = self.ends or (process_id, process_id)
        self.ends = min(lowest, process_id), max(highest, process_id)
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
        self._beginning = Keyed()
        self._running: set[asyncio.Task[None]] = set()
        # Threads of their own, so that what takes long to look for keeps nobody from reading the record.
        self._choosing = ThreadPoolExecutor(CHOICES_AT_ONCE, "choose")

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
            detail += " The activity keeps what came of each."
            raise NotFound(detail) from None

    def touched(self, operation_id: str) -> Sequence[str] | None:
        """The ids of the processes that an operation touched so far; None when it is not remembered."""
        operation = self._operations.get(operation_id)
        return None if operation is None else operation.touched

    async def choose(self, selection: Selection) -> list[Chosen]:
        """The processes that are selected, newest first, or in the order of the ids (those that are gone left out).

        Raises Invalid when there are too many for one operation or they take too long to be found, NotFound for an
        operation that is not remembered, Unavailable while the service ends.
        """
        self._check_stopping()
        store = self._supervisor.store
        if selection.filter is not None:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._choosing, _matching, store, selection.filter)
        if selection.operation is not None:
            ids = list(self.get(selection.operation).touched)
        else:
            ids = list(dict.fromkeys(selection.ids or ()))
            if len(ids) > bulk.MOST_IDS:
                refuse("ids", f"must be at most {bulk.MOST_IDS}; a search can select more")
        return await asyncio.to_thread(store.chosen, ids)

    def _check_stopping(self) -> None:
        if self._supervisor.stopping:
            raise Unavailable("The service is ending; it begins no operations.")

    # --- doing --------------------------------------------------------------------------------------------------------

    async def begin(
        self, order: Order, selection: Selection, *, expected: int | None = None, key: str | None = None
    ) -> tuple[Operation, bool]:
        """Begin to carry out an order; (the operation, False when ``key`` began it before).

        ``expected`` is the count that was shown of those to which it would be done. Raises Invalid when nothing is
        selected, or too much, or ``key`` belongs to another order; CountChanged (409), and does nothing, when it would
        be done to another number by now; Unavailable when too many go on already, or the service ends.
        """
        if key is None:
            return await self._begin(order, selection, expected, None), True
        what = (order.action, order.reason, order.grace, selection)
        async with self._beginning.alone(key):
            if key in self._by_key:
                operation, asked = self._by_key[key]
                if asked != what:
                    refuse("Idempotency-Key", "was used for another operation")
                return operation, False
            operation = await self._begin(order, selection, expected, key)
            self._by_key[key] = operation, what
            return operation, True

    async def _begin(self, order: Order, selection: Selection, expected: int | None, key: str | None) -> Operation:
        chosen = await self.choose(selection)
        self._check_stopping()
        takes = bulk.plan(order.action, chosen).takes
        count = len(takes)
        if expected is not None and bulk.has_changed(expected, count):
            raise CountChanged(expected, count)
        if not chosen:
            refuse("ids" if selection.filter is None else "search", "selects no process")
        self._make_room()
        operation = Operation(str(uuid_utils.uuid7()), order, len(chosen), datetime.now(UTC), key, meant=count)
        self._operations[operation.id] = operation
        self._supervisor.changes.touched(TOPIC)
        task = self._background.task(self._run(operation, chosen, takes))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
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

    def cancel(self, operation_id: str, actor: str) -> Operation:
        """Leave those that it has not come to. Raises NotFound."""
        operation = self.get(operation_id)
        if not operation.is_over and operation.cancelled_by is None:
            operation.cancelled_by = actor
            self._supervisor.changes.touched(TOPIC)
        return operation

    async def close(self) -> None:
        """The service ends: wait until what is being done is done and noted, or a little while. Nothing more is begun
        since the supervisor stops."""
        self._choosing.shutdown(wait=False, cancel_futures=True)
        if not self._running:
            return
        _, late = await asyncio.wait(self._running, timeout=CLOSE_WITHIN)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _run(self, operation: Operation, chosen: Sequence[Chosen], takes: Sequence[Chosen]) -> None:
        do = self._doing(operation)
        following = iter(chosen)
        workers = min(AT_ONCE, len(chosen))
        try:
            await self._note(operation, BEGUN, _begun(operation, takes))
            await asyncio.gather(*(self._work(operation, following, do) for _ in range(workers)))
        finally:
            operation.ended_at = datetime.now(UTC)
            self._supervisor.changes.touched(TOPIC)
            # Also of one that the end of the service has cut off, which waits for it.
            await self._note(operation, "failed" if operation.failures else operation.state, _ended(operation))

    async def _work(self, operation: Operation, following: Iterator[Chosen], do: "Do") -> None:
        for process in following:
            if operation.cancelled_by is not None or self._supervisor.stopping:
                return
            try:
                # As it is now: those further down the list have lived on meanwhile.
                now = await self._supervisor.get(process.id)
                reason = bulk.why_not(operation.order.action, now.state)
                if not reason and _is_launched_by(operation, now):
                    reason = "launched by this very operation, before the service was restarted"
                if reason:
                    operation.skip(process, reason)
                else:
                    operation.touch(await do(process.id))
            except NotFound:
                operation.skip(process, "deleted meanwhile")
            except Conflict as error:
                operation.skip(process, error.detail)
            except AppError as error:
                if self._supervisor.stopping and operation.order.action == bulk.RELAUNCH:
                    return  # a service that ends launches nothing: this one was not begun
                operation.fail(process, _told(error))
            except asyncio.CancelledError:
                operation.fail(process, "the service ended before it was known whether it was done")
                raise
            except Exception:
                logger.exception("the operation %s failed with process %s", operation.id, process.id)
                operation.fail(process, "a fault of the service; its log has the cause")
            self._supervisor.changes.touched(TOPIC)

    def _doing(self, operation: Operation) -> "Do":
        supervisor, order = self._supervisor, operation.order

        async def end(process_id: str) -> str:
            is_kill = order.action == bulk.KILL
            grace = None if is_kill else order.grace
            await supervisor.end(process_id, order.action, order.actor, grace=grace, reason=order.reason, tree=is_kill)
            return process_id

        async def relaunch(process_id: str) -> str:
            # Each with a key, which the record keeps: whoever begins this again after a restart launches none twice.
            key = None if operation.key is None else _key_of(operation.key, process_id)
            return (await supervisor.relaunch(process_id, order.actor, key, wait_in_queue=False)).id

        async def delete(process_id: str) -> str:
            await supervisor.delete(process_id, None)  # one note tells of all
            return process_id

        return {bulk.RELAUNCH: relaunch, bulk.DELETE: delete}.get(order.action, end)

    async def _note(self, operation: Operation, result: str, detail: Mapping[str, Any]) -> None:
        """Say in the activity that it begins, or what came of it."""
        order = operation.order
        common: dict[str, Any] = {"operation": order.action, "total": operation.total, "query": order.query}
        if operation.key is not None:
            common["key"] = operation.key
        await self._supervisor.activity.note(
            order.actor,
            f"{order.action}_many",
            subject_kind="operation",
            subject_id=operation.id,
            subject_name=order.said or f"{operation.total:,} process{'' if operation.total == 1 else 'es'}",
            reason=order.reason,
            result=result,
            detail={**common, **detail},
        )


Do = Callable[[str], Awaitable[str]]
"""Does it to the process of this id; the id of the process to look at afterwards."""


def _begun(operation: Operation, takes: Sequence[Chosen]) -> dict[str, Any]:
    if operation.order.action != bulk.DELETE:
        return {}
    return {"count": len(takes), **removed([process.id for process in takes], len(takes))}


def _ended(operation: Operation) -> dict[str, Any]:
    """What came of an operation; of one that deletes it tells which are gone."""
    detail: dict[str, Any] = {
        "done": operation.done,
        "skipped": operation.skips.total(),
        "failed": operation.failures,
        "left": operation.left,
    }
    if operation.left and operation.cancelled_by is not None:
        detail["cancelled_by"] = operation.cancelled_by
    if operation.order.action == bulk.DELETE and operation.ends is not None:
        detail |= {"count": operation.done, **removed(operation.touched, operation.done)}
        detail["first_id"], detail["last_id"] = operation.ends
    return detail


def _key_of(key: str, process_id: str) -> str:
    """The idempotency key of one launch within an operation."""
    return f"operation:{hashlib.sha256(f'{key} {process_id}'.encode()).hexdigest()}"


def _is_launched_by(operation: Operation, process: Process) -> bool:
    """Whether an operation of the same key launched it, before a restart: then a search may find it as well."""
    if operation.key is None or process.origin_id is None or process.idempotency_key is None:
        return False
    return process.idempotency_key == _key_of(operation.key, process.origin_id)


def _told(error: AppError) -> str:
    fields = "; ".join(f"{each['field']} {each['message']}" for each in error.errors[:3])
    return f"{error.detail} {fields}".strip()


def _matching(store: Store, wanted: Filter) -> list[Chosen]:
    """All processes that match. Blocks. Raises Invalid when they are too many, or take too long to be found."""
    try:
        found = store.brief(wanted, bulk.MOST + 1, CHOOSE_WITHIN)
    except TimeoutError:
        refuse("search", "takes too long to look for among so many processes; narrow it down")
    if len(found) > bulk.MOST:
        refuse("search", f"selects more than {bulk.MOST:,} processes; narrow it down")
    return found
