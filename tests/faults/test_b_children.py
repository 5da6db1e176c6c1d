"""B: whatever a child does, its keeper and the service keep track of it, and nothing of it is left behind."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from procdeck import posix
from tests.faults.inject import control_group
from tests.faults.invariants import hold
from tests.reading import descendant, steps
from tests.runtime import is_alive, wait_gone
from tests.service import HOSTILE, JSON, Service
from tests.waiting import wait_until

METHODS = ["fork", "spawn", "forkserver"]


@pytest.fixture(scope="module", autouse=True)
def _well_afterwards(shared: Service) -> Iterator[None]:
    """All of this is done to one service, which is none the worse for it."""
    pid = shared.pid
    yield
    hold(shared)
    assert shared.pid == pid


def ticks(pid: int) -> int:
    """CPU time of a process, in clock ticks (a hundredth of a second)."""
    return round(sum(psutil.Process(pid).cpu_times()[:2]) * os.sysconf("SC_CLK_TCK"))


def keeper_of(process: JSON) -> int:
    """The pid of its keeper."""
    pid: int = process["detail"]["keeper_pid"]
    return pid


def test_f20_a_deaf_process_is_stopped_by_steps(shared: Service) -> None:
    process = shared.launch("hostile:deaf")
    shared.wait_for_log(process, "deaf")
    stopping = shared.post(process, "stop", grace=0.3, reason="enough of it")
    assert (stopping["state"], stopping["is_alive"]) == ("stopping", True)
    ended = shared.join(process)
    assert (ended["exitcode"], ended["signal"], ended["outcome"]) == (-9, "SIGKILL", "stopped")
    assert ended["exit_summary"].startswith("Asked to stop by operator (enough of it) at ")
    assert ended["exit_summary"].endswith("then killed (SIGKILL) when its grace was over.")
    assert steps(shared, process) == [
        ("running", "stopping", "operator", "enough of it"),
        ("stopping", "stopping", "keeper", "still alive after 0.3 s of grace"),
        ("stopping", "stopping", "keeper", "still alive after 0.3 s of grace"),
        ("stopping", "exited", "keeper", None),
    ]
    sent = [row["detail"].get("signal") for row in shared.transitions(process) if row["to"] == "stopping"]
    assert sent == [None, "SIGTERM", "SIGKILL"]


@pytest.mark.parametrize("method", METHODS)
def test_f23_the_exit_is_recorded_while_a_daemon_of_it_holds_its_output(shared: Service, method: str) -> None:
    """It forks twice, leaves the session and ignores SIGTERM: neither the record nor the answer waits for it."""
    process = shared.launch("hostile:family", kwargs={"code": 7}, start_method=method)
    grandchild = descendant(shared, process, "grandchild")
    ended = shared.join(process)
    assert is_alive(grandchild)
    assert (ended["exitcode"], ended["outcome"], ended["detail"]["leftovers"]) == (7, "failed", 1)
    wait_gone(grandchild)
    wait_gone(keeper_of(ended))


def test_f23_leftovers_may_be_kept_on_request(shared: Service) -> None:
    process = shared.launch("hostile:family", kwargs={"code": 0}, leftovers="keep")
    grandchild = descendant(shared, process, "grandchild")
    assert shared.join(process)["exitcode"] == 0
    swept = shared.launch("hostile:family", kwargs={"code": 0})
    wait_gone(descendant(shared, swept, "grandchild"))
    assert is_alive(grandchild)
    os.kill(grandchild, signal.SIGKILL)
    wait_gone(keeper_of(process))


@pytest.mark.parametrize("method", METHODS)
def test_f24_a_forked_child_with_all_its_descriptors_holds_up_nothing(shared: Service, method: str) -> None:
    """It has the pipes of the output and multiprocessing's sentinel."""
    process = shared.launch("hostile:leave_a_child", start_method=method)
    ended = shared.join(process)
    assert (ended["exitcode"], ended["detail"]["leftovers"]) == (7, 1)
    wait_gone(keeper_of(ended))
    wait_gone(descendant(shared, process, "grandchild"))


def test_f25_closing_stdout_neither_ends_the_process_nor_busies_the_keeper(shared: Service) -> None:
    process = shared.launch("hostile:close_output")
    shared.wait_for_log(process, "closing\n")
    before = ticks(keeper_of(process))
    joined = shared.client.post(f"/processes/{process['id']}/join", params={"timeout": 2}).json()
    assert joined["state"] == "running"
    assert ticks(keeper_of(process)) - before < 5
    shared.post(process, "terminate")
    assert shared.join(process)["exitcode"] == -15


ENDINGS = {
    "stop": {"grace": 0.1},
    "terminate": {"tree": True, "grace": 0.1},
    "kill": {},
    "interrupt": {"grace": 0.1},
}


