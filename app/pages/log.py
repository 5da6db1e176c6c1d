"""Pages: the log of a process, as the first page of it shows it, as pieces of HTML, live, found in, and to be kept."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from markupsafe import Markup
from starlette.responses import Response

from app import streams, units
from app.answers import HTMLAnswer, JSONAnswer
from app.deps import SupervisorDep
from app.errors import Invalid
from app.lifecycle import Process
from app.log import ansi, html, places, text, window
from app.log.find import MOST, Found, find, first, last
from app.log.lines import Joiner, Line, adopt, context
from app.log.places import Place, numbering
from app.log.query import Matcher, Query, TooSlow
from app.log.window import Window
from app.pages.render import LIVE, process_url
from app.supervisor import logs
from app.supervisor.logs import LogSource, reading
from app.supervisor.supervisor import Supervisor
from procdeck.log import Chunk, parse, text_of
from procdeck.states import State

router = APIRouter(include_in_schema=False)

MAX_LAG = 1_000_000
"""Bytes of the log that a page may be behind: of a process that writes faster, only the newest is sent."""
LINES_PER_SECOND = 500
BURST = 3000
"""Lines that are sent live: so many at once, and so many a second for long. Of more, the last of each batch."""
LEAST = 20
"""Lines of each batch that are sent however fast it goes."""
BATCH_EVERY = 0.1
"""Seconds between two batches."""
REWRITE_EVERY = 1.0
"""Seconds between two sendings of a line that is written anew again and again, as a progress bar is."""


class Rate:
    """How many lines may be sent, by the clock: a bucket that is filled as time goes by. Pure; ``now`` in seconds."""

    def __init__(self, now: float) -> None:
        self._left = float(BURST)
        self._at = now

    def take(self, count: int, now: float) -> int:
        """How many of ``count`` lines may go now."""
        self._left = min(float(BURST), self._left + (now - self._at) * LINES_PER_SECOND)
        self._at = now
        allowed = min(count, max(LEAST, int(self._left)))
        self._left = max(0.0, self._left - allowed)
        return allowed


class Feed:
    """Makes frames of what comes in, for one reader. Pure, but for `start` and `jump`, which read and block."""

    def __init__(self, source: LogSource, query: Query, now: float) -> None:
        self._source = source
        self._query = query
        self._rate = Rate(now)
        self._joiner = Joiner()
        self._position = 0
        self._next_number = 1
        self._numbers: dict[int, int] = {}  # of lines that are open
        self._sent: dict[int, float] = {}  # of lines that are open: when they were sent
        self._held: dict[int, Line] = {}  # changed, and sent not long ago

    def start(self, offset: int) -> None:
        """Begin at ``offset``, where a record begins."""
        self._joiner = context(self._source, offset)
        skipped = bool(self._joiner.skipped)
        adopt(self._source, self._joiner, offset)
        self._position = offset
        # The lines that are open have their numbers already: they began before.
        self._next_number = numbering.number_at(self._source, offset)
        self._numbers.clear()
        if skipped:
            for line in self._joiner.open.values():
                self._numbers[line.offset] = numbering.number_at(self._source, line.offset)

    @property
    def resume(self) -> int:
        """Where a reader that lost its connection goes on."""
        return min([self._position, *(line.offset for line in self._joiner.open.values())])

    def feed(self, chunk: Chunk, now: float) -> list[bytes]:
        """The frames for a chunk that follows what came before. Raises TooSlow."""
        touched = self._joiner.feed(parse(chunk))
        self._position = chunk.end
        for line in touched:
            if line.offset in self._numbers:
                line.number = self._numbers[line.offset]
            else:
                line.number = self._next_number
                self._next_number += 1
            if line.is_open:
                self._numbers[line.offset] = line.number
            else:
                self._numbers.pop(line.offset, None)
        return self._frames(self._wanted([line for line in touched if not self._is_held(line, now)]), now)

    def _is_held(self, line: Line, now: float) -> bool:
        """Whether a line that is being written anew was sent just now; it is sent when its time has come."""
        sent = self._sent.get(line.offset)
        if not line.is_open:
            self._sent.pop(line.offset, None)
            self._held.pop(line.offset, None)
            return False
        if sent is not None and "\r" in line.raw and now - sent < REWRITE_EVERY:
            self._held[line.offset] = line
            return True
        self._sent[line.offset] = now
        self._held.pop(line.offset, None)
        return False

    def due(self, now: float) -> list[bytes]:
        """The frames of lines that were held back, when their time has come. Raises TooSlow."""
        lines = [line for line in self._held.values() if now - self._sent.get(line.offset, 0.0) >= REWRITE_EVERY]
        for line in lines:
            self._sent[line.offset] = now
            self._held.pop(line.offset, None)
        return self._frames(self._wanted(lines), now)

    @property
    def is_holding(self) -> bool:
        """Whether `due` will have any."""
        return bool(self._held)

    def _wanted(self, lines: list[Line]) -> list[Line]:
        if self._query.is_all:
            return lines
        matcher = Matcher(self._query, 0.2)
        return [line for line in lines if matcher.wants(line)]

    def _frames(self, lines: list[Line], now: float) -> list[bytes]:
        if not lines:
            return []
        allowed = self._rate.take(len(lines), now)
        skipped, sent = lines[: len(lines) - allowed], lines[len(lines) - allowed :]
        frames = []
        if skipped:
            told = {"from": skipped[0].offset, "to": sent[0].offset, "lines": len(skipped), "after": self.resume}
            frames.append(streams.event("log-skip", json.dumps(told)))
        frames.append(self._frame(sent))
        return frames

    def _frame(self, lines: list[Line]) -> bytes:
        told = {
            "html": html.rows(lines),
            "after": self.resume,
            "position": self._position,
            "count": len(lines),
            "number": self._next_number - 1,
        }
        return streams.event("log", json.dumps(told))


async def log_events(supervisor: Supervisor, process_id: str, query: Mapping[str, str]) -> AsyncGenerator[bytes]:
    """The log of a process as frames of a page's stream, from ``query["after"]`` on, until the process is over.

    - ``log`` {html, after, position, count, number}: lines, of which one with an id that the page has takes its place.
      ``after`` is where to go on with after the connection was lost, ``position`` how far the log was read and
      ``number`` how many lines there were by then.
    - ``log-skip`` {from, to, lines, after}: lines that came too fast to be sent; ``lines`` is null where not counted.
    - ``log-gap`` {from, to}: bytes that are no longer kept.
    - ``log-end`` {after}: nothing more will come.
    - ``log-error`` {text}: an expression takes too long.

    Raises Invalid for a query that is none.
    """
    wanted = Query.of(query)
    given = query.get("after", "0")
    after = int(given) if given.isascii() and given.isdigit() and len(given) < 19 else 0
    clock = asyncio.get_running_loop().time
    source = LogSource(supervisor, process_id)
    feed = Feed(source, wanted, clock())
    position = -1
    pieces = logs.chunks(supervisor, process_id, after, follow=True, max_lag=MAX_LAG)
    upcoming: asyncio.Task[Chunk | None] | None = None
    try:
        while True:
            if upcoming is None:
                upcoming = asyncio.ensure_future(_next(pieces))
            await asyncio.wait((upcoming,), timeout=REWRITE_EVERY / 2 if feed.is_holding else None)
            if not upcoming.done():
                for frame in await reading(feed.due, clock()):
                    yield frame
                continue
            chunk, upcoming = upcoming.result(), None
            if chunk is None:
                break
            if chunk.start != position:
                expected = after if position < 0 else position
                if chunk.start > expected:
                    oldest, _ = await logs.extent(supervisor, process_id)
                    for frame in _missing(expected, chunk.start, oldest, is_first=expected == 0):
                        yield frame
                await reading(feed.start, chunk.start)
            position = chunk.end
            for frame in await reading(feed.feed, chunk, clock()):
                yield frame
            await asyncio.sleep(BATCH_EVERY)
        for frame in await reading(feed.due, clock() + REWRITE_EVERY):
            yield frame
        if not supervisor.stopping:
            yield streams.event("log-end", json.dumps({"after": max(position, after)}))
    except TooSlow:
        text = "The expression takes too long on these lines; the log is no longer followed."
        yield streams.event("log-error", json.dumps({"text": text}))
    finally:
        if upcoming is not None:
            upcoming.cancel()
            await asyncio.wait((upcoming,))
        await pieces.aclose()


async def _next(pieces: AsyncIterator[Chunk]) -> Chunk | None:
    return await anext(pieces, None)


def _missing(start: int, end: int, oldest: int, *, is_first: bool) -> list[bytes]:
    """Frames for what lies between and is not sent: removed, or passed over by who is too far behind."""
    frames = []
    if start < oldest:
        if not is_first:  # who begins at the beginning has missed nothing that went before
            frames.append(streams.event("log-gap", json.dumps({"from": start, "to": min(oldest, end)})))
        start = oldest
    if start < end:
        frames.append(streams.event("log-skip", json.dumps({"from": start, "to": end, "lines": None, "after": end})))
    return frames


# --- pieces ------------------------------------------------------------------------------------------------------


@router.get("/processes/{id}/log/lines")
async def lines(request: Request, id: str, supervisor: SupervisorDep) -> Response:
    """A piece of the log as HTML: chunks of lines in one element, whose attributes say how to go on."""
    process = await supervisor.get(id)
    place, found = await reading(places.piece, LogSource(supervisor, process.id), dict(request.query_params))
    state = {
        "before": found.before,
        "after": found.after,
        "earlier": "1" if found.has_earlier else "",
        "later": "1" if found.has_later else "",
        "searched": found.searched,
        "target": "" if place.target is None else place.target,
        "count": len(found.lines),
    }
    attributes = " ".join(f'data-{name}="{escape(str(value))}"' for name, value in state.items())
    body = f'<div class="window" {attributes}>{html.chunks(found.lines, place.target)}</div>'
    return HTMLAnswer(body, headers={"Cache-Control": "no-store"})


@router.get("/processes/{id}/log/find")
async def find_lines(request: Request, id: str, supervisor: SupervisorDep) -> Response:
    """Offsets of the lines that are looked for, newest first; see `app.log.find.Found`.

    ``since`` and ``before`` bound it, ``most`` is how many offsets are told. ``neighbour`` before or after: only the
    one next to ``at``.
    """
    process = await supervisor.get(id)
    given = dict(request.query_params)
    query = Query.of(given)
    if not query.words:
        raise Invalid("There is nothing to look for.", errors=[{"field": "q", "message": "must not be empty"}])
    found = await reading(_found, LogSource(supervisor, process.id), query, given)
    if found.is_slow:
        raise places.too_slow()
    told = {
        "offsets": found.offsets,
        "count": found.count,
        "next": found.next,
        "searched": found.searched,
        "end": found.end,
        "longest": ansi.LONGEST_RAW if found.has_longer else None,
    }
    return JSONAnswer(told, headers={"Cache-Control": "no-store"})


def _found(source: LogSource, query: Query, given: Mapping[str, str]) -> Found:
    at = places.number(given, "at") or 0
    match given.get("neighbour", ""):
        case "before":
            return last(source, query, at)
        case "after":
            return first(source, query, at)
    before, most = places.number(given, "before"), places.number(given, "most", MOST)
    since = places.number(given, "since") or 0
    return find(source, query, before, most=MOST if most is None else most, since=since)


# --- downloads ---------------------------------------------------------------------------------------------------


@router.get("/processes/{id}/log/download")
async def download(request: Request, id: str, supervisor: SupervisorDep) -> Response:
    """The log as a file: all of it, or what a query wants; `times` none, clock or since; `zone`; `colours` 1 or 0."""
    process = await supervisor.get(id)
    given = dict(request.query_params)
    query = Query.of(given)
    stamp = _stamp(given, process)
    with_colours = given.get("colours", "0") in ("1", "on", "true")
    source = LogSource(supervisor, process.id)
    body = _download(source, query, stamp, with_colours)
    name = quote(f"{process.name}.log", safe="", errors="backslashreplace")
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
        "Cache-Control": "no-store",
        "X-Accel-Buffering": "no",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }
    return StreamingResponse(body, headers=headers, media_type="text/plain; charset=utf-8")


def _stamp(given: Mapping[str, str], process: Process) -> text.Stamp:
    match given.get("times", "none"):
        case "none" | "":
            return text.no_stamp
        case "since" if process.started_at is not None:
            return text.since_stamp(process.started_at)
        case "clock" | "since":
            return text.clock_stamp(text.zone_of(given.get("zone", "UTC"), given.get("offset", "")))
    message = "must be none, clock or since"
    raise Invalid(f"The times {message}.", errors=[{"field": "times", "message": message}])


async def _download(source: LogSource, query: Query, stamp: text.Stamp, with_colours: bool) -> AsyncGenerator[bytes]:
    writer = text.Writer(query, stamp, with_colours=with_colours)
    is_verbatim = query.is_all and stamp is text.no_stamp and with_colours
    try:
        async for chunk in logs.chunks(source.supervisor, source.key, 0, follow=False):
            yield text_of(chunk) if is_verbatim else await reading(writer.feed, chunk)
        yield writer.end()
    except TooSlow:
        yield b"[procdeck: the expression takes too long on these lines; the rest is left out]\n"


# --- the first page ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LogView:
    """What the page of a process shows of its log. `chunks` is HTML; the other texts are not escaped yet.

    `error` says why what was asked for can't be: then the end of the log is shown. `is_refresh`: only what changes by
    itself is asked for again, and there are no lines.
    """

    is_refresh: bool
    url: str
    api_url: str
    query: Query
    given: Mapping[str, str]
    is_started: bool
    is_alive: bool
    empty: str
    size: int
    removed: int
    lines_removed: int | None
    total: int
    chunks: Markup = field(default_factory=Markup)
    found: Window = field(default_factory=Window)
    target: int | None = None
    error: str = ""
    started_at: str = ""
    server_zone: str = ""

    @property
    def first(self) -> int:
        """The number of the first line shown; 0 when there is none."""
        return self.found.lines[0].number if self.found.lines else 0

    @property
    def last(self) -> int:
        """The number of the last line shown."""
        return self.found.lines[-1].number if self.found.lines else 0

    @property
    def removed_note(self) -> str:
        """Says that older output is gone; empty while it is all there."""
        if not self.removed:
            return ""
        size = units.size(self.removed)
        if self.lines_removed is None:
            numbers = " How many lines they had was not counted: the numbers begin with the oldest line that is kept."
            return f"{size} of older output were removed: the logs are kept within a budget.{numbers}"
        lines = f"{self.lines_removed:,} older line{'' if self.lines_removed == 1 else 's'}"
        return f"{lines} ({size}) were removed: the logs are kept within a budget. The others keep their numbers."

    def link(self, **place: object) -> str:
        """The address of this page with another place in the log, and the same query."""
        params = self.query.params() | {name: str(value) for name, value in place.items()}
        return f"{self.url}?{urlencode(params, errors='backslashreplace')}#log-panel"

    def download(self, *, with_query: bool = False, **params: str) -> str:
        """The address of a download."""
        wanted = (self.query.params() if with_query else {}) | params
        return f"{self.url}/log/download?{urlencode(wanted, errors='backslashreplace')}".rstrip("?")


async def view(supervisor: Supervisor, process: Process, request: Request) -> LogView:
    """The log for the page of a process. What is wrong in the address is told in place."""
    source = LogSource(supervisor, process.id)
    given = dict(request.query_params)
    is_refresh = LIVE in request.headers
    error, query, place, found = "", Query(), Place("tail"), Window()
    try:
        query = Query.of(given)
        if not is_refresh:
            place, found = await reading(places.piece, source, given)
    except Invalid as refused:
        error = refused.detail
        if not is_refresh:
            found = await reading(window.tail, source, places.LINES, Query(), numbering)
    oldest, end = await logs.extent(supervisor, process.id)
    url = process_url(process.id)
    total = await reading(numbering.lines_before, source, end)
    return LogView(
        is_refresh,
        url,
        f"/api/v1{url}",
        query,
        given,
        is_started=process.started_at is not None or process.is_over or end > 0,
        is_alive=process.is_alive,
        empty=_empty(process, query, end),
        size=end - oldest,
        removed=oldest,
        lines_removed=await reading(numbering.removed, source),
        total=total,
        chunks=Markup(html.chunks(found.lines, place.target)),
        found=found,
        target=place.target,
        error=error,
        started_at=process.started_at.isoformat() if process.started_at else "",
        server_zone=datetime.now(UTC).astimezone().isoformat()[-6:],
    )


def _empty(process: Process, query: Query, end: int) -> str:
    """Why there is nothing to see, for when there is nothing."""
    if not query.is_all and end > 0:
        return "No line matches. The log has lines that do not."
    if process.state in (State.CREATED, State.QUEUED, State.STARTING):
        return "It has not started yet, so there is no log."
    if process.is_alive:
        return "Nothing was written so far. Lines appear here as they are written."
    if process.log_start or end > 0:
        return "Nothing of its output is left: the logs are kept within a budget."
    return "It wrote nothing."
