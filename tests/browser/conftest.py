"""A real browser on a real service. Every error that a page writes to the console fails the test: violations of the
content security policy are among them."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from app.resources import resource_dir
from tests.service import Service

CHROMIUM = Path("/usr/bin/chromium")
PATIENCE = 10_000
"""Milliseconds after which a page that does not come to look as expected fails the test."""

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


class Tabs:
    """Opens browsers that are signed in, and listens to what their pages complain about."""

    def __init__(self, browser: Browser, service: Service) -> None:
        self._browser = browser
        self._service = service
        self._contexts: list[BrowserContext] = []
        self._complaints: list[str] = []
        self._expected: list[str] = []

    def expect_complaint(self, pattern: str) -> None:
        """A complaint that is part of the test, such as that of a page with status 422."""
        self._expected.append(pattern)

    def open(
        self,
        path: str = "/processes",
        *,
        script: bool = True,
        width: int = 1280,
        dark: bool = False,
        sign_in: bool = True,
    ) -> Page:
        """A page in a browser of its own."""
        context = self._browser.new_context(
            base_url=self._service.url,
            java_script_enabled=script,
            viewport={"width": width, "height": 800},
            is_mobile=width < 500,
            color_scheme="dark" if dark else "light",
        )
        self._contexts.append(context)
        context.set_default_timeout(PATIENCE)
        if sign_in:
            self._sign_in(context)
        page = context.new_page()
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self._complaints.append(str(error)))
        page.goto(path)
        return page

    def _sign_in(self, context: BrowserContext) -> None:
        answer = context.request.post(
            "/login", form={"token": self._service.token}, headers={"Origin": self._service.url}, max_redirects=0
        )
        assert answer.status == 303

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._complaints.append(f"{message.text} ({message.location.get('url', '')})")

    def close(self) -> None:
        """Close everything; fails when a page complained."""
        for context in self._contexts:
            context.close()
        unexpected = [text for text in self._complaints if not any(re.search(known, text) for known in self._expected)]
        assert not unexpected, "\n".join(unexpected)


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
