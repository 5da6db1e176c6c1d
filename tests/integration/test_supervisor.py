"""The supervisor in this process, with real launchers, keepers and children, and a real database."""

import asyncio
import errno
import os
import shutil
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from app.db.store import Filter, Store
from app.db.writer import Job
from app.errors import Conflict, Invalid, NotFound, Unavailable
from app.health.troubles import Troubles
from app.lifecycle import Process
from app.metrics import Metrics
from app.retention import Limits
from app.settings import CommandSettings, EnvironmentSettings, OnExit, Settings
from app.supervisor import broadcaster as broadcasting
from app.supervisor import ledger
from app.supervisor import supervisor as supervising
from app.supervisor.broadcaster import Reset
from app.supervisor.engine import LocalEngine
from app.supervisor.evidence import Evidence
from app.supervisor.launchers import configs
from app.supervisor.launches import Launch
from app.supervisor.remains import Marks, end_remains
from app.supervisor.supervisor import BURIALS_AT_ONCE, Supervisor
from procdeck import run_folder
from procdeck.states import Outcome, State
from tests.fakes import FakeKeeper
from tests.runtime import HOSTILE, is_alive, kill

pytestmark = pytest.mark.anyio

SECONDS = 15.0
ACTOR = "tester"

Run = Callable[..., AbstractAsyncContextManager[Supervisor]]


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A data folder of which nothing is left running."""
    folder = tmp_path / "data"
    folder.mkdir()
    yield folder
    for run in (folder / "runs").glob("*"):
        end_remains(Marks(run.name, run, None, None))


@pytest.fixture
def run(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Start a supervisor on the data folder; it compares record and folders more often than in life."""
    monkeypatch.setattr(supervising, "RECONCILE_EVERY", 0.2)

    @asynccontextmanager
    async def run(ready: bool = True, hurry: bool = True, **changes: Any) -> AsyncIterator[Supervisor]:
        defaults: dict[str, Any] = {"targets": (str(HOSTILE),), "on_exit": OnExit.LEAVE, "watch": False, "grace": 0.3}
        settings = Settings(data_dir=data_dir, **defaults | changes)
        store = await asyncio.to_thread(Store.open, settings.record_url)
        supervisor = Supervisor(settings, store, configs(settings, (), 1024), Metrics(), Troubles())
        leaving = asyncio.Event()
        if hurry:
            leaving.set()
        try:
            await supervisor.start()
            try:
                if ready:
                    await until(lambda: not supervisor.engine.environments_not_ready(), "no launcher")
                yield supervisor
            finally:
                await supervisor.shut_down(leaving)
        finally:
            await asyncio.to_thread(store.close)

    return run


async def until(condition: Callable[[], object], message: str) -> None:
    """Wait for a condition without holding the loop."""
    try:
        async with asyncio.timeout(SECONDS):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(message) from None


async def launch(supervisor: Supervisor, target: str, *args: Any, **more: Any) -> Process:
    process, _ = await supervisor.create(Launch(f"hostile:{target}", list(args), **more), ACTOR)
    return process


async def joined(supervisor: Supervisor, process: Process) -> Process:
    over = await supervisor.join(process.id, SECONDS)
    assert over.is_over, over
    return over


def states(supervisor: Supervisor, process: Process) -> list[State]:
    return [row.to_state for row in supervisor.store.transitions(process.id)]


def text(supervisor: Supervisor, process: Process) -> str:
    folder = supervisor.engine.folder(process.id) / run_folder.LOG
    return "".join(path.read_text() for path in sorted(folder.glob("*.log")))


async def until_says(supervisor: Supervisor, process: Process, words: str) -> None:
    await until(lambda: words in text(supervisor, process), f"it does not say {words!r}")


# --- creating and joining -------------------------------------------------------------------------------------------


async def test_a_process_runs_and_is_recorded(run: Run) -> None:
    async with run() as supervisor:
        process = await launch(supervisor, "steps", 2, labels={"team": "red"})
        assert process.state in (State.RUNNING, State.EXITED)
        assert (process.name, process.number, process.requested_by) == ("Process-1", 1, ACTOR)
        over = await joined(supervisor, process)
        assert (over.outcome, over.exitcode, over.result) == (Outcome.SUCCEEDED, 0, {"steps": 2})
        assert over.progress == {"fraction": 1.0, "message": "step 2"}
        assert supervisor.store.get(process.id) == over
        assert states(supervisor, process) == ["created", "queued", "starting", "running", "exited"]
        assert (await launch(supervisor, "say")).name == "Process-2"


async def test_created_only_until_it_is_started(run: Run) -> None:
    async with run() as supervisor:
        process = await launch(supervisor, "say", start=False)
        assert process.state is State.CREATED
        for refused in (
            supervisor.join(process.id, 1),
            supervisor.end(process.id, "stop", ACTOR),
            supervisor.signal(process.id, "SIGTERM", ACTOR, reason=None, tree=False),
        ):
            with pytest.raises(Conflict):
                await refused
        starts = [supervisor.start_process(process.id, ACTOR) for _ in range(5)]
        results = await asyncio.gather(*starts, return_exceptions=True)
        assert [isinstance(result, Conflict) for result in results].count(True) == 4
        assert (await joined(supervisor, process)).exitcode == 0
        with pytest.raises(Conflict):
            await supervisor.start_process(process.id, ACTOR)


