"""The store and its writer on both databases."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert, make_url, text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlmodel import SQLModel

from app import lifecycle
from app.db.engine import make_engine
from app.db.store import (
    Filter,
    Measured,
    Sessions,
    Stale,
    Store,
    decode_cursor,
    delete_process,
    encode_cursor,
    insert_process,
    keep_counts,
    save,
    save_measured,
)
from app.db.writer import Job, Writer, WriterClosed
from app.errors import BadConfig, DatabaseDamaged, Invalid, RecordUnavailable
from app.lifecycle import Event, Process, Transition
from app.retention import Candidate, Held
from app.security.auth import Session, SessionStore
from app.settings import Settings
from procdeck.states import Outcome, State

pytest_plugins = ["tests.databases"]
pytestmark = pytest.mark.anyio

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 11, 22, 6, 55, 26, 123456, tzinfo=UTC)


def make(number: int, **given: object) -> Process:
    """A record as a launch makes it."""
    values: dict[str, object] = {
        "id": f"019a-{number:08}",
        "number": number,
        "name": f"Process-{number}",
        "target": "jobs:resize",
        "environment": "default",
        "kind": "function",
        "spec": {"args": [], "kwargs": {}},
        "created_at": NOW,
        "requested_by": "operator",
    }
    return Process(**(values | given))  # type: ignore[arg-type]


def applied(process: Process, *kinds: str, **data: object) -> tuple[Process, list[Transition]]:
    """The process after these events; the facts go with the last."""
    transitions = []
    for kind in kinds:
        facts = data if kind == kinds[-1] else {}
        process, transition = lifecycle.apply(process, Event(kind, NOW, "keeper", None, facts))
        transitions.append(transition)
    return process, transitions


async def add(store: Store, *processes: Process) -> None:
    def job(connection: Connection) -> None:
        for process in processes:
            insert_process(connection, process, [lifecycle.created(process)])

    await store.writer.run(job)


# --- records -----------------------------------------------------------------------------------------------------


async def test_a_record_comes_back_as_it_was(store: Store) -> None:
    process = make(
        1,
        name="é 'quoted' \\ 100%",
        spec={"args": [1, 2.5, None, True, "ü\x00\n"], "kwargs": {"deep": {"list": [[]]}}},
        daemon=True,
        labels={"team": "a", "empty": ""},
        origin_id="019a-origin",
        idempotency_key="key",
        request_hash="hash",
        outcome=Outcome.CRASHED,
        state=State.EXITED,
        pid=4711,
        exitcode=-11,
        error={"type": "ValueError", "message": "x", "traceback": "y"},
        result=[1, {"a": None}],
        progress={"fraction": 0.5, "message": None},
        started_at=NOW,
        stopped_at=NOW.astimezone(tz=None) + timedelta(seconds=1),
        duration=1.25,
        cpu_seconds=0.1,
        max_rss_bytes=2**40,
        asked={"action": "terminate"},
        detail={"wait_status": 11},
        journal_seq=3,
        seq=4,
    )
    await add(store, process)
    found = store.get(process.id)
    assert found == process
    assert found is not None
    assert isinstance(found.state, State)
    assert found.stopped_at is not None
    assert found.stopped_at.tzinfo is UTC


@pytest.mark.parametrize("result", [None, False, 0, "", "text", 1.5, [], {}])
async def test_every_result_comes_back(store: Store, result: object) -> None:
    await add(store, make(1, result=result))
    found = store.get(make(1).id)
    assert found is not None
    assert found.result == result
    assert type(found.result) is type(result)


async def test_a_life_is_recorded(store: Store) -> None:
    process = make(1)
    queued, transitions = applied(process, "queued", "starting")
    history = [lifecycle.created(process), *transitions]
    first = await store.writer.run(lambda c: insert_process(c, queued, history))
    running, transitions = applied(queued, "started", pid=4711)
    second = await store.writer.run(lambda c: save(c, running, transitions, queued.seq))
    history += transitions
    exited, transitions = applied(running, "stopped", exitcode=0, result=42)
    third = await store.writer.run(lambda c: save(c, exited, transitions, running.seq))
    history += transitions

    assert [*first, *second, *third] == [1, 2, 3, 4, 5]
    assert store.get(process.id) == exited
    assert store.transitions(process.id) == history
    assert store.last_event_id() == 5


async def test_any_text_can_be_stored_and_asked_for(store: Store) -> None:
    odd = "a\0b\ud800c"
    process = make(1, name=odd, spec={"args": [odd], "kwargs": {odd: 1}}, labels={odd: odd}, idempotency_key=odd)
    transition = replace(lifecycle.created(process), reason=odd, detail={odd: odd})
    await store.writer.run(lambda c: insert_process(c, process, [transition]))
    found, _ = store.page(Filter(name=odd, labels=[(odd, odd)], q=odd), 10)
    assert found == [store.get_by_idempotency_key(odd)]
    assert found[0] == replace(process, name="a\ufffdb\ufffdc", idempotency_key="a\ufffdb\ufffdc")
    assert store.get(odd) is None


async def test_numbers_that_json_lacks_are_stored_as_text(store: Store) -> None:
    await add(store, make(1, result=[float("nan"), float("inf"), -float("inf"), 1.0]))
    found = store.get(make(1).id)
    assert found is not None
    assert found.result == ["NaN", "Infinity", "-Infinity", 1.0]


async def test_unknown_things_are_none(store: Store) -> None:
    assert store.get("nothing") is None
    assert store.get_by_idempotency_key("nothing") is None
    assert store.transitions("nothing") == []
    assert store.page(Filter(), 10) == ([], None)
    assert (store.last_event_id(), store.last_number()) == (0, 0)


async def test_a_save_of_what_another_changed_is_stale(store: Store) -> None:
    process, _ = applied(make(1), "queued", "starting")
    await add(store, process)
    running, transitions = applied(process, "started", pid=1)
    await store.writer.run(lambda c: save(c, running, transitions, process.seq))
    with pytest.raises(Stale):
        await store.writer.run(lambda c: save(c, replace(running, pid=2), transitions, process.seq))
    with pytest.raises(Stale):
        await store.writer.run(lambda c: save(c, make(2), [], 0))
    assert store.get(process.id) == running


async def test_a_request_is_found_by_its_key_and_never_recorded_twice(store: Store) -> None:
    await add(store, make(1, idempotency_key="a"), make(2), make(3))
    found = store.get_by_idempotency_key("a")
    assert found is not None
    assert found.number == 1
    with pytest.raises(IntegrityError):
        await add(store, make(4, idempotency_key="a"))
    assert store.ids() == {make(number).id for number in (1, 2, 3)}


async def test_what_was_launched_again_from_a_process_is_found(store: Store) -> None:
    first = make(1)
    await add(store, first, make(2), *(make(number, origin_id=first.id) for number in (3, 4, 5)))
    assert [process.number for process in store.relaunches(first.id, 2)] == [3, 4]
    assert store.relaunches(make(2).id, 2) == []
    if store.can_be_renewed:
        plan = store.rows(text("EXPLAIN QUERY PLAN SELECT * FROM process WHERE origin_id = 'x' ORDER BY number"))  # type: ignore[arg-type]
        assert "ix_process_origin_id_number" in str(plan)


async def test_active_processes_and_counts(store: Store) -> None:
    over = {"state": State.EXITED, "outcome": Outcome.FAILED}
    await add(store, make(1), make(2, state=State.RUNNING), make(3, **over), make(4, **over), make(5))
    assert [process.number for process in store.active()] == [1, 2, 5]
    assert store.counts_by_state_and_outcome() == (
        {State.CREATED: 2, State.RUNNING: 1, State.EXITED: 2},
        {Outcome.FAILED: 2},
    )


# --- numbers -----------------------------------------------------------------------------------------------------


async def test_numbers_of_deleted_records_are_never_given_again(url: str) -> None:
    store = Store.open(url)
    await add(store, make(1), make(2, labels={"a": "b"}))
    assert store.last_number() == 2
    assert await store.writer.run(partial(delete_process, process_id=make(2).id))
    assert await store.writer.run(partial(delete_process, process_id=make(1).id))
    assert not await store.writer.run(partial(delete_process, process_id=make(1).id))
    store.close()

    store = Store.open(url)
    assert store.ids() == set()
    assert store.transitions(make(2).id) == []
    assert (store.last_number(), store.last_event_id()) == (2, 2)
    process = make(3)
    events = await store.writer.run(lambda c: insert_process(c, process, [lifecycle.created(process)]))
    assert events == [3]
    assert store.last_number() == 3
    store.close()


# --- lists -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 7, 100, 499, 500, 501])
async def test_pages_have_no_gaps_and_no_repeats(store: Store, limit: int) -> None:
    await add(store, *(make(number) for number in range(1, 501)))
    seen: list[int] = []
    cursor: str | None = None
    for turn in count():
        items, cursor = store.page(Filter(), limit, cursor)
        assert len(items) <= limit
        seen += [process.number for process in items]
        if turn == 0:
            await add(store, make(1000))  # what comes meanwhile does not disturb
        if cursor is None:
            break
    assert seen == list(range(500, 0, -1))


FILTERS = [
    pytest.param(Filter(), [6, 5, 4, 3, 2, 1], id="none"),
    pytest.param(Filter(states=[State.RUNNING]), [3], id="state"),
    pytest.param(Filter(states=[State.RUNNING, State.CREATED]), [4, 3, 2, 1], id="states"),
    pytest.param(Filter(outcomes=[Outcome.FAILED]), [5], id="outcome"),
    pytest.param(Filter(outcomes=[Outcome.FAILED, Outcome.LOST]), [6, 5], id="outcomes"),
    pytest.param(Filter(target="jobs:send"), [2], id="target"),
    pytest.param(Filter(name="Worker-3"), [3], id="name"),
    pytest.param(Filter(labels=[("team", "a")]), [5, 4], id="label"),
    pytest.param(Filter(labels=[("team", None)]), [6, 5, 4], id="label key"),
    pytest.param(Filter(labels=[("team", "a"), ("tier", "1")]), [5], id="labels"),
    pytest.param(Filter(q="WORKER"), [3], id="q in the name, case ignored"),
    pytest.param(Filter(q="send"), [2], id="q in the target"),
    pytest.param(Filter(q="straße.png"), [1], id="q in the arguments, beyond ASCII"),
    pytest.param(Filter(q="width 640"), [4], id="q in the keyword arguments, all words"),
    pytest.param(Filter(q="width nowhere"), [], id="q with a word that is nowhere"),
    pytest.param(Filter(q="100%"), [5], id="q takes wildcards for themselves"),
    pytest.param(Filter(q="a_b"), [6], id="q takes the other wildcard for itself"),
    pytest.param(Filter(states=[State.EXITED], labels=[("team", "a")], q="jobs"), [5], id="all together"),
]


@pytest.mark.parametrize(("wanted", "numbers"), FILTERS)
async def test_filters(store: Store, wanted: Filter, numbers: list[int]) -> None:
    await add(
        store,
        make(1, spec={"args": ["STRASSE.png"], "kwargs": {}}),
        make(2, target="jobs:send"),
        make(3, name="Worker-3", state=State.RUNNING),
        make(4, spec={"args": [], "kwargs": {"width": 640}}, labels={"team": "a"}),
        make(
            5,
            state=State.EXITED,
            outcome=Outcome.FAILED,
            labels={"team": "a", "tier": "1"},
            spec={"args": ["100%"], "kwargs": {}},
        ),
        make(6, state=State.LOST, outcome=Outcome.LOST, labels={"team": "b"}, spec={"args": ["a_b", "axb"]}),
    )
    items, cursor = store.page(wanted, 50)
    assert [process.number for process in items] == numbers
    assert cursor is None


async def test_finished_processes_are_counted_once_they_are_measured(store: Store) -> None:
    for number, target in enumerate(["jobs:a", "jobs:b", "jobs:a", "jobs:a"], start=1):
        process, transitions = applied(make(number, target=target), "queued", "starting")
        await store.writer.run(partial(insert_process, process=process, transitions=transitions))
        if number < 4:
            after, more = applied(process, "lost")
            after = replace(after, stopped_at=NOW - timedelta(days=number))
            await store.writer.run(partial(save, process=after, transitions=more, expect_seq=process.seq))
    assert store.held() == Held()
    assert store.finished(None, 10) == []
    unmeasured = store.unmeasured(0, 10)
    assert [number for number, _ in unmeasured] == [1, 2, 3]
    assert store.unmeasured(1, 1) == unmeasured[1:2]

    # One that is not over is not measured, whoever asks.
    found = [Measured(make(number).id, number * 2**33, number) for number in (1, 2, 3, 4)]
    await store.writer.run(partial(save_measured, found=found))
    assert store.unmeasured(0, 10) == []
    assert store.held() == Held({"jobs:a": 2, "jobs:b": 1}, 6 * 2**33)
    assert store.held("jobs:b") == Held({"jobs:b": 1}, 2 * 2**33)
    assert store.held("jobs:none") == Held()
    oldest_first = store.finished(None, 10)
    assert [each.number for each in oldest_first] == [3, 2, 1]
    assert oldest_first[1] == Candidate(make(2).id, 2, "Process-2", "jobs:b", NOW - timedelta(days=2), 2 * 2**33)
    assert store.finished(oldest_first[0].key, 1) == oldest_first[1:2]
    assert store.finished(oldest_first[0].key, 10, "jobs:a") == oldest_first[2:]
    alive = store.get(make(4).id)
    assert alive is not None
    assert (alive.disk_bytes, alive.log_start) == (None, 0)


async def test_finished_processes_of_one_moment_are_paged_by_number(store: Store) -> None:
    for number in range(1, 6):
        process, transitions = applied(make(number), "queued", "starting", "lost")
        await store.writer.run(partial(insert_process, process=process, transitions=transitions))
    found = [Measured(make(number).id, 1, None) for number in range(1, 6)]
    await store.writer.run(partial(save_measured, found=found))
    pages, after = [], None
    while page := store.finished(after, 2):
        pages.append([each.number for each in page])
        after = page[-1].key
    assert pages == [[1, 2], [3, 4], [5]]


async def test_what_went_of_a_log_does_not_come_back(store: Store) -> None:
    process, transitions = applied(make(1), "queued", "starting", "lost")
    await store.writer.run(partial(insert_process, process=process, transitions=transitions))
    for start, shown in ((500, 500), (700, 700), (None, 700), (0, 700)):
        await store.writer.run(partial(save_measured, found=[Measured(process.id, 10, start)]))
        now = store.get(process.id)
        assert now is not None
        assert (now.log_start, now.disk_bytes) == (shown, 10)


@pytest.mark.parametrize("number", [0, 1, 63, 64, 10**18])
def test_a_cursor_is_text_for_an_address(number: int) -> None:
    cursor = encode_cursor(number)
    assert cursor.replace("-", "").replace("_", "").isalnum()
    assert decode_cursor(cursor) == number


@pytest.mark.parametrize(
    "cursor", ["", "x", "50", "é", "=", "LTE", "MDE", encode_cursor(7) + "=", encode_cursor(10**30)]
)
async def test_a_strange_cursor_is_refused(store: Store, cursor: str) -> None:
    with pytest.raises(Invalid) as refused:
        store.page(Filter(), 10, cursor)
    assert refused.value.errors[0]["field"] == "cursor"


async def test_events_resume_after_any_number(store: Store) -> None:
    process, transitions = applied(make(1), "queued", "starting", "started", pid=7)
    history = [lifecycle.created(make(1)), *transitions]
    await store.writer.run(lambda c: insert_process(c, process, history))
    await add(store, make(2))
    events = store.events_after(0, 10)
    assert [event.id for event in events] == [1, 2, 3, 4, 5]
    assert [event.transition for event in events] == [*history, lifecycle.created(make(2))]
    assert {
        (event.number, event.name, event.target, event.state, event.outcome, event.pid, event.exitcode)
        for event in events[:4]
    } == {(1, "Process-1", "jobs:resize", State.RUNNING, None, 7, None)}
    assert store.events_after(2, 2) == events[2:4]
    assert store.events_after(5, 10) == []


# --- sessions ----------------------------------------------------------------------------------------------------


async def test_sessions(store: Store) -> None:
    sessions: SessionStore = Sessions(store, Session)
    early, late = (Session(name, "operator", NOW, NOW + timedelta(hours=h)) for name, h in (("a", 1), ("b", 9)))
    await sessions.create(early)
    await sessions.create(replace(late, last_seen_at=NOW))
    await sessions.create(late)  # as after the record was made again
    assert await sessions.get("a") == early
    assert await sessions.get("c") is None
    await sessions.purge(NOW, NOW + timedelta(hours=2))
    assert await sessions.get("a") is None
    await sessions.touch("b", NOW + timedelta(hours=10))
    await sessions.touch("c", NOW)
    assert await sessions.get("b") == replace(late, last_seen_at=NOW + timedelta(hours=10))
    await sessions.delete("b")
    await sessions.delete("b")
    assert await sessions.get("b") is None


# --- the writer --------------------------------------------------------------------------------------------------


class Gate:
    """A job that keeps the writer busy until it is opened: what is given meanwhile is one group."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._open = threading.Event()

    def __call__(self, _connection: Connection) -> None:
        self.entered.set()
        assert self._open.wait(10)

    def open(self) -> None:
        self._open.set()


