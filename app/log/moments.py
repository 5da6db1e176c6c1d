"""Places in a log by the time at which a line was written."""

import re
from datetime import UTC, datetime

from app.errors import Invalid
from app.log.source import BLOCK, Source, extent
from procdeck.log import parse

_STAMP = "%Y-%m-%dT%H:%M:%S.%fZ"
_CLOCK = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?")


def offset_at(source: Source, moment: datetime) -> int:
    """The offset of the first line that was written at ``moment`` or later; the end of the log when none was. Blocks.

    By halving, so where a clock was set back meanwhile it is one of the places that fit.
    """
    wanted = moment.astimezone(UTC).strftime(_STAMP)
    oldest, end = extent(source)
    low, high = oldest, end
    while high - low > BLOCK:
        middle = (low + high) // 2
        chunk = source.read(middle, 1)
        first = next(parse(chunk), None)
        if first is None or first.offset >= high:
            high = middle
        elif first.time < wanted:
            low = first.end
        else:
            high = middle
    at = low
    while at < end:
        chunk = source.read(at, BLOCK)
        if not chunk.data:
            break
        for record in parse(chunk):
            if record.time >= wanted:
                return record.offset
        at = chunk.end
    return end


def of(time: str) -> datetime | None:
    """A time of a record; None when it is none."""
    try:
        return datetime.fromisoformat(time).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def read_moment(text: str, day: datetime) -> datetime:
    """A time as people type it: ISO 8601, or a time of the day that ``day`` is in; in its zone unless it names one.

    Raises Invalid.
    """
    text = text.strip()
    try:
        if match := _CLOCK.fullmatch(text):
            hour, minute, second, part = match.groups(default="0")
            micro = int(part.ljust(6, "0"))
            return day.replace(hour=int(hour), minute=int(minute), second=int(second), microsecond=micro)
        found = datetime.fromisoformat(text)
        return found if found.tzinfo else found.replace(tzinfo=day.tzinfo)
    except (ValueError, OverflowError) as error:
        message = "must be a time such as 14:02:11 or 2026-11-22T14:02:11Z"
        raise Invalid(f"The time {message}.", errors=[{"field": "time", "message": message}]) from error
