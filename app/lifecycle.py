"""The life of one process, without I/O: ``(process, event) -> (process, transition)``.

Events come from two places: the service itself (queued, starting, lost) and the journal that the keeper writes
(started, asked, signalled, stopped, not_started). Facts are stored, what is shown is computed: ``is_alive``, ``signal``
and the outcome follow from them.
"""

from __future__ import annotations

import signal as signals
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any

from procdeck.states import ALIVE, FINAL, Outcome, State, check_transition

JSON = dict[str, Any]

KEEPER = "keeper"
SERVICE = "service"
"""Actors of our own; every other actor is who asked."""


@dataclass(frozen=True, slots=True)
class Process:
    """The record of one launch of a target.

    The table `process` has the same names; times are UTC, durations seconds, sizes bytes. ``log_start`` is the offset
    of the oldest byte of log that is kept, as last seen; ``disk_bytes`` what the run folder takes, measured when it is
    over.
    """

    id: str
    number: int
    name: str
    target: str
    environment: str
    kind: str
    spec: JSON
    created_at: datetime
    requested_by: str
    daemon: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    origin_id: str | None = None
    idempotency_key: str | None = None
    request_hash: str | None = None
    state: State = State.CREATED
    outcome: Outcome | None = None
    pid: int | None = None
    exitcode: int | None = None
    error: JSON | None = None
    result: Any = None
    progress: JSON | None = None
    started_at: datetime | None = None
    stopped_at: datetime | None = None
    duration: float | None = None
    cpu_seconds: float | None = None
    max_rss_bytes: int | None = None
    asked: JSON | None = None
    detail: JSON = field(default_factory=dict)
    journal_seq: int = 0
    seq: int = 0
    log_start: int = 0
    disk_bytes: int | None = None

    @property
    def is_alive(self) -> bool:
        """Whether it was started and is not known to be over."""
        return self.state in ALIVE

    @property
    def is_over(self) -> bool:
        """Whether no change of state can follow."""
        return self.state in FINAL

    @property
    def signal(self) -> str | None:
        """Name of the signal that ended it (``SIGTERM``), or None."""
        return signal_name(-self.exitcode) if self.exitcode is not None and self.exitcode < 0 else None


PROCESS_FIELDS = tuple(f.name for f in fields(Process))


@dataclass(frozen=True, slots=True)
class Transition:
    """One row of a process's history.

    ``from_state == to_state`` is a note: something was done that changed no state.
    """

    process_id: str
    seq: int
    at: datetime
    from_state: State | None
    to_state: State
    actor: str
    reason: str | None = None
    detail: JSON = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a process.

    ``kind`` is one of created, queued, starting, started, asked, signalled, stopped, not_started, lost; ``data`` holds
    the facts of that kind; ``journal_seq`` is the entry's number when it was read from a journal, else None.
    """

    kind: str
    at: datetime
    actor: str
    reason: str | None = None
    data: JSON = field(default_factory=dict)
    journal_seq: int | None = None


def signal_name(number: int) -> str:
    """``SIGTERM`` for 15; ``SIGRTMIN+3`` and the like are given as ``signal 37``."""
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"


def created(process: Process) -> Transition:
    """The first row of the history of ``process``."""
    check_transition(None, State.CREATED)
    return Transition(process.id, process.seq, process.created_at, None, State.CREATED, process.requested_by)


def is_applied(process: Process, event: Event) -> bool:
    """Whether a journal entry was applied before: replaying a journal is harmless."""
    return event.journal_seq is not None and event.journal_seq <= process.journal_seq


def apply(process: Process, event: Event) -> tuple[Process, Transition]:
    """The process after ``event`` and the row to append.

    Raises `procdeck.states.IllegalTransition` when the event does not fit the state; nothing is changed then.
    """
    to_state, changes = _CHANGES.get(event.kind, _noted)(process, event)
    check_transition(process.state, to_state)
    seq = process.seq + 1
    journal_seq = process.journal_seq if event.journal_seq is None else event.journal_seq
    after = replace(process, state=to_state, seq=seq, journal_seq=journal_seq, **changes)
    detail = {key: value for key, value in event.data.items() if key in _SHOWN}
    return after, Transition(process.id, seq, event.at, process.state, to_state, event.actor, event.reason, detail)


_SHOWN = frozenset(
    {"pid", "action", "signal", "grace", "tree", "exitcode", "leftovers", "message", "core_dumped", "ended"}
)
"""What of an event's facts its transition repeats; the rest (result, traceback, usage) is on the process itself."""

