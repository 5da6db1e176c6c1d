"""From what is on disk to what is in the record."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import lifecycle
from app.lifecycle import Event, Process, Transition
from app.supervisor.evidence import Evidence
from app.supervisor.recovery import Memory, event_of_entry, process_of_folder, process_of_spec, remembered
from procdeck.run_folder import Entry
from procdeck.states import Outcome, State
from tests.fakes import NOW, SPEC, an_entry

STARTED = an_entry(1, "started", "launcher", pid=42, keeper_pid=41, start_ticks=7, boot_id="b")
MIDDLES = [("signalled", {"signal": "SIGUSR1"}), ("asked", {"action": "stop"}), ("asked", {"action": "time_limit"})]


def lives(ending: bool) -> st.SearchStrategy[list[Entry]]:
    """Journals of processes that ran."""
    middles = st.lists(st.sampled_from(MIDDLES), max_size=4)
    exits = st.sampled_from([0, 1, -15, None])

    def journal(middle: list[tuple[str, dict[str, Any]]], exitcode: int | None) -> list[Entry]:
        entries = [STARTED, *(an_entry(n, event, **data) for n, (event, data) in enumerate(middle, 2))]
        return [*entries, an_entry(len(entries) + 1, "stopped", exitcode=exitcode, duration=1.0)] if ending else entries

    return st.builds(journal, middles, exits)


def applied_live(spec: Mapping[str, Any], entries: list[Entry]) -> tuple[Process, list[Transition]]:
    """As the service does it while it runs."""
    process = process_of_spec(spec)
    rows = [lifecycle.created(process)]
    own = [Event("queued", NOW, "operator"), Event("starting", NOW, "service")]
    for event in (*own, *map(event_of_entry, entries)):
        process, row = lifecycle.apply(process, event)
        rows.append(row)
    return process, rows


@given(lives(ending=True) | lives(ending=False))
def test_a_folder_gives_the_process_that_was_there(entries: list[Entry]) -> None:
    assert process_of_folder(SPEC, Evidence(entries, False, True)) == applied_live(SPEC, entries)


def test_a_process_of_a_spec_is_as_it_was_created() -> None:
    process = process_of_spec(SPEC)
    assert (process.id, process.number, process.name, process.target) == ("0193-1", 1, "Process-1", "jobs:work")
    assert (process.state, process.seq, process.journal_seq, process.created_at) == (State.CREATED, 1, 0, NOW)
    assert (process.labels, process.requested_by, process.spec) == ({"team": "red"}, "operator", SPEC)


def test_what_no_keeper_ever_took_is_created() -> None:
    process, rows = process_of_folder(SPEC | {"start": False}, Evidence([], False, False))
    assert process.state is State.CREATED
    assert [row.to_state for row in rows] == [State.CREATED]


def test_what_a_keeper_took_without_a_word_was_starting() -> None:
    process, _ = process_of_folder(SPEC, Evidence([], False, True))
    assert process.state is State.STARTING


def test_what_could_not_be_started() -> None:
    error = {"type": "OSError", "message": "no", "traceback": ""}
    process, _ = process_of_folder(SPEC, Evidence([an_entry(1, "not_started", error=error)], False, True))
    assert (process.state, process.outcome, process.error) == (State.EXITED, Outcome.NOT_STARTED, error)


@pytest.mark.parametrize(
    ("spec", "entries"),
    [
        ({}, []),
        ({**SPEC, "created_at": "yesterday"}, []),
        ({**SPEC, "created_at": 7}, []),
        (SPEC, [{"seq": 1, "event": "started"}]),
        (SPEC, [{**STARTED, "at": "yesterday"}]),
        (SPEC, [{**STARTED, "data": {}}]),
    ],
)
def test_files_that_are_not_ours_are_refused(spec: dict[str, Any], entries: list[Entry]) -> None:
    with pytest.raises((KeyError, ValueError, TypeError)):
        process_of_folder(spec, Evidence(entries, False, True))


def test_an_entry_that_does_not_fit_changes_nothing() -> None:
    entries = [STARTED, an_entry(2, "stopped", exitcode=3), an_entry(3, "started", pid=1)]
    process, rows = process_of_folder(SPEC, Evidence(entries, False, True))
    assert (process.state, process.exitcode, process.pid, process.journal_seq) == (State.EXITED, 3, 42, 2)
    assert [row.to_state for row in rows][-2:] == ["running", "exited"]


def test_an_entry_of_a_newer_keeper_is_a_note_and_what_follows_is_believed() -> None:
    entries = [STARTED, an_entry(2, "danced", steps=7), an_entry(3, "stopped", exitcode=3)]
    process, rows = process_of_folder(SPEC, Evidence(entries, False, True))
    assert (process.state, process.exitcode) == (State.EXITED, 3)
    assert [(row.from_state, row.to_state) for row in rows][-2:] == [("running", "running"), ("running", "exited")]


@pytest.mark.parametrize(
    ("entries", "state"),
    [
        ([], State.STARTING),
        ([STARTED], State.RUNNING),
        ([STARTED, an_entry(2, "asked", action="stop")], State.STOPPING),
    ],
)
def test_what_only_memory_knows_can_be_recorded(entries: list[Entry], state: State) -> None:
    process, _ = process_of_folder(SPEC, Evidence(entries, True, True))
    again, rows = remembered(Memory(process, process))
    assert again.state is process.state is state
    assert (again.pid, again.journal_seq, again.asked and again.asked["action"]) == (
        process.pid,
        process.journal_seq,
        process.asked and process.asked["action"],
    )
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
    assert rows[-1].to_state is state
    assert again.seq == len(rows)


def test_times_of_other_zones_become_utc() -> None:
    event = event_of_entry({**STARTED, "at": "2026-11-22T07:55:27.123456+01:00"})
    assert event.at == NOW + timedelta(seconds=1)
    assert event.at.tzinfo == NOW.tzinfo
    assert event.journal_seq == 1


def test_a_spec_is_not_shared() -> None:
    spec = dict(SPEC)
    process = process_of_spec(spec)
    spec["name"] = "another"
    assert process.spec["name"] == "Process-1"
