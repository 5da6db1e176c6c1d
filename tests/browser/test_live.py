"""Pages that stay up to date: what comes in does not disturb who reads, and what goes wrong is told and mended."""

import contextlib
import json
import re
import socket
import socketserver
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.browser.tabs import PATIENCE, Tabs
from tests.service import Service
from tests.waiting import wait_until

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE)

Open = Callable[..., Page]
JSON = dict[str, Any]
LIVE_MODULE = "import(document.querySelector('script[src$=\"/app.js\"]').src.replace('app.js', 'live.js'))"
FAILED = {"request_id": "0123456789abcdef", "status": 500, "title": "Internal error", "detail": "The service failed."}


def row(page: Page, process: JSON) -> Locator:
    return page.locator(f"#p-{process['id']}")


def is_live(page: Page) -> None:
    expect(page.locator("#connection")).to_have_text("Live", timeout=40_000)


def hide(page: Page, hidden: bool = True) -> None:
    """As if the page's tab had been put behind another; headless browsers show them all."""
    page.evaluate(
        """hidden => {
          Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def until(page: Page, holds: str, arg: object = None) -> None:
    """Wait for an expression of the page; its policy forbids the browser to do that by itself."""
    wait_until(lambda: page.evaluate(holds, arg), 15, f"never: {holds}")


def refresh(page: Page, times: int = 1) -> None:
    """Let updates pass. The page's clock is run on: it asks once a second at most."""
    page.evaluate("window.seen = 0, window.counting ??= document.addEventListener('updated', () => window.seen++) ?? 1")
    for number in range(1, times + 1):
        page.evaluate(f"{LIVE_MODULE}.then(live => live.refresh())")
        page.clock.run_for(1100)
        until(page, "number => window.seen >= number", number)


# --- what comes in does not disturb ------------------------------------------------------------------------------


def test_thirty_updates_leave_ticks_menu_focus_and_place(served: Service, slow: JSON, open_page: Open) -> None:
    waiting = [served.launch("basics:worker", start=False, name=f"waits-{number}") for number in range(30)]
    page = open_page("/targets")
    page.clock.install()
    page.goto("/processes")
    is_live(page)
    first, second = row(page, waiting[5]), row(page, waiting[6])
    for ticked in (first, second):
        ticked.locator("input[type=checkbox]").check()
    menu = row(page, waiting[12]).locator("details.menu")
    menu.locator("summary").scroll_into_view_if_needed()
    menu.locator("summary").click()
    expect(menu).to_have_attribute("open", "")
    menu.locator("summary").focus()
    page.evaluate("id => { document.getElementById(id).isSame = true }", f"p-{waiting[5]['id']}")
    where = page.evaluate("scrollY")

    before = row(page, slow).count()
    added = [served.launch("basics:worker", start=False) for _ in range(3)]
    refresh(page, 15)
    served.post(waiting[5], "start")
    served.join(waiting[5])
    refresh(page, 15)

    expect(first).to_contain_text("Succeeded")
    assert page.evaluate("id => document.getElementById(id).isSame", f"p-{waiting[5]['id']}"), "another element"
    for ticked in (first, second):
        expect(ticked.locator("input[type=checkbox]")).to_be_checked()
    expect(menu).to_have_attribute("open", "")
    expect(menu.locator("summary")).to_be_focused()
    assert page.evaluate("scrollY") == where
    assert row(page, slow).count() == before
    for process in added:
        expect(row(page, process)).to_have_count(0)
    page.get_by_role("button", name="3 new, show").click()
    page.clock.run_for(1100)
    for process in added:
        expect(row(page, process)).to_be_visible()
    expect(first.locator("input[type=checkbox]")).to_be_checked()
    expect(page.get_by_role("button", name=re.compile("new, show"))).to_have_count(0)


@pytest.mark.parametrize("why", ["scrolled", "ticked", "selected"])
def test_new_rows_wait_while_somebody_reads(served: Service, open_page: Open, why: str) -> None:
    there, *_ = [served.launch("basics:worker", start=False) for _ in range(30)]
    page = open_page("/processes?size=50")
    is_live(page)
    if why == "scrolled":
        page.mouse.wheel(0, 900)
        until(page, "document.querySelector('[data-rows]').getBoundingClientRect().top < 0")
    elif why == "ticked":
        row(page, there).locator("input[type=checkbox]").check()
    else:
        row(page, there).locator(".c-name").select_text()
    top = row(page, there).bounding_box()
    added = served.launch("basics:worker", start=False)
    expect(page.get_by_role("button", name="1 new, show")).to_be_visible()
    expect(row(page, added)).to_have_count(0)
    assert row(page, there).bounding_box() == top, "what is read has moved"


def test_without_scroll_anchors_the_page_keeps_the_place_itself(served: Service, open_page: Open) -> None:
    """As in browsers that have none: a region above what is read grows."""
    for _ in range(30):
        served.launch("basics:worker", start=False)
    page = open_page("/processes?size=50")
    is_live(page)
    shown = page.locator("#rows tr").count()
    page.evaluate(
        """() => {
          document.documentElement.style.overflowAnchor = "none";
          const supports = CSS.supports.bind(CSS);
          CSS.supports = (...asked) => asked[0] !== "overflow-anchor" && supports(...asked);
          document.getElementById("rows").firstElementChild.remove();
          scrollTo(0, 600);
        }"""
    )
    seen = page.evaluate(
        "[...document.querySelectorAll('#rows tr')].find(row => row.getBoundingClientRect().top > 100).id"
    )
    place = "id => Math.round(document.getElementById(id).getBoundingClientRect().top)"
    top = page.evaluate(place, seen)
    page.evaluate("document.getElementById('list').dataset.uiShowAll = ''")
    page.evaluate(f"{LIVE_MODULE}.then(live => live.refresh())")
    expect(page.locator("#rows tr")).to_have_count(shown)
    assert abs(page.evaluate(place, seen) - top) <= 1


def test_what_is_typed_stays(served: Service, slow: JSON, open_page: Open) -> None:
    page = open_page()
    is_live(page)
    field = page.locator("main input[type=search]").first
    field.fill("half a wor")
    added = served.launch("basics:worker", start=False)
    expect(row(page, added)).to_be_visible()
    expect(field).to_have_value("half a wor")
    expect(field).to_be_focused()


# --- the connection ----------------------------------------------------------------------------------------------


def test_the_stream_comes_up_after_errors_at_first(served: Service, tabs: Tabs) -> None:
    tabs.expect_complaint("503")
    page = tabs.open("/targets")
    refused = []

    def refuse(route: Route) -> None:
        refused.append(route.request.url)
        route.fulfill(status=503, body="not now")

    page.route("**/ui/events*", refuse)
    page.goto("/processes")
    expect(page.locator("#connection")).to_contain_text("Reconnecting")
    with page.expect_request("**/ui/events*"):
        pass
    assert len(refused) >= 2
    expect(page.get_by_role("heading", name="Processes")).to_be_visible()
    assert page.locator("#toasts").inner_text() == ""
    page.unroute("**/ui/events*")
    is_live(page)
    added = served.launch("basics:worker", start=False)
    expect(row(page, added)).to_be_visible()


def test_a_service_that_is_away_and_comes_back(chromium: Browser, tmp_path: Path) -> None:
    service = Service(tmp_path, flags=["--port", str(free_port())])
    tabs = Tabs(chromium, service)
    tabs.expect_complaint(r"ERR_|50[03]")
    try:
        service.start()
        for _ in range(30):
            service.launch("basics:worker", start=False)
        page = tabs.open("/processes?size=50")
        is_live(page)
        form = page.context.new_page()
        form.clock.install()
        form.goto("/launch?target=basics:worker")
        is_live(form)
        form.get_by_role("spinbutton", name="num").fill("7")
        page.mouse.wheel(0, 300)
        until(page, "scrollY === 300")

        service.kill()
        expect(page.locator("#connection")).to_have_class("connection is-reconnecting")
        expect(form.locator("#connection")).to_contain_text("Reconnecting")
        form.get_by_role("button", name="Launch", exact=True).click()
        expect(form.locator("#toasts")).to_contain_text("The service can't be reached.")
        expect(form.get_by_role("spinbutton", name="num")).to_have_value("7")
        form.clock.fast_forward(31_000)
        expect(form.locator("#as-of")).to_have_text(re.compile(r"as of \d\d:\d\d:\d\d$"))
        assert form.evaluate("'uiStale' in document.documentElement.dataset")

        service.start()
        form.clock.fast_forward(31_000)  # of the whole browser
        is_live(page)
        is_live(form)
        expect(form.locator("#as-of")).to_be_hidden()
        assert page.evaluate("scrollY") == 300
        assert page.locator("#toasts").inner_text() == ""
        form.get_by_role("button", name="Launch", exact=True).click()
        form.wait_for_url("**/processes/*")
        tabs.close()
    finally:
        service.close()


def test_who_is_signed_out_is_told_and_loses_nothing(served: Service, slow: JSON, tabs: Tabs) -> None:
    tabs.expect_complaint("401")
    page = tabs.open()
    is_live(page)
    expect(row(page, slow)).to_be_visible()
    page.context.clear_cookies()
    page.evaluate(f"{LIVE_MODULE}.then(live => live.reconnect())")
    expect(page.locator("#connection")).to_contain_text("Signed out", timeout=20_000)
    expect(page.locator("#toasts")).to_contain_text("You are signed out. Sign in")
    expect(row(page, slow)).to_be_visible()
    page.locator("#toasts").get_by_role("link", name="Sign in").click()
    expect(page).to_have_url(f"{served.url}/login?next=%2Fprocesses")


def test_f95_seven_pages_in_one_browser_of_which_six_are_hidden(served: Service, slow: JSON, tabs: Tabs) -> None:
    """A browser makes six connections to one host; a page that was looked at last has the stream."""
    pages = [tabs.open()]
    pages[0].clock.install()
    pages[0].reload()
    is_live(pages[0])
    for _ in range(6):
        page = pages[0].context.new_page()
        page.goto("/processes")
        expect(page.locator("h1")).to_be_visible()
        pages.append(page)
    for page in pages[3:]:
        is_live(page)
    for page in pages[:3]:
        expect(page.locator("#connection")).to_contain_text("Paused: other pages hold the streams")
    pages[0].evaluate("dispatchEvent(new Event('focus'))")
    is_live(pages[0])
    expect(pages[3].locator("#connection")).to_contain_text("Paused: other pages hold the streams")

    for page in pages[:6]:
        hide(page)
    pages[0].clock.fast_forward(15_500)
    expect(pages[0].locator("#connection")).to_have_text(re.compile("^Paused"))
    last = pages[6]
    row(last, slow).get_by_role("button", name="Stop", exact=True).click()
    expect(last.locator("#toasts")).to_contain_text(slow["name"])
    last.clock.run_for(1100)
    expect(row(last, slow)).to_contain_text(re.compile("Stopping|Stopped"))

    hide(pages[0], False)
    is_live(pages[0])
    pages[0].clock.run_for(1100)
    expect(row(pages[0], slow)).to_contain_text(re.compile("Stopping|Stopped"))


def test_a_hidden_page_tells_of_failures(served: Service, slow: JSON, open_page: Open) -> None:
    page = open_page()
    is_live(page)
    title = page.title()
    with page.expect_response("**/ui/now*"):
        hide(page)
    for code in (3, 4):
        served.join(served.launch("exit_codes:exit_error", code))
    served.join(served.launch("basics:worker"))
    until(page, "document.title.startsWith('(2 failed) ')")
    assert page.title() == f"(2 failed) {title}"
    expect(page.locator("link[rel=icon]")).to_have_attribute("href", re.compile("/favicon-failed.svg$"))
    hide(page, False)
    until(page, "title => document.title === title", title)
    expect(page.locator("link[rel=icon]")).to_have_attribute("href", re.compile("/favicon.svg$"))


# --- notices -----------------------------------------------------------------------------------------------------


def test_failures_of_a_refresh_are_notices(served: Service, slow: JSON, tabs: Tabs) -> None:
    tabs.expect_complaint("500|503")
    page = tabs.open()
    is_live(page)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    answers = [(500, FAILED, {}), (503, {"status": 503, "detail": "The record is away."}, {"Retry-After": "1"})]

    def fail(route: Route) -> None:
        if "x-live" not in route.request.headers or not answers:
            route.continue_()
            return
        status, problem, headers = answers.pop(0)
        body = f"<title>x</title><meta name=problem content='{json.dumps(problem)}'><main id=content>no</main>"
        route.fulfill(status=status, headers={"Content-Type": "text/html", **headers}, body=body)

    page.route("**/processes", fail)
    page.evaluate(f"{LIVE_MODULE}.then(live => live.refresh())")
    notice = page.locator("#toasts .toast").filter(has_text="The service failed.")
    expect(notice).to_have_class(re.compile("is-bad"))
    expect(row(page, slow)).to_be_visible()
    notice.get_by_role("button", name="Copy details").click()
    expect(notice.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert "/processes answered 500, request 0123456789abcdef: The service failed." in copied
    expect(page.locator("#toasts")).to_contain_text("The record is away. Try again in 1 s.", timeout=20_000)
    notice.get_by_role("button", name="Close").click()
    expect(notice).to_have_count(0)
    added = served.launch("basics:worker", start=False)
    expect(row(page, added)).to_be_visible()


def test_notices_are_shown_once_open_their_subject_and_bad_ones_stay(slow: JSON, open_page: Open) -> None:
    page = open_page("/targets")
    page.clock.install()
    page.goto("/targets")
    show = """([text, options]) =>
      import(document.querySelector('script[src$="/app.js"]').src.replace('app.js', 'toasts.js'))
        .then(({ toast }) => { toast(text, options) })"""
    link = {"href": f"/processes/{slow['id']}", "text": "Open"}
    for _ in range(3):
        page.evaluate(show, ["It was launched.", {"link": link}])
        page.evaluate(show, ["It failed.", {"kind": "bad"}])
    notices = page.locator("#toasts .toast")
    expect(notices).to_have_count(2)
    expect(page.locator("#toasts")).to_have_attribute("aria-live", "polite")
    page.mouse.move(0, 0)
    page.clock.fast_forward(9_000)
    expect(notices).to_have_count(1)
    expect(notices).to_contain_text("It failed.")
    page.evaluate(show, ["It was launched.", {"link": link}])
    notices.filter(has_text="It was launched.").click(position={"x": 12, "y": 12})
    page.wait_for_url(f"**/processes/{slow['id']}")


def test_a_new_version_is_told_and_loaded_while_nobody_looks(served: Service, open_page: Open) -> None:
    page = open_page("/targets")
    hello = {"version": "another", "now": "2026-11-22T06:55:26+00:00", "run": "1", "failed": 0}
    body = f"event: hello\ndata: {json.dumps(hello)}\n\n"
    page.route("**/ui/events*", lambda route: route.fulfill(content_type="text/event-stream", body=body))
    page.goto("/targets")
    expect(page.locator("#toasts")).to_contain_text("There is a new version of this page.")
    page.unroute("**/ui/events*")
    with page.expect_navigation():
        page.locator("#toasts").get_by_role("button", name="Reload").click()
    is_live(page)
    expect(page.locator("#toasts .toast")).to_have_count(0)
    page.route("**/ui/now*", lambda route: route.fulfill(json=hello))
    with page.expect_navigation():
        hide(page)
    page.unroute("**/ui/now*")


# --- the service goes away and comes back ------------------------------------------------------------------------


def free_port() -> int:
    """One that the service comes back to: the name of its cookie has it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_a_page_outlives_the_service(chromium: Browser, tmp_path: Path) -> None:
    service = Service(tmp_path, flags=["--port", str(free_port())])
    tabs = Tabs(chromium, service)
    tabs.expect_complaint(r"ERR_(CONNECTION_|INCOMPLETE_CHUNKED|EMPTY_RESPONSE|SOCKET_NOT_CONNECTED)|50[03]")
    try:
        service.start()
        process = service.launch("logs:both_streams", kwargs={"lines": 200, "pause": 0.05})
        page = tabs.open(f"/processes/{process['id']}")
        expect(page.get_by_text("line 5 of 200", exact=True)).to_be_visible()
        service.kill()
        expect(page.locator("#connection")).to_contain_text("Reconnecting")
        service.start()
        expect(page.locator("#connection")).to_have_text("Live")
        expect(page.locator("#log-state")).to_have_text("complete", timeout=30_000)
        written = page.locator("#log .l .x").all_inner_texts()
        # Two pipes that are read in one go have no order between them.
        written.sort(key=lambda line: int(line.split()[1]))
        assert written == [f"line {number} of 200" for number in range(1, 201)], "a line was lost or doubled"
        expect(page.locator(".banner .status")).to_contain_text("Succeeded")
        tabs.close()
    finally:
        service.close()


class Proxy(socketserver.ThreadingTCPServer):
    """A reverse proxy that answers 502 when nobody is behind it, as they all do."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, behind: tuple[str, int]) -> None:
        self.behind = behind
        self.refused = 0
        super().__init__(("127.0.0.1", 0), ProxiedConnection)
        threading.Thread(target=self.serve_forever, args=[0.05], daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that hangs up is none."""


class ProxiedConnection(socketserver.BaseRequestHandler):
    """One connection, passed on as it is: the Host that the browser asked for is one of the service's."""

    server: Proxy

    def handle(self) -> None:
        try:
            behind = socket.create_connection(self.server.behind)
        except OSError:
            self.request.recv(65536)
            self.server.refused += 1
            self.request.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        with behind:
            threading.Thread(target=self._pass_on, args=[self.request, behind], daemon=True).start()
            self._pass_on(behind, self.request)

    def _pass_on(self, source: socket.socket, to: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                to.sendall(data)
        for end in (source, to):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def test_f93_a_page_outlives_a_proxy_that_answers_502(chromium: Browser, tmp_path: Path) -> None:
    behind = ("127.0.0.1", free_port())
    proxy = Proxy(behind)
    outside = f"127.0.0.1:{proxy.server_address[1]}"
    service = Service(tmp_path, flags=["--port", str(behind[1]), "--allowed-hosts", outside])
    tabs = Tabs(chromium, service, url=f"http://{outside}")
    tabs.expect_complaint(r"ERR_(INCOMPLETE_CHUNKED|CONNECTION_RESET|EMPTY_RESPONSE)|50[23]")
    try:
        service.start()
        page = tabs.open("/processes")
        expect(page.locator("#connection")).to_have_text("Live")
        service.stop()
        expect(page.locator("#connection")).to_contain_text("The service ends or restarts. Reconnecting")
        wait_until(lambda: proxy.refused >= 2, 20, "the page did not try again")
        service.start()
        expect(page.locator("#connection")).to_have_text("Live", timeout=40_000)
        process = service.launch("basics:slow_worker", kwargs={"seconds": 300})
        expect(page.locator(f"#p-{process['id']}")).to_be_visible()
        tabs.close()
    finally:
        service.close()
        proxy.shutdown()
        proxy.server_close()
