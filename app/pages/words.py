"""Values as people read them: durations, sizes, times, the call, and the word for where a process is. Pure."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

MAX_CALL = 2000
"""Characters of a call that a page shows; the whole is in the JSON of the process."""

_STATUS_WORDS = {"timed_out": "Timed out", "not_started": "Not started"}


def status(process: Mapping[str, Any]) -> str:
    """The one word for a process: its outcome once it is over, else its state."""
    return str(process["outcome"] or process["state"])


def status_word(status: str) -> str:
    """`timed_out` is "Timed out"."""
    return _STATUS_WORDS.get(status, status.capitalize())


def duration(seconds: float | None) -> str:
    """`0.84 s`, `12 s`, `2:10`, `1:02:03`, `3 d 04:05`; static/times.js does the same for what goes on."""
    if seconds is None:
        return ""
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    if days:
        return f"{days} d {hours:02}:{minutes:02}"
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def seconds(value: float) -> str:
    """A number of seconds as it would be typed: `10 s`, `0.5 s`."""
    return f"{value:g} s"


def about(seconds: float) -> str:
    """A duration that is only a guess: `1 min`, `3 h`."""
    if seconds < 3600:
        return f"{max(1, round(seconds / 60))} min"
    return f"{round(seconds / 3600)} h" if seconds < 2 * 86400 else f"{round(seconds / 86400)} d"


def utc(at: str | datetime | None) -> str:
    """A time for pages without script: `2026-11-22 14:02:11 UTC`."""
    if at is None:
        return ""
    moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def brief(at: str | datetime, now: datetime) -> str:
    """The same where there is little room: the time of today, the day of everything before."""
    text = utc(at)
    return text[11:] if text[:10] == utc(now)[:10] else text[:10]


def pretty(value: Any) -> str:
    """JSON for people."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def call(process: Mapping[str, Any], limit: int = MAX_CALL) -> str:
    """The call that a process makes, as Python would write it: `jobs:resize('/in', width=640)`."""
    given = [repr(value) for value in process["args"]]
    given += [f"{name}={value!r}" for name, value in process["kwargs"].items()]
    text = f"{process['target']}({', '.join(given)})"
    return text if len(text) <= limit else f"{text[: limit - 2]}…)"
