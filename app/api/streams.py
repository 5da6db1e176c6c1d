"""Server-sent events: framing, pings, and the end of a stream.

The wire format is the HTML standard's (https://html.spec.whatwg.org/multipage/server-sent-events.html). Data is one
line of JSON that we make, ids are numbers of ours: nothing that a user chose reaches the framing.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

from fastapi.sse import EventSourceResponse
from prometheus_client import Gauge

PING_EVERY = 15.0
"""Seconds of silence after which a comment is sent: proxies keep the connection, and a client that is gone is
noticed."""
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_PING = b": ping\n\n"


def event(name: str, data: str, id_: int | None = None) -> bytes:
    """One event; ``data`` is JSON text without line breaks, where an escape of half a surrogate pair is well placed."""
    number = "" if id_ is None else f"id: {id_}\n"
    return f"event: {name}\n{number}data: {data}\n\n".encode(errors="backslashreplace")


def respond(events: AsyncIterator[bytes], still_allowed: Callable[[], bool]) -> EventSourceResponse:
    """Stream ``events``, with pings in between; at a ping a session that has ended meanwhile ends the stream, with an
    event ``auth``."""
    return EventSourceResponse(_with_pings(events, still_allowed), headers=HEADERS)


async def _with_pings(events: AsyncIterator[bytes], still_allowed: Callable[[], bool]) -> AsyncIterator[bytes]:
    # At once: the client's `open` should not wait for the first event.
    yield b": hello\n\n"
    upcoming: asyncio.Task[bytes] | None = None
    try:
        while True:
            if upcoming is None:
                upcoming = asyncio.ensure_future(_next(events))
            done, _ = await asyncio.wait((upcoming,), timeout=PING_EVERY)
            if not done:
                if not still_allowed():
                    yield event("auth", '"the session has ended"')
                    return
                yield _PING
                continue
            try:
                yield upcoming.result()
            except StopAsyncIteration:
                return
            upcoming = None
    finally:
        if upcoming is not None:
            upcoming.cancel()


async def _next(events: AsyncIterator[bytes]) -> bytes:
    return await anext(events)


async def counted(events: AsyncIterator[bytes], clients: Gauge) -> AsyncIterator[bytes]:
    """``events``, and one more client as long as they are read."""
    with clients.track_inprogress():
        async for item in events:
            yield item


def last_event_id(header: str | None) -> int | None:
    """The number in a Last-Event-ID header; None when there is none, -1 when it is not one of ours."""
    if header is None or header == "":
        return None
    return int(header) if header.isascii() and header.isdigit() and len(header) < 19 else -1
