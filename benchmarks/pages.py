"""What the dashboard costs: pages on the server, and in headless Chromium. No peer has anything to compare."""

import contextlib
import time
from collections.abc import Iterator

from playwright.sync_api import Error, Page, sync_playwright

from benchmarks import procfs
from benchmarks.entrants import Run
from benchmarks.managers import BenchError, Program
from benchmarks.managers.base import wait_until
from benchmarks.managers.procdeck import Procdeck
from benchmarks.measures import Measure, at_most
from benchmarks.records import fill

CHROMIUM = "/usr/bin/chromium"
_FLAGS = ["--no-sandbox", "--disable-background-networking", "--no-first-run"]
_REQUESTS = 60
_OPENINGS = 7
_SETTLE = 5.0  # seconds
_WATCH = 20.0  # seconds


def page_measures(quick: bool) -> list[Measure]:
    """The measures of the pages; with `quick` on less work."""
    lines, changing = (100_000, 10) if quick else (1_000_000, 50)
    sizes = {"list-100k": (100_000, 50.0), "list-1m": (20_000 if quick else 1_000_000, 60.0)}
    return [
        *(_list_measure(name, records, limit) for name, (records, limit) in sizes.items()),
        Measure(
            "log-tail",
            f"opening the page of a process with {lines:,} lines of log, until the last one is painted",
            "ms",
            Program("bench_trivial", "lines", (lines,)),
            _log_tail,
            rounds=1,
            goals=(at_most(1000, "ms"),),
            remark="headless Chromium, a new tab each time, its caches warm from the second on",
            beside_peers=False,
        ),
        Measure(
            "log-find",
            f"finding a word in all of {lines:,} lines",
            "ms",
            Program("bench_trivial", "lines", (lines,)),
            _log_find,
            rounds=1,
            goals=(at_most(1000, "ms"),),
            remark="request to answer: a word that is in one line, one that is in all, and a regular expression",
            beside_peers=False,
        ),
        Measure(
            "browser-cpu",
            f"CPU of the browser on a list with {changing} changing rows, {_WATCH:g} s",
            "% of a core",
            Program("bench_trivial", "changing", count=changing),
            _browser_cpu,
            rounds=1,
            goals=(at_most(15, "% of a core"),),
            remark="all processes of headless Chromium; each row has new progress twice a second",
            beside_peers=False,
        ),
    ]


def _list_measure(name: str, records: int, limit: float) -> Measure:
    return Measure(
        name,
        f"GET /processes with {records:,} records, request to answer",
        "ms",
        Program("bench_trivial", "sleep"),
        lambda run: _list(run, records),
        rounds=1,
        goals=(at_most(limit, "ms"),),
        remark="over a kept connection on loopback, uncompressed; 50 rows, the first page",
        beside_peers=False,
    )


def _list(run: Run, records: int) -> None:
    manager = _ours(run)
    manager.serve_anew(lambda data: fill(f"sqlite:///{data / 'procdeck.db'}", records))
    with manager.connect() as connection:
        for number in range(5 + _REQUESTS):
            began = time.monotonic_ns()
            page = connection.get_page("/processes")
            took = (time.monotonic_ns() - began) / 1e6
            if page.count(b"<tr id=") < 50:
                raise BenchError("the list has fewer than 50 rows")
            if number >= 5:
                run.add(took)
    run.entrant.notes["itself"] = f"{procfs.resident(manager.daemon_pid) / 1e6:.0f} MB resident"


def _log_tail(run: Run) -> None:
    ident = _written(run)
    last = f"line {int(run.manager.program.args[0]) - 1:07d}"
    with _browser(_ours(run)) as page:
        for _ in range(_OPENINGS):
            page.goto("about:blank")
            page.goto(f"{_ours(run).url}/processes/{ident}", wait_until="commit")
            # Whichever comes last: the line is there, and something was painted after it.
            page.wait_for_function("line => document.querySelector('#log')?.textContent.includes(line)", arg=last)
            run.add(page.evaluate(_PAINTED))


_PAINTED = """() => new Promise(done => requestAnimationFrame(() => setTimeout(() => done(performance.now()))))"""
"""Milliseconds from the beginning of the navigation until the next frame was painted."""


def _log_find(run: Run) -> None:
    ident = _written(run)
    count = int(run.manager.program.args[0])
    searches = {
        "in one line": f"q={count // 3:07d}",
        "in every line": "q=benchmark",
        "regular expression": "q=line+%5Cd*123%5Cd*+of&regex=1",
    }
    with _ours(run).connect() as connection:
        for what, query in searches.items():
            for _ in range(_OPENINGS):
                began = time.monotonic_ns()
                connection.ask("GET", f"/api/v1/processes/{ident}/log/find?{query}")
                run.add((time.monotonic_ns() - began) / 1e6, what)


def _written(run: Run) -> str:
    """The id of a process that has written its lines, and is over."""
    run.manager.launch()
    run.reports()
    (ident,) = _ours(run).ids
    run.over()
    return ident


def _browser_cpu(run: Run) -> None:
    run.manager.launch()
    run.reports(run.manager.program.count)
    with _browser(_ours(run)) as page:
        page.goto(f"{_ours(run).url}/processes?view=active")
        rows = page.locator("tr[id^='p-']")
        wait_until(lambda: rows.count() == run.manager.program.count, 30, "the list has all rows")
        time.sleep(_SETTLE)
        browser = procfs.named(_PROFILE)
        used, began = procfs.cpu_seconds(browser), time.monotonic()
        time.sleep(_WATCH)
        used, passed = procfs.cpu_seconds(browser) - used, time.monotonic() - began
        run.add(100 * used / passed)
    run.kill()


_PROFILE = "procdeck-bench-browser"


@contextlib.contextmanager
def _browser(manager: Procdeck) -> Iterator[Page]:
    """A page of a browser that is signed in."""
    try:
        with sync_playwright() as playwright:
            flags = [*_FLAGS, f"--user-agent={_PROFILE}"]
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            context.request.post(
                f"{manager.url}/login", form={"token": manager.token}, headers={"Origin": manager.url}, max_redirects=0
            )
            yield context.new_page()
            browser.close()
    except Error as error:
        raise BenchError(str(error).splitlines()[0]) from error


def _ours(run: Run) -> Procdeck:
    assert isinstance(run.manager, Procdeck)
    return run.manager
