"""The states of a process, the legal transitions between them, and the outcomes.

``created → queued → starting → running → stopping → exited``, and ``lost``. This table is the only place that says
which change of state is legal; it imports nothing of ours, so that the runtime, the service and the documents can all
read it.
"""

from enum import StrEnum


class State(StrEnum):
    """Where a process is in its life."""

    CREATED = "created"  # constructed; start() was not called
    QUEUED = "queued"  # to be started; waits for its launcher
    STARTING = "starting"  # handed to the launcher; no pid confirmed
    RUNNING = "running"  # the child has a pid and is not over
    STOPPING = "stopping"  # somebody asked for its end; it is still alive
    EXITED = "exited"  # over, and how is known
    LOST = "lost"  # its keeper is gone without an exit record; nobody can know


class Outcome(StrEnum):
    """How a process ended; kept apart from its state, and null until it is over."""

    SUCCEEDED = "succeeded"  # exit code 0
    FAILED = "failed"  # exit code > 0
    CRASHED = "crashed"  # ended by a signal that nobody here sent
    STOPPED = "stopped"  # we were asked to end it
    TIMED_OUT = "timed_out"  # we ended it at its time limit
    NOT_STARTED = "not_started"  # it could not be launched; the error is kept
    LOST = "lost"  # what became of it can't be known


TRANSITIONS: dict[State | None, frozenset[State]] = {
    None: frozenset({State.CREATED}),
    State.CREATED: frozenset({State.QUEUED}),
    State.QUEUED: frozenset({State.STARTING, State.EXITED}),
    State.STARTING: frozenset({State.RUNNING, State.EXITED, State.LOST}),
    State.RUNNING: frozenset({State.RUNNING, State.STOPPING, State.EXITED, State.LOST}),
    State.STOPPING: frozenset({State.STOPPING, State.EXITED, State.LOST}),
    State.EXITED: frozenset(),
    State.LOST: frozenset(),
}
"""From a state to those that may follow.

A state that may follow itself takes notes: a signal sent, a second request to end.
"""

ALIVE = frozenset({State.STARTING, State.RUNNING, State.STOPPING})
"""``is_alive()`` is true: ``start()`` was called and the process is not known to be over."""

ACTIVE = ALIVE | {State.QUEUED}
"""Started or waiting to be; a record in such a state can't be deleted."""

FINAL = frozenset({State.EXITED, State.LOST})
"""Over. No state follows these."""


class IllegalTransition(ValueError):
    """An event that the present state does not allow; raised before anything is changed."""

    def __init__(self, current: State | None, wanted: State) -> None:
        super().__init__(f"a process that is {current or 'not yet created'} can't become {wanted}")
        self.current = current
        self.wanted = wanted


def check_transition(current: State | None, wanted: State) -> None:
    """Raise `IllegalTransition` unless ``wanted`` may follow ``current``."""
    if wanted not in TRANSITIONS[current]:
        raise IllegalTransition(current, wanted)
