"""What a person does with the dashboard, with script and without."""

import contextlib
import re
import resource
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from app.errors import problem_types
from tests.browser.tabs import PATIENCE, Tabs
from tests.service import Service
from tests.waiting import wait_until

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE)

Open = Callable[..., Page]
JSON = dict[str, Any]


@pytest.fixture
def slow(served: Service) -> Iterator[JSON]:
    """A process that runs for as long as the test."""
    process = served.launch("basics:slow_worker", kwargs={"seconds": 300})
    assert process["state"] == "running", process["exit_summary"]
    yield process
    if served.get(process)["is_alive"]:
        served.post(process, "kill")


def status(page: Page) -> Locator:
    return page.locator(".banner .status")


def button(page: Page, name: str) -> Locator:
    return page.locator(".actions").get_by_role("button", name=name, exact=True)


def url_of(process: JSON) -> str:
    return f"/processes/{process['id']}"


def process_id(page: Page) -> str:
    found = re.search(r"/processes/([0-9a-f-]{36})$", page.url)
    assert found, page.url
    return found[1]


# --- signing in --------------------------------------------------------------------------------------------------


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
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_label("Token").fill(served.token)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{served.url}/targets?x=1")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto("/processes")
    expect(page).to_have_url(f"{served.url}/login?next=/processes")


def test_who_is_signed_in_and_comes_from_another_site_is_sent_on(
    served: Service, tabs: Tabs, slow: JSON, tmp_path: Path
) -> None:
    page = tabs.open()
    # A file has an origin of its own: the cookie is not sent with a visit from there.
    elsewhere = tmp_path / "elsewhere.html"
    elsewhere.write_text(f'<a href="{served.url}{url_of(slow)}">there</a>')
    page.goto(elsewhere.as_uri())
    page.get_by_role("link", name="there").click()
    expect(page.get_by_role("heading", name=slow["name"])).to_be_visible()


# --- launching ---------------------------------------------------------------------------------------------------


def test_the_form_tells_what_is_wrong_keeps_what_was_typed_and_then_launches(
    served: Service, tabs: Tabs, tmp_path: Path
) -> None:
    tabs.expect_complaint("422")
    (tmp_path / "one.txt").write_text("1")
    page = tabs.open("/launch?target=batch:checksums")
    page.get_by_label("sha512", exact=True).check()
    selection = page.get_by_role("group", name="selection")
    selection.get_by_label("value:").check()
    expect(selection.get_by_role("textbox")).to_have_value(re.compile(r'"pattern": "\*"'))
    selection.get_by_role("textbox").fill('{"at_least": "much"}')
    page.get_by_role("button", name="Launch", exact=True).click()

    expect(page.get_by_role("alert")).to_contain_text("1 field needs another look")
    expect(page.get_by_role("alert")).to_be_focused()
    folder = page.get_by_role("group", name="folder")
    expect(folder).to_contain_text("is required")
    folder.get_by_role("textbox").fill(str(tmp_path))
    page.get_by_role("button", name="Launch", exact=True).click()

    # What only the service can tell comes back to the field as well.
    expect(page.get_by_role("group", name="selection")).to_contain_text("at_least must be an integer, not 'much'")
    expect(page.get_by_label("sha512", exact=True)).to_be_checked()
    expect(page.get_by_role("group", name="folder").get_by_role("textbox")).to_have_value(str(tmp_path))
    page.get_by_role("group", name="selection").get_by_role("textbox").fill('{"pattern": "*.txt"}')
    expect(page.locator("#curl")).to_contain_text('"selection": {"pattern": "*.txt"}')
    page.get_by_text("More: name").click()
    page.get_by_label("Name", exact=True).fill("checked")
    page.get_by_role("button", name="Launch", exact=True).click()

    expect(page.get_by_role("heading", name="checked", exact=True)).to_be_visible()
    expect(status(page)).to_contain_text("Succeeded")
    expect(page.locator("#result")).to_contain_text('"checked": 1')
    made = served.client.get(f"/processes/{process_id(page)}").json()
    assert made["kwargs"] == {"folder": str(tmp_path), "algorithm": "sha512", "selection": {"pattern": "*.txt"}}


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


def test_typing_a_value_chooses_it_and_the_call_follows(open_page: Open) -> None:
    page = open_page("/launch?target=basics:worker")
    expect(page.locator("#call")).to_have_text("basics:worker()")
    page.get_by_role("spinbutton", name="num").fill("7")
    expect(page.get_by_label("value:")).to_be_checked()
    expect(page.locator("#call")).to_have_text("basics:worker(num=7)")
    page.get_by_label("default: None").check()
    expect(page.locator("#call")).to_have_text("basics:worker()")


