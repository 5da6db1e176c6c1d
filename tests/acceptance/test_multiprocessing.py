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


def test_each_worker_prints_its_line(examples: Service) -> None:
    workers = [examples.launch("basics:worker") for _ in range(5)]
    assert [examples.join(worker)["exitcode"] for worker in workers] == [0] * 5
    assert [examples.log(worker) for worker in workers] == ["Worker\n"] * 5


def test_each_worker_gets_its_argument(examples: Service) -> None:
    by_position = [examples.launch("basics:worker", number) for number in range(5)]
    by_name = examples.launch("basics:worker", kwargs={"num": 5})
    for worker in [*by_position, by_name]:
        examples.join(worker)
    assert [examples.log(worker) for worker in by_position] == [f"Worker: {number}\n" for number in range(5)]
    assert examples.log(by_name) == "Worker: 5\n"


def test_names_given_and_default(service: Service) -> None:
    named = service.launch("names:my_service", 0.01)
    worker_1 = service.launch("names:worker", 0.01, name="worker 1")
    worker_2 = service.launch("names:worker", 0.01)
    for process, name in ((named, "my_service"), (worker_1, "worker 1"), (worker_2, "Process-3")):
        assert service.join(process)["name"] == name
        assert service.log(process) == f"{name} Starting\n{name} Exiting\n"


def test_default_names_are_counted_and_go_on_after_a_restart(service: Service) -> None:
    workers = [service.launch("basics:Worker") for _ in range(5)]
    for number, worker in enumerate(workers, start=1):
        service.join(worker)
        assert service.log(worker) == f"In Worker-{number}\n"
    assert service.launch("basics:worker")["name"] == "Process-6"
    service.kill()
    service.start()
    assert service.launch("basics:worker")["name"] == "Process-7"


@pytest.mark.parametrize("method", METHODS)
def test_a_subclass_runs_under_a_name_of_its_own(examples: Service, method: str) -> None:
    worker = examples.launch("basics:Worker", start_method=method)
    assert examples.join(worker)["exitcode"] == 0
    assert worker["name"] == f"Worker-{worker['number']}"
    assert examples.log(worker) == f"In {worker['name']}\n"


def test_the_daemon_flag_is_the_childs_too(shared: Service) -> None:
    for daemon in (True, False):
        process = shared.join(shared.launch("hostile:whoami", daemon=daemon, name="it"))
        assert process["daemon"] is daemon
        assert process["result"] == {"name": "it", "daemon": daemon, "pid": process["pid"], "alive": True}


def test_daemon_and_non_daemon_tell_of_themselves(examples: Service) -> None:
    daemon = examples.launch("daemons:daemon", 0.2, name="daemon")
    other = examples.launch("daemons:non_daemon", name="non-daemon")
    assert (daemon["daemon"], other["daemon"]) == (True, False)
    for process, name in ((daemon, "daemon"), (other, "non-daemon")):
        pid = examples.join(process)["pid"]
        assert examples.log(process) == f"Starting: {name} {pid}\nExiting : {name} {pid}\n"


def test_join_waits_until_the_end(examples: Service) -> None:
    process = examples.launch("names:worker", 0.3)
    assert process["is_alive"]
    joined = examples.client.post(f"/processes/{process['id']}/join").json()
    assert (joined["is_alive"], joined["state"], joined["exitcode"]) == (False, "exited", 0)


def test_join_returns_when_its_time_is_up(examples: Service) -> None:
    process = examples.launch("daemons:daemon", 600)
    joined = examples.client.post(f"/processes/{process['id']}/join", params={"timeout": 0.2}).json()
    assert (joined["is_alive"], joined["state"], joined["exitcode"]) == (True, "running", None)


def test_before_during_terminated_joined(examples: Service) -> None:
    process = examples.launch("basics:slow_worker", start=False)
    assert (process["state"], process["is_alive"], process["pid"]) == ("created", False, None)
    assert examples.client.post(f"/processes/{process['id']}/join").status_code == 409

    during = examples.post(process, "start")
    assert (during["state"], during["is_alive"], during["exitcode"]) == ("running", True, None)
    examples.wait_for_log(process, "Slow worker begins")

    terminated = examples.post(process, "terminate")
    assert terminated["state"] in ("stopping", "exited")

    joined = examples.join(process)
    assert (joined["state"], joined["is_alive"]) == ("exited", False)
    assert (joined["exitcode"], joined["signal"], joined["outcome"]) == (-15, "SIGTERM", "stopped")
    assert examples.log(process) == "Slow worker begins\n"
    assert states(examples, process) == [*ON_THE_WAY, "stopping", "exited"]


@pytest.mark.parametrize("method", METHODS)
def test_exit_codes(examples: Service, method: str) -> None:
    names = ["exit_error", "exit_ok", "return_value", "raises", "terminated"]
    processes = {name: examples.launch(f"exit_codes:{name}", name=name, start_method=method) for name in names}
    examples.post(processes["terminated"], "terminate")
    ended = {name: examples.join(process) for name, process in processes.items()}
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
    assert states(examples, processes["exit_ok"]) == [*ON_THE_WAY, "exited"]


@pytest.mark.parametrize("method", METHODS)
def test_an_uncaught_exception_is_in_the_log_and_is_data(examples: Service, method: str) -> None:
    process = examples.launch("exit_codes:raises", "There was an error!", name="raises", start_method=method)
    error = examples.join(process)["error"]
    assert (error["type"], error["message"]) == ("RuntimeError", "There was an error!")
    assert error["traceback"].startswith("Traceback (most recent call last):\n")
    assert 'exit_codes.py", line' in error["traceback"]

    log = examples.log(process, stream="stderr")
    assert log.startswith("Process raises:\nTraceback (most recent call last):\n")
    assert log.endswith("RuntimeError: There was an error!\n")
    assert examples.log(process, stream="stdout") == ""


@pytest.mark.parametrize("method", METHODS)
def test_the_logger_of_multiprocessing_on_request(examples: Service, method: str) -> None:
    process = examples.launch("basics:worker", log_level="DEBUG", start_method=method)
    examples.join(process)
    lines = examples.log(process, stream="stderr").splitlines()
    name = process["name"]
    told = [
        f"[INFO/{name}] child process calling self.run()",
        f"[INFO/{name}] process shutting down",
        f'[DEBUG/{name}] running all "atexit" finalizers with priority >= 0',
        f'[DEBUG/{name}] running the remaining "atexit" finalizers',
        f"[INFO/{name}] process exiting with exitcode 0",
    ]
    assert [line for line in lines if line in told] == told
    assert examples.log(process, stream="stdout") == "Worker\n"


def test_the_logger_keeps_to_its_level(examples: Service) -> None:
    info, silent = examples.launch("basics:worker", log_level="INFO"), examples.launch("basics:worker")
    examples.join(info)
    examples.join(silent)
    assert re.findall(r"^\[(\w+)/", examples.log(info), re.MULTILINE) == ["INFO"] * 3
    assert examples.log(silent) == "Worker\n"


def test_a_target_may_set_up_the_logger_itself(examples: Service) -> None:
    process = examples.launch("logs:worker", "INFO", 1)
    examples.join(process)
    log = examples.log(process)
    assert "Doing some work, part 1 of 1\n" in log
    assert f"[INFO/{process['name']}] step 1 done\n" in log
    assert f"[INFO/{process['name']}] process exiting with exitcode 0\n" in log


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
