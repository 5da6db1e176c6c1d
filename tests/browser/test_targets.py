"""The pages of targets: the list, one of them, and what can't be launched."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.tabs import PATIENCE, Tabs
from tests.service import Service

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE)

Open = Callable[..., Page]


def test_targets_tell_what_is_wrong_with_them(served: Service, open_page: Open) -> None:
    page = open_page("/targets")
    expect(page.get_by_text("ModuleNotFoundError: No module named 'not_there_at_all'")).to_be_visible()
    expect(page.get_by_text("It is an async function")).to_be_visible()
    (served.folder / "rough.py").write_text((served.folder / "rough.py").read_text() + "\n@target\ndef added(): ...\n")
    page.get_by_role("button", name="Reload").click()
    expect(page.locator("#toasts")).to_contain_text("Imported anew")
    page.get_by_role("link", name="rough:added", exact=True).click()
    expect(page.get_by_text("It has not been launched yet.")).to_be_visible()
    expect(page.locator("#source pre")).to_have_text("@target\ndef added(): ...\n")
    # A file that was changed since is not what runs.
    with (served.folder / "rough.py").open("a") as file:
        file.write("\n")
    page.reload()
    expect(page.locator("#source")).to_contain_text("no longer, the one that was imported")
    page.locator("#content").get_by_role("link", name="Launch").click()
    expect(page.get_by_role("heading", name="Launch rough:added")).to_be_visible()


@pytest.mark.parametrize("script", [True, False], ids=["script", "plain"])
def test_a_target_shows_how_it_has_fared(served: Service, tabs: Tabs, script: bool) -> None:
    runs = [served.join(served.launch("exit_codes:exit_ok")) for _ in range(2)]
    runs.append(served.join(served.launch("exit_codes:exit_error", 3)))
    page = tabs.open("/targets", script=script, width=360)
    card = page.locator("[id='target-exit_codes:exit_ok']")
    expect(card).to_contain_text("100 % succeeded")
    expect(card.locator(".tick.is-succeeded").last).to_have_attribute("title", re.compile(f"^{runs[1]['name']}: "))
    card.locator(".tick").last.click()
    expect(page).to_have_url(re.compile(runs[1]["id"]))

    page.goto("/targets?q=exit_ok")
    expect(page.locator(".targets > li")).to_have_count(1)
    page.get_by_role("link", name="exit_codes:exit_ok", exact=True).click()
    expect(page.locator("#fared")).to_contain_text(re.compile(r"100 % \((\d+) of the last \1 that are over\)"))
    assert page.locator(".chart .bar.is-succeeded").count() >= 2
    page.get_by_text("As a table").click()
    page.locator(".as-table").get_by_role("link", name=runs[0]["name"], exact=True).click()
    expect(page.get_by_role("heading", name=runs[0]["name"])).to_be_visible()
    page.goto("/targets?q=nothing-like-it")
    expect(page.get_by_text("No target has")).to_be_visible()


def test_a_target_that_is_gone_and_a_service_without_any(chromium: Browser, tmp_path: Path) -> None:
    module = tmp_path / "passing.py"
    module.write_text("def work() -> None: ...\n")
    service = Service(tmp_path, [module])
    try:
        process = service.start().launch("passing:work", name="the-last")
        service.join(process)
        module.write_text("def other() -> None: ...\n")
        service.client.post("/targets/reload")
        tabs = Tabs(chromium, service)
        tabs.expect_complaint("404")
        page = tabs.open("/targets/passing:work")
        expect(page.get_by_role("heading", name="It is registered no more")).to_be_visible()
        expect(page.get_by_role("link", name="the-last")).to_be_visible()
        page.goto(f"/launch?from={process['id']}")
        expect(page.locator("#content")).to_contain_text("There is no target 'passing:work'.")

        module.write_text("1 / 0\n")
        service.client.post("/targets/reload")
        page.goto("/targets")
        expect(page.get_by_role("heading", name="Nothing can be launched")).to_be_visible()
        module.write_text("")
        service.client.post("/targets/reload")
        page.goto("/targets")
        expect(page.get_by_role("heading", name="No target is registered")).to_be_visible()
        tabs.close()
    finally:
        service.close()
