"""What the pages show: words, the list's addresses, which buttons can be pressed, the end of a log, and escaping."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.requests import Request

from app.errors import Invalid
from app.lifecycle import Process
from app.pages import actions, tail, words
from app.pages.listing import MAX_TRAIL, TABS, Listing
from app.pages.render import environment, error_page, static, target_url
from procdeck.log import Record
from procdeck.states import Outcome, State

BASE = Process(
    id="p1",
    number=1,
    name="Process-1",
    target="jobs:work",
    environment="default",
    kind="function",
    spec={},
    created_at=datetime(2026, 1, 31, tzinfo=UTC),
    requested_by="operator",
)


def process(state: State, outcome: Outcome | None = None) -> Process:
    return replace(BASE, state=state, outcome=outcome)


# --- words -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0.0, "0.00 s"),
        (0.844, "0.84 s"),
        (9.999, "9 s"),
        (59.9, "59 s"),
        (60, "1:00"),
        (3599, "59:59"),
        (3723, "1:02:03"),
        (3 * 86400 + 4 * 3600 + 300, "3 d 04:05"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


def test_times_are_brief_where_there_is_little_room() -> None:
    now = datetime(2026, 1, 31, 23, 0, tzinfo=UTC)
    assert words.brief("2026-01-31T22:59:58.123456+00:00", now) == "22:59:58 UTC"
    assert words.brief("2026-01-31T00:30:00+01:00", now) == "2026-01-30"


def test_a_call_reads_as_python() -> None:
    given = {"target": "jobs:work", "args": [1, "a'b", None], "kwargs": {"deep": {"on": True}}}
    assert words.call(given) == """jobs:work(1, "a'b", None, deep={'on': True})"""
    assert words.call(given, 12) == "jobs:work(…)"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("plain", "plain"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]8;;http://x\x07link\x1b]8;;\x07", "link"),
        ("10 %\r20 %\r30 %", "30 %"),
        ("line\r", "line"),
        ("a\x00b\x07", "a\ufffdb\ufffd"),
        ("tab\tstays", "tab\tstays"),
    ],
)
def test_a_log_line_is_shown_as_a_terminal_leaves_it(raw: str, text: str) -> None:
    assert words.log_text(raw) == text


def test_a_log_line_is_shown_as_far_as_a_page_can_bear_it() -> None:
    for size in (words.LONGEST + 1, words.LONGEST_RAW + 1, 5_000_000):
        assert words.log_text("x" * size) == "x" * words.LONGEST + " … (the download has the whole line)"
    assert words.log_text("x" * words.LONGEST) == "x" * words.LONGEST
    assert words.log_text("\r".join(["50 %"] * 100_000) + "\r99 %\r\r") == "99 %"
    coloured = "\x1b[1;31m0\x1b[0m" * 5_000
    assert words.log_text(coloured) == "0" * 5_000


# --- the list ----------------------------------------------------------------------------------------------------


def test_an_empty_query_is_everything() -> None:
    assert Listing.of({}) == Listing()
    assert Listing().url() == "/processes"
    assert Listing().api_url() == "/api/v1/processes"


def test_a_query_survives_its_own_address() -> None:
    listing = Listing.of({"view": "failed", "q": "a&b", "target": "jobs:work", "cursor": "Nw", "trail": "OQ.OA"})
    query = dict(pair.split("=", 1) for pair in listing.url().partition("?")[2].split("&"))
    assert query == {"view": "failed", "q": "a%26b", "target": "jobs%3Awork", "cursor": "Nw", "trail": "OQ.OA"}
    assert listing.api_url() == (
        "/api/v1/processes?outcome=failed&outcome=crashed&outcome=timed_out&outcome=not_started&outcome=lost"
        "&target=jobs%3Awork&q=a%26b&cursor=Nw"
    )


def test_a_state_stands_over_a_tab() -> None:
    running = Listing.of({"view": "failed", "state": "running"})
    assert (running.filter().states, running.filter().outcomes) == ((State.RUNNING,), ())
    crashed = Listing.of({"state": "crashed"})
    assert (crashed.filter().states, crashed.filter().outcomes) == ((), (Outcome.CRASHED,))


def test_older_and_newer_lead_there_and_back() -> None:
    first = Listing.of({"q": "x"})
    second = replace(first, cursor="B")
    assert first.older_url("B") == second.url()
    assert second.older_url("C") == replace(first, cursor="C", trail=("B",)).url()
    assert replace(first, cursor="C", trail=("B",)).newer_url() == second.url()
    assert second.newer_url() == first.url()
    # From far away the way back is forgotten, and leads to the newest.
    far = replace(first, cursor="Z", trail=tuple("x" * MAX_TRAIL))
    assert far.older_url("Y").count("x.") == MAX_TRAIL - 1


@pytest.mark.parametrize("query", [{"view": "nonsense"}, {"state": "exited?"}, {"q": "x" * 501}])
def test_a_query_that_means_nothing_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        Listing.of(query)


def test_tabs_count_what_is_under_them() -> None:
    counts = (
        {State.RUNNING: 2, State.CREATED: 1, State.EXITED: 7, State.LOST: 1},
        {Outcome.SUCCEEDED: 3, Outcome.FAILED: 1, Outcome.CRASHED: 1, Outcome.STOPPED: 2, Outcome.LOST: 1},
    )
    assert {tab.key: tab.count(counts) for tab in TABS} == {
        "active": 3,
        "failed": 3,
        "stopped": 2,
        "succeeded": 3,
        "all": 11,
    }


def test_every_outcome_is_under_exactly_one_tab() -> None:
    assert sorted(outcome for tab in TABS for outcome in tab.outcomes) == sorted(Outcome)


# --- buttons -----------------------------------------------------------------------------------------------------

ENDINGS = {"stop", "terminate", "kill", "interrupt"}


@pytest.mark.parametrize(
    ("where", "possible", "main"),
    [
        (process(State.CREATED), {"start", "delete"}, "start"),
        (process(State.QUEUED), {"join", "stop", "terminate"}, "stop"),
        (process(State.STARTING), {"join", "relaunch"} | ENDINGS, "stop"),
        (process(State.RUNNING), {"join", "relaunch"} | ENDINGS, "stop"),
        (process(State.STOPPING), {"join", "relaunch"} | ENDINGS, "kill"),
        (process(State.EXITED, Outcome.FAILED), {"join", "relaunch", "delete"}, "relaunch"),
        (process(State.LOST, Outcome.LOST), {"join", "relaunch", "delete"}, "relaunch"),
    ],
    ids=lambda value: str(value.state) if isinstance(value, Process) else "",
)
def test_which_buttons_can_be_pressed(where: Process, possible: set[str], main: str) -> None:
    shown = actions.actions(where)
    assert [action.name for action in shown] == list(actions.WORDS), "every button is always there"
    assert {action.name for action in shown if not action.reason} == possible
    assert [action.name for action in shown if action.is_main] == [main]


@pytest.mark.parametrize("state", list(State))
def test_a_row_shows_only_what_can_be_done(state: State) -> None:
    where = process(state, Outcome.LOST if state in (State.EXITED, State.LOST) else None)
    possible = {action.name for action in actions.actions(where) if not action.reason}
    main, behind = actions.row_actions(where)
    assert {main.name, *(action.name for action in behind)} <= possible
    if where.is_alive:
        assert {"stop", "terminate", "kill"} <= {main.name, *(action.name for action in behind)}


# --- logs --------------------------------------------------------------------------------------------------------


def record(text: str, stream: str = "stdout", *, partial: bool = False) -> Record:
    return Record(0, 1, "2026-01-31T00:00:00.000000Z", stream, partial, text)


def test_parts_of_a_line_are_joined_by_stream() -> None:
    lines = tail.join(
        [
            record("a", partial=True),
            record("err", "stderr"),
            record("b", partial=True),
            record("c"),
            record("open", partial=True),
        ]
    )
    assert [(line.stream, line.text, line.is_open) for line in lines] == [
        ("stdout", "abc", False),
        ("stderr", "err", False),
        ("stdout", "open", True),
    ]


# --- rendering ---------------------------------------------------------------------------------------------------


def request(path: str = "/nope") -> Request:
    return Request({"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": [], "state": {}})


def test_an_error_page_escapes_what_it_tells() -> None:
    problem: dict[str, Any] = {"title": "Not found", "status": 404, "detail": "<script>alert(1)</script>"}
    html = error_page(request(), problem)
    assert "&lt;script&gt;alert(1)" in html
    assert "<script>alert" not in html


def test_no_template_has_inline_script_or_style() -> None:
    loader = environment().loader
    assert loader is not None
    for name in environment().list_templates():
        source, _, _ = loader.get_source(environment(), name)
        assert " style=" not in source, name
        assert "<style" not in source, name
        assert " on" + "click=" not in source, name
        assert source.count("<script") == source.count(' src="{{ static('), name


def test_static_files_are_addressed_by_their_content() -> None:
    assert static("app.css").startswith("/static/app.css?v=")
    assert static("app.css") == static("app.css")


def test_names_of_targets_are_safe_in_addresses() -> None:
    assert target_url("a:b (c/d)?#") == "/targets/a:b%20%28c%2Fd%29%3F%23"
