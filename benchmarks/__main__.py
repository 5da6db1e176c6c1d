"""Command line of the benchmarks: see README.md beside this file."""

import argparse
import resource
import signal
import sys
import time
from collections.abc import Sequence

from benchmarks import report
from benchmarks.entrants import Field
from benchmarks.managers import MANAGERS, OURS, Manager
from benchmarks.managers.base import BENCH_PYTHON
from benchmarks.measures import Measure, measures
from benchmarks.pages import page_measures

_OPEN_FILES = 8192  # 1,000 processes, with some pipes each


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for and print it; 1 when something did not run, whatever the figures are."""
    options = _parser().parse_args(arguments)
    if not BENCH_PYTHON.exists():
        print("no .venv-bench: `make bench` makes it", file=sys.stderr)
        return 1
    # Ended from outside we must still end the daemons: SystemExit unwinds through the `with` blocks.
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    _raise_open_files_limit()
    print(report.machine_line(), flush=True)
    kinds = [kind for kind in MANAGERS if not options.manager or kind.name in options.manager]
    asked_for = [measure for measure in _all(options.quick) if not options.only or measure.name in options.only]
    results = [_run(measure, kinds) for measure in asked_for]
    print(f"\n{report.summary(results)}")
    return 1 if any(entrant.trouble for result in results for entrant in result.entrants) else 0


def _all(quick: bool) -> list[Measure]:
    return measures(quick) + page_measures(quick)


def _run(measure: Measure, kinds: Sequence[type[Manager]]) -> report.Result:
    began = time.monotonic()
    chosen = [kind for kind in kinds if measure.beside_peers or kind is OURS]
    with Field(chosen, measure.program) as field:
        field.turns(measure.rounds, measure.action, measure.warm_up)
    result = report.Result(measure, field.entrants)
    print(f"\n{report.measure_table(result)}\n  took {time.monotonic() - began:.0f} s", flush=True)
    return result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Procdeck beside supervisord and Circus.")
    names = [measure.name for measure in _all(quick=False)]
    parser.add_argument("--only", action="append", choices=names, help="this measure alone; may be repeated")
    parser.add_argument(
        "--manager",
        action="append",
        choices=[kind.name for kind in MANAGERS],
        help="this manager alone; may be repeated",
    )
    parser.add_argument("--quick", action="store_true", help="less work, to see that all runs; the figures are rough")
    return parser


def _raise_open_files_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


if __name__ == "__main__":
    sys.exit(main())
