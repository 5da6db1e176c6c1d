"""What the pages show: words, the list's addresses, which buttons can be pressed, the end of a log, and escaping."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.requests import Request

from app.lifecycle import Process
from app.pages import actions, words
from app.pages.render import environment, error_page, target_url
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


# --- buttons -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", list(State))
def test_a_row_shows_only_what_can_be_done(state: State) -> None:
    where = process(state, Outcome.LOST if state in (State.EXITED, State.LOST) else None)
    possible = {action.name for action in actions.actions(where) if not action.reason}
    main, behind = actions.row_actions(where)
    assert {main.name, *(action.name for action in behind)} <= possible
    if where.is_alive:
        assert {"stop", "terminate", "kill"} <= {main.name, *(action.name for action in behind)}


# --- logs --------------------------------------------------------------------------------------------------------


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


def test_names_of_targets_are_safe_in_addresses() -> None:
    assert target_url("a:b (c/d)?#") == "/targets/a:b%20%28c%2Fd%29%3F%23"