Change = tuple[State, JSON]


def _queued(process: Process, event: Event) -> Change:
    return State.QUEUED, {}


def _starting(process: Process, event: Event) -> Change:
    return State.STARTING, {}


def _started(process: Process, event: Event) -> Change:
    return State.RUNNING, {"pid": event.data["pid"], "started_at": event.at, "detail": process.detail | _keeper(event)}


def _keeper(event: Event) -> JSON:
    return {key: event.data[key] for key in ("keeper_pid", "start_ticks", "boot_id", "code") if key in event.data}


def _asked(process: Process, event: Event) -> Change:
    asked = {
        "action": event.data["action"],
        "actor": event.actor,
        "reason": event.reason,
        "at": event.at.isoformat(),
    }
    # Who asked first is kept, save for the time limit: what survived until then is ended by that.
    if process.asked is not None and asked["action"] != "time_limit":
        asked = _sent(process.asked, event)
    return State.STOPPING, {"asked": asked}


_SIGNALS = {"terminate": "SIGTERM", "kill": "SIGKILL", "interrupt": "SIGINT"}


def _sent(asked: JSON, event: Event) -> JSON:
    """Who sent a signal after the first thing that was asked, each signal once: ``sent`` has them by name."""
    name = event.data.get("signal") or _SIGNALS.get(str(event.data["action"]))
    sent = asked.get("sent", {})
    if name is None or name in sent:
        return asked
    return asked | {"sent": sent | {name: {"actor": event.actor, "reason": event.reason, "at": event.at.isoformat()}}}


def _signalled(process: Process, event: Event) -> Change:
    sent = [*process.detail.get("signals_sent", ()), event.data["signal"]]
    return process.state, {"detail": process.detail | {"signals_sent": sent}}


def _stopped(process: Process, event: Event) -> Change:
    data = event.data
    exitcode = data.get("exitcode")
    changes = {
        "outcome": outcome_of(process, exitcode),
        "exitcode": exitcode,
        "stopped_at": event.at,
        "duration": data.get("duration"),
        "error": data.get("error") or process.error,
        "result": data.get("result"),
        "progress": data.get("progress") or process.progress,
        "cpu_seconds": data.get("cpu_seconds"),
        "max_rss_bytes": data.get("max_rss_bytes"),
        "detail": process.detail | {key: data[key] for key in _EXIT_DETAIL if key in data},
    }
    return State.EXITED, changes


_EXIT_DETAIL = (
    "wait_status",
    "rusage",
    "leftovers",
    "core_dumped",
    "log_bytes",
    "log_dropped_bytes",
    "result_omitted",
    "oom_killed",
    "memory_limit_bytes",
    "last_sample",
)


def _not_started(process: Process, event: Event) -> Change:
    outcome = Outcome.NOT_STARTED if event.data.get("action") is None else Outcome.STOPPED
    return State.EXITED, {"outcome": outcome, "error": event.data.get("error"), "stopped_at": event.at}


def _lost(process: Process, event: Event) -> Change:
    return State.LOST, {"outcome": Outcome.LOST, "stopped_at": event.at, "detail": process.detail | event.data}


def _noted(process: Process, event: Event) -> Change:
    # Of a newer keeper: a note in the history, and no reason not to go on with what follows.
    return process.state, {}


_CHANGES = {
    "queued": _queued,
    "starting": _starting,
    "started": _started,
    "asked": _asked,
    "signalled": _signalled,
    "stopped": _stopped,
    "not_started": _not_started,
    "lost": _lost,
}


def outcome_of(process: Process, exitcode: int | None) -> Outcome:
    """How ``process`` ended, from its exit code and from what was asked before it ended."""
    if exitcode is None:
        return Outcome.LOST
    if process.asked is not None:
        return Outcome.TIMED_OUT if process.asked["action"] == "time_limit" else Outcome.STOPPED
    if exitcode < 0:
        sent = process.detail.get("signals_sent", ())
        return Outcome.STOPPED if signal_name(-exitcode) in sent else Outcome.CRASHED
    return Outcome.FAILED if exitcode else Outcome.SUCCEEDED
