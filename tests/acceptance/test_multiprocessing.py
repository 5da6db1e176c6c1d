"""What the standard library's own examples of multiprocessing show, had through REST."""

import re
from pathlib import Path

import pytest

from tests.service import HOSTILE, JSON, Service

METHODS = ["fork", "spawn", "forkserver"]
ON_THE_WAY = ["created", "queued", "starting", "running"]


def states(service: Service, process: JSON) -> list[str]:
    """The states it went through, in order."""
    return [row["to"] for row in service.transitions(process)]


def test_each_worker_prints_its_line(service: Service) -> None:
    workers = [service.launch("basics:worker") for _ in range(5)]
    assert [service.join(worker)["exitcode"] for worker in workers] == [0] * 5
    assert [service.log(worker) for worker in workers] == ["Worker\n"] * 5


def test_each_worker_gets_its_argument(service: Service) -> None:
    by_position = [service.launch("basics:worker", number) for number in range(5)]
    by_name = service.launch("basics:worker", kwargs={"num": 5})
    for worker in [*by_position, by_name]:
        service.join(worker)
    assert [service.log(worker) for worker in by_position] == [f"Worker: {number}\n" for number in range(5)]
    assert service.log(by_name) == "Worker: 5\n"


def test_names_given_and_default(service: Service) -> None:
    named = service.launch("names:my_service", 0.01)
    worker_1 = service.launch("names:worker", 0.01, name="worker 1")
    worker_2 = service.launch("names:worker", 0.01)
    for process, name in ((named, "my_service"), (worker_1, "worker 1"), (worker_2, "Process-3")):
        assert service.join(process)["name"] == name
        assert service.log(process) == f"{name} Starting\n{name} Exiting\n"


def test_default_names_go_on_after_a_restart(service: Service) -> None:
    assert [service.launch("basics:worker")["name"] for _ in range(2)] == ["Process-1", "Process-2"]
    service.kill()
    service.start()
    assert service.launch("basics:worker")["name"] == "Process-3"


@pytest.mark.parametrize("method", METHODS)
def test_a_subclass_runs_under_a_name_of_its_own(service: Service, method: str) -> None:
    workers = [service.launch("basics:Worker", start_method=method) for _ in range(3)]
    for number, worker in enumerate(workers, start=1):
        assert service.join(worker)["exitcode"] == 0
        assert worker["name"] == f"Worker-{number}"
        assert service.log(worker) == f"In Worker-{number}\n"


def test_the_daemon_flag_is_the_childs_too(hostile: Service) -> None:
    for daemon in (True, False):
        process = hostile.join(hostile.launch("hostile:whoami", daemon=daemon, name="it"))
        assert process["daemon"] is daemon
        assert process["result"] == {"name": "it", "daemon": daemon, "pid": process["pid"], "alive": True}


def test_a_daemonic_process_may_have_no_children(hostile: Service) -> None:
    allowed, refused = (hostile.launch("hostile:own_child", daemon=daemon) for daemon in (False, True))
    assert hostile.join(allowed)["exitcode"] == 0
    assert hostile.log(allowed) == "hello\n"
    ended = hostile.join(refused)
    assert ended["exitcode"] == 1
    assert "daemonic processes are not allowed to have children" in hostile.log(refused)


def test_daemon_and_non_daemon_tell_of_themselves(service: Service) -> None:
    daemon = service.launch("daemons:daemon", 0.2, name="daemon")
    other = service.launch("daemons:non_daemon", name="non-daemon")
    assert (daemon["daemon"], other["daemon"]) == (True, False)
    for process, name in ((daemon, "daemon"), (other, "non-daemon")):
        pid = service.join(process)["pid"]
        assert service.log(process) == f"Starting: {name} {pid}\nExiting : {name} {pid}\n"


def test_join_waits_until_the_end(service: Service) -> None:
    process = service.launch("names:worker", 0.3)
    assert process["is_alive"]
    joined = service.client.post(f"/processes/{process['id']}/join").json()
    assert (joined["is_alive"], joined["state"], joined["exitcode"]) == (False, "exited", 0)


def test_join_returns_when_its_time_is_up(service: Service) -> None:
    process = service.launch("daemons:daemon", 600)
    joined = service.client.post(f"/processes/{process['id']}/join", params={"timeout": 0.2}).json()
    assert (joined["is_alive"], joined["state"], joined["exitcode"]) == (True, "running", None)


