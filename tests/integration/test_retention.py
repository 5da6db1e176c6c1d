"""Retention on a real record and real run folders, without a service; and the budget of all logs on real files."""

import asyncio
import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection

from app.db.store import Store, delete_process, insert_process
from app.errors import Conflict, RecordUnavailable
from app.health.troubles import Troubles
from app.lifecycle import created
from app.metrics import Metrics
from app.retention import Limits, OldestSegments
from app.supervisor import deletion, log_budget, retention, wall_clock
from app.supervisor.folders import RunFolders
from app.supervisor.ledger import Live
from app.supervisor.log_budget import LogBudget
from app.supervisor.retention import Pruned, Retention
from procdeck import log, run_folder
from procdeck.states import Outcome, State
from tests.fakes import SPEC, a_process

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(f"sqlite:///{tmp_path / 'procdeck.db'}")
    yield opened
    opened.close()


class Deck:
    """A record, its run folders, and the retention on both. ``busy`` are those that refuse to be deleted."""

    def __init__(self, store: Store, runs: Path) -> None:
        self.store = store
        self.runs = runs
        self.folders = RunFolders(runs)
        self.troubles = Troubles()
        self.retention = Retention(store, self.folders, self.delete, self.troubles)
        self.busy: set[str] = set()
        self.failing = False
        self.asked: list[str] = []
        self.most_at_once = self._at_once = 0

    async def delete(self, process_id: str) -> None:
        self.asked.append(process_id)
        if self.failing:
            raise RecordUnavailable("its disk is full")
        if process_id in self.busy:
            raise Conflict("it is alive")
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        await self.store.writer.run(partial(delete_process, process_id=process_id))
        await asyncio.to_thread(self.folders.delete, process_id)
        self._at_once -= 1

    async def add(self, number: int, days: float | None = 1.0, target: str = "jobs:a", size: int = 0) -> str:
        """A process that ended so many days ago, or that runs (None), with a log of this size."""
        process_id = f"0193-{number:04}"
        state = State.RUNNING if days is None else State.EXITED
        stopped_at = None if days is None else datetime.now(UTC) - timedelta(days=days)
        outcome = None if days is None else Outcome.SUCCEEDED
        process = a_process(state, id=process_id, number=number, target=target, stopped_at=stopped_at, outcome=outcome)
        await self.store.writer.run(partial(insert_process, process=process, transitions=[created(a_process())][:0]))
        run_folder.create(str(self.runs / process_id), SPEC | {"id": process_id})
        if size:
            (self.runs / process_id / "log" / f"{0:020d}.log").write_bytes(b"x" * size)
        return process_id

    def left(self) -> list[int]:
        in_record = self.store.ids()
        assert in_record == {folder.name for folder in self.runs.iterdir()}
        return sorted(int(process_id.rpartition("-")[2]) for process_id in in_record)


@pytest.fixture
def deck(store: Store, runs: Path) -> Deck:
    return Deck(store, runs)


async def test_by_age_by_count_and_by_bytes(deck: Deck) -> None:
    for number, days, target in (
        (1, 9, "jobs:a"),
        (2, 8, "jobs:b"),
        (3, 2, "jobs:a"),
        (4, 1, "jobs:a"),
        (5, 1, "jobs:b"),
    ):
        await deck.add(number, days, target, size=100_000)
    limits = Limits(days=8.5, per_target=1)
    told = await deck.retention.prune(limits, dry_run=True)
    assert [(choice.process.number, choice.reason.value) for choice in told.shown] == [
        (1, "age"),
        (3, "count"),
        (2, "count"),
    ]
    assert deck.left() == [1, 2, 3, 4, 5]
    done = await deck.retention.prune(limits)
    assert (done.shown, done.count, done.bytes) == (told.shown, 3, told.bytes)
    assert done.bytes > 300_000
    assert deck.left() == [4, 5]
    assert (await deck.retention.prune(limits)).count == 0

    done = await deck.retention.prune(Limits(bytes=150_000))
    assert [(choice.process.number, choice.reason.value) for choice in done.shown] == [(4, "bytes")]
    assert deck.left() == [5]


