"""The log viewer, as its readers use it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.tabs import PATIENCE, Tabs
from tests.service import Service
from tests.waiting import wait_until

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE)

Open = Callable[..., Page]
JSON = dict[str, Any]


def url_of(process: JSON) -> str:
    return f"/processes/{process['id']}"


def lines(page: Page) -> Locator:
    return page.locator("#log .l")


def texts(page: Page) -> list[str]:
    return page.locator("#log .l .x").all_text_contents()


def numbers(page: Page) -> list[int]:
    return [int(text) for text in page.locator("#log .l .n").all_text_contents()]


def state(page: Page) -> Locator:
    return page.locator("#log-state")


def follow(page: Page) -> Locator:
    return page.get_by_role("switch", name="Follow")


def poured(served: Service, folder: Path, content: str | bytes) -> JSON:
    """A process that wrote this, and is over."""
    source = folder / "poured"
    source.write_bytes(content if isinstance(content, bytes) else content.encode())
    return served.join(served.launch("rough:pour", str(source)))


def is_contiguous(found: list[int]) -> bool:
    return found == list(range(found[0], found[0] + len(found)))


def test_the_log_moves(served: Service, open_page: Open, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("".join(f"line {number}\n" for number in range(100)))
    process = served.launch("rough:echo", str(source))
    page = open_page(url_of(process))
    expect(state(page)).to_have_text("live")
    expect(lines(page)).to_have_count(100)
    with source.open("a") as file:
        file.write("here it comes\nan error!\n")
    expect(lines(page).last).to_have_text(re.compile("an error!"))
    expect(lines(page).last).to_have_class("l se")
    expect(lines(page).last).to_be_in_viewport()

    # Whoever reads further up is not moved, and told that there is more.
    page.locator("#log").hover()
    page.mouse.wheel(0, -500)
    expect(follow(page)).not_to_be_checked()
    with source.open("a") as file:
        file.write("one\ntwo\n")
    pill = page.get_by_role("button", name="2 new lines ↓")
    expect(pill).to_be_visible()
    expect(lines(page).last).not_to_be_in_viewport()
    pill.click()
    expect(lines(page).last).to_be_in_viewport()
    expect(follow(page)).to_be_checked()

    # A key does the same, a selection stops it, and so does looking for something.
    page.keyboard.press("f")
    expect(follow(page)).not_to_be_checked()
    page.keyboard.press("f")
    expect(follow(page)).to_be_checked()
    page.keyboard.press("Control+f")
    expect(page.get_by_label("Find", exact=True)).to_be_focused()
    expect(follow(page)).not_to_be_checked()
    page.keyboard.press("Escape")

    with source.open("a") as file:
        file.write("END\n")
    expect(state(page)).to_have_text("complete")
    expect(page.locator(".banner .status")).to_contain_text("Succeeded")
    expected = [*(f"line {number}" for number in range(100)), "here it comes", "an error!", "one", "two"]
    assert texts(page) == expected
    assert numbers(page) == list(range(1, 105))


def test_colours_bars_levels_and_tracebacks(served: Service, open_page: Open, tmp_path: Path) -> None:
    content = (
        b"\x1b[31mred\x1b[0m \x1b[38;5;208morange\x1b[0m <script>alert(1)</script>\x1b[31;<b>x\n"
        b" 10%|#   \r 50%|##  \r100%|####\n"
        b"ERROR:root:it broke\nTraceback (most recent call last):\n"
        b'  File "a.py", line 1, in f\nValueError: wrong\nINFO:root:on we go\n'
    )
    page = open_page(url_of(poured(served, tmp_path, content)))
    expect(lines(page)).to_have_count(7)
    assert texts(page)[:2] == ["red orange <script>alert(1)</script>>x", "100%|####"]
    expect(page.locator("#log .f1")).to_have_text("red")
    assert page.locator("#log .f208").evaluate("e => getComputedStyle(e).color") != page.locator("#log").evaluate(
        "e => getComputedStyle(e).color"
    )
    expect(page.locator("#log .le")).to_have_count(4)

    # The traceback folds under the line that it explains.
    fold = page.get_by_role("button", name="The lines of this traceback")
    expect(fold).to_have_attribute("aria-expanded", "true")
    fold.click()
    expect(page.get_by_text("ValueError: wrong")).not_to_be_visible()
    expect(page.get_by_text("INFO:root:on we go")).to_be_visible()
    page.get_by_text("Go to", exact=True).click()
    page.get_by_role("link", name="Last traceback").click()
    expect(page.locator("#log .picked .x")).to_have_text("Traceback (most recent call last):")
    expect(page.get_by_text("ValueError: wrong")).to_be_visible()

    page.get_by_label("Level").select_option("error")
    expect(lines(page)).to_have_count(4)
    assert numbers(page) == [3, 4, 5, 6]
    page.get_by_role("link", name="Show all lines").click()
    expect(lines(page)).to_have_count(7)

    # What was chosen is remembered, and a download does the same.
    page.get_by_text("View", exact=True).click()
    page.locator("#log-times").select_option("none")
    expect(page.locator("#log time").first).not_to_be_visible()
    page.reload()
    expect(page.locator("#log time").first).not_to_be_visible()
    page.get_by_text("View", exact=True).click()
    page.locator("#log-times").select_option("since")
    expect(page.locator("#log time").first).to_have_text(re.compile(r"\+00:00:0\d\.\d{3}"))


def test_a_long_log_is_read_in_both_directions(served: Service, open_page: Open, tmp_path: Path) -> None:
    count = 100_000
    content = "".join(f"number {number} of the log\n" for number in range(1, count + 1))
    process = poured(served, tmp_path, content)
    page = open_page(url_of(process))
    expect(page.locator("#log-range")).to_have_text("99,501\N{EN DASH}100,000 of 100,000")
    page.locator("#log").hover()

    # Up, until more is loaded; what is read stays where it is.
    page.mouse.wheel(0, -8000)
    expect(page.locator("#log-range")).to_have_text("99,001\N{EN DASH}100,000 of 100,000")
    expect(follow(page)).not_to_be_checked()
    assert is_contiguous(numbers(page))

    # From the start down, and never more than the page can bear.
    page.get_by_role("link", name="Start", exact=True).last.click()
    expect(page.locator("#log-range")).to_have_text(re.compile("^1\N{EN DASH}"))
    page.locator("#log").hover()
    page.mouse.wheel(0, 9000)
    wait_until(lambda: len(numbers(page)) >= 1000, 10, "no later lines were loaded")
    assert is_contiguous(numbers(page))
    assert numbers(page)[0] == 1

    # To a line, and back to it by its address.
    page.get_by_text("Go to", exact=True).click()
    page.get_by_label("Line", exact=True).fill("50,000")
    page.keyboard.press("Enter")
    picked = page.locator("#log .picked")
    expect(picked.locator(".x")).to_have_text("number 50000 of the log")
    picked.locator(".n").click()
    address = page.url
    assert re.search(r"\?at=(\d+)#o\1$", address)
    page.locator("#log .picked + .l .n").click(modifiers=["Shift"])
    expect(picked).to_have_count(2)
    assert re.search(r"#o\d+-o\d+$", page.url)
    page.goto("about:blank")
    page.goto(address)
    expect(picked.locator(".x")).to_have_text("number 50000 of the log")
    expect(picked).to_be_in_viewport()
    expect(follow(page)).not_to_be_checked()

    # Find: over all of it, n of m, further and back.
    page.keyboard.press("Control+f")
    page.keyboard.type("777 of")
    found = page.locator("#log-found")
    expect(found).to_have_text("50/100")
    expect(page.locator("#log .found .x")).to_have_text("number 49777 of the log")
    page.keyboard.press("Enter")
    expect(found).to_have_text("51/100")
    expect(page.locator("#log .found .x")).to_have_text("number 50777 of the log")
    expect(page.locator("#log .found")).to_be_in_viewport()
    page.keyboard.press("Shift+Enter")
    page.keyboard.press("Shift+Enter")
    expect(page.locator("#log .found .x")).to_have_text("number 48777 of the log")
    page.keyboard.press("Escape")

    # The end again.
    page.get_by_role("link", name="End", exact=True).last.click()
    expect(page.locator("#log-range")).to_have_text(re.compile("\N{EN DASH}100,000 of 100,000"))
    expect(lines(page).last).to_be_in_viewport()


def test_filter_context_and_downloads(served: Service, tabs: Tabs, tmp_path: Path) -> None:
    tabs.expect_complaint("422")
    content = "".join(f"\x1b[32mnumber\x1b[0m {number}\n" for number in range(1, 3001))
    process = poured(served, tmp_path, content)
    page = tabs.open(url_of(process))
    box = page.get_by_label("Only lines with")
    box.fill("number 12")
    box.press("Enter")
    expect(lines(page)).to_have_count(111)
    assert page.url.endswith("?q=number+12")
    assert texts(page)[:3] == ["number 12", "number 120", "number 121"]
    page.reload()
    expect(lines(page)).to_have_count(111)
    expect(box).to_have_value("number 12")

    page.locator("summary").filter(has_text="Download").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="The lines that match").click()
    assert download.value.path().read_text().splitlines() == texts(page)
    page.get_by_label("with colour codes").check()
    with page.expect_download() as download:
        page.get_by_role("link", name="Whole log").click()
    assert download.value.path().read_text() == content
    page.get_by_label("with times, as shown").check()
    with page.expect_download() as download:
        page.get_by_role("link", name="Whole log").click()
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\S+ \x1b\[32mnumber", download.value.path().read_text())

    page.keyboard.press("Escape")
    lines(page).nth(1).locator(".n").click()
    page.get_by_role("button", name="In context").click()
    expect(page.locator("#log .picked .x")).to_have_text("number 120")
    expect(page.locator("#log .picked + .l .x")).to_have_text("number 121")
    expect(box).to_have_value("")

    box.fill("([")
    page.get_by_role("checkbox", name="Regex").check()
    expect(page.locator("#log-error")).to_contain_text("is no regular expression")
    expect(box).to_have_value("([")
    box.fill("^number 2$")
    box.press("Enter")
    expect(lines(page)).to_have_count(1)
    expect(page.locator("#log-error")).to_be_hidden()
    box.fill("nowhere")
    box.press("Enter")
    expect(page.locator("#log-empty")).to_contain_text("No line matches")


def test_without_script_the_log_has_pages_and_a_filter(served: Service, open_page: Open, tmp_path: Path) -> None:
    process = poured(served, tmp_path, "".join(f"number {number}\n" for number in range(1, 1201)))
    page = open_page(url_of(process), script=False)
    assert numbers(page) == list(range(701, 1201))
    page.get_by_role("link", name="Earlier").click()
    assert numbers(page) == list(range(201, 701))
    page.get_by_role("link", name="Start", exact=True).first.click()
    assert numbers(page) == list(range(1, 501))
    page.get_by_role("link", name="Later").click()
    assert numbers(page) == list(range(501, 1001))
    page.get_by_label("Only lines with").fill("number 77")
    page.get_by_role("button", name="Filter").click()
    assert numbers(page) == [77, *range(770, 780)]
    page.get_by_label("Only lines with").fill("([")
    page.get_by_role("checkbox", name="Regex").check()
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("#log-error")).to_contain_text("is no regular expression")
    expect(page.get_by_label("Only lines with")).to_have_value("([")
    page.get_by_role("link", name="Show all lines").click()
    page.get_by_text("Go to", exact=True).click()
    page.get_by_label("Line", exact=True).fill("600")
    page.get_by_role("button", name="Go", exact=True).first.click()
    expect(page.locator("#log .picked .x")).to_have_text("number 600")


def test_what_is_empty_says_why(served: Service, open_page: Open, tmp_path: Path) -> None:
    page = open_page(url_of(served.launch("rough:pour", str(tmp_path / "x"), start=False)))
    expect(page.locator("#log-empty")).to_contain_text("It has not started yet")
    page.goto(url_of(poured(served, tmp_path, "")))
    expect(page.locator("#log-empty")).to_have_text("It wrote nothing.")


def test_the_api_has_lines_and_finds(served: Service, tmp_path: Path) -> None:
    content = "".join(f"{'ERROR' if number == 70 else 'INFO'}:root:number {number}\n" for number in range(1, 101))
    process = poured(served, tmp_path, content)
    base = f"/processes/{process['id']}/log"
    told = served.client.get(f"{base}/lines", params={"line": 70, "count": 3}).json()
    assert [(line["number"], line["level"]) for line in told["items"]] == [(69, "info"), (70, "error"), (71, "info")]
    assert told["has_earlier"]
    assert told["has_later"]
    earlier = served.client.get(f"{base}/lines", params={"before": told["before"], "count": 2}).json()
    assert [line["text"] for line in earlier["items"]] == ["INFO:root:number 67", "INFO:root:number 68"]
    found = served.client.get(f"{base}/find", params={"q": "number 7", "level": "error"}).json()
    assert found == {"offsets": [told["items"][1]["offset"]], "count": 1, "next": None, "searched_back_to": None}
    for path, params, field in (
        ("find", {"q": "([", "regex": "1"}, "q"),
        ("find", {}, "q"),
        ("lines", {"level": "loud"}, "level"),
        ("lines", {"time": "noon"}, "time"),
        ("lines", {"count": "0"}, "count"),
    ):
        refused = served.client.get(f"{base}/{path}", params=params)
        assert refused.status_code == 422
        assert [error["field"] for error in refused.json()["errors"]] == [field]
    pages = served.client.get(f"{served.url}{url_of(process)}/log/lines", params={"at": "x"})
    assert [error["field"] for error in pages.json()["errors"]] == ["at"]
    for gone in ("log/lines", "log/find?q=x", "log/download"):
        assert served.client.get(f"{served.url}/processes/nobody/{gone}").status_code == 404


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
        expect(state(page)).to_have_text("complete")
        assert [word.strip() for word in page.locator("h1").all_text_contents()] == [name.strip()]
        shown = texts(page)
        assert shown[:3] == HOSTILE_TEXTS[:3]
        assert shown[3:5] == ["click", "red"]
        assert page.locator("#log img, #log script, #log svg, #log .x a, .facts img, h1 *").count() == 0
        page.goto(f"/launch?from={process['id']}")
        expect(page.get_by_label("note", exact=True)).to_be_attached()
    for path in ("/processes", "/targets/rough:pour"):
        page.goto(path)
        expect(page.get_by_text(HOSTILE_TEXTS[0]).filter(visible=True).first).to_be_visible()


@pytest.mark.parametrize("block", ["\x1b[", "\r", "\x1b]8;;", "x"], ids=ascii)
def test_f49_a_page_lives_through_megabytes_of_one_line(served: Service, open_page: Open, block: str) -> None:
    process = served.launch("rough:endless", kwargs={"block": block, "count": 2_000_000 // (1000 * len(block))})
    page = open_page(url_of(process))
    wait_until(lambda: len(served.log(process)) >= 1_900_000, 30, "it does not write")
    expect(lines(page)).to_have_count(1)
    page.reload()
    expect(lines(page)).to_have_count(1)
    assert len(page.locator("#log").inner_text()) < 25_000
    served.post(process, "terminate")
    expect(state(page)).to_have_text("complete")


def test_f46_a_page_that_is_outrun_says_what_it_left_out(served: Service, tabs: Tabs, tmp_path: Path) -> None:
    tabs.expect_complaint("ERR_FAILED")
    source = tmp_path / "source"
    source.write_text("first\n")
    process = served.launch("rough:echo", kwargs={"path": str(source)})
    served.wait_for_log(process, "first")
    page = tabs.open("/targets")
    page.route("**/ui/events*", lambda route: route.abort())
    page.goto(url_of(process))
    expect(state(page)).to_contain_text("reconnecting")
    with source.open("a") as file:
        file.write("".join(f"{number}\n" for number in range(100_000)) + "END\n")
    served.join(process)
    page.unroute("**/ui/events*")
    expect(state(page)).to_have_text("complete", timeout=30_000)
    mark = page.locator("#log .mark").first
    expect(mark).to_contain_text("skipped, they came too fast to be shown")
    expect(lines(page).last).to_contain_text("99999")
    assert lines(page).count() <= 20_500

    # They are in the log, and can be had.
    mark.get_by_role("button", name="load").click()
    expect(page.locator("#log .l .x").nth(1)).to_have_text("0")
    assert texts(page)[:100] == ["first", *map(str, range(99))]


def test_no_line_is_lost_or_doubled_while_the_service_is_gone(chromium: Browser, tmp_path: Path) -> None:
    (tmp_path / "rough.py").write_text(
        "import sys, time\nfrom procdeck import target\n\n@target\ndef count(path: str) -> None:\n"
        "    number = 0\n"
        "    while open(path).read() != 'END':\n"
        "        print('number', number, flush=True); number += 1; time.sleep(0.01)\n"
    )
    (tmp_path / "ends").write_text("")
    service = Service(tmp_path, [tmp_path / "rough.py"])
    tabs: Tabs | None = None
    try:
        service.start()
        port = service.url.rpartition(":")[2]  # the page comes back to where it was
        process = service.launch("rough:count", str(tmp_path / "ends"))
        tabs = Tabs(chromium, service)
        tabs.expect_complaint("ERR_CONNECTION_|ERR_INCOMPLETE|ERR_EMPTY|ERR_SOCKET|503")
        page = tabs.open(url_of(process))
        expect(lines(page).nth(20)).to_be_attached()
        service.kill()
        expect(state(page)).to_contain_text("reconnecting")
        service.flags = ["--port", port]
        service.start()
        expect(state(page)).to_have_text("live", timeout=30_000)
        (tmp_path / "ends").write_text("END")
        expect(state(page)).to_have_text("complete")
        everything = [f"number {number}" for number in range(len(service.log(process).splitlines()))]
        wait_until(lambda: texts(page)[-1] == everything[-1], 10, "the end does not come")
        shown = texts(page)
        skipped = page.locator("#log .mark").count()
        assert skipped == 0
        assert shown == everything
        assert is_contiguous(numbers(page))
    finally:
        if tabs is not None:
            tabs.close()
        service.close()
