"""Nothing is lost and nothing invented when the service, a launcher or a keeper is killed."""

import itertools
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from procdeck import posix
from tests.acceptance.sse import Reader, SentEvent
from tests.service import HOSTILE, JSON, Service
from tests.waiting import wait_until

IN_TRUTH = "end\n"
"""The last line that `tick_until` writes to its own file."""


class Talkers:
    """Processes that print, each with a file that tells what it printed, and that end when they are let go."""

    def __init__(self, service: Service, count: int) -> None:
        self.service = service
        self.folder = service.folder
        self.processes = [self.launch(number) for number in range(count)]

    def launch(self, number: int) -> JSON:
        """The request that starts this one; repeated it gives the same process."""
        arguments = {"path": str(self.truth(number)), "gate": str(self.gate(number % 2)), "code": number}
        key = {"Idempotency-Key": f"talker {number}"}
        return self.service.launch("hostile:tick_until", kwargs=arguments, headers=key)

    def truth(self, number: int) -> Path:
        return self.folder / f"truth.{number}"

    def gate(self, half: int) -> Path:
        return self.folder / f"gate.{half}"

    def let_go(self, half: int) -> None:
        """Let one half end, and wait until it has."""
        self.gate(half).touch()
        pids = [process["pid"] for process in self.processes[half::2]]
        wait_until(lambda: not any(is_running(pid) for pid in pids), 20, "they do not end")

    def check_logs(self) -> None:
        """Each log is exactly what the child says it printed."""
        for number, process in enumerate(self.processes):
            told = self.truth(number).read_text()
            assert told.endswith(IN_TRUTH)
            assert self.service.log(process) == told


def is_running(pid: int) -> bool:
    """Whether there is such a process, zombies not counted."""
    stat = posix.stat(pid)
    return stat is not None and stat.state != "Z"


def gone(*pids: int) -> Callable[[], bool]:
    """A condition: none of these runs any more."""
    return lambda: not any(is_running(pid) for pid in pids)


def by_id(service: Service) -> dict[str, JSON]:
    """All processes."""
    items = service.client.get("/processes", params={"limit": 500}).json()["items"]
    return {process["id"]: process for process in items}


def keeper_of(process: JSON) -> int:
    pid: int = process["detail"]["keeper_pid"]
    return pid


def told_pid(service: Service, process: JSON, word: str) -> int:
    """The pid that the process prints behind ``word``."""
    service.wait_for_log(process, f"{word} ")
    found = re.search(rf"{word} (\d+)\n", service.log(process))
    assert found
    return int(found[1])


# --- the service ----------------------------------------------------------------------------------------------------


def test_a_hundred_talking_processes_outlive_the_service(hostile: Service) -> None:
    talkers = Talkers(hostile, 100)
    hostile.kill()
    talkers.let_go(0)
    hostile.start()

    def is_known() -> bool:
        known = by_id(hostile)
        return all(
            known[process["id"]]["state"] == ("running" if number % 2 else "exited")
            for number, process in enumerate(talkers.processes)
        )

    wait_until(is_known, 5, lambda: f"{[process['state'] for process in by_id(hostile).values()]}")
    assert [again["pid"] for again in by_id(hostile).values()] == [p["pid"] for p in talkers.processes[::-1]]

    talkers.let_go(1)
    ended = [hostile.join(process) for process in talkers.processes]
    assert [process["exitcode"] for process in ended] == list(range(100))
    assert {process["outcome"] for process in ended[1:]} == {"failed"}
    talkers.check_logs()

    for number in (0, 1):  # one that ended meanwhile, one that lived on
        again = talkers.launch(number)
        assert again["id"] == talkers.processes[number]["id"]
    assert len(by_id(hostile)) == 100


