"""The life of a process, as events make it."""

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.lifecycle import Event, Process, apply, created, is_applied, outcome_of, signal_name
from procdeck.states import FINAL, TRANSITIONS, IllegalTransition, Outcome, State
from tests.fakes import NOW, a_process, an_event

FACTS: dict[str, dict[str, Any]] = {
    "queued": {},
    "starting": {},
    "started": {"pid": 42, "keeper_pid": 41, "start_ticks": 7, "boot_id": "b"},
    "asked": {"action": "stop", "grace": 1.0, "tree": False},
    "signalled": {"signal": "SIGUSR1"},
    "stopped": {"exitcode": 0, "duration": 1.5},
    "not_started": {"error": {"type": "OSError", "message": "no", "traceback": ""}},
    "lost": {"ended": 2},
}
WANTED = {
    "queued": State.QUEUED,
    "starting": State.STARTING,
    "started": State.RUNNING,
    "asked": State.STOPPING,
    "stopped": State.EXITED,
    "not_started": State.EXITED,
    "lost": State.LOST,
}


def event(kind: str, **data: Any) -> Event:
    return an_event(kind, **{**FACTS[kind], **data})


def live(*kinds: str | Event) -> Process:
    """A process after these events."""
    process = a_process()
    for kind in ("queued", "starting", *kinds):
        process, _ = apply(process, event(kind) if isinstance(kind, str) else kind)
    return process


@pytest.mark.parametrize("kind", FACTS)
@pytest.mark.parametrize("state", State)
def test_an_event_that_does_not_fit_raises_and_changes_nothing(state: State, kind: str) -> None:
    process = a_process(state)
    to_state = WANTED.get(kind, state)
    if to_state in TRANSITIONS[state]:
        after, row = apply(process, event(kind))
        assert (after.state, row.from_state, row.to_state) == (to_state, state, to_state)
        assert row.seq == after.seq == process.seq + 1
    else:
        before = replace(process)
        with pytest.raises(IllegalTransition):
            apply(process, event(kind))
        assert process == before


def test_the_first_row_says_who_asked_for_it() -> None:
    row = created(a_process())
    assert (row.from_state, row.to_state, row.actor, row.seq, row.at) == (None, State.CREATED, "operator", 1, NOW)


def test_a_whole_life() -> None:
    process = live("started")
    assert process.is_alive
    assert (process.pid, process.started_at) == (42, NOW + timedelta(seconds=1))
    assert process.detail == {"keeper_pid": 41, "start_ticks": 7, "boot_id": "b"}
    facts: dict[str, Any] = {"exitcode": 0, "duration": 1.5, "result": {"a": 1}, "cpu_seconds": 0.5, "max_rss_bytes": 9}
    facts |= {"wait_status": 0, "rusage": {}, "leftovers": 1, "core_dumped": False, "progress": {"fraction": 1.0}}
    process, row = apply(process, an_event("stopped", **facts))
    assert process.is_over
    assert not process.is_alive
    assert (process.outcome, process.exitcode, process.signal) == (Outcome.SUCCEEDED, 0, None)
    assert (process.result, process.duration, process.cpu_seconds, process.max_rss_bytes) == ({"a": 1}, 1.5, 0.5, 9)
    assert process.progress == {"fraction": 1.0}
    assert process.detail["leftovers"] == 1
    assert process.detail["keeper_pid"] == 41
    assert row.detail == {"exitcode": 0, "leftovers": 1, "core_dumped": False}


OUTCOMES = [
    ([], 0, Outcome.SUCCEEDED),
    ([], 3, Outcome.FAILED),
    ([], -11, Outcome.CRASHED),
    ([], None, Outcome.LOST),
    ([event("asked")], 0, Outcome.STOPPED),
    ([event("asked")], 1, Outcome.STOPPED),
    ([event("asked")], -15, Outcome.STOPPED),
    ([event("asked")], None, Outcome.LOST),
    ([event("asked", action="time_limit")], -15, Outcome.TIMED_OUT),
    ([event("asked", action="time_limit"), event("asked", action="kill")], -9, Outcome.TIMED_OUT),
    ([event("asked", action="interrupt"), event("asked", action="time_limit")], -15, Outcome.TIMED_OUT),
    ([event("asked"), event("asked", action="time_limit"), event("asked")], -15, Outcome.TIMED_OUT),
    ([event("signalled", signal="SIGUSR1")], -10, Outcome.STOPPED),
    ([event("signalled", signal="SIGUSR1")], -11, Outcome.CRASHED),
    ([event("signalled", signal="SIGUSR1")], 0, Outcome.SUCCEEDED),
]


