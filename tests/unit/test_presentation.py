"""How a process is shown, and the sentence that explains its end."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.lifecycle import Process
from app.presentation import duration, exit_parts, exit_summary, view
from procdeck.states import Outcome, State
from tests.fakes import NOW, SPEC, a_process

CONTRACT = {
    *("id", "number", "name", "target", "args", "kwargs", "daemon", "start_method", "labels", "origin_id"),
    *("state", "outcome", "is_alive", "pid", "exitcode", "signal", "exit_summary", "error", "result", "progress"),
    *("created_at", "started_at", "stopped_at", "duration", "cpu_seconds", "rss_bytes", "max_rss_bytes"),
    "requested_by",
}


def over(outcome: Outcome, exitcode: int | None = None, **changes: Any) -> Process:
    state = State.LOST if outcome is Outcome.LOST and "state" not in changes else State.EXITED
    return a_process(**{"state": state, "outcome": outcome, "exitcode": exitcode} | changes)


def asked(action: str, **more: Any) -> dict[str, Any]:
    return {"action": action, "actor": "Alice", "reason": None, "at": NOW.isoformat()} | more


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def sent(name: str, seconds: float, actor: str, reason: str | None = None) -> dict[str, Any]:
    return {name: {"actor": actor, "reason": reason, "at": later(seconds).isoformat()}}


ERROR = {"type": "ValueError", "message": "bad\nsecond line", "traceback": "..."}

SUMMARIES = [
    (over(Outcome.SUCCEEDED, 0), "Finished normally."),
    (over(Outcome.FAILED, 1, error=ERROR), "Exit code 1: uncaught ValueError: bad"),
    (over(Outcome.FAILED, 1), "sys.exit(1), or an uncaught exception"),
    (over(Outcome.FAILED, 2), "wrong command-line arguments"),
    (over(Outcome.FAILED, 3), "Exit code 3, set by the program."),
    (over(Outcome.FAILED, 143), "signal 15 this way"),
    (over(Outcome.CRASHED, -11), "Killed by SIGSEGV (-11), which was not sent by Procdeck: the interpreter"),
    (over(Outcome.CRASHED, -9, max_rss_bytes=3 << 20), "out-of-memory killer; it had used up to 3.0 MiB of memory."),
    (over(Outcome.CRASHED, -9), "out-of-memory killer."),
    (over(Outcome.CRASHED, -10), "Killed by SIGUSR1 (-10), which was not sent by Procdeck."),
    (over(Outcome.CRASHED, -37), "Killed by signal 37"),
    (
        over(Outcome.STOPPED, -15, asked=asked("terminate"), stopped_at=NOW + timedelta(seconds=1.25)),
        "SIGTERM by Alice at 06:55:26 UTC; ended by SIGTERM after 1.2 s.",
    ),
    (over(Outcome.STOPPED, 0, asked=asked("stop", reason="enough")), "Asked to stop by Alice (enough) at"),
    (over(Outcome.STOPPED, 0, asked=asked("stop"), stopped_at=later(2)), "; it ended with exit code 0 after 2.0 s."),
    (
        over(Outcome.STOPPED, -9, asked=asked("kill"), stopped_at=later(0.1)),
        "Killed (SIGKILL) by Alice at 06:55:26 UTC.",
    ),
    (over(Outcome.STOPPED, -9, asked=asked("kill"), stopped_at=later(3)), "06:55:26 UTC; it was gone after 3.0 s."),
    (
        over(Outcome.STOPPED, -9, asked=asked("terminate", sent=sent("SIGKILL", 12.5, "Bob", "in the way"))),
        "SIGTERM by Alice at 06:55:26 UTC; ignored for 12.5 s, then killed (SIGKILL) by Bob (in the way).",
    ),
    (
        over(
            Outcome.STOPPED,
            -9,
            asked=asked("stop", sent=sent("SIGTERM", 10, "keeper") | sent("SIGKILL", 20, "keeper", "still alive")),
        ),
        "Asked to stop by Alice at 06:55:26 UTC; it went on for 20.0 s, then killed (SIGKILL) when its grace was over.",
    ),
    (
        over(Outcome.STOPPED, -15, asked=asked("stop", sent=sent("SIGTERM", 3, "Alice"))),
        "; it went on for 3.0 s, then ended by SIGTERM by Alice.",
    ),
    # Of before it was noted who sent what, and of signals that were sent as such.
    (over(Outcome.STOPPED, -9, asked=asked("stop"), stopped_at=later(4)), "UTC; killed (SIGKILL) after 4.0 s."),
    (
        over(Outcome.STOPPED, -10, asked=asked("stop"), detail={"signals_sent": ["SIGUSR1"]}),
        "UTC; ended by SIGUSR1, which was sent through Procdeck.",
    ),
    (over(Outcome.STOPPED, 0, asked=asked("terminate", actor="keeper")), "SIGTERM by its keeper at"),
    (over(Outcome.STOPPED, -10), "Ended by SIGUSR1, which was sent through Procdeck."),
    (over(Outcome.STOPPED), "Cancelled before it was started."),
    (over(Outcome.TIMED_OUT, -9, spec={**SPEC, "timeout": 1.5}), "Ended at its time limit of 1.5 s, by SIGKILL."),
    (over(Outcome.TIMED_OUT, 0, spec={**SPEC, "timeout": 2}), "time limit of 2 s, with exit code 0."),
    (over(Outcome.NOT_STARTED, error=ERROR), "Could not be started: bad"),
    (over(Outcome.NOT_STARTED), "the reason is not known"),
    (over(Outcome.LOST, detail={"ended": 2}), "Its keeper was killed"),
    (over(Outcome.LOST, detail={"ended": 2}), "2 process(es) left of its tree were ended."),
    (over(Outcome.LOST, detail={"ended": 0}), "Its keeper was killed"),
    (over(Outcome.LOST, detail={"ended": 0}, pid=4711), "Pid 4711 is no longer this process."),
    (over(Outcome.LOST), "What became of it can't be known; the end of its history says why."),
    (over(Outcome.LOST, state=State.EXITED), "the fork server that started it died"),
]


@pytest.mark.parametrize(("process", "text"), SUMMARIES)
def test_the_end_is_explained(process: Process, text: str) -> None:
    summary = exit_summary(process)
    assert summary is not None
    assert text in summary
    assert summary == summary.strip()


def test_pages_are_told_the_times_of_the_sentence_as_such() -> None:
    ended = over(Outcome.STOPPED, -15, asked=asked("terminate"), stopped_at=later(1.25))
    assert exit_parts(ended) == ["SIGTERM by Alice at ", NOW, "; ended by SIGTERM after 1.2 s."]
    assert exit_parts(a_process(State.RUNNING)) == []


@pytest.mark.parametrize("state", [state for state in State if state not in (State.EXITED, State.LOST)])
def test_nothing_is_explained_before_the_end(state: State) -> None:
    assert exit_summary(a_process(state)) is None


def test_every_outcome_has_its_sentence() -> None:
    assert all(exit_summary(over(outcome)) for outcome in Outcome)


def test_all_fields_of_the_contract_are_there() -> None:
    shown = view(a_process())
    assert set(shown) >= CONTRACT
    assert (shown["args"], shown["kwargs"], shown["created_at"]) == ([1], {"fast": True}, NOW.isoformat())


def test_measurements_are_live_while_it_lives_and_final_after_that() -> None:
    sample = {"cpu_percent": 50.0, "cpu_seconds": 1.5, "rss_bytes": 10, "max_rss_bytes": 20}
    living = view(a_process(State.RUNNING, started_at=NOW), sample)
    assert [living[name] for name in sample] == [50.0, 1.5, 10, 20]
    dead = view(over(Outcome.SUCCEEDED, 0, cpu_seconds=2.5, max_rss_bytes=30), sample)
    assert [dead[name] for name in sample] == [None, 2.5, None, 30]
    assert [view(a_process(State.RUNNING))[name] for name in sample] == [None] * 4


def test_a_signal_has_its_name() -> None:
    assert view(over(Outcome.CRASHED, -11))["signal"] == "SIGSEGV"
    assert view(over(Outcome.FAILED, 1))["signal"] is None


def test_the_duration_runs_until_the_keeper_has_measured_it() -> None:
    assert duration(a_process()) is None
    assert duration(over(Outcome.SUCCEEDED, 0, started_at=NOW, duration=1.5)) == 1.5
    assert duration(over(Outcome.LOST, started_at=NOW)) is None
    ago = datetime.now(UTC) - timedelta(seconds=10)
    assert 10 <= (duration(a_process(State.RUNNING, started_at=ago)) or 0) < 60
    # A clock that was set back shows nothing negative.
    ahead = datetime.now(UTC) + timedelta(hours=1)
    assert duration(a_process(State.RUNNING, started_at=ahead)) == 0


def test_an_end_for_want_of_memory_says_so() -> None:
    dead = over(Outcome.CRASHED, -9, max_rss_bytes=300 * 2**20, detail={"oom_killed": True})
    assert exit_summary(dead) == (
        "Killed by SIGKILL (-9), which was not sent by Procdeck: the kernel ended it because the memory of its control"
        " group was used up; it had used up to 300.0 MiB of memory."
    )
    detail = {
        "oom_killed": True,
        "memory_limit_bytes": 512 * 2**20,
        "last_sample": {"at": "2026-11-22T14:02:09.5+00:00", "rss_bytes": 299 * 2**20},
    }
    dead = over(Outcome.CRASHED, -9, max_rss_bytes=300 * 2**20, detail=detail)
    assert str(exit_summary(dead)).endswith(
        "the memory of its control group (512.0 MiB at most) was used up; it had used up to 300.0 MiB of memory,"
        " and 299.0 MiB when last measured, at 14:02:09 UTC."
    )


def test_a_condition_is_one_of_the_living() -> None:
    assert view(a_process(State.RUNNING), None, "paused")["condition"] == "paused"
    assert view(a_process(State.RUNNING))["condition"] is None
    assert view(over(Outcome.SUCCEEDED, 0), None, "paused")["condition"] is None
