"""G: what happens to run folders. One that is damaged costs at most itself, and no other process anything."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from operator import methodcaller
from pathlib import Path
from typing import Any

import pytest

from procdeck import posix
from tests.faults import invariants
from tests.service import HOSTILE, Service
from tests.waiting import wait_until

JSON = dict[str, Any]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service whose targets misbehave."""
    made = Service(tmp_path, [HOSTILE], ["--on-exit", "leave"])
    try:
        yield made.start()
    finally:
        made.close()


def folder_of(service: Service, process: JSON) -> Path:
    return service.data_dir / "runs" / str(process["id"])


def remove_database(service: Service) -> None:
    for file in service.data_dir.glob("procdeck.db*"):
        file.unlink()


def quarantined(service: Service) -> set[str]:
    place = service.data_dir / "quarantine"
    return {path.name for path in place.iterdir()} if place.exists() else set()


# --- F80 ------------------------------------------------------------------------------------------------------------


def enlarge(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(2**30)


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


CONTENTS = (b"", b"{", b"[]\n", b'{"seq": "one"}\n', b"\0" * 100, b'{"id": 1}\n', b"[" * 10**6)
CHANGES: list[Callable[[Path], object]] = [
    *(methodcaller("write_bytes", content) for content in CONTENTS),
    enlarge,
    a_pipe,
    a_folder,
    Path.unlink,
]


def test_f80_damaged_folders_that_the_record_does_not_know_cost_only_themselves(service: Service) -> None:
    sound = service.join(service.launch("hostile:say", "hello", 3))
    specs = [service.join(service.launch("hostile:say")) for _ in CHANGES]
    journals = [service.join(service.launch("hostile:say")) for _ in CHANGES]
    service.stop()
    remove_database(service)
    for name, processes in (("spec.json", specs), ("journal.ndjson", journals)):
        for process, change in zip(processes, CHANGES, strict=True):
            change(folder_of(service, process) / name)
    service.start()
    assert quarantined(service) == {process["id"] for process in specs}
    assert service.get(sound)["exitcode"] == 3
    for process, change in zip(journals, CHANGES, strict=True):
        if change is enlarge:  # what is in front of the damage counts, and the exit is
            assert service.get(process)["exitcode"] == 0
            continue
        wait_until(lambda: service.get(process)["state"] == "lost", 10, lambda: str(service.get(process)))  # noqa: B023
    told = service.client.get("/service").json()["troubles"]
    assert any("quarantine" in trouble["sentence"] for trouble in told), told
    assert service.join(service.launch("hostile:say"))["exitcode"] == 0
    invariants.hold(service)
    service.stop()
    service.start()
    assert quarantined(service) == {process["id"] for process in specs}
    invariants.hold(service)


def test_f80_an_exit_before_the_damage_counts_and_a_living_process_is_not_lost_for_it(service: Service) -> None:
    ended, cut = service.launch("hostile:nap"), service.launch("hostile:nap")
    lives, future = service.launch("hostile:nap"), service.launch("hostile:nap")
    for process in (ended, cut, future):
        service.post(process, "kill")
        service.join(process)
    service.kill()
    remove_database(service)
    journals = {
        process["id"]: folder_of(service, process) / "journal.ndjson" for process in (ended, cut, lives, future)
    }
    with journals[ended["id"]].open("ab") as file:
        file.write(b"\xff\xfe garbage\n")
    lines = journals[cut["id"]].read_bytes().splitlines(keepends=True)
    journals[cut["id"]].write_bytes(b"".join([lines[0], b"{}\n", *lines[1:]]))
    journals[lives["id"]].write_bytes(b"\0" * 200 + b"\n")
    entries = [json.loads(line) for line in journals[future["id"]].read_text().splitlines()]
    entries.insert(1, {**entries[0], "seq": 2, "event": "danced", "data": {"steps": [1, 2]}, "color": "red"})
    for number, entry in enumerate(entries, 1):
        entry["seq"] = number
    journals[future["id"]].write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    service.start()
    assert service.get(ended)["exitcode"] == -9
    wait_until(lambda: service.get(cut)["state"] == "lost", 10, lambda: str(service.get(cut)))
    assert "line 2" in service.transitions(cut)[-1]["reason"]
    assert service.get(cut)["exitcode"] is None
    assert service.get(future)["exitcode"] == -9, "an entry of a newer release stopped the rest"
    wait_until(lambda: service.get(lives)["state"] == "running", 10, lambda: str(service.get(lives)))
    assert service.get(lives)["pid"] == lives["pid"]
    service.post(lives, "kill")
    assert service.join(lives)["exitcode"] == -9
    invariants.hold(service)


# --- F81 ------------------------------------------------------------------------------------------------------------


def test_f81_records_whose_folders_are_gone_end_and_no_stranger_gets_a_signal(tmp_path: Path) -> None:
    service = Service(tmp_path, [HOSTILE], ["--max-processes", "2", "--start-timeout", "1"])
    stranger = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    try:
        service.start()
        lives, dies = service.launch("hostile:nap"), service.launch("hostile:nap")
        queued = service.launch("hostile:say")
        service.kill()
        for process in (lives, dies, queued):
            shutil.rmtree(folder_of(service, process))
        invariants.kill(keeper_of(dies))
        wait_until(lambda: posix.stat(dies["pid"]) is None, 10, "its child lives on")
        claim_pid(service, dies, stranger.pid)
        service.start()
        lost = service.join(dies)
        assert (lost["state"], lost["exitcode"]) == ("lost", None)
        assert stranger.poll() is None, "a stranger got a signal"
        assert service.get(lives)["state"] == "running", "its keeper lives"
        service.post(lives, "kill")
        assert service.join(lives)["exitcode"] == -9
        over = service.join(queued)
        assert (over["outcome"], over["exitcode"]) == ("not_started", None)
        assert service.join(service.launch("hostile:say"))["exitcode"] == 0
    finally:
        stranger.kill()
        stranger.wait()
        service.close()


def keeper_of(process: JSON) -> int:
    keeper: int = process["detail"]["keeper_pid"]
    return keeper


def claim_pid(service: Service, process: JSON, pid: int) -> None:
    """The record says that a process had the pid which a stranger has now."""
    with sqlite3.connect(service.data_dir / "procdeck.db") as connection:
        connection.execute("UPDATE process SET pid = ? WHERE id = ?", (pid, process["id"]))
    connection.close()


# --- F82 ------------------------------------------------------------------------------------------------------------


def test_f82_a_living_process_that_the_record_does_not_know_is_taken_in(service: Service) -> None:
    service.join(service.launch("hostile:say"))
    service.stop()
    old = service.folder / "old.db"
    shutil.copy(service.data_dir / "procdeck.db", old)
    service.start()
    lives = service.launch("hostile:nap")
    done = service.join(service.launch("hostile:say", "later", 5))
    service.kill()
    remove_database(service)
    shutil.copy(old, service.data_dir / "procdeck.db")
    service.start()
    assert service.get(lives)["pid"] == lives["pid"]
    assert (service.get(done)["exitcode"], service.log(done)) == (5, "later\n")
    service.post(lives, "kill")
    assert service.join(lives)["exitcode"] == -9
    assert service.launch("hostile:say")["number"] == 4
    invariants.hold(service)


# --- F83 ------------------------------------------------------------------------------------------------------------


def test_f83_what_dead_services_leave_is_no_hindrance_and_is_cleared(service: Service) -> None:
    lives = service.launch("hostile:nap")
    service.kill()
    runs = service.data_dir / "runs"
    (runs / ".gone.deleted" / "log").mkdir(parents=True)
    (runs / "halfmade" / "log").mkdir(parents=True)
    (runs / "halfmade" / "spec.json.new").write_text('{"id": "halfm')
    (runs / lives["id"] / "lock.4711").write_text("")
    (service.data_dir / "service.json").write_text(json.dumps({"url": "http://127.0.0.1:1", "pid": os.getpid()}))
    assert (service.data_dir / "service.sock").exists()
    service.start()
    wait_until(lambda: service.get(lives)["state"] == "running", 10, "not adopted")
    wait_until(lambda: not (runs / ".gone.deleted").exists(), 10, "what was deleted is still there")
    assert not (runs / "halfmade").exists()
    assert quarantined(service) == set()
    service.post(lives, "terminate")
    assert service.join(lives)["exitcode"] == -signal.SIGTERM
    invariants.hold(service)


# --- F85 ------------------------------------------------------------------------------------------------------------


@pytest.mark.root
@pytest.mark.usefixtures("needs_root")
def test_f85_what_is_no_folder_of_ours_is_refused_and_nothing_behind_it_is_touched(service: Service) -> None:
    done = service.join(service.launch("hostile:say", "hello", 3))
    victim, lives, queued = service.launch("hostile:nap"), service.launch("hostile:nap"), service.launch("hostile:nap")
    service.kill()
    runs = service.data_dir / "runs"
    elsewhere = service.folder / "elsewhere"
    shutil.copytree(folder_of(service, done), elsewhere)
    (runs / "link").symlink_to(elsewhere)
    (runs / "loop").symlink_to(runs / "loop")
    shutil.copytree(folder_of(service, done), runs / "theirs")
    os.chown(runs / "theirs", 65534, 65534)
    # A link to the folder of another, in the place of one whose keeper is dead: nothing of the other may be ended.
    invariants.kill(keeper_of(victim))
    shutil.rmtree(folder_of(service, victim))
    folder_of(service, victim).symlink_to(folder_of(service, lives))
    service.start()
    lost = service.join(victim)
    assert (lost["state"], lost["exitcode"]) == ("lost", None)
    assert "symbolic link" in service.transitions(victim)[-1]["reason"]
    for process in (lives, queued):
        assert service.get(process)["pid"] == process["pid"]
        assert posix.stat(process["pid"]) is not None
    [told] = [t["sentence"] for t in service.client.get("/service").json()["troubles"] if t["key"] == "run-folders"]
    for name, why in (("link", "symbolic link"), ("loop", "symbolic link"), ("theirs", "another user")):
        assert f"{name} (it " in told
        assert why in told
    assert sorted(path.name for path in elsewhere.iterdir()) == sorted(
        p.name for p in folder_of(service, done).iterdir()
    )
    for path in (runs / "link", runs / "loop", folder_of(service, victim)):
        path.unlink()
    shutil.rmtree(runs / "theirs")
    for process in (lives, queued):
        service.post(process, "kill")
        service.join(process)
    assert service.join(service.launch("hostile:say"))["exitcode"] == 0