async def run_as_group(writer: Writer, jobs: Sequence[Job[object]]) -> list[object]:
    """The results or exceptions of jobs that came while the writer was busy."""
    gate = Gate()
    first = asyncio.create_task(writer.run(gate))
    await asyncio.to_thread(gate.entered.wait, 10)
    tasks = [asyncio.create_task(writer.run(job)) for job in jobs]
    await asyncio.sleep(0)  # each has given its job now
    gate.open()
    await first
    return list(await asyncio.gather(*tasks, return_exceptions=True))


def count_up(connection: Connection, name: str) -> int:
    value: int = connection.execute(
        text("UPDATE counter SET value = value + 1 WHERE name = :name RETURNING value"), {"name": name}
    ).scalar_one()
    return value


def in_transaction(connection: Connection) -> int:
    """A number of the transaction, the same for all jobs of a group."""
    return id(connection.get_transaction())


def failing(connection: Connection) -> None:
    count_up(connection, "process")
    raise LookupError("this job fails")


def breaking_a_constraint(connection: Connection) -> None:
    connection.execute(insert(SQLModel.metadata.tables["counter"]).values(name="process", value=0))


def counter(store: Store) -> int:
    """What readers see of the counter that the jobs of these tests count up."""
    return store.last_number()


async def test_jobs_run_in_order(store: Store) -> None:
    results = await asyncio.gather(*(store.writer.run(partial(count_up, name="process")) for _ in range(600)))
    assert results == list(range(1, 601))
    assert counter(store) == 600


