"""A real browser on a real service."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from app.resources import resource_dir
from tests.browser.tabs import Tabs
from tests.service import Service

CHROMIUM = Path("/usr/bin/chromium")
TARGETS = '''
import signal, sys, time
from procdeck import target

@target
def echo(path: str) -> None:
    """Writes what is appended to a file, lines with ! to stderr, until END."""
    with open(path) as file:
        while (line := file.readline()) != "END\\n":
            if line:
                print(line, end="", flush=True, file=sys.stderr if "!" in line else sys.stdout)
            else:
                time.sleep(0.01)

@target
def shouter(lines: int = 3) -> None:
    """Writes what a page must not believe."""
    for number in range(lines):
        print(f"\\x1b[31m{number}\\x1b[0m <script>alert(1)</script>", flush=True)

@target
def pour(path: str, note: str = "") -> None:
    """Writes the bytes of a file to stdout at once."""
    with open(path, "rb") as file:
        sys.stdout.buffer.write(file.read())
    sys.stdout.flush()

@target
def endless(block: str, count: int) -> None:
    """Writes one line without an end."""
    for _ in range(count):
        sys.stdout.write(block * 1000)
    sys.stdout.flush()
    time.sleep(300)

@target
def stubborn(seconds: float = 60.0) -> None:
    """Does not listen to SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("ready", flush=True)
    time.sleep(seconds)

@target
async def asynchronous() -> None:
    """Can't be launched."""
'''


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's browser. Not for the whole session: while it runs, no other event loop can."""
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}")
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-background-networking", "--no-first-run"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The bundled examples, some rougher targets, and a module that can't be imported."""
    folder = tmp_path_factory.mktemp("browser")
    (folder / "rough.py").write_text(TARGETS)
    (folder / "broken.py").write_text("import not_there_at_all\n")
    service = Service(folder, [resource_dir("examples"), folder / "rough.py", folder / "broken.py"])
    try:
        yield service.start()
    finally:
        service.close()


@pytest.fixture
def slow(served: Service) -> Iterator[dict[str, Any]]:
    """A process that runs for as long as the test."""
    process = served.launch("basics:slow_worker", kwargs={"seconds": 300})
    assert process["state"] == "running", process["exit_summary"]
    yield process
    if served.get(process)["is_alive"]:
        served.post(process, "kill")


@pytest.fixture
def tabs(chromium: Browser, served: Service) -> Iterator[Tabs]:
    """Browsers on `served`."""
    opened = Tabs(chromium, served)
    yield opened
    opened.close()


@pytest.fixture
def open_page(tabs: Tabs) -> Callable[..., Page]:
    """Opens a page in a signed-in browser."""
    return tabs.open
