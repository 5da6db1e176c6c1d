"""Finding in a whole log: newest lines first, or the next one from a place on."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from app.log.lines import context
from app.log.query import Matcher, Query, TooSlow
from app.log.source import STAMP, Source, blocks_back, blocks_on, extent
from app.log.window import is_plain, lines_of, may_match, needle
from procdeck.log import Chunk

MOST = 10_000
"""Offsets that one answer has; what is beyond is counted."""
SECONDS = 0.7
"""How long is looked before what was found is told."""
FIND_BLOCK = 1024 * 1024


@dataclass(slots=True)
class Found:
    """What was found.

    ``offsets`` are the lines', newest first, the newest `MOST` of them; ``count`` is of all. ``next`` is where to go on
    (as ``before``) when time was up, else None; ``searched`` the time of the line that was looked at last.
    ``is_slow``: an expression took all the time there was for one piece, and it would again. ``end`` is that of the log
    as it was looked through; ``has_longer`` tells that a line was too long to be searched as a whole.
    """

    offsets: list[int] = field(default_factory=list)
    count: int = 0
    next: int | None = None
    searched: str = ""
    is_slow: bool = False
    end: int = 0
    has_longer: bool = False


def find(
    source: Source,
    query: Query,
    before: int | None = None,
    seconds: float = SECONDS,
    most: int = MOST,
    since: int = 0,
) -> Found:
    """Look for lines that begin before ``before``, or in all; none before ``since``. Blocks, for ``seconds`` about."""
    deadline = time.monotonic() + seconds
    matcher = Matcher(query, seconds)
    oldest, end = extent(source)
    stop = end if before is None else min(before, end)
    found = Found(end=end)
    for block in blocks_back(source, stop, FIND_BLOCK):
        try:
            offsets = [offset for offset in _in(source, block, matcher, stop) if offset >= since]
        except TooSlow:
            found.next = block.end
            found.is_slow = block.end == stop
            break
        found.count += len(offsets)
        found.offsets += reversed(offsets[max(0, len(offsets) - (most - len(found.offsets))) :])
        found.searched = block.data[: STAMP - 10].decode(errors="replace")
        if block.start <= since:
            break
        if time.monotonic() > deadline and block.start > oldest:
            found.next = block.start
            break
    found.has_longer = matcher.has_longer
    return found


def last(source: Source, query: Query, before: int, seconds: float = SECONDS) -> Found:
    """The last line that begins before ``before``, if any; see `Found.next`. Blocks."""
    return _neighbour(source, query, blocks_back(source, before, FIND_BLOCK), before, seconds, is_back=True)


def first(source: Source, query: Query, after: int, seconds: float = SECONDS) -> Found:
    """The first line that begins at ``after`` or behind it, if any; ``next`` is where to go on as ``after``. Blocks."""
    blocks = blocks_on(source, max(after, extent(source)[0]), size=FIND_BLOCK)
    return _neighbour(source, query, blocks, None, seconds, is_back=False)


def _neighbour(
    source: Source, query: Query, blocks: Iterator[Chunk], until: int | None, seconds: float, *, is_back: bool
) -> Found:
    deadline = time.monotonic() + seconds
    matcher = Matcher(query, seconds)
    oldest, end = extent(source)
    found = Found(end=end)
    is_first = True
    for block in blocks:
        try:
            offsets = list(_in(source, block, matcher, end if until is None else until))
        except TooSlow:
            found.next, found.is_slow = (block.end if is_back else block.start), is_first
            break
        is_first = False
        if offsets:
            found.offsets = offsets[-1:] if is_back else offsets[:1]
            found.count = 1
            break
        found.searched = block.data[: STAMP - 10].decode(errors="replace")
        if time.monotonic() > deadline and (block.start > oldest if is_back else block.end < end):
            found.next = block.start if is_back else block.end
            break
    found.has_longer = matcher.has_longer
    return found


def _in(source: Source, block: Chunk, matcher: Matcher, until: int) -> Iterator[int]:
    """The offsets of the lines in a block that are wanted, oldest first."""
    query = matcher.query
    if not may_match(block.data, query):
        return
    if query.level is None and is_plain(block.data) and query.words and not context(source, block.start).skipped:
        if not query.is_regex and not query.is_inverted and query.words.isascii():
            yield from _plain(block, query)
        else:
            yield from _texts(block, matcher)
        return
    for line in lines_of(source, block, until):
        if matcher.wants(line):
            yield line.offset


def _plain(block: Chunk, query: Query) -> Iterator[int]:
    """By bytes: nothing in the block is shown otherwise than it stands there."""
    data = block.data if query.is_case_sensitive else block.data.lower()
    wanted = needle(query)
    mark = f" {query.stream} ".encode() if query.stream else b""
    at = 0
    while (at := data.find(wanted, at)) >= 0:
        start = data.rfind(b"\n", 0, at) + 1
        if at < start + STAMP:  # in the stamp, where nobody looks
            at = start + STAMP
            continue
        end = data.find(b"\n", at)
        if end < at + len(wanted):  # words have no line break
            at = end + 1
            continue
        if not mark or data[start + 27 : start + 35] == mark:
            yield block.start + start
        at = end + 1


def _texts(block: Chunk, matcher: Matcher) -> Iterator[int]:
    """Text by text; quicker than by lines, where a record is a line."""
    query = matcher.query
    mark = f" {query.stream} " if query.stream else ""
    offset = block.start
    for line in block.data.split(b"\n")[:-1]:
        text = line[STAMP:].decode(errors="replace")
        is_wanted = not mark or line[27:35].decode(errors="replace") == mark
        if is_wanted and matcher.has(text) is not query.is_inverted:
            yield offset
        offset += len(line) + 1


def last_traceback(source: Source, seconds: float = SECONDS) -> int | None:
    """The offset of the first line of the last traceback; None when none was found in time."""
    found = find(source, Query("Traceback (most recent call last)", is_case_sensitive=True), None, seconds, most=1)
    return found.offsets[0] if found.offsets else None
