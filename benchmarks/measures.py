"""What is measured, in one table: on which work, in which unit, and what Procdeck shall reach."""

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import procfs
from benchmarks.entrants import Action, Run
from benchmarks.managers import BenchError, Program
from benchmarks.managers.base import wait_until

_MS = 1_000_000  # nanoseconds
_MB = 1_000_000  # bytes
_LINES_TIMEOUT = 600.0  # seconds
_PROMPT_TIMEOUT = 30.0  # seconds
_KILLS = 5


@dataclass(frozen=True)
class Goal:
    """Something to reach: `met` is given our median and the best peer's (None when no peer was measured)."""

    text: str
    met: Callable[[float, float | None], bool | None]


def at_most(limit: float, unit: str) -> Goal:
    """An upper bound."""
    return Goal(f"at most {limit:g} {unit}", lambda ours, _: ours <= limit)


def at_least(limit: float, unit: str) -> Goal:
    """A lower bound."""
    return Goal(f"at least {limit:,g} {unit}", lambda ours, _: ours >= limit)


def at_most_of_best_peer(share: float, text: str) -> Goal:
    """A share of the best peer's figure."""
    return Goal(f"at most {text} of the best peer", lambda ours, best: None if best is None else ours <= share * best)


@dataclass(frozen=True)
class Measure:
    """One measure: `action` is what a manager does in its turn."""

    name: str
    title: str
    unit: str
    program: Program
    action: Action
    rounds: int
    goals: tuple[Goal, ...] = ()
    warm_up: int = 0
    lower_is_better: bool = True
    remark: str = ""
    beside_peers: bool = True


