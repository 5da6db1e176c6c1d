"""Values as people read them: durations, sizes, times, the call, and the word for where a process is. Pure."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from app.units import duration as duration

MAX_CALL = 2000
"""Characters of a call that a page shows; the whole is in the JSON of the process."""

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
"""Whatever the locale of the service: its pages are in English."""

_STATUS_WORDS = {"timed_out": "Timed out", "not_started": "Not started"}


def status(process: Mapping[str, Any]) -> str:
    """The one word for a process: its outcome once it is over, else its state."""
    return str(process["outcome"] or process["state"])


def status_word(status: str) -> str:
    """`timed_out` is "Timed out"."""
    return _STATUS_WORDS.get(status, status.capitalize())


def seconds(value: float) -> str:
    """A number of seconds as it would be typed: `10 s`, `0.5 s`."""
    return f"{value:g} s"


def about(seconds: float) -> str:
    """A duration that is only a guess: `11 s`, `3 min`, `3 h`."""
    if seconds < 60:
        return f"{min(max(round(seconds), 1), 59)} s"
    if seconds < 3600:
        return f"{round(seconds / 60)} min"
    return f"{round(seconds / 3600)} h" if seconds < 2 * 86400 else f"{round(seconds / 86400)} d"


def utc(at: str | datetime | None) -> str:
    """A time for pages without script: `2026-11-22 14:02:11 UTC`."""
    if at is None:
        return ""
    moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def brief(at: str | datetime, now: datetime) -> str:
    """The same where there is little room: `19:23 UTC` of today, `Nov 17 19:22` of this year, `Nov 17, 2025`.

    static/times.js does the same in the zone of the browser.
    """
    moment = (datetime.fromisoformat(at) if isinstance(at, str) else at).astimezone(UTC)
    today = now.astimezone(UTC)
    day = f"{MONTHS[moment.month - 1]} {moment.day}"
    if moment.date() == today.date():
        return f"{moment:%H:%M} UTC"
    return f"{day} {moment:%H:%M}" if moment.year == today.year else f"{day}, {moment.year}"


def pretty(value: Any) -> str:
    """JSON for people."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def call(process: Mapping[str, Any], limit: int = MAX_CALL) -> str:
    """The call that a process makes, as Python would write it: `jobs:resize('/in', width=640)`."""
    taken: list[str] = []
    length = 0
    for piece in _call(process, limit):
        taken.append(piece)
        length += len(piece)
        if length > limit:  # what follows is not even looked at: there may be a lot of it
            return f"{''.join(taken)[: limit - 2]}…)"
    return "".join(taken)


def _call(process: Mapping[str, Any], limit: int) -> Iterator[str]:
    yield f"{process['target']}("
    comma = ""
    for value in process["args"]:
        yield comma
        yield from _repr(value, limit)
        comma = ", "
    for name, value in process["kwargs"].items():
        yield f"{comma}{name}="
        yield from _repr(value, limit)
        comma = ", "
    yield ")"


def _repr(value: Any, limit: int) -> Iterator[str]:
    """Python's `repr` of a JSON value, piece by piece; of a text longer than ``limit`` no more than that."""
    if isinstance(value, str):
        yield repr(value[:limit])
    elif isinstance(value, list):
        yield "["
        for index, item in enumerate(value):
            yield ", " if index else ""
            yield from _repr(item, limit)
        yield "]"
    elif isinstance(value, dict):
        yield "{"
        for index, (key, item) in enumerate(value.items()):
            yield f"{', ' if index else ''}{key[:limit]!r}: "
            yield from _repr(item, limit)
        yield "}"
    else:
        yield repr(value)
