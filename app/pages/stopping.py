"""What was done to end a process that lives, and what follows by itself. Pure: read from its history."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.lifecycle import KEEPER, SERVICE, Process, Transition


@dataclass(frozen=True, slots=True)
class Stopping:
    """The last thing done: ``did`` says what and who, ``at`` when. ``next_signal`` follows at ``next_at``; both None
    when nothing follows by itself."""

    did: str
    at: datetime
    next_signal: str | None
    next_at: datetime | None


def stopping(process: Process, transitions: Iterable[Transition]) -> Stopping | None:
    """Where the ending of a process is; None when nothing was done to end it.

    The keeper does the steps, each at the time that was announced first: asking again puts off nothing.
    """
    did: tuple[str, datetime] | None = None
    term_at: datetime | None = None
    kill_at: datetime | None = None
    stop_grace = 0.0
    for row in transitions:
        action, name = row.detail.get("action"), row.detail.get("signal")
        if action is None:
            continue
        given = row.detail.get("grace")
        grace = float(process.spec["grace"] if given is None else given)
        if action == "stop":
            stop_grace = grace
            term_at = _sooner(term_at, row.at, grace)
        elif action == "escalate" and name == "SIGTERM":
            term_at, kill_at = None, _sooner(kill_at, row.at, stop_grace)
        elif action == "time_limit" or given is not None:
            kill_at = _sooner(kill_at, row.at, grace)
        if action == "kill" or name == "SIGKILL":
            term_at = kill_at = None
        did = _did(str(action), name, row.actor, process), row.at
    if did is None:
        return None
    steps = [(at, name) for at, name in ((term_at, "SIGTERM"), (kill_at, "SIGKILL")) if at is not None]
    next_at, next_signal = min(steps, default=(None, None))
    return Stopping(*did, next_signal, next_at)


def _sooner(due: datetime | None, at: datetime, grace: float) -> datetime:
    fresh = at + timedelta(seconds=grace)
    return fresh if due is None or fresh < due else due


def _did(action: str, name: str | None, actor: str, process: Process) -> str:
    if action == "time_limit":
        return f"Its time limit of {process.spec.get('timeout') or 0:g} s was reached"
    if action == "escalate":
        return f"{name} was sent, since the grace was over,"
    who = {KEEPER: "its keeper", SERVICE: "the service"}.get(actor, actor)
    return f"{_ACTIONS.get(action, action)} by {who}"


_ACTIONS = {
    "stop": "Asked to stop",
    "terminate": "SIGTERM was sent",
    "kill": "SIGKILL was sent",
    "interrupt": "SIGINT was sent",
}
