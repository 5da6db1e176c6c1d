"""What a process used over its life, from the history in its run folder. Pure, but for `read`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from procdeck import usage
from procdeck.usage import Point, thinned

MOST_POINTS = 1000
QUIET_FOR = 2.5
"""Seconds without news after which a living process is taken to go on as it was: more than lie between two samples
while something changes."""

JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Figures:
    """One value of each thing that is measured. A number of threads or files on average is rarely a whole one."""

    cpu_percent: float
    rss_bytes: float
    threads: float
    open_files: float
    processes: float


@dataclass(frozen=True, slots=True)
class Usage:
    """A history, oldest first, at most `MOST_POINTS` of it, with what it comes to; both None when nothing was
    measured."""

    points: list[Point]
    average: Figures | None
    maximum: Figures | None


def read(folder: Path) -> list[Point]:
    """The history in a run folder; empty when there is none that can be read. Blocks."""
    try:
        return usage.read(str(folder / usage.USAGE))
    except OSError:
        return []


def summed_up(points: list[Point], started_at: datetime | None) -> Usage:
    """The history of a process that was started then."""
    if not points:
        return Usage([], None, None)
    begin = started_at.timestamp() if started_at is not None else points[0].at
    average, maximum = _average(points, begin), _maximum(points)
    while len(points) > MOST_POINTS:
        points = thinned(points)
    return Usage(points, average, maximum)


def _maximum(points: Sequence[Point]) -> Figures:
    return Figures(
        max(point.max_cpu_percent for point in points),
        max(point.max_rss_bytes for point in points),
        max(point.threads for point in points),
        max(point.open_files for point in points),
        max(point.processes for point in points),
    )


def _average(points: Sequence[Point], begin: float) -> Figures:
    """Each point stands for the time since the one before; the first since the start. A clock that was set says
    nothing of how long that was."""
    first = points[0].at - begin
    spans = [first if 0 < first < 60 else 1.0, *(later.at - earlier.at for earlier, later in pairwise(points))]
    whole = sum(spans)

    def over_time(values: Sequence[float]) -> float:
        return sum(value * span for value, span in zip(values, spans, strict=True)) / whole

    return Figures(
        100 * points[-1].cpu_seconds / whole,
        over_time([point.rss_bytes for point in points]),
        over_time([point.threads for point in points]),
        over_time([point.open_files for point in points]),
        over_time([point.processes for point in points]),
    )


def gone_on(points: list[Point], sample: JSON | None, now: datetime) -> list[Point]:
    """The history of a living process up to now: of one where nothing changes nothing is written, see
    `procdeck.usage`. ``sample`` is the last that its keeper told."""
    at = now.timestamp()
    if sample is None or not points or at - points[-1].at < QUIET_FOR:
        return points
    last = points[-1]
    rss = sample.get("rss_bytes", last.rss_bytes)
    quiet = last._replace(
        at=at,
        cpu_seconds=max(last.cpu_seconds, sample.get("cpu_seconds", 0.0)),
        rss_bytes=rss,
        max_rss_bytes=rss,
        max_cpu_percent=sample.get("cpu_percent", last.max_cpu_percent),
        threads=sample.get("threads", last.threads),
        open_files=sample.get("open_files", last.open_files),
        processes=sample.get("processes", last.processes),
    )
    return [*points, quiet]


def view(found: Usage) -> JSON:
    """A history as the contract has it."""
    items = [
        {
            "at": datetime.fromtimestamp(point.at, UTC).isoformat(timespec="milliseconds"),
            "cpu_percent": round(point.max_cpu_percent, 1),
            "rss_bytes": point.max_rss_bytes,
            "threads": point.threads,
            "open_files": point.open_files,
            "processes": point.processes,
        }
        for point in found.points
    ]
    return {"items": items, "average": _figures(found.average), "maximum": _figures(found.maximum)}


def _figures(figures: Figures | None) -> JSON | None:
    if figures is None:
        return None
    return {
        "cpu_percent": round(figures.cpu_percent, 1),
        "rss_bytes": round(figures.rss_bytes),
        "threads": round(figures.threads, 1),
        "open_files": round(figures.open_files, 1),
        "processes": round(figures.processes, 1),
    }
