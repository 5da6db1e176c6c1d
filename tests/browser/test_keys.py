"""The dashboard by keyboard: the jump menu, shortcuts, and what they never do."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from app.pages.keys import GROUPS
from tests.browser.tabs import PATIENCE, Tabs
from tests.service import Service

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE)

Open = Callable[..., Page]
JSON = dict[str, Any]


@pytest.fixture
def slow(served: Service) -> Iterator[JSON]:
    """A process that runs for as long as the test."""
    process = served.launch("basics:slow_worker", kwargs={"seconds": 300}, name="keyed-by-hand")
    yield process
    if served.get(process)["is_alive"]:
        served.post(process, "kill")


def test_the_jump_menu_finds_processes_targets_and_commands(served: Service, slow: JSON, open_page: Open) -> None:
    page = open_page("/targets")
    expect(page.locator("#connection")).to_have_text("Live")
    page.keyboard.press("/")
    field, options = page.get_by_role("combobox"), page.locator("#jump-items").get_by_role("option")
    expect(field).to_be_focused()
    expect(options.filter(has_text="keyed-by-hand").first).to_be_visible()
    expect(field).to_have_attribute("aria-activedescendant", "jump-1")
    page.keyboard.type("keyed")
    expect(options).to_have_count(1)
    expect(options).to_contain_text(re.compile(r"keyed-by-hand\s+Running · basics:slow_worker · #\d+"))
    field.fill("worker")
    expect(options.first).to_contain_text("basics:Worker")
    page.keyboard.press("ArrowDown")
    expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    expect(options.nth(0)).to_have_attribute("aria-selected", "false")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect(options.last).to_have_attribute("aria-selected", "true")
    field.fill("nothing of the kind")
    expect(page.locator("#jump-said")).to_have_text("Nothing fits.")
    expect(field).to_have_attribute("aria-expanded", "false")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)

    # Enter before the answer has come leads to what is found.
    page.keyboard.press("Control+k")
    expect(field).to_be_focused()
    page.keyboard.type("timeline")
    page.keyboard.press("Enter")
    page.wait_for_url("**/timeline")
    page.go_back()
    page.locator("#jump-open").click()
    field.fill(slow["id"][:13])
    expect(options.first).to_contain_text("keyed-by-hand")
    options.first.click()
    page.wait_for_url(f"**/processes/{slow['id']}")


def test_what_can_be_done_with_the_process_of_the_page_is_asked_first(
    served: Service, slow: JSON, open_page: Open
) -> None:
    page = open_page(f"/processes/{slow['id']}")
    page.keyboard.press("/")
    page.keyboard.type("sigkill")
    expect(page.locator("#jump-items").get_by_role("option").first).to_contain_text("Kill keyed-by-hand…")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/processes/{slow['id']}/kill")
    expect(page.get_by_role("heading", name="Kill keyed-by-hand now?")).to_be_visible()
    assert served.get(slow)["state"] == "running"
    page.goto(f"/processes/{slow['id']}")
    page.keyboard.press("/")
    page.keyboard.type("rerun")
    expect(page.locator("#jump-items").get_by_role("option").first).to_contain_text("Launch again")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/launch?from={slow['id']}")


def test_colours_are_chosen_in_the_jump_menu(open_page: Open) -> None:
    page = open_page("/targets")
    page.keyboard.press("/")
    page.keyboard.type("dark mode")
    expect(page.locator("#jump-items").get_by_role("option").first).to_have_text(re.compile("Colours: dark"))
    page.keyboard.press("Enter")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page).to_have_url(re.compile("/targets$"))


def test_keys_lead_through_pages_and_rows(served: Service, slow: JSON, open_page: Open) -> None:
    older = served.launch("basics:worker", start=False)
    page = open_page("/targets")
    page.keyboard.press("g")
    page.keyboard.press("p")
    page.wait_for_url("**/processes")
    page.keyboard.press("j")
    links = page.locator("#rows .c-name a")
    expect(links.nth(0)).to_be_focused()
    page.keyboard.press("j")
    expect(links.nth(1)).to_be_focused()
    page.keyboard.press("k")
    page.keyboard.press("k")
    expect(links.nth(0)).to_be_focused()
    page.keyboard.press("x")
    box = page.locator("#rows input[type=checkbox]").first
    expect(box).to_be_checked()
    page.keyboard.press("x")
    expect(box).not_to_be_checked()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/processes/{older['id']}")
    for keys, url in (("gt", "/targets"), ("gi", "/timeline"), ("ga", "/activity"), ("l", "/launch")):
        for key in keys:
            page.keyboard.press(key)
        page.wait_for_url(f"**{url}")
    # What a page's own script hears of.
    page.evaluate("self.heard = ''; for (const k of 'fnN') document.addEventListener(`key:${k}`, () => heard += k)")
    for key in "fnN":
        page.keyboard.press(key)
    assert page.evaluate("heard") == "fnN"


def test_no_single_key_does_any_harm(served: Service, slow: JSON, open_page: Open) -> None:
    page = open_page(f"/processes/{slow['id']}")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.method))
    for key in "abcdefghijkmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;-+#!$%&":
        page.keyboard.press(key)
        page.keyboard.press("Backspace")
        if page.get_by_role("dialog").count():
            page.keyboard.press("Escape")
    assert set(asked) <= {"GET"}
    assert served.get(slow)["state"] == "running"


def test_keys_are_text_in_fields_and_can_be_switched_off(open_page: Open) -> None:
    page = open_page("/launch?target=basics:worker")
    field = page.locator("main input[type=text], main input:not([type])").first
    page.evaluate("for (const folded of document.querySelectorAll('main details')) folded.open = true")
    field.fill("")
    field.press_sequentially("/?gp")
    expect(field).to_have_value("/?gp")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.locator("h1").click()
    page.keyboard.press("?")
    page.wait_for_url("**/shortcuts")
    for _, shortcuts in GROUPS:
        for shortcut in shortcuts:
            line = page.get_by_role("row").filter(has_text=shortcut.does).first
            assert line.locator("kbd").all_inner_texts() == list(shortcut.keys)
    page.get_by_label("Use shortcuts in this browser").uncheck()
    page.locator("h1").click()
    page.keyboard.press("g")
    page.keyboard.press("p")
    page.keyboard.press("/")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.goto("/targets")
    page.keyboard.press("?")
    page.keyboard.press("/")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page).to_have_url(re.compile("/targets$"))
    page.goto("/shortcuts")
    box = page.get_by_label("Use shortcuts in this browser")
    expect(box).not_to_be_checked()
    box.check()
    page.locator("h1").click()
    page.keyboard.press("/")
    expect(page.get_by_role("combobox")).to_be_focused()


def test_everything_of_a_list_and_a_dialog_is_reached_by_tab(served: Service, slow: JSON, open_page: Open) -> None:
    page = open_page("/processes?search=keyed-by-hand")
    reached = set()
    for _ in range(80):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("(e => e.getAttribute('aria-label') ?? e.textContent.trim())(document.activeElement)")
        )
        if reached >= {"Skip to the content", "keyed-by-hand", "Stop", "More actions for keyed-by-hand"}:
            break
    else:
        raise AssertionError(f"Tab reached only {reached}")
    page.goto(f"/processes/{slow['id']}")
    kill = page.locator(".actions").get_by_role("button", name="Kill", exact=True)
    for _ in range(80):
        page.keyboard.press("Tab")
        if kill.evaluate("button => button === document.activeElement"):
            break
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(kill).to_be_focused()
    assert served.get(slow)["state"] == "running"


@pytest.mark.parametrize("width", [1280, 360])
def test_the_jump_menu_fits_a_phone_and_works_without_script(tabs: Tabs, slow: JSON, width: int) -> None:
    page = tabs.open("/targets", width=width, dark=width == 360)
    page.locator("#jump-open").click()
    options = page.locator("#jump-items").get_by_role("option")
    expect(options.first).to_be_visible()
    if width == 360:
        heights = options.evaluate_all("options => options.map(option => option.getBoundingClientRect().height)")
        assert min(heights) >= 44
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    page.mouse.click(3, 795)
    expect(page.get_by_role("dialog")).to_have_count(0)

    page = tabs.open(f"/jump?at=/processes/{slow['id']}", script=False, width=width)
    expect(page.get_by_role("link", name=re.compile("^Kill keyed-by-hand"))).to_be_visible()
    page.get_by_role("searchbox").fill("keyed")
    page.get_by_role("button", name="Find").click()
    page.get_by_role("link", name=re.compile("^keyed-by-hand Running")).click()
    expect(page).to_have_url(re.compile(f"/processes/{slow['id']}$"))