def test_before_during_terminated_joined(service: Service) -> None:
    process = service.launch("basics:slow_worker", start=False)
    assert (process["state"], process["is_alive"], process["pid"]) == ("created", False, None)
    assert service.client.post(f"/processes/{process['id']}/join").status_code == 409

    during = service.post(process, "start")
    assert (during["state"], during["is_alive"], during["exitcode"]) == ("running", True, None)
    service.wait_for_log(process, "Slow worker begins")

    terminated = service.post(process, "terminate")
    assert terminated["state"] in ("stopping", "exited")

    joined = service.join(process)
    assert (joined["state"], joined["is_alive"]) == ("exited", False)
    assert (joined["exitcode"], joined["signal"], joined["outcome"]) == (-15, "SIGTERM", "stopped")
    assert service.log(process) == "Slow worker begins\n"
    assert states(service, process) == [*ON_THE_WAY, "stopping", "exited"]


@pytest.mark.parametrize("method", METHODS)
def test_exit_codes(service: Service, method: str) -> None:
    names = ["exit_error", "exit_ok", "return_value", "raises", "terminated"]
    processes = {name: service.launch(f"exit_codes:{name}", name=name, start_method=method) for name in names}
    service.post(processes["terminated"], "terminate")
    ended = {name: service.join(process) for name, process in processes.items()}
    codes = {name: (process["exitcode"], process["outcome"]) for name, process in ended.items()}
    assert codes == {
        "exit_error": (1, "failed"),
        "exit_ok": (0, "succeeded"),
        "return_value": (0, "succeeded"),
        "raises": (1, "failed"),
        "terminated": (-15, "stopped"),
    }
    assert ended["return_value"]["result"] == 1
    assert ended["exit_ok"]["result"] is None
    assert states(service, processes["exit_ok"]) == [*ON_THE_WAY, "exited"]


@pytest.mark.parametrize("method", METHODS)
def test_an_uncaught_exception_is_in_the_log_and_is_data(service: Service, method: str) -> None:
    process = service.launch("exit_codes:raises", "There was an error!", name="raises", start_method=method)
    error = service.join(process)["error"]
    assert (error["type"], error["message"]) == ("RuntimeError", "There was an error!")
    assert error["traceback"].startswith("Traceback (most recent call last):\n")
    assert 'exit_codes.py", line' in error["traceback"]

    log = service.log(process, stream="stderr")
    assert log.startswith("Process raises:\nTraceback (most recent call last):\n")
    assert log.endswith("RuntimeError: There was an error!\n")
    assert service.log(process, stream="stdout") == ""


@pytest.mark.parametrize("method", METHODS)
def test_the_logger_of_multiprocessing_on_request(service: Service, method: str) -> None:
    process = service.launch("basics:worker", log_level="DEBUG", start_method=method)
    service.join(process)
    lines = service.log(process, stream="stderr").splitlines()
    told = [
        "[INFO/Process-1] child process calling self.run()",
        "[INFO/Process-1] process shutting down",
        '[DEBUG/Process-1] running all "atexit" finalizers with priority >= 0',
        '[DEBUG/Process-1] running the remaining "atexit" finalizers',
        "[INFO/Process-1] process exiting with exitcode 0",
    ]
    assert [line for line in lines if line in told] == told
    assert service.log(process, stream="stdout") == "Worker\n"


def test_the_logger_keeps_to_its_level(service: Service) -> None:
    info, silent = service.launch("basics:worker", log_level="INFO"), service.launch("basics:worker")
    service.join(info)
    service.join(silent)
    assert re.findall(r"^\[(\w+)/", service.log(info), re.MULTILINE) == ["INFO"] * 3
    assert service.log(silent) == "Worker\n"


def test_a_target_may_set_up_the_logger_itself(service: Service) -> None:
    process = service.launch("logs:worker", "INFO", 1)
    service.join(process)
    log = service.log(process)
    assert "Doing some work, part 1 of 1\n" in log
    assert "[INFO/Process-1] step 1 done\n" in log
    assert "[INFO/Process-1] process exiting with exitcode 0\n" in log


def test_two_files_of_targets_stand_beside_each_other(tmp_path: Path) -> None:
    other = tmp_path / "importable_worker.py"
    other.write_text('def worker():\n    """worker function"""\n    print("Worker")\n')
    service = Service(tmp_path, [other, HOSTILE])
    try:
        process = service.start().launch("importable_worker:worker")
        assert service.join(process)["exitcode"] == 0
        assert service.log(process) == "Worker\n"
        assert service.join(service.launch("hostile:say"))["exitcode"] == 0
    finally:
        service.close()
