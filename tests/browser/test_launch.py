"""The launch form: with script, without it, and by keyboard alone."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
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

SHOP = '''
import enum
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Literal

from procdeck import target


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


@dataclass
class Size:
    width: Annotated[int, {"minimum": 1}] = 640
    height: int | None = None


@target
def order(
    items: list[str],
    size: Size = Size(),
    colour: Colour = Colour.RED,
    wait: timedelta = timedelta(minutes=90),
    at: datetime | None = None,
    limit: int | None = 5,
    token: Annotated[str, {"x-widget": "password"}] = "none",
) -> list[object]:
    """Order things.

    And tell what was ordered.
    """
    return [items, size.width, size.height, colour.name, wait.total_seconds(), str(at), limit, token == "s3cret"]
'''


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with one target of many parameters."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "shop.py").write_text(SHOP)
    service = Service(folder, [folder / "shop.py"])
    try:
        yield service.start()
    finally:
        service.close()


@pytest.fixture
def shop_tabs(chromium: Browser, shop: Service) -> Iterator[Tabs]:
    """Browsers on `shop`."""
    opened = Tabs(chromium, shop)
    yield opened
    opened.close()


def group(page: Page, name: str) -> Locator:
    return page.locator(f"[id='field-{name}']")


def launch(page: Page) -> None:
    page.get_by_role("button", name="Launch", exact=True).click()


def launched(service: Service, page: Page) -> JSON:
    """The process on whose page the browser came to be, when it is over."""
    expect(page).to_have_url(re.compile(r"/processes/[0-9a-f-]{36}$"))
    return service.join({"id": page.url.rpartition("/")[2]})


# --- fields ------------------------------------------------------------------------------------------------------


def test_the_form_tells_what_is_wrong_keeps_what_was_typed_and_then_launches(
    served: Service, tabs: Tabs, tmp_path: Path
) -> None:
    tabs.expect_complaint("422")
    (tmp_path / "one.txt").write_text("1")
    page = tabs.open("/launch?target=batch:checksums")
    page.get_by_label("sha512", exact=True).check()
    selection = group(page, "selection")
    expect(selection.get_by_label("at_least", exact=True)).to_be_hidden()
    selection.get_by_label("value:").first.check()
    selection.get_by_label("at_least", exact=True).fill("1.5")
    launch(page)

    summary = page.get_by_role("alert")
    expect(summary).to_contain_text("2 fields need another look")
    expect(summary).to_be_focused()
    expect(page.locator("[id='field-selection.at_least']")).to_contain_text("must be a whole number")
    summary.get_by_role("link", name="folder").click()
    expect(group(page, "folder")).to_contain_text("is required")
    group(page, "folder").get_by_role("textbox").fill(str(tmp_path))
    group(page, "selection").get_by_label("at_least", exact=True).fill("1")
    expect(page.get_by_label("sha512", exact=True)).to_be_checked()
    page.get_by_text("More: name").click()
    page.get_by_label("Name", exact=True).fill("checked")
    page.get_by_label("Time limit").fill("1h30m")
    launch(page)
    made = launched(served, page)
    assert (made["name"], made["outcome"], made["timeout"]) == ("checked", "succeeded", 5400)
    assert made["kwargs"] == {"folder": str(tmp_path), "algorithm": "sha512", "selection": {"at_least": 1}}


@pytest.mark.parametrize("script", [True, False], ids=["script", "plain"])
def test_objects_lists_times_and_secrets(shop: Service, shop_tabs: Tabs, script: bool) -> None:
    shop_tabs.expect_complaint("422")
    page = shop_tabs.open("/launch?target=shop:order", script=script)
    expect(group(page, "items")).to_contain_text("no items: an empty list")
    for text in ("apples", "pears", "plums"):
        page.get_by_role("button", name="Add an item to items").click()
        rows = group(page, "items").locator(".item")
        if script:
            expect(rows.last.get_by_role("textbox")).to_be_focused()
        rows.last.get_by_role("textbox").fill(text)
    page.get_by_role("button", name="Remove item 2 of items").click()
    expect(group(page, "items").locator(".item")).to_have_count(2)

    # An object turns into JSON and back; what is typed comes along.
    group(page, "size").get_by_label("value:").first.check()
    page.locator("[id='field-size.width']").get_by_label("value:").check()
    page.get_by_label("width", exact=True).fill("800")
    page.get_by_role("button", name="size as JSON").click()
    expect(page.get_by_role("textbox", name="size")).to_have_value(re.compile(r'"width": 800'))
    page.get_by_role("textbox", name="size").fill('{"width": 900, "height": 20}')
    page.get_by_role("button", name="size in simple inputs").click()
    expect(page.get_by_label("height", exact=True)).to_have_value("20")

    page.get_by_label("GREEN = 2", exact=True).check()
    group(page, "wait").get_by_label("value:").check()
    group(page, "wait").get_by_role("textbox").fill("2m30s")
    group(page, "at").get_by_label("value:").check()
    page.locator("[id='arg-at']").fill("2026-01-31T09:30:05")
    page.get_by_label("at, zone").fill("+01:00")
    group(page, "limit").get_by_label("None").check()
    group(page, "token").get_by_label("value:").check()
    launch(page)
    # A secret that is asked for is not an empty text.
    expect(page.get_by_role("alert")).to_contain_text("is a secret")
    expect(page.locator("[id='arg-at']")).to_have_value("2026-01-31T09:30:05")
    page.get_by_label("token", exact=True).fill("s3cret")
    if script:
        expect(page.locator("#call")).to_contain_text("token='***'")
    launch(page)
    made = launched(shop, page)
    assert made["result"] == [["apples", "plums"], 900, 20, "GREEN", 150.0, "2026-01-31 09:30:05+01:00", None, True]

    page.goto(f"/launch?from={made['id']}")
    expect(page.get_by_label("width", exact=True)).to_have_value("900")
    expect(page.get_by_label("at, zone")).to_have_value("+01:00")
    expect(page.get_by_label("token", exact=True)).to_have_value("")
    assert "s3cret" not in page.content()
    page.get_by_label("token", exact=True).fill("s3cret")
    launch(page)
    again = launched(shop, page)
    assert (again["kwargs"], again["origin_id"]) == (made["kwargs"], made["id"])


def test_the_errors_of_the_service_come_to_the_fields_inside(shop: Service, shop_tabs: Tabs) -> None:
    shop_tabs.expect_complaint("422")
    page = shop_tabs.open("/launch?target=shop:order&arg-size.width=0&use-limit=none", width=360)
    expect(page.get_by_label("width", exact=True)).to_have_value("0")
    expect(group(page, "limit").get_by_label("None")).to_be_checked()
    launch(page)
    expect(page.locator("[id='field-size.width']")).to_contain_text("must be at least 1")
    page.get_by_role("alert").get_by_role("link").click()
    expect(page.get_by_label("width", exact=True)).to_be_in_viewport()
    wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wider <= 0


def test_typing_a_value_chooses_it_and_the_call_follows(open_page: Open) -> None:
    page = open_page("/launch?target=basics:worker")
    expect(page.locator("#call")).to_have_text("basics:worker()")
    page.get_by_role("spinbutton", name="num").fill("7")
    expect(page.get_by_label("value:")).to_be_checked()
    expect(page.locator("#call")).to_have_text("basics:worker(num=7)")
    page.get_by_label("default: None").check()
    expect(page.locator("#call")).to_have_text("basics:worker()")


def test_by_keyboard_alone(shop: Service, shop_tabs: Tabs) -> None:
    page = shop_tabs.open("/launch?target=shop:order")
    page.get_by_role("button", name="Add an item to items").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("item 1", exact=True)).to_be_focused()
    page.keyboard.type("apples")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Remove item 1 of items")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")  # in an input: launches, whatever buttons come first
    assert launched(shop, page)["result"][0] == ["apples"]


# --- sending -----------------------------------------------------------------------------------------------------


def test_a_form_that_is_sent_twice_launches_once(served: Service, tabs: Tabs) -> None:
    page = tabs.open("/launch?target=basics:worker")
    form: dict[str, str | float | bool] = {
        "target": "basics:worker",
        "start": "yes",
        "key": page.locator("input[name=key]").input_value(),
    }

    def send() -> str:
        answer = page.request.post("/launch", form=form, headers={"Origin": served.url}, max_redirects=0)
        assert answer.status == 303
        return answer.headers["location"]

    assert send() == send()
    changed = form | {"arg-num": "5", "use-num": "value"}
    refused = page.request.post("/launch", form=changed, headers={"Origin": served.url}, max_redirects=0)
    assert refused.status == 422
    assert "launched a process already" in refused.text()


def test_launch_with_changes_begins_with_the_same_values(served: Service, open_page: Open) -> None:
    first = served.launch("basics:worker", 7, labels={"team": "blue"})
    page = open_page(f"/launch?from={first['id']}")
    expect(page.get_by_role("spinbutton", name="num")).to_have_value("7")
    expect(page.get_by_label("Labels")).to_have_value("team=blue")
    launch(page)
    second = launched(served, page)
    assert (second["kwargs"], second["labels"], second["origin_id"]) == ({"num": 7}, {"team": "blue"}, first["id"])


def test_leaving_asks_only_when_something_is_typed(shop_tabs: Tabs) -> None:
    page = shop_tabs.open("/launch?target=shop:order")
    asked: list[str] = []

    def accept(dialog: Any) -> None:
        asked.append(dialog.type)
        dialog.accept()

    page.on("dialog", accept)
    page.get_by_role("heading", level=1).click()
    page.goto("/launch?target=shop:order")
    assert asked == []
    page.get_by_role("spinbutton", name="limit").press_sequentially("9")
    page.goto("/targets")
    assert asked == ["beforeunload"]


def test_a_form_whose_sending_was_stopped_can_be_sent_again_after_a_moment(open_page: Open) -> None:
    page = open_page("/targets")
    page.clock.install()
    page.goto("/launch?target=basics:worker")
    page.get_by_role("spinbutton", name="num").fill("7")
    expect(page.locator("#call")).to_have_text("basics:worker(num=7)")
    sent: list[str] = []

    def stop(route: Route) -> None:
        if route.request.is_navigation_request():
            sent.append(route.request.url)
            route.abort("aborted")
        else:
            route.continue_()

    page.route("**/launch", stop)
    button = page.get_by_role("button", name="Launch", exact=True)
    button.click()
    wait_until(lambda: page.evaluate("1") and len(sent) == 1, 5, "it was not sent")
    button.click()
    page.clock.fast_forward(10_000)
    button.click()
    wait_until(lambda: page.evaluate("1") and len(sent) > 1, 5, "it could not be sent again")
    assert len(sent) == 2, "the second click is one too many"


# --- beside the form ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", [True, False], ids=["script", "plain"])
def test_presets_are_saved_loaded_and_deleted(shop: Service, shop_tabs: Tabs, script: bool) -> None:
    page = shop_tabs.open("/launch?target=shop:order", script=script)
    page.get_by_role("button", name="Add an item to items").click()
    page.get_by_label("item 1", exact=True).fill("cherries")
    page.get_by_label("Name of the preset").fill("In summer")
    page.get_by_label("Name of the preset").press("Enter")  # saves: it is the name of a preset that was typed
    expect(page.locator("#toasts")).to_contain_text("Saved as the preset In summer")
    (saved,) = shop.client.get("/presets", params={"target": "shop:order"}).json()["items"]
    assert (saved["name"], saved["typed"]["arg-items.0"]) == ("In summer", "cherries")

    page.goto("/targets/shop:order")
    page.get_by_role("link", name="In summer").click()
    expect(page.get_by_label("item 1", exact=True)).to_have_value("cherries")
    page.get_by_label("item 1", exact=True).fill("unsaved")
    page.get_by_role("button", name="Delete the preset In summer").click()
    expect(page.get_by_role("link", name="In summer")).to_have_count(0)
    expect(page.get_by_label("item 1", exact=True)).to_have_value("unsaved")
    assert shop.client.get("/presets", params={"target": "shop:order"}).json()["items"] == []
    if not script:
        return
    noted = shop.client.get("/activity").json()["items"]
    assert any(item["subject"]["kind"] == "preset" for item in noted)


def test_recent_inputs_fill_the_form(shop: Service, shop_tabs: Tabs) -> None:
    for items in (["one"], ["two"], ["one"]):
        shop.join(shop.launch("shop:order", kwargs={"items": items}))
    page = shop_tabs.open("/launch?target=shop:order")
    recent = page.locator("#recent li")
    expect(recent.nth(0)).to_contain_text("items=['one']")
    expect(recent.nth(1)).to_contain_text("items=['two']")
    expect(recent.nth(0)).to_contain_text("Succeeded")
    assert page.locator("#recent li", has_text="items=['one']").count() == 1
    recent.nth(1).get_by_role("link").first.click()
    expect(page.get_by_label("item 1", exact=True)).to_have_value("two")


def test_the_code_beside_the_form_does_what_the_form_would(shop: Service, shop_tabs: Tabs, tmp_path: Path) -> None:
    link = '/launch?target=shop:order&arg-items=["a\'b"]&arg-size.width=7&arg-wait=1m&name=by-code&labels=from=code'
    page = shop_tabs.open(link)
    names = {}
    for kind in ("httpx", "python", "curl"):
        page.locator("details.as-code", has=page.locator(f"#{kind}")).locator("summary").click()
        names[kind] = page.locator(f"#{kind}").inner_text()
    ran = subprocess.run([sys.executable, "-c", names["httpx"]], capture_output=True, text=True, check=True)
    made = shop.join({"id": ran.stdout.strip()})
    assert (made["name"], made["labels"], made["result"][:2]) == ("by-code", {"from": "code"}, [["a'b"], 7])

    (tmp_path / "call.py").write_text(names["python"].replace("order(*args", "print(order(*args") + ")\n")
    ran = subprocess.run([sys.executable, tmp_path / "call.py"], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str(made["result"])

    launch(page)
    assert launched(shop, page)["kwargs"] == made["kwargs"]
    assert (
        json.loads(names["curl"].partition("-d '")[2].rpartition("'")[0].replace("'\"'\"'", "'"))["name"] == "by-code"
    )


# --- refusals ----------------------------------------------------------------------------------------------------


def test_what_is_too_long_for_the_code_is_cut_there_and_said(shop: Service, shop_tabs: Tabs) -> None:
    page = shop_tabs.open("/launch?target=shop:order")
    form: dict[str, str | float | bool] = {"target": "shop:order", "do": "preview", "arg-items.0": "x" * 50_000}
    shown = page.request.post("/launch", form=form, headers={"Origin": shop.url}).text()
    assert "too long to be shown whole" in shown
    assert shown.count("x" * 50_000) == 1, "in its input, and nowhere else"
    short = page.request.post("/launch", form=form | {"arg-items.0": "x"}, headers={"Origin": shop.url}).text()
    assert "too long to be shown whole" not in short


def test_what_can_not_be_launched_is_told_on_a_page(served: Service, tabs: Tabs) -> None:
    tabs.expect_complaint("404|409")
    page = tabs.open("/launch?target=rough:asynchronous")
    expect(page.locator("#content")).to_contain_text("It is an async function")
    page.goto("/launch?target=no:such")
    expect(page.locator("#content")).to_contain_text("There is no target 'no:such'.")
    page.goto("/launch?preset=none")
    expect(page.locator("#content")).to_contain_text("There is no such preset")
    page.goto("/launch")
    page.get_by_role("searchbox", name="Search targets").fill("sleep looking")
    page.get_by_role("searchbox", name="Search targets").press("Enter")
    expect(page.locator(".choices a")).to_have_count(1)


def test_targets_that_are_still_imported_are_waited_for(chromium: Browser, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    (tmp_path / "slow.py").write_text(
        "import pathlib, time\n"
        f"while not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.05)\n"
        "def work() -> None: ...\n"
    )
    service = Service(tmp_path, [tmp_path / "slow.py"])
    try:
        service.start(ready=False)
        tabs = Tabs(chromium, service)
        tabs.expect_complaint("503")
        page = tabs.open("/launch?target=slow:work")
        expect(page.locator("#content")).to_contain_text("still being imported")
        page.goto("/targets")
        expect(page.locator("#content")).to_contain_text("Targets are still being imported")
        gate.touch()
        wait_until(lambda: service.client.get("/targets/slow:work").status_code == 200, 20, "it is not imported")
        page.goto("/launch?target=slow:work")
        expect(page.get_by_text("It takes no arguments.")).to_be_visible()
        tabs.close()
    finally:
        service.close()


def test_a_form_has_a_link_and_says_at_a_field_that_a_path_is_missing(open_page: Open, tabs: Tabs) -> None:
    page = open_page("/launch?target=batch:checksums&folder=/no/such/folder&nosuch=1")
    expect(page.get_by_role("alert")).to_contain_text("The link has nosuch, which the target does not take.")
    warning = page.locator("#field-folder .path-missing")
    expect(warning).to_contain_text("/no/such/folder does not exist")
    page.locator("#arg-folder").fill("/tmp")
    expect(warning).to_have_count(0)
    link = page.locator("#form-link")
    expect(link).to_have_text(re.compile("arg-folder=%2Ftmp"))
    other = open_page("/launch" + (link.text_content() or "").partition("/launch")[2])
    expect(other.locator("#arg-folder")).to_have_value("/tmp")
    expect(other.get_by_role("button", name="Copy link to this form")).to_be_visible()
    tabs.expect_complaint("status of 404")
    other.goto("/launch?from=nosuch&target=batch:checksums")
    expect(other.get_by_role("heading", level=1)).to_contain_text("There is no process")
    expect(other.get_by_role("link", name="An empty form of batch:checksums")).to_be_visible()
