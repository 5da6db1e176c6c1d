"""Which buttons a process has in each state, and why one is off."""

from dataclasses import replace

import pytest

from app.lifecycle import Process
from app.pages.actions import BEHIND, WORDS, Action, actions, likeliest, row_actions
from procdeck.states import Outcome, State
from tests.fakes import a_process

COLUMNS = [
    a_process(State.CREATED),
    a_process(State.QUEUED),
    a_process(State.STARTING),
    a_process(State.RUNNING),
    a_process(State.STOPPING),
    a_process(State.EXITED, outcome=Outcome.FAILED),
    a_process(State.LOST, outcome=Outcome.LOST),
]
NAMES = ["created", "queued", "starting", "running", "stopping", "over", "lost"]

MATRIX = {
    "start": "yes - - - - - -",
    "stop": "no Cancel yes yes yes no no",
    "terminate": "no no yes yes Terminate_again no no",
    "kill": "no no yes yes Kill_now no no",
    "join": "no yes yes yes yes yes no",
    "relaunch": "no no yes yes yes yes yes",
    "interrupt": "no no yes yes yes no no",
    "signal": "no no yes yes yes no no",
    "delete": "yes no no no no yes yes",
}
"""`yes`, or what it is called; `no` is off with a reason; `-` is not there."""

MAIN = dict(zip(NAMES, ["start", "stop", "stop", "stop", "kill", "relaunch", "relaunch"], strict=True))


def shown(action: Action | None) -> str:
    if action is None:
        return "-"
    if action.reason:
        return "no"
    return "yes" if action.word == WORDS[action.name] else action.word.replace(" ", "_")


@pytest.mark.parametrize(("column", "process"), list(enumerate(COLUMNS)), ids=NAMES)
def test_the_buttons_of_each_state(column: int, process: Process) -> None:
    found = {action.name: action for action in actions(process)}
    assert {name: shown(found.get(name)) for name in WORDS} == {
        name: cells.split()[column] for name, cells in MATRIX.items()
    }
    (main,) = [action for action in actions(process) if action.is_main]
    assert main.name == likeliest(process) == MAIN[NAMES[column]]
    assert actions(process)[0] is not main or not main.reason
    assert actions(process)[0].name == main.name
    assert main.name not in BEHIND


def test_what_is_off_says_why() -> None:
    for process in COLUMNS:
        for action in actions(process):
            assert action.reason == action.reason.strip().rstrip(".")
            assert action.hint
            assert action.icon


@pytest.mark.parametrize("process", COLUMNS, ids=NAMES)
def test_a_row_has_one_button_and_nothing_behind_it_is_off(process: Process) -> None:
    main, behind = row_actions(process)
    whole = {action.name: action for action in actions(process)}
    assert not whole[main.name].reason
    assert main == replace(whole[main.name], is_main=True)
    assert main.is_confirmed == (process.state is State.STOPPING), "it was asked to stop already"
    assert [action.word for action in behind] == [whole[action.name].word for action in behind]
    assert main.name not in {action.name for action in behind}
    assert not any(whole[action.name].reason for action in behind)
