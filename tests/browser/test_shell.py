"""What every page has around it: ways, colours, the door, what is said when something is not possible."""

import re
import resource
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from fastapi import Request as HTTPRequest
from playwright.sync_api import Browser, Page, Request, expect

from app.errors import problem_types
from app.pages.render import error_page
from tests.browser.tabs import PATIENCE, Tabs
from tests.service import Service
from tests.waiting import wait_until

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE)

Open = Callable[..., Page]

DARK = "rgb(15, 19, 24)"
LIGHT = "rgb(245, 246, 248)"
FINGER = 44
"""Pixels that a finger needs."""

FIRST_LOAD = 60 * 1024
"""Bytes, compressed, with their headers."""


def more(page: Page) -> None:
    page.locator("summary:visible").filter(has=page.locator("use[href$='#more']")).first.click()


def ground(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))


def focused(page: Page) -> str:
    """What has the focus, by its words; fails where that can't be seen."""
    name, is_seen = page.evaluate(
        """() => {
          const element = document.activeElement, style = getComputedStyle(element);
          const box = element.getBoundingClientRect();
          return [element.getAttribute('aria-label') ?? element.innerText.trim(),
            style.outlineStyle !== 'none' && box.width > 1 && box.top >= 0];
        }"""
    )
    assert is_seen, f"nobody sees that {name!r} has the focus"
    return str(name)


# --- ways --------------------------------------------------------------------------------------------------------


def test_every_place_is_reached_by_keyboard(open_page: Open) -> None:
    page = open_page("/targets")
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"

    page.goto("/targets")
    order = []
    for _ in range(9):
        page.keyboard.press("Tab")
        order.append(focused(page))
    words = ["Processes", "Targets", "Timeline", "Activity", "Search or jump to", "Launch", "More"]
    assert order == ["Skip to the content", "Procdeck", *words]
    expect(page.get_by_role("link", name="Targets", exact=True)).to_have_attribute("aria-current", "page")

    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert focused(page) == "API"
    page.keyboard.press("Escape")
    assert focused(page) == "More"
    expect(page.get_by_role("link", name="Shortcuts")).to_be_hidden()
    page.keyboard.press("Enter")
    page.keyboard.press("Shift+Tab")
    expect(page.get_by_role("link", name="Shortcuts")).to_be_hidden()  # it closed as the focus left it
    more(page)
    page.get_by_role("heading", level=1).click()
    expect(page.get_by_role("link", name="Shortcuts")).to_be_hidden()


def test_a_phone_has_its_bar_at_the_bottom(open_page: Open) -> None:
    page = open_page("/processes", width=360)
    bar = page.get_by_role("navigation", name="Main, at the bottom")
    expect(page.get_by_role("navigation", name="Main", exact=True)).to_be_hidden()
    for place in ("Processes", "Targets", "Launch", "Activity", "More"):
        box = bar.get_by_text(place, exact=True).locator("xpath=..").bounding_box()
        assert box is not None
        assert box["height"] >= FINGER, place
        assert box["width"] >= FINGER, place
    for element in page.locator(".bar a:visible, .bar button:visible").all():
        box = element.bounding_box()
        assert box is not None
        assert min(box["height"], box["width"]) >= FINGER, element.inner_html()
    top = bar.bounding_box()
    assert top is not None
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    foot = page.locator(".foot").bounding_box()
    assert foot is not None
    assert foot["y"] + foot["height"] <= top["y"] + 1, "the end of the page is behind the bar"

    more(page)
    for name in ("Timeline", "API", "Shortcuts"):
        box = bar.get_by_role("link", name=name).bounding_box()
        assert box is not None
        assert box["height"] >= FINGER, name
    bar.get_by_role("button", name="Dark").click()
    assert ground(page) == DARK
    bar.get_by_role("link", name="Targets").click()
    expect(page.get_by_role("heading", name="Targets")).to_be_visible()
    assert ground(page) == DARK


# --- colours -----------------------------------------------------------------------------------------------------


