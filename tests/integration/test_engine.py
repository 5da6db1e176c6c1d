"""The local engine alone: its folders, its socket, its launchers."""

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.errors import DataFolderUnusable
from app.lifecycle import Process
from app.settings import EnvironmentSettings, Settings
from app.supervisor.connection import KeeperConnection
from app.supervisor.engine import LocalEngine, NotStarted
from app.supervisor.launchers import configs
from app.supervisor.remains import Marks, end_remains
from procdeck import run_folder
from procdeck.protocol import Message
from procdeck.states import State
from tests.fakes import SPEC, FakeKeeper, a_process
from tests.runtime import HOSTILE, kill

pytestmark = pytest.mark.anyio

SECONDS = 15.0


class Listener:
    """Notes what keepers say, as the supervisor would."""

    def __init__(self) -> None:
        self.engine: LocalEngine
        self.messages: list[tuple[str, Message]] = []
        self.gone: list[str | None] = []
        self.exits: list[str] = []

    def keeper_connected(self, connection: KeeperConnection, hello: Message) -> None:
        self.engine.connected(connection)
        self.keeper_said(connection.process_id or "", hello)

    def keeper_said(self, process_id: str, message: Message) -> None:
        self.messages.append((process_id, message))

    def keeper_gone(self, connection: KeeperConnection) -> None:
        if self.engine.disconnected(connection):
            self.gone.append(connection.process_id)

    def told(self, process_id: str, event: str) -> bool:
        entries = (m.get("entry") or m.get("last_entry") for who, m in self.messages if who == process_id)
        return any(entry and entry["event"] == event for entry in entries)


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "data"
    folder.mkdir()
    yield folder
    for run in (folder / "runs").glob("*"):
        end_remains(Marks(run.name, run, None, None))


def made(data_dir: Path, listener: Listener, **changes: Any) -> LocalEngine:
    settings = Settings(data_dir=data_dir, watch=False, **{"targets": (str(HOSTILE),)} | changes)
    launchers = configs(settings, (), 1024)
    listener.engine = LocalEngine(settings, launchers, listener, lambda *_: None, listener.exits.append)
    return listener.engine


@asynccontextmanager
async def running(data_dir: Path, **changes: Any) -> AsyncIterator[tuple[LocalEngine, Listener]]:
    listener = Listener()
    engine = made(data_dir, listener, **changes)
    await engine.start()
    try:
        yield engine, listener
    finally:
        await engine.close()


async def until(condition: Any, message: str) -> None:
    try:
        async with asyncio.timeout(SECONDS):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(message) from None


def process_of(id_: str, target: str, *args: Any, **spec: Any) -> Process:
    spec = {**SPEC, "id": id_, "target": f"hostile:{target}", "args": list(args), "kwargs": {}, "grace": 0.2} | spec
    return replace(a_process(State.STARTING), id=id_, spec=spec)


async def launched(engine: LocalEngine, id_: str, target: str, *args: Any) -> Process:
    process = process_of(id_, target, *args)
    engine.create(process)
    await engine.launch(process)
    return process


async def test_a_launch_from_folder_to_end(data_dir: Path) -> None:
    async with running(data_dir) as (engine, listener):
        await launched(engine, "one", "say", "hello")
        await until(lambda: listener.told("one", "stopped"), "the end was not told")
        await until(lambda: listener.gone == ["one"], "it is still connected")
        evidence = engine.examine("one")
        assert [entry["event"] for entry in evidence.entries] == ["started", "stopped"]
        assert evidence.is_claimed
        await until(lambda: not engine.examine("one").is_kept, "its keeper lives on")
        assert list(engine.folders.ids()) == ["one"]
        assert run_folder.read_spec(str(engine.folder("one")))["id"] == "one"
        assert engine.read_log("one", 0).data.endswith(b" stdout F hello\n")
        assert engine.log_extent("one") == (0, engine.read_log("one", 0).end)
        assert engine.log_tail_offset("one", 1) == 0


async def test_commands_reach_the_keeper_while_it_is_connected(data_dir: Path) -> None:
    async with running(data_dir) as (engine, listener):
        assert not engine.send("one", "end", request=1)
        await launched(engine, "one", "nap")
        await until(lambda: engine.is_connected("one"), "not connected")
        assert engine.connected_count() == 1
        assert engine.send("one", "end", request=1, action="kill", actor="tester", grace=None, reason=None, tree=True)
        await until(lambda: listener.told("one", "stopped"), "not killed")


async def test_the_socket_and_the_folders_are_for_this_user_only(data_dir: Path) -> None:
    async with running(data_dir):
        assert stat.S_IMODE((data_dir / "service.sock").stat().st_mode) == 0o600
        assert stat.S_IMODE((data_dir / "runs").stat().st_mode) == 0o700
    assert not (data_dir / "service.sock").exists()


