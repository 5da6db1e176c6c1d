"""The list of processes: what its address asks for, the addresses that lead on, views, and the numbers above it."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qs, parse_qsl

import pytest

from app.db.saved import View
from app.db.tally import Tally
from app.deps import Parts
from app.errors import Invalid
from app.health.host import Disk
from app.listing import MAX_TRAIL, TABS, Counts, Listing, unknown
from app.pages import strip, views
from app.pages.processes import LEAST_POINTS, MOST_COUNTED, MOST_SORTED, Matches, _numbers, is_cut, sample, sparkline
from app.search import parse, words
from app.settings import Settings
from procdeck.states import Outcome, State


def query_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(url.partition("?")[2]))


def test_an_empty_query_is_everything() -> None:
    assert Listing.of({}) == Listing()
    assert Listing().url() == "/processes"
    assert Listing().api_url() == "/api/v1/processes"
    assert Listing().said() == "all processes"


def test_a_query_survives_its_own_address() -> None:
    query = {
        "view": "failed",
        "search": 'a&b -target:x "one phrase"',
        "target": "jobs:work",
        "started": "24h",
        "size": "100",
        "cursor": "Nw",
        "trail": "OQ.OA",
        "saved": "v1",
    }
    listing = Listing.of(query)
    assert query_of(listing.url()) == query
    assert Listing.of(query_of(listing.url())) == listing
    assert parse_qs(listing.api_url().partition("?")[2]) == {
        "outcome": ["failed", "crashed", "timed_out", "not_started", "lost"],
        "target": ["jobs:work"],
        "search": ['a&b -target:x "one phrase" started:24h'],
        "limit": ["100"],
        "cursor": ["Nw"],
    }
    assert listing.filter().search == parse(listing.searched.text)
    assert query_of(f"?{listing.query()}") == {name: query[name] for name in ("view", "search", "target", "started")}


def test_the_words_of_old_addresses_are_words() -> None:
    assert Listing.of({"q": "state:running -x"}).search == words("state:running -x")
    assert Listing.of({"q": "one", "search": "two"}).search == words("two one")


def test_a_range_in_the_search_is_the_one_that_was_chosen() -> None:
    assert Listing.of({"search": "a started:24h"}) == Listing.of({"search": "a", "started": "24h"})
    odd = Listing.of({"search": "a started:90m"})
    assert (odd.started, odd.search.text) == ("", "a started:90m")
    # What is chosen last counts: both together would be either.
    assert Listing.of({"search": "started:90m", "started": "1h"}).searched.text == "started:1h"


def test_a_state_stands_over_a_tab() -> None:
    running = Listing.of({"view": "failed", "state": "running"})
    assert (running.filter().states, running.filter().outcomes) == ((State.RUNNING,), ())
    crashed = Listing.of({"state": "crashed"})
    assert (crashed.filter().states, crashed.filter().outcomes) == ((), (Outcome.CRASHED,))
    assert crashed.said() == "Crashed"


def test_older_and_newer_lead_there_and_back() -> None:
    first = Listing.of({"search": "x"})
    second = replace(first, cursor="B")
    assert first.older_url("B") == second.url()
    assert second.older_url("C") == replace(first, cursor="C", trail=("B",)).url()
    assert replace(first, cursor="C", trail=("B",)).newer_url() == second.url()
    assert second.newer_url() == first.url()
    # From far away the way back is forgotten, and leads to the newest.
    far = replace(first, cursor="Z", trail=tuple("x" * MAX_TRAIL))
    assert far.older_url("Y").count("x.") == MAX_TRAIL - 1


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"view": "nonsense"}, "view"),
        ({"state": "exited?"}, "state"),
        ({"search": "x" * 1001}, "search"),
        ({"search": "nonsense:1"}, "search"),
        ({"started": "yesterday"}, "started"),
        ({"sort": "name"}, "sort"),
        ({"size": "1000000"}, "size"),
        ({"search": " ".join(map(str, range(30))), "started": "24h"}, "search"),
    ],
)
def test_a_query_that_means_nothing_is_refused(query: dict[str, str], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        Listing.of(query)
    assert [error["field"] for error in refused.value.errors] == [field]


def test_each_condition_can_be_removed() -> None:
    listing = Listing.of({"search": 'one "two three" -state:lost', "target": "a:b", "started": "7d", "state": "failed"})
    chips = {chip.text: query_of(chip.url) for chip in listing.chips()}
    assert list(chips) == [
        "one",
        '"two three"',
        "-state:lost",
        "target: a:b",
        "state: failed",
        "started in the last 7 days",
    ]
    assert chips['"two three"'] == {"search": "one -state:lost", "target": "a:b", "started": "7d", "state": "failed"}
    assert "target" not in chips["target: a:b"]
    assert Listing().chips() == []


def test_what_is_over_has_no_order_but_by_what_is_recorded() -> None:
    active = Listing.of({"view": "active", "sort": "cpu"})
    assert active.is_sorted
    assert query_of(active.sort_url("cpu"))["sort"] == "-cpu"
    assert query_of(active.sort_url("took"))["sort"] == "took"
    assert Listing.of({"state": "running", "sort": "-memory"}).is_sorted
    everything = Listing.of({"sort": "cpu"})
    assert not everything.is_sorted
    assert everything.url() == "/processes"
    failed = Listing.of({"view": "failed", "sort": "-took", "cursor": "50"})
    assert failed.is_sorted
    assert query_of(failed.first().url()) == {"view": "failed", "sort": "-took"}
    assert query_of(failed.unsorted().url()) == {"view": "failed"}


def test_what_means_nothing_is_named() -> None:
    assert unknown(["view", "serch", "tab", "was", "serch"], "was") == ["serch", "tab"]


def test_matches_are_said_as_exactly_as_they_are_known() -> None:
    said = [Matches(477), Matches(1), Matches(3200, False), Matches(MOST_COUNTED, False), Matches(None)]
    assert [matches.text for matches in said] == [
        "477 match", "1 matches", "at least 3,200 match", "more than 10,000 match", ""
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("required", "body"),
    [
        ([{}, {"day": {"type": "string", "format": "date"}}], '{"target": "jobs:t0"}'),
        ([{"day": {"type": "string", "format": "date"}}], '{"target": "jobs:t0", "kwargs": {"day": "2026-01-31"}}'),
        ([{"n": {"type": "integer", "minimum": 5}, "c": {"enum": ["a"]}}], '"kwargs": {"n": 5, "c": "a"}}'),
        # What no example can be made up for is passed over.
        ([{"x": {"type": "string", "pattern": "^[0-9]{7}$"}}, {"b": {"type": "boolean"}}], '"jobs:t1", "kwargs"'),
        ([], '{"target": "jobs:hello"}'),
    ],
)
def test_the_first_launch_from_a_shell_can_be_pasted(required: list[dict[str, Any]], body: str) -> None:
    targets = [
        {
            "name": f"jobs:t{index}",
            "parameters": {
                "type": "object",
                "properties": {name: {**schema, "x-kind": "positional_or_keyword"} for name, schema in fields.items()},
                "required": list(fields),
                "additionalProperties": False,
            },
        }
        for index, fields in enumerate(required)
    ]
    assert body in sample(targets, Settings())


def test_forms_carry_what_they_have_no_input_for() -> None:
    listing = Listing.of({"view": "failed", "search": "x", "size": "25", "cursor": "Nw", "saved": "v1"})
    assert listing.hidden("search") == {"view": "failed", "size": "25", "saved": "v1"}


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


# --- views -------------------------------------------------------------------------------------------------------

SAVED = [
    View("v1", "Mine", "view=failed&search=x", datetime(2026, 1, 1, tzinfo=UTC), "operator"),
    View("v2", "Same", "search=x&view=failed", datetime(2026, 1, 1, tzinfo=UTC), "operator"),
]


def test_built_in_views_are_lists_and_each_is_current_on_its_own() -> None:
    for name, query in views.BUILT_IN:
        menu = views.menu(SAVED, Listing.of_string(query))
        assert menu.current is not None
        assert menu.current.name == name


def test_a_view_is_current_until_something_is_changed() -> None:
    there = Listing.of_string("view=failed&search=x&saved=v2")
    menu = views.menu(SAVED, there)
    assert (menu.current and menu.current.name, menu.changed) == ("Same", None)
    changed = views.menu(SAVED, replace(there, search=parse("x y")))
    assert (changed.current, changed.changed and changed.changed.name) == (None, "Same")
    # Another page or size of it is no change; one that was deleted says nothing.
    assert views.menu(SAVED, replace(there, cursor="Nw", size=25)).changed is None
    assert views.menu([], there).changed is None


# --- the strip ---------------------------------------------------------------------------------------------------


def test_each_number_leads_to_the_list_that_it_counts() -> None:
    machine = strip.Machine(8, 4 << 30, Disk(25, 100, 1, 1))
    numbers = {number.key: number for number in strip.numbers({State.RUNNING: 3}, 2, 12_345, (212.4, 3 << 30), machine)}
    assert {key: number.value for key, number in numbers.items()} == {
        "running": "3",
        "stopping": "0",
        "failed": "2",
        "succeeded": "12,345",
        "cpu": "212 %",
        "memory": "3.0 GiB",
        "disk": "75 %",
    }
    assert [key for key, number in numbers.items() if number.is_bad] == ["failed"]
    assert (numbers["cpu"].more, numbers["memory"].more) == ("of 8 cores", "of 4.0 GiB")
    for number in numbers.values():
        if number.url:
            Listing.of(query_of(number.url))
    assert not any(number.is_bad for number in strip.numbers({}, 0, 0, (0, 0), None))


@pytest.mark.anyio
async def test_while_the_record_can_not_be_read_no_old_number_is_shown(tmp_path: Path) -> None:
    tally = Tally(is_known=True)
    supervisor = SimpleNamespace(tally=tally, usage_now=lambda: (0.0, 0))
    parts = cast(Parts, SimpleNamespace(supervisor=supervisor, settings=SimpleNamespace(data_dir=tmp_path)))
    counts: Counts = ({State.RUNNING: 3}, {})
    values = [{number.key: number.value for number in await _numbers(parts, known)} for known in (counts, None)]
    of_record = [[each[key] for key in ("running", "failed", "succeeded")] for each in values]
    assert of_record == [["3", "0", "0"], ["\N{EN DASH}"] * 3]


def test_it_is_said_when_only_the_newest_are_in_order() -> None:
    active = Listing.of({"view": "active", "sort": "cpu"})
    assert is_cut(active, Matches(MOST_SORTED + 1))
    assert not is_cut(active, Matches(MOST_SORTED))
    assert not is_cut(active.unsorted(), Matches(MOST_SORTED + 1))


def test_an_operation_is_the_only_condition() -> None:
    listing = Listing.of({"operation": "o1", "search": "x", "view": "failed", "sort": "cpu", "size": "25"})
    assert query_of(listing.url()) == {"operation": "o1", "size": "25"}
    assert listing.api_url() == "/api/v1/operations/o1"
    assert listing.said() == "what one operation touched"


def test_a_sparkline_ends_at_the_right_and_fits() -> None:
    assert sparkline([]) == sparkline([50.0] * (LEAST_POINTS - 1)) == ""
    assert sparkline([0.0, 0.0, 0.0, 0.0, 100.0]).endswith("58,15.0 59,1.0")
    assert sparkline([0.0, 0.0, 0.0, 50.0, 400.0]).split()[-1] == "59,1.0"
    assert len(sparkline([1.0] * 60).split()) == 60
    assert sparkline([0.1] * LEAST_POINTS) == "0,15 60,15"
