"""Streams and the record go on when the service was killed. The deaths themselves are in tests/faults."""

import os
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.acceptance.sse import Reader, SentEvent
from tests.runtime import is_alive
from tests.service import HOSTILE, JSON, Service
from tests.waiting import wait_until


def gone(*pids: int) -> Callable[[], bool]:
    """A condition: none of these runs any more."""
    return lambda: not any(map(is_alive, pids))


def by_id(service: Service) -> dict[str, JSON]:
    """All processes."""
    items = service.client.get("/processes", params={"limit": 500}).json()["items"]
    return {process["id"]: process for process in items}


def keeper_of(process: JSON) -> int:
    pid: int = process["detail"]["keeper_pid"]
    return pid


# --- the service ----------------------------------------------------------------------------------------------------


def test_no_launch_under_way_is_given_up(hostile: Service) -> None:
    """The comparison of record and run folders, every three seconds, meets launches at each of their steps."""
    processes = [hostile.launch("hostile:say")]  # the first makes the client that the threads share
    with ThreadPoolExecutor(8) as pool:
        processes += pool.map(lambda _: hostile.launch("hostile:say"), range(400))
    assert {hostile.join(process)["outcome"] for process in processes} == {"succeeded"}
    assert "does not fit" not in hostile.text()


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


PASSING = {
    *(
        "duration",
        "cpu_percent",
        "cpu_seconds",
        "rss_bytes",
        "max_rss_bytes",
        "disk_bytes",
        "stopped_at",
        "exit_summary",
    ),
}
"""Fields that change while a process runs, or are measured after its end, or anew when one is found lost again."""


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
