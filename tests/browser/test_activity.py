"""Activity in a browser: who did what, live, filtered, paged, and of what is gone."""

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.tabs import Tabs
from tests.service import Service

OpenPage = Callable[..., Page]


def test_what_was_done_stands_there_and_what_is_done_comes(open_page: OpenPage, served: Service) -> None:
    process = served.launch("heartbeat:heartbeat", name="activity-beat")
    page = open_page("/activity")
    row = page.locator("tr", has_text="launched activity-beat")
    expect(row).to_contain_text("running")
    served.post(process, "terminate", reason="no longer needed")
    asked = page.locator("tr", has_text="sent SIGTERM to activity-beat")
    expect(asked).to_contain_text("no longer needed")
    expect(asked.locator(".who")).to_have_text("operator")
    expect(asked.locator(".result")).to_contain_text("ended by SIGTERM after")
    expect(page.locator("tbody")).not_to_contain_text("the keeper")
    asked.get_by_role("link", name="activity-beat").click()
    expect(page).to_have_url(f"{served.url}/processes/{process['id']}")


def test_who_deleted_a_process_is_said_on_its_page(tabs: Tabs, served: Service) -> None:
    process = served.join(served.launch("basics:worker", 1, name="activity-gone"))
    page = tabs.open("/activity")
    assert served.client.delete(f"/processes/{process['id']}").status_code == 204
    expect(page.locator("tr", has_text="deleted activity-gone")).to_be_visible()
    tabs.expect_complaint("status of 404")
    page.goto(f"/processes/{process['id']}")
    expect(page.get_by_role("main")).to_contain_text("activity-gone was deleted by operator on")
    page.get_by_role("link", name="What was deleted, and by whom").click()
    expect(page.locator("tr", has_text="deleted activity-gone")).to_be_visible()
    expect(page.locator("select[name=verb]")).to_have_value("removals")


def test_filters_stand_in_the_address_and_work_without_script(open_page: OpenPage, served: Service) -> None:
    served.join(served.launch("basics:worker", 1, name="activity-filtered"))
    page = open_page("/activity", script=False)
    page.get_by_label("Subject or reason").fill("activity-filtered")
    page.get_by_role("button", name="Show").click()
    rows = page.locator(".activity tbody tr")
    expect(rows).to_have_count(1)
    page.get_by_label("Who").select_option("everybody")
    page.get_by_role("button", name="Show").click()
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("the keeper recorded the end of activity-filtered")
    page.locator("select[name=verb]").select_option("starts")
    page.get_by_role("button", name="Show").click()
    expect(rows.first).to_contain_text("began to run activity-filtered")
    page.get_by_role("link", name="Steps of a start").click()
    page.get_by_label("Subject or reason").fill("nobody-did-that")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()
    page.get_by_role("link", name="“nobody-did-that”").click()
    expect(rows.first).to_be_visible()


def test_older_entries_are_a_page_away(open_page: OpenPage, served: Service) -> None:
    for number in range(60):
        served.launch("basics:worker", number, start=False)
    page = open_page("/activity?verb=launches")
    rows = page.locator(".activity tbody tr")
    expect(rows).to_have_count(50)
    first = rows.first.get_attribute("id")
    page.get_by_role("link", name="Older").click()
    expect(rows.first).not_to_have_attribute("id", first or "")
    assert rows.count() >= 10
    page.get_by_role("link", name="Newest").click()
    expect(rows.first).to_have_attribute("id", first or "")


def test_what_can_not_be_asked_is_said_and_kept(tabs: Tabs) -> None:
    tabs.expect_complaint("status of 422")
    page = tabs.open("/activity?search=a+b+c+d+e+f+g+h+i")
    expect(page.get_by_role("alert")).to_contain_text("search must have at most")
    expect(page.get_by_label("Subject or reason")).to_have_value("a b c d e f g h i")


def test_a_phone_has_a_card_for_each(open_page: OpenPage, served: Service) -> None:
    served.join(served.launch("exit_codes:raises", name="activity-with-a-name-that-is-as-long-as-they-come-at-times"))
    page = open_page("/activity", width=360, dark=True)
    row = page.locator("tr", has_text="activity-with-a-name")
    expect(row.locator(".result")).to_contain_text("failed with exit code 1")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
