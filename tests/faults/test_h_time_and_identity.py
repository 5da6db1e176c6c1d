"""Section H: the clock jumps, everything stands still for a while, and pids come again."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from procdeck import posix
from tests.container import NEEDED, UNSHARE, container
from tests.deployment import ROOT
from tests.faults.inject import Clock, paused
from tests.faults.invariants import every, hold
from tests.runtime import is_alive
from tests.service import HOSTILE, JSON, Service
from tests.waiting import wait_until

HOUR, DAY = 3600, 86400
TO_2040 = 14 * 365 * DAY
"""Behind the year in which 32 bits of seconds are full."""


def test_f86_the_clock_jumps(tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    service = Service(tmp_path, [HOSTILE], environ=clock.environ)
    try:
        through_all = service.start().launch("hostile:nap")
        for jump in (-HOUR, DAY, TO_2040, 0):
            over = service.launch("hostile:wait_for_file", str(tmp_path / f"gate.{jump}"))
            deaf = service.launch("hostile:deaf", grace=0.3)
            service.wait_for_log(deaf, "deaf")
            service.post(deaf, "stop")
            clock.jump(jump)
            (tmp_path / f"gate.{jump}").touch()
            check_the_new_time(service, over, deaf)
            pages_are_well(service, through_all)
        assert service.get(through_all)["state"] == "running"
        # A service that was killed comes back in another time; what runs is the same to it.
        daemon = service.launch("hostile:nap", daemon=True)
        service.kill()
        clock.jump(-DAY)
        service.start()
        assert [service.get(process)["state"] for process in (through_all, daemon)] == ["running", "running"]
        processes = hold(service)
        assert [process["number"] for process in processes] == list(range(len(processes), 0, -1))
        assert len({process["id"] for process in processes}) == len(processes)
        service.post(through_all, "kill")
        assert service.join(through_all)["duration"] < HOUR
    finally:
        service.close()


def check_the_new_time(service: Service, over: JSON, deaf: JSON) -> None:
    """What was measured over the jump, and what begins behind it, has the length that it has."""
    for process, code in ((over, 0), (deaf, -9)):
        ended = service.join(process)
        assert ended["exitcode"] == code
        assert 0 <= ended["duration"] < HOUR
    limited = service.join(service.launch("hostile:nap", timeout=0.2))
    assert (limited["outcome"], limited["exitcode"]) == ("timed_out", -15)
    assert 0 <= limited["duration"] < HOUR
    joined = service.client.post(f"/processes/{every(service)[-1]['id']}/join", params={"timeout": 0.2}).json()
    assert joined["is_alive"]


def pages_are_well(service: Service, process: JSON) -> None:
    """List, page, history and log of a process that lives through the jumps."""
    assert service.get(process)["duration"] >= 0
    with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {service.token}"}) as client:
        for path in ("/processes", f"/processes/{process['id']}", "/targets", "/metrics", "/readyz"):
            assert client.get(path).status_code == 200, path


def test_f86_a_session_outlives_an_hour_and_not_a_day(tmp_path: Path) -> None:
    """How long a browser may be idle is a matter of the clock on the wall."""
    clock = Clock(tmp_path)
    service = Service(tmp_path, [HOSTILE], environ=clock.environ)
    try:
        service.start()
        with browser_of(service) as browser:
            for jump in (HOUR, -HOUR, 0):
                clock.jump(jump)
                assert is_signed_in(browser)
            clock.jump(DAY)
            assert not is_signed_in(browser)
        clock.jump(TO_2040)
        with browser_of(service) as of_the_future:
            clock.jump(0)
            # It began in a time that is not, and would be good for fourteen years.
            assert not is_signed_in(of_the_future)
    finally:
        service.close()


@contextmanager
def browser_of(service: Service) -> Iterator[httpx.Client]:
    """A browser that has just signed in."""
    with httpx.Client(base_url=service.url, headers={"Origin": service.url, "Accept": "text/html"}) as browser:
        answer = browser.post("/login", data={"token": service.token})
        assert answer.status_code == 303, answer.text
        assert is_signed_in(browser)
        yield browser


def is_signed_in(browser: httpx.Client) -> bool:
    """Whether its session is good."""
    told: bool = browser.get("/login", headers={"Accept": "application/json"}).json()["signed_in"]
    return told


def test_f87_the_whole_tree_stands_still(hostile: Service) -> None:
    """A suspended machine, as near as signals come to it: nothing is lost, ended or told twice."""
    daemon, process = hostile.launch("hostile:nap", daemon=True), hostile.launch("hostile:nap")
    truth = hostile.folder / "truth"
    talker = hostile.launch("hostile:tick_until", str(truth), str(hostile.folder / "gate"))
    hostile.wait_for_log(talker, "0")
    tree = sorted({hostile.pid, *posix.descendants(hostile.pid), *hostile.tree_pids()})
    with paused(*tree):
        # Longer than the service waits between two looks at its run folders.
        subprocess.run(["sleep", "4"], check=True)
    (hostile.folder / "gate").touch()
    assert hostile.join(talker)["exitcode"] == 0
    assert hostile.log(talker) == truth.read_text()
    for living in (daemon, process):
        assert [row["to"] for row in hostile.transitions(living)] == ["created", "queued", "starting", "running"]
    hold(hostile)


# --- pids -----------------------------------------------------------------------------------------------------------


class TestPids:
    """What needs namespaces of its own."""

    pytestmark = NEEDED

    def test_f88_a_stranger_with_the_pid_of_a_dead_process_is_left_alone(self, tmp_path: Path) -> None:
        command = [*UNSHARE, "tini", "--", sys.executable, "-m", "tests.faults.reused_pids", str(tmp_path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def test_f89_a_killed_container_leaves_lost_processes_and_invents_no_code(self, tmp_path: Path) -> None:
        with container(tmp_path) as first:
            over = first.join(first.launch("orphans", 0))
            running = first.launch_and_await_ready("wait")
            pid = first.process(running)["pid"]
            first.kill()

        # The boot is the same, and so are the numbers: here they stand for other processes, the service itself among
        # them.
        with container(tmp_path) as second:
            wait_until(lambda: second.process(running)["state"] == "lost", 10, "still taken for alive")
            record = second.process(running)
            assert (record["outcome"], record["exitcode"], record["is_alive"]) == ("lost", None, False)
            assert second.process(over["id"])["exitcode"] == over["exitcode"] == 7
            again = second.launch_and_await_ready("wait")
            assert abs(second.process(again)["pid"] - pid) < 100
            assert second.join(second.launch("orphans", 0))["exitcode"] == 7
            assert is_alive(second.outer_pid(second.process(again)["pid"]))
