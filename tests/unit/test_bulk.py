"""Doing one thing to many: whom it takes, whom it leaves out and why, and when a count still holds."""

import pytest

from app import bulk
from app.bulk import Chosen
from app.lifecycle import Process
from app.pages import actions
from procdeck.states import FINAL, Outcome, State
from tests.fakes import a_process


def process(state: State) -> Process:
    return a_process(state, outcome=Outcome.FAILED if state in FINAL else None)


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("action", bulk.ACTIONS)
def test_one_is_left_out_exactly_where_its_button_is_off(action: str, state: State) -> None:
    """Of many and of one the same is possible."""
    button = next(button for button in actions.actions(process(state)) if button.name == action)
    assert bool(bulk.why_not(action, state)) == bool(button.reason)


def test_a_plan_parts_those_chosen_and_keeps_their_order() -> None:
    chosen = [
        Chosen("1", "a", State.RUNNING),
        Chosen("2", "b", State.EXITED),
        Chosen("3", "c", State.CREATED),
        Chosen("4", "d", State.STOPPING),
        Chosen("5", "e", State.LOST),
    ]
    plan = bulk.plan(bulk.STOP, chosen)
    assert [taken.id for taken in plan.takes] == ["1", "4"]
    assert {reason: [left.id for left in skipped] for reason, skipped in plan.skips.items()} == {
        "already over": ["2", "5"],
        "not started yet": ["3"],
    }
    assert plan.count == 5


@pytest.mark.parametrize(
    ("shown", "now", "changed"),
    [(100, 105, False), (100, 106, True), (100, 95, False), (100, 94, True), (3, 3, False), (3, 4, True), (0, 1, True)],
)
def test_a_count_may_change_by_five_in_a_hundred(shown: int, now: int, changed: bool) -> None:
    assert bulk.has_changed(shown, now) == changed


def test_the_count_is_typed_for_many_and_for_all_that_match() -> None:
    assert not bulk.is_typed(20, by_filter=False)
    assert bulk.is_typed(21, by_filter=False)
    assert bulk.is_typed(1, by_filter=True)