@pytest.mark.parametrize("action", ENDINGS)
@pytest.mark.parametrize(("target", "kwargs"), [("family", {"wait": True}), ("outsider", {})])
def test_f26_nothing_that_left_the_session_outlives_a_request(
    shared: Service, action: str, target: str, kwargs: dict[str, object]
) -> None:
    process = shared.launch(f"hostile:{target}", kwargs=kwargs)
    other = descendant(shared, process, "grandchild" if target == "family" else "outsider")
    shared.post(process, action, **ENDINGS[action])
    ended = shared.join(process)
    assert ended["outcome"] == "stopped"
    assert ended["detail"]["leftovers"] <= 1
    wait_gone(other)


def test_f27_a_process_that_becomes_another_program_is_tracked(shared: Service) -> None:
    program = shared.launch("hostile:become", "sh", "-c", "echo I am $$; exit 9")
    ended = shared.join(program)
    assert ended["exitcode"] == 9
    assert shared.log(program) == f"I am {ended['pid']}\n"

    sleeper = shared.launch("hostile:become", "sleep", "1000")
    wait_until(lambda: psutil.Process(sleeper["pid"]).name() == "sleep", 5, "it does not become sleep")
    joined = shared.client.post(f"/processes/{sleeper['id']}/join", params={"timeout": 0.05}).json()
    assert joined["is_alive"]
    shared.post(sleeper, "stop", grace=0)
    assert shared.join(sleeper)["exitcode"] == -15


EXIT_CODES = [
    ("leave", None, 0),
    ("leave", 0, 0),
    ("leave", 3, 3),
    ("leave", 256, 0),
    ("leave", -1, 255),
    ("leave", "text", 1),
    ("leave", 3.5, 1),
    ("leave_at_once", 300, 44),
    ("leave_at_once", 0, 0),
    ("fail", "ValueError", 1),
    ("fail", "KeyboardInterrupt", 1),
    ("fail", "MemoryError", 1),
]


@pytest.mark.parametrize("method", METHODS)
def test_f28_exit_codes_are_those_of_multiprocessing(shared: Service, method: str) -> None:
    processes = [shared.launch(f"hostile:{target}", given, start_method=method) for target, given, _ in EXIT_CODES]
    ended = [shared.join(process) for process in processes]
    assert [process["exitcode"] for process in ended] == [code for _, _, code in EXIT_CODES]
    assert [os.waitstatus_to_exitcode(process["detail"]["wait_status"]) for process in ended] == [
        code for _, _, code in EXIT_CODES
    ]
    assert [process["error"]["type"] for process in ended[-3:]] == [given for _, given, _ in EXIT_CODES[-3:]]
    assert "text\n" in shared.log(processes[5])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("target", "name", "code"), [("abort", "SIGABRT", -6), ("segfault", "SIGSEGV", -11)])
def test_f28_crashes_are_told_as_such(shared: Service, target: str, name: str, code: int, method: str) -> None:
    ended = shared.join(shared.launch(f"hostile:{target}", start_method=method))
    assert (ended["exitcode"], ended["signal"], ended["outcome"]) == (code, name, "crashed")
    assert f"Killed by {name} ({code})" in ended["exit_summary"]


def test_f28_an_interrupt_is_an_exception_and_no_signal(shared: Service) -> None:
    ended = shared.join(shared.launch("hostile:interrupt_oneself"))
    assert (ended["exitcode"], ended["outcome"], ended["error"]["type"]) == (1, "failed", "KeyboardInterrupt")


def test_f29_three_hundred_that_end_at_once_have_each_begun_before(shared: Service) -> None:
    def launch(number: int) -> JSON:
        return shared.launch("hostile:say", f"this is {number}")

    with ThreadPoolExecutor(8) as pool:
        processes = list(pool.map(launch, range(300)))
    assert {process["state"] for process in processes} <= {"running", "exited"}
    for number, process in enumerate(processes):
        assert shared.join(process)["exitcode"] == 0
        assert shared.log(process) == f"this is {number}\n"
        told = [row["to"] for row in shared.transitions(process)]
        assert told == ["created", "queued", "starting", "running", "exited"]


@pytest.mark.root
@pytest.mark.usefixtures("needs_root")
def test_f30_a_fork_bomb_is_bounded_by_its_control_group_and_goes_with_one_kill(
    shared: Service, tmp_path: Path
) -> None:
    """The keeper is in the group, too: to end the tree it needs no process of its own."""
    gate, limit = tmp_path / "gate", 60
    with control_group("pids", max=limit) as join_group:
        process = shared.launch("hostile:multiply", str(gate))
        shared.wait_for_log(process, "armed")
        for pid in (keeper_of(process), process["pid"]):
            join_group(pid)
        gate.touch()
        wait_until(lambda: len(posix.descendants(keeper_of(process))) == limit - 1, 30, "it does not multiply")

        other = shared.launch("hostile:say")
        assert shared.join(other)["exitcode"] == 0
        # The bomb takes what CPU there is; its keeper may be slow to answer, and carries it out all the same.
        assert shared.client.post(f"/processes/{process['id']}/kill").status_code in (200, 503)
        ended = shared.join(process)
        assert (ended["exitcode"], ended["outcome"]) == (-9, "stopped")
        wait_gone(keeper_of(process), 30)
        assert all(process["id"].encode() not in environ for environ in environs())