async def test_only_one_target(deck: Deck) -> None:
    for number in range(1, 7):
        await deck.add(number, days=10 - number, target=f"jobs:{'ab'[number % 2]}")
    assert (await deck.retention.prune(Limits(per_target=1), target="jobs:a")).count == 2
    assert deck.left() == [1, 3, 5, 6]


async def test_many_go_in_small_batches(deck: Deck) -> None:
    for number in range(1, 101):
        await deck.add(number, days=number)
    pruned = await deck.retention.prune(Limits(per_target=3))
    assert pruned.count == 97
    assert deck.left() == [1, 2, 3]
    assert 1 < deck.most_at_once <= 32


async def test_what_is_alive_or_whose_keeper_is_busy_is_never_touched(deck: Deck) -> None:
    running, kept = await deck.add(1, days=None), await deck.add(2, days=5)
    gone = await deck.add(3, days=5)
    # The keeper of another process: a lock of this one's own would not count.
    command = [sys.executable, "-c", HOLD_LOCK, str(deck.runs / kept / run_folder.LOCK)]
    keeper = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert keeper.stdout is not None
        assert keeper.stdout.readline() == b"held\n"
        assert await deck.retention.measure() == 1
        pruned = await deck.retention.prune(Limits(days=0.001, per_target=1, bytes=1))
        assert [choice.process.id for choice in pruned.shown] == [gone]
        assert deck.left() == [1, 2]
    finally:
        keeper.communicate(timeout=10)
    assert await deck.retention.measure() == 0
    assert (await deck.retention.prune(Limits(bytes=1))).count == 1
    assert running in deck.store.ids()


HOLD_LOCK = """
import os, sys
from procdeck import posix
posix.lock(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT))
print("held", flush=True)
sys.stdin.read()
"""


async def test_one_that_cannot_be_deleted_keeps_none_of_the_others(deck: Deck) -> None:
    for number in range(1, 4):
        await deck.add(number, days=5)
    deck.busy.add("0193-0002")
    assert (await deck.retention.prune(Limits(days=1))).count == 2
    assert deck.left() == [2]


