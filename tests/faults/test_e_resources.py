"""Section E and its like: what a process needs is used up or broken. The child lives, its end is recorded, and what
could not be kept is counted and said."""

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from procdeck import log, oom, posix, run_folder
from tests.faults.inject import (
    command,
    control_group,
    ext4,
    failing_calls,
    file_limit,
    fill,
    frozen,
    ourselves_in,
    small_disk,
)
from tests.faults.invariants import hold, output_is_whole
from tests.runtime import Runtime, is_alive
from tests.service import HOSTILE, JSON, Service
from tests.waiting import wait_until

needs_root = pytest.mark.usefixtures("needs_root")
root = pytest.mark.root

TARGETS = """
import os, sys, time
from pathlib import Path

def chatter(gate, code, size=0):
    "Print until the gate is there; give a result of so many bytes, or exit with the code."
    number = 0
    while not Path(gate).exists():
        print(number, "x" * 200)
        number += 1
        time.sleep(0.002)
    print("end")
    if code:
        sys.exit(code)
    return "x" * size

def hungry(megabytes):
    held = []
    for _ in range(megabytes):
        held.append(bytearray(os.urandom(1) * 2**20))
    print("sated", flush=True)
    time.sleep(1000)

def bomb(path):
    "Fork without end; every one of them goes on forking."
    Path(path).touch()
    while True:
        try:
            os.fork()
        except OSError:
            pass
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "needy.py").write_text(TARGETS)
    return tmp_path


def service_in(folder: Path) -> Service:
    return Service(folder, [HOSTILE, folder / "needy.py"])


@pytest.fixture
def service(folder: Path) -> Iterator[Service]:
    service = service_in(folder)
    try:
        yield service.start()
    finally:
        service.close()


@pytest.fixture
def crowded(folder: Path) -> Iterator[tuple[Service, Path]]:
    """A service whose run folders have a small disk of their own; the disk."""
    yield from _on_disk(folder, lambda stack, runs: stack.enter_context(small_disk(runs, "4m", inodes=100)))


@pytest.fixture
def on_ext4(folder: Path) -> Iterator[tuple[Service, Path]]:
    """A service whose run folders are on an ext4 of their own; the mount."""
    yield from _on_disk(folder, lambda stack, runs: stack.enter_context(ext4(runs)))


def _on_disk(folder: Path, mount: object) -> Iterator[tuple[Service, Path]]:
    with ExitStack() as stack:
        service = service_in(folder)
        service.data_dir.mkdir(mode=0o700)
        runs = service.data_dir / "runs"
        mount(stack, runs)  # type: ignore[operator]
        stack.callback(service.close)
        yield service.start(), runs


def journal(service: Service, process: JSON) -> run_folder.Journalled:
    return run_folder.read_journal(str(service.data_dir / "runs" / process["id"]))


def keeper_of(service: Service, process: JSON) -> int:
    pid: int = journal(service, process).entries[0]["data"]["keeper_pid"]
    return pid


def spare_keeper(service: Service) -> int:
    """The keeper that waits for the next launch."""
    found: list[int] = []

    def look() -> bool:
        # `hostile` and `needy` are of one environment each launcher has: the one that forks is the one with children.
        found[:] = [pid for launcher in service.launcher_pids for pid in posix.children(launcher) if _is_idle(pid)]
        return len(found) == 1

    wait_until(look, 10, lambda: f"spare keepers: {found}")
    return found[0]


def _is_idle(pid: int) -> bool:
    name = Path(f"/proc/{pid}/comm").read_text().strip()
    links = [str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()]
    return name == "procdeck-keeper" and not any(link.endswith("/lock") for link in links)


# --- a full disk ----------------------------------------------------------------------------------------------------


@root
@needs_root
def test_f62_a_full_disk_costs_log_lines_that_are_counted_and_no_end(
    crowded: tuple[Service, Path], folder: Path
) -> None:
    service, disk = crowded
    gate, late_gate = folder / "gate", folder / "late"
    brief = service.launch("needy:chatter", str(gate), 7)
    big = service.launch("needy:chatter", str(gate), 0, 50_000)
    late = service.launch("needy:chatter", str(late_gate), 8)
    for process in (brief, big, late):
        service.wait_for_log(process, "1 x")
    ballast = fill(disk)
    before = log.extent(str(disk / late["id"] / "log"))[1]
    printed = written_by(brief["pid"])
    wait_until(lambda: written_by(brief["pid"]) > printed + 50_000, 20, "it stands still")
    service.post(late, "signal", signal="SIGCONT")  # an entry that must find its place, too
    assert is_alive(late["pid"])
    gate.touch()
    ends = [service.join(process) for process in (brief, big)]
    assert [process["exitcode"] for process in ends] == [7, 0]
    for process in ends:
        written = journal(service, process)
        assert written.damage is None
        assert written.entries[-1]["event"] == "stopped"  # on the full disk, in the room that was kept
    assert ends[0]["detail"]["log_dropped_bytes"] > 0
    assert ends[1]["result"] is None
    assert "disk was full" in ends[1]["detail"]["result_omitted"]
    ballast.unlink()
    service.wait_for_log(late, "bytes of output could not be written]")
    late_gate.touch()
    late = service.join(late)
    assert late["exitcode"] == 8
    assert log.extent(str(disk / late["id"] / "log"))[1] > before
    assert service.log(late).endswith("end\n")
    hold(service)


def written_by(pid: int) -> int:
    """Bytes that a process has given to write(2)."""
    facts = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(facts["wchar"])


@root
@needs_root
def test_f62_an_end_that_a_full_disk_has_no_room_for_is_told_and_written_later(
    crowded: tuple[Service, Path], folder: Path
) -> None:
    """Even the room that was kept is used up: the keeper stays until the disk has it, and tells every service."""
    service, disk = crowded
    process = service.launch("hostile:wait_for_file", str(folder / "gate"), 9)
    keeper = keeper_of(service, process)
    ballast = fill(disk)
    for number in range(100):
        service.post(process, "signal", signal="SIGCONT", reason=f"{number} " + "x" * 400)
    (folder / "gate").touch()
    assert service.join(process)["exitcode"] == 9
    assert is_alive(keeper)
    assert all(entry["event"] != "stopped" for entry in journal(service, process).entries)
    service.kill()
    service.start()  # the record is on another disk, and has it
    assert service.get(process)["exitcode"] == 9
    assert is_alive(keeper)
    ballast.unlink()
    wait_until(lambda: not is_alive(keeper), 10, "the keeper does not end")
    entries, damage = journal(service, process)
    assert damage is None
    assert [entry["seq"] for entry in entries] == list(range(1, 103))
    assert (entries[-1]["event"], entries[-1]["data"]["exitcode"]) == ("stopped", 9)
    hold(service)


@root
@needs_root
def test_f64_without_inodes_nothing_new_begins_and_nothing_old_is_lost(
    crowded: tuple[Service, Path], folder: Path
) -> None:
    service, disk = crowded
    gate = folder / "gate"
    process = service.launch("needy:chatter", str(gate), 7)
    service.wait_for_log(process, "1 x")
    ballast = disk / ".ballast"
    ballast.mkdir()
    with suppress(OSError):
        for number in range(1000):
            (ballast / str(number)).touch()
    refused = service.client.post("/processes", json={"target": "hostile:say"})
    assert refused.status_code in (503, 507)
    assert "No space left" in refused.text
    gate.touch()
    ended = service.join(process)
    assert ended["exitcode"] == 7
    assert journal(service, ended).entries[-1]["event"] == "stopped"
    for file in ballast.iterdir():
        file.unlink()
    ballast.rmdir()
    assert service.join(service.launch("hostile:say"))["outcome"] == "succeeded"
    hold(service)


# --- a broken disk --------------------------------------------------------------------------------------------------


@root
@needs_root
def test_f68_what_a_sync_failed_for_is_written_into_a_new_file(service: Service) -> None:
    process = service.launch("hostile:wait_for_file", str(service.folder / "gate"), 3)
    path = service.data_dir / "runs" / process["id"] / run_folder.JOURNAL
    before = path.stat().st_ino
    with failing_calls(keeper_of(service, process), "fdatasync:error=EIO:when=1"):
        service.post(process, "signal", signal="SIGCONT")
        wait_until(lambda: path.stat().st_ino != before, 10, "the journal is still the old file")
    (service.folder / "gate").touch()
    assert service.join(process)["exitcode"] == 3
    entries, damage = journal(service, process)
    assert damage is None
    assert [entry["event"] for entry in entries] == ["started", "signalled", "stopped"]
    hold(service)


@root
@needs_root
def test_f68_a_disk_that_turns_read_only_ends_no_process_and_hides_no_end(on_ext4: tuple[Service, Path]) -> None:
    """The journal can't be written any more: the service is told, and the record has it."""
    service, disk = on_ext4
    process = service.launch("hostile:wait_for_file", str(service.folder / "gate"), 4)
    pid, keeper = process["pid"], keeper_of(service, process)
    command("mount", "-o", "remount,abort", disk)
    service.post(process, "signal", signal="SIGCONT")
    assert is_alive(pid)
    (service.folder / "gate").touch()
    assert service.join(process)["exitcode"] == 4
    assert is_alive(keeper)  # it waits for the disk
    os.kill(keeper, signal.SIGKILL)
    service.kill()
    service.start(ready=False)
    assert (service.get(process)["state"], service.get(process)["exitcode"]) == ("exited", 4)