def test_launch_with_changes_begins_with_the_same_values(served: Service, open_page: Open) -> None:
    first = served.launch("basics:worker", 7, labels={"team": "blue"})
    page = open_page(url_of(first))
    page.get_by_role("link", name="Launch with changes").click()
    expect(page.get_by_role("spinbutton", name="num")).to_have_value("7")
    page.get_by_role("button", name="Launch", exact=True).click()
    expect(page.get_by_text("Launched again from")).to_contain_text(first["name"])
    second = served.client.get(f"/processes/{process_id(page)}").json()
    assert (second["kwargs"], second["labels"], second["origin_id"]) == ({"num": 7}, {"team": "blue"}, first["id"])


# --- one process -------------------------------------------------------------------------------------------------


def test_the_log_moves(served: Service, open_page: Open, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("".join(f"line {number}\n" for number in range(100)))
    process = served.launch("rough:echo", str(source))
    page = open_page(url_of(process))
    lines = page.locator("#log .line")
    expect(page.locator("#log-state")).to_have_text("following")
    expect(lines).to_have_count(100)
    with source.open("a") as file:
        file.write("here it comes\nan error!\n")
    expect(lines.last).to_have_text(re.compile("an error!"))
    expect(lines.last).to_have_class("line stderr")
    expect(lines.last).to_be_in_viewport()

    # Whoever reads further up is not moved, and told that there is more.
    page.locator("#log").hover()
    page.mouse.wheel(0, -500)
    expect(page.get_by_label("Follow")).not_to_be_checked()
    with source.open("a") as file:
        file.write("one\ntwo\n")
    expect(page.get_by_role("button", name="2 new lines ↓")).to_be_visible()
    expect(lines.last).not_to_be_in_viewport()
    page.get_by_role("button", name="2 new lines ↓").click()
    expect(lines.last).to_be_in_viewport()
    expect(page.get_by_label("Follow")).to_be_checked()

    with source.open("a") as file:
        file.write("END\n")
    expect(page.locator("#log-state")).to_have_text("complete")
    expect(status(page)).to_contain_text("Succeeded")
    expected = [*(f"line {number}" for number in range(100)), "here it comes", "an error!", "one", "two"]
    assert lines.locator(".text").all_inner_texts() == expected


def test_the_log_is_only_text(served: Service, open_page: Open) -> None:
    process = served.join(served.launch("rough:shouter", kwargs={"lines": 700}))
    page = open_page(url_of(process))
    expect(page.get_by_text("Only the last lines are shown.")).to_be_visible()
    expect(page.locator("#log .line")).to_have_count(500)
    expect(page.locator("#log .line").last).to_contain_text("699 <script>alert(1)</script>")
    page.get_by_role("link", name="Show the last 20,000").click()
    expect(page.locator("#log .line")).to_have_count(700)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.path().read_text() == served.log(process)


HOSTILE_TEXTS = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "</textarea></pre><svg onload=alert(1)>",
    "\x1b]8;;javascript:alert(1)\x07click\x1b]8;;\x07",
    "\x1b[2J\x1b[31mred",
    "{{ 7 * 7 }} {% raw %}",
    "'; DROP TABLE process; --",
    "\u202egnp.exe",
    "&lt;b&gt; &amp; \u0000 \u2028",
]


def test_f49_hostile_output_names_and_arguments_are_text(served: Service, tabs: Tabs, tmp_path: Path) -> None:
    """Every page is listened to: a script that runs, or one that the policy stops, is a complaint and fails."""
    (tmp_path / "output").write_text("\n".join(HOSTILE_TEXTS))
    page = tabs.open()
    for text in HOSTILE_TEXTS:
        name = text.replace("\0", "")
        process = served.launch(
            "rough:pour",
            kwargs={"path": str(tmp_path / "output"), "note": text},
            name=name,
            labels={name: name},
        )
        served.join(process)
        page.goto(url_of(process))
        expect(page.locator("#log-state")).to_have_text("complete")
        assert [word.strip() for word in page.locator("h1").all_text_contents()] == [name.strip()]
        shown = page.locator("#log .text").all_text_contents()
        assert shown[:3] == HOSTILE_TEXTS[:3]
        assert shown[3:5] == ["click", "red"]
        assert page.locator("#log img, #log script, #log svg, #log a, .facts img, h1 *").count() == 0
        page.goto(f"/launch?from={process['id']}")
        expect(page.get_by_label("note")).to_be_attached()
    for path in ("/processes", "/targets/rough:pour"):
        page.goto(path)
        expect(page.get_by_text(HOSTILE_TEXTS[0]).first).to_be_visible()


