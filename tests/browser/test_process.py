"""The page of one process: what it says, its buttons, its tabs, and what it used."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from app.resources import resource_dir
from tests.browser.tabs import PATIENCE, Tabs, button, status
from tests.service import Service
from tests.waiting import wait_until

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE)

Open = Callable[..., Page]
JSON = dict[str, Any]

BUSY = '''
import sys, time
from procdeck import target

@target
def train(seconds: float = 60.0) -> str:
    """Uses some CPU and memory, and draws a bar as tqdm does."""
    held, begin = [], time.monotonic()
    while (spent := time.monotonic() - begin) < seconds:
        done = min(99, int(100 * spent / seconds))
        sys.stderr.write(f"\\rtrain: {done:3}%|##  | {done}/100 [00:01<00:07, 5.1it/s]")
        sys.stderr.flush()
        held.append(b"x" * 500_000)
        sum(range(100_000))
        time.sleep(0.1)
    return "done"
'''


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a target that has something to show."""
    folder = tmp_path_factory.mktemp("process")
    (folder / "busy.py").write_text(BUSY)
    service = Service(folder, [resource_dir("examples"), folder / "busy.py"], environ={"PROCDECK_MAX_PROCESSES": "1"})
    try:
        yield service.start()
    finally:
        service.close()


def more(page: Page) -> Locator:
    """What is behind the three dots, opened."""
    menu = page.locator("#more-actions")
    if menu.get_attribute("open") is None:
        menu.locator("summary").click()
    return menu


def url_of(process: JSON, tab: str = "") -> str:
    return f"/processes/{process['id']}" + (f"?tab={tab}" if tab else "")


def test_join_waits_without_holding_the_page(served: Service, open_page: Open) -> None:
    process = served.launch("basics:patient_worker", kwargs={"seconds": 300})
    page = open_page(url_of(process))
    page.get_by_label("Seconds to wait at most").fill("0.2")
    button(page, "Join").click()
    expect(page.locator("#answer")).to_have_text(f"{process['name']} is still running after 0.2 s.")
    expect(page.locator("#toasts")).not_to_contain_text("is still running")

    page.get_by_label("Seconds to wait at most").fill("60")
    button(page, "Join").click()
    expect(page.locator("#answer")).not_to_be_visible()  # it was of the action before
    button(page, "Waiting… cancel").click()
    expect(page.locator("#answer")).to_contain_text("was cancelled")

    button(page, "Join").click()
    expect(button(page, "Waiting… cancel")).to_be_visible()
    button(page, "Stop").click()
    expect(page.locator("#answer")).to_contain_text(f"{process['name']} is over.")
    expect(button(page, "Join")).to_be_visible()
    expect(page.locator("#result")).to_contain_text("stopped early")
    assert served.get(process)["outcome"] == "stopped"


def test_terminate_ends_it_and_the_page_tells(served: Service, slow: JSON, open_page: Open) -> None:
    page = open_page(url_of(slow))
    expect(status(page)).to_contain_text("Running")
    expect(button(page, "Start")).to_have_count(0)
    button(page, "Terminate").click()
    expect(page.locator("#toasts")).to_contain_text(f"{slow['name']} was sent SIGTERM.")
    expect(status(page)).to_contain_text("Stopped")
    expect(page.locator(".banner")).to_contain_text(re.compile(r"SIGTERM by operator at [0-9:]{8}; ended by SIGTERM"))
    expect(page.locator("#exitcode")).to_have_text("-15 (SIGTERM)")
    expect(page).to_have_title(re.compile("Stopped"))
    expect(button(page, "Terminate")).to_be_disabled()
    expect(button(page, "Terminate")).to_have_accessible_description(
        re.compile("Stop, Terminate, Kill: it is already over.")
    )

    page.get_by_role("link", name=re.compile("^Events")).click()
    expect(page.locator("#history")).to_contain_text("running → stopping")
    expect(page.locator("#history")).to_contain_text("operator")
    page.get_by_role("link", name="Details", exact=True).click()
    expect(page.locator("#record")).to_contain_text(slow["id"])
    expect(page.locator("#as-curl")).to_contain_text("basics:slow_worker")
    expect(page.get_by_role("link", name="Details", exact=True)).to_have_attribute("aria-current", "page")


