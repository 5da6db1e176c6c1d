"""However a process comes to its end: nothing of its tree is left, and the record says who asked and why."""

import os
import re
import signal
from pathlib import Path

import pytest

from procdeck import posix
from tests.acceptance.sse import Reader
from tests.service import HOSTILE, JSON, Service
from tests.waiting import wait_until

PAUSED = "T"


def is_running(pid: int) -> bool:
    """Whether there is such a process, zombies not counted."""
    stat = posix.stat(pid)
    return stat is not None and stat.state != "Z"


def wait_until_gone(pid: int, seconds: float = 10) -> None:
    """Wait until there is no such process."""
    wait_until(lambda: not is_running(pid), seconds, f"{pid} lives on")


def descendant(service: Service, process: JSON, word: str) -> int:
    """The pid of the descendant that the process tells of."""
    service.wait_for_log(process, f"{word} ")
    found = re.search(rf"{word} (\d+)\n", service.log(process))
    assert found
    return int(found[1])


def steps(service: Service, process: JSON) -> list[tuple[str, str, str, str | None]]:
    """(from, to, actor, reason) of each change since it runs."""
    rows = [row for row in service.transitions(process) if row["from"] in ("running", "stopping")]
    return [(row["from"], row["to"], row["actor"], row["reason"]) for row in rows]


# --- nothing of the tree is left ------------------------------------------------------------------------------------

ENDINGS = {
    "stop": {"grace": 0.1},
    "terminate": {"tree": True, "grace": 0.1},
    "kill": {},
    "interrupt": {"grace": 0.1},
}


@pytest.mark.parametrize("action", ENDINGS)
@pytest.mark.parametrize(("target", "kwargs"), [("family", {"wait": True}), ("outsider", {})])
def test_nothing_of_the_tree_outlives_a_request(
    shared: Service, action: str, target: str, kwargs: dict[str, object]
) -> None:
    process = shared.launch(f"hostile:{target}", kwargs=kwargs)
    other = descendant(shared, process, "grandchild" if target == "family" else "outsider")
    shared.post(process, action, **ENDINGS[action])
    assert shared.join(process)["outcome"] == "stopped"
    wait_until_gone(other)


def test_nothing_of_the_tree_outlives_the_time_limit(shared: Service) -> None:
    process = shared.launch("hostile:family", kwargs={"wait": True}, timeout=1, grace=0.1)
    grandchild = descendant(shared, process, "grandchild")
    ended = shared.join(process)
    assert (ended["outcome"], ended["exitcode"]) == ("timed_out", -15)
    wait_until_gone(grandchild)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_the_exit_is_recorded_while_a_grandchild_lives_and_then_that_one_ends(shared: Service, method: str) -> None:
    process = shared.launch("hostile:family", kwargs={"code": 7}, start_method=method)
    grandchild = descendant(shared, process, "grandchild")
    ended = shared.join(process)
    assert is_running(
        grandchild
    )  # it ignores SIGTERM and holds stdout; neither the record nor the answer waited for it
    assert (ended["exitcode"], ended["outcome"], ended["detail"]["leftovers"]) == (7, "failed", 1)
    wait_until_gone(grandchild)
    wait_until(lambda: not is_running(ended["detail"]["keeper_pid"]), 10, "the keeper lives on")


def test_leftovers_may_be_kept_on_request(shared: Service) -> None:
    process = shared.launch("hostile:family", kwargs={"code": 0}, leftovers="keep")
    grandchild = descendant(shared, process, "grandchild")
    assert shared.join(process)["exitcode"] == 0
    swept = shared.launch("hostile:family", kwargs={"code": 0})
    wait_until_gone(descendant(shared, swept, "grandchild"))
    assert is_running(grandchild)
    os.kill(grandchild, signal.SIGKILL)
    wait_until(lambda: not is_running(process["detail"]["keeper_pid"]), 10, "the keeper lives on")


# --- asking ---------------------------------------------------------------------------------------------------------


def test_a_deaf_process_is_stopped_by_steps(shared: Service) -> None:
    process = shared.launch("hostile:deaf")
    shared.wait_for_log(process, "deaf")
    stopping = shared.post(process, "stop", grace=0.3, reason="enough of it")
    assert (stopping["state"], stopping["is_alive"]) == ("stopping", True)
    ended = shared.join(process)
    assert (ended["exitcode"], ended["signal"], ended["outcome"]) == (-9, "SIGKILL", "stopped")
    assert "stop by operator (enough of it); ended by SIGKILL" in ended["exit_summary"]
    assert steps(shared, process) == [
        ("running", "stopping", "operator", "enough of it"),
        ("stopping", "stopping", "keeper", "still alive after 0.3 s of grace"),
        ("stopping", "stopping", "keeper", "still alive after 0.3 s of grace"),
        ("stopping", "exited", "keeper", None),
    ]
    sent = [row["detail"].get("signal") for row in shared.transitions(process) if row["to"] == "stopping"]
    assert sent == [None, "SIGTERM", "SIGKILL"]


