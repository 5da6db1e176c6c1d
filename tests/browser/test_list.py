"""The list of processes: finding, acting on one and on many, views, with script and without, wide and on a phone."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.tabs import PATIENCE, Tabs
from tests.service import Service
from tests.waiting import wait_until

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE)

Open = Callable[..., Page]
REFRESH = (
    "import(document.querySelector('script[src$=\"/app.js\"]').src.replace('app.js', 'live.js')).then(m => m.refresh())"
)
JSON = dict[str, Any]


def created(served: Service, count: int, name: str) -> list[JSON]:
    return [served.launch("basics:worker", start=False, name=f"{name}-{number:02}") for number in range(count)]


def row(page: Page, process: JSON) -> Locator:
    return page.locator(f"#p-{process['id']}")


def tick(page: Page, process: JSON) -> Locator:
    return row(page, process).get_by_role("checkbox")


def names(page: Page) -> Locator:
    return page.locator("#rows .c-name a")


def search(page: Page, text: str) -> None:
    page.get_by_role("searchbox").fill(text)
    page.get_by_role("button", name="Search", exact=True).click()


def is_too_wide(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))


# --- one list that stays up to date ------------------------------------------------------------------------------


def test_the_list_updates_by_itself(served: Service, slow: JSON, open_page: Open) -> None:
    page = open_page()
    expect(page.locator("#connection")).to_have_text("Live")
    row(page, slow).get_by_role("link", name=slow["name"]).focus()
    row(page, slow).evaluate("row => { row.seenBefore = true }")
    running = int(page.locator("#number-running").inner_text())

    other = served.launch("basics:worker", name="newcomer")
    expect(row(page, other)).to_contain_text("Succeeded")
    expect(row(page, other).get_by_role("button", name="Launch again")).to_be_visible()
    served.post(slow, "terminate")
    expect(row(page, slow)).to_contain_text("Stopped")
    expect(row(page, slow).locator(".c-state")).to_contain_text("-15")
    expect(page.locator("#number-running")).to_have_text(str(running - 1))
    # The row is the same one: whoever was on it still is.
    assert row(page, slow).evaluate("row => row.seenBefore") is True
    expect(row(page, slow).get_by_role("link", name=slow["name"])).to_be_focused()


def test_rows_can_be_acted_on(served: Service, slow: JSON, open_page: Open) -> None:
    waiting = served.launch("basics:slow_worker", start=False, kwargs={"seconds": 300})
    page = open_page()
    row(page, waiting).get_by_role("button", name="Start").click()
    expect(row(page, waiting)).to_contain_text("Running")
    for process, name in ((waiting, "Terminate"), (slow, "Kill")):
        row(page, process).locator("summary").click()
        row(page, process).get_by_role("button", name=name).click()
        if name == "Kill":
            page.get_by_role("dialog").get_by_role("button", name="Kill").click()
        expect(row(page, process)).to_contain_text("Stopped")
    row(page, slow).get_by_role("button", name="Launch again").click()
    expect(page.locator("#toasts")).to_contain_text("was launched.")
    again = served.client.get("/processes").json()["items"][0]
    assert again["origin_id"] == slow["id"]
    served.post(again, "kill")


# --- finding -----------------------------------------------------------------------------------------------------


def test_tabs_search_chips_and_what_is_wrong(served: Service, slow: JSON, tabs: Tabs) -> None:
    tabs.expect_complaint("422")
    failed = served.join(served.launch("exit_codes:exit_error", 3, name="will-fail"))
    page = tabs.open()
    by_meaning = page.get_by_role("navigation", name="Processes by what became of them")
    by_meaning.get_by_role("link", name=re.compile("Failed")).click()
    expect(row(page, failed)).to_be_visible()
    expect(row(page, slow)).to_have_count(0)
    search(page, "WILL-fail exit:3")
    expect(page.locator("#rows tr")).to_have_count(1)

    # What is wrong is told in place, and the list stays.
    search(page, "WILL-fail colour:red")
    expect(page.locator("#search-error")).to_contain_text("“colour:” in “colour:red” is unknown")
    expect(page.get_by_role("searchbox")).to_have_value("WILL-fail colour:red")
    expect(page.get_by_role("searchbox")).to_have_attribute("aria-invalid", "true")
    expect(names(page)).to_have_text(["will-fail"])
    page.get_by_label("What can be searched for").click()
    expect(page.locator("#search-help")).to_contain_text("exit:SIGKILL")
    page.keyboard.press("Escape")

    search(page, "WILL-fail -exit:3")
    page.get_by_role("combobox", name="Started").select_option("24h")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_text("No process matches.")).to_be_visible()
    expect(page.get_by_role("columnheader", name="State")).to_be_visible()
    chips = page.locator("#chips .chip")
    expect(chips).to_have_text([re.compile("WILL-fail"), re.compile("-exit:3"), re.compile("in the last 24 hours")])
    chips.nth(1).click()
    expect(names(page)).to_have_text(["will-fail"])
    assert page.url.endswith("/processes?view=failed&search=WILL-fail&started=24h")
    page.get_by_role("link", name="Clear all").click()
    expect(row(page, slow)).to_be_visible()
    page.go_back()
    expect(names(page)).to_have_text(["will-fail"])

    # Each number leads to the list that it counts.
    page.locator("#strip").get_by_role("link", name=re.compile("failed in 24 h")).click()
    count = int(page.locator("#number-failed").inner_text())
    expect(page.locator("#rows tr")).to_have_count(count)


def test_pages_sizes_and_orders(served: Service, slow: JSON, open_page: Open) -> None:
    created(served, 51, "row")
    page = open_page("/processes?q=row-&size=25")
    expect(names(page).first).to_have_text("row-50")
    page.get_by_role("link", name="Older").click()
    expect(names(page).first).to_have_text("row-25")
    page.get_by_role("link", name="Older").click()
    expect(names(page)).to_have_text(["row-00"])
    expect(page.get_by_role("link", name="Older")).to_have_count(0)
    page.get_by_role("link", name="Newer").click()
    expect(names(page).first).to_have_text("row-25")
    page.get_by_role("link", name="100", exact=True).click()
    expect(page.locator("#rows tr")).to_have_count(51)

    # How many match is said, under each tab as well, and what is known of few can be put in order.
    page.goto("/processes?search=row-&size=25&tab=failed")
    expect(page.locator("#matches")).to_have_text("51 match")
    expect(page.locator("#tabs")).to_have_text(re.compile(r"Active\s+51\s+Failed\s+0"))
    expect(page.locator("#unknown")).to_contain_text("tab")
    page.get_by_role("columnheader", name="Started").get_by_role("link").click()
    expect(page.locator("th.c-started")).to_have_attribute("aria-sort", "descending")
    expect(page.locator("#unknown")).to_have_count(0)
    expect(page.get_by_role("columnheader", name="CPU").get_by_role("link")).to_have_count(0)

    # All that is active is in memory, and can be put in order by more.
    page.goto("/processes")
    page.get_by_role("link", name=re.compile("^Active")).click()
    page.get_by_role("columnheader", name="Took").get_by_role("link").click()
    expect(page.locator("th.c-took")).to_have_attribute("aria-sort", "descending")
    expect(names(page).first).to_have_text(slow["name"])
    page.get_by_role("columnheader", name="Took").get_by_role("link").click()
    expect(page.locator("th.c-took")).to_have_attribute("aria-sort", "ascending")
    assert "sort=-took" in page.url


# --- acting on many ----------------------------------------------------------------------------------------------


def test_many_are_stopped_with_a_reason(served: Service, tabs: Tabs) -> None:
    tabs.expect_complaint("422")
    runs = [served.launch("basics:slow_worker", kwargs={"seconds": 300}, name=f"batch-{number}") for number in range(3)]
    over = served.join(served.launch("basics:worker", name="batch-over"))
    page = tabs.open("/processes?search=batch-")
    expect(page.locator("#bulk-bar")).to_be_hidden()
    tick(page, over).check()
    tick(page, runs[0]).click(modifiers=["Shift"])
    expect(page.locator("#bulk-count")).to_have_text("4 selected")
    expect(page.locator("#strip")).to_be_hidden()
    page.get_by_role("button", name="Stop…").click()

    expect(page.get_by_role("heading", name="Stop 3 processes?")).to_be_visible()
    expect(page.locator("#skipped")).to_contain_text("1 already over")
    page.get_by_text("1 already over").click()
    expect(page.locator("#skipped").get_by_role("link", name="batch-over")).to_be_visible()
    page.get_by_label("Grace").fill("soon")
    page.get_by_label("Reason").fill("all wrong")
    page.get_by_role("button", name="Stop 3").click()
    expect(page.locator("#grace-error")).to_contain_text("number of seconds")
    expect(page.get_by_label("Reason")).to_have_value("all wrong")
    page.get_by_label("Grace").fill("0.5")
    page.get_by_role("button", name="Stop 3").click()

    expect(page.locator("#operation-state")).to_contain_text("Done")
    expect(page.locator("#done")).to_have_text("3")
    expect(page.locator("#left-out")).to_contain_text("1 already over")
    for process in runs:
        assert "all wrong" in served.join(process)["exit_summary"]
    page.get_by_role("link", name="Show these processes").click()
    expect(page.locator("#rows tr")).to_have_count(3)
    expect(page.locator("#bulk-bar")).to_be_hidden()  # the selection has done its work
    page.goto("/operations")
    expect(page.get_by_role("link", name="Stop 3 processes")).to_be_visible()


def test_a_selection_outlives_updates_and_pages(served: Service, slow: JSON, open_page: Open) -> None:
    created(served, 26, "kept")
    page = open_page("/processes?search=name:kept-*&size=25")
    page.locator("#tick-page").check()
    expect(page.locator("#bulk-count")).to_have_text("25 selected")
    page.get_by_role("link", name="Older").click()
    expect(page.locator("#bulk-count")).to_have_text("25 selected, 25 of them not on this page")
    page.locator("#rows").get_by_role("checkbox").check()
    expect(page.locator("#bulk-count")).to_contain_text("26 selected")

    page.goto("/processes")
    expect(page.locator("#connection")).to_have_text("Live")
    tick(page, slow).check()
    for number in range(3):
        served.join(served.launch("basics:worker", name=f"update-{number}"))
    page.get_by_role("button", name=re.compile(r"\d+ new, show")).click()
    expect(page.get_by_role("link", name="update-2")).to_be_visible()
    expect(tick(page, slow)).to_be_checked()
    expect(page.locator("#bulk-count")).to_contain_text("27 selected")
    page.get_by_role("button", name="Clear", exact=True).click()
    expect(page.locator("#bulk-bar")).to_be_hidden()
    expect(tick(page, slow)).not_to_be_checked()
    page.reload()
    expect(page.locator("#bulk-bar")).to_be_hidden()


def test_all_that_match_are_counted_again(served: Service, tabs: Tabs) -> None:
    tabs.expect_complaint("409|422")
    created(served, 26, "heap")
    page = tabs.open("/processes?search=name:heap-*&size=25")
    page.locator("#tick-page").check()
    page.get_by_role("button", name="Select all 26 matching").click()
    expect(page.locator("#bulk-count")).to_have_text("All 26 that match are selected")
    page.get_by_role("button", name="Delete…").click()
    expect(page.get_by_role("heading", name="Delete the records of 26 processes?")).to_be_visible()
    expect(page.locator("#said")).to_contain_text("name:heap-*")
    page.get_by_label("Reason").fill("tidying")
    page.get_by_role("button", name="Delete 26").click()
    expect(page.locator("#typed-error")).to_contain_text("must be 26")
    expect(page.get_by_label("Reason")).to_have_value("tidying")

    # More than a few came meanwhile: nothing is done, and the question is asked again.
    created(served, 3, "heap-late")
    page.get_by_label("Type 26").fill("26")
    page.get_by_role("button", name="Delete 26").click()
    expect(page.get_by_role("alert")).to_contain_text("It was about 26 when you looked, and is about 29 now")
    expect(page.get_by_label("Reason")).to_have_value("tidying")
    assert served.client.get("/processes", params={"search": "name:heap-*", "limit": 100}).json()["items"]
    page.get_by_label("Type 29").fill("29")
    page.get_by_role("button", name="Delete 29").click()
    expect(page.locator("#done")).to_have_text("29")
    assert served.client.get("/processes", params={"search": "name:heap-*"}).json()["items"] == []
    notes = served.client.get("/activity").json()["items"]
    assert any("tidying" in str(note) for note in notes)


def test_a_page_that_is_gone_is_not_taken_for_a_process(served: Service, tabs: Tabs) -> None:
    tabs.expect_complaint("404")
    process = served.launch("basics:worker", start=False, name="to-go")
    begun = served.client.post("/operations", json={"action": "stop", "ids": [process["id"]]}).json()
    said = {f"/processes/{process['id']}": "This record was deleted", f"/operations/{begun['id']}": "This page is gone"}
    for path, words in said.items():
        page = tabs.open(path)
        expect(page.locator("#connection")).to_have_text("Live")
        page.route(f"**{path}", lambda route: route.fulfill(status=404, body="gone"))
        page.evaluate(REFRESH)
        expect(page.locator("#connection")).to_have_text(words)


def test_a_condition_that_is_misspelt_chooses_nothing(served: Service, tabs: Tabs) -> None:
    tabs.expect_complaint("422")
    kept = created(served, 1, "kept")
    page = tabs.open("/operations/new?action=delete&all=1&serch=nothing-like-it")
    expect(page.locator("main")).to_contain_text("Not known here: serch.")
    page.goto("/operations/new?action=delete&all=1&search=kept&search=other")
    expect(page.locator("main")).to_contain_text("search must be given once")
    assert served.get(kept[0])["state"] == "created"


def test_what_is_being_stopped_says_so_and_can_be_killed(served: Service, tabs: Tabs) -> None:
    run = served.launch("basics:slow_worker", kwargs={"seconds": 300}, name="stubborn")
    over = served.join(served.launch("basics:worker", name="stubborn-over"))
    page = tabs.open(f"/operations/new?action=stop&ids={run['id']},{over['id']}")
    page.get_by_label("Grace").fill("300")
    page.get_by_role("button", name="Stop 1").click()
    expect(page.get_by_role("heading", name="Stop 1 process", exact=True)).to_be_visible()
    expect(page.locator("#living")).to_have_text("1 still stopping.")
    other = tabs.open("/processes?search=stubborn")
    expect(row(other, run).locator(".c-state")).to_contain_text(re.compile(r"Stopping\s+asked \d+ s ago"))
    row(other, run).get_by_role("button", name="Kill now").click()
    other.get_by_role("dialog").get_by_role("button", name="Kill now").click()
    expect(row(other, run).locator(".c-state")).to_contain_text("-9")
    expect(page.locator("#living")).to_have_count(0)
    expect(page.locator("#operation-state")).to_contain_text("Done")


# --- views -------------------------------------------------------------------------------------------------------


def test_a_view_is_saved_changed_and_deleted(served: Service, tabs: Tabs) -> None:
    tabs.expect_complaint("409|422")
    page = tabs.open("/processes?view=failed&search=exit:3")
    menu = page.locator(".views")
    menu.locator("summary").click()
    page.get_by_label("Save what is shown as").fill("Threes")
    menu.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#toasts")).to_contain_text("The view Threes was saved.")
    expect(page.locator("#views")).to_have_text(re.compile("Threes"))
    (view,) = served.client.get("/views").json()["items"]
    assert view["query"] == "view=failed&search=exit%3A3"

    search(page, "exit:>3")
    expect(page.locator("#views")).to_contain_text("unsaved changes")
    page.locator("#views").click()
    menu.get_by_role("button", name="Save the changes to Threes").click()
    expect(page.locator("#views")).not_to_contain_text("unsaved changes")
    assert served.client.get("/views").json()["items"][0]["query"] == "view=failed&search=exit%3A%3E3"

    # It is everybody's: another of its name is asked about, here and by the API.
    page.goto("/processes?state=running")
    page.locator("#views").click()
    page.get_by_label("Save what is shown as").fill("Threes")
    menu.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("heading", name="Replace the view Threes?")).to_be_visible()
    expect(page.locator("#taken")).to_have_text("Failed, search exit:>3")
    other_view = {"name": "Threes", "query": "state=running"}
    assert served.client.post("/views", json=other_view).status_code == 409
    page.get_by_role("button", name="Replace Threes").click()
    expect(page.locator("#toasts")).to_contain_text("The view Threes was saved.")
    assert served.client.get("/views").json()["items"][0]["query"] == "state=running"
    threes = {"name": "Threes", "query": "view=failed&search=exit%3A%3E3", "replace": True}
    assert served.client.post("/views", json=threes).status_code == 201

    # For everybody: another browser has it too, and the address is the view.
    other = tabs.open("/processes", script=False)
    other.locator(".views summary").click()
    other.get_by_role("link", name="Threes").click()
    expect(other.get_by_role("searchbox")).to_have_value("exit:>3")
    other.locator(".views summary").click()
    other.get_by_role("button", name="Delete the view Threes").click()
    expect(other.get_by_text("The view Threes was deleted.")).to_be_visible()
    assert served.client.get("/views").json()["items"] == []
    other.locator(".views summary").click()
    other.get_by_role("link", name="Running", exact=True).click()
    expect(other.locator("#views")).to_contain_text("Running")


# --- without script, and on a phone ------------------------------------------------------------------------------


def test_a_list_without_script(served: Service, tabs: Tabs) -> None:
    runs = [served.launch("basics:slow_worker", kwargs={"seconds": 300}, name=f"plain-{number}") for number in range(3)]
    page = tabs.open("/processes", script=False)
    search(page, "plain- state:running")
    expect(page.locator("#rows tr")).to_have_count(3)
    row(page, runs[0]).locator("summary").click()
    row(page, runs[0]).get_by_role("button", name="Terminate").click()
    expect(page.get_by_text("SIGTERM was sent.")).to_be_visible()
    served.join(runs[0])
    page.get_by_role("link", name="Refresh").click()
    expect(page.locator("#rows tr")).to_have_count(2)
    tick(page, runs[1]).check()
    page.get_by_label("With the ticked").select_option("kill")
    page.get_by_role("button", name="Apply to ticked").click()
    expect(page.get_by_role("heading", name="Kill 1 process?")).to_be_visible()
    page.get_by_label("Reason").fill("in the way")
    page.get_by_role("button", name="Kill 1").click()
    expect(page.get_by_role("heading", name="Kill 1 process")).to_be_visible()
    assert "in the way" in served.join(runs[1])["exit_summary"]

    page.goto("/processes?search=plain-+is:alive")
    page.get_by_label("With the ticked").select_option("terminate")
    page.get_by_role("button", name="Apply to all that match").click()
    expect(page.locator("#said")).to_contain_text("is:alive")
    page.get_by_label("Type 1").fill("1")
    page.get_by_role("button", name="Terminate 1").click()
    wait_until(lambda: not served.get(runs[2])["is_alive"], 10, "it lives on")
    page.goto("/processes")
    page.get_by_role("button", name="Apply to ticked").click()
    expect(page.get_by_text("Tick processes in the list first.")).to_be_visible()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_phone_has_cards_and_a_sheet(served: Service, slow: JSON, tabs: Tabs, dark: bool) -> None:
    served.join(served.launch("exit_codes:raises", "x" * 300, name="n" * 120))
    page = tabs.open(width=360, dark=dark)
    expect(page.get_by_role("combobox", name="Target")).to_be_hidden()
    page.get_by_text("Filters", exact=True).click()
    page.get_by_role("combobox", name="Target").select_option("basics:slow_worker")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(row(page, slow)).to_be_visible()
    expect(tick(page, slow)).to_be_hidden()
    page.get_by_role("button", name="Select", exact=True).click()
    tick(page, slow).check()
    expect(page.locator("#bulk-count")).to_have_text("1 selected")
    assert not is_too_wide(page)
    page.get_by_role("button", name="Kill…").click()
    expect(page.get_by_role("heading", name="Kill 1 process?")).to_be_visible()
    assert not is_too_wide(page)
    page.get_by_role("button", name="Kill 1").click()
    expect(page.locator("#operation-state")).to_contain_text("Done")
    assert not is_too_wide(page)
    page.goto("/processes")
    small = page.locator("#rows .c-act").first.get_by_role("button").first.bounding_box()
    assert small is not None
    assert small["height"] >= 44


# --- before anything ---------------------------------------------------------------------------------------------


def test_nothing_has_run_yet(chromium: Browser, served: Service, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("first")
    (folder / "broken.py").write_text("import not_there_at_all\n")
    service = Service(folder, [folder / "broken.py"])
    tabs = Tabs(chromium, service)
    try:
        service.start()
        page = tabs.open()
        expect(page.get_by_role("heading", name="Nothing has run yet")).to_be_visible()
        expect(page.locator("#first")).to_contain_text("No module named 'not_there_at_all'")
        expect(page.locator("#first")).to_contain_text(str(folder / "broken.py"))
        expect(page.locator("#first")).to_contain_text("from procdeck import target")
        expect(page.locator("#first")).to_contain_text("curl -X POST")
        tabs.close()
    finally:
        service.close()
