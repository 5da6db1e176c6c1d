"""F40: floods of output, within a budget for each process and one for all."""

import contextlib
import os
import re
import subprocess
from pathlib import Path

import psutil

from tests.faults.invariants import hold, output_is_whole
from tests.service import COMMAND, HOSTILE, JSON, Service
from tests.waiting import wait_until

MEBIBYTE = 2**20
FLOOD = 160 * MEBIBYTE
EACH = 16 * MEBIBYTE
ALL = 20 * MEBIBYTE
MOST_MEMORY = 50 * 10**6


def test_f40_floods_stay_within_the_budgets_and_what_went_is_counted(tmp_path: Path) -> None:
    flags = ["--log-budget", str(EACH), "--log-budget-total", str(ALL)]
    service = Service(tmp_path, [HOSTILE], flags)
    gate, truth = tmp_path / "gate", tmp_path / "truth"
    try:
        quiet = service.start().launch("hostile:tick_until", str(truth), str(gate), 0.01)
        floods = [service.launch("hostile:flood", FLOOD, str(gate)) for _ in range(2)]
        most = Most(service, floods)
        wait_until(lambda: most.look() and all(is_done(service, each) for each in floods), 60, "the floods do not end")
        # Each by itself bounds the disk at once; that all together are bounded, takes some seconds.
        assert most.disk <= 2 * EACH + MEBIBYTE
        assert most.memory < MOST_MEMORY
        wait_until(lambda: disk(service) <= ALL, 15, lambda: f"the logs take {disk(service)} bytes")
        wait_until(lambda: all(is_counted(service, each) for each in floods), 15, lambda: str(service.get(floods[0])))
        assert service.get(quiet)["log_start"] == 0
        trimmed = metric(service, "procdeck_log_trimmed_bytes_total")
        assert trimmed >= sum(service.get(each)["log_start"] for each in floods)

        page = service.client.get(f"{service.url}/processes/{floods[0]['id']}", headers={"Accept": "text/html"})
        assert "were removed: the logs are kept within a budget. The others keep their numbers." in page.text
        shown = logs_command(service, floods[0])
        assert "of older output were removed" in shown.stderr

        gate.touch()
        for each in [quiet, *floods]:
            assert service.join(each)["exitcode"] == 0
        output_is_whole(service, quiet, truth)
        for each in floods:
            kept = [line.split()[0] for line in service.log(each).splitlines()]
            first = int(kept[0])
            assert kept == [*(f"{number:08}" for number in range(first, FLOOD // 2**16)), "flooded"]
            assert first > 0
        hold(service)
    finally:
        service.close()


class Most:
    """The most that was seen of the disk that logs take, and of the memory that the keepers of ``processes`` take."""

    def __init__(self, service: Service, processes: list[JSON]) -> None:
        self._service = service
        self._keepers = [psutil.Process(process["detail"]["keeper_pid"]) for process in processes]
        self.disk = 0
        self.memory = 0

    def look(self) -> bool:
        self.disk = max(self.disk, disk(self._service))
        self.memory = max(self.memory, *(keeper.memory_info().rss for keeper in self._keepers))
        return True


def disk(service: Service) -> int:
    size = 0
    for path in (service.data_dir / "runs").glob("*/log/*.log"):
        with contextlib.suppress(FileNotFoundError):
            size += path.stat().st_size
    return size


def is_done(service: Service, process: JSON) -> bool:
    return "flooded" in service.log(process, tail="1")


def is_counted(service: Service, process: JSON) -> bool:
    """Whether the API tells what went, as the disk has it."""
    segments = (service.data_dir / "runs" / process["id"] / "log").glob("*.log")
    start: int = service.get(process)["log_start"]
    return start == min(int(segment.stem) for segment in segments) > 0


def metric(service: Service, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", service.client.get(f"{service.url}/metrics").text, re.MULTILINE)
    assert found
    return float(found[1])


def logs_command(service: Service, process: JSON) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PROCDECK_")}
    command = [str(COMMAND), "logs", str(process["number"]), "--data-dir", str(service.data_dir)]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
