"""The service looks at its own situation."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.health import host, self_check
from app.health.host import Descriptors, Disk
from app.health.self_check import SelfCheck
from app.health.troubles import Troubles
from app.supervisor import launchers
from app.supervisor.launchers import Environment, LauncherConfig
from app.supervisor.supervisor import Supervisor

pytestmark = pytest.mark.anyio

WELL = Disk(10**12, 10**12, 10**9, 10**9)
FULL = Disk(10**6, 10**12, 10**9, 10**9)


def an_environment() -> Environment:
    config = LauncherConfig("other", "python", (), (), {}, True, 1.0, 1024)
    return Environment(config, Path("/nowhere"), lambda *_: None, lambda _: None)


class Machine:
    """What the service sees when it looks."""

    def __init__(self) -> None:
        self.disk: Disk | OSError = WELL
        self.descriptors = Descriptors(10, 1000)
        self.answers = threading.Event()
        self.answers.set()

    def look(self, folder: Path) -> Disk:
        assert self.answers.wait(10)
        if isinstance(self.disk, OSError):
            raise self.disk
        return self.disk


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine that is well."""
    machine = Machine()
    monkeypatch.setattr(host, "disk", machine.look)
    monkeypatch.setattr(host, "descriptors", lambda: machine.descriptors)
    monkeypatch.setattr(self_check, "ANSWER_WITHIN", 0.05)
    yield machine
    machine.answers.set()


class Looking:
    """A check, and the keys of the troubles after it."""

    def __init__(self, *environments: Environment) -> None:
        engine = SimpleNamespace(environments={env.config.name: env for env in environments})
        self.troubles = Troubles()
        self._check = SelfCheck(Path("/data"), cast(Supervisor, SimpleNamespace(engine=engine)), self.troubles)

    async def keys(self) -> list[str]:
        await self._check.check()
        return [trouble.key for trouble in self.troubles.present()]


async def test_what_gets_wrong_and_well_again(machine: Machine) -> None:
    looking = Looking()
    assert await looking.keys() == []
    machine.disk = FULL
    assert await looking.keys() == ["disk.space"]
    since = looking.troubles.present()[0].since
    machine.descriptors = Descriptors(990, 1000)
    assert await looking.keys() == ["disk.space", "descriptors"]
    assert looking.troubles.present()[0].since == since
    machine.disk, machine.descriptors = Disk(10**12, 10**12, 5, 10**6), Descriptors(10, 1000)
    assert await looking.keys() == ["disk.inodes"]
    machine.disk = OSError(5, "Input/output error")
    assert "disk.answer" in await looking.keys()
    machine.disk = WELL
    assert await looking.keys() == []


async def test_a_disk_that_does_not_answer_is_asked_once(machine: Machine) -> None:
    looking = Looking()
    machine.answers.clear()
    for _ in range(3):
        assert await looking.keys() == ["disk.answer"]
    machine.answers.set()
    async with asyncio.timeout(5):
        while await looking.keys():
            await asyncio.sleep(0.01)


async def test_a_launcher_that_does_not_come_up(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = an_environment()
    looking = Looking(environment)
    environment.failures, environment.last_failure = launchers.FAILURES - 1, "python can't be run"
    assert await looking.keys() == [], "an accident"
    environment.failures = launchers.FAILURES
    assert await looking.keys() == ["launcher.other"]
    assert "python can't be run" in looking.troubles.present()[0].sentence
    environment.current = cast(Any, object())
    environment._up_since = monotonic()
    assert await looking.keys() == ["launcher.other"], "up, and nobody knows for how long"
    monkeypatch.setattr(launchers, "LONG_LIFE", 0.0)
    assert await looking.keys() == []