async def test_what_came_meanwhile_is_one_transaction(store: Store) -> None:
    transactions = await run_as_group(store.writer, [in_transaction] * 20)
    assert len(set(transactions)) == 1


async def test_a_result_is_there_only_when_it_is_committed(store: Store) -> None:
    seen: list[int] = []
    await run_as_group(store.writer, [partial(count_up, name="process"), lambda _: seen.append(counter(store))])
    assert seen == [0]
    assert counter(store) == 1


@pytest.mark.parametrize("bad", [failing, breaking_a_constraint])
@pytest.mark.parametrize("place", [0, 1, 3])
async def test_a_failing_job_spares_its_neighbours(store: Store, bad: Callable[[Connection], None], place: int) -> None:
    jobs: list[Job[object]] = [partial(count_up, name="process")] * 3
    jobs.insert(place, bad)
    results = await run_as_group(store.writer, jobs)
    failure = results.pop(place)
    assert isinstance(failure, LookupError if bad is failing else IntegrityError)
    assert results == [1, 2, 3]
    assert counter(store) == 3


@pytest.mark.parametrize("bad", [failing, breaking_a_constraint])
async def test_a_job_that_fails_alone_leaves_nothing(store: Store, bad: Callable[[Connection], None]) -> None:
    with pytest.raises((LookupError, IntegrityError)):
        await store.writer.run(bad)
    assert counter(store) == 0
    assert await store.writer.run(partial(count_up, name="process")) == 1


