"""What a person does with the dashboard, with script and without."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.tabs import PATIENCE, Tabs, button
from tests.service import Service

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE)

Open = Callable[..., Page]
JSON = dict[str, Any]


def url_of(process: JSON) -> str:
    return f"/processes/{process['id']}"


def process_id(page: Page) -> str:
    found = re.search(r"/processes/([0-9a-f-]{36})$", page.url)
    assert found, page.url
    return found[1]


# --- one process -------------------------------------------------------------------------------------------------


# --- the list ----------------------------------------------------------------------------------------------------


def row(page: Page, process: JSON) -> Locator:
    return page.locator(f"#p-{process['id']}")


# --- every page --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_no_page_is_wider_than_the_window(served: Service, slow: JSON, tabs: Tabs, width: int, dark: bool) -> None:
    tabs.expect_complaint("404")
    failed = served.join(served.launch("exit_codes:raises", "x" * 300))
    page = tabs.open(width=width, dark=dark)
    paths = [
        "/processes",
        "/processes?q=nothing&state=lost&target=no:such",
        url_of(slow),
        url_of(failed),
        f"{url_of(slow)}/kill",
        "/targets",
        "/targets/batch:checksums",
        "/launch",
        "/launch?target=batch:checksums",
        f"/launch?from={failed['id']}",
        "/docs",
        "/nothing-here",
    ]
    for path in paths:
        page.goto(path)
        page.locator("h1").first.wait_for()
        wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wider <= 0, f"{path} is {wider} px too wide"


# --- without script ----------------------------------------------------------------------------------------------


def test_everything_works_without_script(served: Service, tabs: Tabs) -> None:
    tabs.expect_complaint("422")
    page = tabs.open(served.client.post("/login-links").json()["url"], script=False, sign_in=False)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Processes")).to_be_visible()

    page.get_by_role("banner").get_by_role("link", name="Launch").click()
    page.get_by_role("link", name=re.compile("^basics:slow_worker")).click()
    page.get_by_label("value:").check()
    page.get_by_role("spinbutton", name="seconds").fill("")
    page.get_by_role("button", name="Launch", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("needs a value")
    page.get_by_role("spinbutton", name="seconds").fill("300")
    page.get_by_role("button", name="Update the call").click()
    expect(page.locator("#curl")).to_contain_text('"seconds": 300')
    page.get_by_role("button", name="Launch", exact=True).click()
    expect(page.get_by_text("was launched.")).to_be_visible()
    process = served.client.get(f"/processes/{process_id(page)}").json()
    served.wait_for_log(process, "begins")
    page.get_by_role("link", name="Refresh").click()
    expect(page.locator("#log")).to_contain_text("Slow worker begins")

    page.get_by_label("Seconds to wait at most").fill("0.1")
    button(page, "Join").click()
    expect(page.get_by_text("is still running after 0.1 s.")).to_be_visible()
    button(page, "Kill").click()
    expect(page.get_by_role("heading", name=f"Kill {process['name']} now?")).to_be_visible()
    page.get_by_role("link", name="Cancel").click()

    page.goto("/processes")
    row(page, process).locator("summary").click()
    row(page, process).get_by_role("button", name="Terminate").click()
    expect(page.get_by_text("SIGTERM was sent.")).to_be_visible()
    served.join(process)
    page.get_by_role("link", name="Refresh").click()
    expect(row(page, process)).to_contain_text("Stopped")
    row(page, process).get_by_role("link", name=process["name"]).click()
    page.locator("#more-actions > summary").click()
    button(page, "Delete record").click()
    page.get_by_role("button", name="Delete record").click()
    expect(page.get_by_text("were deleted.")).to_be_visible()
