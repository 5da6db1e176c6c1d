"""Section G and F48: somebody removes, moves or copies what a keeper writes while it writes it."""

import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from procdeck import run_folder
from tests.faults.invariants import hold
from tests.runtime import is_alive
from tests.service import HOSTILE, JSON, Service
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("folders"), [HOSTILE])
    try:
        yield service.start()
    finally:
        service.close()


def folder_of(service: Service, process: JSON) -> Path:
    return service.data_dir / "runs" / str(process["id"])


def remove(folder: Path, aside: Path) -> None:
    """At one go: while one file after the other goes, its keeper makes new ones."""
    shutil.rmtree(folder.rename(aside / "removed"))


def ticking(service: Service, folder: Path, code: int) -> tuple[JSON, Path, Path]:
    """A process that prints until the gate is there: the process, its truth, the gate."""
    truth, gate = folder / "truth", folder / "gate"
    process = service.launch("hostile:tick_until", str(truth), str(gate), 0.002, code)
    service.wait_for_log(process, "1\n")
    return process, truth, gate


def test_f48_a_log_that_is_removed_again_and_again_goes_on_and_says_so(service: Service, tmp_path: Path) -> None:
    process, truth, gate = ticking(service, tmp_path, 5)
    log = folder_of(service, process) / "log"
    for _ in range(5):
        for segment in log.glob("*.log"):
            segment.unlink()
        wait_until(lambda: any(segment.stat().st_size for segment in log.glob("*.log")), 10, "no new segment")
    lines = len(truth.read_text().splitlines())
    wait_until(lambda: len(truth.read_text().splitlines()) > lines + 100, 10, "the child stands still")
    gate.touch()
    ended = service.join(process)
    assert ended["exitcode"] == 5
    text = service.log(ended)
    assert re.match(r"\[procdeck: \d+ bytes of this log were removed or changed by somebody else\]\n", text)
    kept = text.partition("\n")[2]
    assert truth.read_text().endswith(kept)  # nothing is missing but what was said to be
    hold(service)


def test_f48_logrotate_finds_the_segment_and_the_writer_begins_another(service: Service, tmp_path: Path) -> None:
    process, truth, gate = ticking(service, tmp_path, 5)
    segment = min((folder_of(service, process) / "log").glob("*.log"))
    segment.rename(tmp_path / "rotated")
    segment.touch()
    service.wait_for_log(process, "removed or changed by somebody else]")
    gate.touch()
    service.join(process)
    kept = service.log(process).partition("\n")[2]
    assert truth.read_text().endswith(kept)
    moved = [line.split(" ", 3)[3] for line in (tmp_path / "rotated").read_text().splitlines()]
    assert moved == truth.read_text().splitlines()[: len(moved)]
    assert len(moved) + len(kept.splitlines()) == len(truth.read_text().splitlines())
    hold(service)


def test_f84_a_run_folder_that_is_removed_while_it_runs_is_made_again(service: Service, tmp_path: Path) -> None:
    process, truth, gate = ticking(service, tmp_path, 6)
    folder = folder_of(service, process)
    spec = run_folder.read_spec(str(folder))
    remove(folder, tmp_path)
    wait_until(lambda: run_folder.is_kept(str(folder)), 20, "the folder is not there again")
    wait_until(lambda: run_folder.read_journal(str(folder)).entries, 10, "the journal is not there again")
    assert run_folder.read_spec(str(folder)) == spec
    assert is_alive(process["pid"])
    service.kill()
    service.start()
    assert service.get(process)["state"] == "running"
    gate.touch()
    ended = service.join(process)
    assert ended["exitcode"] == 6
    events = [entry["event"] for entry in run_folder.read_journal(str(folder)).entries]
    assert events == ["started", "stopped"]
    assert service.log(ended).endswith("end\n")
    assert truth.read_text().endswith("end\n")
    hold(service)


def test_f84_a_run_folder_that_is_removed_right_before_the_end_keeps_its_exit_code(
    service: Service, tmp_path: Path
) -> None:
    process = service.launch("hostile:nap")
    remove(folder_of(service, process), tmp_path)
    service.post(process, "kill")
    assert service.join(process)["exitcode"] == -signal.SIGKILL
    hold(service)


def test_a_copy_of_a_data_folder_is_no_leave_to_end_the_processes_of_the_original(
    service: Service, tmp_path: Path
) -> None:
    """A backup that is tried out beside the living original: its journals name the original's processes."""
    process = service.launch("hostile:become", "sleep", "1000")
    family = service.launch("hostile:family", kwargs={"wait": True})
    service.wait_for_log(family, "grandchild")
    grandchild = int(service.log(family).split()[1])
    pids = [process["pid"], family["pid"], grandchild]
    copy = Service(tmp_path, [HOSTILE])
    shutil.copytree(
        service.data_dir, copy.data_dir, symlinks=True, ignore=shutil.ignore_patterns("*.sock", "service.*")
    )
    try:
        copy.start()
        wait_until(lambda: {copy.get(one)["state"] for one in (process, family)} == {"lost"}, 20, "they are not lost")
        assert all(map(is_alive, pids))
        copy.stop()
    finally:
        # Not by `close`: those that carry the ids are the original's.
        if copy.data_dir.exists():
            copy.data_dir.rename(tmp_path / "closed")
        copy.close()
    assert all(map(is_alive, pids))
    assert all(service.get(one)["state"] == "running" for one in (process, family))
    for one in (process, family):
        service.post(one, "kill")
        service.join(one)
    hold(service)
