"""REST: the log of a process, as text, as it is on disk, as records, and as a stream of events."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from app import streams
from app.answers import JSONAnswer
from app.api import make_router, problems
from app.api.schemas import LogFound, LogLines
from app.deps import AuthDep, IdentityDep, MetricsDep, SupervisorDep
from app.log import places
from app.log.find import find
from app.log.lines import Line
from app.log.query import Query as LogQuery
from app.supervisor import logs
from app.supervisor.supervisor import Supervisor
from procdeck import log

router = make_router("logs")

Stream = Annotated[Literal["stdout", "stderr"] | None, Query(description="One of the two; both if not given.")]
Tail = Annotated[int | None, Query(ge=0, le=1_000_000, description="Only the last N records.")]
After = Annotated[int, Query(ge=0, lt=2**63, description="Only from this offset on.")]

MaxLag = Annotated[
    int | None, Query(ge=1024, lt=2**63, description="When more bytes behind than this, go on near the end.")
]

PAGE_RECORDS = 5000
PAGE_BYTES = 4 * 1024 * 1024
"""Of the log, about: records may be long."""
TEXT = "text/plain; charset=utf-8"


async def _known(id: str, supervisor: SupervisorDep) -> str:
    """The id of a process that exists; asked before a stream begins, when a 404 can still be answered."""
    return (await supervisor.get(id)).id


KnownId = Annotated[str, Depends(_known)]


@router.get(
    "/processes/{id}/log",
    response_class=Response,
    responses=problems(404, 422)
    | {
        200: {
            "description": "What the process wrote. With `follow` the answer goes on until the process is over.",
            "content": {
                TEXT: {"schema": {"type": "string"}},
                "application/json": {"schema": {"$ref": "#/components/schemas/LogPage"}},
            },
        }
    },
)
async def read_log(
    id: KnownId,
    supervisor: SupervisorDep,
    stream: Stream = None,
    tail: Tail = None,
    after: After = 0,
    follow: bool = False,
    format: Literal["text", "cri", "json"] = "text",
) -> Response:
    """The log: `text` is what the process wrote, both streams by arrival; `cri` is stamped, as on disk; `json` a page
    of records."""
    start = await logs.start_offset(supervisor, id, after, tail)
    if format == "json":
        return JSONAnswer(await _page(supervisor, id, start, stream))
    headers = {"X-Accel-Buffering": "no", "Content-Security-Policy": "sandbox; default-src 'none'"}
    written = _bytes(supervisor, id, start, stream, follow=follow, stamped=format == "cri")
    return StreamingResponse(written, headers=headers, media_type=TEXT)


Words = Annotated[str, Query(max_length=1000, description="Only lines with these words, as they are shown.")]
Regex = Annotated[bool, Query(description="`q` is a regular expression.")]
Case = Annotated[bool, Query(description="Capitals matter.")]
Invert = Annotated[bool, Query(description="Only lines without it.")]
Level = Annotated[
    Literal["debug", "info", "warning", "error"] | None,
    Query(description="Only lines as grave as this; those that name no level count as `info`."),
]
Before = Annotated[int | None, Query(ge=0, lt=2**63, description="Only lines that begin before this offset.")]
From = Annotated[int | None, Query(ge=0, lt=2**63, description="Only lines from this offset on.")]
At = Annotated[int | None, Query(ge=0, lt=2**63, description="The lines around this offset.")]
Number = Annotated[int | None, Query(ge=1, lt=2**63, description="The lines around the one with this number.")]
Time = Annotated[str, Query(max_length=64, description="The lines around this time: ISO 8601, or `14:02:11` in UTC.")]
Count = Annotated[int, Query(ge=1, le=5000, description="Lines at most.")]


@router.get("/processes/{id}/log/lines", response_model=LogLines, responses=problems(404, 422))
async def read_lines(
    id: KnownId,
    supervisor: SupervisorDep,
    before: Before = None,
    after: From = None,
    at: At = None,
    line: Number = None,
    time: Time = "",
    count: Count = 500,
    q: Words = "",
    regex: Regex = False,
    case: Case = False,
    invert: Invert = False,
    level: Level = None,
    stream: Stream = None,
) -> Response:
    """A piece of the log as lines: its end, or the lines before or after an offset, or around a place; only those that
    are wanted."""
    wanted = _given(q=q, regex=regex, case=case, invert=invert, level=level, stream=stream)
    place = _given(before=before, after=after, at=at, line=line, time=time, count=count)
    _, found = await logs.reading(places.piece, logs.LogSource(supervisor, id), wanted | place)
    return JSONAnswer(
        {
            "items": [_line(each) for each in found.lines],
            "before": found.before,
            "after": found.after,
            "has_earlier": found.has_earlier,
            "has_later": found.has_later,
            "searched_back_to": found.searched or None,
        }
    )


@router.get("/processes/{id}/log/find", response_model=LogFound, responses=problems(404, 422))
async def find_lines(
    id: KnownId,
    supervisor: SupervisorDep,
    q: Annotated[
        str, Query(min_length=1, max_length=1000, description="What to look for, in lines as they are shown.")
    ],
    before: Before = None,
    regex: Regex = False,
    case: Case = False,
    invert: Invert = False,
    level: Level = None,
    stream: Stream = None,
) -> Response:
    """Where in the whole log something is, newest lines first."""
    query = LogQuery.of(_given(q=q, regex=regex, case=case, invert=invert, level=level, stream=stream))
    found = await logs.reading(find, logs.LogSource(supervisor, id), query, before)
    if found.is_slow:
        raise places.too_slow()
    return JSONAnswer(
        {
            "offsets": found.offsets,
            "count": found.count,
            "next": found.next,
            "searched_back_to": None if found.next is None else found.searched,
        }
    )


def _given(**parameters: object) -> dict[str, str]:
    """Parameters as they stand in an address; those that were not given left out."""
    known = {name: "1" if value is True else value for name, value in parameters.items()}
    return {name: str(value) for name, value in known.items() if value is not None and value is not False}


def _line(line: Line) -> dict[str, Any]:
    return {
        "offset": line.offset,
        "number": line.number,
        "time": line.time,
        "stream": line.stream,
        "level": None if line.level is None else line.level.name.lower(),
        "text": line.text,
        "open": line.is_open,
    }


async def _bytes(
    supervisor: Supervisor, process_id: str, start: int, stream: str | None, *, follow: bool, stamped: bool
) -> AsyncIterator[bytes]:
    async for chunk in logs.chunks(supervisor, process_id, start, follow=follow):
        if not stamped:
            yield log.text_of(chunk, stream)
        elif stream is None:
            yield chunk.data
        else:
            mark = f" {stream} ".encode()
            # Not by splitlines, which takes a \r inside of a text for an end, too.
            yield b"".join(line + b"\n" for line in chunk.data.split(b"\n")[:-1] if line[27:].startswith(mark))


async def _page(supervisor: Supervisor, process_id: str, start: int, stream: str | None) -> dict[str, Any]:
    items: list[dict[str, Any]] = []
    oldest, _ = await logs.extent(supervisor, process_id)
    position, size = max(start, oldest), 0
    skipped = position - start
    async for chunk in logs.chunks(supervisor, process_id, start, follow=False):
        for record in log.parse(chunk):
            if len(items) == PAGE_RECORDS or size >= PAGE_BYTES:
                return {"items": items, "next": position, "skipped": skipped}
            position = record.end
            size += record.end - record.offset
            if stream is None or record.stream == stream:
                items.append(_record(record))
    return {"items": items, "next": position, "skipped": skipped}


def _record(record: log.Record) -> dict[str, Any]:
    return {
        "offset": record.offset,
        "time": record.time,
        "stream": record.stream,
        "text": record.text,
        "partial": record.partial,
    }


@router.get(
    "/processes/{id}/log/stream",
    response_class=Response,
    responses=problems(404, 422)
    | {
        200: {
            "description": "Events `lines` (an array of records; the id is the offset behind them); `gap` where the "
            "log has lost its oldest part, `skip` where `max_lag` left some out; `end` at last, or `restart` when the "
            "service ends first.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        }
    },
)
async def stream_log(
    request: Request,
    id: KnownId,
    supervisor: SupervisorDep,
    metrics: MetricsDep,
    auth: AuthDep,
    identity: IdentityDep,
    stream: Stream = None,
    tail: Tail = None,
    after: After = 0,
    max_lag: MaxLag = None,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """The log as it is written.

    A client that comes back with Last-Event-ID goes on where it was, without loss or repeat. One that asked with
    `max_lag` to see what is written now, rather than all, is told by an event `skip` what it was not sent.
    """
    resumed = streams.last_event_id(last_event_id)
    if resumed is None:
        start = await logs.start_offset(supervisor, id, after, tail)
    else:
        start = max(resumed, 0)
    events = _events(supervisor, id, start, stream, max_lag)
    return streams.respond(events, lambda: auth.is_current(identity), metrics.sse_clients.labels("log"))


async def _events(
    supervisor: Supervisor, process_id: str, start: int, stream: str | None, max_lag: int | None
) -> AsyncGenerator[bytes]:
    position = start
    async for chunk in logs.chunks(supervisor, process_id, start, follow=True, max_lag=max_lag):
        if chunk.start > position:
            oldest, _ = await logs.extent(supervisor, process_id)
            name = "gap" if position < oldest else "skip"
            if position > 0 or name == "skip":  # who begins at the beginning has missed nothing that went before
                yield streams.event(name, json.dumps({"from": position, "to": chunk.start}), chunk.start)
        position = chunk.end
        records = [_record(record) for record in log.parse(chunk) if stream is None or record.stream == stream]
        if records:
            yield streams.event("lines", json.dumps(records, separators=(",", ":")), chunk.end)
    yield streams.restart() if supervisor.stopping else streams.event("end", "{}", position)
