"""Activity in sentences, and what is said of a process that is gone."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from app import activity_view
from app.activity_view import BAD, GOOD, PLAIN, gone, item, sentence, told
from app.db.activity import Entry, Group, Wanted, action_of
from app.errors import Invalid
from app.lifecycle import Transition
from procdeck.states import Outcome, State
from tests.fakes import NOW, a_process

OLD_ID = "01a2048a-0000-7000-8000-000000000001"
LATER_ID = "01a2048a-0000-7000-8000-000000000009"


def an_entry(action: str = "stop", actor: str = "operator", **changes: Any) -> Entry:
    values: dict[str, Any] = {
        "number": 7,
        "at": NOW,
        "actor": actor,
        "action": action,
        "subject_kind": "process",
        "subject_id": "0193-1",
        "subject_name": "train-12",
        "reason": None,
        "result": None,
        "detail": {},
    }
    return Entry(**values | changes)


def a_note(action: str, kind: str, name: str = "", result: str = "done", **detail: Any) -> Entry:
    return an_entry(action, subject_kind=kind, subject_id="", subject_name=name, result=result, detail=detail)


ENDED = a_process(
    State.EXITED,
    outcome=Outcome.STOPPED,
    exitcode=-15,
    duration=3700.0,
    started_at=NOW - timedelta(hours=1),
    stopped_at=NOW + timedelta(seconds=0.8),
)
FAILED = replace(ENDED, outcome=Outcome.FAILED, exitcode=3, duration=130.0)

SENTENCES = [
    (
        an_entry(reason="no longer needed", process=ENDED),
        "operator asked to stop train-12: no longer needed - ended by SIGTERM after 0.80 s",
    ),
    (an_entry("terminate", process=a_process(State.STOPPING)), "operator sent SIGTERM to train-12 - still stopping"),
    (an_entry("signal", detail={"signal": "SIGUSR1"}), "operator sent SIGUSR1 to train-12"),
    (an_entry("launched", process=FAILED), "operator launched train-12 - failed with exit code 3 after 2:10"),
    (an_entry("launched", process=a_process(State.CREATED)), "operator launched train-12 - created"),
    (an_entry("launched", process=a_process(origin_id="a")), "operator launched again train-12 - created"),
    (an_entry("start", process=a_process(State.RUNNING)), "operator started train-12 - running"),
    (an_entry("running", "launcher", process=FAILED), "the launcher began to run train-12"),
    (
        an_entry("ended", "keeper", process=FAILED),
        "the keeper recorded the end of train-12 - failed with exit",
    ),
    (
        an_entry("lost", "service", process=a_process(State.LOST, outcome=Outcome.LOST)),
        "the service lost track of train-12 - lost: what became of it can't be known",
    ),
    (
        an_entry(process=replace(ENDED, exitcode=None, duration=None)),
        "operator asked to stop train-12 - cancelled before it was started after 0.80 s",
    ),
    (
        an_entry("signal", at=NOW + timedelta(hours=1), detail={"signal": "SIGHUP"}, process=ENDED),
        "operator sent SIGHUP to train-12 - ended by SIGTERM",
    ),
    (an_entry("deleted", result="done", detail={"outcome": "failed"}), "operator deleted train-12 - it had failed"),
    (a_note("pruned", "processes", "finished processes", count=1204, bytes=5 << 20), "operator removed 1,204 finished"),
    (
        a_note("pruned", "processes", "processes of a:b", count=1, bytes=0),
        "operator removed 1 process of a:b - 0",
    ),
    (
        a_note("reloaded", "targets", "targets", good=3, broken=1),
        "operator reloaded the targets - 3 good, 1 with",
    ),
    (a_note("signed_in", "session", "127.0.0.1"), "operator signed in from 127.0.0.1"),
    (
        a_note("sign_in", "session", "10.0.0.9", "refused", unnoted=12),
        "operator tried to sign in from 10.0.0.9 - refused; 12 more before that",
    ),
    (a_note("started", "service"), "operator started"),
    (a_note("stopped", "service", left=2), "operator ended - 2 left running"),
    (
        a_note("renewed", "service", "record", processes=9),
        "operator rebuilt the record - 9 processes taken",
    ),
    (a_note("saved", "view", "mine"), "operator saved the view mine"),
    (
        a_note("stop_many", "operation", "12 processes", total=12, done=10, skipped=1, failed=1),
        "operator asked to stop 12 processes - 10 of 12 done, 1 skipped, 1 failed",
    ),
    (
        a_note("kill_many", "operation", "all processes", "begun", total=1200),
        "operator began to send SIGKILL to all processes - 1,200 in all",
    ),
    (
        a_note("stop_many", "operation", "12 processes", "cancelled", total=12, done=2, left=10, cancelled_by="anna"),
        "operator asked to stop 12 processes - 2 of 12 done, cancelled by anna, 10 never begun",
    ),
    (
        a_note("stop_many", "operation", "12 processes", "interrupted", total=12, done=2, left=10),
        "operator asked to stop 12 processes - 2 of 12 done, the service ended, 10 never begun",
    ),
    (a_note("something_new", "thing", "that"), "operator something new that"),
]


@pytest.mark.parametrize(("entry", "expected"), SENTENCES)
def test_an_entry_is_a_plain_sentence(entry: Entry, expected: str) -> None:
    assert sentence(entry).startswith(expected)


def test_results_have_a_tone() -> None:
    assert told(an_entry("launched", process=FAILED)).tone == BAD
    assert told(an_entry("launched", process=replace(ENDED, outcome=Outcome.SUCCEEDED, exitcode=0))).tone == GOOD
    assert told(an_entry("stop", process=FAILED)).tone == PLAIN
    assert told(a_note("sign_in", "session", "a", "refused")).tone == BAD


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("action", ["launched", "stop", "ended"])
def test_every_outcome_has_words(outcome: Outcome, action: str) -> None:
    assert told(an_entry(action, process=replace(ENDED, outcome=outcome))).result


def test_the_api_has_the_facts_and_the_sentence() -> None:
    shown = item(an_entry("start", detail={"since_creation": 12.0}))
    assert shown["subject"] == {"kind": "process", "id": "0193-1", "name": "train-12"}
    assert shown["text"] == "operator started train-12"
    assert shown["detail"] == {}


def change(to: State, before: State | None, actor: str = "operator", **detail: Any) -> Transition:
    return Transition("0193-1", 1, NOW, before, to, actor, None, detail)


@pytest.mark.parametrize(
    ("row", "action"),
    [
        (change(State.CREATED, None), "launched"),
        (change(State.QUEUED, State.CREATED), "start"),
        (change(State.QUEUED, State.CREATED, "service"), "queued"),
        (change(State.STARTING, State.QUEUED, "service"), "starting"),
        (change(State.RUNNING, State.STARTING, "launcher"), "running"),
        (change(State.STOPPING, State.RUNNING, action="kill"), "kill"),
        (change(State.STOPPING, State.STOPPING, "keeper", action="kill"), "kill"),
        (change(State.RUNNING, State.RUNNING, signal="SIGUSR1"), "signal"),
        (change(State.RUNNING, State.RUNNING), "noted"),
        (change(State.EXITED, State.RUNNING, "keeper"), "ended"),
        (change(State.EXITED, State.QUEUED, action="terminate"), "terminate"),
        (change(State.LOST, State.RUNNING, "service"), "lost"),
    ],
)
def test_a_change_of_state_is_an_action(row: Transition, action: str) -> None:
    assert action_of(row) == action


# --- what is gone ------------------------------------------------------------------------------------------------


def a_pruning(actor: str = "service", **detail: Any) -> Entry:
    return replace(a_note("pruned", "processes", "finished processes", **detail), actor=actor)


def test_who_deleted_a_process_is_said() -> None:
    note = an_entry("deleted", result="done")
    assert gone(OLD_ID, note, []) == "train-12 was deleted by operator on 2026-11-22 at 06:55 UTC."


def test_one_that_a_pruning_names_was_removed_by_it() -> None:
    by_itself = a_pruning(count=1, ids=[OLD_ID], first_id=OLD_ID, last_id=OLD_ID)
    assert gone(OLD_ID, None, [by_itself]) == "It was removed by retention on 2026-11-22 at 06:55 UTC."
    assert "a pruning of operator" in gone(OLD_ID, None, [replace(by_itself, actor="operator")])
    assert gone(LATER_ID, None, [by_itself]) == ""


def test_of_a_large_pruning_no_more_is_said_than_is_known() -> None:
    large = a_pruning(count=1204, first_id=OLD_ID, last_id=OLD_ID)
    assert "may be one of the 1,204 that retention removed" in gone(LATER_ID, None, [large])
    assert gone("01a2048a-0000-7000-8000-000000000000", None, [large]) == ""


def a_deletion(result: str = "done", subject_id: str = "op", **detail: Any) -> Entry:
    return replace(a_note("delete_many", "operation", "3 processes", result, **detail), subject_id=subject_id)


def test_one_that_was_deleted_with_others_was_removed_by_who_asked() -> None:
    deletion = a_deletion(count=1, ids=[OLD_ID], first_id=OLD_ID, last_id=OLD_ID)
    assert gone(OLD_ID, None, [deletion]) == "It was removed by operator, with others, on 2026-11-22 at 06:55 UTC."
    large = a_deletion(count=1204, first_id=OLD_ID, last_id=OLD_ID)
    assert "may be one of the 1,204 that operator, with others, removed" in gone(OLD_ID, None, [large])
    assert gone(LATER_ID, None, [large]) == ""
    # The begin of one that was cut off by a crash says who; of one that has ended, what came of it counts.
    begin = a_deletion("begun", count=2, ids=[OLD_ID, LATER_ID], first_id=OLD_ID, last_id=LATER_ID)
    assert "removed by operator" in gone(LATER_ID, None, [begin])
    assert gone(LATER_ID, None, [deletion, begin]) == ""


def test_only_ids_of_ours_hold_a_time() -> None:
    at = activity_view.created_at(OLD_ID)
    assert at is not None
    assert at.year == 2026
    for text in ("", "none", "0193-1", OLD_ID.upper(), "01a2048a-0000-4000-8000-000000000001"):
        assert activity_view.created_at(text) is None


# --- what may be asked -------------------------------------------------------------------------------------------


def test_what_is_asked_for_is_read() -> None:
    assert activity_view.wanted("", "", "", "") == Wanted()
    asked = activity_view.wanted("everybody", "removals", " id ", "  two words\0 ")
    assert asked == Wanted(False, Group.REMOVALS, "id", ("two", "words"))
    assert activity_view.before("") is None
    assert activity_view.before("12") == 12


@pytest.mark.parametrize(
    ("field", "asked"),
    [
        ("who", ("nobody", "", "", "")),
        ("verb", ("", "dances", "", "")),
        ("search", ("", "", "", "x" * 201)),
        ("search", ("", "", "", "a b c d e f g h i")),
    ],
)
def test_what_can_not_be_asked_for_names_its_field(field: str, asked: tuple[str, str, str, str]) -> None:
    with pytest.raises(Invalid) as refusal:
        activity_view.wanted(*asked)
    assert refusal.value.errors[0]["field"] == field


@pytest.mark.parametrize("text", ["x", "-1", "1" * 19, "\u0663"])
def test_a_place_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        activity_view.before(text)
