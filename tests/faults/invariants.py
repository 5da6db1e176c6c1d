"""What must hold after every fault, checked against the kernel and the run folders and not against our own word.

- one end: each process has exactly one final row in its history, the last, and it never changes;
- no invented exit code: it is the one of the exit record, or null;
- every output byte is in the log, or counted;
- true states: alive means that its keeper and its pid live, over means that nothing of it lives;
- nothing unknown: every run folder has its record.
"""

import os
import re
import signal
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from procdeck import posix, run_folder
from procdeck.states import FINAL
from tests.service import Service
from tests.waiting import wait_until

TRUE_WITHIN = 10.0
"""Seconds until what the service says has to be true again, after whatever happened."""

JSON = dict[str, Any]


def hold(service: Service, settled: Collection[str | None] = ()) -> list[JSON]:
    """Assert all of them of the running ``service``, as soon as they hold and within `TRUE_WITHIN`; its processes.

    Of those with the ids ``settled``, which were over and well before, the histories are not read again.
    """
    found: list[str] = []

    def is_well() -> bool:
        found[:] = violations(service, settled)
        return not found

    wait_until(is_well, TRUE_WITHIN, lambda: "\n".join(["these do not hold:", *found]))
    return every(service)


def every(service: Service) -> list[JSON]:
    """All processes of the record, newest first."""
    items: list[JSON] = []
    cursor = None
    while True:
        page = service.client.get("/processes", params={"limit": 500} | ({"cursor": cursor} if cursor else {})).json()
        items += page["items"]
        cursor = page["next"]
        if cursor is None:
            return items


def violations(service: Service, settled: Collection[str | None] = ()) -> list[str]:
    """What does not hold now, a sentence each."""
    runs = service.data_dir / "runs"
    processes = every(service)
    living = service.tree_pids()
    unsettled = [process for process in processes if process["id"] not in settled]
    found = [f"{process['id']}: {text}" for process in unsettled for text in _of_process(service, process)]
    known = {process["id"]: process for process in processes}
    folders = {folder.name for folder in runs.iterdir() if not folder.name.startswith(".")}
    found += [f"{name}: a run folder that the record does not know" for name in folders - set(known)]
    for pid in living:
        owner = owner_of(pid, runs)
        if owner in known and known[owner]["state"] in FINAL:
            found.append(f"{owner}: it is {known[owner]['state']}, and pid {pid} of its tree lives")
    return found


def owner_of(pid: int, runs: Path) -> str | None:
    """Which process ``pid`` is of: its keeper, its child and what that forked hold a file of the run folder; what it
    ran has its id in the environment."""
    with suppress(OSError):
        for variable in posix.read_file(f"/proc/{pid}/environ", 1 << 20).split(b"\0"):
            if variable.startswith(b"PROCDECK_ID="):
                return variable.partition(b"=")[2].decode()
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                link = fd.readlink()
                if link.is_relative_to(runs):
                    return link.relative_to(runs).parts[0]
    return None


def _of_process(service: Service, process: JSON) -> list[str]:
    rows = service.transitions(process)
    folder = service.data_dir / "runs" / process["id"]
    found = []
    if [row["seq"] for row in rows] != list(range(1, len(rows) + 1)):
        found.append("its history has gaps or repeats")
    ends = [row for row in rows if row["to"] in FINAL and row["from"] != row["to"]]
    if len(ends) != (process["state"] in FINAL) or (ends and rows[-1] is not ends[0]):
        found.append(f"it has {len(ends)} ends, and is {process['state']}")
    if rows and rows[-1]["to"] != process["state"]:
        found.append(f"its history ends with {rows[-1]['to']}, and it is {process['state']}")
    if process["exitcode"] != _recorded_code(folder):
        found.append(f"its exit code is {process['exitcode']}, and the exit record says {_recorded_code(folder)}")
    if process["state"] in ("running", "stopping"):
        found += _of_living(folder, process)
    elif process["state"] in FINAL and run_folder.is_kept(str(folder)):
        found.append(f"it is {process['state']}, and its keeper lives")
    return found


def _recorded_code(folder: Path) -> int | None:
    try:
        entries = run_folder.read_journal(str(folder)).entries
    except OSError:
        return None
    codes: list[int | None] = [entry["data"].get("exitcode") for entry in entries if entry["event"] == "stopped"]
    return codes[0] if codes else None


def _of_living(folder: Path, process: JSON) -> list[str]:
    stat = posix.stat(process["pid"])
    if not run_folder.is_kept(str(folder)):
        return [f"it is {process['state']}, and no keeper holds its folder"]
    if stat is None or stat.state == "Z":
        return [f"it is {process['state']}, and pid {process['pid']} is not there"]
    return []


def output_is_whole(service: Service, process: JSON, truth: Path) -> None:
    """Assert that the log of ``process`` holds every line that it wrote into the file ``truth`` too, in order, each
    once, and says how many bytes it lacks; the last line may be in either alone, when the process was killed between
    the two writes."""
    written, logged = truth.read_text().splitlines(), service.log(process).splitlines()
    notes = [note for line in logged if (note := DROPPED.fullmatch(line))]
    logged = [line for line in logged if not DROPPED.fullmatch(line)]
    if process["outcome"] == "lost":  # what was in the pipe when its keeper was killed nobody has read
        assert logged == written[: len(logged)]
        return
    if logged and (not written or logged[-1] != written[-1]) and logged[-2:-1] == written[-1:]:
        logged.pop()
    found = iter(written)
    assert all(line in found for line in logged), "the log has lines that were not written, or not in this order"
    lacking = _bytes(written) - _bytes(logged)
    dropped = sum(int(note[1]) for note in notes)
    last = _bytes(written[-1:]) if process["exitcode"] is None or process["exitcode"] < 0 else 0
    assert lacking in (dropped, dropped + last), f"{lacking} bytes are not in the log, which says {dropped}"


DROPPED = re.compile(r"\[procdeck: (\d+) bytes of output could not be written\]")


def _bytes(lines: list[str]) -> int:
    return sum(len(line.encode()) + 1 for line in lines)


def kill(pid: int) -> None:
    """SIGKILL, and wait until it is gone: from now on it does nothing more."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: (stat := posix.stat(pid)) is None or stat.state == "Z", 10, f"pid {pid} lives on")
