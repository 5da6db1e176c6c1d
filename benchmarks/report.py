"""How the figures are printed: a table for each measure as soon as it is done, and one of all at the end."""

import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from benchmarks.entrants import Entrant
from benchmarks.managers import OURS, PEERS
from benchmarks.managers.base import BENCH_PYTHON
from benchmarks.measures import Measure

_BUSY = 0.5  # one-minute load above which a machine is not at rest
_VERDICTS = {True: "pass", False: "FAIL", None: "not judged"}


@dataclass(frozen=True)
class Result:
    """A measure and what each manager reached."""

    measure: Measure
    entrants: list[Entrant]

    def medians(self, name: str) -> list[float]:
        """The medians of one manager, one for each way it was measured by; none when it did not run."""
        return [
            statistics.median(values)
            for entrant in self.entrants
            if entrant.name == name and entrant.trouble is None
            for values in entrant.samples.values()
        ]

    @property
    def ours(self) -> float | None:
        """The figure that is judged: the worse one where we were measured in two ways."""
        return (max if self.measure.lower_is_better else min)(self.medians(OURS.name), default=None)

    def peer(self, name: str) -> float | None:
        """A peer's figure: the better one where there are two."""
        return (min if self.measure.lower_is_better else max)(self.medians(name), default=None)

    @property
    def best_peer(self) -> float | None:
        """The best figure of all peers."""
        figures = [figure for kind in PEERS if (figure := self.peer(kind.name)) is not None]
        return (min if self.measure.lower_is_better else max)(figures, default=None)

    def verdicts(self) -> list[tuple[str, str]]:
        """Each goal with pass, FAIL or not judged."""
        ours, best = self.ours, self.best_peer
        return [(goal.text, _VERDICTS[None if ours is None else goal.met(ours, best)]) for goal in self.measure.goals]


def machine_line() -> str:
    """The machine and the versions that the figures hold for."""
    load = os.getloadavg()[0]
    peers = ", ".join(f"{name} {_peer_version(name)}" for name in ("supervisor", "circus", "pandas"))
    return (
        f"{os.cpu_count()} cores ({_cpu_model()}), {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, procdeck {_own_version()}, {peers}; "
        f"load before the run {load:.2f}{' (busy: expect noise)' if load > _BUSY else ''}"
    )


def measure_table(result: Result) -> str:
    """One measure: a row for each manager and way, then the goals."""
    measure = result.measure
    better = "lower" if measure.lower_is_better else "higher"
    lines = [f"## {measure.name}: {measure.title} ({measure.unit}, {better} is better)"]
    rows = [row for entrant in result.entrants for row in _entrant_rows(entrant, result.ours)]
    lines += _aligned([["", "median", "p90", "min", "max", "n", "procdeck's to it"], *rows])
    lines += [f"  {entrant.name}: {entrant.trouble}" for entrant in result.entrants if entrant.trouble]
    lines += [f"  {entrant.name}: {what} {note}" for entrant in result.entrants for what, note in entrant.notes.items()]
    lines += [f"  ({measure.remark})"] if measure.remark else []
    lines += [f"  {verdict}: {text}" for text, verdict in result.verdicts()]
    return "\n".join(lines)


def summary(results: Sequence[Result]) -> str:
    """All measures in one table, Procdeck beside its peers; a table in Markdown, to be pasted."""
    names = [kind.name for kind in PEERS]
    head = ["measure", "unit", "procdeck", *names, *(f"to {name}" for name in names), "to reach"]
    rows = [_summary_row(result, names) for result in results]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def _summary_row(result: Result, names: list[str]) -> list[str]:
    peers = [result.peer(name) for name in names]
    goals = "; ".join(f"{text}: {verdict}" for text, verdict in result.verdicts()) or "-"
    return [
        result.measure.title,
        result.measure.unit,
        " and ".join(map(_figure, result.medians(OURS.name))) or "-",
        *map(_figure, peers),
        *(_ratio(result.ours, peer) for peer in peers),
        goals,
    ]


def _entrant_rows(entrant: Entrant, ours: float | None) -> list[list[str]]:
    if entrant.trouble or not entrant.samples:
        return [[entrant.name, "did not run", "", "", "", "", ""]]
    return [
        [" ".join(filter(None, [entrant.name, label])), *_spread(values), _ratio(ours, statistics.median(values))]
        for label, values in entrant.samples.items()
    ]


def _spread(values: list[float]) -> list[str]:
    p90 = statistics.quantiles(values, n=10, method="inclusive")[-1] if len(values) > 1 else values[0]
    return [*map(_figure, [statistics.median(values), p90, min(values), max(values)]), str(len(values))]


def _figure(value: float | None) -> str:
    """Three digits that count."""
    if value is None:
        return "-"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def _ratio(ours: float | None, other: float | None) -> str:
    return f"{ours / other:.3g}x" if ours is not None and other else "-"


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  "
        + "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _own_version() -> str:
    try:
        return metadata.version("procdeck")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _peer_version(name: str) -> str:
    code = f"from importlib.metadata import version; print(version({name!r}))"
    answer = subprocess.run([BENCH_PYTHON, "-c", code], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "(not installed)"