def test_what_follows_is_counted_down_and_kill_asks_first(served: Service, open_page: Open) -> None:
    process = served.launch("rough:stubborn")
    served.wait_for_log(process, "ready")
    page = open_page(url_of(process))
    menu = more(page)
    menu.get_by_label("Stop, SIGTERM after").fill("120")
    menu.get_by_placeholder("Why (optional)").fill("in the way")
    menu.get_by_role("button", name="Stop with grace").click()
    expect(status(page)).to_contain_text("Stopping")
    banner = page.locator(".banner")
    expect(banner).to_contain_text("Asked to stop by operator")
    expect(banner).to_contain_text(re.compile(r"SIGTERM in [0-9]+ s at [0-9:]{8}, SIGKILL at [0-9:]{8}\."))
    expect(page.locator("#toasts")).to_contain_text("SIGTERM follows after 120 s, SIGKILL after as many more.")
    left = banner.locator("[data-until]")
    expect(left).to_have_text(re.compile(r"^1[0-9]{2} s$"))
    before = left.text_content()
    expect(left).not_to_have_text(str(before))

    button(page, "Terminate again").click()
    expect(banner).to_contain_text("SIGTERM was sent by operator")
    expect(banner).to_contain_text("SIGTERM in")
    # To ask once more is no step back.
    page.locator("#do-stop button").click()
    expect(banner).to_contain_text(re.compile("SIGTERM was sent by operator .*, then asked to stop by operator"))
    kill = banner.get_by_role("button", name="Kill now")
    kill.click()
    dialog = page.get_by_role("dialog", name=f"Kill {process['name']} now?")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).not_to_be_visible()
    kill.click()
    dialog.get_by_role("button", name="Kill now").click()
    expect(page.locator("#exitcode")).to_have_text("-9 (SIGKILL)")
    assert "in the way" in served.get(process)["exit_summary"]
    assert served.get(process)["exit_summary"].endswith("then killed (SIGKILL) by operator.")
    expect(banner).to_contain_text("then killed (SIGKILL) by operator.")


def test_any_signal_can_be_sent(served: Service, slow: JSON, open_page: Open) -> None:
    page = open_page(url_of(slow))
    menu = more(page)
    menu.get_by_label("Signal", exact=True).select_option("SIGSTOP")
    menu.get_by_role("button", name="Send").click()
    expect(page.locator(".banner .condition")).to_have_text("paused")
    expect(page.locator(".banner")).to_contain_text("stopping it lets it go on")
    menu = more(page)
    menu.get_by_label("Signal", exact=True).select_option("SIGCONT")
    menu.get_by_role("button", name="Send").click()
    expect(page.locator(".banner .condition")).to_have_count(0)


def test_launching_again_leads_on_and_both_know_each_other(served: Service, open_page: Open) -> None:
    process = served.join(served.launch("exit_codes:raises"))
    page = open_page(url_of(process))
    expect(status(page)).to_contain_text("Failed")
    error = page.locator("#error")
    expect(error.locator("summary")).to_contain_text("RuntimeError: something went wrong, as planned")
    expect(error.locator("pre")).not_to_be_visible()
    error.locator("summary").click()
    expect(error.locator("pre")).to_contain_text("Traceback (most recent call last)")
    link = page.get_by_role("link", name="Go to traceback")
    expect(link).to_have_attribute("href", f"{url_of(process)}?at=traceback")
    button(page, "Launch again").click()
    expect(page.get_by_text("Launched again from")).to_contain_text(process["name"])
    assert process["id"] not in page.url
    page.locator(".chain a").click()
    expect(page.get_by_text("Launched again as")).to_be_visible()
    expect(page.locator(".chain a")).to_have_count(1)


def test_one_key_launches_once(served: Service, open_page: Open) -> None:
    process = served.join(served.launch("basics:worker"))
    page = open_page(url_of(process), script=False)
    key = page.locator("#do-relaunch input[name=key]").input_value()
    places = [
        page.request.post(
            f"{url_of(process)}/relaunch", form={"key": key}, headers={"Origin": served.url}, max_redirects=0
        ).headers["location"]
        for _ in range(2)
    ]
    assert places[0] == places[1] != url_of(process)