@pytest.mark.parametrize("block", ["\x1b[", "\r", "\x1b]8;;", "x"], ids=ascii)
def test_f49_a_page_lives_through_megabytes_of_one_line(served: Service, open_page: Open, block: str) -> None:
    process = served.launch("rough:endless", kwargs={"block": block, "count": 2_000_000 // (1000 * len(block))})
    page = open_page(url_of(process))
    wait_until(lambda: len(served.log(process)) >= 1_900_000, 30, "it does not write")
    expect(page.locator("#log .line")).to_have_count(1)
    page.reload()
    expect(page.locator("#log .line")).to_have_count(1)
    assert len(page.locator("#log").inner_text()) < 25_000
    page.get_by_label("Times").uncheck()
    button(page, "Terminate").click()
    expect(page.locator("#log-state")).to_have_text("complete")
    expect(status(page)).to_contain_text("Stopped")


def test_f46_a_page_that_is_outrun_says_what_it_left_out(served: Service, tabs: Tabs, tmp_path: Path) -> None:
    tabs.expect_complaint("ERR_FAILED")
    source = tmp_path / "source"
    source.write_text("first\n")
    process = served.launch("rough:echo", kwargs={"path": str(source)})
    served.wait_for_log(process, "first")
    page = tabs.open("/targets")
    page.route("**/log/stream*", lambda route: route.abort())
    page.goto(url_of(process))
    expect(page.locator("#log-state")).to_contain_text("reconnecting")
    with source.open("a") as file:
        file.write("".join(f"{number}\n" for number in range(100_000)) + "END\n")
    served.join(process)
    page.unroute("**/log/stream*")
    expect(page.locator("#log-state")).to_have_text("complete", timeout=30_000)
    expect(page.locator("#log .gap")).to_contain_text("they came faster than this page could follow")
    expect(page.locator("#log .line").last).to_contain_text("99999")
    assert page.locator("#log .line").count() <= 20_500


def test_join_waits_without_holding_the_page(served: Service, open_page: Open) -> None:
    process = served.launch("basics:patient_worker", kwargs={"seconds": 300})
    page = open_page(url_of(process))
    page.get_by_label("Seconds to wait at most").fill("0.2")
    button(page, "Join").click()
    expect(page.locator("#answer")).to_have_text(f"{process['name']} is still running after 0.2 s.")

    page.get_by_label("Seconds to wait at most").fill("60")
    button(page, "Join").click()
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
    expect(button(page, "Start")).to_be_disabled()
    expect(page.locator("#reasons")).to_contain_text("Start: it was started already")
    button(page, "Terminate").click()
    expect(page.locator("#toasts")).to_contain_text(f"{slow['name']} was sent SIGTERM.")
    expect(status(page)).to_contain_text("Stopped")
    expect(page.locator("#exitcode")).to_have_text("-15 (SIGTERM)")
    expect(page.locator("#history")).to_contain_text("running → stopping")
    expect(button(page, "Terminate")).to_be_disabled()
    expect(page).to_have_title(re.compile("Stopped"))


def test_kill_asks_first(served: Service, open_page: Open) -> None:
    process = served.launch("rough:stubborn")
    served.wait_for_log(process, "ready")
    page = open_page(url_of(process))
    button(page, "Terminate").click()
    expect(status(page)).to_contain_text("Stopping")
    expect(page.locator(".banner")).to_contain_text("Terminate asked by operator")
    button(page, "Kill").click()
    dialog = page.get_by_role("dialog", name=f"Kill {process['name']} now?")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).not_to_be_visible()
    button(page, "Kill").click()
    dialog.get_by_role("button", name="Kill").click()
    expect(page.locator("#exitcode")).to_have_text("-9 (SIGKILL)")


def test_launch_again_goes_to_the_new_process(served: Service, open_page: Open) -> None:
    process = served.join(served.launch("exit_codes:raises"))
    page = open_page(url_of(process))
    expect(status(page)).to_contain_text("Failed")
    expect(page.locator("#error")).to_contain_text("RuntimeError: something went wrong, as planned")
    button(page, "Launch again").click()
    expect(page.get_by_text("Launched again from")).to_contain_text(process["name"])
    assert process_id(page) != process["id"]


def test_start_and_delete(served: Service, open_page: Open) -> None:
    process = served.launch("basics:worker", start=False)
    page = open_page(url_of(process))
    expect(page.locator("#reasons")).to_contain_text("Join")
    button(page, "Start").click()
    expect(status(page)).to_contain_text("Succeeded")
    expect(page.locator("#log")).to_contain_text("Worker")
    button(page, "Delete record").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete record").click()
    expect(page).to_have_url(f"{served.url}/processes")
    expect(page.locator("#toasts")).to_contain_text(f"The record of {process['name']} and its log were deleted.")
    assert served.client.get(f"/processes/{process['id']}").status_code == 404


def test_a_refusal_is_told_in_place(served: Service, tabs: Tabs) -> None:
    tabs.expect_complaint("409")
    process = served.launch("basics:slow_worker", kwargs={"seconds": 300})
    page = tabs.open(url_of(process))
    page.route("**/api/v1/events", lambda route: route.abort())  # so that the page does not know
    tabs.expect_complaint("ERR_FAILED")
    page.reload()
    served.post(process, "kill")
    served.join(process)
    button(page, "Terminate").click()
    expect(page.locator("#toasts")).to_contain_text(f"{process['name']} is over already")


# --- the list ----------------------------------------------------------------------------------------------------


def row(page: Page, process: JSON) -> Locator:
    return page.locator(f"#p-{process['id']}")


def test_the_list_updates_by_itself(served: Service, slow: JSON, open_page: Open) -> None:
    page = open_page()
    expect(page.locator("#connection")).to_have_text("Live")
    row(page, slow).get_by_role("link", name=slow["name"]).focus()
    row(page, slow).evaluate("row => { row.seenBefore = true }")

    other = served.launch("basics:worker", name="newcomer")
    expect(row(page, other)).to_contain_text("Succeeded")
    expect(row(page, other).get_by_role("button", name="Launch again")).to_be_visible()
    served.post(slow, "terminate")
    expect(row(page, slow)).to_contain_text("Stopped")
    expect(row(page, slow).locator(".c-exit")).to_have_text("-15")
    # The row is the same one: whoever was on it still is.
    assert row(page, slow).evaluate("row => row.seenBefore") is True
    expect(row(page, slow).get_by_role("link", name=slow["name"])).to_be_focused()


def test_rows_can_be_acted_on(served: Service, slow: JSON, open_page: Open) -> None:
    created = served.launch("basics:slow_worker", start=False, kwargs={"seconds": 300})
    page = open_page()
    row(page, created).get_by_role("button", name="Start").click()
    expect(row(page, created)).to_contain_text("Running")
    for process, name in ((created, "Terminate"), (slow, "Kill")):
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


def test_an_open_menu_stays_open_and_new_rows_wait(served: Service, slow: JSON, open_page: Open) -> None:
    page = open_page()
    expect(page.locator("#connection")).to_have_text("Live")
    row(page, slow).locator("summary").click()
    other = served.join(served.launch("basics:worker"))
    page.get_by_role("button", name=re.compile(r"\d+ new, show")).wait_for()
    expect(row(page, slow).get_by_role("button", name="Terminate")).to_be_visible()
    expect(row(page, other)).to_have_count(0)
    page.get_by_role("button", name=re.compile("new, show")).click()
    expect(row(page, other)).to_be_visible()


def test_tabs_filters_and_search(served: Service, slow: JSON, open_page: Open) -> None:
    failed = served.join(served.launch("exit_codes:exit_error", 3, name="will-fail"))
    page = open_page()
    tabs = page.get_by_role("navigation", name="Processes by what became of them")
    tabs.get_by_role("link", name=re.compile("Failed")).click()
    expect(row(page, failed)).to_be_visible()
    expect(row(page, slow)).to_have_count(0)
    page.get_by_role("searchbox").fill("WILL-fail")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("#rows tr")).to_have_count(1)
    page.get_by_role("combobox", name="State").select_option("running")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_text("No process matches.")).to_be_visible()
    page.get_by_role("link", name=re.compile("search: WILL-fail")).click()
    expect(row(page, slow)).to_be_visible()
    assert page.url.endswith("/processes?state=running")