def measures(quick: bool) -> list[Measure]:
    """All measures; with `quick` on less work, for a first look: its figures are no results."""
    burst, sleeping, lines, silent = (40, 10, 100_000, 50) if quick else (200, 50, 1_000_000, 500)
    adopted = 100 if quick else 1000
    seconds = 5.0 if quick else 20.0
    many, some, few = (5, 3, 1) if quick else (60, 25, 3)
    return [
        Measure(
            "launch",
            "request to the function's first line",
            "ms",
            Program("bench_trivial", "first_line"),
            _launch,
            rounds=many,
            warm_up=2,
            goals=(at_most(7, "ms"), at_most_of_best_peer(0.4, "0.4")),
        ),
        Measure(
            "launch-pandas",
            "request to the function's first line, its module imports pandas",
            "ms",
            Program("bench_pandas", "first_line"),
            _launch,
            rounds=some,
            warm_up=2,
            goals=(at_most(15, "ms"), at_most_of_best_peer(1 / 25, "1/25")),
        ),
        Measure(
            "burst",
            f"{burst} launches at once: launches a second",
            "1/s",
            Program("bench_trivial", "first_line", count=burst),
            _burst,
            rounds=few + 2,
            warm_up=1,
            lower_is_better=False,
            goals=(at_least(150, "1/s"),),
            remark="from the first request to the last process's first line; peers by one command for all",
        ),
        Measure(
            "memory",
            f"memory a process (PSS), {sleeping} sleeping",
            "MB",
            Program("bench_trivial", "sleep", count=sleeping),
            _memory,
            rounds=few,
            goals=(at_most(2.9, "MB"),),
            remark="child and, for Procdeck, its keeper; 1 MB = 10^6 bytes",
        ),
        Measure(
            "memory-pandas",
            f"memory a process (PSS), {sleeping} sleeping, module imports pandas",
            "MB",
            Program("bench_pandas", "sleep", count=sleeping),
            _memory,
            rounds=few,
            goals=(at_most(4.0, "MB"),),
            remark="child and, for Procdeck, its keeper; 1 MB = 10^6 bytes",
        ),
        Measure(
            "end",
            "child's end to being told of it",
            "ms",
            Program("bench_trivial", "end", (0.1,)),
            _end,
            rounds=some,
            warm_up=2,
            goals=(at_most(5, "ms"),),
            remark="supervisord has no events for clients: asked without pause; Circus: check_delay 0.01 s, not 5 s",
        ),
        Measure(
            "lines",
            f"{lines:,} printed lines into the log file: lines a second",
            "1/s",
            Program("bench_trivial", "lines", (lines,)),
            _lines,
            rounds=few,
            lower_is_better=False,
            goals=(at_least(500_000, "1/s"),),
            remark="none lost, in order; Procdeck's stamped and seen at once, the peers' unstamped, in blocks of 8 KiB",
        ),
        Measure(
            "lines-at-once",
            f"the same {lines // 5:,}, each line leaving the process when printed",
            "1/s",
            Program("bench_trivial", "lines_at_once", (lines // 5,)),
            _lines,
            rounds=few,
            lower_is_better=False,
            remark="with the peers, too, each line can be read as soon as it is printed",
        ),
        Measure(
            "prompt",
            "a prompt, without its newline, to its standing in the log",
            "ms",
            Program("bench_trivial", "prompt"),
            _prompt,
            rounds=some,
            warm_up=1,
            goals=(at_most(200, "ms"),),
            remark="Procdeck waits a moment for the rest of the line, which would be one record with it",
        ),
        Measure(
            "cpu",
            f"CPU of the manager with {silent} silent processes, {seconds:g} s",
            "% of a core",
            Program("bench_trivial", "sleep", count=silent),
            lambda run: _cpu(run, seconds),
            rounds=1,
            goals=(at_most(3, "% of a core"),),
            remark="Procdeck: service, launchers and all keepers; the peers: their daemon",
        ),
        Measure(
            "adoption",
            f"start after kill -9 until all {adopted:,} sleeping processes are adopted",
            "s",
            Program("bench_trivial", "sleep", count=adopted),
            _adoption,
            rounds=1,
            goals=(at_most(5, "s"),),
            remark="from the start of the service, its interpreter's included; what the peers run is nobody's by then",
            beside_peers=False,
        ),
    ]


def _launch(run: Run) -> None:
    asked_at = run.manager.launch()
    (report,) = run.reports()
    run.add((report.at - asked_at) / _MS)
    run.over()


def _burst(run: Run) -> None:
    count = run.manager.program.count
    asked_at = run.manager.launch()
    last = max(report.at for report in run.reports(count))
    run.add(count / ((last - asked_at) / 1e9))
    run.over()


def _memory(run: Run) -> None:
    run.manager.launch()
    children = [report.pid for report in run.reports(run.manager.program.count)]
    time.sleep(1)  # what a start still does after the first line
    run.add(procfs.pss([*children, *run.keepers(children)]) / len(children) / _MB)
    run.entrant.notes["itself"] = f"{procfs.pss(run.own_processes(children)) / _MB:.1f} MB"
    run.kill()


def _end(run: Run) -> None:
    told = run.manager.time_ends()
    (report,) = run.reports()
    for way, at in told.items():
        run.add((at - report.at) / _MS, way)
    run.over()


def _lines(run: Run) -> None:
    count = int(run.manager.program.args[0])
    for path in run.manager.log_files():
        os.truncate(path, 0)  # what the round before left
    run.manager.launch()
    (report,) = run.reports()
    last = b"line %07d of what the benchmark prints\n" % (count - 1)
    wait_until(
        lambda: _ends_with(run.manager.log_files(), last),
        _LINES_TIMEOUT,
        "the log has its last line",
        interval=0.002,
    )
    run.add(count / ((time.monotonic_ns() - report.at) / 1e9))
    _check_lines(run.manager.log_files(), run.manager.log_prefix, count)
    run.over()


def _prompt(run: Run) -> None:
    for path in run.manager.log_files():
        os.truncate(path, 0)  # what the round before left
    run.manager.launch()
    (report,) = run.reports()
    wait_until(
        lambda: any(b"name? " in path.read_bytes() for path in run.manager.log_files()),
        _PROMPT_TIMEOUT,
        "the log has the prompt",
        interval=0.001,
    )
    run.add((time.monotonic_ns() - report.at) / _MS)
    run.kill()


def _ends_with(files: list[Path], last: bytes) -> bool:
    for path in reversed(files):
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(-min(size, len(last)), os.SEEK_END)
            if size:
                return file.read() == last
    return False


def _check_lines(files: list[Path], prefix: bytes, count: int) -> None:
    """Each line that was printed must stand in the log, whole, once and in order. Raises BenchError."""
    pattern = re.compile(prefix + rb"line (\d{7}) of what the benchmark prints")
    expected = 0
    for path in files:
        with path.open("rb") as file:
            for line in file:
                match = pattern.fullmatch(line.rstrip(b"\n"))
                if match is None or int(match[1]) != expected:
                    raise BenchError(f"where line {expected} should be, the log has {line[:120]!r}")
                expected += 1
    if expected != count:
        raise BenchError(f"the log has {expected} of {count} lines")


def _cpu(run: Run, seconds: float) -> None:
    run.manager.launch()
    children = [report.pid for report in run.reports(run.manager.program.count)]
    time.sleep(3)  # until the starts are done with
    watched = run.own_processes(children) | run.keepers(children)
    used, began = procfs.cpu_seconds(watched), time.monotonic()
    time.sleep(seconds)
    used, passed = procfs.cpu_seconds(watched) - used, time.monotonic() - began
    run.add(100 * used / passed)
    run.kill()


def _adoption(run: Run) -> None:
    run.manager.launch()
    run.reports(run.manager.program.count)
    time.sleep(3)  # until the starts are done with
    run.entrant.notes["before"] = _footprint(run.manager.daemon_pid)
    for number in range(_KILLS):
        run.add(run.manager.time_adoption())
        time.sleep(1)
        run.entrant.notes[f"after kill {number + 1}"] = _footprint(run.manager.daemon_pid)
    run.kill()


def _footprint(pid: int) -> str:
    return f"{procfs.resident(pid) / _MB:.1f} MB resident, {procfs.descriptors(pid)} descriptors"