async def test_who_joins_for_a_time_gets_the_process_either_way(run: Run) -> None:
    async with run() as supervisor:
        process = await launch(supervisor, "nap")
        assert (await supervisor.join(process.id, 0.01)).state is State.RUNNING
        waiting = [asyncio.ensure_future(supervisor.join(process.id, None)) for _ in range(3)]
        await supervisor.end(process.id, "kill", ACTOR)
        async with asyncio.timeout(SECONDS):
            assert {over.exitcode for over in await asyncio.gather(*waiting)} == {-9}


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        (Launch("hostile:missing"), Invalid),
        (Launch("hostile:steps", ["many"]), Invalid),
        (Launch("hostile:steps", [1, 2]), Invalid),
        (Launch("hostile:steps", kwargs={"width": 1}), Invalid),
    ],
)
async def test_what_can_t_be_launched_leaves_nothing_behind(run: Run, wanted: Launch, error: type[Exception]) -> None:
    async with run() as supervisor:
        with pytest.raises(error):
            await supervisor.create(wanted, ACTOR)
        assert supervisor.store.ids() == set()
        assert list(supervisor.engine.folders.ids()) == []


async def test_what_is_not_there(run: Run) -> None:
    async with run() as supervisor:
        for asked in (
            supervisor.get("none"),
            supervisor.join("none", 1),
            supervisor.end("none", "stop", ACTOR),
            supervisor.start_process("none", ACTOR),
            supervisor.relaunch("none", ACTOR),
            supervisor.delete("none", ACTOR),
        ):
            with pytest.raises(NotFound):
                await asked


async def test_a_command_of_the_settings_is_a_target(run: Run) -> None:
    async with run(commands={"shout": CommandSettings(run=("printf", "%s!"))}) as supervisor:
        process, _ = await supervisor.create(Launch("shout", ["hello"]), ACTOR)
        assert (await joined(supervisor, process)).exitcode == 0
        await until_says(supervisor, process, "hello!")


async def test_what_could_not_be_recorded_is_not_started(run: Run, tmp_path: Path) -> None:
    async with run() as supervisor:
        before = set(supervisor.engine.folders.ids())
        with breaking(supervisor, 1), pytest.raises(Unavailable):
            await launch(supervisor, "count", str(tmp_path / "count"))
        assert supervisor.store.ids() == set()
        assert set(supervisor.engine.folders.ids()) == before
        assert not (tmp_path / "count").exists()
        assert (await joined(supervisor, await launch(supervisor, "say"))).exitcode == 0


async def test_a_folder_does_not_stay_when_the_record_can_t_be_mended_either(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = failing(OperationalError("INSERT", {}, Exception("database or disk is full")))
    async with run() as supervisor:
        monkeypatch.setattr(ledger, "insert_process", full)
        monkeypatch.setattr(supervising, "delete_process", full)
        with pytest.raises(Unavailable):
            await launch(supervisor, "say", start=False)
        assert list(supervisor.engine.folders.ids()) == []


async def test_a_folder_that_can_t_be_made_leaves_no_record(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async with run() as supervisor:
        monkeypatch.setattr(run_folder, "create", failing(OSError(28, "No space left on device")))
        with pytest.raises(Unavailable):
            await launch(supervisor, "say")
        assert supervisor.store.ids() == set()
        assert supervisor.alive_count() == 0


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


# --- idempotency ----------------------------------------------------------------------------------------------------


async def test_twenty_requests_with_one_key_are_one_process(run: Run, tmp_path: Path) -> None:
    wanted = Launch("hostile:count", [str(tmp_path / "count")])
    async with run() as supervisor:
        answers = await asyncio.gather(*(supervisor.create(wanted, ACTOR, "key") for _ in range(20)))
        assert len({process.id for process, _ in answers}) == 1
        assert [made for _, made in answers].count(True) == 1
        await joined(supervisor, answers[0][0])
        assert len((tmp_path / "count").read_text().splitlines()) == 1
        again, made = await supervisor.create(wanted, ACTOR, "key")
        assert (again.id, made) == (answers[0][0].id, False)
        assert again.is_over


async def test_a_key_belongs_to_its_request(run: Run) -> None:
    async with run() as supervisor:
        await supervisor.create(Launch("hostile:say", ["one"]), ACTOR, "key")
        with pytest.raises(Invalid, match="another request"):
            await supervisor.create(Launch("hostile:say", ["two"]), ACTOR, "key")
        _, made = await supervisor.create(Launch("hostile:say", ["two"]), ACTOR, "another key")
        assert made


async def test_a_key_is_known_to_the_next_service(run: Run, tmp_path: Path) -> None:
    wanted = Launch("hostile:count", [str(tmp_path / "count")])
    async with run() as supervisor:
        first, _ = await supervisor.create(wanted, ACTOR, "key")
        await joined(supervisor, first)
    async with run() as supervisor:
        again, made = await supervisor.create(wanted, ACTOR, "key")
        assert (again.id, made) == (first.id, False)


async def test_a_client_that_hangs_up_leaves_no_half_a_launch(run: Run) -> None:
    async with run() as supervisor:
        asking = asyncio.ensure_future(launch(supervisor, "say"))
        await asyncio.sleep(0)
        asking.cancel()
        await until(lambda: supervisor.store.ids(), "it was not recorded")
        [process_id] = supervisor.store.ids()
        assert (await supervisor.join(process_id, SECONDS)).exitcode == 0


# --- ending ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "action", "exitcode"),
    [("until_stopped", "stop", 0), ("nap", "stop", -15), ("nap", "terminate", -15), ("nap", "kill", -9)],
)
async def test_ends(run: Run, target: str, action: str, exitcode: int) -> None:
    async with run() as supervisor:
        process = await launch(supervisor, target)
        asked = await supervisor.end(process.id, action, "Alice", reason="enough")
        assert asked.state in (State.STOPPING, State.EXITED)
        over = await joined(supervisor, process)
        assert (over.exitcode, over.outcome) == (exitcode, Outcome.STOPPED)
        assert over.asked is not None
        assert (over.asked["actor"], over.asked["action"], over.asked["reason"]) == ("Alice", action, "enough")
        with pytest.raises(Conflict):
            await supervisor.end(process.id, action, "Alice")


async def test_signals(run: Run) -> None:
    async with run() as supervisor:
        process = await launch(supervisor, "on_usr1")
        await until_says(supervisor, process, "ready")
        told = await supervisor.signal(process.id, "SIGUSR1", "Alice", reason=None, tree=False)
        assert told.detail["signals_sent"] == ["SIGUSR1"]
        over = await joined(supervisor, process)
        assert (over.exitcode, over.outcome) == (0, Outcome.SUCCEEDED)
        with pytest.raises(Conflict):
            await supervisor.signal(process.id, "SIGUSR1", "Alice", reason=None, tree=False)


async def test_a_signal_that_there_is_not_is_refused_with_the_reason(run: Run) -> None:
    async with run() as supervisor:
        process = await launch(supervisor, "nap")
        with pytest.raises(Invalid, match="SIGNONE"):
            await supervisor.signal(process.id, "SIGNONE", ACTOR, reason=None, tree=False)
        assert (await supervisor.get(process.id)).state is State.RUNNING


async def test_the_time_limit_is_told_as_such(run: Run) -> None:
    async with run() as supervisor:
        over = await joined(supervisor, await launch(supervisor, "nap", timeout=0.1))
        assert (over.outcome, over.exitcode) == (Outcome.TIMED_OUT, -15)


async def test_a_keeper_that_does_not_answer_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervising, "ANSWER_WITHIN", 0.2)
    async with run() as supervisor:
        process = await launch(supervisor, "nap")
        keeper = process.detail["keeper_pid"]
        os.kill(keeper, signal.SIGSTOP)
        try:
            with pytest.raises(Unavailable, match="does not answer"):
                await supervisor.end(process.id, "stop", ACTOR)
        finally:
            os.kill(keeper, signal.SIGCONT)
        # It was asked all the same, and does it when it can.
        assert (await joined(supervisor, process)).outcome is Outcome.STOPPED


