"""From what is on disk to what is in the record: journal entries to events, run folders to processes.

Nothing here does I/O.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from app import lifecycle
from app.lifecycle import Event, Process, Transition
from app.supervisor.evidence import Evidence
from procdeck.run_folder import Entry
from procdeck.states import IllegalTransition, State


def event_of_entry(entry: Entry) -> Event:
    """The event that a journal entry tells. Raises KeyError, ValueError when it is not an entry."""
    at = datetime.fromisoformat(entry["at"]).astimezone(UTC)
    return Event(entry["event"], at, entry["actor"], entry.get("reason"), entry.get("data") or {}, entry["seq"])


def process_of_spec(spec: Mapping[str, Any]) -> Process:
    """A process as it is right after its creation. Raises KeyError, ValueError when ``spec`` is not a launch spec."""
    return Process(
        id=spec["id"],
        number=spec["number"],
        name=spec["name"],
        target=spec["target"],
        environment=spec["environment"],
        kind=spec["kind"],
        spec=dict(spec),
        created_at=datetime.fromisoformat(spec["created_at"]),
        requested_by=spec["requested_by"],
        daemon=spec["daemon"],
        labels=spec["labels"],
        origin_id=spec["origin_id"],
        idempotency_key=spec["idempotency_key"],
        request_hash=spec["request_hash"],
        seq=1,
    )


def process_of_folder(spec: Mapping[str, Any], evidence: Evidence) -> tuple[Process, list[Transition]]:
    """The process of a run folder that the record does not know, with its history.

    What neither spec nor journal tell (when it was queued and handed to a launcher) gets the time of its creation. An
    entry that does not fit what was before it changes nothing, as while the service runs. Raises KeyError, ValueError,
    TypeError when the spec is not ours.
    """
    process = process_of_spec(spec)
    transitions = [lifecycle.created(process)]
    events = [event_of_entry(entry) for entry in evidence.entries]
    # One that was to be started and was not handed over yet: whoever takes it up gives it up, and says so.
    if evidence.is_claimed or spec.get("start", True):
        requested = [("queued", process.requested_by)]
        if evidence.is_claimed and not (events and events[0].data.get("was") == State.QUEUED):
            requested.append(("starting", lifecycle.SERVICE))
        events[:0] = [Event(kind, process.created_at, actor) for kind, actor in requested]
    return _applied(process, transitions, events)


@dataclass(frozen=True, slots=True)
class Memory:
    """What is in memory of a process that the record had not as over: as it is now, as it was saved last, and the
    changes since."""

    process: Process
    saved: Process
    unsaved: Sequence[Transition] = ()

    def is_ahead_of(self, evidence: Evidence) -> bool:
        """Whether more is known here than the run folder tells: it was removed, or its journal is damaged."""
        told = evidence.entries[-1]["seq"] if evidence.entries else 0
        return told < self.process.journal_seq or (told == 0 and self.process.state not in NEVER_CAME)


NEVER_CAME = (State.CREATED, State.QUEUED)
"""The states of what no keeper was ever asked for."""


def remembered(memory: Memory) -> tuple[Process, list[Transition]]:
    """A process that is known from memory alone, as when the record and the run folder were both removed while it runs:
    with as much of a history as the state that was saved needs, and what came after that."""
    saved = memory.saved
    at = saved.started_at or saved.created_at
    started = {"pid": saved.pid, **saved.detail}
    asked = {"action": "stop", "actor": lifecycle.SERVICE, **(saved.asked or {})}
    events = [
        Event("queued", saved.created_at, saved.requested_by),
        Event("starting", saved.created_at, lifecycle.SERVICE),
        Event("started", at, lifecycle.SERVICE, "the record and the run folder were removed while it ran", started),
        Event("asked", at, str(asked["actor"]), asked.get("reason"), asked),
    ]
    needed = {State.QUEUED: 1, State.STARTING: 2, State.RUNNING: 3, State.STOPPING: 4}.get(saved.state, 0)
    again = process_of_spec(saved.spec)
    again, transitions = _applied(again, [lifecycle.created(again)], events[:needed])
    transitions += [replace(row, seq=seq) for seq, row in enumerate(memory.unsaved, again.seq + 1)]
    return replace(memory.process, seq=transitions[-1].seq), transitions


def _applied(
    process: Process, transitions: list[Transition], events: Iterable[Event]
) -> tuple[Process, list[Transition]]:
    for event in events:
        with suppress(IllegalTransition):
            process, transition = lifecycle.apply(process, event)
            transitions.append(transition)
    return process, transitions
