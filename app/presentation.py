"""How a process is shown: the fields of the contract, and the sentence that explains its end.

Computed from facts, stored nowhere.
"""

import contextlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from app import units
from app.lifecycle import KEEPER, SERVICE, Process
from app.retention import Choice
from procdeck.states import Outcome, State

JSON = dict[str, Any]

_MEANINGS = {
    "SIGSEGV": "the interpreter or a native library read memory that is not its own",
    "SIGBUS": "the interpreter or a native library touched memory that is not there",
    "SIGFPE": "a native library divided by zero",
    "SIGILL": "a native library holds an instruction that this processor does not know",
    "SIGABRT": "the interpreter or a native library gave up by itself",
}
_NO_TRACEBACK = "Python prints no traceback for it unless faulthandler is on"


def view(process: Process, sample: JSON | None = None, condition: str | None = None) -> JSON:
    """The process as the contract has it; ``sample`` and ``condition`` are what its keeper last told.

    Times are ISO 8601 in UTC, durations seconds, sizes bytes.
    """
    live = sample or {}
    return {
        "id": process.id,
        "number": process.number,
        "name": process.name,
        "target": process.target,
        "kind": process.kind,
        "environment": process.environment,
        "args": process.spec["args"],
        "kwargs": process.spec["kwargs"],
        "daemon": process.daemon,
        "start_method": process.spec["start_method"],
        "state": process.state,
        "outcome": process.outcome,
        "is_alive": process.is_alive,
        "condition": condition if process.is_alive else None,
        "pid": process.pid,
        "exitcode": process.exitcode,
        "signal": process.signal,
        "exit_summary": exit_summary(process),
        "error": process.error,
        "result": process.result,
        "progress": process.progress,
        "created_at": _iso(process.created_at),
        "started_at": _iso(process.started_at),
        "stopped_at": _iso(process.stopped_at),
        "duration": duration(process),
        "cpu_percent": live.get("cpu_percent") if process.is_alive else None,
        "cpu_seconds": live.get("cpu_seconds") if process.is_alive else process.cpu_seconds,
        "rss_bytes": live.get("rss_bytes") if process.is_alive else None,
        "max_rss_bytes": live.get("max_rss_bytes") if process.is_alive else process.max_rss_bytes,
        "log_start": process.log_start,
        "disk_bytes": process.disk_bytes,
        "timeout": process.spec["timeout"],
        "grace": process.spec["grace"],
        "labels": process.labels,
        "code": process.detail.get("code"),
        "origin_id": process.origin_id,
        "requested_by": process.requested_by,
        "detail": process.detail,
    }


def pruned_view(shown: Iterable[Choice], count: int, size: int, *, dry_run: bool) -> JSON:
    """What a pruning removed, or would remove, as the contract has it."""
    items = [
        {
            "id": process.id,
            "number": process.number,
            "name": process.name,
            "target": process.target,
            "stopped_at": _iso(process.stopped_at),
            "bytes": process.bytes,
            "reason": reason,
        }
        for process, reason in shown
    ]
    return {"items": items, "count": count, "bytes": size, "dry_run": dry_run}


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None


def duration(process: Process) -> float | None:
    """Seconds it ran: measured by the keeper's monotonic clock once it is over, by the clock on the wall until then."""
    if process.duration is not None or process.started_at is None:
        return process.duration
    if process.is_over:
        return None
    return max(0.0, (datetime.now(UTC) - process.started_at).total_seconds())


def exit_summary(process: Process) -> str | None:
    """Why it ended, in a sentence; None while it is not over."""
    if not process.is_over:
        return None
    return _SUMMARIES[process.outcome or Outcome.LOST](process)


def _succeeded(process: Process) -> str:
    return "Finished normally."


def _failed(process: Process) -> str:
    code = process.exitcode or 0
    if process.error:
        return f"Exit code {code}: uncaught {process.error['type']}: {_first_line(process.error['message'])}"
    if code == 1:
        return "Exit code 1: sys.exit(1), or an uncaught exception; the end of the log tells."
    hint = " (2 often means wrong command-line arguments)" if code == 2 else ""
    shell = f"; a shell inside reports signal {code - 128} this way" if code > 128 else ""
    return f"Exit code {code}, set by the program{hint}{shell}."


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0][:200]