async def test_a_cancelled_caller_harms_nobody(store: Store) -> None:
    gate = Gate()
    first = asyncio.create_task(store.writer.run(gate))
    await asyncio.to_thread(gate.entered.wait, 10)
    second = asyncio.create_task(store.writer.run(partial(count_up, name="process")))
    await asyncio.sleep(0)
    first.cancel()
    gate.open()
    assert await second == 1


async def test_closing_finishes_what_was_given(url: str) -> None:
    store = Store.open(url)
    tasks = [asyncio.create_task(store.writer.run(partial(count_up, name="process"))) for _ in range(50)]
    await asyncio.sleep(0)
    store.close()
    assert await asyncio.gather(*tasks) == list(range(1, 51))
    with pytest.raises(WriterClosed):
        await store.writer.run(failing)
    store.close()


async def test_no_job_is_given_behind_the_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A close that comes in between the look whether it is open and the giving of a job."""
    given = store.writer._queue.put
    closer = threading.Thread(target=store.writer.close)
    ended = threading.Event()

    class Queue:
        get, empty = store.writer._queue.get, store.writer._queue.empty

        @staticmethod
        def put(work: Any) -> None:
            if work is None:
                given(None)
                ended.set()
            else:
                closer.start()
                ended.wait(0.2)  # as long as it may take one that does not wait for us
                given(work)

    monkeypatch.setattr(store.writer, "_queue", Queue)
    async with asyncio.timeout(10):
        assert await store.writer.run(partial(count_up, name="process")) == 1
    closer.join()


async def test_the_loop_may_be_gone(store: Store) -> None:
    gate = Gate()

    async def leave() -> None:
        given = asyncio.ensure_future(store.writer.run(gate))
        await asyncio.to_thread(gate.entered.wait, 10)
        given.cancel()

    await asyncio.to_thread(asyncio.run, leave())
    gate.open()
    assert await store.writer.run(partial(count_up, name="process")) == 1


# --- SQLite ------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data" / "procdeck.db"


@pytest.fixture
def sqlite(file: Path) -> Iterator[Store]:
    store = Store.open(f"sqlite:///{file}")
    yield store
    store.close()


async def test_the_files_are_for_their_owner_only(sqlite: Store, file: Path) -> None:
    await add(sqlite, make(1))
    modes = {path.name: path.stat().st_mode & 0o777 for path in (file.parent, *file.parent.iterdir())}
    assert modes == {"data": 0o700, "procdeck.db": 0o600, "procdeck.db-wal": 0o600, "procdeck.db-shm": 0o600}


async def test_the_writer_survives_crashes_and_checks_references(sqlite: Store) -> None:
    def pragmas(connection: Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "query_only")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

    assert await sqlite.writer.run(pragmas) == ["wal", 1, 1, 5000, 0]


def test_a_reader_cannot_write(url: str, store: Store) -> None:
    engine = make_engine(url)
    with engine.connect() as connection, pytest.raises(Exception, match=r"readonly|read-only"):
        connection.execute(insert(SQLModel.metadata.tables["counter"]).values(name="x", value=1))
    engine.dispose()


def test_as_many_may_read_as_there_are_threads(sqlite: Store, file: Path) -> None:
    engine = make_engine(f"sqlite:///{file}")
    connections = [engine.connect() for _ in range(40)]
    assert [connection.scalar(text("SELECT 1")) for connection in connections] == [1] * 40
    for connection in connections:
        connection.close()
    engine.dispose()


async def test_a_lock_of_another_program_is_waited_for(sqlite: Store, file: Path) -> None:
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    waiting = asyncio.create_task(sqlite.writer.run(partial(count_up, name="process")))
    await asyncio.sleep(0)
    assert counter(sqlite) == 0  # readers go on
    other.execute("COMMIT")
    other.close()
    assert await waiting == 1


async def test_the_writer_lives_on_when_the_database_is_locked(sqlite: Store, file: Path) -> None:
    await sqlite.writer.run(lambda connection: connection.exec_driver_sql("PRAGMA busy_timeout=1").close())
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    jobs: list[Job[object]] = [partial(count_up, name="process")] * 3
    refused = await asyncio.gather(*(sqlite.writer.run(job) for job in jobs), return_exceptions=True)
    assert [type(error) for error in refused] == [RecordUnavailable] * 3
    assert isinstance(refused[0], RecordUnavailable)
    assert "another program holds it locked" in refused[0].detail
    assert isinstance(sqlite.writer.failing, RecordUnavailable)
    other.execute("COMMIT")
    other.close()
    assert await sqlite.writer.run(jobs[0]) == 1
    assert sqlite.writer.failing is None


async def test_a_full_disk_fails_its_job_and_the_writer_lives_on(sqlite: Store) -> None:
    def limit(connection: Connection, pages: int) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}").close()

    def grow(connection: Connection) -> None:
        insert_process(connection, make(1, result="x" * 2**20), [])

    await sqlite.writer.run(partial(limit, pages=1))  # SQLite takes the present size for the least
    results = await run_as_group(sqlite.writer, [partial(count_up, name="process"), grow])
    assert isinstance(results[1], RecordUnavailable)
    assert "disk is full" in results[1].detail
    assert not results[1].is_damage
    assert counter(sqlite) == (0 if isinstance(results[0], Exception) else 1)
    await sqlite.writer.run(partial(limit, pages=2**30))
    await sqlite.writer.run(grow)
    assert sqlite.get(make(1).id) is not None


@pytest.mark.parametrize("part", ["", "-wal", "-shm"])
@pytest.mark.parametrize("replacement", [None, b""])
async def test_a_database_that_was_taken_away_is_not_written(
    sqlite: Store, file: Path, replacement: bytes | None, part: str
) -> None:
    for number in (1, 2):
        await add(sqlite, make(number))
    taken = file.with_name(file.name + part)
    kept = taken.rename(file.with_name("kept"))
    if replacement is not None:
        taken.write_bytes(replacement)
    with pytest.raises(RecordUnavailable, match="removed" if replacement is None else "replaced"):
        await add(sqlite, make(3))
    assert sqlite.damage() is not None
    with pytest.raises(RecordUnavailable) as noticed:
        sqlite.examine()
    assert noticed.value.is_damage
    kept.replace(taken)
    await add(sqlite, make(4))
    assert sqlite.last_number() == 4


async def test_a_reader_does_not_put_an_empty_database_in_the_place_of_one_that_is_gone(
    sqlite: Store, file: Path
) -> None:
    await add(sqlite, make(1))
    file.rename(file.with_name("kept"))
    engine = make_engine(f"sqlite:///{file}")
    with pytest.raises(OperationalError, match="unable to open"):
        engine.connect()
    engine.dispose()
    assert not file.exists()


def cut_half(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def cut_all(file: Path) -> None:
    os.truncate(file, 0)


def spoil_header(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.write(b"garbage " * 512)


def copy_another_over_it(file: Path) -> None:
    other = file.with_name("other")
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE stranger (x)")
    connection.close()
    file.write_bytes(other.read_bytes())
    other.unlink()


BROKEN = [cut_half, cut_all, spoil_header, copy_another_over_it]


@pytest.mark.parametrize("spoil", BROKEN)
async def test_a_database_that_is_spoilt_while_it_is_open_is_noticed_without_asking_it(
    sqlite: Store, file: Path, spoil: Callable[[Path], None]
) -> None:
    await add(sqlite, make(1))
    await sqlite.writer.checkpoint()
    assert sqlite.examine() == 0
    spoil(file)
    with pytest.raises(RecordUnavailable) as noticed:
        sqlite.examine()
    assert noticed.value.is_damage
    assert sqlite.damage() is not None


@pytest.mark.parametrize("spoil", [cut_half, spoil_header])
async def test_a_spoilt_database_is_renewed_and_kept_and_no_number_is_given_again(
    file: Path, spoil: Callable[[Path], None]
) -> None:
    store = Store.open(f"sqlite:///{file}")
    await add(store, make(41))
    store.close()
    before = file.read_bytes()
    spoil(file)
    with pytest.raises(DatabaseDamaged):
        Store.open(f"sqlite:///{file}")
    store, renewed = Store.open_or_renew(f"sqlite:///{file}")
    assert renewed is not None
    assert renewed.kept is not None
    assert len(renewed.kept.read_bytes()) == len(before) // (2 if spoil is cut_half else 1)
    await store.writer.run(partial(keep_counts, counts={"process": 41, "event": 7}))
    assert (store.ids(), store.last_number(), store.last_event_id()) == (set(), 41, 7)
    store.close()


async def test_the_numbers_of_a_database_that_can_be_read_are_found(file: Path) -> None:
    store = Store.open(f"sqlite:///{file}")
    await add(store, make(41))
    store.close()
    fresh, renewed = Store.renew(f"sqlite:///{file}", "asked for")
    fresh.close()
    assert renewed.counts == {"process": 41, "event": 1}


async def test_damage_deep_inside_is_met_by_who_reads_it(sqlite: Store, file: Path) -> None:
    for number in range(1, 40):
        await add(sqlite, make(number, spec={"args": ["x" * 3000], "kwargs": {}}))
    await sqlite.writer.checkpoint()
    sqlite.close()
    with file.open("r+b") as opened:
        opened.seek(20 * 4096)
        opened.write(b"\xff" * 4096 * 40)
    store, renewed = Store.open_or_renew(f"sqlite:///{file}")
    try:
        if renewed is None:
            with pytest.raises(RecordUnavailable) as noticed:
                store.page(Filter(), 100)
            assert noticed.value.is_damage
            assert store.damage() is not None
    finally:
        store.close()


async def test_a_reader_that_does_not_end_makes_the_wal_grow_and_its_end_lets_it_shrink(
    sqlite: Store, file: Path
) -> None:
    await add(sqlite, make(1))
    reader = sqlite3.connect(file, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM process").fetchall()
    for number in range(2, 30):
        await add(sqlite, make(number, spec={"args": ["x" * 100_000], "kwargs": {}}))
    grown = sqlite.examine()
    await sqlite.writer.checkpoint()
    assert sqlite.examine() >= grown > 2_000_000
    reader.execute("COMMIT")
    reader.close()
    await sqlite.writer.checkpoint()
    assert sqlite.examine() == 0
    assert sqlite.last_number() == 29


def test_a_database_may_be_in_a_folder_of_any_name(tmp_path: Path) -> None:
    url = Settings(data_dir=tmp_path / "what? 100% #1").record_url
    Store.open(url).close()
    assert (tmp_path / "what? 100% #1" / "procdeck.db").is_file()


COUNT_FOR_EVER = """
import asyncio, sys
from sqlalchemy import text
from app.db.store import Store

