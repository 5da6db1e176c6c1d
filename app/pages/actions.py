"""Which buttons a process has, and why one can't be pressed now. Pure."""

from dataclasses import dataclass

from app.lifecycle import Process
from procdeck.states import State

START, JOIN, STOP, TERMINATE, KILL = "start", "join", "stop", "terminate", "kill"
INTERRUPT, SIGNAL, RELAUNCH, DELETE = "interrupt", "signal", "relaunch", "delete"

ENDINGS = frozenset({STOP, TERMINATE, KILL, INTERRUPT})
CONFIRMED = frozenset({KILL, DELETE})
"""What can't be taken back is asked about first."""

WORDS = {
    START: "Start",
    STOP: "Stop",
    TERMINATE: "Terminate",
    KILL: "Kill",
    JOIN: "Join",
    RELAUNCH: "Launch again",
    INTERRUPT: "Interrupt",
    SIGNAL: "Send a signal",
    DELETE: "Delete record",
}
"""In the order of the page."""

BEHIND = frozenset({INTERRUPT, SIGNAL, DELETE})
"""What the page of a process has behind its three dots."""

SIGNALS = (
    *("SIGUSR1", "SIGUSR2", "SIGHUP", "SIGINT", "SIGQUIT", "SIGSTOP", "SIGCONT", "SIGWINCH", "SIGALRM", "SIGABRT"),
    *("SIGTERM", "SIGKILL"),
)
"""Those that the page offers; the API takes any."""

_HINTS = {
    START: "Start the process",
    JOIN: "Wait until it is over",
    STOP: "Ask it to stop (stop_requested() turns true), then SIGTERM, then SIGKILL",
    TERMINATE: "Send SIGTERM",
    KILL: "Send SIGKILL to the whole tree",
    INTERRUPT: "Send SIGINT, as Ctrl-C does",
    SIGNAL: "Send any signal",
    RELAUNCH: "A new process with the same target and arguments",
    DELETE: "Remove the record and its log",
}
_ICONS = {
    START: "play",
    JOIN: "join",
    STOP: "stop",
    TERMINATE: "exit",
    KILL: "kill",
    INTERRUPT: "pause",
    SIGNAL: "activity",
    RELAUNCH: "again",
    DELETE: "trash",
}


@dataclass(frozen=True, slots=True)
class Action:
    """One button. `reason` says why it can't be pressed, empty when it can; `is_main` marks the likeliest next step;
    `called` is what it is called here, when that is not its own word."""

    name: str
    reason: str = ""
    is_main: bool = False
    called: str = ""

    @property
    def word(self) -> str:
        return self.called or WORDS[self.name]

    @property
    def hint(self) -> str:
        return _HINTS[self.name]

    @property
    def icon(self) -> str:
        return _ICONS[self.name]

    @property
    def is_confirmed(self) -> bool:
        return self.name in CONFIRMED


def actions(process: Process) -> list[Action]:
    """All buttons of a process that mean anything in its state, in the order of its page: the likeliest first."""
    main = likeliest(process)
    found = [
        Action(name, why_not(name, process), name == main, _called(name, process))
        for name in WORDS
        if name != START or process.state is State.CREATED
    ]
    return sorted(found, key=lambda action: not action.is_main)


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
    behind = [Action(name) for name in others if name != shown and not why_not(name, process)]
    return Action(shown, is_main=True, called=_called(shown, process)), behind


def _called(name: str, process: Process) -> str:
    if name == STOP and process.state is State.QUEUED:
        return "Cancel"
    if process.state is State.STOPPING:
        return {TERMINATE: "Terminate again", KILL: "Kill now"}.get(name, "")
    return ""


def why_not(name: str, process: Process) -> str:
    """Why an action can't be taken, or nothing."""
    return _REASONS[name](process)


def _why_not_start(process: Process) -> str:
    return "" if process.state is State.CREATED else "it was started already"


def _why_not_join(process: Process) -> str:
    if process.state is State.LOST:
        return "nothing is left to wait for"
    return _NOT_STARTED if process.state is State.CREATED else ""


_NOT_STARTED = "it was not started yet"


def _why_not_end(process: Process) -> str:
    if process.state is State.CREATED:
        return _NOT_STARTED
    if process.state is State.LOST:
        # Whatever lived of it was ended before it was called lost; its pid may be anybody's by now.
        return "it is lost, and nothing of it is running"
    return "it has ended" if process.is_over else ""


def _why_not_signal(process: Process) -> str:
    return "it waits for its start, and Cancel takes it off" if process.state is State.QUEUED else _why_not_end(process)


def _why_not_relaunch(process: Process) -> str:
    if process.state is State.CREATED:
        return _NOT_STARTED
    return "it waits for its start" if process.state is State.QUEUED else ""


def _why_not_delete(process: Process) -> str:
    if process.is_over or process.state is State.CREATED:
        return ""
    return "it is alive" if process.is_alive else "it waits for its start"


_REASONS = {
    START: _why_not_start,
    JOIN: _why_not_join,
    STOP: _why_not_end,
    TERMINATE: _why_not_signal,
    KILL: _why_not_signal,
    INTERRUPT: _why_not_signal,
    SIGNAL: _why_not_signal,
    RELAUNCH: _why_not_relaunch,
    DELETE: _why_not_delete,
}