@root
@needs_root
def test_f69_a_disk_that_stands_still_delays_no_child_before_its_pipe_is_full(on_ext4: tuple[Service, Path]) -> None:
    service, disk = on_ext4
    truth, gate = service.folder / "truth", service.folder / "gate"
    process = service.launch("hostile:tick_until", str(truth), str(gate), 0.01)
    service.wait_for_log(process, "1\n")
    with frozen(disk):
        lines = len(truth.read_text().splitlines())
        wait_until(lambda: len(truth.read_text().splitlines()) > lines + 100, 10, "the child waits for the disk")
        assert service.client.get("/processes").status_code == 200
        assert service.get(process)["is_alive"]
    gate.touch()
    assert service.join(process)["exitcode"] == 0
    output_is_whole(service, process, truth)
    hold(service)


# --- descriptors and processes --------------------------------------------------------------------------------------


@root
@needs_root
def test_f66_a_launcher_without_descriptors_refuses_with_the_reason_and_recovers(service: Service) -> None:
    spare_keeper(service)
    launcher = next(pid for pid in service.launcher_pids if posix.children(pid))
    with file_limit(launcher, 4):
        answers = [service.launch("hostile:say") for _ in range(3)]
        ends = [service.join(process) for process in answers]
    assert ends[0]["outcome"] == "succeeded"  # by the keeper that was forked ahead
    assert {process["outcome"] for process in ends[1:]} == {"not_started"}
    assert "Too many open files" in ends[1]["exit_summary"]
    assert service.join(service.launch("hostile:say"))["outcome"] == "succeeded"
    hold(service)


