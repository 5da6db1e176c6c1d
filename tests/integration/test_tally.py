"""The counts that are kept up to date, against a count of the record: whatever is written, and however it fails."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, event

from app import lifecycle
from app.db import tally
from app.db.store import Store, delete_process, insert_process, save
from app.errors import RecordUnavailable
from app.lifecycle import Event, Process, Transition
from app.supervisor import record
from procdeck import run_folder
from procdeck.states import Outcome, State
from tests.fakes import SPEC, a_process

pytest_plugins = ["tests.databases"]
pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    opened = Store.open(url)
    await opened.count_all()
    yield opened
    opened.close()


def assert_exact(store: Store, at: datetime | None = None) -> None:
    """The tally is what a count of the record gives."""
    assert store.tally.is_known
    assert (store.tally.states, store.tally.outcomes) == store.counts_by_state_and_outcome()
    now = at or datetime.now(UTC)
    for hours in (1, 24):
        since = (now - timedelta(hours=hours)).replace(second=0, microsecond=0)
        table = tally._process
        ended = [
            Outcome(row[0])
            for row in store.rows(table.select().with_only_columns(table.c.outcome).where(table.c.stopped_at >= since))
        ]
        assert store.tally.failed_since(hours, now) == sum(outcome in tally.FAILURES for outcome in ended)
        assert store.tally.succeeded_since(hours, now) == ended.count(Outcome.SUCCEEDED)


class Histories:
    """Lives of processes, a step at a time, in the order of chance."""

    def __init__(self, store: Store, seed: int) -> None:
        self._store = store
        self._choice = random.Random(seed)
        self._lives: dict[str, Process] = {}
        self._number = 0

    async def step(self) -> None:
        living = [process for process in self._lives.values() if not process.is_over]
        dice = self._choice.random()
        if dice < 0.3 or not self._lives:
            await self._create()
        elif dice < 0.4:
            await self._delete(self._choice.choice(list(self._lives)))
        elif dice < 0.5:
            await self._fail()
        elif living:
            await self._go_on(self._choice.choice(living))

    async def _create(self) -> None:
        self._number += 1
        process = a_process(id=f"id-{self._number}", number=self._number)
        await self._store.writer.run(partial(insert_process, process=process, transitions=[lifecycle.created(process)]))
        self._lives[process.id] = process

    async def _go_on(self, process: Process) -> None:
        after, transitions = self._steps(process)
        await self._store.writer.run(lambda c: save(c, after, transitions, process.seq))
        self._lives[process.id] = after

    def _steps(self, process: Process) -> tuple[Process, list[Transition]]:
        at = datetime.now(UTC) - timedelta(hours=self._choice.uniform(0, 48))
        kinds = {
            State.CREATED: ["queued"],
            State.QUEUED: ["starting"],
            State.STARTING: ["started", "not_started", "lost"],
            State.RUNNING: ["stopped", "asked", "lost"],
            State.STOPPING: ["stopped", "lost"],
        }
        kind = self._choice.choice(kinds[process.state])
        facts: dict[str, dict[str, object]] = {
            "started": {"pid": 1},
            "asked": {"action": "stop"},
            "stopped": {"exitcode": self._choice.choice([0, 1, -9])},
        }
        data = facts.get(kind, {})
        after, transition = lifecycle.apply(process, Event(kind, at, "keeper", None, data))
        transitions = [transition]
        if self._choice.random() < 0.3 and after.state in (State.QUEUED, State.STARTING):
            after, more = self._steps(after)
            transitions += more
        return after, transitions

    async def _delete(self, process_id: str) -> None:
        await self._store.writer.run(partial(delete_process, process_id=process_id))
        await self._store.writer.run(partial(delete_process, process_id=process_id))
        del self._lives[process_id]

    async def _fail(self) -> None:
        """A job that fails after it has written, among others that do not."""
        self._number += 3
        first, second, third = (a_process(id=f"id-{n}", number=n) for n in range(self._number - 2, self._number + 1))

        def failing(connection: Connection) -> None:
            insert_process(connection, second, [])
            delete_process(connection, first.id)
            raise OSError("its folder can't be made")

        jobs = [partial(insert_process, process=each, transitions=[]) for each in (first, third)]
        run = self._store.writer.run
        results = await asyncio.gather(run(jobs[0]), run(failing), run(jobs[1]), return_exceptions=True)
        assert [isinstance(result, OSError) for result in results] == [False, True, False]
        self._lives |= {first.id: first, third.id: third}


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_it_is_exact_after_any_history(store: Store, seed: int) -> None:
    histories = Histories(store, seed)
    for turn in range(120):
        await histories.step()
        if turn % 20 == 0:
            assert_exact(store)
    assert_exact(store)
    assert sum(store.tally.states.values()) == len(store.ids())

    again = Store.open(store.url)
    assert not again.tally.is_known
    await again.count_all()
    assert_exact(again)
    assert again.tally.states == store.tally.states
    again.close()


async def test_a_group_is_counted_once_though_it_is_run_twice(store: Store) -> None:
    processes = [a_process(id=f"id-{number}", number=number) for number in range(1, 6)]
    twice = [*processes, processes[0]]  # the last breaks a constraint
    jobs = [store.writer.run(partial(insert_process, process=each, transitions=[])) for each in twice]
    results = await asyncio.gather(*jobs, return_exceptions=True)
    assert sum(isinstance(result, Exception) for result in results) == 1
    assert store.tally.states == {State.CREATED: 5}
    assert_exact(store)


async def test_all_is_counted_again_when_nobody_knows_of_a_commit(store: Store) -> None:
    process = a_process(id="id-1", number=1)
    insert = partial(insert_process, process=process, transitions=[])

    def lost(_connection: Connection) -> None:
        raise RecordUnavailable("the answer was lost")

    event.listen(store.writer._engine, "commit", lost)
    with pytest.raises(RecordUnavailable):
        await store.writer.run(insert)
    event.remove(store.writer._engine, "commit", lost)
    assert not store.tally.is_known
    await store.count_all()
    assert_exact(store)
    if process.id not in store.ids():
        await store.writer.run(insert)
    assert_exact(store)


async def test_a_record_that_was_made_again_is_counted(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    for number in range(1, 4):
        spec = SPEC | {"id": f"0193-{number}", "number": number}
        run_folder.create(str(runs / f"0193-{number}"), spec)
    store = Store.open(f"sqlite:///{tmp_path / 'procdeck.db'}")
    await store.count_all()
    store.close()
    rebuilt = await record.rebuild(str(store.url), runs, "it was damaged")
    store.adopt(rebuilt.store)
    assert sum(store.tally.states.values()) == 3
    assert_exact(store)
    await store.writer.run(partial(delete_process, process_id="0193-2"))
    assert_exact(store)
    store.close()


async def test_ends_are_counted_by_the_minute(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC).replace(second=30)
    over = partial(a_process, State.EXITED, outcome=Outcome.FAILED)
    for number, minutes in enumerate([0, 59, 60, 61, 24 * 60 - 1, 24 * 60, 24 * 60 + 1, -5], start=1):
        process = over(stopped_at=now - timedelta(minutes=minutes), id=str(number), number=number)
        await store.writer.run(partial(insert_process, process=process, transitions=[]))
    assert [store.tally.failed_since(hours, now) for hours in (1, 24)] == [4, 7]
    assert_exact(store, now)
    monkeypatch.setattr(tally, "_TIDY_ABOVE", 3)
    later = now + timedelta(hours=24)
    monkeypatch.setattr(tally, "_first_minute", lambda: tally._minute(later - timedelta(hours=24)))
    process = over(stopped_at=later, id="new", number=100)
    await store.writer.run(partial(insert_process, process=process, transitions=[]))
    assert len(store.tally._counts.ended) == 3  # what is older is forgotten
    assert_exact(store, later)
