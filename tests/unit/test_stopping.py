"""What was done to end a process, and what follows by itself."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from app.lifecycle import KEEPER, Transition
from app.pages.stopping import stopping
from procdeck.states import State
from tests.fakes import NOW, SPEC, a_process


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def row(at: float, actor: str, **detail: Any) -> Transition:
    return Transition("one", 1, after(at), State.RUNNING, State.STOPPING, actor, None, detail)


def ask(at: float, action: str, grace: float | None = None) -> Transition:
    return row(at, "Alice", action=action, grace=grace)


def escalated(at: float, name: str) -> Transition:
    return row(at, KEEPER, action="escalate", signal=name, tree=True)


CASES = [
    ([ask(0, "terminate")], "SIGTERM was sent by Alice", 0, "", []),
    ([ask(0, "interrupt")], "SIGINT was sent by Alice", 0, "", []),
    ([ask(0, "terminate", 3)], "SIGTERM was sent by Alice", 0, "", [("SIGKILL", 3)]),
    ([ask(0, "stop", 4)], "Asked to stop by Alice", 0, "", [("SIGTERM", 4), ("SIGKILL", 8)]),
    ([ask(0, "stop")], "Asked to stop by Alice", 0, "", [("SIGTERM", 10), ("SIGKILL", 20)]),
    ([ask(0, "stop", 4), escalated(4.5, "SIGTERM")], "SIGTERM was sent, since the grace", 4.5, "", [("SIGKILL", 8.5)]),
    ([ask(0, "stop", 4), escalated(4, "SIGTERM"), escalated(8, "SIGKILL")], "SIGKILL was sent, since", 8, "", []),
    # Asking again puts off nothing that was announced; something sooner comes first.
    (
        [ask(0, "stop", 4), ask(2, "stop", 60)],
        "Asked to stop by Alice",
        0,
        "asked to stop by Alice",
        [("SIGTERM", 4), ("SIGKILL", 8)],
    ),
    ([ask(0, "stop", 60), ask(2, "terminate", 1)], "SIGTERM was sent by Alice", 2, "", [("SIGKILL", 3)]),
    # What is asked for after something harder is no step back.
    (
        [ask(0, "terminate", 5), ask(1, "stop", 2)],
        "SIGTERM was sent by Alice",
        0,
        "asked to stop by Alice",
        [("SIGTERM", 3), ("SIGKILL", 5)],
    ),
    ([ask(0, "terminate"), ask(1, "interrupt")], "SIGTERM was sent by Alice", 0, "SIGINT was sent by Alice", []),
    ([ask(0, "stop", 4), ask(1, "kill")], "SIGKILL was sent by Alice", 1, "", []),
    ([row(0, KEEPER, action="time_limit", grace=7)], "Its time limit of 1.5 s was reached", 0, "", [("SIGKILL", 7)]),
    ([row(0, KEEPER, action="terminate", grace=5)], "SIGTERM was sent by its keeper", 0, "", [("SIGKILL", 5)]),
    ([ask(0, "terminate"), row(1, "Bob", signal="SIGUSR1", tree=False)], "SIGTERM was sent by Alice", 0, "", []),
]


@pytest.mark.parametrize(("rows", "did", "at", "later", "then"), CASES)
def test_what_follows(rows: list[Transition], did: str, at: float, later: str, then: list[tuple[str, float]]) -> None:
    process = a_process(State.STOPPING, spec={**SPEC, "grace": 10.0, "timeout": 1.5})
    found = stopping(process, rows)
    assert found is not None
    assert found.did.startswith(did)
    assert (found.at, found.later) == (after(at), later)
    assert [(step.signal, step.at) for step in found.steps] == [(name, after(seconds)) for name, seconds in then]


def test_before_anything_was_done() -> None:
    assert stopping(a_process(State.RUNNING), [row(0, "Bob", signal="SIGUSR1")]) is None
    assert stopping(a_process(State.RUNNING), []) is None
