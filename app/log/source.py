"""Where the bytes of a log come from, and reading them in whole records, forwards and backwards."""

from collections.abc import Iterator
from typing import Protocol

from procdeck.log import MAX_TEXT_BYTES, Chunk

BLOCK = 256 * 1024
"""Bytes that are looked at in one piece; more than the longest record."""
STAMP = 37
"""Bytes in front of the text of a record: time, stream, tag, and a space after each."""
JOIN_WITHIN = 64 * 1024
"""A part of a line is joined with what follows in its stream within as many bytes: so what a line is can be told from
what stands near to it."""
LOOK_BACK = JOIN_WITHIN + MAX_TEXT_BYTES + 2 * STAMP


class Source(Protocol):
    """One log. `key` names it among others; methods block and may raise OSError."""

    @property
    def key(self) -> str:
        """The id of its process."""
        ...

    def segments(self) -> list[tuple[int, int]]:
        """(first offset, size) of each segment, oldest first."""
        ...

    def marks(self) -> dict[int, int]:
        """How many lines ended before a segment, by its first offset; of some or none, see `procdeck.log.marks`."""
        ...

    def read(self, after: int, limit: int) -> Chunk:
        """Whole records from ``after`` on, about ``limit`` bytes at most; see `procdeck.log.read_chunk`."""
        ...


def extent(source: Source) -> tuple[int, int]:
    """(offset of the oldest byte kept, offset behind the last)."""
    parts = source.segments()
    return (parts[0][0], parts[-1][0] + parts[-1][1]) if parts else (0, 0)


def read_range(source: Source, start: int, end: int) -> Chunk:
    """The whole records that begin in start..end, in one piece; what is missing in between is left out at the front."""
    pieces: list[bytes] = []
    first = after = start
    while after < end:
        chunk = source.read(after, end - after)
        if not chunk.data:
            break
        if chunk.start != after:  # only what hangs together: offsets are counted through a chunk
            pieces.clear()
        if not pieces:
            first = chunk.start
        pieces.append(chunk.data)
        after = chunk.end
    data = b"".join(pieces)
    if first + len(data) > end:
        # A record that begins before the end belongs to it as a whole.
        data = data[: data.find(b"\n", max(0, end - first - 1)) + 1] if end > first else b""
    return Chunk(first, first + len(data), data)


def blocks_back(source: Source, before: int, size: int = BLOCK) -> Iterator[Chunk]:
    """The log in pieces from ``before``, the start of a record, back to its beginning."""
    oldest, end = extent(source)
    before = min(before, end)
    while before > oldest:
        start = max(oldest, before - size)
        chunk = read_range(source, start, before)
        if not chunk.data:
            return
        yield chunk
        if chunk.start <= oldest:
            return
        before = chunk.start


def blocks_on(source: Source, after: int, until: int | None = None, size: int = BLOCK) -> Iterator[Chunk]:
    """The log in pieces from ``after`` on, to ``until`` or to its end as it is now."""
    end = extent(source)[1] if until is None else until
    while after < end:
        chunk = source.read(after, size)
        if not chunk.data:
            return
        yield chunk
        after = chunk.end
