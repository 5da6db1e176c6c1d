"""What was done to end a process, and what follows by itself."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from app.lifecycle import KEEPER, Transition
from app.pages.stopping import stopping
from procdeck.states import State
from tests.fakes import NOW, SPEC, a_process

Step = tuple[float, str, dict[str, Any]]


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def row(at: float, actor: str, **detail: Any) -> Transition:
    return Transition("one", 1, after(at), State.RUNNING, State.STOPPING, actor, None, detail)


def ask(at: float, action: str, grace: float | None = None) -> Transition:
    return row(at, "Alice", action=action, grace=grace)


def escalated(at: float, name: str) -> Transition:
    return row(at, KEEPER, action="escalate", signal=name, tree=True)


CASES = [
    ([ask(0, "terminate")], "SIGTERM was sent by Alice", None),
    ([ask(0, "interrupt")], "SIGINT was sent by Alice", None),
    ([ask(0, "terminate", 3)], "SIGTERM was sent by Alice", ("SIGKILL", 3)),
    ([ask(0, "stop", 4)], "Asked to stop by Alice", ("SIGTERM", 4)),
    ([ask(0, "stop")], "Asked to stop by Alice", ("SIGTERM", 10)),
    ([ask(0, "stop", 4), escalated(4.5, "SIGTERM")], "SIGTERM was sent, since the grace was over,", ("SIGKILL", 8.5)),
    ([ask(0, "stop", 4), escalated(4, "SIGTERM"), escalated(8, "SIGKILL")], "SIGKILL was sent, since", None),
    # Asking again puts off nothing that was announced; something sooner comes first.
    ([ask(0, "stop", 4), ask(2, "stop", 60)], "Asked to stop by Alice", ("SIGTERM", 4)),
    ([ask(0, "stop", 60), ask(2, "terminate", 1)], "SIGTERM was sent by Alice", ("SIGKILL", 3)),
    ([ask(0, "terminate", 5), ask(1, "stop", 2)], "Asked to stop by Alice", ("SIGTERM", 3)),
    ([ask(0, "stop", 4), ask(1, "kill")], "SIGKILL was sent by Alice", None),
    ([row(0, KEEPER, action="time_limit", grace=7)], "Its time limit of 1.5 s was reached", ("SIGKILL", 7)),
    ([row(0, KEEPER, action="terminate", grace=5)], "SIGTERM was sent by its keeper", ("SIGKILL", 5)),
    ([ask(0, "terminate"), row(1, "Bob", signal="SIGUSR1", tree=False)], "SIGTERM was sent by Alice", None),
]


@pytest.mark.parametrize(("rows", "did", "then"), CASES)
def test_what_follows(rows: list[Transition], did: str, then: tuple[str, float] | None) -> None:
    process = a_process(State.STOPPING, spec={**SPEC, "grace": 10.0, "timeout": 1.5})
    found = stopping(process, rows)
    assert found is not None
    assert found.did.startswith(did)
    assert (found.next_signal, found.next_at) == ((then[0], after(then[1])) if then else (None, None))
    assert found.at == [each for each in rows if "action" in each.detail][-1].at


def test_before_anything_was_done() -> None:
    assert stopping(a_process(State.RUNNING), [row(0, "Bob", signal="SIGUSR1")]) is None
    assert stopping(a_process(State.RUNNING), []) is None
