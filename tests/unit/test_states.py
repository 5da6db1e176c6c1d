"""The table of transitions."""

from itertools import product

import pytest

from procdeck.states import ACTIVE, ALIVE, FINAL, TRANSITIONS, IllegalTransition, State, check_transition


def test_every_state_has_its_row() -> None:
    assert set(TRANSITIONS) == {None, *State}


@pytest.mark.parametrize(("current", "wanted"), list(product([None, *State], State)))
def test_what_is_not_in_the_table_raises(current: State | None, wanted: State) -> None:
    if wanted in TRANSITIONS[current]:
        check_transition(current, wanted)
    else:
        with pytest.raises(IllegalTransition) as caught:
            check_transition(current, wanted)
        assert (caught.value.current, caught.value.wanted) == (current, wanted)
        assert wanted in str(caught.value)


def test_nothing_follows_the_end_and_every_state_can_be_reached_and_left() -> None:
    reached: set[State] = set()
    new = set(TRANSITIONS[None])
    while new - reached:
        reached |= new
        new = {after for state in reached for after in TRANSITIONS[state]}
    assert reached == set(State)
    assert {state for state in State if not TRANSITIONS[state]} == FINAL


def test_the_named_sets_split_the_states() -> None:
    assert ALIVE < ACTIVE
    assert set(ACTIVE - ALIVE) == {State.QUEUED}
    assert not ACTIVE & FINAL
    assert set(State) == ACTIVE | FINAL | {State.CREATED}


def test_only_states_of_a_living_child_take_notes() -> None:
    assert {state for state in State if state in TRANSITIONS[state]} == {State.RUNNING, State.STOPPING}