def _crashed(process: Process) -> str:
    name = process.signal or "a signal"
    said = f"Killed by {name} ({process.exitcode}), which was not sent by Procdeck"
    if process.detail.get("oom_killed"):
        limit = process.detail.get("memory_limit_bytes")
        most = f" ({units.size(limit)} at most)" if limit else ""
        why = f"the kernel ended it because the memory of its control group{most} was used up"
        return f"{said}: {why}{_memory(process)}."
    if name == "SIGKILL":
        return f"{said}. Often the kernel's out-of-memory killer{_memory(process)}."
    meaning = _MEANINGS.get(name)
    return f"{said}: {meaning}; {_NO_TRACEBACK}." if meaning else f"{said}."


def _memory(process: Process) -> str:
    """How much memory it had, as far as that is known."""
    if not process.max_rss_bytes:
        return ""
    seen = ""
    with contextlib.suppress(KeyError, TypeError, ValueError):  # none, or what somebody wrote into a journal
        last = process.detail["last_sample"]
        seen = f", and {units.size(last['rss_bytes'])} when last measured, at {_clock(last['at'])}"
    return f"; it had used up to {units.size(process.max_rss_bytes)} of memory{seen}"


def _clock(at: str) -> str:
    """The time of day, in the zone that all of it is kept in."""
    return datetime.fromisoformat(at).astimezone(UTC).strftime("%H:%M:%S UTC")


def _stopped(process: Process) -> str:
    if process.asked is None:
        if process.exitcode is None:
            return "Cancelled before it was started."
        return f"Ended by {process.signal}, which was sent through Procdeck."
    actor = {KEEPER: "its keeper", SERVICE: "the service"}.get(process.asked["actor"], process.asked["actor"])
    who = f"{_ACTIONS.get(process.asked['action'], 'ended')} by {actor}"
    why = f" ({process.asked['reason']})" if process.asked.get("reason") else ""
    how = f"ended by {process.signal}" if process.signal else f"exit code {process.exitcode}"
    return f"Asked to end: {who}{why} at {_clock(process.asked['at'])}; {how}{_after(process)}."


_ACTIONS = {"stop": "stop", "terminate": "SIGTERM", "kill": "SIGKILL", "interrupt": "SIGINT"}


def _after(process: Process) -> str:
    if process.asked is None or process.stopped_at is None:
        return ""
    seconds = (process.stopped_at - datetime.fromisoformat(process.asked["at"])).total_seconds()
    return f" after {max(0.0, seconds):.1f} s"


def _timed_out(process: Process) -> str:
    return f"Ended at its time limit of {process.spec.get('timeout') or 0:g} s{_by(process)}."


def _by(process: Process) -> str:
    return f", by {process.signal}" if process.signal else f", with exit code {process.exitcode}"


def _not_started(process: Process) -> str:
    reason = _first_line(process.error["message"]) if process.error else "the reason is not known"
    return f"Could not be started: {reason}"


def _lost(process: Process) -> str:
    if process.state is State.EXITED:
        return "It is over, but its exit code can't be known: the fork server that started it died."
    ended = process.detail.get("ended")  # how many were left; there only when a keeper was found dead
    if ended is None:
        return "What became of it can't be known; the end of its history says why."
    rest = f" {ended} process(es) left of its tree were ended." if ended else ""
    pid = f" Pid {process.pid} is no longer this process." if process.pid else ""
    return f"Its keeper was killed, so what became of it can't be known; it is not running any more.{pid}{rest}"


_SUMMARIES = {
    Outcome.SUCCEEDED: _succeeded,
    Outcome.FAILED: _failed,
    Outcome.CRASHED: _crashed,
    Outcome.STOPPED: _stopped,
    Outcome.TIMED_OUT: _timed_out,
    Outcome.NOT_STARTED: _not_started,
    Outcome.LOST: _lost,
}
