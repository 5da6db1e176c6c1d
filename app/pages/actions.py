"""Which buttons a process has, and why one can't be pressed now. Pure."""

from dataclasses import dataclass

from app.lifecycle import Process
from procdeck.states import State

START, JOIN, STOP, TERMINATE, KILL = "start", "join", "stop", "terminate", "kill"
INTERRUPT, RELAUNCH, DELETE = "interrupt", "relaunch", "delete"

ENDINGS = frozenset({STOP, TERMINATE, KILL, INTERRUPT})
CONFIRMED = frozenset({KILL, DELETE})
"""What can't be taken back is asked about first."""

WORDS = {
    START: "Start",
    JOIN: "Join",
    STOP: "Stop",
    TERMINATE: "Terminate",
    KILL: "Kill",
    INTERRUPT: "Interrupt",
    RELAUNCH: "Launch again",
    DELETE: "Delete record",
}

_HINTS = {
    START: "Start the process",
    JOIN: "Wait until it is over",
    STOP: "Ask it to stop (stop_requested() turns true), then SIGTERM, then SIGKILL",
    TERMINATE: "Send SIGTERM",
    KILL: "Send SIGKILL to the whole tree",
    INTERRUPT: "Send SIGINT, as Ctrl-C does",
    RELAUNCH: "A new process with the same target and arguments",
    DELETE: "Remove the record and its log",
}


@dataclass(frozen=True, slots=True)
class Action:
    """One button. `reason` says why it can't be pressed, empty when it can; `is_main` marks the likeliest next step."""

    name: str
    reason: str = ""
    is_main: bool = False

    @property
    def word(self) -> str:
        return WORDS[self.name]

    @property
    def hint(self) -> str:
        return _HINTS[self.name]

    @property
    def is_confirmed(self) -> bool:
        return self.name in CONFIRMED


def actions(process: Process) -> list[Action]:
    """All buttons of a process, in the order of its page."""
    main = likeliest(process)
    return [Action(name, _reason(name, process), name == main) for name in WORDS]


def likeliest(process: Process) -> str:
    """The one action that a row of the list shows."""
    if process.state is State.CREATED:
        return START
    if process.is_over:
        return RELAUNCH
    return KILL if process.state is State.STOPPING else STOP


def row_actions(process: Process) -> tuple[Action, list[Action]]:
    """The button of a row and those behind its menu. Kill asks first, so that in a row Stop stays the button."""
    main = likeliest(process)
    shown = STOP if main == KILL else main
    others = [STOP, TERMINATE, KILL, RELAUNCH] if process.is_alive else [RELAUNCH]
    behind = [Action(name) for name in others if name != shown and not _reason(name, process)]
    return Action(shown, is_main=True), behind


def _reason(name: str, process: Process) -> str:
    """Why an action can't be taken, or nothing."""
    return _REASONS.get(name, _why_not_end)(process)


def _why_not_start(process: Process) -> str:
    return "" if process.state is State.CREATED else "it was started already"


def _why_not_join(process: Process) -> str:
    return "it was not started yet" if process.state is State.CREATED else ""


def _why_not_end(process: Process) -> str:
    if process.state is State.CREATED:
        return "it was not started yet"
    if process.state is State.LOST:
        return "it is gone, and so is its keeper"
    return "it is over" if process.is_over else ""


def _why_not_signal(process: Process) -> str:
    return "it waits for its start: Stop cancels it" if process.state is State.QUEUED else _why_not_end(process)


def _why_not_relaunch(process: Process) -> str:
    if process.state is State.CREATED:
        return "it was not started yet"
    return "it waits for its start" if process.state is State.QUEUED else ""


def _why_not_delete(process: Process) -> str:
    if process.is_over or process.state is State.CREATED:
        return ""
    return "it is alive" if process.is_alive else "it waits for its start"


_REASONS = {
    START: _why_not_start,
    JOIN: _why_not_join,
    KILL: _why_not_signal,
    INTERRUPT: _why_not_signal,
    RELAUNCH: _why_not_relaunch,
    DELETE: _why_not_delete,
}
