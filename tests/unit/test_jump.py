"""What a few letters in the jump menu mean, and the keyboard shortcuts."""

import re

import pytest

from app.db.prefixes import is_beginning
from app.pages import jump
from app.pages.keys import GROUPS, acts
from app.pages.ranking import MOST, MOST_PROCESSES, UNASKED, Item, rank
from app.resources import resource_dir
from procdeck.states import Outcome, State
from tests.fakes import a_process

TRAIN = Item("target", "ml.train:fit", weight=5)
TRAIN_12 = Item("process", "train-12", words="ml.train:fit 12 succeeded")
RESTRAIN = Item("process", "restrain", words="other:restrain 13")
TIMELINE = Item("command", "Timeline", words="history gantt", weight=3)
LAUNCH = Item("command", "Launch a target", words="new start run", weight=3)
ALL = [TRAIN, TRAIN_12, RESTRAIN, TIMELINE, LAUNCH]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("train", [TRAIN_12, TRAIN, RESTRAIN]),
        ("TRAIN-12", [TRAIN_12]),
        ("train fit", [TRAIN, TRAIN_12]),
        ("time", [TIMELINE]),
        ("gantt", [TIMELINE]),
        ("tmln", [TIMELINE]),
        ("start", [LAUNCH]),
        ("train nothing", []),
        ("xyz", []),
        ("tn", []),
    ],
)
def test_what_fits(typed: str, found: list[Item]) -> None:
    assert rank(ALL, typed) == found


def test_a_number_or_id_that_was_typed_comes_first() -> None:
    named = Item("process", "17")
    numbered = Item("process", "other", is_asked_for=True)
    assert rank([named, numbered], "17") == [numbered, named]


def test_processes_leave_room_for_the_rest() -> None:
    processes = [Item("process", f"batch-{number}") for number in range(50)]
    target = Item("target", "jobs:batch")
    found = rank([*processes, target], "batch")
    assert len(found) == MOST_PROCESSES + 1 <= MOST
    assert found[0] == processes[0], "the newest of those that fit as well"
    assert found[-1] == target


def test_what_is_offered_before_anything_is_typed() -> None:
    here = Item("command", "Kill train-12…", is_here=True)
    many = [Item("process", f"p{number}") for number in range(50)]
    found = rank([*ALL, *many, here], "")
    assert found[0] == here
    assert sum(item.kind == "process" for item in found) == UNASKED["process"]
    assert {TRAIN, TIMELINE, LAUNCH} < set(found)


def test_commands_do_nothing_at_once() -> None:
    """Each leads to a page, and the confirmation is there for what can't be taken back; only colours change."""
    for process in (a_process(State.RUNNING), a_process(State.EXITED, outcome=Outcome.FAILED)):
        for item in jump._commands(process):
            assert bool(item.href) is not bool(item.theme)
        leads = {item.title: item.href for item in jump._actions_of(process)}
        assert leads["Launch again Process-1…"] == "/launch?from=0193-1"
        if process.is_over:
            assert leads["Delete record Process-1…"] == "/processes/0193-1/delete"
            assert not any(title.startswith("Stop") for title in leads)
        else:
            assert leads["Kill Process-1…"] == "/processes/0193-1/kill"


def test_words_that_other_tools_use_find_our_commands() -> None:
    items = jump._commands(a_process(State.RUNNING))
    for typed, title in {
        "restart": "Launch again Process-1…",
        "sigkill": "Kill Process-1…",
        "dark mode": "Colours: dark",
        "errors today": "Failed in 24 h",
        "audit": "Activity",
        "swagger": "API",
        "hotkeys": "Keyboard shortcuts",
        "new": "Launch a target",
    }.items():
        assert rank(items, typed)[0].title == title, typed


@pytest.mark.parametrize(
    ("text", "may_be"),
    [
        ("0193", True),
        ("0193a5c2-7", True),
        ("0193A5C2-7D1E-7c3e-8000-0123456789ab", True),
        ("019", False),
        ("train", False),
        ("0193a5c27", False),
        ("0193 a", False),
        ("0193%", False),
    ],
)
def test_the_beginning_of_an_id(text: str, may_be: bool) -> None:
    assert is_beginning(text) is may_be


# --- keyboard ----------------------------------------------------------------------------------------------------


def test_no_keys_are_taken_twice_or_hidden_by_others() -> None:
    # What has no act depends on where the focus is: Enter opens a row, and picks a line.
    every = [shortcut.keys for _, group in GROUPS for shortcut in group if shortcut.act]
    assert len(every) == len(set(every))
    assert not {keys[:1] for keys in every if len(keys) > 1} & set(every)


def test_the_script_knows_every_act() -> None:
    script = (resource_dir("static") / "keys.js").read_text()
    found = re.search(r"const DO = \{(.*)\};", script)
    assert found
    known = {name.strip().partition(":")[0] for name in re.split(r",(?![^(]*\))", found[1])}
    plain = {act for act in acts().values() if ":" not in act}
    assert plain == known
    assert {act.partition(":")[0] for act in acts().values() if ":" in act} == {"open", "tell"}


def test_the_script_knows_no_key_of_its_own() -> None:
    """But Ctrl+K, which is the same as the first shortcut, and what begins or holds others."""
    script = (resource_dir("static") / "keys.js").read_text()
    keys = {shortcut.keys[0] for _, group in GROUPS for shortcut in group}
    compared = set(re.findall(r'event\.key(?:\.toLowerCase\(\))? === "(\w+)"', script))
    assert compared == {"k", "Shift"}
    assert "/" in keys
