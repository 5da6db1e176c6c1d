"""An environment with real launchers."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from app.settings import Settings
from app.supervisor import launchers
from app.supervisor.launchers import Environment, LauncherProcess, configs, make_runtime
from tests.runtime import is_alive
from tests.waiting import wait_until

pytestmark = pytest.mark.anyio

HANGS_THE_SECOND_TIME = """
import subprocess, time
from pathlib import Path

mark = Path(__file__).with_suffix(".mark")
if mark.exists():
    mark.write_text(str(subprocess.Popen(["sleep", "1000"]).pid))
    time.sleep(1000)
mark.touch()
"""

IS_EDITED_WHILE_IT_IS_IMPORTED = """
from pathlib import Path

first, second = (Path(__file__).with_suffix(f".{number}") for number in (1, 2))
if first.exists() and not second.exists():
    second.touch()
    Path(__file__).write_text("def new() -> None: ...")
first.touch()


def old() -> None: ...
"""


def made(folder: Path, source: str, told: list[Any], **settings: Any) -> Environment:
    (folder / "jobs_of_a_test.py").write_text(source)
    [config] = configs(Settings(targets=(str(folder / "jobs_of_a_test.py"),), **settings), (), 1024)
    return Environment(config, make_runtime(folder), lambda _, entries: told.append(entries), lambda _: None)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The pids of all launchers."""
    pids: list[int] = []
    start = LauncherProcess.start

    async def noted(self: LauncherProcess, runtime: Path) -> None:
        await start(self, runtime)
        assert self.pid is not None
        pids.append(self.pid)

    monkeypatch.setattr(LauncherProcess, "start", noted)
    return pids


async def test_a_module_that_hangs_when_it_is_imported_for_good_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[int]
) -> None:
    monkeypatch.setattr(launchers, "START_WITHIN", 0.0)
    told: list[Any] = []
    environment = made(tmp_path, HANGS_THE_SECOND_TIME, told, import_timeout=1.0)
    async with asyncio.timeout(30):
        assert not await environment.reload()
    [[entry]] = told
    assert entry["error"].endswith("the launcher was not ready within 3 s, at the module jobs_of_a_test")
    helper = int((tmp_path / "jobs_of_a_test.mark").read_text())
    await asyncio.to_thread(wait_until, lambda: not any(map(is_alive, [*started, helper])), 10, "something is left")
    # Nor is the next one kept waiting.
    (tmp_path / "jobs_of_a_test.py").write_text("def work() -> None: ...")
    assert await environment.reload()
    environment.close()


async def test_what_hangs_does_not_outlive_the_service(tmp_path: Path, started: list[int]) -> None:
    environment = made(tmp_path, "import time; time.sleep(1000)", [])
    loading = asyncio.create_task(environment.reload())
    await asyncio.to_thread(wait_until, lambda: started, 10, "no launcher")
    loading.cancel()
    await asyncio.wait((loading,))
    await asyncio.to_thread(wait_until, lambda: not is_alive(started[0]), 10, "the launcher lives on")


async def test_a_change_during_the_import_is_not_missed(tmp_path: Path) -> None:
    told: list[Any] = []
    environment = made(tmp_path, IS_EDITED_WHILE_IT_IS_IMPORTED, told)
    tasks = [asyncio.create_task(task) for task in (environment.keep_alive(), environment.reload_on_change())]
    try:
        await asyncio.to_thread(wait_until, lambda: len(told) == 2, 20, "it is not imported anew")
    finally:
        environment.close()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    assert [[entry["name"] for entry in entries] for entries in told] == [
        ["jobs_of_a_test:old"],
        ["jobs_of_a_test:new"],
    ]
