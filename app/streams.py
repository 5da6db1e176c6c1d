"""Server-sent events: framing, pings, and the end of a stream.

The wire format is the HTML standard's (https://html.spec.whatwg.org/multipage/server-sent-events.html). Data is one
line of JSON that we make, ids are numbers of ours: nothing that a user chose reaches the framing.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable

from fastapi.sse import EventSourceResponse
from prometheus_client import Gauge
from starlette.types import Receive, Scope, Send

log = logging.getLogger(__name__)

PING_EVERY = 15.0
"""Seconds of silence after which a comment is sent: proxies keep the connection, and a client that is gone is
noticed."""
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_PING = b": ping\n\n"


def event(name: str, data: str, id_: int | None = None) -> bytes:
    """One event; ``data`` is JSON text without line breaks, where an escape of half a surrogate pair is well placed."""
    number = "" if id_ is None else f"id: {id_}\n"
    return f"event: {name}\n{number}data: {data}\n\n".encode(errors="backslashreplace")


def restart() -> bytes:
    """The last event of a stream that the end of the service cuts off: come back and go on where you were."""
    return event("restart", "{}")


def respond(events: AsyncGenerator[bytes], still_allowed: Callable[[], bool], clients: Gauge) -> EventSourceResponse:
    """Stream ``events``, with pings in between; whatever is sent, a session that has ended meanwhile ends the stream as
    soon as a ping could be due, with an event ``auth``. ``clients`` counts it meanwhile."""
    return _EventStream(events, still_allowed, clients)


class _EventStream(EventSourceResponse):
    """Lets go of what it reads as soon as its client is gone.

    A generator that waits for its reader is not told when that one is cancelled: it would be closed by the garbage
    collector, whenever that comes by, and the keeper of a log would go on telling of it until then.
    """

    def __init__(self, events: AsyncGenerator[bytes], still_allowed: Callable[[], bool], clients: Gauge) -> None:
        self._generators = (_with_pings(events, still_allowed), events)
        self._clients = clients
        super().__init__(self._generators[0], headers=HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._clients.track_inprogress():
                await super().__call__(scope, receive, send)
        finally:
            # Not here, where each wait would be cancelled as well.
            task = asyncio.get_running_loop().create_task(_close(self._generators))
            _closing.add(task)
            task.add_done_callback(_closing.discard)


_closing: set[asyncio.Task[None]] = set()


async def _close(generators: Iterable[AsyncGenerator[bytes]]) -> None:
    """Close each, whatever becomes of the others."""
    for generator in generators:
        try:
            await generator.aclose()
        except RuntimeError:
            pass  # the reading of it was cancelled and is just ending
        except Exception:
            log.exception("the source of a stream could not be closed")


async def _with_pings(events: AsyncIterator[bytes], still_allowed: Callable[[], bool]) -> AsyncGenerator[bytes]:
    # At once: the client's `open` should not wait for the first event.
    yield b": hello\n\n"
    upcoming: asyncio.Task[bytes] | None = None
    loop = asyncio.get_running_loop()
    asked = loop.time()
    try:
        while True:
            if upcoming is None:
                upcoming = asyncio.ensure_future(_next(events))
            done, _ = await asyncio.wait((upcoming,), timeout=PING_EVERY)
            if loop.time() - asked >= PING_EVERY or not done:  # also where there is never a moment of silence
                if not still_allowed():
                    yield event("auth", '"the session has ended"')
                    return
                asked = loop.time()
            if not done:
                yield _PING
                continue
            try:
                yield upcoming.result()
            except StopAsyncIteration:
                return
            upcoming = None
    finally:
        if upcoming is not None:
            _let_go(upcoming)


async def _next(events: AsyncIterator[bytes]) -> bytes:
    return await anext(events)


def _let_go(task: asyncio.Task[bytes]) -> None:
    """Read no further. It may have failed already, or do so while it ends: nobody else would hear of that."""
    task.cancel()
    task.add_done_callback(_look_at)


def _look_at(task: asyncio.Task[bytes]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, StopAsyncIteration):
        log.error("the source of a stream failed when nobody read it any more", exc_info=error)


async def merge(leading: AsyncGenerator[bytes], *others: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """The events of all, as they come, until ``leading`` has no more; whichever way it ends, all are closed then.

    Nothing is stored in between: each is read on when what it gave was taken, and none waits for another.
    """
    sources = (leading, *others)
    upcoming = {asyncio.ensure_future(_next(source)): source for source in sources}
    try:
        while upcoming:
            done, _ = await asyncio.wait(upcoming, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                source = upcoming.pop(task)
                try:
                    yield task.result()
                except StopAsyncIteration:
                    if source is leading:
                        return
                else:
                    upcoming[asyncio.ensure_future(_next(source))] = source
    finally:
        for task in upcoming:
            _let_go(task)
        if upcoming:
            await asyncio.wait(upcoming)
        await _close(sources)


def last_event_id(header: str | None) -> int | None:
    """The number in a Last-Event-ID header; None when there is none, -1 when it is not one of ours."""
    if header is None or header == "":
        return None
    return int(header) if header.isascii() and header.isdigit() and len(header) < 19 else -1