def test_older_and_newer(served: Service, open_page: Open) -> None:
    for number in range(101):
        served.launch("basics:worker", start=False, name=f"row-{number:03}")
    page = open_page("/processes?q=row-")
    names = page.locator("#rows .c-name")
    expect(names.first).to_have_text("row-100")
    page.get_by_role("link", name="Older").click()
    expect(names.first).to_have_text("row-050")
    page.get_by_role("link", name="Older").click()
    expect(names).to_have_text(["row-000"])
    expect(page.get_by_role("link", name="Older")).to_have_count(0)
    page.get_by_role("link", name="Newer").click()
    expect(names.first).to_have_text("row-050")
    page.get_by_role("link", name="Newer").click()
    expect(names.first).to_have_text("row-100")


# --- targets and documents ---------------------------------------------------------------------------------------


def test_targets_tell_what_is_wrong_with_them(served: Service, open_page: Open) -> None:
    page = open_page("/targets")
    expect(page.get_by_text("ModuleNotFoundError: No module named 'not_there_at_all'")).to_be_visible()
    expect(page.get_by_text("It is an async function")).to_be_visible()
    (served.folder / "rough.py").write_text((served.folder / "rough.py").read_text() + "\n@target\ndef added(): ...\n")
    page.get_by_role("button", name="Reload").click()
    expect(page.locator("#toasts")).to_contain_text("Imported anew")
    page.get_by_role("link", name="rough:added", exact=True).click()
    expect(page.get_by_text("It has not been launched yet.")).to_be_visible()
    page.locator("#content").get_by_role("link", name="Launch").click()
    expect(page.get_by_role("heading", name="Launch rough:added")).to_be_visible()


