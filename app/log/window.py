"""A piece of a log around a place: so many lines before it, or from it on."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from app.log.ansi import LONGEST_RAW
from app.log.levels import may_hold
from app.log.lines import Joiner, Line, context, line_start
from app.log.numbering import Numbering
from app.log.query import Matcher, Query
from app.log.source import BLOCK, Source, blocks_back, blocks_on, extent, read_range
from procdeck.log import Chunk, lines_ended, parse

MOST = 20_000
"""Lines of one window."""
MOST_BYTES = 4 * 1024 * 1024
"""Of text in one window, about, however long its lines are."""
BAR_SECONDS = 5.0
"""The same where every line is wanted: it takes as long only where a line is hundreds of megabytes."""
SECONDS = 0.7
"""How long is looked for lines that a query wants, before what was found is handed over."""


@dataclass(slots=True)
class Window:
    """Lines, and where to go on: ``before`` for earlier ones, ``after`` for later ones.

    ``has_earlier`` and ``has_later`` tell whether there may be any. ``searched`` is the time of the line that was
    looked at last when time was up before enough was found; empty otherwise.
    """

    lines: list[Line] = field(default_factory=list)
    before: int = 0
    after: int = 0
    has_earlier: bool = False
    has_later: bool = False
    searched: str = ""


def earlier(
    source: Source, before: int, count: int, query: Query, numbering: Numbering, seconds: float = SECONDS
) -> Window:
    """The last ``count`` lines that begin before ``before``, oldest first. Raises TooSlow."""
    oldest, end = extent(source)
    matcher = Matcher(query, seconds)
    deadline = time.monotonic() + (BAR_SECONDS if query.is_all else seconds)
    found: list[Line] = []
    size, stop, searched = 0, min(before, end), ""
    for block in blocks_back(source, stop, BLOCK if not query.is_all else min(BLOCK, 64 * 1024 + count * 160)):
        stop = block.start
        if may_match(block.data, query):
            lines = lines_of(source, block, until=before)
            wanted = [line for line in lines if matcher.wants(line)]
            found[:0] = wanted
            size += sum(len(line.raw) for line in wanted)
        if len(found) >= count or size > MOST_BYTES:
            break
        if time.monotonic() > deadline and stop > oldest:
            searched = next(parse(block)).time
            break
    found = _cut(found, count)
    first = found[0].offset if found and (len(found) >= count or size > MOST_BYTES) else stop
    _number(found, source, numbering, query)
    after = found[-1].offset if found and found[-1].is_open else min(before, end)
    return Window(found, first, after, first > oldest, before < end, searched)


def _cut(lines: list[Line], count: int) -> list[Line]:
    """The last of them, as many and as long as a window may be."""
    lines = lines[-count:] if count else []
    size = 0
    for index in range(len(lines) - 1, -1, -1):
        size += len(lines[index].raw)
        if size > MOST_BYTES and index < len(lines) - 1:
            return lines[index + 1 :]
    return lines


def later(
    source: Source, after: int, count: int, query: Query, numbering: Numbering, seconds: float = SECONDS
) -> Window:
    """The first ``count`` lines that begin at ``after`` or behind it. Raises TooSlow."""
    oldest, end = extent(source)
    matcher = Matcher(query, seconds)
    deadline = time.monotonic() + seconds
    found: list[Line] = []
    at, size, searched = max(after, oldest), 0, ""
    start = at
    while at < end:
        block = source.read(at, BLOCK)
        if not block.data:
            break
        if block.start > at and at == start:
            start = block.start
        at = block.end
        if may_match(block.data, query):
            for line in lines_of(source, block, until=None):
                if matcher.wants(line):
                    found.append(line)
                    size += len(line.raw)
                    if len(found) == count or size > MOST_BYTES:
                        at = _behind(source, line)
                        break
        if len(found) >= count or size > MOST_BYTES:
            break
        if time.monotonic() > deadline and at < end:
            searched = found[-1].time if found else next(parse(block)).time
            break
    _number(found, source, numbering, query)
    # What is unfinished at the end is asked for again: more of it may have come.
    resume = found[-1].offset if found and found[-1].is_open and at >= end else at
    return Window(found, start, resume, start > oldest, at < end, searched)


def _behind(source: Source, line: Line) -> int:
    """Where the next line begins that is not before ``line``: behind its first record."""
    chunk = source.read(line.offset, 1)
    return next(parse(chunk)).end if chunk.data else line.end


def around(source: Source, at: int, count: int, query: Query, numbering: Numbering) -> Window:
    """Lines before and behind the one that the record at ``at`` belongs to."""
    oldest, end = extent(source)
    at = line_start(source, max(oldest, min(at, end)))
    back = earlier(source, at, count // 2, query, numbering)
    on = later(source, at, count - len(back.lines), query, numbering)
    return Window(
        back.lines + on.lines, back.before, on.after, back.has_earlier, on.has_later, back.searched or on.searched
    )


def tail(source: Source, count: int, query: Query, numbering: Numbering) -> Window:
    """The last ``count`` lines."""
    return earlier(source, extent(source)[1], count, query, numbering)


def lines_of(source: Source, block: Chunk, until: int | None) -> list[Line]:
    """The lines that begin in a block, whole: also where their ends stand behind it."""
    joiner = context(source, block.start)
    lines = [line for line in joiner.feed(parse(block)) if until is None or line.offset < until]
    if joiner.open:
        _finish(source, joiner, block.end)
    return lines


def _finish(source: Source, joiner: Joiner, at: int) -> None:
    """Read on until the lines that are open have their ends, or are as long as can be shown."""
    for stream, line in list(joiner.open.items()):
        mark = f" {stream} F ".encode()
        passed = 0
        for block in blocks_on(source, at):
            # Of a progress bar of hours only the end is seen: what stands in between is passed over.
            if passed > BLOCK and mark not in block.data and block.end < extent(source)[1]:
                line.end = max(line.end, block.end)
                continue
            passed += len(block.data)
            joiner.feed(record for record in parse(block) if record.stream == stream)
            if joiner.open.get(stream) is not line or (len(line.raw) > LONGEST_RAW and "\r" not in line.raw):
                break


def may_match(data: bytes, query: Query) -> bool:
    """Whether any line in these bytes can be wanted; quick, and True when in doubt."""
    if query.level is not None and not may_hold(data, query.level):
        return False
    if query.stream is not None and f" {query.stream} ".encode() not in data:
        return False
    if query.words and not query.is_regex and not query.is_inverted and is_plain(data):
        return needle(query) in (data if query.is_case_sensitive else data.lower()) or not query.words.isascii()
    return True


def is_plain(data: bytes) -> bool:
    """Whether what is shown of these records are the bytes as they stand."""
    return b"\x1b" not in data and b"\r" not in data and b" P " not in data


def needle(query: Query) -> bytes:
    """The words as bytes to look for in bytes."""
    return (query.words if query.is_case_sensitive else query.words.lower()).encode(errors="replace")


def _number(lines: list[Line], source: Source, numbering: Numbering, query: Query) -> None:
    """Count them: one after the other where all are wanted, else on from each to the next."""
    if not lines:
        return
    lines[0].number = numbering.number_at(source, lines[0].offset)
    for line, following in pairwise(lines):
        if query.is_all:
            following.number = line.number + 1
        elif following.offset - line.offset < BLOCK:
            following.number = line.number + _lines_between(source, line.offset, following.offset)
        else:
            following.number = numbering.number_at(source, following.offset)


def _lines_between(source: Source, start: int, end: int) -> int:
    between = read_range(source, start, end)
    if b" P " not in between.data:
        return lines_ended(between.data)
    return sum(1 for _ in _starts(between))


def _starts(chunk: Chunk) -> Iterator[int]:
    inside: set[str] = set()
    for record in parse(chunk):
        if record.stream not in inside:
            yield record.offset
        inside.add(record.stream) if record.partial else inside.discard(record.stream)