async def test_a_folder_that_is_gone_takes_nothing(deck: Deck) -> None:
    deck.folders.delete(await deck.add(1))
    assert await deck.retention.measure() == 0
    found = deck.store.get("0193-0001")
    assert found is not None
    assert found.disk_bytes == 0


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.ENOENT])
async def test_what_cannot_be_looked_at_is_not_measured_yet(
    deck: Deck, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    process_id = await deck.add(1, size=10_000)

    def fail(path: str) -> bool:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(run_folder, "is_kept", fail)
        assert await deck.retention.measure() == 1
    assert await deck.retention.measure() == 0
    found = deck.store.get(process_id)
    assert found is not None
    assert (found.disk_bytes or 0) > 10_000


async def test_who_only_asks_waits_for_nobody_who_removes(deck: Deck) -> None:
    await deck.add(1, days=5)
    async with asyncio.timeout(10), deck.retention._one_at_a_time:
        assert (await deck.retention.prune(Limits(days=1), dry_run=True)).count == 1
    assert deck.left() == [1]


async def test_a_record_that_cannot_be_written_ends_the_pass(deck: Deck) -> None:
    for number in range(1, 101):
        await deck.add(number, days=5)
    deck.failing = True
    with pytest.raises(RecordUnavailable):
        await deck.retention.prune(Limits(days=1))
    assert len(deck.asked) <= retention.BATCH
    assert len(deck.left()) == 100


async def test_nothing_ends_the_passes(deck: Deck, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither of retention, nor of the budget of logs, whatever one of them meets."""
    monkeypatch.setattr(retention, "PASS_EVERY", 0.01)
    monkeypatch.setattr(log_budget, "LOOK_EVERY", 0.01)
    await deck.add(1, days=5)
    done = asyncio.Event()
    fails = iter([True, False])

    def believe(*_: object) -> None:
        if next(fails, False):
            raise ZeroDivisionError

    counts: list[int] = []

    async def look() -> None:
        counts.append(1)
        if len(counts) < 3:
            raise ZeroDivisionError
        done.set()

    budget = LogBudget(1, deck.folders, deck.store, {}, Metrics())
    monkeypatch.setattr(budget, "_look", look)
    monkeypatch.setattr(deck.retention, "_doubt", believe)
    removed: asyncio.Queue[Pruned] = asyncio.Queue()
    works = [
        asyncio.create_task(deck.retention.run(Limits(days=1), removed.put_nowait)),
        asyncio.create_task(budget.run()),
    ]
    try:
        async with asyncio.timeout(10):
            assert (await removed.get()).count == 1
            await done.wait()
    finally:
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)


# --- the clock ---------------------------------------------------------------------------------------------------

DAY = 86400.0


class Clocks:
    """The clock on the wall, as it is and some seconds ahead, and the one that nobody can set."""

    CLOCK_BOOTTIME = 7

    def __init__(self) -> None:
        self.wall, self.boot = time.time(), 1000.0

    def time(self) -> float:
        return self.wall

    def clock_gettime(self, clock: int) -> float:
        assert clock == self.CLOCK_BOOTTIME
        return self.boot

    def go_on(self, seconds: float) -> None:
        """Time passes."""
        self.wall += seconds
        self.boot += seconds

    def jump(self, seconds: float) -> None:
        """Somebody sets the clock."""
        self.wall += seconds


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    found = Clocks()
    monkeypatch.setattr(wall_clock, "time", found)
    return found


async def a_pass(deck: Deck, limits: Limits) -> int:
    """How many a pass of the background removes."""
    pruned = Pruned()
    await deck.retention._pass(limits, lambda found: pruned.add(found.shown))
    return pruned.count


async def test_f86_a_clock_that_jumps_ahead_takes_no_history_with_it(clocks: Clocks, deck: Deck) -> None:
    for number, days in ((1, 40), (2, 20), (3, 2), (4, 0.01)):
        await deck.add(number, days)
    limits = Limits(days=30)
    assert await a_pass(deck, limits) == 1, "a clock that is right"
    clocks.jump(1000 * DAY)
    assert await a_pass(deck, limits) == 0
    (trouble,) = deck.troubles.present()
    assert trouble.sentence == (
        "The clock of this machine jumped by +1000.0 days: finished processes are not removed for their age before it "
        "has gone evenly for 24 h."
    )
    # What ends meanwhile says nothing for the clock: it is stamped with the same.
    await deck.add(5, days=-999.99)
    clocks.go_on(300)
    assert await a_pass(deck, limits) == 0
    # The other limits hold all the time.
    assert await a_pass(deck, Limits(days=30, per_target=3)) == 1
    clocks.jump(-1000 * DAY)
    assert await a_pass(deck, limits) == 0
    assert deck.troubles.present() == [], "nothing is too old now"
    assert deck.left() == [3, 4, 5]


async def test_f86_a_clock_that_was_set_right_is_believed_after_a_day(clocks: Clocks, deck: Deck) -> None:
    await deck.add(1, days=1)
    limits = Limits(days=30)
    assert await a_pass(deck, limits) == 0
    clocks.jump(1000 * DAY)
    assert await a_pass(deck, limits) == 0
    clocks.go_on(DAY - 300)
    assert await a_pass(deck, limits) == 0
    clocks.go_on(600)
    assert await a_pass(deck, limits) == 1
    assert deck.troubles.present() == []


async def test_f86_at_a_start_the_clock_has_to_fit_what_is_known(clocks: Clocks, deck: Deck) -> None:
    await deck.add(1, days=40)
    await deck.add(2, days=2)
    clocks.jump(1000 * DAY)
    await deck.add(3, days=-1000)  # it ended just now, under the same clock
    limits = Limits(days=30)
    assert await a_pass(deck, limits) == 0
    assert [trouble.key for trouble in deck.troubles.present()] == ["clock"]
    assert deck.left() == [1, 2, 3]
    clocks.go_on(DAY)
    assert await a_pass(deck, limits) == 2
    assert deck.left() == [3]


async def test_a_deletion_that_was_cut_off_is_finished(deck: Deck) -> None:
    process_id = await deck.add(1, size=10)
    deck.folders.hide(process_id)
    await deletion.finish_all(deck.store, deck.folders)
    assert list(deck.runs.iterdir()) == []
    assert deck.store.get(process_id) is None


async def test_a_deletion_that_fails_leaves_everything(deck: Deck, monkeypatch: pytest.MonkeyPatch) -> None:
    process_id = await deck.add(1, size=10)

    def fail(connection: Connection, process_id: str) -> bool:
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(deletion, "delete_process", fail)
    with pytest.raises(OSError, match="no"):
        await deletion.delete(deck.store, deck.folders, process_id)
    assert [path.name for path in deck.runs.iterdir()] == [process_id]
    assert deck.store.get(process_id) is not None


# --- the budget of all logs --------------------------------------------------------------------------------------


def segment(runs: Path, process_id: str, first: int, size: int, age: float) -> None:
    folder = runs / process_id / "log"
    folder.mkdir(parents=True, exist_ok=True)
    line = b"2026-11-22T06:55:26.123456Z stdout F "
    path = folder / f"{first:020d}.log"
    path.write_bytes(line + b"x" * (size - len(line) - 1) + b"\n")
    os.utime(path, (1_700_000_000 - age, 1_700_000_000 - age))


def test_a_log_that_is_trimmed_goes_from_its_start(runs: Path) -> None:
    for first in (0, 1000, 2000):
        segment(runs, "one", first, 1000, age=10)
    trimmed = RunFolders(runs).trim("one", [0, 1000])
    assert (trimmed.bytes, trimmed.start) == (2000, 2000)
    assert log.extent(str(runs / "one" / "log")) == (2000, 3000)


def test_a_log_that_is_trimmed_as_a_whole_keeps_its_end(runs: Path) -> None:
    folder = str(runs / "one" / "log")
    segment(runs, "one", 0, 1000, age=10)
    folders = RunFolders(runs)
    assert folders.trim("one", [0]).start == 1000
    assert log.extent(folder) == (1000, 1000)
    assert log.read_chunk(folder, 0).data == b""
    assert folders.trim("one", [1000]).bytes == 0
    assert folders.take_stock(oldest := OldestSegments(10)).bytes == 0
    assert oldest.chosen() == {}


async def test_the_oldest_logs_go_and_the_rest_stays(deck: Deck) -> None:
    for number, age in ((1, 50.0), (2, 90.0), (3, 70.0)):
        process_id = await deck.add(number)
        for first in (0, 1000):
            segment(deck.runs, process_id, first, 1000, age=age - first / 1000)
    await deck.retention.measure()
    metrics = Metrics()
    budget = LogBudget(4000, deck.folders, deck.store, {}, metrics)
    await budget._take_stock()
    await budget._trim()
    extents = deck.folders.log_extents(["0193-0001", "0193-0002", "0193-0003"])
    assert extents == {"0193-0001": (0, 2000), "0193-0002": (2000, 2000), "0193-0003": (1000, 2000)}
    starts = {number: deck.store.get(f"0193-{number:04}") for number in (1, 2, 3)}
    assert {number: found.log_start for number, found in starts.items() if found} == {1: 0, 2: 2000, 3: 1000}
    assert b"procdeck_log_trimmed_bytes_total 3000.0" in metrics.render(({}, {}), 0)


async def test_logs_that_grow_are_noticed_by_what_their_keepers_tell(deck: Deck) -> None:
    process_id = await deck.add(1, days=None)
    live = Live(a_process(State.RUNNING, id=process_id), a_process(State.RUNNING, id=process_id))
    metrics = Metrics()
    budget = LogBudget(10_000, deck.folders, deck.store, {process_id: live}, metrics)
    await budget._take_stock()
    segment(deck.runs, process_id, 5000, 1000, age=0)  # what its own keeper has removed before
    await budget._look()
    assert live.saved.log_start == 0  # nobody told anything
    budget.heard(process_id)
    await budget._look()
    assert (live.saved.log_start, live.process.log_start) == (5000, 5000)
    assert b"procdeck_log_trimmed_bytes_total 5000.0" in metrics.render(({}, {}), 0)
