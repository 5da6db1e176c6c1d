"""What holds for each page: no serious finding of axe-core, no sideways scroll on a phone, nothing in the console."""

import importlib.resources
from collections.abc import Callable, Iterator
from functools import cache

import pytest
from playwright.sync_api import Browser, Page

from app.resources import resource_dir
from tests.browser.conftest import TARGETS
from tests.browser.tabs import Tabs
from tests.service import Service

PAGES = {
    "the list": "/processes",
    "the list without a match": "/processes?search=nobody",
    "a search that is wrong": "/processes?search=nothing%3Athere",
    "a process that runs": "/processes/{running}",
    "a process that failed": "/processes/{failed}",
    "a process that was stopped": "/processes/{stopped}",
    "its details": "/processes/{failed}?tab=details",
    "its resources": "/processes/{running}?tab=resources",
    "its events": "/processes/{stopped}?tab=events",
    "killing it": "/processes/{running}/kill",
    "deleting it": "/processes/{failed}/delete",
    "a bulk operation": "/operations/new?action=stop&ids={running}",
    "targets": "/targets",
    "a target": "/targets/batch:checksums",
    "a target that can't be launched": "/targets/rough:asynchronous",
    "choosing a target": "/launch",
    "the launch form": "/launch?target=batch:checksums",
    "the timeline": "/timeline",
    "activity": "/activity",
    "the jump menu as a page": "/jump?q=process",
    "shortcuts": "/shortcuts",
    "no such page": "/nowhere",
    "no such process": "/processes/01890a5d-ac96-774b-bcce-b302099a8057",
}
WORST = {"serious", "critical"}


@pytest.fixture(scope="module")
def peopled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, dict[str, str]]]:
    """A service with processes of several outcomes, and their ids."""
    folder = tmp_path_factory.mktemp("every-page")
    (folder / "rough.py").write_text(TARGETS)
    (folder / "broken.py").write_text("import not_there_at_all\n")
    service = Service(folder, [resource_dir("examples"), folder / "rough.py", folder / "broken.py"])
    try:
        service.start()
        running = service.launch("heartbeat:heartbeat", kwargs={"interval": 0.2})
        failed = service.join(service.launch("exit_codes:raises"))
        stopped = service.launch(
            "basics:slow_worker", name="a-name-that-is-as-long-as-people-like-to-make-them-at-times"
        )
        service.wait_for_log(running, "beat 3")
        service.post(stopped, "terminate", reason="no longer needed")
        service.join(stopped)
        ids = {"running": running, "failed": failed, "stopped": stopped}
        yield service, {name: str(process["id"]) for name, process in ids.items()}
    finally:
        service.close()


@pytest.fixture
def open_peopled(chromium: Browser, peopled: tuple[Service, dict[str, str]]) -> Iterator[Callable[..., Page]]:
    """Opens a page of `PAGES`, or of any path, signed in."""
    service, ids = peopled
    tabs = Tabs(chromium, service)
    tabs.expect_complaint(r"status of (404|422)")  # the browser's own, for pages that are answered with it
    yield lambda path, **options: tabs.open(path.format(**ids), **options)
    tabs.close()


@cache
def axe() -> str:
    """The source of axe-core."""
    return (importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text()


def findings(page: Page) -> list[str]:
    """What axe-core finds serious or worse, with the first element that is concerned."""
    page.evaluate(axe())
    found = page.evaluate("() => axe.run({ resultTypes: ['violations'] })")
    return [
        f"{violation['id']}: {violation['help']}: {violation['nodes'][0]['html'][:200]}"
        for violation in found["violations"]
        if violation["impact"] in WORST
    ]


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES.keys())
def test_axe_finds_nothing_serious(open_peopled: Callable[..., Page], path: str) -> None:
    for dark in (False, True):
        assert findings(open_peopled(path, dark=dark)) == []


def test_axe_finds_nothing_serious_at_the_door(open_peopled: Callable[..., Page]) -> None:
    for dark in (False, True):
        assert findings(open_peopled("/login", dark=dark, sign_in=False)) == []


def test_axe_finds_what_is_there(open_peopled: Callable[..., Page]) -> None:
    page = open_peopled("/processes")
    page.evaluate("document.body.append(document.createElement('input'))")
    assert any("label" in finding for finding in findings(page))


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES.keys())
def test_a_phone_never_scrolls_sideways(open_peopled: Callable[..., Page], path: str) -> None:
    page = open_peopled(path, width=360)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES.keys())
def test_each_page_is_there_without_script(open_peopled: Callable[..., Page], path: str) -> None:
    page = open_peopled(path, script=False)
    assert page.locator("main h1").first.inner_text()
