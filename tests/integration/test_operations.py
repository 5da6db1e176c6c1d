"""Doing one thing to many processes, with real ones."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import select
from sqlmodel import SQLModel

from app import bulk
from app.db.store import Filter
from app.errors import Invalid, NotFound, Unavailable
from app.lifecycle import Process
from app.search import parse
from app.supervisor import operations
from app.supervisor.operations import CountChanged, Operation, Order, Selection
from app.supervisor.supervisor import Supervisor
from procdeck.states import Outcome
from tests.integration.test_supervisor import Run, data_dir, joined, launch, run, until

__all__ = ["data_dir", "run"]

pytestmark = pytest.mark.anyio

ACTOR = "tester"


async def created(supervisor: Supervisor, count: int, name: str = "waiting") -> list[Process]:
    return [await launch(supervisor, "say", start=False, name=name) for _ in range(count)]


async def done(supervisor: Supervisor, action: str, selection: Selection, **more: Any) -> Operation:
    operation, _ = await supervisor.operations.begin(Order(action, ACTOR, **more), selection)
    await until(lambda: operation.is_over, "the operation does not end")
    return operation


def ids(*processes: Process) -> Selection:
    return Selection(ids=tuple(process.id for process in processes))


def searched(text: str) -> Selection:
    return Selection(filter=Filter(search=parse(text)))


async def test_each_is_done_or_left_out_and_it_is_said_why(run: Run) -> None:
    async with run() as supervisor:
        runs = [await launch(supervisor, "nap") for _ in range(3)]
        over = await joined(supervisor, await launch(supervisor, "say"))
        (waiting,) = await created(supervisor, 1)
        operation = await done(supervisor, bulk.KILL, ids(*runs, over, waiting, runs[0]), reason="enough")
        assert (operation.total, operation.done, operation.failures, operation.left) == (5, 3, 0, 0)
        assert operation.skips == {"already over": 1, "not started yet": 1}
        assert {result.id: result.why for result in operation.skipped} == {
            over.id: "already over",
            waiting.id: "not started yet",
        }
        assert sorted(operation.touched) == sorted(process.id for process in runs)
        for process in runs:
            ended = await joined(supervisor, process)
            assert ended.outcome is Outcome.STOPPED
            assert ended.asked is not None
            assert (ended.asked["actor"], ended.asked["reason"]) == (ACTOR, "enough")


async def test_all_that_match_are_launched_again_and_deleted(run: Run) -> None:
    async with run() as supervisor:
        firsts = [await joined(supervisor, await launch(supervisor, "say", name="again")) for _ in range(3)]
        await launch(supervisor, "say", name="other")
        relaunched = await done(supervisor, bulk.RELAUNCH, searched("name:again"))
        assert relaunched.done == 3
        news = [await joined(supervisor, await supervisor.get(process_id)) for process_id in relaunched.touched]
        assert {process.origin_id for process in news} == {process.id for process in firsts}
        deleted = await done(supervisor, bulk.DELETE, searched("name:again"))
        assert (deleted.done, deleted.state) == (6, "done")
        for process in (*firsts, *news):
            with pytest.raises(NotFound):
                await supervisor.get(process.id)
        assert supervisor.store.count(Filter(search=parse("name:other"))) == (1, True)


async def test_a_count_that_does_not_hold_any_more_does_nothing(run: Run) -> None:
    async with run() as supervisor:
        await created(supervisor, 3)
        order = Order(bulk.DELETE, ACTOR)
        with pytest.raises(CountChanged) as refused:
            await supervisor.operations.begin(order, searched("name:waiting"), expected=2)
        assert refused.value.count == 3
        assert refused.value.status == 409
        assert supervisor.operations.items() == []
        assert supervisor.store.count(Filter()) == (3, True)
        await supervisor.operations.begin(order, searched("name:waiting"), expected=3)
        await until(lambda: supervisor.store.count(Filter()) == (0, True), "they are not deleted")


async def test_what_is_sent_twice_is_begun_once(run: Run) -> None:
    async with run() as supervisor:
        process = await joined(supervisor, await launch(supervisor, "say"))
        order = Order(bulk.RELAUNCH, ACTOR)

        async def begin(order: Order = order) -> tuple[Operation, bool]:
            return await supervisor.operations.begin(order, ids(process), key="one")

        (first, is_first), (second, is_second) = await asyncio.gather(begin(), begin())
        assert first is second
        assert sorted([is_first, is_second]) == [False, True]
        await until(lambda: first.is_over, "the operation does not end")
        assert (await begin())[0] is first
        with pytest.raises(Invalid, match="another operation"):
            await begin(Order(bulk.DELETE, ACTOR))
        assert supervisor.store.count(Filter()) == (2, True)


async def test_one_that_fails_does_not_stop_the_others(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async with run() as supervisor:
        processes = await created(supervisor, 3)
        delete = supervisor.delete
        errors: dict[str, Exception] = {
            processes[0].id: Unavailable("The disk is asleep."),
            processes[1].id: RuntimeError("nobody thought of this"),
        }

        async def fail(process_id: str, actor: str) -> None:
            if process_id in errors:
                raise errors[process_id]
            await delete(process_id, actor)

        monkeypatch.setattr(supervisor, "delete", fail)
        operation = await done(supervisor, bulk.DELETE, ids(*processes))
        assert (operation.done, operation.failures) == (1, 2)
        why = {result.id: result.why for result in operation.failed}
        assert why[processes[0].id] == "The disk is asleep."
        assert "its log has the cause" in why[processes[1].id]


async def test_the_rest_can_be_cancelled(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async with run() as supervisor:
        processes = await created(supervisor, 3 * operations.AT_ONCE)
        going, delete = asyncio.Event(), supervisor.delete

        async def wait(process_id: str, actor: str) -> None:
            await going.wait()
            await delete(process_id, actor)

        monkeypatch.setattr(supervisor, "delete", wait)
        operation, _ = await supervisor.operations.begin(Order(bulk.DELETE, ACTOR), ids(*processes))
        assert operation.state == "running"
        assert supervisor.operations.cancel(operation.id) is operation
        going.set()
        await until(lambda: operation.is_over, "the operation does not end")
        assert operation.state == "cancelled"
        assert operation.done <= operations.AT_ONCE
        assert operation.left == len(processes) - operation.done


async def test_the_last_are_remembered(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "KEPT", 2)
    async with run() as supervisor:
        (process,) = await created(supervisor, 1)
        found = [await done(supervisor, bulk.STOP, ids(process)) for _ in range(3)]
        assert supervisor.operations.items() == [found[2], found[1]]
        with pytest.raises(NotFound):
            supervisor.operations.get(found[0].id)
        with pytest.raises(Invalid, match="selects no process"):
            await supervisor.operations.begin(Order(bulk.STOP, ACTOR), searched("name:nobody"))


async def test_its_end_is_noted(run: Run) -> None:
    async with run() as supervisor:
        (process,) = await created(supervisor, 1)
        operation = await done(supervisor, bulk.STOP, ids(process), reason="trying")
        await until(lambda: supervisor.store.rows(_notes(operation)), "its end is not noted")
        rows = supervisor.store.rows(_notes(operation))
        assert len(rows) == 1
        actor, action, reason, detail = rows[0]
        assert (actor, action, reason) == (ACTOR, "stop_many", "trying")
        assert (detail["done"], detail["skipped"]) == (0, 1)


def _notes(operation: Operation) -> Any:
    table = SQLModel.metadata.tables["activity"]
    columns = (table.c.actor, table.c.action, table.c.reason, table.c.detail)
    return select(*columns).where(table.c.subject_id == operation.id)