@root
@needs_root
@pytest.mark.parametrize("free", [1, 2, 3])
def test_f66_a_keeper_without_descriptors_starts_nothing_and_says_why(service: Service, free: int) -> None:
    """However few there are: it runs, or nothing of it was begun and the reason is known."""
    keeper, count = spare_keeper(service), service.folder / "count"
    with file_limit(keeper, limit_leaving(keeper, free)):
        ended = service.join(service.launch("hostile:count", str(count)))
    if ended["outcome"] != "succeeded":
        assert ended["outcome"] in ("not_started", "lost")
        assert not count.exists()
        said = [ended["exit_summary"], *(row["reason"] or "" for row in service.transitions(ended))]
        assert "Too many open files" in " ".join(said)
    assert service.join(service.launch("hostile:say"))["outcome"] == "succeeded"
    hold(service)


@root
@needs_root
def test_f66_a_keeper_whose_descriptors_go_while_it_keeps_goes_on(service: Service) -> None:
    truth, gate = service.folder / "truth", service.folder / "gate"
    process = service.launch("hostile:tick_until", str(truth), str(gate), 0.01, 6)
    service.wait_for_log(process, "1\n")
    keeper = keeper_of(service, process)
    with file_limit(keeper, limit_leaving(keeper, 0)):
        service.post(process, "signal", signal="SIGCONT")
        gate.touch()
        ended = service.join(process)
    assert ended["exitcode"] == 6
    output_is_whole(service, process, truth)
    hold(service)


def limit_leaving(pid: int, free: int) -> int:
    """The limit with which ``pid`` gets so many descriptors more."""
    taken = {int(fd.name) for fd in Path(f"/proc/{pid}/fd").iterdir()}
    unused = (number for number in itertools.count() if number not in taken)
    return next(itertools.islice(unused, free, None))


