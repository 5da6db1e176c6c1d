"""The end of a log as lines of a page."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from app.pages import words
from app.supervisor import logs
from app.supervisor.supervisor import Supervisor
from procdeck.log import Record, parse

LINES = 500
"""Lines on the page of a process; the rest of the log is in the download, and further on live."""
MAX_LINES = 20_000
MAX_BYTES = 4 * 1024 * 1024
"""Of the log, about, however long its lines are."""


@dataclass(slots=True)
class Line:
    """One line; `is_open` when its end has not come yet."""

    offset: int
    time: str
    stream: str
    raw: str
    is_open: bool = False

    @property
    def text(self) -> str:
        return words.log_text(self.raw)


@dataclass(slots=True)
class Tail:
    """The last lines of a log. `after` is the offset behind them, `is_cut` whether lines before them are kept."""

    lines: list[Line] = field(default_factory=list)
    after: int = 0
    is_cut: bool = False


def join(records: Iterable[Record]) -> list[Line]:
    """Lines out of records: a partial one goes on with the next of its stream."""
    lines: list[Line] = []
    unfinished: dict[str, Line] = {}
    for record in records:
        line = unfinished.pop(record.stream, None)
        if line is None:
            line = Line(record.offset, record.time, record.stream, record.text)
            lines.append(line)
        else:
            line.raw += record.text
        line.is_open = record.partial
        if record.partial:
            unfinished[record.stream] = line
    return lines


async def read(supervisor: Supervisor, process_id: str, count: int = LINES) -> Tail:
    """The last `count` records of a log, as lines."""
    start = await logs.start_offset(supervisor, process_id, 0, count)
    oldest, end = await logs.extent(supervisor, process_id)
    start = max(start, end - MAX_BYTES)
    records: list[Record] = []
    after, first = start, None
    async for chunk in logs.chunks(supervisor, process_id, start, follow=False):
        first = chunk.start if first is None else first
        after = chunk.end
        records += parse(chunk)
        # The process writes faster than we read: leave the rest to the stream.
        if len(records) > 2 * count or after - start > 2 * MAX_BYTES:
            break
    return Tail(join(records), after, is_cut=first is not None and first > oldest)
