"""Numbers of lines, counted from the oldest that is kept."""

import threading
from collections import OrderedDict

from app.log.lines import open_ends
from app.log.source import LOOK_BACK, Source, extent, read_range
from procdeck.log import Chunk

_COUNT_BLOCK = 1024 * 1024


class Numbering:
    """Counts lines, and remembers the counts of segments that are closed: they do not change any more."""

    def __init__(self, remember: int = 20_000) -> None:
        self._remember = remember
        self._counts: OrderedDict[tuple[str, int, int], int] = OrderedDict()
        self._lock = threading.Lock()

    def number_at(self, source: Source, offset: int) -> int:
        """The number of the line that begins at ``offset``. Blocks."""
        return 1 + self.lines_before(source, offset)

    def lines_before(self, source: Source, offset: int) -> int:
        """How many lines begin before ``offset``, the start of a record. Blocks."""
        total = 0
        parts = source.segments()
        for index, (first, size) in enumerate(parts):
            if first >= offset:
                break
            is_closed = index < len(parts) - 1
            if is_closed and first + size <= offset:
                total += self._segment(source, first, size)
            else:
                total += _count(source, first, min(offset, first + size))
        oldest, _ = extent(source)
        return total + len(open_ends(read_range(source, max(oldest, offset - LOOK_BACK), offset)))

    def _segment(self, source: Source, first: int, size: int) -> int:
        key = (source.key, first, size)
        with self._lock:
            if (known := self._counts.get(key)) is not None:
                self._counts.move_to_end(key)
                return known
        count = _count(source, first, first + size)
        with self._lock:
            self._counts[key] = count
            while len(self._counts) > self._remember:
                self._counts.popitem(last=False)
        return count

    def offset_of(self, source: Source, number: int) -> int:
        """The offset of a line by its number; of the first or last one when there are not so many. Blocks."""
        wanted = max(0, number - 1)
        parts = source.segments()
        at = parts[0][0] if parts else 0
        for index, (first, size) in enumerate(parts):
            is_closed = index < len(parts) - 1
            count = self._segment(source, first, size) if is_closed else _count(source, first, first + size)
            if count > wanted or not is_closed:
                return _nth(source, first, first + size, wanted)
            wanted -= count
            at = first
        return at


def _count(source: Source, start: int, end: int) -> int:
    """How many lines end in start..end."""
    total, after = 0, start
    while after < end:
        chunk = source.read(after, min(_COUNT_BLOCK, end - after))
        if not chunk.data or chunk.start >= end:
            break
        data = chunk.data if chunk.end <= end else chunk.data[: chunk.data.rfind(b"\n", 0, end - chunk.start) + 1]
        total += ended(data)
        after = chunk.end
    return total


def ended(data: bytes) -> int:
    """How many lines end in these records: those that are no parts."""
    count = data.count(b"\n")
    if b" P " in data and (b" stdout P " in data or b" stderr P " in data):
        return count - sum(line[34:37] == b" P " for line in data.split(b"\n"))
    return count


def _nth(source: Source, start: int, end: int, wanted: int) -> int:
    """The offset behind the first ``wanted`` lines that end in start..end; of the last record, when there are fewer."""
    after = last = start
    while after < end:
        chunk = source.read(after, min(_COUNT_BLOCK, end - after))
        if not chunk.data:
            break
        count = ended(chunk.data)
        if count > wanted:
            return _nth_in(chunk, wanted)
        wanted -= count
        last = chunk.start + chunk.data.rfind(b"\n", 0, len(chunk.data) - 1) + 1
        after = chunk.end
    return last


def _nth_in(chunk: Chunk, wanted: int) -> int:
    at = 0
    while wanted:
        end = chunk.data.find(b"\n", at)
        wanted -= chunk.data[at + 34 : at + 37] != b" P "
        at = end + 1
    return chunk.start + at
