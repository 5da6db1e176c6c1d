"""However a process comes to its end: nothing of its tree is left, and the record says who asked and why."""

import os
import signal
from pathlib import Path

import pytest

from procdeck import posix
from tests.acceptance.sse import Reader
from tests.reading import descendant, steps
from tests.runtime import is_alive, wait_gone
from tests.service import HOSTILE, Service
from tests.waiting import wait_until

PAUSED = "T"


# --- nothing of the tree is left ------------------------------------------------------------------------------------


def test_nothing_of_the_tree_outlives_the_time_limit(shared: Service) -> None:
    process = shared.launch("hostile:family", kwargs={"wait": True}, timeout=1, grace=0.1)
    grandchild = descendant(shared, process, "grandchild")
    ended = shared.join(process)
    assert (ended["outcome"], ended["exitcode"]) == ("timed_out", -15)
    wait_gone(grandchild)


# --- asking ---------------------------------------------------------------------------------------------------------


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
    # Who asked first, and what ended it.
    assert ended["exit_summary"].startswith("Asked to stop by operator at ")
    assert ended["exit_summary"].endswith("then killed (SIGKILL) by operator.")


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
        wait_gone(daemon["pid"])
        assert is_alive(other["pid"])
        assert is_alive(service.pid)
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
        assert is_alive(process["pid"])
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
        assert not any(is_alive(process["pid"]) for process in (polite, deaf, family))
        wait_gone(grandchild)
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
        assert is_alive(process["pid"])
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
        assert is_alive(service.pid)
        assert service.stop() == 0
    finally:
        service.close()


@pytest.mark.timeout(90)
def test_a_daemonic_process_outlives_a_killed_service_only_if_another_comes_in_time(tmp_path: Path) -> None:
    """Takes the fifteen seconds of grace that there are."""
    comes_back, stays_away = (Service(tmp_path / name, [HOSTILE]) for name in ("back", "away"))
    try:
        kept, ended = (start_in(service).launch("hostile:nap", daemon=True) for service in (comes_back, stays_away))
        for service in (comes_back, stays_away):
            service.kill()
        comes_back.start()
        wait_gone(ended["pid"], 30)
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