@root
@needs_root
def test_f67_a_fork_that_is_refused_is_a_launch_that_is_not_started(service: Service) -> None:
    spare_keeper(service)
    launcher = next(pid for pid in service.launcher_pids if posix.children(pid))
    with control_group("pids", max=1) as join:
        # It stays in the group when that is gone but for its limit: the second group has none.
        join(launcher)
        ends = [service.join(service.launch("hostile:say")) for _ in range(2)]
        Path("/sys/fs/cgroup/pids/cgroup.procs").write_text(str(launcher))
    assert [process["outcome"] for process in ends] == ["succeeded", "not_started"]
    assert "Resource temporarily unavailable" in ends[1]["exit_summary"]
    assert service.join(service.launch("hostile:say"))["outcome"] == "succeeded"
    hold(service)


@root
@needs_root
@pytest.mark.parametrize("action", ["kill", "stop"])
def test_f30_a_fork_bomb_is_ended_with_all_it_became(folder: Path, action: str) -> None:
    runtime = Runtime(folder / "runtime", ["needy"], [folder]).start()
    try:
        with control_group("pids", max=60) as join:
            run = runtime.create("bomb", str(folder / "lit"))
            wait_until(lambda: posix.descendants(runtime.process.pid)[1:], 10, "no keeper waits for the launch")
            (waiting,) = posix.children(runtime.process.pid)
            join(waiting)
            for pid in posix.children(waiting):
                join(pid)
            runtime.ask(run)
            wait_until((folder / "lit").exists, 10, "it does not run")
            run.end(action, tree=True, grace=0.1)
            run.wait(lambda: run.keeper_status is not None, "the keeper lives on", 60)
            assert run.facts["exitcode"] in (-signal.SIGKILL, -signal.SIGTERM)
    finally:
        runtime.close()


# --- memory ---------------------------------------------------------------------------------------------------------


@root
@needs_root
def test_f18_a_child_that_the_kernel_ends_for_its_memory_is_said_to_be(folder: Path) -> None:
    service = service_in(folder)
    try:
        with control_group("memory", limit_in_bytes=400 * 2**20) as join:
            with ourselves_in("memory", join):
                service.start()
            process = service.launch("needy:hungry", 2000)
            keeper = keeper_of(service, process)
            ended = service.join(process)
            assert (ended["outcome"], ended["exitcode"]) == ("crashed", -signal.SIGKILL)
            assert ended["detail"]["oom_killed"] is True
            assert "because the memory of its control group (400.0 MiB at most) was used up" in ended["exit_summary"]
            wait_until(lambda: not is_alive(keeper), 10, "the keeper does not end")
            killed = service.launch("hostile:nap")
            os.kill(killed["pid"], signal.SIGKILL)
            ended = service.join(killed)
            assert "oom_killed" not in ended["detail"]  # the count is of before it was started
            assert ended["outcome"] == "crashed"
            hold(service)
            service.close()
    finally:
        service.close()


@root
@needs_root
def test_f19_service_and_keepers_are_taken_last_and_children_as_the_rest(service: Service) -> None:
    ours = oom.score()
    protected = oom.PROTECTED if _may_protect() else ours
    process = service.launch("hostile:nap")
    spawned = service.launch("hostile:nap", start_method="spawn")
    assert score_of(service.pid) == protected
    assert {score_of(launcher) for launcher in service.launcher_pids} == {ours}
    for one in (process, spawned):
        assert score_of(keeper_of(service, one)) == protected
        assert score_of(one["pid"]) == ours
        service.post(one, "kill")
        service.join(one)
    hold(service)


def _may_protect() -> bool:
    """Whether the kernel lets us: root may lack the capability in a container."""
    look = "from procdeck import oom; oom.protect(); print(oom.score())"
    told = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    return told.stdout.strip() == str(oom.PROTECTED)


def score_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def test_f70_a_path_longer_than_the_address_of_a_socket_is_no_hindrance(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    service = Service(deep, [HOSTILE])
    try:
        living = service.start().launch("hostile:nap")
        service.kill()
        assert service.start().get(living)["pid"] == living["pid"]
        assert service.post(living, "terminate")["id"] == living["id"]
        assert service.join(living)["exitcode"] == -signal.SIGTERM
        hold(service)
    finally:
        service.close()