def test_a_kill_in_the_middle_of_a_launch_neither_loses_nor_doubles_it(hostile: Service) -> None:
    """Requests are under way when it is killed; each, repeated with its key, gives one process, started once."""
    counts = [hostile.folder / f"started.{number}" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        cut = [pool.submit(try_launch, hostile, path) for path in counts]
        wait_until(lambda: any(path.exists() for path in counts), 10, "nothing was started")
        hostile.kill()
        early = {path: told for path, future in zip(counts, cut, strict=True) if (told := future.result()) is not None}
    hostile.start()
    processes = {path: try_launch(hostile, path) for path in counts}
    for path, process in processes.items():
        assert process is not None
        assert path not in early or early[path]["id"] == process["id"]
        assert hostile.join(process)["outcome"] in ("succeeded", "not_started")
    assert len(by_id(hostile)) == len(counts)
    for path, process in processes.items():
        assert process is not None
        started = len(path.read_text().splitlines()) if path.exists() else 0
        assert started == (hostile.get(process)["outcome"] == "succeeded")


def test_no_launch_under_way_is_given_up(hostile: Service) -> None:
    """The comparison of record and run folders, every three seconds, meets launches at each of their steps."""
    count = 400
    with ThreadPoolExecutor(8) as pool:
        requests = [pool.submit(try_launch, hostile, hostile.folder / str(number)) for number in range(count)]
        processes = [process for request in requests if (process := request.result()) is not None]
    assert {hostile.join(process)["outcome"] for process in processes} == {"succeeded"}
    assert len(processes) == count
    assert "does not fit" not in hostile.text()


def try_launch(service: Service, path: Path) -> JSON | None:
    """Launch with the path as key; None when the service is gone before it answers."""
    headers = {"Authorization": f"Bearer {service.token}", "Idempotency-Key": str(path)}
    body = {"target": "hostile:count", "args": [str(path)]}
    try:
        answer = httpx.post(f"{service.url}/api/v1/processes", json=body, headers=headers, timeout=30)
    except httpx.TransportError:
        return None
    assert answer.status_code in (200, 201), answer.text
    process: JSON = answer.json()
    return process


def test_a_log_stream_goes_on_where_the_kill_cut_it(hostile: Service) -> None:
    truth, gate = hostile.folder / "truth", hostile.folder / "gate"
    process = hostile.launch("hostile:tick_until", str(truth), str(gate), 0.002)
    path = f"/processes/{process['id']}/log/stream"
    before = Reader(hostile, path)
    before.wait_for("lines", 5)
    hostile.kill()
    before.join()
    assert before.broken

    hostile.start()
    after = Reader(hostile, path, before.last_id)
    after.wait_for("lines", 5)
    gate.touch()
    assert after.join()[-1].name == "end"
    assert not after.broken
    assert before.log_text + after.log_text == truth.read_text()


def test_the_stream_of_events_goes_on_where_the_kill_cut_it(hostile: Service) -> None:
    reader = Reader(hostile, "/events")
    gate = hostile.folder / "gate"
    over = hostile.launch("hostile:say")
    ends_meanwhile = hostile.launch("hostile:wait_for_file", str(gate), 9)
    lives = hostile.launch("hostile:nap")
    hostile.join(over)
    wait_until(lambda: tells(reader.events, lives)[-1:] == ["running"], 10, "the launch is not told")
    hostile.kill()
    gate.touch()
    wait_until(gone(ends_meanwhile["pid"]), 10, "it does not end")

    hostile.start()
    rest = Reader(hostile, "/events", reader.last_id)
    hostile.post(lives, "kill")
    hostile.join(lives)
    wait_until(lambda: tells(rest.events, lives)[-1:] == ["exited"], 10, "the end is not told")

    events = reader.events + rest.events
    assert {event.name for event in events} == {"process"}
    numbers = [int(event.id) for event in events]
    assert numbers == sorted(set(numbers))
    for process in (over, ends_meanwhile, lives):
        assert tells(events, process) == [row["to"] for row in hostile.transitions(process)]
    assert next(event.data["exitcode"] for event in rest.events if event.data["id"] == ends_meanwhile["id"]) == 9


def tells(events: list[SentEvent], process: JSON) -> list[str]:
    """The states that the stream tells of one process, in order."""
    return [event.data["to"] for event in events if event.name == "process" and event.data["id"] == process["id"]]


def test_a_stop_goes_on_without_the_service(hostile: Service) -> None:
    process = hostile.launch("hostile:deaf", grace=0.5)
    hostile.wait_for_log(process, "deaf")
    assert hostile.post(process, "stop", reason="enough")["state"] == "stopping"
    hostile.kill()
    wait_until(gone(process["pid"]), 10, "the keeper forgot the stop")
    hostile.start()
    ended = hostile.join(process)
    assert (ended["exitcode"], ended["outcome"]) == (-9, "stopped")
    assert next(row["reason"] for row in hostile.transitions(process) if row["to"] == "stopping") == "enough"


def test_a_second_service_on_the_same_data_is_refused(hostile: Service, tmp_path: Path) -> None:
    process = hostile.launch("hostile:nap")
    second = Service(tmp_path, [HOSTILE])
    second.output = tmp_path / "second.out"
    code, said = second.refusal()
    assert code == os.EX_TEMPFAIL
    assert "is in use by another service" in said
    assert hostile.url in said
    assert "Traceback" not in said
    assert hostile.get(process)["state"] == "running"
    assert hostile.join(hostile.launch("hostile:say"))["exitcode"] == 0


@pytest.mark.timeout(300)
def test_twenty_restarts_leave_everything_as_it_was(hostile: Service) -> None:
    hostile.flags += ["--on-exit", "leave"]
    processes = [hostile.launch("hostile:nap") for _ in range(3)]
    keepers = {keeper_of(process) for process in processes}
    hostile.kill()
    hostile.start()
    for process in processes:
        hostile.post(process, "signal", signal="SIGCONT")  # answered: its keeper is connected
    before = footprint(hostile, keepers)
    for number in range(20):
        if number % 2:
            hostile.stop()
        else:
            hostile.kill()
        hostile.start(ready=number == 19)

    def has_not_grown() -> bool:
        return all(count <= before[what] for what, count in footprint(hostile, keepers).items())

    wait_until(has_not_grown, 10, lambda: f"{footprint(hostile, keepers)}, and before {before}")
    assert {process["state"] for process in by_id(hostile).values()} == {"running"}


def footprint(service: Service, keepers: set[int]) -> dict[str, int]:
    """What must not grow: descriptors, threads and processes of service and keepers."""
    main, ours = psutil.Process(service.pid), [psutil.Process(pid) for pid in keepers]
    return {
        "descriptors of keepers": sum(keeper.num_fds() for keeper in ours),
        "threads of keepers": sum(keeper.num_threads() for keeper in ours),
        "processes": len(service.tree_pids()) + len(main.children(recursive=True)),
        "descriptors of the service": main.num_fds(),
    }


# --- the launcher ---------------------------------------------------------------------------------------------------


def test_talking_processes_outlive_the_launcher(hostile: Service) -> None:
    talkers = Talkers(hostile, 20)
    old = hostile.launcher_pids
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    talkers.let_go(0)
    # The next launch waits for the next launcher, and works.
    assert hostile.join(hostile.launch("hostile:say"))["exitcode"] == 0
    assert not set(old) & set(hostile.launcher_pids)
    assert {hostile.get(process)["state"] for process in talkers.processes[1::2]} == {"running"}
    talkers.let_go(1)
    assert [hostile.join(process)["exitcode"] for process in talkers.processes] == list(range(20))
    talkers.check_logs()


def test_launches_under_way_survive_the_death_of_the_launcher(hostile: Service) -> None:
    counts = [hostile.folder / f"started.{number}" for number in range(12)]
    processes = []
    for number, path in enumerate(counts):
        if number % 4 == 1:
            for pid in hostile.launcher_pids:
                os.kill(pid, signal.SIGKILL)
        processes.append(hostile.launch("hostile:count", str(path)))
    assert [hostile.join(process)["outcome"] for process in processes] == ["succeeded"] * 12
    assert [len(path.read_text().splitlines()) for path in counts] == [1] * 12


# --- the keeper -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize(("target", "word"), [("family", "grandchild"), ("outsider", "outsider")])
def test_a_killed_keeper_takes_its_tree_with_it(shared: Service, target: str, word: str, method: str) -> None:
    kwargs = {"wait": True} if target == "family" else {}
    process = shared.launch(f"hostile:{target}", kwargs=kwargs, start_method=method)
    other = shared.launch("hostile:nap")
    descendant = told_pid(shared, process, word)
    os.kill(keeper_of(process), signal.SIGKILL)

    lost = shared.join(process)
    assert (lost["state"], lost["outcome"], lost["exitcode"], lost["is_alive"]) == ("lost", "lost", None, False)
    assert "keeper was killed" in lost["exit_summary"]
    wait_until(gone(process["pid"], descendant), 5, "some of its tree lives on")
    assert shared.get(other)["state"] == "running"
    last = shared.transitions(process)[-1]
    assert (last["to"], last["actor"]) == ("lost", "service")


def test_service_and_keeper_killed_together(hostile: Service) -> None:
    process = hostile.launch("hostile:family", kwargs={"wait": True})
    descendant = told_pid(hostile, process, "grandchild")
    os.kill(keeper_of(process), signal.SIGKILL)
    hostile.kill()
    hostile.start()
    lost = hostile.join(process)
    assert (lost["state"], lost["outcome"], lost["exitcode"]) == ("lost", "lost", None)
    wait_until(gone(process["pid"], descendant), 5, "some of its tree lives on")


def test_a_process_that_kills_its_keeper(shared: Service) -> None:
    process = shared.launch("hostile:kill_parent")
    lost = shared.join(process)
    assert (lost["state"], lost["exitcode"]) == ("lost", None)
    wait_until(gone(process["pid"]), 5, "it lives on")


# --- the database ---------------------------------------------------------------------------------------------------


def test_a_lost_database_is_made_again_from_the_run_folders(hostile: Service) -> None:
    gate = hostile.folder / "gate"
    hostile.launch("hostile:nap", start=False, name="only created", labels={"kind": "test"})
    hostile.join(hostile.launch("hostile:steps", 2))
    hostile.join(hostile.launch("hostile:say", "hello", 3))
    stopped = hostile.launch("hostile:nap")
    hostile.post(stopped, "terminate", reason="no longer needed")
    hostile.join(stopped)
    hostile.join(hostile.launch("hostile:nap", timeout=0.1))
    lost = hostile.launch("hostile:nap")
    os.kill(keeper_of(lost), signal.SIGKILL)
    hostile.join(lost)
    running = hostile.launch("hostile:nap")
    hostile.post(running, "signal", signal="SIGCONT", reason="a note")
    ends_meanwhile = hostile.launch("hostile:wait_for_file", str(gate), headers={"Idempotency-Key": "once"})
    before, history = lasting(hostile)

    hostile.kill()
    for file in hostile.data_dir.glob("procdeck.db*"):
        file.unlink()
    gate.touch()
    wait_until(gone(ends_meanwhile["pid"]), 10, "it does not end")
    hostile.start()

    hostile.join(ends_meanwhile)
    hostile.join(lost)
    after, rebuilt = lasting(hostile)
    assert after[ends_meanwhile["id"]].items() >= {"state": "exited", "exitcode": 0}.items()
    for found in (before, after, history, rebuilt):
        del found[ends_meanwhile["id"]]
    assert after == before
    assert rebuilt == history
    again = hostile.launch("hostile:wait_for_file", str(gate), headers={"Idempotency-Key": "once"})
    assert again["id"] == ends_meanwhile["id"]
    assert hostile.launch("hostile:say")["number"] == len(before) + 2


PASSING = {"duration", "cpu_percent", "cpu_seconds", "rss_bytes", "max_rss_bytes", "stopped_at", "exit_summary"}
"""Fields that change while a process runs, or are measured anew when one is found lost a second time."""


def lasting(service: Service) -> tuple[dict[str, JSON], dict[str, list[Any]]]:
    """What must be the same for ever: of all processes the fields, and the history without its times."""
    processes = by_id(service)
    fields = {
        id_: {name: value for name, value in process.items() if name not in PASSING}
        for id_, process in processes.items()
    }
    histories = {
        id_: [
            tuple(row[name] for name in ("seq", "from", "to", "actor", "reason"))
            for row in service.transitions(process)
        ]
        for id_, process in processes.items()
    }
    return fields, histories


def test_what_never_came_to_a_keeper_is_made_again_too(tmp_path: Path) -> None:
    """What the service alone decided about a process is in its run folder as well."""
    service = Service(tmp_path, [HOSTILE], ["--max-processes", "1", "--start-timeout", "1"])
    try:
        first = service.start().launch("hostile:nap")
        cancelled, waiting = service.launch("hostile:nap"), service.launch("hostile:nap")
        service.post(cancelled, "terminate", reason="not needed")
        service.kill()
        service.start()
        assert service.get(waiting)["state"] == "queued", "it was answered with 201: it goes on waiting"
        service.post(first, "kill")
        service.join(first)
        wait_until(lambda: service.get(waiting)["state"] == "running", 10, "it was never started")
        service.post(waiting, "kill")
        service.join(waiting)
        before, history = lasting(service)

        service.kill()
        for file in service.data_dir.glob("procdeck.db*"):
            file.unlink()
        service.start()
        for process in (cancelled, waiting):
            service.join(process)
        assert lasting(service) == (before, history)
    finally:
        service.close()


def test_a_run_folder_put_back_is_taken_in(hostile: Service) -> None:
    process = hostile.join(hostile.launch("hostile:say", "hello", 4))
    folder = hostile.data_dir / "runs" / process["id"]
    copy = hostile.folder / "copy"
    shutil.copytree(folder, copy)
    assert hostile.client.delete(f"/processes/{process['id']}").status_code == 204
    assert not folder.exists()
    hostile.stop()
    copy.rename(folder)
    hostile.start()
    again = hostile.get(process)
    assert (again["exitcode"], again["stopped_at"]) == (4, process["stopped_at"])
    assert hostile.log(process) == "hello\n"


def damaged() -> Iterator[tuple[str, bytes]]:
    """Files of a run folder as a bad disk or a stranger leaves them."""
    names = ("spec.json", "journal.ndjson")
    contents = (b"", b"{", b"[]\n", b'{"seq": "one"}\n', b"\0" * 100, b'{"id": 1}\n')
    return itertools.product(names, contents)


def test_damaged_run_folders_do_not_keep_the_service_from_starting(hostile: Service) -> None:
    sound = hostile.join(hostile.launch("hostile:say"))
    sources = [hostile.join(hostile.launch("hostile:say")) for _ in damaged()]
    hostile.stop()
    for file in hostile.data_dir.glob("procdeck.db*"):
        file.unlink()
    for process, (name, content) in zip(sources, damaged(), strict=True):
        (hostile.data_dir / "runs" / process["id"] / name).write_bytes(content)
    hostile.start()
    assert hostile.get(sound)["exitcode"] == 0
    assert hostile.join(hostile.launch("hostile:say"))["exitcode"] == 0