def test_colours_are_chosen_without_losing_the_page_and_come_with_the_next(served: Service, open_page: Open) -> None:
    page = open_page("/processes")
    assert ground(page) == LIGHT
    field = page.locator("main").get_by_role("searchbox").first
    field.fill("typed")
    more(page)
    with page.expect_response(lambda answer: answer.url.endswith("/theme")) as remembered:
        page.get_by_role("button", name="Dark").click()
    assert remembered.value.status == 204
    assert ground(page) == DARK
    expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")
    expect(field).to_have_value("typed")

    answer = page.goto("/targets")
    assert answer is not None
    assert '<html lang="en" data-theme="dark">' in answer.text(), "it would flash"
    assert ground(page) == DARK
    page.emulate_media(color_scheme="dark")
    more(page)
    page.get_by_role("button", name="Light").click()
    assert ground(page) == LIGHT
    with page.expect_response(lambda answer: answer.url.endswith("/theme")):
        page.get_by_role("button", name="System").click()
    assert ground(page) == DARK
    page.reload()
    assert ground(page) == DARK
    page.emulate_media(color_scheme="light")
    assert ground(page) == LIGHT


def test_colours_are_chosen_without_script(served: Service, open_page: Open) -> None:
    page = open_page("/targets?kept=1", script=False)
    more(page)
    page.get_by_role("button", name="Dark").click()
    expect(page).to_have_url(f"{served.url}/targets?kept=1")
    assert ground(page) == DARK
    more(page)
    page.get_by_role("button", name="System").click()
    assert ground(page) == LIGHT


def test_what_the_system_asks_for_is_heard(open_page: Open) -> None:
    page = open_page("/login", sign_in=False)
    soft = "getComputedStyle(document.querySelector('.hint')).color"
    before = page.evaluate(soft)
    page.emulate_media(contrast="more", reduced_motion="reduce")
    assert page.evaluate(soft) != before
    assert page.evaluate(soft) == page.evaluate("getComputedStyle(document.body).color")
    page.emulate_media(forced_colors="active", contrast="no-preference")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


# --- how much it is ----------------------------------------------------------------------------------------------


def test_the_first_load_is_small_and_is_kept(open_page: Open) -> None:
    page = open_page("about:blank")
    done: list[Request] = []
    page.on("requestfinished", lambda request: done.append(request))
    page.goto("/processes")
    expect(page.locator("#connection")).to_have_text("Live")
    page.wait_for_function("document.querySelector('.icon').getBoundingClientRect().width > 0")
    sizes = {request.url: sum(request.sizes()[part] for part in _PARTS) for request in done}  # type: ignore[literal-required]
    for part in ("/processes", "/app.css", "/app.js", "/icons.svg"):
        assert any(part in url for url in sizes), f"{part} was not counted"
    assert sum(sizes.values()) < FIRST_LOAD, sizes
    for request in done:
        answer = request.response()
        if "/static/" in request.url and answer is not None:
            assert "immutable" in answer.headers["cache-control"], request.url
            assert answer.headers.get("content-encoding") == "gzip", request.url


_PARTS = ("responseBodySize", "responseHeadersSize")


# --- the door ----------------------------------------------------------------------------------------------------


def test_the_login_link_signs_in_once(served: Service, tabs: Tabs) -> None:
    link = served.client.post("/login-links").json()["url"]
    page = tabs.open(link, sign_in=False)
    expect(page.get_by_role("heading", name="Processes")).to_be_visible()
    assert page.url == f"{served.url}/processes"
    page.go_back()
    assert "code=" not in page.url, "the code stays in the history"

    tabs.expect_complaint("401")
    again = tabs.open(link, sign_in=False)
    expect(again.get_by_role("alert")).to_contain_text("neither the token of this service nor a login link")


def test_a_page_asks_to_sign_in_and_comes_back(served: Service, tabs: Tabs) -> None:
    tabs.expect_complaint("401")
    page = tabs.open("/targets?x=1", sign_in=False)
    expect(page.get_by_text("and go on to /targets?x=1")).to_be_visible()
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_label("Token").fill(served.token)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{served.url}/targets?x=1")
    more(page)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(page.get_by_text("You are signed out.")).to_be_visible()
    page.goto("/processes")
    expect(page).to_have_url(f"{served.url}/login?next=/processes")


def test_who_is_signed_in_and_comes_from_another_site_is_sent_on(served: Service, tabs: Tabs, tmp_path: Path) -> None:
    page = tabs.open()
    # A file has an origin of its own: the cookie is not sent with a visit from there.
    elsewhere = tmp_path / "elsewhere.html"
    elsewhere.write_text(f'<a href="{served.url}/targets/batch:checksums">there</a>')
    page.goto(elsewhere.as_uri())
    page.get_by_role("link", name="there").click()
    expect(page).to_have_url(f"{served.url}/targets/batch:checksums")


