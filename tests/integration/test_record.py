"""Keeping the record usable, on a real database and real run folders, without a service."""

import asyncio
import errno
import threading
from collections.abc import AsyncIterator, Callable, Container, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection

from app import lifecycle
from app.db.store import Renewed, Store, delete_process, insert_process
from app.errors import RecordUnavailable
from app.health.troubles import Troubles
from app.lifecycle import Process
from app.supervisor import deletion, imports, record
from app.supervisor.background import Background
from app.supervisor.evidence import Evidence, examine, why_foreign
from app.supervisor.folders import RunFolders
from app.supervisor.ledger import Ledger
from app.supervisor.record import Record
from app.supervisor.recovery import Memory
from procdeck import run_folder
from procdeck.states import Outcome, State
from tests.fakes import SPEC, a_process, an_entry, an_event

pytestmark = pytest.mark.anyio

SECONDS = 10.0


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


class Watched:
    """A record that is looked at again and again, and how often its owner was told to go on."""

    def __init__(self, store: Store, runs: Path) -> None:
        self.store = store
        self.runs = runs
        self.troubles = Troubles()
        self.ledger = Ledger(store, Background(), lambda: None)
        self.record = Record(store, runs, self.ledger, self.troubles, lambda: 1, self._go_on)
        self.went_on = 0
        self.failing: Exception | None = None

    async def _go_on(self) -> None:
        self.went_on += 1
        if self.failing is not None:
            error, self.failing = self.failing, None
            raise error

    def add_folder(self, number: int) -> str:
        process_id = f"0193-{number}"
        run_folder.create(str(self.runs / process_id), SPEC | {"id": process_id, "number": number})
        return process_id

    def has_trouble(self, key: str) -> bool:
        return any(trouble.key == key for trouble in self.troubles.present())

    async def is_refused(self) -> bool:
        try:
            async with self.record.in_step():
                return False
        except RecordUnavailable:
            return True

    @asynccontextmanager
    async def looked_at(self) -> AsyncIterator[None]:
        watch = asyncio.create_task(self.record.watch())
        try:
            yield
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch


@pytest.fixture
def watched(store: Store, runs: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setattr(record, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(record, "TRY_AGAIN_AFTER", (0.01, 0.02))
    return Watched(store, runs)


async def until(condition: Callable[[], object], message: str) -> None:
    try:
        async with asyncio.timeout(SECONDS):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(message) from None


class Unreadable:
    """Run folders that can't be read until ``cured``."""

    def __init__(self) -> None:
        self.cured = False
        self.tries = 0

    def examine(self, folder: Path) -> Evidence:
        self.tries += 1
        if not self.cured:
            raise OSError(errno.EMFILE, "Too many open files")
        return examine(folder)


# --- what can't be taken at once ------------------------------------------------------------------------------------


async def test_a_folder_that_can_t_be_read_is_tried_again_alone(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    unreadable, scans = Unreadable(), list[Path]()
    scan = imports.scan

    def counted(runs: Path, known: Container[str]) -> list[str]:
        scans.append(runs)
        return scan(runs, known)

    monkeypatch.setattr(imports, "examine", unreadable.examine)
    monkeypatch.setattr(imports, "scan", counted)
    process_id = watched.add_folder(1)
    await watched.record.begin(None)
    said = len(caplog.messages)
    async with watched.looked_at():
        await until(lambda: unreadable.tries > 5, "it is not tried again")
        assert watched.has_trouble("run-folders")
        assert len(scans) == 1, "all folders were looked at again"
        assert len(caplog.messages) == said, "each try is told of"
        unreadable.cured = True
        await until(lambda: watched.went_on, "it is not taken")
        await until(lambda: not watched.has_trouble("run-folders"), "the trouble stays")
    assert watched.store.ids() == {process_id}


async def test_nothing_is_imported_while_a_launch_makes_its_folder_and_the_other_way_round(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreadable = Unreadable()
    monkeypatch.setattr(imports, "examine", unreadable.examine)
    watched.add_folder(1)
    await watched.record.begin(None)
    reading, go = threading.Event(), threading.Event()

    def slowly(folder: Path) -> Evidence:
        reading.set()
        go.wait(SECONDS)
        return examine(folder)

    async def launch() -> None:
        async with watched.record.in_step():
            assert go.is_set(), "in the middle of an import"

    async with watched.record.in_step():
        tries = unreadable.tries
        monkeypatch.setattr(imports, "examine", slowly)
        async with watched.looked_at():
            await until(lambda: watched.record._is_alone, "it is not tried again")
    assert (unreadable.tries, reading.is_set()) == (tries, False), "in the middle of a launch"
    async with watched.looked_at():
        try:
            await until(reading.is_set, "it is not tried again")
            launched = asyncio.create_task(launch())
            await asyncio.sleep(0)
        finally:
            go.set()
        await launched
        await until(lambda: watched.store.ids(), "it is not taken")


async def test_launches_are_refused_until_all_is_known_and_a_folder_that_is_being_made_is_left_alone(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(connection: Connection, **_: object) -> None:
        raise RecordUnavailable("The database can't be used: its disk is full.")

    process_id = watched.add_folder(7)
    unfinished = watched.runs / "unfinished"
    with monkeypatch.context() as patch:
        patch.setattr(imports, "insert_process", full)
        await watched.record.begin(None)
        (unfinished / "log").mkdir(parents=True)
        assert await watched.is_refused()
        assert watched.has_trouble("run-folders")
    async with watched.looked_at():
        await until(lambda: watched.went_on, "nobody goes on")
    assert not await watched.is_refused()
    assert watched.store.ids() == {process_id}
    assert watched.store.last_number() == 7
    assert unfinished.exists()


async def test_a_new_database_that_could_not_be_filled_is_filled_later(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(connection: Connection, counts: object) -> None:
        raise RecordUnavailable("The database can't be used: its disk is full.")

    process_id = watched.add_folder(7)
    with monkeypatch.context() as patch:
        patch.setattr(record, "keep_counts", full)
        await watched.record.begin(Renewed("It was damaged.", None, {"process": 40, "event": 90}))
        assert not watched.has_trouble("database-renewed")
    async with watched.looked_at():
        await until(lambda: watched.went_on, "nobody goes on")
    assert watched.store.ids() == {process_id}
    assert watched.store.last_number() == 40
    assert watched.store.last_event_id() > 90
    assert watched.has_trouble("database-renewed")


async def test_what_is_known_is_not_looked_at(store: Store, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for process_id in ("known", "new"):
        run_folder.create(str(runs / process_id), SPEC | {"id": process_id})
    looked: list[str] = []

    def noted(folder: Path) -> str | None:
        looked.append(folder.name)
        return why_foreign(folder)

    monkeypatch.setattr(imports, "why_foreign", noted)
    assert (await imports.import_folders(store, runs, {"known"})).taken == 1
    assert looked == ["new"]


# --- making it again --------------------------------------------------------------------------------------------------


async def test_nobody_new_is_in_step_with_a_record_that_is_to_be_made_again(watched: Watched) -> None:
    process_id = watched.add_folder(1)
    await watched.record.begin(None)
    async with watched.looked_at():
        async with watched.record.in_step():
            watched.store.suspect("It is damaged.")
            await until(lambda: watched.has_trouble("database"), "not noticed")
            async with asyncio.timeout(SECONDS):
                while not await watched.is_refused():
                    await asyncio.sleep(0)
            assert watched.went_on == 0
        await until(lambda: watched.went_on, "it is not made again")
    assert not await watched.is_refused()
    assert watched.store.ids() == {process_id}


async def test_a_failure_behind_a_renewal_is_not_one_of_the_record(watched: Watched) -> None:
    told: list[str] = []

    async def fail() -> None:
        raise ValueError("no")

    async def tell() -> None:
        told.append("renewed")

    await watched.record.begin(None)
    watched.record.when_renewed(fail)
    watched.record.when_renewed(tell)
    watched.failing = ValueError("nor this")
    watched.store.suspect("It is damaged.")
    async with watched.looked_at():
        await until(lambda: watched.went_on == 2, "going on is not tried again")
    assert told == ["renewed"]
    assert not watched.has_trouble("database")
    assert watched.has_trouble("database-renewed")
    assert watched.store.damage() is None


async def saved(store: Store, process: Process) -> Process:
    await store.writer.run(partial(insert_process, process=process, transitions=[lifecycle.created(process)]))
    return process


@pytest.mark.parametrize("kind", ["lost", "stopped"])
async def test_an_end_that_only_memory_knows_is_in_the_new_record(watched: Watched, kind: str) -> None:
    """Neither the record nor the run folder has it any more: its save failed for the damage that lost the record."""
    running = replace(a_process(State.RUNNING), pid=42, started_at=SPEC_TIME, journal_seq=1, seq=4)
    live = watched.ledger.open(running)
    event = an_event(kind, "service", "its keeper was killed")
    event = replace(event, data={"exitcode": 3}, journal_seq=2) if kind == "stopped" else event
    live.process, transition = lifecycle.apply(live.process, event)
    live.unsaved.append(transition)
    await watched.record.begin(None)
    watched.store.suspect("It is damaged.")
    async with watched.looked_at():
        await until(lambda: watched.went_on, "it is not made again")
    found = watched.store.get(running.id)
    assert found is not None
    expected = (State.LOST, Outcome.LOST, None) if kind == "lost" else (State.EXITED, Outcome.FAILED, 3)
    assert (found.state, found.outcome, found.exitcode, found.pid) == (*expected, 42)
    rows = watched.store.transitions(running.id)
    assert [row.to_state for row in rows] == ["created", "queued", "starting", "running", expected[0]]
    assert [row.seq for row in rows] == [1, 2, 3, 4, 5]
    assert (rows[-1].reason, found.seq) == ("its keeper was killed", 5)
    assert running.id not in watched.ledger.lives


SPEC_TIME = a_process().created_at


async def test_memory_is_believed_when_the_folder_of_a_living_process_can_t_be_read(
    store: Store, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = replace(a_process(State.RUNNING), pid=42, started_at=SPEC_TIME, journal_seq=1, seq=4)
    run_folder.create(str(runs / running.id), SPEC)
    monkeypatch.setattr(imports, "examine", Unreadable().examine)
    imported = await imports.import_folders(store, runs, set(), {running.id: Memory(running, running)})
    assert (imported.taken, imported.postponed) == (1, {})
    assert imported.processes[running.id].state is State.RUNNING


def test_who_is_ahead() -> None:
    started = an_entry(1, "started", pid=42)
    running = replace(a_process(State.RUNNING), journal_seq=1)
    assert Memory(running, running).is_ahead_of(Evidence([], False, False, is_missing=True))
    assert not Memory(running, running).is_ahead_of(Evidence([started], True, True))
    assert Memory(replace(running, journal_seq=2), running).is_ahead_of(Evidence([started], True, True))
    assert not Memory(a_process(), a_process()).is_ahead_of(Evidence([], False, False))


# --- deleting ---------------------------------------------------------------------------------------------------------


async def test_a_deletion_that_is_cancelled_is_not_taken_back(
    store: Store, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end of the service: its job is in the writer, which finishes it."""
    process = await saved(store, a_process())
    run_folder.create(str(runs / process.id), SPEC)
    folders = RunFolders(runs)
    hidden, go = threading.Event(), threading.Event()

    def slowly(connection: Connection, process_id: str) -> bool:
        hidden.set()
        go.wait(SECONDS)
        return delete_process(connection, process_id)

    monkeypatch.setattr(deletion, "delete_process", slowly)
    try:
        deleting = asyncio.create_task(deletion.delete(store, folders, process.id))
        await until(hidden.is_set, "it is not hidden")
        deleting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await deleting
    finally:
        go.set()
    await asyncio.to_thread(store.close)
    assert not (runs / process.id).exists(), "the next start would take it in again"
    assert folders.hidden_ids() == [process.id]


async def test_a_process_that_was_deleted_is_no_damage_of_the_record(watched: Watched) -> None:
    process = await saved(watched.store, a_process())
    live = watched.ledger.open(process)
    await watched.store.writer.run(partial(delete_process, process_id=process.id))
    watched.ledger.close(live)
    watched.ledger.apply(live, an_event("queued", "operator"))
    await until(lambda: not live.saving and not live.unsaved, "it is still to be saved")
    assert watched.store.damage() is None