def test_a_process_that_looks_at_the_flag_stops_by_itself(shared: Service) -> None:
    process = shared.launch("hostile:until_stopped")
    shared.wait_for_log(process, "waiting")
    shared.post(process, "stop", grace=60)
    ended = shared.join(process)
    assert (ended["exitcode"], ended["outcome"], ended["result"]) == (0, "stopped", "stopped politely")


def test_a_paused_process_is_terminated(shared: Service) -> None:
    process = shared.launch("hostile:nap")
    os.kill(process["pid"], signal.SIGSTOP)
    wait_until(lambda: (stat := posix.stat(process["pid"])) and stat.state == PAUSED, 5, "it does not pause")
    shared.post(process, "terminate")
    assert shared.join(process)["exitcode"] == -15


@pytest.mark.parametrize(("target", "code"), [("nap", -15), ("deaf", -9)])
def test_the_time_limit(shared: Service, target: str, code: int) -> None:
    process = shared.launch(f"hostile:{target}", timeout=0.5, grace=0.2)
    ended = shared.join(process)
    assert (ended["outcome"], ended["exitcode"]) == ("timed_out", code)
    assert "time limit of 0.5 s" in ended["exit_summary"]
    assert steps(shared, process)[0] == ("running", "stopping", "keeper", "the time limit of 0.5 s is over")


def test_an_interrupt_is_a_keyboard_interrupt(shared: Service) -> None:
    process = shared.launch("hostile:until_stopped")
    shared.wait_for_log(process, "waiting")
    shared.post(process, "interrupt")
    ended = shared.join(process)
    assert (ended["exitcode"], ended["outcome"], ended["error"]["type"]) == (1, "stopped", "KeyboardInterrupt")


def test_a_signal_that_the_target_handles(shared: Service) -> None:
    process = shared.launch("hostile:on_usr1")
    shared.wait_for_log(process, "ready")
    shared.post(process, "signal", signal="SIGUSR1", reason="reread")
    ended = shared.join(process)
    assert (ended["exitcode"], ended["outcome"]) == (0, "succeeded")
    assert shared.log(process) == "ready\nusr1\n"
    assert steps(shared, process)[0] == ("running", "running", "operator", "reread")


def test_a_signal_of_ours_stops_and_one_of_a_stranger_crashes(shared: Service) -> None:
    ours, foreign = shared.launch("hostile:nap"), shared.launch("hostile:nap")
    shared.post(ours, "signal", signal="SIGUSR2")
    os.kill(foreign["pid"], signal.SIGUSR2)
    assert [(p["exitcode"], p["outcome"]) for p in map(shared.join, (ours, foreign))] == [
        (-signal.SIGUSR2, "stopped"),
        (-signal.SIGUSR2, "crashed"),
    ]


def test_kill_after_stop_does_not_wait_for_the_grace(shared: Service) -> None:
    process = shared.launch("hostile:deaf")
    shared.wait_for_log(process, "deaf")
    shared.post(process, "stop", grace=600)
    shared.post(process, "kill")
    ended = shared.join(process)
    assert ended["exitcode"] == -9
    assert "stop by operator" in ended["exit_summary"]  # who asked first


def test_signals_reach_the_child_with_default_dispositions(shared: Service) -> None:
    masks = shared.join(shared.launch("hostile:signals_in_force"))["result"]
    by_python = {signal.SIGPIPE, signal.SIGXFSZ}
    assert masks == {"SigBlk": 0, "SigIgn": sum(1 << (number - 1) for number in by_python)}


def test_queued_processes_are_cancelled_or_started_in_their_order(tmp_path: Path) -> None:
    service = Service(tmp_path, [HOSTILE], ["--max-processes", "1", "--start-timeout", "1"])
    try:
        first = service.start().launch("hostile:nap")
        second, third = service.launch("hostile:nap"), service.launch("hostile:nap")
        assert [process["state"] for process in (first, second, third)] == ["running", "queued", "queued"]

        cancelled = service.post(second, "terminate", reason="not needed")
        assert (cancelled["state"], cancelled["outcome"], cancelled["exitcode"]) == ("exited", "stopped", None)
        assert cancelled["exit_summary"] == "Cancelled before it was started."
        assert service.transitions(second)[-1]["actor"] == "operator"

        service.post(first, "kill")
        wait_until(lambda: service.get(third)["state"] == "running", 10, "the next in the queue is not started")
        assert service.get(second)["pid"] is None

        last = service.launch("hostile:say")
        service.kill()
        service.start()
        assert service.get(second)["outcome"] == "stopped"
        service.post(third, "kill")
        assert service.join(last)["outcome"] in ("succeeded", "not_started")
    finally:
        service.close()


# --- the end of the service -----------------------------------------------------------------------------------------


