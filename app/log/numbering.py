"""Numbers of lines: what a line is called does not change when older ones are removed."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from app.log.lines import open_ends
from app.log.source import LOOK_BACK, Source, extent, read_range
from procdeck.log import Chunk, lines_ended

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
        parts, total = source.segments(), 0
        marks = _marks(source, parts)
        for index, (first, size) in enumerate(parts):
            if first >= offset and index:
                break
            total = marks[first] if first in marks else total if index else (self._base(source, parts, marks) or 0)
            is_closed = index < len(parts) - 1
            if is_closed and first + size <= offset:
                # What the next one says itself need not be counted.
                total += 0 if parts[index + 1][0] in marks else self._segment(source, first, size)
            elif first < offset:
                total += _count(source, first, min(offset, first + size))
        oldest, _ = extent(source)
        return total + len(open_ends(read_range(source, max(oldest, offset - LOOK_BACK), offset)))

    def removed(self, source: Source) -> int | None:
        """How many lines went before the oldest that is kept; None when nobody counted them. Blocks."""
        parts = source.segments()
        return self._base(source, parts, _marks(source, parts))

    def _base(self, source: Source, parts: Sequence[tuple[int, int]], marks: Mapping[int, int]) -> int | None:
        counted = 0
        for first, size in parts:
            if first in marks:
                return max(0, marks[first] - counted)
            counted += self._segment(source, first, size) if (first, size) != parts[-1] else 0
        return None

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
        """The offset of a line by its number; of the first or last one kept when there is none. Blocks."""
        parts = source.segments()
        marks = _marks(source, parts)
        base = self._base(source, parts, marks) or 0
        at = parts[0][0] if parts else 0
        for index, (first, size) in enumerate(parts):
            base = marks.get(first, base)
            wanted = max(0, number - 1 - base)
            if index == len(parts) - 1:
                return _nth(source, first, first + size, wanted)
            following = marks.get(parts[index + 1][0])
            count = self._segment(source, first, size) if following is None else following - base
            if count > wanted:
                return _nth(source, first, first + size, wanted)
            base += count
            at = first
        return at


def _marks(source: Source, parts: Sequence[tuple[int, int]]) -> dict[int, int]:
    """How many lines ended before each segment, where that is known."""
    if len(parts) == 1 and parts[0][0] == 0:
        return {0: 0}
    marks = source.marks()
    return {0: 0} | {first: marks[first] for first, _ in parts if first in marks}


def _count(source: Source, start: int, end: int) -> int:
    """How many lines end in start..end."""
    total, after = 0, start
    while after < end:
        chunk = source.read(after, min(_COUNT_BLOCK, end - after))
        if not chunk.data or chunk.start >= end:
            break
        data = chunk.data if chunk.end <= end else chunk.data[: chunk.data.rfind(b"\n", 0, end - chunk.start) + 1]
        total += lines_ended(data)
        after = chunk.end
    return total


def _nth(source: Source, start: int, end: int, wanted: int) -> int:
    """The offset behind the first ``wanted`` lines that end in start..end; of the last record, when there are fewer."""
    after = last = start
    while after < end:
        chunk = source.read(after, min(_COUNT_BLOCK, end - after))
        if not chunk.data:
            break
        count = lines_ended(chunk.data)
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
