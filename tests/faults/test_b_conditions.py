"""Section B, conditions: a process that lives and does not do what it should is named as such, and holds up nobody."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.inject import ext4, frozen
from tests.faults.invariants import hold
from tests.service import COMMAND, HOSTILE, JSON, Service
from tests.waiting import wait_until

TARGETS = """
import os, shutil, sys, threading, time
from pathlib import Path

def write_to(path):
    print("writing", flush=True)
    with open(path, "ab", buffering=0) as file:
        file.write(b"x" * 4096)
        os.fsync(file.fileno())

def hang_at_exit(gate):
    import atexit
    from multiprocessing import util

    def wait():
        while not Path(gate).exists():
            time.sleep(0.01)

    util.Finalize(None, wait, exitpriority=1)
    print("returning", flush=True)
    return "the result"

def exit_with_a_thread():
    threading.Thread(target=time.sleep, args=[1000]).start()
    print("leaving", flush=True)
    sys.exit(5)

def log_folder():
    links = (fd.resolve() for fd in Path("/proc/self/fd").iterdir())
    return next(link for link in links if link.name == "lock").parent / "log"

def talk_and_spoil(how, gate):
    folder = log_folder()
    print("before", flush=True)
    while not list(folder.glob("*.log")):
        time.sleep(0.01)
    segment = max(folder.glob("*.log"))
    while not segment.stat().st_size:
        time.sleep(0.01)
    if how == "remove":
        segment.unlink()
    elif how == "cut":
        os.truncate(segment, 0)
    elif how == "link":
        segment.unlink()
        segment.symlink_to("/etc/passwd")
    elif how == "link the folder":
        shutil.rmtree(folder)
        folder.symlink_to("/etc")
    elif how == "remove the folder":
        shutil.rmtree(folder)
    elif how == "the journal":
        (folder.parent / "journal.ndjson").unlink()
        (folder.parent / "journal.ndjson").symlink_to("/etc/passwd")
    print("after", flush=True)
    while not Path(gate).exists():
        time.sleep(0.01)
    sys.exit(7)
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("conditions")
    (folder / "odd.py").write_text(TARGETS)
    service = Service(folder, [HOSTILE, folder / "odd.py"])
    try:
        yield service.start()
    finally:
        service.close()


def wait_for_condition(service: Service, process: JSON, condition: str | None, seconds: float = 10) -> None:
    wait_until(
        lambda: service.get(process)["condition"] == condition,
        seconds,
        lambda: f"it is {service.get(process)['condition']}, not {condition}",
    )


def shown(service: Service, process: JSON) -> str:
    """What the command line says of it."""
    told = subprocess.run(
        [COMMAND, "show", process["id"], "--data-dir", service.data_dir], capture_output=True, text=True, check=True
    )
    return told.stdout


def test_f21_a_stopped_process_is_shown_as_paused_and_ends_when_it_is_asked_to(service: Service) -> None:
    process = service.launch("hostile:until_stopped", grace=60)
    service.wait_for_log(process, "waiting")
    assert process["condition"] is None
    os.kill(process["pid"], signal.SIGSTOP)
    wait_for_condition(service, process, "paused")
    assert service.get(process)["state"] == "running"
    assert "running (paused)" in shown(service, process)
    os.kill(process["pid"], signal.SIGCONT)
    wait_for_condition(service, process, None)
    os.kill(process["pid"], signal.SIGSTOP)
    wait_for_condition(service, process, "paused")
    service.post(process, "stop")
    ended = service.join(process)
    assert (ended["outcome"], ended["result"], ended["condition"]) == ("stopped", "stopped politely", None)
    hold(service)


def test_f21_a_stopped_process_gets_sigterm_at_once(service: Service) -> None:
    process = service.launch("hostile:nap", grace=60)
    os.kill(process["pid"], signal.SIGSTOP)
    wait_for_condition(service, process, "paused")
    service.post(process, "terminate")
    assert service.join(process)["exitcode"] == -signal.SIGTERM


def test_f21_a_condition_is_known_again_after_a_restart_of_the_service(service: Service) -> None:
    process = service.launch("hostile:nap")
    os.kill(process["pid"], signal.SIGSTOP)
    wait_for_condition(service, process, "paused")
    service.kill()
    service.start()
    wait_for_condition(service, process, "paused")
    service.post(process, "kill")
    assert service.join(process)["condition"] is None
    hold(service)


@pytest.mark.root
@pytest.mark.usefixtures("needs_root")
def test_f22_an_unkillable_process_is_said_to_be_and_delays_nobody(service: Service, tmp_path: Path) -> None:
    with ext4(tmp_path / "disk") as disk:
        other = service.launch("hostile:nap")
        with frozen(disk):
            stuck = service.launch("odd:write_to", str(disk / "file"))
            service.wait_for_log(stuck, "writing")
            wait_until(lambda: _state(stuck["pid"]) == "D", 10, "it does not hang")
            assert service.post(stuck, "kill")["state"] == "stopping"
            wait_for_condition(service, stuck, "unkillable")
            service.post(other, "kill")
            assert service.join(other, 5)["exitcode"] == -signal.SIGKILL
            assert "stopping (unkillable)" in shown(service, stuck)
            assert service.get(stuck)["is_alive"]
        ended = service.join(stuck)
        assert (ended["outcome"], ended["exitcode"], ended["condition"]) == ("stopped", -signal.SIGKILL, None)
    hold(service)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.parametrize(
    ("target", "words"), [("hostile:leave_a_thread", "returning"), ("odd:exit_with_a_thread", "leaving")]
)
def test_f32_a_thread_that_outlives_the_target_is_told_of_and_can_be_ended(
    service: Service, target: str, words: str
) -> None:
    process = service.launch(target)
    service.wait_for_log(process, words)
    wait_for_condition(service, process, "returned")
    assert service.get(process)["state"] == "running"
    service.post(process, "terminate", grace=5)
    assert service.join(process)["exitcode"] == -signal.SIGTERM
    hold(service)


def test_f32_an_exit_handler_that_hangs_is_told_of_and_the_result_is_kept(service: Service, tmp_path: Path) -> None:
    process = service.launch("odd:hang_at_exit", str(tmp_path / "gate"))
    service.wait_for_log(process, "returning")
    wait_for_condition(service, process, "returned")
    (tmp_path / "gate").touch()
    ended = service.join(process)
    assert (ended["exitcode"], ended["result"]) == (0, "the result")


@pytest.mark.parametrize("how", ["remove", "cut", "link", "link the folder", "remove the folder", "the journal"])
def test_f37_a_target_that_spoils_its_own_run_folder_harms_only_its_own_log(
    service: Service, tmp_path: Path, how: str
) -> None:
    process = service.launch("odd:talk_and_spoil", how, str(tmp_path / "gate"))
    service.wait_for_log(process, "after")
    text = service.log(process)
    assert "root:" not in text  # of /etc/passwd
    if how != "the journal":
        assert "bytes of this log were removed or changed by somebody else]" in text
        assert "before" not in text
    (tmp_path / "gate").touch()
    assert service.join(process)["exitcode"] == 7
    assert not (service.data_dir / "runs" / process["id"] / "journal.ndjson").is_symlink()
    hold(service)