def serve(folder: Path, **settings: object) -> Service:
    """A service with these settings, started."""
    flags = [text for name, value in settings.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    return Service(folder, [HOSTILE], flags).start()


def begin_to_end(service: Service) -> None:
    """SIGTERM, and wait until the service says that it waits for its processes."""
    os.kill(service.pid, signal.SIGTERM)
    wait_until(lambda: "waiting up to" in service.text(), 10, service.text)


def test_daemonic_processes_end_with_the_service_and_others_are_waited_for(tmp_path: Path) -> None:
    service = serve(tmp_path, on_exit="wait", shutdown_timeout=60)
    try:
        gate = tmp_path / "gate"
        daemon = service.launch("hostile:nap", daemon=True)
        other = service.launch("hostile:wait_for_file", str(gate), 5)
        begin_to_end(service)
        wait_until_gone(daemon["pid"])
        assert is_running(other["pid"])
        assert is_running(service.pid)
        gate.touch()
        assert service.stop() == 0

        service.start()
        ended = service.get(daemon)
        assert (ended["exitcode"], ended["outcome"]) == (-15, "stopped")
        assert steps(service, daemon)[0] == ("running", "stopping", "service", "the service is ending")
        assert service.get(other)["exitcode"] == 5
    finally:
        service.close()


@pytest.mark.parametrize("settings", [{"on_exit": "leave"}, {"on_exit": "wait", "shutdown_timeout": 0.2}])
def test_processes_go_on_without_the_service(tmp_path: Path, settings: dict[str, object]) -> None:
    service = serve(tmp_path, **settings)
    try:
        process = service.launch("hostile:nap")
        assert service.stop() == 0
        assert is_running(process["pid"])
        service.start()
        assert service.get(process)["state"] == "running"
        service.post(process, "terminate")
        assert service.join(process)["exitcode"] == -15
    finally:
        service.close()


def test_all_processes_end_with_the_service_when_told_so(tmp_path: Path) -> None:
    service = serve(tmp_path, on_exit="terminate", grace=0.2)
    try:
        polite, deaf = service.launch("hostile:nap"), service.launch("hostile:deaf")
        family = service.launch("hostile:family", kwargs={"wait": True})
        grandchild = descendant(service, family, "grandchild")
        service.wait_for_log(deaf, "deaf")
        assert service.stop() == 0
        assert not any(is_running(process["pid"]) for process in (polite, deaf, family))
        wait_until_gone(grandchild)
        service.start()
        assert [service.get(process)["exitcode"] for process in (polite, deaf, family)] == [-15, -9, -15]
    finally:
        service.close()


def test_a_second_interrupt_skips_the_waiting(tmp_path: Path) -> None:
    service = serve(tmp_path, on_exit="wait", shutdown_timeout=600)
    try:
        process = service.launch("hostile:nap")
        os.kill(service.pid, signal.SIGINT)
        wait_until(lambda: "waiting up to" in service.text(), 10, service.text)
        assert service.stop(signal.SIGINT) == 0
        assert is_running(process["pid"])
    finally:
        service.close()


def test_streams_and_waiting_requests_end_before_the_processes_are_waited_for(tmp_path: Path) -> None:
    service = serve(tmp_path, on_exit="wait", shutdown_timeout=600)
    try:
        process = service.launch("hostile:nap")
        readers = [Reader(service, "/events"), Reader(service, f"/processes/{process['id']}/log/stream")]
        begin_to_end(service)
        for reader in readers:
            reader.join()
            assert not reader.broken
            assert "end" not in [event.name for event in reader.events]  # the log goes on; a client should come back
        assert is_running(service.pid)
        assert service.stop() == 0
    finally:
        service.close()


def test_ctrl_c_in_the_terminal_reaches_the_service_alone(shared: Service) -> None:
    process = shared.launch("hostile:nap")
    groups = {os.getpgid(pid) for pid in (process["pid"], process["detail"]["keeper_pid"], *shared.launcher_pids)}
    assert os.getpgid(shared.pid) not in groups


@pytest.mark.timeout(90)
def test_a_daemonic_process_outlives_a_killed_service_only_if_another_comes_in_time(tmp_path: Path) -> None:
    """Takes the fifteen seconds of grace that there are."""
    comes_back, stays_away = (Service(tmp_path / name, [HOSTILE]) for name in ("back", "away"))
    try:
        kept, ended = (start_in(service).launch("hostile:nap", daemon=True) for service in (comes_back, stays_away))
        for service in (comes_back, stays_away):
            service.kill()
        comes_back.start()
        wait_until_gone(ended["pid"], 30)
        assert comes_back.get(kept)["state"] == "running"
        found = stays_away.start().get(ended)
        assert (found["exitcode"], found["outcome"]) == (-15, "stopped")
        assert "the service was gone for 15 s" in found["exit_summary"]
    finally:
        comes_back.close()
        stays_away.close()


def start_in(service: Service) -> Service:
    """Make its folder, and start it."""
    service.folder.mkdir()
    return service.start()
