"""The timeline in a browser: what it shows, where it leads, and how it reads without eyes, colour, script or room."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from playwright.sync_api import Page, expect

from tests.browser.tabs import Tabs
from tests.service import Service

OpenPage = Callable[..., Page]


def test_bars_are_links_to_what_they_stand_for(open_page: OpenPage, served: Service) -> None:
    failed = served.join(served.launch("exit_codes:raises", name="timeline-failed"))
    page = open_page("/timeline?range=1h")
    row = page.locator(".timeline .line", has=page.get_by_role("link", name="exit_codes:raises"))
    bar = row.locator("a.span").last
    assert "failed" in (bar.get_attribute("aria-label") or "").lower()
    expect(bar.locator("rect.pattern")).to_have_attribute("fill", "url(#pattern-failed)")
    row.get_by_role("link", name="exit_codes:raises").click()
    expect(page).to_have_url(re.compile(r"target=exit_codes.*by=process"))
    one = page.locator("a.span[aria-label^='timeline-failed']")
    one.focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{served.url}/processes/{failed['id']}")


def test_several_at_once_are_one_bar_with_a_count_that_leads_to_them(open_page: OpenPage, served: Service) -> None:
    for number in range(3):
        served.launch("basics:worker", number, name=f"crowd-{number}")
    page = open_page("/timeline?range=6h&target=basics:worker")
    bar = page.locator("a.span").last
    expect(bar).to_have_attribute("data-text", re.compile("processes of basics:worker"))
    bar.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Timeline")).to_be_visible()
    expect(page.locator(".timeline .label .name", has_text="crowd-2")).to_be_visible()


def test_it_goes_on_with_what_happens(open_page: OpenPage, served: Service) -> None:
    page = open_page("/timeline?range=1h&by=process&target=heartbeat:heartbeat")
    expect(page.get_by_role("heading", name="Nothing ran of heartbeat:heartbeat in this time")).to_be_visible()
    process = served.launch("heartbeat:heartbeat", name="timeline-beat")
    expect(page.locator("a.span.is-open")).to_have_count(1)
    served.post(process, "kill")
    expect(page.locator("a.span:not(.is-open)")).to_have_count(1)
    label = page.locator("a.span").get_attribute("aria-label") or ""
    assert "Stopped" in label
    assert "UTC" not in label  # the zone of the browser


def test_the_same_is_in_a_table_and_without_script(open_page: OpenPage, served: Service) -> None:
    served.join(served.launch("exit_codes:raises", name="timeline-plain"))
    page = open_page("/timeline?range=1h&by=process&target=exit_codes:raises", script=False)
    expect(page.get_by_text("Times are UTC.")).to_be_visible()
    page.get_by_text("The same as a table", exact=True).click()
    row = page.locator(".timeline-table tr", has_text="timeline-plain")
    expect(row).to_contain_text("Failed")
    page.get_by_role("link", name="24 hours").click()
    expect(page.get_by_role("link", name="24 hours")).to_have_attribute("aria-current", "true")
    page.get_by_role("link", name="Earlier").click()
    page.get_by_role("link", name="Later").click()
    expect(page.get_by_role("link", name="24 hours")).to_have_attribute("aria-current", "true")
    page.get_by_role("link", name="Zoom in").click()
    expect(page.locator(".timeline-told")).to_contain_text("(12 h)")


def test_a_time_without_anything_and_a_range_that_is_wrong(tabs: Tabs) -> None:
    page = tabs.open("/timeline?from=2020-01-01&to=2020-01-02")
    expect(page.get_by_role("heading", name="Nothing ran in this time")).to_be_visible()
    tabs.expect_complaint("status of 422")
    page.goto("/timeline?from=yesterday")
    expect(page.get_by_role("alert")).to_contain_text("from must be a time")
    expect(page.get_by_label("From")).to_have_value("yesterday")
    page.get_by_label("From").fill((datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M"))
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_phone_has_the_labels_above_the_bars(open_page: OpenPage, served: Service) -> None:
    served.join(served.launch("basics:worker", 1, name="timeline-phone"))
    page = open_page("/timeline?range=1h", width=360)
    line = page.locator(".timeline .line:not(.axis)").first
    label, lane = line.locator(".label").bounding_box(), line.locator("svg.lane").bounding_box()
    assert label is not None
    assert lane is not None
    assert label["y"] + label["height"] <= lane["y"] + 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    # The zone of the browser moves the ticks, and none of them is outside.
    shown = page.locator(".timeline .tick:visible")
    width = lane["x"] + lane["width"]
    boxes = [tick.bounding_box() for tick in shown.all()]
    assert boxes
    assert all(box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width + 1 for box in boxes)
