"""What was done to end a process that lives, and what follows by itself. Pure: read from its history."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.lifecycle import KEEPER, SERVICE, Process, Transition


@dataclass(frozen=True, slots=True)
class Step:
    """A signal that follows by itself, and when."""

    signal: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Stopping:
    """The hardest thing done so far: ``did`` says what and who, ``at`` when. ``later`` is what was asked after it and
    is no harder, empty when nothing was. ``steps`` follow by themselves, the next one first."""

    did: str
    at: datetime
    later: str
    steps: tuple[Step, ...]


def stopping(process: Process, transitions: Iterable[Transition]) -> Stopping | None:
    """Where the ending of a process is; None when nothing was done to end it.

    The keeper does the steps, each at the time that was announced first: asking again puts off nothing.
    """
    hardest: tuple[int, str, datetime] | None = None
    later = ""
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
            if term_at is None or row.at + timedelta(seconds=grace) < term_at:
                stop_grace = grace
            term_at = _sooner(term_at, row.at, grace)
        elif action == "escalate" and name == "SIGTERM":
            term_at, kill_at = None, _sooner(kill_at, row.at, stop_grace)
        elif action == "time_limit" or given is not None:
            kill_at = _sooner(kill_at, row.at, grace)
        if action == "kill" or name == "SIGKILL":
            term_at = kill_at = None
        force = _force(str(action), name)
        said = _did(str(action), name, row.actor, process)
        if hardest is None or force > hardest[0] or (force == hardest[0] and action != "stop"):
            hardest, later = (force, said, row.at), ""
        else:
            later = f"{said[0].lower()}{said[1:]}" if said.startswith("Asked") else said
    if hardest is None:
        return None
    return Stopping(hardest[1], hardest[2], later, _steps(term_at, kill_at, stop_grace))


def _steps(term_at: datetime | None, kill_at: datetime | None, stop_grace: float) -> tuple[Step, ...]:
    if term_at is not None:
        # SIGKILL comes a grace after SIGTERM, if it was not announced for sooner.
        kill_at = _sooner(kill_at, term_at, stop_grace)
    steps = [Step(name, at) for name, at in (("SIGTERM", term_at), ("SIGKILL", kill_at)) if at is not None]
    steps.sort(key=lambda step: step.at)
    # What is killed gets no SIGTERM after that.
    return tuple(steps[:1] if steps and steps[0].signal == "SIGKILL" else steps)


def _sooner(due: datetime | None, at: datetime, grace: float) -> datetime:
    fresh = at + timedelta(seconds=grace)
    return fresh if due is None or fresh < due else due


def _force(action: str, name: str | None) -> int:
    """How hard it is: to ask to stop is the least, SIGKILL the most."""
    if action == "kill" or name == "SIGKILL":
        return 3
    return {"stop": 0, "interrupt": 1}.get(action, 2)


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