async def test_a_socket_that_a_killed_service_left_is_replaced(data_dir: Path) -> None:
    (data_dir / "service.sock").touch()
    async with running(data_dir) as (engine, listener):
        await launched(engine, "one", "say")
        await until(lambda: listener.told("one", "stopped"), "the end was not told")


def test_a_data_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataFolderUnusable):
        made(tmp_path / "file", Listener())


async def test_a_newer_connection_takes_the_place_of_the_older(data_dir: Path) -> None:
    async with running(data_dir) as (engine, listener):
        (data_dir / "runs" / "one").mkdir()
        keeper = FakeKeeper(data_dir / "runs" / "one", "one")
        await keeper.connect(data_dir / "service.sock")
        await until(lambda: engine.is_connected("one"), "not connected")
        newer = FakeKeeper(data_dir / "runs" / "one", "one")
        await newer.connect(data_dir / "service.sock")
        async with asyncio.timeout(SECONDS):
            assert await keeper.hear() == []
        assert engine.is_connected("one")
        assert listener.gone == []
        assert engine.send("one", "watch", on=True)
        async with asyncio.timeout(SECONDS):
            assert await newer.hear() == [{"type": "watch", "on": True}]
        for each in (keeper, newer):
            await each.close()
            os.close(each.journal.fd)
        await until(lambda: listener.gone == ["one"], "still connected")


async def test_refusing_and_keeping_exclude_each_other(data_dir: Path) -> None:
    async with running(data_dir) as (engine, listener):
        refused = process_of("refused", "say")
        engine.create(refused)
        entry = engine.refuse("refused", "tester", "no", {"action": "stop"})
        assert entry is not None
        assert (entry["event"], entry["actor"]) == ("not_started", "tester")
        assert engine.refuse("refused", "tester", "no", {}) is None
        await engine.launch(refused)  # its keeper finds it taken, and ends
        await until(lambda: listener.exits == ["refused"], "its keeper goes on")
        assert list(engine.examine("refused").entries) == [entry]
        await launched(engine, "kept", "nap")
        await until(lambda: engine.is_connected("kept"), "not connected")
        assert engine.refuse("kept", "tester", "no", {}) is None


async def test_a_refusal_that_can_t_be_written_keeps_nothing_open(data_dir: Path) -> None:
    async with running(data_dir) as (engine, _):
        engine.create(process_of("refused", "say"))
        Path(engine.folder("refused"), run_folder.JOURNAL).mkdir()
        before = sorted(Path("/proc/self/fd").iterdir())
        with pytest.raises(IsADirectoryError):
            engine.refuse("refused", "tester", "no", {"action": "stop"})
        assert sorted(Path("/proc/self/fd").iterdir()) == before


async def test_a_launcher_that_dies_meanwhile_is_followed_by_the_next(data_dir: Path) -> None:
    async with running(data_dir) as (engine, listener):
        await engine.wait_ready("default", asyncio.get_running_loop().time())
        launcher = engine.environments["default"].current
        assert launcher is not None
        process = process_of("one", "say")
        engine.create(process)
        launching = asyncio.ensure_future(engine.launch(process))
        kill(launcher.pid)
        async with asyncio.timeout(SECONDS):
            await launching
        await until(lambda: listener.told("one", "stopped"), "the end was not told")
        assert [entry["event"] for entry in engine.examine("one").entries] == ["started", "stopped"]


async def test_without_a_launcher_nothing_is_started(data_dir: Path) -> None:
    broken = {"default": EnvironmentSettings(python="/no/such/python")}
    async with running(data_dir, environments=broken, start_timeout=0.2, import_timeout=0.1) as (engine, _):
        assert engine.environments_not_ready() == ["default"]
        with pytest.raises(NotStarted, match="not ready within"):
            await engine.wait_ready("default", asyncio.get_running_loop().time())
        process = process_of("one", "say")
        engine.create(process)
        with pytest.raises(NotStarted, match="did not answer"):
            await engine.launch(process)


async def test_deleting_removes_the_folder_at_once_and_for_good(data_dir: Path) -> None:
    async with running(data_dir) as (engine, _):
        engine.create(process_of("one", "say"))
        engine.delete("one")
        engine.delete("one")
        engine.delete("never there")
        assert list(engine.folders.ids()) == []
        assert list((data_dir / "runs").iterdir()) == []


async def test_a_folder_that_is_being_removed_is_no_run(data_dir: Path) -> None:
    async with running(data_dir) as (engine, _):
        (data_dir / "runs" / ".one.deleted").mkdir()
        (data_dir / "runs" / "file").touch()
        assert list(engine.folders.ids()) == []


async def test_what_was_created_only_is_on_the_disk_at_once(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settled: list[str] = []
    monkeypatch.setattr(run_folder, "settle", settled.append)
    async with running(data_dir) as (engine, _):
        engine.create(replace(process_of("later", "say"), state=State.CREATED))
        engine.create(process_of("now", "say"))
    assert settled == [str(data_dir / "runs" / "later")]