def count(connection):
    step = "UPDATE counter SET value = value + 1 WHERE name = :name RETURNING value"
    return [connection.execute(text(step), {"name": name}).scalar_one() for name in ("process", "event")]

async def worker(store):
    while True:
        print(*await store.writer.run(count), flush=True)

async def main():
    store = Store.open(sys.argv[1])
    await asyncio.gather(*(worker(store) for _ in range(5)))

asyncio.run(main())
"""


def test_nothing_committed_is_lost_and_nothing_is_half_done_when_the_service_is_killed(file: Path) -> None:
    url = f"sqlite:///{file}"
    for lines in (1, 50, 500):
        command = [sys.executable, "-c", COUNT_FOR_EVER, url]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as service:
            assert service.stdout is not None
            told = [service.stdout.readline() for _ in range(lines)][-1]
            service.kill()
            told = (service.stdout.readlines() or [told])[-1]
        store = Store.open(url)
        kept = (store.last_number(), store.last_event_id())
        store.close()
        assert kept[0] == kept[1] >= int(told.split()[0])
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


async def test_json_is_readable_by_other_programs(sqlite: Store, file: Path) -> None:
    await add(sqlite, make(1, spec={"args": ["é"], "kwargs": {"n": 1}}))
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as other:
        [spec], [error] = other.execute("SELECT spec FROM process UNION ALL SELECT error FROM process").fetchall()
    other.close()
    assert json.loads(spec) == {"args": ["é"], "kwargs": {"n": 1}}
    assert error is None


@pytest.mark.parametrize(
    "url", ["mysql://host/name", "sqlite://", "sqlite:///:memory:", "nonsense", "postgresql+asyncpg://host/name"]
)
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(BadConfig):
        make_engine(url)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_is_taken_by_each_of_its_names(scheme: str) -> None:
    engine = make_engine(f"{scheme}://user:secret@db.example:5433/name?sslmode=require")
    assert engine.url == make_url("postgresql+psycopg://user:secret@db.example:5433/name?sslmode=require")
