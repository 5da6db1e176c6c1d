"""Finished processes go by the settings and by `prune`; what is alive, queued or created stays."""

import contextlib
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from tests.service import COMMAND, HOSTILE, JSON, Service
from tests.waiting import wait_until

PROBLEM = "application/problem+json"


def run(service: Service, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line on the service's data folder."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PROCDECK_")}
    command = [str(COMMAND), *words, "--data-dir", str(service.data_dir)]
    return subprocess.run(command, cwd=service.folder, env=environ, capture_output=True, text=True, timeout=60)


def numbers(service: Service) -> list[int]:
    found = service.client.get("/processes", params={"limit": 500}).json()["items"]
    folders = [each for each in (service.data_dir / "runs").iterdir() if not each.name.startswith(".")]
    assert len(folders) == len(found)
    return sorted(process["number"] for process in found)


def prune(service: Service, status: int = 200, **body: object) -> Any:
    answer = service.client.post("/prune", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def metric(service: Service, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", service.client.get(f"{service.url}/metrics").text, re.MULTILINE)
    assert found
    return float(found[1])


def is_measured(service: Service, process: JSON) -> bool:
    return service.get(process)["disk_bytes"] is not None


def test_prune_by_api_and_by_command(tmp_path: Path) -> None:
    service = Service(tmp_path, [HOSTILE], ["--max-processes", "1"]).start()
    try:
        said = [service.join(service.launch("hostile:say", str(number))) for number in range(4)]
        left = service.join(service.launch("hostile:leave", 3))
        running = service.launch("hostile:nap")
        created = service.launch("hostile:say", start=False)
        wait_until(lambda: all(is_measured(service, process) for process in [*said, left]), 10, "not measured")
        assert service.get(running)["disk_bytes"] is None

        refused = prune(service, 422)
        assert "Nothing was removed" in refused["detail"]
        assert [error["field"] for error in refused["errors"]] == ["older_than_days", "keep_per_target", "keep_bytes"]
        assert prune(service, 422, keep_per_target=0)["errors"][0]["field"] == "keep_per_target"
        assert prune(service, 422, older_than_days=-1)["errors"][0]["field"] == "older_than_days"
        assert numbers(service) == [1, 2, 3, 4, 5, 6, 7]

        would = prune(service, keep_per_target=1, dry_run=True)
        assert [(item["number"], item["reason"]) for item in would["items"]] == [
            (1, "count"),
            (2, "count"),
            (3, "count"),
        ]
        assert (would["count"], would["dry_run"]) == (3, True)
        assert would["bytes"] == sum(item["bytes"] for item in would["items"]) > 0
        assert numbers(service) == [1, 2, 3, 4, 5, 6, 7]

        assert prune(service, keep_per_target=1, target="hostile:leave")["count"] == 0
        done = prune(service, keep_per_target=3)
        assert [item["number"] for item in done["items"]] == [1]
        assert service.client.get(f"/processes/{said[0]['id']}").status_code == 404
        assert metric(service, "procdeck_pruned_processes_total") == 1

        # The same from the command line, through the service.
        told = run(service, "prune", "--keep-per-target", "2", "--dry-run")
        assert (told.returncode, "would be removed" in told.stdout) == (0, True), told
        done = json.loads(run(service, "prune", "--keep-per-target", "2", "--json").stdout)
        assert [item["number"] for item in done["items"]] == [2]
        assert run(service, "prune").returncode == os.EX_DATAERR
        assert run(service, "prune", "--keep-bytes", "lots").returncode == 2
        assert numbers(service) == [3, 4, 5, 6, 7]

        # And without one; what runs goes on meanwhile.
        service.kill()
        refused = run(service, "prune")
        assert (refused.returncode, "Nothing was removed" in refused.stderr) == (os.EX_DATAERR, True), refused
        told = run(service, "prune", "--keep-bytes", "1", "--dry-run", "--json")
        would = json.loads(told.stdout)
        assert [item["number"] for item in would["items"]] == [3, 4, 5], told
        done = json.loads(run(service, "prune", "--keep-bytes", "1", "--json").stdout)
        assert done == would | {"dry_run": False}

        service.start()
        assert numbers(service) == [6, 7]
        assert service.get(running)["is_alive"]
        assert service.get(created)["state"] == "created"
    finally:
        service.close()


def test_the_settings_hold_in_the_background(tmp_path: Path) -> None:
    service = Service(tmp_path, [HOSTILE]).start()
    try:
        for _ in range(3):
            service.join(service.launch("hostile:say"))
        running = service.launch("hostile:nap")
        assert numbers(service) == [1, 2, 3, 4]
        service.stop()
        service.flags = ["--keep-per-target", "1", "--on-exit", "leave"]
        service.start()
        wait_until(lambda: numbers(service) == [3, 4], 15, lambda: f"left are {numbers(service)}")
        assert service.get(running)["number"] == 4
        assert "removed 2 finished process(es)" in service.text()
        # The setting is what prune goes by when it is told nothing.
        assert prune(service)["count"] == 0
    finally:
        service.close()


class LogFiles:
    """The log segments of all processes of a service, on the disk."""

    def __init__(self, service: Service) -> None:
        self._runs = service.data_dir / "runs"

    def size(self) -> int:
        sizes = 0
        for path in self._runs.glob("*/log/*.log"):
            with contextlib.suppress(FileNotFoundError):
                sizes += path.stat().st_size
        return sizes


def test_the_budget_of_all_logs(tmp_path: Path) -> None:
    """Of all closed segments the oldest go, also of those that are over; what went is said wherever a log is shown."""
    mebibyte = 2**20
    flags = ["--log-budget", str(8 * mebibyte), "--log-budget-total", str(2 * mebibyte), "--on-exit", "leave"]
    service = Service(tmp_path, [HOSTILE], flags).start()
    try:
        quiet = service.join(service.launch("hostile:say", "first"))
        old = service.join(service.launch("hostile:long_line", mebibyte))
        new = service.join(service.launch("hostile:long_line", mebibyte + mebibyte // 2))
        logs = LogFiles(service)
        wait_until(lambda: logs.size() <= 2 * mebibyte, 15, lambda: f"the logs take {logs.size()} bytes")
        wait_until(lambda: service.get(old)["log_start"] > 0, 10, lambda: str(service.get(old)))
        assert service.get(new)["log_start"] == 0
        assert service.get(quiet)["log_start"] > 0
        assert metric(service, "procdeck_log_trimmed_bytes_total") >= service.get(old)["log_start"]

        start = service.get(old)["log_start"]
        page = service.client.get(f"/processes/{old['id']}/log", params={"format": "json"}).json()
        assert page["skipped"] == start
        shown = run(service, "logs", str(old["number"]))
        assert (shown.returncode, "of older output were removed" in shown.stderr) == (0, True), shown
        headers = {"Accept": "text/html"}
        html = service.client.get(f"{service.url}/processes/{old['id']}", headers=headers).text
        assert "of older output were removed" in html
    finally:
        service.close()
