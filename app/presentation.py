"""How a process is shown: the fields of the contract, and the sentence that explains its end.

Computed from facts, stored nowhere.
"""

import contextlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
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


Part = str | datetime
"""Of a sentence: words, or a time of day, which pages show in the zone of who reads."""


def exit_summary(process: Process) -> str | None:
    """Why it ended, in a sentence with times in UTC; None while it is not over."""
    if not process.is_over:
        return None
    return "".join(part if isinstance(part, str) else _clock(part) for part in exit_parts(process))


def exit_parts(process: Process) -> list[Part]:
    """The same sentence in parts, for pages; empty while it is not over."""
    if not process.is_over:
        return []
    return _SUMMARIES[process.outcome or Outcome.LOST](process)


def _clock(at: datetime) -> str:
    """The time of day, in the zone that all of it is kept in."""
    return at.astimezone(UTC).strftime("%H:%M:%S UTC")


def _succeeded(process: Process) -> list[Part]:
    return ["Finished normally."]


def _failed(process: Process) -> list[Part]:
    code = process.exitcode or 0
    if process.error:
        return [f"Exit code {code}: uncaught {process.error['type']}: {_first_line(process.error['message'])}"]
    if code == 1:
        return ["Exit code 1: sys.exit(1), or an uncaught exception; the end of the log tells."]
    hint = " (2 often means wrong command-line arguments)" if code == 2 else ""
    shell = f"; a shell inside reports signal {code - 128} this way" if code > 128 else ""
    return [f"Exit code {code}, set by the program{hint}{shell}."]


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0][:200]


def _crashed(process: Process) -> list[Part]:
    name = process.signal or "a signal"
    said = f"Killed by {name} ({process.exitcode}), which was not sent by Procdeck"
    if process.detail.get("oom_killed"):
        limit = process.detail.get("memory_limit_bytes")
        most = f" ({units.size(limit)} at most)" if limit else ""
        why = f"the kernel ended it because the memory of its control group{most} was used up"
        return [f"{said}: {why}", *_memory(process), "."]
    if name == "SIGKILL":
        return [f"{said}. Often the kernel's out-of-memory killer", *_memory(process), "."]
    meaning = _MEANINGS.get(name)
    return [f"{said}: {meaning}; {_NO_TRACEBACK}." if meaning else f"{said}."]


def _memory(process: Process) -> list[Part]:
    """How much memory it had, as far as that is known."""
    if not process.max_rss_bytes:
        return []
    said: list[Part] = [f"; it had used up to {units.size(process.max_rss_bytes)} of memory"]
    with contextlib.suppress(KeyError, TypeError, ValueError):  # none, or what somebody wrote into a journal
        last = process.detail["last_sample"]
        at = datetime.fromisoformat(last["at"])
        said += [f", and {units.size(last['rss_bytes'])} when last measured, at ", at]
    return said


def _stopped(process: Process) -> list[Part]:
    asked = process.asked
    if asked is None:
        if process.exitcode is None:
            return ["Cancelled before it was started."]
        return [f"Ended by {process.signal}, which was sent through Procdeck."]
    action, at = asked["action"], datetime.fromisoformat(asked["at"])
    lasted = process.stopped_at - at if process.stopped_at else None
    after = f" after {_seconds(lasted)}" if lasted is not None else ""
    if action == "kill" and process.signal == "SIGKILL":
        late = f"; it was gone{after}" if lasted is not None and lasted.total_seconds() >= 1 else ""
        return [f"Killed (SIGKILL) by {_who(asked)} at ", at, f"{late}."]
    head: list[Part] = [f"{_ASKED.get(action, 'Ended')} by {_who(asked)} at ", at]
    if process.signal is None:
        return [*head, f"; it ended with exit code {process.exitcode}{after}."]
    if _OWN.get(action) == process.signal:
        return [*head, f"; ended by {process.signal}{after}."]
    how = "killed (SIGKILL)" if process.signal == "SIGKILL" else f"ended by {process.signal}"
    step = asked.get("sent", {}).get(process.signal)
    if step is None:  # sent as a signal like any other, or recorded before it was noted who sent it
        ours = ", which was sent through Procdeck" if process.signal in process.detail.get("signals_sent", ()) else ""
        return [*head, f"; {how}{after}{ours}."]
    went_on = "ignored for" if action in _OWN else "it went on for"
    by = "when its grace was over" if step["actor"] == KEEPER else f"by {_who(step)}"
    return [*head, f"; {went_on} {_seconds(datetime.fromisoformat(step['at']) - at)}, then {how} {by}."]


_ASKED = {"stop": "Asked to stop", "terminate": "SIGTERM", "kill": "SIGKILL", "interrupt": "SIGINT"}
_OWN = {"terminate": "SIGTERM", "kill": "SIGKILL", "interrupt": "SIGINT"}


def _who(asked: JSON) -> str:
    actor = {KEEPER: "its keeper", SERVICE: "the service"}.get(asked["actor"], str(asked["actor"]))
    return f"{actor} ({asked['reason']})" if asked.get("reason") else actor


def _seconds(passed: timedelta) -> str:
    return f"{max(0.0, passed.total_seconds()):.1f} s"


def _timed_out(process: Process) -> list[Part]:
    return [f"Ended at its time limit of {process.spec.get('timeout') or 0:g} s{_by(process)}."]


def _by(process: Process) -> str:
    return f", by {process.signal}" if process.signal else f", with exit code {process.exitcode}"


def _not_started(process: Process) -> list[Part]:
    reason = _first_line(process.error["message"]) if process.error else "the reason is not known"
    return [f"Could not be started: {reason}"]


def _lost(process: Process) -> list[Part]:
    if process.state is State.EXITED:
        return ["It is over, but its exit code can't be known: the fork server that started it died."]
    ended = process.detail.get("ended")  # how many were left; there only when a keeper was found dead
    if ended is None:
        return ["What became of it can't be known; the end of its history says why."]
    rest = f" {ended} process(es) left of its tree were ended." if ended else ""
    pid = f" Pid {process.pid} is no longer this process." if process.pid else ""
    return [f"Its keeper was killed, so what became of it can't be known; it is not running any more.{pid}{rest}"]


_SUMMARIES = {
    Outcome.SUCCEEDED: _succeeded,
    Outcome.FAILED: _failed,
    Outcome.CRASHED: _crashed,
    Outcome.STOPPED: _stopped,
    Outcome.TIMED_OUT: _timed_out,
    Outcome.NOT_STARTED: _not_started,
    Outcome.LOST: _lost,
}