def environs() -> Iterator[bytes]:
    """The variables of everything that runs."""
    for pid in posix.all_pids():
        try:
            yield posix.read_file(f"/proc/{pid}/environ", 1 << 20)
        except OSError:
            continue


def test_f31_what_one_does_to_itself_is_neither_its_keeper_s_nor_the_next_one_s(shared: Service) -> None:
    before = shared.join(shared.launch("hostile:circumstances"))["result"]
    process = shared.launch("hostile:upset")
    keeper = Path("/proc", str(keeper_of(process)))
    shared.wait_for_log(process, "upset")
    assert (keeper / "cwd").readlink() == Path("/proc", str(shared.launcher_pids[0]), "cwd").readlink()
    limits = (keeper / "limits").read_text()
    assert limits == Path("/proc", str(shared.launcher_pids[0]), "limits").read_text()
    assert psutil.Process(keeper_of(process)).nice() == psutil.Process(shared.launcher_pids[0]).nice()
    assert shared.join(shared.launch("hostile:circumstances"))["result"] == before
    shared.post(process, "stop", grace=0)  # SIGTERM is blocked
    assert shared.join(process)["exitcode"] == -9
    modes = [path.stat().st_mode & 0o777 for path in (shared.data_dir / "runs" / process["id"]).iterdir()]
    assert set(modes) <= {0o600, 0o700}


def test_f33_a_process_that_kills_its_group_kills_nobody_else(shared: Service) -> None:
    process = shared.launch("hostile:kill_group")
    ended = shared.join(process)
    assert (ended["exitcode"], ended["outcome"], ended["state"]) == (-9, "crashed", "exited")


def test_f33_a_process_that_kills_its_keeper_is_lost(shared: Service) -> None:
    process = shared.launch("hostile:kill_parent")
    lost = shared.join(process)
    assert (lost["state"], lost["exitcode"]) == ("lost", None)
    wait_gone(lost["pid"])


def test_f34_signals_reach_the_child_with_default_dispositions(shared: Service) -> None:
    masks = shared.join(shared.launch("hostile:signals_in_force"))["result"]
    by_python = {signal.SIGPIPE, signal.SIGXFSZ}
    assert masks == {"SigBlk": 0, "SigIgn": sum(1 << (number - 1) for number in by_python)}


BLOCKER = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD):
    signal.signal(number, signal.SIG_IGN)
"""


def test_f34_a_module_that_blocks_and_ignores_signals_takes_them_from_nobody(tmp_path: Path) -> None:
    (tmp_path / "blocker.py").write_text(BLOCKER)
    service = Service(tmp_path, [tmp_path / "blocker.py", HOSTILE])
    try:
        service.start()
        for method in METHODS:
            process = service.launch("hostile:nap", start_method=method)
            service.post(process, "terminate")
            assert service.join(process)["exitcode"] == -15
        process = service.launch("hostile:on_usr1")
        service.wait_for_log(process, "ready")
        service.post(process, "signal", signal="SIGUSR1")
        assert service.join(process)["exitcode"] == 0
        hold(service)
    finally:
        service.close()


@pytest.mark.parametrize("method", METHODS)
def test_f35_stdin_is_at_its_end(shared: Service, method: str) -> None:
    assert shared.join(shared.launch("hostile:read_input", start_method=method))["result"] == "''"


def test_f36_a_daemonic_process_may_have_no_children(shared: Service) -> None:
    allowed, refused = (shared.launch("hostile:own_child", daemon=daemon) for daemon in (False, True))
    assert shared.join(allowed)["exitcode"] == 0
    assert shared.log(allowed) == "hello\n"
    ended = shared.join(refused)
    assert ended["exitcode"] == 1
    assert "daemonic processes are not allowed to have children" in shared.log(refused)


@pytest.mark.parametrize("method", METHODS)
def test_f38_a_process_that_closes_all_its_descriptors_is_tracked(shared: Service, method: str) -> None:
    assert shared.join(shared.launch("hostile:close_everything", start_method=method))["exitcode"] == 5


@pytest.mark.parametrize("action", ["stop", "terminate"])
def test_f39_a_handler_that_takes_its_time_has_the_grace_and_no_longer(shared: Service, action: str) -> None:
    process = shared.launch("hostile:take_one_s_time")
    shared.wait_for_log(process, "ready")
    shared.post(process, action, grace=0.3)
    ended = shared.join(process)
    assert (ended["exitcode"], ended["outcome"]) == (-9, "stopped")
    assert "going, but not yet" in shared.log(process)
    last = steps(shared, process)[-2]
    assert last == ("stopping", "stopping", "keeper", "still alive after 0.3 s of grace")
