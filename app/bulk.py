"""Doing one thing to many processes: whom it takes, whom it leaves out and why, whether a count still holds. Pure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from procdeck.states import ALIVE, FINAL, State

STOP, TERMINATE, KILL, RELAUNCH, DELETE = "stop", "terminate", "kill", "relaunch", "delete"

ACTIONS = (STOP, TERMINATE, KILL, RELAUNCH, DELETE)
GRACED = frozenset({STOP, TERMINATE})
"""Those that take a grace: seconds until the next harder step."""

MOST = 100_000
"""Processes that one operation may be about."""
MOST_IDS = 5_000
"""Processes that may be named one by one."""
TYPED_ABOVE = 20
"""Processes above which who asks types the count, so that nobody does to thousands what was meant for three."""
LISTED = 200
"""Processes that are named, where a page names all that it can."""
TOLERANCE = 0.05
"""The part by which the count may have changed since it was shown."""


class Chosen(NamedTuple):
    """A process that an operation is about, as far as that has to know it."""

    id: str
    name: str
    state: State


def why_not(action: str, state: State) -> str:
    """Why a process in this state is left out, or nothing."""
    return _WHY_NOT[action](state)


def _not_ended(state: State) -> str:
    if state is State.CREATED:
        return "not started yet"
    return "already over" if state in FINAL else ""


def _not_signalled(state: State) -> str:
    return "waiting for its start, Stop cancels it" if state is State.QUEUED else _not_ended(state)


def _not_relaunched(state: State) -> str:
    if state is State.CREATED:
        return "not started yet"
    return "waiting for its start" if state is State.QUEUED else ""


def _not_deleted(state: State) -> str:
    if state in ALIVE:
        return "still alive"
    return "waiting for its start" if state is State.QUEUED else ""


_WHY_NOT: dict[str, Callable[[State], str]] = {
    STOP: _not_ended,
    TERMINATE: _not_signalled,
    KILL: _not_signalled,
    RELAUNCH: _not_relaunched,
    DELETE: _not_deleted,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What an action would do to those that were chosen: whom it takes, and by reason whom it leaves out."""

    takes: Sequence[Chosen]
    skips: dict[str, list[Chosen]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many were chosen."""
        return len(self.takes) + sum(map(len, self.skips.values()))


def plan(action: str, chosen: Iterable[Chosen]) -> Plan:
    """Part those that were chosen by what `why_not` says of them; each part keeps their order."""
    takes: list[Chosen] = []
    skips: dict[str, list[Chosen]] = {}
    for process in chosen:
        reason = why_not(action, process.state)
        (skips.setdefault(reason, []) if reason else takes).append(process)
    return Plan(takes, skips)


def has_changed(shown: int, now: int) -> bool:
    """Whether a count differs from the one that was shown by more than may be."""
    return abs(now - shown) > TOLERANCE * shown


def is_typed(count: int, *, by_filter: bool) -> bool:
    """Whether the count has to be typed."""
    return by_filter or count > TYPED_ABOVE