def test_the_documents_of_the_api(open_page: Open) -> None:
    page = open_page("/docs#problem-conflict")
    expect(page.locator(".opblock").first).to_be_visible()
    for kind in problem_types():
        assert page.locator(f"#problem-{kind.slug}").count() == 1


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

    page.get_by_role("link", name="Launch", exact=True).click()
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
    button(page, "Delete record").click()
    page.get_by_role("button", name="Delete record").click()
    expect(page.get_by_text("were deleted.")).to_be_visible()


def test_kill_without_script_keeps_the_reason(served: Service, slow: JSON, open_page: Open) -> None:
    page = open_page(f"{url_of(slow)}/kill", script=False)
    page.get_by_label("Reason").fill("in the way")
    page.get_by_role("button", name="Kill").click()
    expect(page.get_by_text("SIGKILL was sent")).to_be_visible()
    wait_until(lambda: served.get(slow)["exitcode"] == -9, 10, "not killed")
    assert "in the way" in served.get(slow)["exit_summary"]


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
    tabs.expect_complaint(r"ERR_(CONNECTION_REFUSED|INCOMPLETE_CHUNKED|CONNECTION_RESET|EMPTY_RESPONSE)|50[03]")
    try:
        service.start()
        process = service.launch("logs:both_streams", kwargs={"lines": 200, "pause": 0.05})
        page = tabs.open(url_of(process))
        expect(page.get_by_text("line 5 of 200", exact=True)).to_be_visible()
        service.kill()
        expect(page.locator("#connection")).to_contain_text("Reconnecting")
        service.start()
        expect(page.locator("#connection")).to_have_text("Live")
        expect(page.locator("#log-state")).to_have_text("complete", timeout=30_000)
        written = page.locator("#log .line .text").all_inner_texts()
        assert written == [f"line {number} of 200" for number in range(1, 201)], "a line was lost or doubled"
        expect(status(page)).to_contain_text("Succeeded")
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


def test_f95_seven_pages_in_one_browser_all_load(served: Service, slow: JSON, tabs: Tabs) -> None:
    """Each page of a process wants two streams, and the browser makes six connections: those that were looked at last
    have them."""
    pages = [tabs.open(url_of(slow))]
    for _ in range(6):
        page = pages[0].context.new_page()
        page.goto(url_of(slow))
        pages.append(page)
    for page in pages:
        expect(page.locator("h1")).to_be_visible()
    for page in pages[5:]:
        expect(page.locator("#connection")).to_have_text("Live")
    for page in pages[:5]:
        expect(page.locator("#connection")).to_have_text("Paused")
    pages[0].evaluate("dispatchEvent(new Event('focus'))")
    expect(pages[0].locator("#connection")).to_have_text("Live")
    expect(pages[5].locator("#connection")).to_have_text("Paused")
    served.post(slow, "kill")
    expect(status(pages[0])).to_contain_text("Stopped")
    expect(status(pages[1])).to_contain_text("Stopped")  # by asking now and then


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
