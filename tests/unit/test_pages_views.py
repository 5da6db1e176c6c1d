"""What the pages show: words, the list's addresses, which buttons can be pressed, the end of a log, and escaping."""

from collections.abc import Iterator
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


def test_times_are_brief_where_there_is_little_room() -> None:
    now = datetime(2026, 1, 31, 23, 0, tzinfo=UTC)
    assert words.brief("2026-01-31T22:59:58.123456+00:00", now) == "22:59 UTC"
    assert words.brief("2026-01-31T00:30:00+01:00", now) == "Jan 30 23:30"
    assert words.brief("2026-03-05T07:04:00+00:00", now) == "Mar 5 07:04"
    assert words.brief("2025-11-17T19:22:00+00:00", now) == "Nov 17, 2025"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (11.4, "11 s"), (59.8, "59 s"), (61, "1 min"), (150, "2 min"), (7300, "2 h"), (200_000, "2 d")],
)
def test_a_guess_is_no_more_exact_than_it_can_be(seconds: float, text: str) -> None:
    assert words.about(seconds) == text


def test_a_call_reads_as_python() -> None:
    given = {"target": "jobs:work", "args": [1, "a'b", None], "kwargs": {"deep": {"on": True}}}
    assert words.call(given) == """jobs:work(1, "a'b", None, deep={'on': True})"""
    assert words.call(given, 12) == "jobs:work(…)"


@pytest.mark.parametrize(
    "value", [[], {}, [1, [2.5, {}], "é\n"], {"a": {"it's": [True, None]}, "": 0}, "x" * 50, -1e300, [[["'\""]]]]
)
def test_a_call_that_is_too_long_is_cut_where_it_is(value: Any) -> None:
    given = {"target": "m:f", "args": [value, "end"], "kwargs": {"key": value}}
    whole = f"m:f({value!r}, 'end', key={value!r})"
    assert words.call(given) == whole
    for limit in range(8, len(whole) + 3):
        assert words.call(given, limit) == (whole if len(whole) <= limit else f"{whole[: limit - 2]}…)")


def test_no_more_of_a_call_is_read_than_is_shown() -> None:
    read = 0

    class Items(list[int]):
        def __iter__(self) -> Iterator[int]:
            nonlocal read
            for item in super().__iter__():
                read += 1
                yield item

    text = words.call({"target": "m:f", "args": [Items(range(330_000))], "kwargs": {}}, 160)
    assert len(text) == 160
    assert read < 160


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
