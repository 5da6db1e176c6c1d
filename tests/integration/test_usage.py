"""What a keeper writes of what its process uses, and what it takes from progress bars in its output."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from procdeck import usage
from tests.runtime import Run, Runtime

TARGETS = '''
import os, sys, time
from pathlib import Path
from procdeck import progress

def work(gate):
    """Uses more memory and more CPU from step to step."""
    held = []
    while not Path(gate).exists():
        held.append(b"x" * 1_000_000)
        end = time.process_time() + 0.01
        while time.process_time() < end:
            pass
        time.sleep(0.02)

def idle(gate):
    while not Path(gate).exists():
        time.sleep(0.05)

def hold(count):
    kept = [open("/dev/null") for _ in range(count)]
    print("held", flush=True)
    time.sleep(1000)

def bars(gate, tell=False):
    """Draws as tqdm does, two bars below each other."""
    if tell:
        progress(0.9, "told")
    for done in range(0, 101, 10):
        outer = f"\\router: {done:3}%|##  | {done}/100 [00:01<00:09, 10.0it/s]"
        inner = f"\\n\\rinner: 50%|##  | 1/2 [00:00<00:00, 2.0it/s]\\x1b[A"
        sys.stderr.write(outer + inner)
        sys.stderr.flush()
        time.sleep(0.02)
    print("drawn", flush=True)
    while not Path(gate).exists():
        time.sleep(0.02)
'''

FAST = {"SAMPLE_MIN": 0.05, "SAMPLE_WATCHED_MAX": 0.05, "SAMPLE_MAX": 0.1}


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    (tmp_path / "usage_targets.py").write_text(TARGETS)
    made = Runtime(tmp_path, ["usage_targets"], [tmp_path], constants=FAST).start()
    yield made
    made.close()


def history(run: Run) -> list[usage.Point]:
    return usage.read(str(run.folder / usage.USAGE))


def test_what_it_used_is_written_with_the_service_gone_as_well(runtime: Runtime, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run = runtime.launch("usage_targets:work", str(gate))
    run.wait(lambda: len(history(run)) >= 3, "no history")
    runtime.vanish()
    before = len(history(run))
    run.wait(lambda: len(history(run)) >= before + 5, "it ends without the service")
    gate.touch()
    run.wait_for_event("stopped")
    points = history(run)
    assert all(one.at < other.at and one.cpu_seconds <= other.cpu_seconds for one, other in pairwise(points))
    assert points[-1].rss_bytes > points[0].rss_bytes + 1_000_000
    assert points[-1].threads == points[-1].processes == 1
    assert points[-1].open_files >= 3
    assert (run.folder / usage.USAGE).stat().st_size == len(usage.MAGIC) + len(points) * usage.RECORD.size
    assert run.facts["last_sample"]["rss_bytes"] > 0
    assert run.keeper_log == ""


def test_who_does_nothing_writes_nothing(runtime: Runtime, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run = runtime.launch("usage_targets:idle", str(gate))
    run.wait(lambda: len(history(run)) >= 1, "no history")
    run.wait_for_hello()
    said = len(run.told("sample"))
    # It is measured on: each time that it is watched.
    for on in (True, False) * 10:
        run.send("watch", on=on)
    gate.touch()
    run.until_gone()
    points = history(run)
    assert len(points) <= 2 * (len(run.told("sample")) + said) + 2
    assert points[-1].at >= points[0].at


def test_open_files_are_counted(runtime: Runtime) -> None:
    run = runtime.launch("usage_targets:hold", 300)
    run.wait_for_text("held")
    run.wait(lambda: history(run) and history(run)[-1].open_files >= 300, "they are not counted")
    assert run.told("sample")[-1]["sample"]["open_files"] >= 300
    run.end("kill")
    run.until_told_over()


@pytest.mark.parametrize("harm", ["removed", "folder", "foreign"])
def test_what_is_done_to_the_file_harms_nobody(runtime: Runtime, tmp_path: Path, harm: str) -> None:
    gate = tmp_path / "gate"
    run = runtime.launch("usage_targets:work", str(gate))
    run.wait(lambda: len(history(run)) >= 2, "no history")
    path = run.folder / usage.USAGE
    if harm == "foreign":
        path.write_bytes(b"of somebody else" * 10_000)
    else:
        path.unlink()
    if harm == "folder":
        path.mkdir()
    else:
        run.wait(lambda: len(history(run)) >= 2 or harm == "foreign", "it does not go on")
    gate.touch()
    assert run.until_told_over()["exitcode"] == 0
    run.until_gone()
    assert run.keeper_log == ""
    assert path.is_dir() or path.stat().st_size <= max(usage.MOST_BYTES, 160_000)


@pytest.mark.parametrize("tell", [False, True])
def test_a_bar_is_told_as_progress_unless_the_target_tells_its_own(
    runtime: Runtime, tmp_path: Path, tell: bool
) -> None:
    gate = tmp_path / "gate"
    run = runtime.launch("usage_targets:bars", str(gate), tell)
    run.wait_for_text("drawn")
    wanted = (0.9, "told") if tell else (1.0, "outer: 100/100, 10.0it/s, 00:09 left")
    run.wait(lambda: list(map(figures, run.told("progress")))[-1:] == [wanted], "it is not told")
    told = [figures(message)[0] for message in run.told("progress")]
    assert told == sorted(told), "the inner bar was taken for the outer one"
    gate.touch()
    assert figures(run.until_told_over()) == wanted


def figures(told: dict[str, Any]) -> tuple[float, str]:
    return told["progress"]["fraction"], told["progress"]["message"]


def test_the_last_bar_is_in_the_exit_record(runtime: Runtime, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    run = runtime.launch("usage_targets:bars", str(gate))
    assert run.until_told_over()["progress"]["fraction"] == 1.0
