"""Doing one thing to many processes, with real ones."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import httpx
import pytest

from app import bulk
from app.activity_view import sentence
from app.db import search as searching
from app.db import store as storing
from app.db.activity import Entry, Wanted, entries, last_note_of
from app.db.store import Filter
from app.errors import Invalid, NotFound, Unavailable
from app.lifecycle import Process
from app.pages import gone
from app.search import parse
from app.supervisor import activity as noting
from app.supervisor import operations
from app.supervisor.operations import CountChanged, Operation, Order, Selection
from app.supervisor.supervisor import Supervisor
from procdeck.states import Outcome, State
from tests.integration.test_supervisor import SECONDS, Run, data_dir, joined, launch, run, until
from tests.service import Service
from tests.waiting import wait_until

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

        async def fail(process_id: str, actor: str | None) -> None:
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

        async def wait(process_id: str, actor: str | None) -> None:
            await going.wait()
            await delete(process_id, actor)

        monkeypatch.setattr(supervisor, "delete", wait)
        operation, _ = await supervisor.operations.begin(Order(bulk.DELETE, ACTOR), ids(*processes))
        assert operation.state == "running"
        assert supervisor.operations.cancel(operation.id, "anna") is operation
        assert supervisor.operations.cancel(operation.id, "berta").cancelled_by == "anna"
        going.set()
        await until(lambda: operation.is_over, "the operation does not end")
        assert operation.state == "cancelled"
        (_, told) = await noted(supervisor, operation)
        assert f"cancelled by anna, {operation.left} never begun" in told
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


async def test_its_begin_and_its_end_are_noted(run: Run) -> None:
    async with run() as supervisor:
        (process,) = await created(supervisor, 1)
        operation, _ = await supervisor.operations.begin(
            Order(bulk.STOP, ACTOR, "trying"), ids(process), key="of a browser"
        )
        assert await noted(supervisor, operation) == [
            f"{ACTOR} began to stop 1 process: trying - 1 in all",
            f"{ACTOR} asked to stop 1 process: trying - 0 of 1 done, 1 skipped",
        ]
        assert [entry.detail["key"] for entry in notes(supervisor, operation)] == ["of a browser"] * 2


async def test_who_deleted_many_is_known_of_each(run: Run) -> None:
    async with run() as supervisor:
        few, many = await created(supervisor, 3), await created(supervisor, 4)
        small = await done(supervisor, bulk.DELETE, ids(*few), reason="in the way")
        await noted(supervisor, small)
        # One note tells of all: notes of each would push out what was noted before.
        assert not any(last_note_of(supervisor.store, process.id) for process in few)
        why = await asyncio.to_thread(gone.why, supervisor.store, few[0].id)
        assert why.startswith(f"It was removed by {ACTOR}, with others, on ")
        assert why.endswith(": in the way")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(noting, "NAMED", 3)
            large = await done(supervisor, bulk.DELETE, ids(*many))
            await noted(supervisor, large)
        assert "ids" not in notes(supervisor, large)[0].detail
        why = await asyncio.to_thread(gone.why, supervisor.store, many[1].id)
        assert f"may be one of the 4 that {ACTOR}, with others, removed" in why
        later = an_id_after(many[-1].id)
        assert await asyncio.to_thread(gone.why, supervisor.store, later) == ""


def an_id_after(process_id: str) -> str:
    return str(UUID(int=UUID(process_id).int + 1))


async def test_what_an_operation_touched_can_be_selected(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "IDS_AT_ONCE", 2)
    async with run() as supervisor:
        others = await created(supervisor, 2)
        over = [await joined(supervisor, await launch(supervisor, "say", name="over")) for _ in range(3)]
        relaunched = await done(supervisor, bulk.RELAUNCH, ids(*over))
        for process_id in relaunched.touched:
            await joined(supervisor, await supervisor.get(process_id))
        selection = Selection(operation=relaunched.id)
        chosen = await supervisor.operations.choose(selection)
        assert [process.id for process in chosen] == relaunched.touched
        with pytest.raises(CountChanged):
            await supervisor.operations.begin(Order(bulk.DELETE, ACTOR), selection, expected=10)
        deleted = await done(supervisor, bulk.DELETE, selection)
        assert sorted(deleted.touched) == sorted(relaunched.touched)
        assert await supervisor.operations.choose(selection) == []
        there = await supervisor.operations.choose(ids(*over, *others))
        assert [process.id for process in there] == [process.id for process in (*over, *others)]
        assert supervisor.store.count(Filter()) == (len(there), True)
        with pytest.raises(NotFound):
            await supervisor.operations.choose(Selection(operation="none"))


async def test_a_search_that_takes_too_long_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "CHOOSE_WITHIN", 0.0)
    monkeypatch.setattr(searching, "FIRST_STRETCH", 1)
    async with run() as supervisor:
        await created(supervisor, 5)
        with pytest.raises(Invalid, match="takes too long") as refused:
            await supervisor.operations.choose(searched("-arg:zz"))
        assert [error["field"] for error in refused.value.errors] == ["search"]


async def test_many_are_launched_again_without_waiting_for_room(run: Run) -> None:
    async with run(max_processes=1, start_timeout=SECONDS * 4) as supervisor:
        over = await joined(supervisor, await launch(supervisor, "say"))
        blocking = await launch(supervisor, "nap")
        operation = await done(supervisor, bulk.RELAUNCH, ids(over))
        (process_id,) = operation.touched
        assert (await supervisor.get(process_id)).state is State.QUEUED
        await supervisor.end(blocking.id, bulk.KILL, ACTOR)


async def test_the_end_of_the_service_is_no_failure(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async with run() as supervisor:
        for _ in range(12):
            await joined(supervisor, await launch(supervisor, "say", name="over"))
        arrived, relaunch = 0, supervisor.relaunch

        async def late(*args: Any, **more: Any) -> Process:
            nonlocal arrived
            arrived += 1
            if arrived > 1:
                await until(lambda: supervisor.stopping, "the service does not end")
            return await relaunch(*args, **more)

        monkeypatch.setattr(supervisor, "relaunch", late)
        order = Order(bulk.RELAUNCH, ACTOR)
        first, _ = await supervisor.operations.begin(order, searched("name:over"), expected=12, key="once")
        await until(lambda: first.done == 1, "none was launched")
    assert (first.state, first.failures, first.done) == ("interrupted", 0, 1)
    async with run() as supervisor:
        assert supervisor.operations.items() == []
        told = [sentence(entry) for entry in notes(supervisor, first)]
        assert "1 of 12 done, the service ended, 11 never begun" in told[1]
        # The same once more: what was launched is not launched again, nor is what that launched.
        await until(lambda: supervisor.store.get(first.touched[0]).is_over, "it does not end")  # type: ignore[union-attr]
        second, is_new = await supervisor.operations.begin(order, searched("name:over"), key="once")
        assert is_new
        await until(lambda: second.is_over, "the operation does not end")
        assert (second.done, second.skips.total(), second.failures) == (12, 1, 0)
        assert first.touched[0] in second.touched
        assert supervisor.store.count(Filter(search=parse("is:relaunch"))) == (12, True)


# --- through the door --------------------------------------------------------------------------------------------


def test_all_of_the_list_of_an_operation_are_what_it_touched(shared: Service) -> None:
    api = shared.client
    over = [shared.join(shared.launch("hostile:say", name=f"touched-{number}")) for number in range(3)]
    shared.launch("hostile:say", start=False, name="another")
    begun = api.post("/operations", json={"action": "relaunch", "ids": [process["id"] for process in over[:2]]}).json()
    wait_until(lambda: ended(shared, begun)["state"] == "done", 20, "the operation does not end")
    for process_id in ended(shared, begun)["touched"]:
        shared.join({"id": process_id})

    query = {"operation": begun["id"]}
    with browser(shared) as pages:
        assert pages.get("/operations/count", params=query).json() == {"count": 2, "exact": True}
        listed = pages.get("/processes", params={**query, "search": "nobody"})
        assert listed.text.count("<tr id=") == 2
        question = pages.get("/operations/new", params={**query, "action": "delete", "all": "1"})
        assert "Delete the records of 2 processes?" in question.text
        assert "what one operation touched" in question.text
        asked = {**query, "action": "delete", "all": "1", "expected": "2", "typed": "2"}
        answer = pages.post("/operations", data=asked)
        assert answer.status_code == 303, answer.text
        deleted = {"id": answer.headers["Location"].rpartition("/")[2]}
    wait_until(lambda: ended(shared, deleted)["state"] == "done", 20, "the operation does not end")
    assert sorted(ended(shared, deleted)["touched"]) == sorted(ended(shared, begun)["touched"])
    assert len(api.get("/processes").json()["items"]) == 4
    told = [item["text"] for item in api.get("/activity").json()["items"] if item["subject"]["id"] == deleted["id"]]
    assert "operator began to delete what one operation touched - 2 in all" in told

    selected = {"action": "delete", **query}
    assert api.post("/preview", json=selected).json()["count"] == 0
    assert api.post("/operations", json=selected).status_code == 422  # without the count that was shown
    assert api.post("/operations", json={**selected, "expected_count": 2}).status_code == 409
    assert api.post("/preview", json={**selected, "ids": ["x"]}).status_code == 422
    assert api.post("/preview", json={"action": "kill", "operation": "none"}).status_code == 404


def test_the_list_of_a_forgotten_operation_says_so(shared: Service) -> None:
    with browser(shared) as pages:
        answer = pages.get("/processes", params={"operation": "none"})
        assert answer.status_code == 200
        assert "This operation is no longer remembered." in answer.text
        assert 'name="name"' not in answer.text  # nor is it saved as a view
        refused = pages.get("/processes", params={"search": " ".join(map(str, range(30))), "started": "24h"})
        assert refused.status_code == 422
        assert "at most 30 parts" in refused.text
        assert 'id="search"' in refused.text


def test_what_is_saved_as_a_view_is_a_list(shared: Service) -> None:
    api = shared.client
    saved = api.post("/views", json={"name": "tidy", "query": "?cursor=Nw&search=x&view=failed&colour=red"})
    assert saved.json()["query"] == "view=failed&search=x"
    for query in ("search=colour:red", "view=nonsense", "operation=any"):
        refused = api.post("/views", json={"name": "odd", "query": query})
        assert refused.status_code == 422
        assert [error["field"] for error in refused.json()["errors"]] == ["query"]


def ended(service: Service, operation: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = service.client.get(f"/operations/{operation['id']}").json()
    return found


@contextmanager
def browser(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, headers={"Origin": service.url}, timeout=20) as client:
        client.post("/login", data={"token": service.token})
        yield client


# --- notes -------------------------------------------------------------------------------------------------------


def notes(supervisor: Supervisor, operation: Operation) -> list[Entry]:
    """The notes of an operation, the oldest first."""
    found = entries(supervisor.store, Wanted(subject=operation.id), 10)
    return found.items[::-1]


async def noted(supervisor: Supervisor, operation: Operation) -> list[str]:
    """The sentences of both its notes."""
    await until(lambda: len(notes(supervisor, operation)) == 2, "its end is not noted")
    return [sentence(entry) for entry in notes(supervisor, operation)]
