"""What must hold after every fault, checked against the kernel and the run folders and not against our own word.

- one end: each process has exactly one final row in its history, the last, and it never changes;
- no invented exit code: it is the one of the exit record, or null;
- every output byte is in the log, or counted;
- true states: alive means that its keeper and its pid live, over means that nothing of it lives;
- nothing unknown: every run folder has its record.
"""

from pathlib import Path
from typing import Any

from procdeck import posix, run_folder
from procdeck.states import FINAL
from tests.service import Service
from tests.waiting import wait_until

TRUE_WITHIN = 10.0
"""Seconds until what the service says has to be true again, after whatever happened."""

JSON = dict[str, Any]


def hold(service: Service) -> list[JSON]:
    """Assert all of them of the running ``service``, as soon as they hold and within `TRUE_WITHIN`; its processes."""
    found: list[str] = []

    def is_well() -> bool:
        found[:] = violations(service)
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


def violations(service: Service) -> list[str]:
    """What does not hold now, a sentence each."""
    runs = service.data_dir / "runs"
    processes = every(service)
    living = service.tree_pids()
    found = [f"{process['id']}: {text}" for process in processes for text in _of_process(service, process)]
    known = {process["id"] for process in processes}
    folders = {folder.name for folder in runs.iterdir() if not folder.name.startswith(".")}
    found += [f"{name}: a run folder that the record does not know" for name in folders - known]
    if not any(process["is_alive"] for process in processes):
        spares = {pid for launcher in service.launcher_pids for pid in (launcher, *posix.descendants(launcher))}
        found += [f"pid {pid} lives, and every process is over" for pid in living if pid not in spares]
    return found


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
        entries = run_folder.read_journal(str(folder))
    except (OSError, ValueError):
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
    once; the last one may be in either alone, when the process was killed between the two writes."""
    written, logged = truth.read_text().splitlines(), service.log(process).splitlines()
    longer, shorter = (written, logged) if len(written) >= len(logged) else (logged, written)
    assert len(longer) - len(shorter) <= 1, f"{len(written)} lines were written, {len(logged)} are in the log"
    assert longer[: len(shorter)] == shorter