async def test_deleting_takes_record_and_folder(run: Run) -> None:
    async with run() as supervisor:
        process = await launch(supervisor, "until_stopped")
        with pytest.raises(Conflict):
            await supervisor.delete(process.id, ACTOR)
        await supervisor.end(process.id, "stop", ACTOR)
        await joined(supervisor, process)
        await supervisor.delete(process.id, ACTOR)
        assert list(supervisor.engine.folders.ids()) == []
        with pytest.raises(NotFound):
            await supervisor.get(process.id)
        assert (await launch(supervisor, "say")).number == 2


async def test_one_of_starting_and_deleting_at_the_same_time_is_refused(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with run() as supervisor:
        process = await launch(supervisor, "say", start=False)
        reading = list[str]()
        is_read = asyncio.Event()

        async def get(process_id: str) -> Process:
            reading.append(process_id)
            await is_read.wait()  # so that one goes on right behind the other
            return process

        with monkeypatch.context() as patch:
            patch.setattr(supervisor, "get", get)
            works = (supervisor.delete(process.id, ACTOR), supervisor.start_process(process.id, ACTOR))
            ends = asyncio.gather(*works, return_exceptions=True)
            await until(lambda: len(reading) == 2, "not both are read")
            is_read.set()
            deleted, started = await ends
        assert isinstance(deleted, Conflict) != isinstance(started, NotFound), (deleted, started)
        if isinstance(deleted, Conflict):
            assert (await joined(supervisor, process)).exitcode == 0
        assert supervisor.store.damage() is None


async def test_one_that_is_deleted_while_its_start_reads_it_is_not_started(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with run() as supervisor:
        process = await launch(supervisor, "say", start=False)
        read, go = threading.Event(), threading.Event()
        get = supervisor.store.get

        def slowly(process_id: str) -> Process | None:
            found = get(process_id)
            if not read.is_set():
                read.set()
                go.wait(SECONDS)
            return found

        monkeypatch.setattr(supervisor.store, "get", slowly)
        starting = asyncio.create_task(supervisor.start_process(process.id, ACTOR))
        await until(read.is_set, "it is not read")
        try:
            with pytest.raises(Conflict, match="being started"):
                await supervisor.delete(process.id, ACTOR)
        finally:
            go.set()
        await starting
        assert (await joined(supervisor, process)).exitcode == 0
        assert supervisor.store.damage() is None


async def test_what_ended_while_the_record_was_read_is_not_taken_up_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with run() as supervisor:
        over = await joined(supervisor, await launch(supervisor, "say"))
        before = replace(over, state=State.RUNNING, outcome=None, exitcode=None, stopped_at=None)
        monkeypatch.setattr(supervisor.store, "active", lambda: [before])
        await supervisor._go_on()
        assert over.id not in supervisor._ledger.lives
        assert await supervisor.get(over.id) == over


async def test_a_launch_while_the_record_is_made_again_leaves_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with run() as supervisor:
        monkeypatch.setattr(supervisor.record, "_is_renewing", True)
        with pytest.raises(Unavailable, match="made again"):
            await launch(supervisor, "say")
        assert supervisor._ledger.lives == {}
        assert list(supervisor.engine.runs.iterdir()) == []


async def test_launching_again_gives_a_new_process_of_the_same_spec(run: Run) -> None:
    async with run() as supervisor:
        first = await joined(supervisor, await launch(supervisor, "say", "hi", 3, labels={"a": "b"}, env={"X": "1"}))
        second = await supervisor.relaunch(first.id, "Bob")
        over = await joined(supervisor, second)
        assert (over.origin_id, over.name, over.exitcode, over.requested_by) == (first.id, "Process-2", 3, "Bob")
        assert (over.spec["args"], over.spec["env"], over.labels) == (["hi", 3], {"X": "1"}, {"a": "b"})
        named = await launch(supervisor, "say", name="Alice")
        assert (await supervisor.relaunch(named.id, "Bob")).name == "Alice"


# --- the queue ------------------------------------------------------------------------------------------------------


async def test_at_most_so_many_at_once_and_the_others_in_their_order(run: Run, tmp_path: Path) -> None:
    gates = [tmp_path / str(number) for number in range(4)]
    async with run(max_processes=1, start_timeout=0.2) as supervisor:
        processes = [await launch(supervisor, "wait_for_file", str(gate)) for gate in gates]
        assert [process.state for process in processes] == [State.RUNNING, *[State.QUEUED] * 3]
        assert supervisor.alive_count() == 1
        for process, gate in zip(processes, gates, strict=True):
            gate.touch()
            assert (await joined(supervisor, process)).exitcode == 0
            assert supervisor.alive_count() <= 1
        began = [(await supervisor.get(process.id)).started_at for process in processes]
        assert began == sorted(began, key=str)


async def test_one_that_waits_can_be_cancelled(run: Run) -> None:
    async with run(max_processes=1, start_timeout=0.2) as supervisor:
        first, second, third = [await launch(supervisor, "nap") for _ in range(3)]
        cancelled = await supervisor.end(second.id, "stop", "Alice", reason="no more")
        assert (cancelled.state, cancelled.outcome, cancelled.pid) == (State.EXITED, Outcome.STOPPED, None)
        await supervisor.end(first.id, "kill", ACTOR)
        await until(lambda: supervisor.store.get(third.id).state is State.RUNNING, "the third does not start")  # type: ignore[union-attr]


async def test_a_full_queue_takes_nobody_until_somebody_leaves_it(run: Run) -> None:
    async with run(max_processes=1, max_queued=2, start_timeout=0.2) as supervisor:
        created = await launch(supervisor, "nap", start=False)
        alive = await launch(supervisor, "nap")
        queued = [await launch(supervisor, "nap") for _ in range(2)]
        before = supervisor.store.ids()
        with pytest.raises(Unavailable) as refused:
            await launch(supervisor, "nap")
        assert refused.value.headers["Retry-After"] == str(supervising.FULL_FOR)
        with pytest.raises(Unavailable):
            await supervisor.start_process(created.id, ACTOR)
        assert supervisor.store.ids() == before
        assert (await supervisor.get(created.id)).state is State.CREATED
        await supervisor.end(queued[0].id, "stop", ACTOR)
        assert supervisor.queued_count() == 1
        assert (await supervisor.start_process(created.id, ACTOR)).state is State.QUEUED
        async with asyncio.timeout(SECONDS):
            for process in (alive, queued[1], created):
                while (await supervisor.get(process.id)).state is not State.RUNNING:
                    await asyncio.sleep(0.005)
                await supervisor.end(process.id, "kill", ACTOR)
        assert supervisor.queued_count() == 0


async def test_a_long_queue_costs_one_count_and_one_who_waits_for_the_launcher(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "slow.py"
    slow.write_text("import time\ntime.sleep(0.3)\ndef nap():\n    time.sleep(1000)\n")
    counts: list[str] = []
    waits: list[str] = []
    count, wait_ready = Supervisor.alive_count, LocalEngine.wait_ready

    def counted(self: Supervisor) -> int:
        counts.append("")
        return count(self)

    async def waited(self: LocalEngine, environment: str, *more: Any) -> None:
        waits.append(environment)
        await wait_ready(self, environment, *more)

    monkeypatch.setattr(Supervisor, "alive_count", counted)
    monkeypatch.setattr(LocalEngine, "wait_ready", waited)
    async with run(targets=(str(slow),), max_processes=3, start_timeout=0.5) as supervisor:
        [launcher] = [env.current for env in supervisor.engine.environments.values()]
        assert launcher is not None
        kill(launcher.pid)
        await until(supervisor.engine.environments_not_ready, "its end was not seen")
        queued = await asyncio.gather(*(supervisor.create(Launch("slow:nap"), ACTOR) for _ in range(20)))
        await until(lambda: supervisor.queued_count() == 17, "three do not start")
        assert waits == ["default"]
        alive = [process.id for process, _ in sorted(queued, key=lambda item: item[0].number)][:3]
        assert {live.id for live in supervisor.store.active() if live.state is not State.QUEUED} <= set(alive)
        counts.clear()
        await supervisor.end(alive[0], "kill", ACTOR)
        await until(lambda: supervisor.queued_count() == 16, "the next does not start")
        assert len(counts) < 5


async def test_launches_wait_for_their_launcher(run: Run, tmp_path: Path) -> None:
    slow = tmp_path / "slow.py"
    slow.write_text("import time\ntime.sleep(0.3)\ndef work():\n    return 1\n")
    async with run(targets=(str(slow),)) as supervisor:
        [launcher] = [env.current for env in supervisor.engine.environments.values()]
        assert launcher is not None
        kill(launcher.pid)
        await until(supervisor.engine.environments_not_ready, "its end was not seen")
        process, _ = await supervisor.create(Launch("slow:work"), ACTOR)
        assert (await joined(supervisor, process)).result == 1


async def test_who_waits_for_room_is_not_forgotten_when_the_launcher_is_away_just_then(
    run: Run, tmp_path: Path
) -> None:
    slow = tmp_path / "slow.py"
    slow.write_text("import time\ntime.sleep(0.3)\ndef nap():\n    time.sleep(1000)\n")
    async with run(targets=(str(slow),), max_processes=1, start_timeout=0.5) as supervisor:
        first, _ = await supervisor.create(Launch("slow:nap"), ACTOR)
        second, _ = await supervisor.create(Launch("slow:nap"), ACTOR)
        assert second.state is State.QUEUED
        [launcher] = [env.current for env in supervisor.engine.environments.values()]
        assert launcher is not None
        kill(launcher.pid)
        await until(supervisor.engine.environments_not_ready, "its end was not seen")
        await supervisor.end(first.id, "kill", ACTOR)
        await joined(supervisor, first)
        await until(lambda: supervisor.store.get(second.id).state is State.RUNNING, "forgotten")  # type: ignore[union-attr]


async def test_an_unknown_target_is_not_judged_before_all_are_imported(run: Run) -> None:
    async with run(ready=False) as supervisor:
        with pytest.raises(Unavailable):
            await supervisor.create(Launch("hostile:say"), ACTOR)


async def test_an_environment_without_an_interpreter_says_so(run: Run) -> None:
    broken = {"science": EnvironmentSettings(python="/no/such/python", targets=("theirs",))}
    async with run(ready=False, environments=broken) as supervisor:
        await until(lambda: supervisor.catalogue.get("theirs"), "not in the catalogue")
        entry = supervisor.catalogue.get("theirs")
        assert entry is not None
        assert "/no/such/python can't be run" in entry["error"]
        with pytest.raises(Invalid):
            await supervisor.create(Launch("theirs"), ACTOR)


async def test_an_unknown_target_is_judged_although_one_environment_never_comes_up(run: Run) -> None:
    broken = {"science": EnvironmentSettings(python="/no/such/python", targets=("theirs",))}
    async with run(ready=False, environments=broken) as supervisor:
        await until(lambda: not supervisor.engine.environments_unheard(), "nothing was told")
        assert supervisor.engine.environments_not_ready() == ["science"]
        with pytest.raises(Invalid, match="no target"):
            await supervisor.create(Launch("hostile:missing"), ACTOR)


# --- adoption -------------------------------------------------------------------------------------------------------


async def test_the_next_service_adopts_what_lives_and_learns_what_ended(run: Run, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with run() as supervisor:
        lives = await launch(supervisor, "until_stopped")
        ends = await launch(supervisor, "wait_for_file", str(gate), 5)
        await until_says(supervisor, lives, "waiting")
    assert is_alive(lives.pid or 0)
    gate.touch()
    await until(lambda: not is_alive(ends.detail["keeper_pid"]), "its keeper does not end")
    async with run(ready=False) as supervisor:
        over = await joined(supervisor, ends)
        assert (over.state, over.exitcode, over.outcome) == (State.EXITED, 5, Outcome.FAILED)
        assert over.stopped_at is not None
        assert (await supervisor.get(lives.id)).state is State.RUNNING
        await supervisor.end(lives.id, "stop", ACTOR)
        assert (await joined(supervisor, lives)).exitcode == 0
        assert states(supervisor, lives) == ["created", "queued", "starting", "running", "stopping", "exited"]


async def test_a_lost_database_is_made_anew_from_the_folders(run: Run, data_dir: Path) -> None:
    async with run() as supervisor:
        over = await joined(supervisor, await launch(supervisor, "leave_at_once", 9, labels={"a": "b"}))
        lives = await launch(supervisor, "nap")
        never = await launch(supervisor, "nap", start=False)
    for path in data_dir.glob("procdeck.db*"):
        path.unlink()
    async with run() as supervisor:
        found = await supervisor.get(over.id)
        assert replace(found, created_at=over.created_at) == replace(
            over, detail=found.detail, seq=found.seq, disk_bytes=found.disk_bytes
        )
        assert (await supervisor.get(lives.id)).state is State.RUNNING
        assert (await supervisor.get(never.id)).state is State.CREATED
        assert (await launch(supervisor, "say")).number == 4
        page, _ = supervisor.store.page(Filter(labels=[("a", "b")]), 10)
        assert [process.id for process in page] == [over.id]
        await supervisor.end(lives.id, "kill", ACTOR)
        assert (await joined(supervisor, lives)).exitcode == -9


async def test_a_folder_that_can_t_be_understood_is_kept_aside(run: Run, data_dir: Path) -> None:
    strange = data_dir / "runs" / "strange"
    strange.mkdir(parents=True)
    (strange / "spec.json").write_text('{"id": "strange"}')
    (data_dir / "runs" / "empty").mkdir()
    async with run() as supervisor:
        assert supervisor.store.ids() == set()
        assert (await joined(supervisor, await launch(supervisor, "say"))).exitcode == 0
        [trouble] = supervisor.troubles.present()
        assert "strange" in trouble.sentence
    assert (data_dir / "quarantine" / "strange" / "spec.json").exists()
    assert not (data_dir / "runs" / "empty").exists()


async def test_who_was_queued_when_the_service_ended_goes_on_waiting(run: Run, tmp_path: Path) -> None:
    counted = tmp_path / "count"
    async with run(max_processes=1, start_timeout=0.2) as supervisor:
        first = await launch(supervisor, "nap")
        waits = await launch(supervisor, "count", str(counted))
        assert waits.state is State.QUEUED
    async with run(max_processes=1, start_timeout=0.2) as supervisor:
        assert (await supervisor.get(waits.id)).state is State.QUEUED
        assert (await supervisor.get(first.id)).state is State.RUNNING
        await supervisor.end(first.id, "kill", ACTOR)
        assert (await joined(supervisor, waits)).outcome is Outcome.SUCCEEDED
    assert len(counted.read_text().splitlines()) == 1


async def test_what_was_being_refused_when_the_service_was_killed_is_not_started(run: Run) -> None:
    async with run(max_processes=1, start_timeout=0.2) as supervisor:
        await launch(supervisor, "nap")
        waits = await launch(supervisor, "say")
        folder = supervisor.engine.folder(waits.id)
    claimed = run_folder.claim(str(folder))
    assert claimed is not None
    os.close(claimed)
    async with run() as supervisor:
        over = await joined(supervisor, waits)
        assert (over.outcome, over.exitcode, over.pid) == (Outcome.NOT_STARTED, None, None)
        assert over.error is not None


# --- what is lost ---------------------------------------------------------------------------------------------------


# --- a database that does not take it -------------------------------------------------------------------------------


class breaking:  # noqa: N801 - read as a verb
    """While the context lasts the first so many jobs of the writer fail, as when the disk is full."""

    def __init__(self, supervisor: Supervisor, times: int) -> None:
        self.writer = supervisor.store.writer
        self.left = times
        self.failed = 0
        self._run = self.writer.run

    async def run(self, job: Job[Any]) -> Any:
        if self.left:
            self.left -= 1
            self.failed += 1
            raise OperationalError("INSERT", {}, Exception("database or disk is full"))
        return await self._run(job)

    def __enter__(self) -> "breaking":
        self.writer.run = self.run  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        self.writer.run = self._run  # type: ignore[method-assign]


async def test_what_could_not_be_saved_is_saved_later_and_told_only_then(run: Run, tmp_path: Path) -> None:
    async with run() as supervisor:
        process = await launch(supervisor, "wait_for_file", str(tmp_path / "gate"), 4)
        await until(lambda: supervisor.store.get(process.id).state is State.RUNNING, "not running")  # type: ignore[union-attr]
        told = supervisor.broadcaster.last_id
        with breaking(supervisor, 3) as broken:
            (tmp_path / "gate").touch()
            await until(lambda: broken.failed, "nothing was saved")
            assert supervisor.broadcaster.last_id == told
            assert (await supervisor.get(process.id)).state is State.RUNNING
            over = await joined(supervisor, process)
            assert broken.failed == 3
        assert (over.exitcode, supervisor.store.get(process.id)) == (4, over)
        assert states(supervisor, process)[-2:] == ["running", "exited"]


class forgetting(breaking):  # noqa: N801 - read as a verb
    """While the context lasts the first so many jobs of the writer are done, and their answers are lost."""

    async def run(self, job: Job[Any]) -> Any:
        if self.left:
            self.left -= 1
            self.failed += 1
            await self._run(job)
            raise OSError(errno.EIO, "Input/output error")
        return await self._run(job)


async def test_a_commit_whose_answer_was_lost_is_recognised(run: Run, tmp_path: Path) -> None:
    async with run() as supervisor:
        process = await launch(supervisor, "wait_for_file", str(tmp_path / "gate"), 4)
        await until(lambda: supervisor.store.get(process.id).state is State.RUNNING, "not running")  # type: ignore[union-attr]
        with forgetting(supervisor, 1) as broken:
            (tmp_path / "gate").touch()
            over = await joined(supervisor, process)
            assert broken.failed == 1
        assert (over.exitcode, supervisor.store.get(process.id)) == (4, over)
        assert states(supervisor, process)[-2:] == ["running", "exited"]
        assert supervisor.store.damage() is None


# --- what keepers tell ----------------------------------------------------------------------------------------------


async def test_a_journal_with_a_gap_is_believed_to_its_end(run: Run, data_dir: Path) -> None:
    """A full disk kept an entry from the journal, and the service was not there to hear it."""
    async with run(max_processes=1, start_timeout=0.2) as supervisor:
        process = await launch(supervisor, "nap", start=False)
        folder = supervisor.engine.folder(process.id)
    claimed = run_folder.claim(str(folder))
    assert claimed is not None
    os.close(claimed)
    keeper = FakeKeeper(folder, process.id)
    keeper.record("started", "launcher", pid=2**22 + 5, keeper_pid=2**22 + 4, start_ticks=1, boot_id="b")
    keeper.journal.seq += 1
    keeper.record("stopped", exitcode=6, duration=1.0)
    os.close(keeper.journal.fd)
    for path in data_dir.glob("procdeck.db*"):
        path.unlink()
    async with run() as supervisor:
        over = await supervisor.get(process.id)
        assert (over.state, over.exitcode, over.journal_seq) == (State.EXITED, 6, 3)


async def test_a_peer_that_talks_nonsense_is_hung_up_on(run: Run, data_dir: Path) -> None:
    async with run() as supervisor:
        process = await launch(supervisor, "nap")
        for nonsense in (b"\xff\xff\xff\xff", b"\0\0\0\2{}", b"\0\0\0\x10" + b'{"type":"entry"}'):
            reader, writer = await asyncio.open_unix_connection(str(data_dir / "service.sock"))
            writer.write(nonsense)
            async with asyncio.timeout(SECONDS):
                assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
        assert (await supervisor.get(process.id)).state is State.RUNNING
        assert supervisor.engine.is_connected(process.id)


async def test_a_keeper_of_a_process_that_nobody_knows_is_no_trouble(run: Run, data_dir: Path) -> None:
    folder = data_dir / "runs" / "unknown"
    async with run() as supervisor:
        folder.mkdir()
        keeper = FakeKeeper(folder, "unknown")
        await keeper.connect(data_dir / "service.sock")
        await keeper.say("entry", entry=keeper.record("stopped", exitcode=0))
        await keeper.say("sample", sample={})
        await until(lambda: supervisor.engine.is_connected("unknown"), "not connected")
        await keeper.close()
        await until(lambda: not supervisor.engine.is_connected("unknown"), "still connected")
        os.close(keeper.journal.fd)


async def test_progress_and_measurements_are_shown_while_it_lives(run: Run) -> None:
    async with run() as supervisor:
        process = await launch(supervisor, "steps", 100)
        await until(lambda: supervisor.sample(process.id), "no sample")
        sample = supervisor.sample(process.id)
        assert sample is not None
        assert sample["rss_bytes"] > 0
        assert supervisor.recent_cpu(process.id)[-1] >= 0
        assert (await supervisor.usage(process.id)).points
        progress = (await supervisor.get(process.id)).progress
        assert progress is not None
        assert 0 < progress["fraction"] <= 1
        assert supervisor.refresh([process])[0].progress is not None
        await supervisor.end(process.id, "kill", ACTOR)
        await joined(supervisor, process)
        assert supervisor.sample(process.id) is None
        assert supervisor.recent_cpu(process.id) == []
        used = await supervisor.usage(process.id)
        assert used.maximum is not None
        assert used.maximum.rss_bytes > 0
        with pytest.raises(NotFound):
            await supervisor.usage("nothing")


async def test_who_follows_a_log_is_woken_when_it_grows(run: Run, tmp_path: Path) -> None:
    async with run() as supervisor:
        process = await launch(supervisor, "tick", str(tmp_path / "truth"))
        async with supervisor.log_followed(process.id) as live:
            assert live is not None
            for _ in range(3):
                assert await live.log_grew.wait(SECONDS)
        await supervisor.end(process.id, "kill", ACTOR)
        await joined(supervisor, process)
        async with supervisor.log_followed(process.id) as nobody:
            assert nobody is None


# --- events ---------------------------------------------------------------------------------------------------------


async def test_every_change_is_an_event_after_it_is_recorded(run: Run) -> None:
    async with run() as supervisor:
        events = supervisor.broadcaster.events(0)
        process = await joined(supervisor, await launch(supervisor, "say"))
        ids: list[int] = []
        async with asyncio.timeout(SECONDS):
            while len(ids) < 5:
                event = await anext(events)
                ids.append(event.id)
        assert ids == [recorded.id for recorded in supervisor.store.events_after(0, 10)]
        assert len(states(supervisor, process)) == 5
        supervisor.stop_launching()
    async with asyncio.timeout(SECONDS):
        assert [event async for event in events] == []


async def test_a_reader_too_far_behind_is_told_to_start_over(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcasting, "TOO_FAR", 5)
    async with run() as supervisor:
        for _ in range(2):
            await joined(supervisor, await launch(supervisor, "say"))
        assert await anext(supervisor.broadcaster.events(0)) == Reset(supervisor.broadcaster.last_id)
        near = await anext(supervisor.broadcaster.events(supervisor.broadcaster.last_id - 5))
        assert near.id == supervisor.broadcaster.last_id - 4


async def test_events_of_deleted_processes_are_missed_by_nobody(run: Run) -> None:
    async with run() as supervisor:
        process = await joined(supervisor, await launch(supervisor, "say"))
        await supervisor.delete(process.id, ACTOR)
    async with run() as supervisor:
        waiting = asyncio.ensure_future(anext(supervisor.broadcaster.events(1)))
        await launch(supervisor, "say")
        async with asyncio.timeout(SECONDS):
            assert (await waiting).id > 5


# --- the end of the service -----------------------------------------------------------------------------------------


async def test_leaving_ends_daemonic_processes_and_no_others(run: Run) -> None:
    async with run(hurry=False, on_exit=OnExit.LEAVE) as supervisor:
        daemon, other = await launch(supervisor, "nap", daemon=True), await launch(supervisor, "nap")
    assert not is_alive(daemon.pid or 0)
    assert is_alive(other.pid or 0)
    async with run(ready=False) as supervisor:
        over = await supervisor.get(daemon.id)
        assert (over.outcome, over.exitcode) == (Outcome.STOPPED, -15)
        assert over.asked is not None
        assert over.asked["reason"] == "the service is ending"


async def test_terminating_ends_everything_the_deaf_included(run: Run) -> None:
    async with run(hurry=False, on_exit=OnExit.TERMINATE, grace=0.2) as supervisor:
        nap, deaf = await launch(supervisor, "nap"), await launch(supervisor, "deaf")
        await until_says(supervisor, deaf, "deaf")
    assert not is_alive(nap.pid or 0)
    assert not is_alive(deaf.pid or 0)
    async with run(ready=False) as supervisor:
        assert [(await supervisor.get(one.id)).exitcode for one in (nap, deaf)] == [-15, -9]


async def test_waiting_ends_when_all_are_over_or_the_time_is_up_or_somebody_is_in_a_hurry(
    run: Run, tmp_path: Path
) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with run(hurry=False, on_exit=OnExit.WAIT, shutdown_timeout=60) as supervisor:
        brief = await launch(supervisor, "nap", 0.3)
    assert loop.time() - began < 30
    async with run(hurry=False, on_exit=OnExit.WAIT, shutdown_timeout=0.2) as supervisor:
        assert (await supervisor.get(brief.id)).exitcode == 0
        await launch(supervisor, "nap")
    async with run(hurry=True, on_exit=OnExit.WAIT, shutdown_timeout=60) as supervisor:
        assert supervisor.alive_count() == 1
    assert loop.time() - began < 30


async def test_who_waits_is_let_go_when_the_service_ends(run: Run) -> None:
    async with run() as supervisor:
        process = await launch(supervisor, "nap")
        joining = asyncio.ensure_future(supervisor.join(process.id, None))
        await asyncio.sleep(0)
        supervisor.stop_launching()
        async with asyncio.timeout(SECONDS):
            assert (await joining).state is State.RUNNING
        with pytest.raises(Unavailable):
            await launch(supervisor, "say")


async def test_reloading_keeps_what_runs(run: Run, tmp_path: Path) -> None:
    module = tmp_path / "changing.py"
    module.write_text("import time\ndef nap():\n    time.sleep(1000)\n")
    async with run(targets=(str(module),)) as supervisor:
        process, _ = await supervisor.create(Launch("changing:nap"), ACTOR)
        module.write_text("def added():\n    return 'new'\n")
        items = await supervisor.reload_targets(ACTOR)
        assert [item["name"] for item in items] == ["changing:added"]
        added, _ = await supervisor.create(Launch("changing:added"), ACTOR)
        assert (await joined(supervisor, added)).result == "new"
        assert is_alive(process.pid or 0)


async def test_a_changed_file_is_imported_anew_by_itself(run: Run, tmp_path: Path) -> None:
    module = tmp_path / "targets" / "changing.py"
    module.parent.mkdir()
    module.write_text("def before():\n    pass\n")
    async with run(targets=(str(module),), watch=True) as supervisor:
        await until(lambda: supervisor.catalogue.get("changing:before"), "not there")
        deadline = asyncio.get_running_loop().time() + SECONDS
        while supervisor.catalogue.get("changing:after") is None:
            assert asyncio.get_running_loop().time() < deadline, "the change was not seen"
            # Once more now and then: the watch begins some moments after the launcher is ready.
            module.write_text(f"def after():\n    pass\n# {asyncio.get_running_loop().time()}\n")
            await supervisor.catalogue_changed.wait(0.5)


@pytest.mark.anyio
async def test_a_process_of_an_environment_that_is_gone_holds_nobody_up(run: Run, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.py").write_text("def work() -> None:\n    pass\n")
    other = EnvironmentSettings(path=(str(tmp_path),), targets=("elsewhere",))
    async with run(environments={"other": other}) as supervisor:
        orphan, _ = await supervisor.create(Launch("elsewhere:work", start=False), ACTOR)
    async with run() as supervisor:
        refused = await supervisor.start_process(orphan.id, ACTOR)
        assert (refused.state, refused.outcome) == (State.EXITED, Outcome.NOT_STARTED)
        assert "other" in (refused.error or {})["message"]
        assert (await joined(supervisor, await launch(supervisor, "say"))).outcome is Outcome.SUCCEEDED


@pytest.mark.anyio
async def test_remains_that_do_not_die_hold_up_nobody(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though they keep every thread busy that there is to end such."""
    released = threading.Event()
    async with run() as supervisor:
        stuck = [await launch(supervisor, "nap") for _ in range(BURIALS_AT_ONCE + 1)]
        other, ended = await launch(supervisor, "nap"), await launch(supervisor, "nap")
        end_remains = supervisor.engine.end_remains

        def never(process: Process, since: float) -> int:
            if process.id in {one.id for one in stuck}:
                released.wait(SECONDS)
            return end_remains(process, since)

        monkeypatch.setattr(supervisor.engine, "end_remains", never)
        try:
            for process in stuck:
                kill(process.detail["keeper_pid"])
            await until(lambda: not any(is_alive(one.pid or 0) for one in stuck), "they live")
            kill(ended.pid or 0)
            assert (await joined(supervisor, ended)).exitcode == -9
            assert (await launch(supervisor, "say")).state in (State.RUNNING, State.EXITED)
            await supervisor.end(other.id, "kill", ACTOR)
            assert (await joined(supervisor, other)).exitcode == -9
            assert {(await supervisor.get(one.id)).state for one in stuck} == {State.RUNNING}
        finally:
            released.set()
        assert {(await joined(supervisor, one)).state for one in stuck} == {State.LOST}


async def test_a_folder_that_can_t_be_read_for_a_moment_says_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async with run() as supervisor:
        process = await launch(supervisor, "nap")
        examined: list[str] = []

        def exhausted(process_id: str) -> Evidence:
            examined.append(process_id)
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr(supervisor.engine, "examine", exhausted)
        monkeypatch.setattr(supervisor.engine, "is_connected", lambda _: False)
        await until(lambda: len(examined) > 2, "the folder was not looked at")
        assert (await supervisor.get(process.id)).state is State.RUNNING
        monkeypatch.undo()
        await supervisor.end(process.id, "kill", ACTOR)
        assert (await joined(supervisor, process)).exitcode == -9


@pytest.mark.anyio
async def test_a_run_folder_that_is_gone_is_a_process_that_is_lost(run: Run) -> None:
    async with run() as supervisor:
        process = await launch(supervisor, "nap")
        shutil.rmtree(supervisor.engine.folder(process.id))
        os.kill(process.detail["keeper_pid"], signal.SIGKILL)
        assert (await joined(supervisor, process)).outcome is Outcome.LOST


# --- counts ----------------------------------------------------------------------------------------------------------


async def test_the_tally_holds_after_ends_deletions_a_pruning_and_a_restart(run: Run) -> None:
    def is_exact(supervisor: Supervisor) -> bool:
        tally = supervisor.tally
        return tally.is_known and (tally.states, tally.outcomes) == supervisor.store.counts_by_state_and_outcome()

    async with run() as supervisor:
        assert is_exact(supervisor)
        over = [await joined(supervisor, await launch(supervisor, "steps", 1)) for _ in range(3)]
        await joined(supervisor, await launch(supervisor, "say", "no", 3))
        living = await launch(supervisor, "take_one_s_time")
        await launch(supervisor, "steps", 1, start=False)
        assert supervisor.tally.states == {State.EXITED: 4, State.RUNNING: 1, State.CREATED: 1}
        assert (supervisor.tally.failed_since(), supervisor.tally.succeeded_since()) == (1, 3)
        await supervisor.delete(over[0].id, ACTOR)
        assert supervisor.tally.succeeded_since() == 2
        await until(lambda: len(supervisor.store.unmeasured(0, 9)) == 0, "they are not measured")
        await supervisor.prune(Limits(per_target=1), None, dry_run=False, actor=ACTOR)
        assert supervisor.tally.states[State.EXITED] < 3
        assert is_exact(supervisor)
    async with run() as supervisor:
        assert is_exact(supervisor)
        await supervisor.end(living.id, "kill", ACTOR, tree=True)
        await joined(supervisor, living)
        assert is_exact(supervisor)
        assert supervisor.tally.outcomes[Outcome.STOPPED] == 1
