"""One stuck process never delays an action on another: among two hundred, one is deaf and some have keepers that do not
answer."""

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from app.cli import codes
from tests.faults.inject import paused
from tests.faults.invariants import every, hold
from tests.runtime import is_alive, wait_gone
from tests.service import COMMAND, HOSTILE, JSON, Service
from tests.waiting import wait_until

MANY = 200
SILENT = 12
"""Keepers that do not answer: asked one after the other, they would hold up the rest for a minute."""
SOON = 40.0
"""Seconds; less than that."""


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Service]:
    """A service that runs two hundred processes."""
    service = Service(tmp_path, [HOSTILE])
    try:
        service.start().launch("hostile:nap", grace=0)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: service.launch("hostile:nap", grace=0), range(1, MANY)))
        yield service
    finally:
        service.close()


@contextmanager
def silent(*processes: JSON) -> Iterator[None]:
    """Stopped by a signal, with their keepers: to whoever asks them something, nobody answers."""
    with paused(*(pid for process in processes for pid in (process["detail"]["keeper_pid"], process["pid"]))):
        yield


def deaf(service: Service) -> JSON:
    """A process that takes ten minutes to be stopped."""
    process = service.launch("hostile:deaf", grace=600)
    service.wait_for_log(process, "deaf")
    return process


def living(service: Service) -> set[str]:
    """The ids of those that are alive by the record."""
    return {process["id"] for process in every(service) if process["is_alive"]}


def test_stopping_all_by_requests(crowd: Service) -> None:
    stubborn = deaf(crowd)
    processes = [process for process in every(crowd) if process["id"] != stubborn["id"]]
    stuck = processes[:: MANY // SILENT][:SILENT]
    url, headers = f"{crowd.url}/api/v1/processes", {"Authorization": f"Bearer {crowd.token}"}

    def stop(process: JSON) -> int:
        answer = httpx.post(f"{url}/{process['id']}/stop", headers=headers, timeout=60)
        return answer.status_code

    asked = [*stuck, stubborn, *(process for process in processes if process not in stuck)]
    with silent(*stuck):
        with ThreadPoolExecutor(SILENT + 4) as pool:
            answers = [pool.submit(stop, process) for process in asked]
            left = {process["id"] for process in [*stuck, stubborn]}
            wait_until(lambda: living(crowd) == left, SOON, lambda: f"{len(living(crowd))} are alive")
        statuses = [answer.result() for answer in answers]
        assert statuses == [503] * SILENT + [200] * (len(asked) - SILENT)
        assert crowd.join(crowd.launch("hostile:say"))["exitcode"] == 0
        assert crowd.get(stubborn)["state"] == "stopping"
        assert all(crowd.get(process)["is_alive"] for process in stuck)
    for process in stuck:  # they were asked, and do it as soon as they can
        assert crowd.join(process)["outcome"] == "stopped"
    crowd.post(stubborn, "kill")
    crowd.join(stubborn)
    hold(crowd)


@pytest.mark.parametrize("everybody", [True, False], ids=["all", "by-name"])
def test_stopping_all_on_the_command_line(crowd: Service, everybody: bool) -> None:
    stubborn = deaf(crowd)
    processes = every(crowd)
    stuck = [process for process in processes if process["id"] != stubborn["id"]][-SILENT:]
    words = ["--all"] if everybody else [process["id"] for process in reversed(processes)]
    left = {process["id"] for process in [*stuck, stubborn]}
    command = [str(COMMAND), "stop", *words, "--data-dir", str(crowd.data_dir)]
    with silent(*stuck):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as stopping:
            wait_until(lambda: living(crowd) == left, SOON, lambda: f"{len(living(crowd))} are alive")
            crowd.post(stubborn, "kill")  # `--all` waits for the end of those who will come to it
            out, errors = stopping.communicate(timeout=60)
        assert stopping.returncode == (codes.STILL_ALIVE if everybody else codes.TRY_LATER)
        for process in stuck:
            assert f"The keeper of {process['name']} does not answer" in errors
            assert crowd.get(process)["is_alive"]
        told = [line for line in out.splitlines() if "still" not in line]
        assert len(told) == MANY + 1 - SILENT
        if not everybody:  # in the order in which they were named
            numbers = [int(line.split(" ", 1)[0]) for line in told]
            assert numbers == sorted(numbers)
    for process in stuck:
        assert crowd.join(process)["outcome"] == "stopped"
    hold(crowd)


def test_the_end_of_the_service(tmp_path: Path) -> None:
    flags = ["--on-exit", "terminate", "--grace", "0.5", "--shutdown-timeout", "1"]
    service = Service(tmp_path, [HOSTILE], flags)
    try:
        service.start()
        others = [service.launch("hostile:nap") for _ in range(20)]
        stubborn = deaf(service)
        stuck = service.launch("hostile:nap")
        with silent(stuck), ThreadPoolExecutor(1) as pool:
            stopping = pool.submit(service.stop)
            for process in [*others, stubborn]:
                wait_gone(process["pid"])
            assert stopping.result() == 0
            assert "1 process(es) go on without the service" in service.text()
            assert is_alive(stuck["pid"])
        wait_gone(stuck["pid"])
        service.start()
        assert service.join(stuck)["outcome"] == "stopped"
        assert {service.get(process)["outcome"] for process in others} == {"stopped"}
        assert (service.get(stubborn)["outcome"], service.get(stubborn)["exitcode"]) == ("stopped", -9)
        hold(service)
    finally:
        service.close()


def test_the_start_of_the_service(tmp_path: Path) -> None:
    """Keepers that do not call are still there: the next service knows by their locks, and waits for none of them."""
    service = Service(tmp_path, [HOSTILE])
    try:
        service.start()
        stuck, other = service.launch("hostile:nap"), service.launch("hostile:nap")
        with silent(stuck):
            service.kill()
            service.start()
            service.post(other, "kill")
            assert service.join(other)["exitcode"] == -9
            assert service.get(stuck)["state"] == "running"
        service.post(stuck, "kill")
        assert service.join(stuck)["exitcode"] == -9
        hold(service)
    finally:
        service.close()