def test_who_was_signed_out_meanwhile_loses_nothing(served: Service, tabs: Tabs) -> None:
    tabs.expect_complaint("401")
    page = tabs.open("/launch?target=basics:worker&name=kept-through-signing-in", script=False)
    other = page.context.new_page()
    other.goto("/targets")
    more(other)
    other.get_by_role("button", name="Sign out").click()
    expect(other.get_by_role("heading", name="Sign in")).to_be_visible()

    page.locator("main").get_by_role("button", name="Launch").first.click()
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Sign in").click()
    beside = opened.value
    beside.get_by_label("Token").fill(served.token)
    beside.get_by_role("button", name="Sign in").click()
    expect(beside.get_by_role("heading", name="Processes")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="kept-through-signing-in")).to_be_visible()


# --- what is not possible ----------------------------------------------------------------------------------------


def test_what_is_not_there_says_so_and_leads_on(served: Service, tabs: Tabs) -> None:
    tabs.expect_complaint("404")
    page = tabs.open("/nowhere?x=<script>")
    expect(page.get_by_role("heading", name="There is no such page")).to_be_visible()
    page.goto("/targets/no:such")
    expect(page.get_by_role("heading", name="This target is not here")).to_be_visible()
    expect(page.get_by_role("link", name="Its processes")).to_have_attribute("href", re.compile("no%3Asuch"))

    gone = served.join(served.launch("basics:worker"))
    served.client.delete(f"/processes/{gone['id']}").raise_for_status()
    page.goto(f"/processes/{gone['id']}")
    expect(page.get_by_role("heading", name="This process is not here")).to_be_visible()
    expect(page.locator("main")).to_contain_text("deleted")
    page.locator("main").get_by_role("link", name="To the processes").click()
    expect(page.get_by_role("heading", name="Processes")).to_be_visible()


def test_the_details_of_a_failure_can_be_copied(tabs: Tabs) -> None:
    page = tabs.open("/targets")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    problem = {"title": "Internal error", "status": 500, "detail": "It failed.", "request_id": "0123abcd"}
    scope = {"type": "http", "method": "GET", "path": "/launch", "query_string": b"", "headers": [], "state": {}}
    html = error_page(HTTPRequest(scope), problem)
    page.route("**/launch", lambda route: route.fulfill(body=html, content_type="text/html"))
    page.goto("/launch")
    page.get_by_role("button", name="Copy details").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert "request id 0123abcd" in page.evaluate("navigator.clipboard.readText()")
    expect(page.get_by_role("button", name="Copy details")).to_be_visible()
    # Without the clipboard's own interface, as on plain HTTP from another machine.
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.evaluate("document.getElementById('failure-details').textContent = 'other words'")
    page.get_by_role("button", name="Copy details").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()


def test_a_body_that_is_too_large_is_told_on_a_page(served: Service, open_page: Open, tabs: Tabs) -> None:
    tabs.expect_complaint("413")
    page = open_page("/targets", script=False)
    answer = page.request.post(
        "/launch", form={"target": "x" * 2**20}, headers={"Origin": served.url, "Accept": "text/html"}
    )
    assert answer.status == 413
    assert "This is too much" in answer.text()


def test_the_documents_of_the_api(open_page: Open) -> None:
    page = open_page("/docs#problem-conflict", dark=True)
    expect(page.locator(".opblock").first).to_be_visible()
    assert ground(page) == DARK
    for kind in problem_types():
        assert page.locator(f"#problem-{kind.slug}").count() == 1


def test_a_trouble_is_told_on_every_page_and_goes_away(chromium: Browser, tmp_path: Path) -> None:
    """One that is real: the service has hardly any descriptor left."""
    service = Service(tmp_path)
    tabs = Tabs(chromium, service)
    try:
        service.start()
        most, hard = resource.prlimit(service.pid, resource.RLIMIT_NOFILE)
        few = len(list(Path(f"/proc/{service.pid}/fd").iterdir())) + 60
        resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (few, hard))
        wait_until(lambda: service.client.get("/service").json()["troubles"], 20, "no trouble is told")
        pages = [tabs.open(path, width=360) for path in ("/processes", "/targets", "/launch", "/docs")]
        for page in pages:
            banner = page.get_by_role("status").filter(has_text="Something is wrong with the service")
            expect(banner).to_contain_text(f"of {few} file descriptors open")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert "trouble: descriptors" in httpx.get(f"{service.url}/readyz").text
        resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (most, hard))
        wait_until(lambda: not service.client.get("/service").json()["troubles"], 20, "the trouble stays")
        service.launch("basics:slow_worker", kwargs={"seconds": 300})
        expect(pages[0].locator("#troubles p")).to_have_count(0)
        tabs.close()
    finally:
        service.close()
