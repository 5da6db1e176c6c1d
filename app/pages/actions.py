"""Which buttons a process has, and why one can't be pressed now. Pure."""

from dataclasses import dataclass

from app import bulk
from app.lifecycle import Process
from procdeck.states import State

START, JOIN, STOP, TERMINATE, KILL = "start", "join", "stop", "terminate", "kill"
INTERRUPT, SIGNAL, RELAUNCH, DELETE = "interrupt", "signal", "relaunch", "delete"

ENDINGS = frozenset({STOP, TERMINATE, KILL, INTERRUPT})
SIGNALLING = frozenset({TERMINATE, KILL, INTERRUPT, SIGNAL})
"""What needs somebody to send a signal to."""
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
    """The button of a row and those behind its menu. What was asked to stop already is not asked once more by the same
    button: Kill takes its place, which asks first."""
    shown = likeliest(process)
    others = [STOP, TERMINATE, KILL, RELAUNCH] if process.is_alive else [RELAUNCH]
    behind = [
        Action(name, called=_called(name, process)) for name in others if name != shown and not why_not(name, process)
    ]
    return Action(shown, is_main=True, called=_called(shown, process)), behind


def _called(name: str, process: Process) -> str:
    if name == STOP and process.state is State.QUEUED:
        return "Cancel"
    if process.state is State.STOPPING:
        return {TERMINATE: "Terminate again", KILL: "Kill now"}.get(name, "")
    return ""


def why_not(name: str, process: Process) -> str:
    """Why an action can't be taken, or nothing; of what can be done to many processes `app.bulk` says it."""
    if name == START:
        return "" if process.state is State.CREATED else "it was started already"
    if name == JOIN:
        return _why_not_join(process)
    reason = bulk.why_not(TERMINATE if name in SIGNALLING else name, process.state)
    if reason and process.state is State.LOST:
        # Whatever lived of it was ended before it was called lost; its pid may be anybody's by now.
        return "it is lost, and nothing of it is running"
    if name in SIGNALLING and process.state is State.QUEUED:
        return "it is waiting for its start, and Cancel takes it off"
    return f"it is {reason}" if reason else ""


def _why_not_join(process: Process) -> str:
    if process.state is State.LOST:
        return "nothing is left to wait for"
    return "it is not started yet" if process.state is State.CREATED else ""
