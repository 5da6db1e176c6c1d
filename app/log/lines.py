"""Lines out of records: parts are joined, each has its level, and knows whether it belongs to the one before it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from app.log import ansi
from app.log.levels import Classifier, Level
from app.log.source import JOIN_WITHIN, LOOK_BACK, Source, blocks_back, extent, read_range
from procdeck.log import Chunk, Record, parse

LAST_RECORDS = 400
"""Records before a place that are looked at for what it inherits: a traceback may be long."""
ADOPT_BYTES = 256 * 1024
"""Of a line that began before, how much of its end is taken along: what is shown is behind its last carriage return."""
LONGEST_WAY_BACK = 32 * 1024 * 1024
"""Bytes back in which the beginning of a line is looked for: a progress bar of hours is one line."""


@dataclass(slots=True)
class Line:
    """One line.

    `offset` is that of its first record and names it; `end` is behind its last so far; `is_open` when more of it may
    come. `raw` is as it was written, of a very long one as much as can be shown. `silence` is how many seconds there
    was nothing before it.
    """

    offset: int
    end: int
    time: str
    stream: str
    raw: str
    is_open: bool = False
    level: Level | None = None
    is_continuation: bool = False
    number: int = 0
    silence: float = 0.0

    @property
    def text(self) -> str:
        """As it is shown, without colours."""
        return ansi.plain(self.raw)


class Joiner:
    """Makes lines of records, in the order of the log; see `context` for what goes before them."""

    def __init__(self) -> None:
        self.open: dict[str, Line] = {}
        """The lines whose end has not come, by stream."""
        self.skipped: dict[str, int] = {}
        """Streams that are inside of a line that began before, and is left out: the offset behind its last part."""
        self.classifier = Classifier()
        self.last_time = ""

    def feed(self, records: Iterable[Record]) -> list[Line]:
        """The lines that the records begin or go on with, each once."""
        touched: dict[int, Line] = {}
        for record in records:
            if (line := self._take(record)) is not None:
                touched[line.offset] = line
        return list(touched.values())

    def _take(self, record: Record) -> Line | None:
        stream, before = record.stream, self.last_time
        self.last_time = record.time
        skipped = self.skipped.pop(stream, None)
        if skipped is not None and record.offset - skipped <= JOIN_WITHIN:
            if record.partial:
                self.skipped[stream] = record.end
            return None
        line = self.open.pop(stream, None)
        if line is not None and record.offset - line.end <= JOIN_WITHIN:
            line.raw = ansi.shorten(line.raw + record.text)
            line.end, line.is_open = record.end, record.partial
        else:
            if line is not None:
                self._close(line)
            line = Line(record.offset, record.end, record.time, stream, record.text, record.partial)
            if before[:16] != record.time[:16]:
                line.silence = silence(before, record.time)
        if record.partial:
            self.open[stream] = line
        else:
            self._close(line)
        return line

    def _close(self, line: Line) -> None:
        line.is_open = False
        line.level, line.is_continuation = self.classifier.feed(line.stream, line.text)


def silence(before: str, after: str) -> float:
    """Seconds between two times of records; 0.0 when one is unknown."""
    try:
        return (datetime.fromisoformat(after) - datetime.fromisoformat(before)).total_seconds()
    except (ValueError, TypeError):
        return 0.0


def open_ends(data: Chunk) -> dict[str, int]:
    """The streams whose last record in ``data`` is a part, and where it ends."""
    if b" P " not in data.data:
        return {}
    found: dict[str, int] = {}
    for record in parse(data):
        if record.partial:
            found[record.stream] = record.end
        else:
            found.pop(record.stream, None)
    return {stream: end for stream, end in found.items() if data.end - end <= JOIN_WITHIN}


def context(source: Source, offset: int) -> Joiner:
    """A joiner for reading on from ``offset``, the start of a record: it knows levels and times of what goes before,
    and leaves out what belongs to a line that began there."""
    oldest, _ = extent(source)
    before = read_range(source, max(oldest, offset - LOOK_BACK), offset)
    joiner = Joiner()
    if before.end == offset and before.data:
        joiner.feed(_last(before, LAST_RECORDS))
        joiner.open = {}
        joiner.skipped = open_ends(before)
    return joiner


def _last(chunk: Chunk, count: int) -> list[Record]:
    """The last records of a chunk."""
    start = len(chunk.data)
    for _ in range(count + 1):
        start = chunk.data.rfind(b"\n", 0, max(0, start))
        if start < 0:
            break
    return list(parse(Chunk(chunk.start + start + 1, chunk.end, chunk.data[start + 1 :])))


def adopt(source: Source, joiner: Joiner, offset: int) -> None:
    """Let ``joiner``, made by `context` for ``offset``, go on with the lines that it would leave out, too."""
    for stream, end in joiner.skipped.items():
        start = line_start(source, _last_record(source, end))
        line: Line | None = None
        for record in parse(read_range(source, max(start, end - ADOPT_BYTES), offset)):
            if record.stream != stream:
                continue
            if line is None:
                line = Line(start, record.end, record.time, stream, record.text, is_open=True)
            else:
                line.raw = ansi.shorten(line.raw + record.text)
                line.end = record.end
        if line is not None:
            joiner.open[stream] = line
    joiner.skipped = {}


def _last_record(source: Source, end: int) -> int:
    """The offset of the record that ends at ``end``."""
    oldest, _ = extent(source)
    found = [record.offset for record in parse(read_range(source, max(oldest, end - LOOK_BACK), end))]
    return found[-1] if found else end


def line_start(source: Source, offset: int) -> int:
    """The offset of the line that the record at ``offset``, or the next one behind it, belongs to."""
    chunk = source.read(offset, 1)
    if not chunk.data:
        return offset
    record = next(parse(chunk))
    found = record.offset
    for before in blocks_back(source, found):
        for each in reversed(list(parse(before))):
            if found - each.end > JOIN_WITHIN:
                return found
            if each.stream == record.stream:
                if not each.partial:
                    return found
                found = each.offset
        if record.offset - before.start > LONGEST_WAY_BACK:
            break
    return found