def test_start_and_delete(served: Service, tabs: Tabs) -> None:
    tabs.expect_complaint("404")  # the page may ask for itself once more before it is left
    process = served.launch("basics:worker", start=False)
    page = tabs.open(url_of(process))
    expect(page.locator("#reasons")).to_contain_text(
        "Stop, Terminate, Kill, Join, Launch again: it is not started yet."
    )
    button(page, "Start").click()
    expect(status(page)).to_contain_text("Succeeded")
    expect(page.locator("#log")).to_contain_text("Worker")
    served.join(process)
    wait_until(lambda: served.get(process)["disk_bytes"], 20, "it is not measured")
    page.reload()
    more(page).get_by_role("button", name="Delete record").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(re.compile("They take .* KiB"))
    dialog.get_by_role("button", name="Delete record").click()
    expect(page).to_have_url(f"{served.url}/processes")
    expect(page.locator("#toasts")).to_contain_text(f"The record of {process['name']} and its log were deleted.")
    assert served.client.get(f"/processes/{process['id']}").status_code == 404


def test_a_refusal_is_told_in_place(served: Service, tabs: Tabs) -> None:
    tabs.expect_complaint("409")
    process = served.launch("basics:slow_worker", kwargs={"seconds": 300})
    page = tabs.open(url_of(process))
    page.route("**/ui/events*", lambda route: route.abort())  # so that the page does not know
    tabs.expect_complaint("ERR_FAILED")
    page.reload()
    served.post(process, "kill")
    served.join(process)
    button(page, "Terminate").click()
    expect(page.locator("#toasts")).to_contain_text(
        re.compile(f"{process['name']} is over already: stopped, exit code -9 [0-9]+ s ago")
    )
    expect(status(page)).to_contain_text("Stopped")


def test_what_it_uses_and_how_far_it_is(busy: Service, chromium: Browser) -> None:
    tabs = Tabs(chromium, busy)
    process = busy.launch("busy:train", kwargs={"seconds": 300.0})
    page = tabs.open(url_of(process, "resources"))
    expect(page.locator(".progress")).to_contain_text("/100, 5.1it/s, 00:07 left")
    expect(page.locator(".progress")).to_contain_text(re.compile(r"[0-9]+ %"))
    charts = page.locator("#charts .chart")
    expect(charts).to_have_count(5)
    expect(charts.nth(1)).to_contain_text(re.compile(r"Memory.*MiB.*average .* MiB, at most .* MiB"))
    expect(charts.first.get_by_role("img")).to_have_accessible_name(re.compile("CPU over time: average"))
    figures = page.get_by_role("row", name=re.compile("^Memory"))
    seen = figures.text_content()
    expect(figures).not_to_have_text(str(seen))  # it follows
    # One cursor for all charts.
    charts.first.locator(".u-over").hover()
    expect(charts.nth(3).locator(".value")).to_contain_text(" at ")
    page.get_by_text("As a table").click()
    expect(page.get_by_role("row").filter(has=page.locator("time")).first).to_be_visible()

    # Without script the same figures are there; a narrow column beside the log has the charts where there is room.
    plain = tabs.open(url_of(process, "resources"), script=False)
    expect(plain.get_by_role("row", name=re.compile("^Memory"))).to_contain_text("MiB")
    expect(plain.locator("#charts")).not_to_be_visible()
    wide = tabs.open(url_of(process), width=1500)
    expect(wide.locator("aside .chart")).to_have_count(5)
    wide.set_viewport_size({"width": 1000, "height": 800})
    expect(wide.locator("aside")).not_to_be_visible()
    expect(wide.locator("aside .chart")).to_have_count(0)

    found = busy.client.get(f"/processes/{process['id']}/usage").json()
    assert len(found["items"]) >= 2
    assert found["maximum"]["rss_bytes"] >= found["average"]["rss_bytes"] > 0
    busy.post(process, "kill")
    expect(status(page)).to_contain_text("Stopped")
    expect(page.locator(".progress")).to_contain_text("when it ended")
    expect(charts).to_have_count(5)
    tabs.close()


def test_what_is_queued_says_what_it_waits_for(busy: Service, chromium: Browser) -> None:
    tabs = Tabs(chromium, busy)
    first = busy.launch("busy:train", kwargs={"seconds": 300.0})
    waiting, last = (busy.client.post("/processes", json={"target": "basics:worker"}).json() for _ in range(2))
    page = tabs.open(url_of(last))
    expect(status(page)).to_contain_text("Queued")
    expect(page.locator(".banner")).to_contain_text(
        "It waits for room: 1 of 1 processes are running; place 2 of 2 in the queue."
    )
    button(page, "Cancel").click()
    expect(page.locator("#toasts")).to_contain_text(f"{last['name']} was taken off the queue.")
    expect(page.locator(".banner")).to_contain_text("Cancelled before it was started.")
    busy.post(first, "kill")
    assert busy.join(waiting)["outcome"] == "succeeded"
    tabs.close()