@pytest.mark.parametrize(("before", "exitcode", "outcome"), OUTCOMES)
def test_the_outcome_follows_from_the_code_and_from_what_was_asked(
    before: list[Event], exitcode: int | None, outcome: Outcome
) -> None:
    process = live("started", *before, event("stopped", exitcode=exitcode))
    assert process.outcome is outcome
    assert outcome_of(process, exitcode) is outcome
    assert process.exitcode == exitcode


def test_the_first_who_asks_for_the_end_is_kept() -> None:
    process = live("started", an_event("asked", "Alice", "enough", action="stop", grace=1, tree=True))
    process, row = apply(process, an_event("asked", "keeper", "still alive", action="escalate", signal="SIGTERM"))
    assert process.asked is not None
    assert (process.asked["actor"], process.asked["action"], process.asked["reason"]) == ("Alice", "stop", "enough")
    assert (row.from_state, row.to_state, row.actor) == (State.STOPPING, State.STOPPING, "keeper")
    assert row.detail == {"action": "escalate", "signal": "SIGTERM"}


def test_signals_are_notes() -> None:
    process = live("started", event("signalled", signal="SIGUSR1"), event("signalled", signal="SIGUSR2"))
    assert process.state is State.RUNNING
    assert process.detail["signals_sent"] == ["SIGUSR1", "SIGUSR2"]


def test_an_error_and_progress_of_before_stay() -> None:
    process = replace(live("started"), progress={"fraction": 0.5, "message": "half"})
    process, _ = apply(process, event("stopped", exitcode=1, error={"type": "E", "message": "m", "traceback": "t"}))
    assert process.error == {"type": "E", "message": "m", "traceback": "t"}
    assert process.progress == {"fraction": 0.5, "message": "half"}


def test_what_could_not_be_started_says_why_and_what_was_cancelled_is_stopped() -> None:
    assert live("not_started").outcome is Outcome.NOT_STARTED
    assert live("not_started").error == FACTS["not_started"]["error"]
    queued, _ = apply(a_process(), event("queued"))
    cancelled, row = apply(queued, an_event("not_started", "Alice", "changed my mind", action="stop", error=None))
    assert (cancelled.outcome, cancelled.error, cancelled.pid) == (Outcome.STOPPED, None, None)
    assert (row.actor, row.reason, row.detail) == ("Alice", "changed my mind", {"action": "stop"})


def test_lost_invents_nothing() -> None:
    process = live("started", "lost")
    assert (process.state, process.outcome, process.exitcode, process.signal) == (State.LOST, Outcome.LOST, None, None)
    assert process.detail["ended"] == 2


def test_a_transition_repeats_no_secrets_and_no_bulk() -> None:
    _, row = apply(live("started"), an_event("stopped", exitcode=0, result="secret", error={"traceback": "long"}))
    assert row.detail == {"exitcode": 0}


@pytest.mark.parametrize(("number", "name"), [(15, "SIGTERM"), (9, "SIGKILL"), (34, "SIGRTMIN"), (37, "signal 37")])
def test_names_of_signals(number: int, name: str) -> None:
    assert signal_name(number) == name


def test_journal_entries_are_applied_once() -> None:
    first = replace(event("started"), journal_seq=1)
    process = live()
    assert not is_applied(process, first)
    process, _ = apply(process, first)
    assert process.journal_seq == 1
    assert is_applied(process, first)
    assert not is_applied(process, replace(first, journal_seq=2))
    # What is not of the journal is never taken for applied.
    assert not is_applied(process, event("lost"))


@given(st.lists(st.sampled_from(sorted(FACTS)), max_size=20))
def test_whatever_comes_the_history_is_unbroken(kinds: list[str]) -> None:
    process = a_process()
    rows = [created(process)]
    for kind in kinds:
        try:
            process, row = apply(process, event(kind))
        except IllegalTransition:
            continue
        rows.append(row)
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
    assert all(after.from_state is before.to_state for before, after in pairwise(rows))
    assert process.state is rows[-1].to_state
    assert process.seq == rows[-1].seq
    assert (process.outcome is None) == (process.state not in FINAL)
