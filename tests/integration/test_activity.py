"""Who did what: notes and changes of state in one order, on both databases; and that what should be noted is."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection

from app import lifecycle
from app.db import activity as reading
from app.db.activity import (
    Entries,
    Entry,
    Group,
    Note,
    Wanted,
    entries,
    insert_note,
    last_note_of,
    prunings,
    trim_notes,
)
from app.db.store import Store, insert_process
from app.lifecycle import Event, Process
from app.pages import gone
from app.retention import Candidate, Choice, Reason
from app.supervisor import activity as noting
from app.supervisor.activity import Activity
from app.supervisor.retention import Pruned
from tests.service import Service
from tests.waiting import wait_until

pytest_plugins = ["tests.databases"]
pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 22, 6, 55, 26, tzinfo=UTC)


def an_id(number: int) -> str:
    """An id of ours: it holds a time, which grows with the number."""
    return f"01a2048a-{number:04x}-7000-8000-000000000001"


async def launched(store: Store, number: int, *events: Event, by: str = "operator", **changes: Any) -> Process:
    """A process with its history: launched, and what else happened to it."""
    values: dict[str, Any] = {
        "id": an_id(number),
        "number": number,
        "name": f"train-{number}",
        "target": "jobs:train",
        "environment": "default",
        "kind": "function",
        "spec": {"args": [], "kwargs": {}},
        "created_at": NOW,
        "requested_by": by,
    }
    process = Process(**values | changes)
    rows = [lifecycle.created(process)]
    for event in events:
        process, row = lifecycle.apply(process, event)
        rows.append(row)

    def job(connection: Connection) -> None:
        insert_process(connection, process, rows)

    await store.writer.run(job)
    return process


QUEUED = Event("queued", NOW + timedelta(milliseconds=3), "operator")
STARTING = Event("starting", NOW, "service")
STARTED = Event("started", NOW, "launcher", data={"pid": 1})
ASKED = Event("asked", NOW, "anna", "No longer Needed", {"action": "stop"})
STOPPED = Event("stopped", NOW + timedelta(seconds=0.8), "keeper", data={"exitcode": -15, "duration": 0.8})
WHOLE = (QUEUED, STARTING, STARTED, ASKED, STOPPED)


async def note(store: Store, action: str = "deleted", actor: str = "operator", **changes: Any) -> None:
    values = {"subject_kind": "process", "subject_id": "gone", "subject_name": "gone-1"} | changes
    await store.writer.run(lambda connection: insert_note(connection, Note(NOW, actor, action, **values)))


async def read(store: Store, wanted: Wanted = Wanted(), limit: int = 100, before: int | None = None) -> Entries:  # noqa: B008
    return await asyncio.to_thread(entries, store, wanted, limit, before)


def actions(found: Entries) -> list[tuple[str, str]]:
    return [(entry.actor, entry.action) for entry in found.items]


# --- reading -----------------------------------------------------------------------------------------------------


async def test_notes_and_changes_of_state_have_one_order(store: Store) -> None:
    await note(store, "reloaded", subject_kind="targets")
    await launched(store, 1, *WHOLE)
    await note(store)
    await launched(store, 2)
    found = await read(store)
    assert actions(found) == [
        ("operator", "launched"),
        ("operator", "deleted"),
        ("anna", "stop"),
        ("operator", "launched"),
        ("operator", "reloaded"),
    ]
    assert found.next is None
    numbers = [entry.number for entry in found.items]
    assert numbers == sorted(set(numbers), reverse=True)
    stop = found.items[2]
    assert stop.process is not None
    assert (stop.subject_name, stop.process.outcome) == ("train-1", "stopped")
    assert await asyncio.to_thread(store.last_event_id) == numbers[0]


async def test_everybody_has_the_service_and_the_keepers_but_no_steps(store: Store) -> None:
    await launched(store, 1, *WHOLE)
    everything = await read(store, Wanted(by_people=False))
    assert actions(everything) == [("keeper", "ended"), ("anna", "stop"), ("operator", "launched")]
    steps = await read(store, Wanted(group=Group.STARTS))
    assert actions(steps) == [("launcher", "running"), ("service", "starting")]


async def test_a_start_of_its_own_is_told_and_that_of_a_launch_is_not(store: Store) -> None:
    await launched(store, 1, QUEUED)
    await launched(store, 2, Event("queued", NOW + timedelta(minutes=1), "anna"))
    found = await read(store, Wanted(group=Group.LAUNCHES))
    assert actions(found) == [("anna", "start"), ("operator", "launched"), ("operator", "launched")]


async def test_kinds_of_deeds_are_apart(store: Store) -> None:
    await launched(store, 1, *WHOLE)
    await note(store)
    await note(store, "signed_in", subject_kind="session")
    await note(store, "saved", subject_kind="view")
    await note(store, "kill_many", subject_kind="operation")
    await note(store, "started", "service", subject_kind="service")
    of = {group: actions(await read(store, Wanted(group=group))) for group in Group}
    assert of[Group.LAUNCHES] == [("operator", "launched")]
    assert of[Group.REQUESTS] == [("operator", "kill_many"), ("anna", "stop")]
    assert of[Group.ENDS] == [("keeper", "ended")]
    assert of[Group.REMOVALS] == [("operator", "deleted")]
    assert of[Group.SIGN_INS] == [("operator", "signed_in")]
    assert of[Group.SAVED] == [("operator", "saved")]
    assert of[Group.SERVICE] == [("service", "started")]


async def test_pages_follow_each_other_without_gap_or_repeat(store: Store) -> None:
    for number in range(1, 8):
        await launched(store, number, *WHOLE)
        await note(store)
    whole = [entry.number for entry in (await read(store)).items]
    assert len(whole) == 21
    seen: list[int] = []
    before: int | None = None
    while True:
        page = await read(store, limit=4, before=before)
        seen += [entry.number for entry in page.items]
        assert len(page.items) <= 4
        if page.next is None:
            break
        before = page.next
    assert seen == whole


async def test_windows_are_gone_through_and_gaps_are_jumped(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "WINDOW", 3)
    await launched(store, 1, *WHOLE)

    def leave_a_gap(connection: Connection) -> None:
        connection.info["last_event_id"] = 1_000_000

    await store.writer.run(leave_a_gap)
    await launched(store, 2, *WHOLE)
    found = await read(store, Wanted(words=("needed",)))
    assert [entry.subject_name for entry in found.items] == ["train-2", "train-1"]
    assert found.items[0].number > 1_000_000


async def test_a_search_that_takes_too_long_says_how_far_it_came(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "WINDOW", 3)
    for number in range(1, 4):
        await launched(store, number, *WHOLE)
    wanted = Wanted(words=("train-1", "needed"))
    found: list[Entry] = []
    before, tries = None, 0
    while tries == 0 or before is not None:
        page = await asyncio.to_thread(entries, store, wanted, 10, before, 0.0)
        assert (page.searched_to is None) == (page.next is None)
        found += page.items
        before = page.next
        tries += 1
    assert [entry.action for entry in found] == ["stop"]
    assert tries > 3


@pytest.mark.parametrize(
    ("words", "count"),
    [(("NEEDED",), 1), (("jobs:train", "needed"), 1), (("anna",), 1), (("100%",), 0), (("gone",), 1)],
)
async def test_words_are_looked_for_in_subject_actor_and_reason(
    store: Store, words: tuple[str, ...], count: int
) -> None:
    await launched(store, 1, *WHOLE)
    await note(store)
    assert len((await read(store, Wanted(words=words))).items) == count


async def test_one_subject_has_its_history_and_its_notes(store: Store) -> None:
    await launched(store, 1, *WHOLE)
    await launched(store, 2, *WHOLE)
    await note(store, "noticed", subject_id=an_id(1))
    found = await read(store, Wanted(subject=an_id(1)))
    assert actions(found) == [("operator", "noticed"), ("anna", "stop"), ("operator", "launched")]
    last = await asyncio.to_thread(last_note_of, store, an_id(1))
    assert last is not None
    assert last.action == "noticed"
    assert await asyncio.to_thread(last_note_of, store, an_id(2)) is None


async def test_the_oldest_notes_go_and_no_number_is_given_twice(store: Store) -> None:
    for _ in range(5):
        await note(store)
    await store.writer.run(lambda connection: trim_notes(connection, 2))
    found = await read(store)
    assert [entry.number for entry in found.items] == [5, 4]
    await note(store)
    assert (await read(store)).items[0].number == 6
    await store.writer.run(lambda connection: trim_notes(connection, 100))
    assert len((await read(store)).items) == 3


# --- noting ------------------------------------------------------------------------------------------------------


def a_choice(number: int) -> Choice:
    return Choice(Candidate(an_id(number), number, f"train-{number}", "jobs:train", NOW, 1000), Reason.AGE)


def a_pruning(*numbers: int) -> Pruned:
    pruned = Pruned()
    pruned.add([a_choice(number) for number in numbers])
    return pruned


async def test_a_pruning_is_one_note_that_knows_the_few(store: Store) -> None:
    activity = Activity(store)
    await activity.pruned("service", a_pruning())
    await activity.pruned("service", a_pruning(3, 1, 2))
    (entry,) = (await read(store, Wanted(by_people=False))).items
    assert (entry.action, entry.detail["count"], entry.detail["bytes"]) == ("pruned", 3, 3000)
    assert entry.detail["ids"] == [an_id(1), an_id(2), an_id(3)]
    assert [found.number for found in await asyncio.to_thread(prunings, store, NOW)] == [entry.number]
    assert "removed by retention" in await asyncio.to_thread(gone.why, store, an_id(2))
    assert await asyncio.to_thread(gone.why, store, an_id(4)) == ""


async def test_a_large_pruning_keeps_no_list(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noting, "NAMED", 2)
    await Activity(store).pruned("operator", a_pruning(1, 2, 3), "jobs:train")
    (entry,) = (await read(store)).items
    assert "ids" not in entry.detail
    assert entry.subject_name == "processes of jobs:train"
    assert "may be one of the 3 that a pruning of operator removed" in await asyncio.to_thread(
        gone.why, store, an_id(2)
    )


async def test_refused_sign_ins_do_not_fill_the_record(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(noting, "monotonic", lambda: now)
    activity = Activity(store)
    for _ in range(50):
        await activity.sign_in_refused("10.0.0.9", "wrong")
    now += noting.REFUSALS_EVERY
    await activity.sign_in_refused("10.0.0.9", "wrong")
    later, first = (await read(store)).items
    assert first.detail == {}
    assert later.detail == {"unnoted": 49}


async def test_a_note_that_can_not_be_written_fails_nothing(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    activity = Activity(store)
    await activity.note("a", "b", subject_kind="c", subject_id="", subject_name="d", detail={"not JSON": object()})
    assert "could not be noted that a did b" in caplog.text
    assert activity.noted.count == 1
    store.close()
    await activity.note("a", "e", subject_kind="c", subject_id="", subject_name="d")
    assert "could not be noted that a did e" in caplog.text


async def test_what_is_too_long_is_cut(store: Store) -> None:
    long = "x" * 5000
    await Activity(store).note("a", "b", subject_kind="c", subject_id="", subject_name=long, reason=long)
    (entry,) = (await read(store)).items
    assert (len(entry.subject_name), len(entry.reason or "")) == (noting.MAX_NAME, noting.MAX_REASON)
    assert entry.subject_name.endswith("x\N{HORIZONTAL ELLIPSIS}")


# --- the service -------------------------------------------------------------------------------------------------


def told(service: Service, **query: str) -> list[str]:
    return [item["text"] for item in service.client.get("/activity", params=query).json()["items"]]


def test_what_people_do_is_noted(service: Service) -> None:
    process = service.join(service.launch("basics:worker", 1, name="first"))
    assert service.client.delete(f"/processes/{process['id']}").status_code == 204
    assert service.client.post("/targets/reload").status_code == 200
    service.join(service.launch("basics:worker", 1, name="second"))
    wait_until(lambda: service.client.post("/prune", json={"keep_bytes": 1}).json()["count"] == 1, 20, "not pruned")
    origin = {"Origin": service.url}
    assert httpx.post(f"{service.url}/login", data={"token": "wrong"}, headers=origin).status_code == 401
    with httpx.Client(base_url=service.url, headers=origin) as browser:
        browser.post("/login", data={"token": service.token})
        page = browser.get(f"/processes/{process['id']}")
        assert page.status_code == 404
        assert "first was deleted by operator on" in page.text
        browser.post("/logout")
    texts = told(service)
    expected = [
        "signed out",
        "signed in",
        "tried to sign in",
        "removed 1 finished process",
        "reloaded",
        "deleted first",
    ]
    assert [next((text for text in texts if word in text), word) for word in expected] == texts[: len(expected)]
    assert told(service, verb="service") == ["the service started"]
    assert told(service, subject=process["id"]) == ["operator deleted first - it had succeeded"]
    assert service.stop() == 0
    service.start()
    assert told(service, verb="service")[:2] == ["the service started", "the service ended"]