def test_all_times_are_of_one_zone(served: Service, slow: JSON, chromium: Browser) -> None:
    """Of the browser's with script, of UTC without; of 24 hours whatever its language."""
    served.post(slow, "terminate")
    ended = served.join(slow)
    tabs = Tabs(chromium, served)
    plain = tabs.open(url_of(slow), script=False)
    expect(plain.locator(".banner time")).to_have_text(re.compile("^[0-9:]{8} UTC$"))
    tokyo = f"new Date(new Date('{ended['stopped_at']}').getTime() + 9 * 3600e3).toISOString()"
    context = chromium.new_context(
        storage_state=plain.context.storage_state(), timezone_id="Asia/Tokyo", locale="en-US"
    )
    page = context.new_page()
    page.goto(f"{served.url}{url_of(slow, 'details')}")
    there = str(page.evaluate(tokyo))
    expect(page.locator("#record time[data-as=date]").last).to_have_text(f"{there[:10]} {there[11:19]}")
    expect(page.locator(".banner time")).to_have_text(re.compile(f"^{there[11:13]}:[0-9:]{{5}}$"))
    expect(page.locator("#record")).not_to_contain_text("UTC")
    context.close()
    tabs.close()


def test_on_a_phone_the_main_button_is_at_hand(served: Service, slow: JSON, tabs: Tabs) -> None:
    page = tabs.open(url_of(slow), width=360, dark=True)
    stop = button(page, "Stop")
    expect(stop).to_be_in_viewport()
    page.mouse.wheel(0, 3000)
    expect(stop).to_be_in_viewport()
    expect(button(page, "Terminate")).not_to_be_visible()
    assert page.evaluate("scrollTo(0, 0), document.getElementById('log-panel').getBoundingClientRect().top") <= 330
    expect(page.get_by_role("navigation", name="Main, at the bottom")).not_to_be_in_viewport()
    took = page.locator(".facts > div").last
    expect(took).not_to_be_in_viewport()
    page.locator("label[for=all-facts]").click()
    expect(took).to_be_in_viewport()
    menu = more(page)
    for name in ("Terminate", "Kill", "Join", "Launch again"):
        expect(menu.get_by_role("button", name=name, exact=True)).to_be_visible()
    assert all(
        box and box["height"] >= 44
        for box in (each.bounding_box() for each in page.locator(".actions button:visible").all())
    )
    menu.get_by_role("button", name="Terminate", exact=True).click()
    expect(status(page)).to_contain_text("Stopped")
    expect(button(page, "Launch again")).to_be_in_viewport()
    page.goto(url_of(slow, "events"))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_texts_are_copied(served: Service, slow: JSON, open_page: Open) -> None:
    page = open_page(url_of(slow))
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    clipboard = "navigator.clipboard.readText()"
    page.get_by_role("button", name="Copy the call").click()
    wait_until(lambda: page.evaluate(clipboard) == "basics:slow_worker(seconds=300)", 10, "it is not copied")
    more(page).get_by_role("link", name="Copy as curl").click()
    wait_until(lambda: "curl -X POST" in page.evaluate(clipboard), 10, "it is not copied")
    page.get_by_role("button", name="Copy link").click()
    wait_until(lambda: page.evaluate(clipboard) == page.url, 10, "it is not copied")
    expect(page.locator("#toasts")).to_contain_text("Copied.")


def test_kill_without_script_keeps_the_reason(served: Service, slow: JSON, open_page: Open) -> None:
    page = open_page(f"{url_of(slow)}/kill", script=False)
    page.get_by_label("Reason").fill("in the way")
    page.get_by_role("button", name="Kill").click()
    expect(page.locator("#toasts")).to_contain_text("SIGKILL was sent to the whole tree.")
    wait_until(lambda: served.get(slow)["exitcode"] == -9, 10, "not killed")
    assert "in the way" in served.get(slow)["exit_summary"]
    # A field that is wrong is told, and nothing was done.
    other = served.launch("basics:slow_worker", kwargs={"seconds": 300})
    answer = page.request.post(f"{url_of(other)}/stop", form={"grace": "soon"}, headers={"Origin": served.url})
    assert "The grace must be a number of seconds" in answer.text()
    assert served.get(other)["state"] == "running"
    served.post(other, "kill")
