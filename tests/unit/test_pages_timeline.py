"""The addresses of the timeline and of activity, and the words of a bar."""

from datetime import UTC, datetime, timedelta

from app import timeline
from app.pages import activity
from app.pages.timeline import Asked, _drawn, _links
from app.timeline import Bar, Range, Span

NOW = datetime(2026, 11, 22, 14, 2, 11, tzinfo=UTC)
TARGET = "jobs:train"


def a_span(name: str, minutes_ago: float, seconds: float | None, status: str) -> Span:
    began = NOW - timedelta(minutes=minutes_ago)
    return Span(f"id-{name}", name, TARGET, began, began + timedelta(seconds=seconds) if seconds else None, status)


def links(asked: Asked, within: Range) -> dict[str, str]:
    return {link.word: link.url for link in _links(asked, within, NOW)}


def test_the_address_has_all_that_is_not_usual() -> None:
    assert Asked.of({"range": "24h", "by": "target", "other": "x"}).url() == "/timeline"
    asked = Asked.of({"range": "7d", "target": " jobs:train\0 ", "by": "process"})
    assert asked.url() == "/timeline?range=7d&target=jobs%3Atrain&by=process"
    assert asked.named("1h") == "/timeline?range=1h&target=jobs%3Atrain&by=process"


def test_a_range_that_ends_now_has_no_later_and_zooms_to_its_end() -> None:
    ways = links(Asked(range="24h"), timeline.range_of("24h", "", "", NOW))
    assert ways["Later"] == ""
    assert ways["Zoom in"] == "/timeline?range=12h"
    assert ways["Zoom out"] == "/timeline?range=2d"
    assert links(Asked(range="12h"), timeline.range_of("12h", "", "", NOW))["Zoom in"] == "/timeline?range=6h"
    assert "to=2026-11-22T02" in ways["Earlier"]


def test_later_comes_back_to_the_range_that_goes_on_with_the_time() -> None:
    day = Range(NOW - timedelta(hours=30), NOW - timedelta(hours=6))
    assert links(Asked(), day)["Later"] == "/timeline"
    odd = Range(NOW - timedelta(hours=7), NOW - timedelta(minutes=30))
    assert links(Asked(), odd)["Later"] == "/timeline?range=390m"
    long_ago = Range(NOW - timedelta(days=9), NOW - timedelta(days=8))
    assert "to=2026-11-15T02" in links(Asked(), long_ago)["Later"]


def test_zooming_out_shows_no_future_and_in_keeps_to_now() -> None:
    recent = Range(NOW - timedelta(hours=10), NOW - timedelta(hours=2))
    assert links(Asked(), recent)["Zoom out"] == "/timeline?range=16h"
    ends_now = Range(NOW - timedelta(hours=5), NOW - timedelta(seconds=20))
    assert links(Asked(), ends_now)["Zoom in"] == "/timeline?range=150m"
    future = Range(NOW + timedelta(days=30), NOW + timedelta(days=32))
    assert links(Asked(), future)["Zoom out"] == "/timeline?range=4d"
    long_ago = Range(NOW - timedelta(days=9), NOW - timedelta(days=8))
    assert "from=2026-11-13T02" in links(Asked(), long_ago)["Zoom out"]


def test_what_never_ran_says_so_and_years_are_told() -> None:
    began = datetime(2025, 3, 1, 12, tzinfo=UTC)
    never = Span("id", "one", TARGET, began, began, "not_started")
    drawn = _drawn(Bar(0, 0, [never]), Asked(), NOW)
    assert drawn.told == "one: Not started, it never ran, 1 Mar 2025 12:00:00 UTC"


def test_zooming_ends_at_the_shortest_and_the_longest() -> None:
    assert links(Asked(), Range(NOW - timeline.SHORTEST, NOW))["Zoom in"] == ""
    assert links(Asked(), Range(NOW - timeline.LONGEST, NOW))["Zoom out"] == ""


def test_the_bar_of_one_leads_to_it_and_says_how_it_went() -> None:
    ended = _drawn(Bar(0, 1, [a_span("one", 60, 12, "timed_out")]), Asked(), NOW)
    assert ended.url == "/processes/id-one"
    assert ended.told == "one: Timed out, 22 Nov 13:02:11 to 13:02:23 UTC, 12 s"
    running = _drawn(Bar(0, 1, [a_span("two", 60 * 24, None, "running")]), Asked(), NOW)
    assert running.told == "two: Running, 21 Nov 14:02:11 to 22 Nov 14:02:11 UTC, 1 d 00:00 so far"


def test_the_bar_of_several_leads_to_their_time() -> None:
    bar = Bar(0, 1, [a_span("one", 60, 600, "failed"), a_span("two", 55, 600, "succeeded")])
    drawn = _drawn(bar, Asked(range="7d"), NOW)
    assert drawn.told.startswith("2 processes of jobs:train: 1 failed, 1 succeeded; 22 Nov 13:02:11 to 13:17:11 UTC")
    assert drawn.url.startswith("/timeline?from=2026-11-22T13%3A01%3A53Z&to=2026-11-22T13%3A17%3A29Z&target=jobs")
    short = _drawn(Bar(0, 1, [a_span("a", 60, 1, "failed"), a_span("b", 60, 1, "failed")]), Asked(), NOW)
    assert timeline.range_of("", *times_of(short.url), NOW).length >= timeline.SHORTEST


def times_of(url: str) -> tuple[str, str]:
    pairs = dict(pair.split("=") for pair in url.partition("?")[2].split("&"))
    return pairs["from"].replace("%3A", ":"), pairs["to"].replace("%3A", ":")


def test_activity_of_the_service_is_that_of_everybody() -> None:
    asked = activity.Asked.of({"verb": "ends", "who": "people", "before": "7"})
    assert asked.who == "everybody"
    assert asked.url() == "/activity?who=everybody&verb=ends"
    assert asked.query().endswith("before=7")
    assert activity.Asked.of({}).url() == "/activity"
