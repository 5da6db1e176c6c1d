"""Server-sent events."""

import asyncio
import gc
import json
from collections.abc import AsyncGenerator, AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Gauge
from starlette.types import Message, Send

from app import streams

pytestmark = pytest.mark.anyio


async def answered(events: AsyncIterator[bytes], allowed: bool = True) -> list[bytes]:
    """All that a client is sent."""
    async with asyncio.timeout(5):
        return [chunk async for chunk in streams._with_pings(events, lambda: allowed)]


async def some(*chunks: bytes) -> AsyncGenerator[bytes]:
    for chunk in chunks:
        yield chunk


async def silence() -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""


@pytest.mark.parametrize(
    ("name", "data", "id_", "wire"),
    [
        ("process", "{}", 7, b"event: process\nid: 7\ndata: {}\n\n"),
        ("end", "null", None, b"event: end\ndata: null\n\n"),
        ("lines", '"\\u00e9"', 0, b'event: lines\nid: 0\ndata: "\\u00e9"\n\n'),
    ],
)
def test_the_wire_format(name: str, data: str, id_: int | None, wire: bytes) -> None:
    assert streams.event(name, data, id_) == wire


@given(st.text())
def test_no_text_breaks_out_of_its_event(text: str) -> None:
    wire = streams.event("process", json.dumps(text))
    assert wire.count(b"\n") == 3
    assert b"\r" not in wire


async def test_a_client_hears_something_at_once_and_then_all_events() -> None:
    assert await answered(some(b"one", b"two")) == [b": hello\n\n", b"one", b"two"]


async def test_pings_while_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PING_EVERY", 0.01)
    sent = streams._with_pings(silence(), lambda: True)
    async with asyncio.timeout(5):
        assert [await anext(sent) for _ in range(3)] == [b": hello\n\n", b": ping\n\n", b": ping\n\n"]
    await sent.aclose()


async def test_a_ping_loses_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PING_EVERY", 0.005)
    gate = asyncio.Event()

    async def late() -> AsyncIterator[bytes]:
        await gate.wait()
        yield b"late"

    sent = streams._with_pings(late(), lambda: True)
    found = [await anext(sent) for _ in range(3)]
    gate.set()
    async with asyncio.timeout(5):
        found += [chunk async for chunk in sent]
    assert [chunk for chunk in found if not chunk.startswith(b":")] == [b"late"]


async def test_a_session_that_has_ended_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PING_EVERY", 0.01)
    assert await answered(silence(), allowed=False) == [
        b": hello\n\n",
        b'event: auth\ndata: "the session has ended"\n\n',
    ]


async def test_a_client_that_leaves_ends_what_it_read() -> None:
    ended = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x"
                await asyncio.sleep(0)
        finally:
            ended.set()

    sent = streams._with_pings(endless(), lambda: True)
    for _ in range(4):
        await anext(sent)
    await sent.aclose()
    async with asyncio.timeout(5):
        await ended.wait()


def a_gauge() -> Gauge:
    return Gauge("clients", "For a test.", registry=None)


async def respond(events: AsyncGenerator[bytes], clients: Gauge, send: Send) -> None:
    """Answer a client that stays until it is cancelled."""

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async with asyncio.timeout(5):
        await streams.respond(events, lambda: True, clients)({"type": "http"}, receive, send)


async def test_clients_are_counted_while_they_read() -> None:
    clients = a_gauge()
    counts = []

    async def send(message: Message) -> None:
        counts.append(clients._value.get())

    await respond(some(b"one", b"two"), clients, send)
    assert set(counts) == {1}
    assert clients._value.get() == 0


@pytest.mark.parametrize("reads", [True, False])
async def test_what_a_client_read_is_let_go_when_it_is_gone(reads: bool) -> None:
    """Also of one that took nothing, for which the generator waits in the middle of an event."""
    closed, waits = asyncio.Event(), asyncio.Event()

    async def events() -> AsyncGenerator[bytes]:
        try:
            yield b"one"
            waits.set()
            await asyncio.Event().wait()
        finally:
            closed.set()

    async def send(message: Message) -> None:
        if not reads and message.get("body") == b"one":
            waits.set()
            await asyncio.Event().wait()

    clients = a_gauge()
    task = asyncio.ensure_future(respond(kept := events(), clients, send))
    async with asyncio.timeout(5):
        await waits.wait()
        task.cancel()
        await asyncio.wait((task,))
        await closed.wait()
    assert clients._value.get() == 0
    assert [chunk async for chunk in kept] == [], "not closed"


async def test_a_session_that_has_ended_ends_a_stream_without_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PING_EVERY", 0.05)

    async def endless() -> AsyncGenerator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.001)

    sent = await answered(endless(), allowed=False)
    assert sent[-1].startswith(b"event: auth\n")


async def test_the_answer_is_one_that_proxies_do_not_hold_back() -> None:
    answer = streams.respond(some(), lambda: True, a_gauge())
    assert answer.media_type == "text/event-stream"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["cache-control"] == "no-store"


class Source:
    """Gives what it is told to, and remembers that it was closed."""

    def __init__(self) -> None:
        self.gives: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.is_closed = False

    async def events(self) -> AsyncGenerator[bytes]:
        try:
            while (given := await self.gives.get()) is not None:
                yield given
        finally:
            await asyncio.sleep(0)
            self.is_closed = True


async def test_merged_events_come_as_they_come() -> None:
    hints, log = Source(), Source()
    merged = streams.merge(hints.events(), log.events())
    async with asyncio.timeout(5):
        for source, given in ((log, b"1"), (hints, b"2"), (log, b"3"), (log, b"4")):
            source.gives.put_nowait(given)
            assert await anext(merged) == given
        log.gives.put_nowait(None)
        hints.gives.put_nowait(b"5")
        assert await anext(merged) == b"5", "it goes on without what has ended"
        hints.gives.put_nowait(None)
        assert [chunk async for chunk in merged] == []
    assert hints.is_closed
    assert log.is_closed


async def test_the_end_of_the_leading_one_ends_the_others() -> None:
    hints, log = Source(), Source()
    hints.gives.put_nowait(None)
    async with asyncio.timeout(5):
        assert [chunk async for chunk in streams.merge(hints.events(), log.events())] == []
    assert log.is_closed


@pytest.mark.parametrize("reads", [True, False], ids=["waiting", "not-reading"])
async def test_all_that_is_merged_is_closed_when_the_client_is_gone(reads: bool) -> None:
    hints, log = Source(), Source()
    waits = asyncio.Event()

    async def send(message: Message) -> None:
        if message.get("body") == b"one":
            waits.set()
            if not reads:
                await asyncio.Event().wait()

    hints.gives.put_nowait(b"one")
    log.gives.put_nowait(b"two")
    clients = a_gauge()
    task = asyncio.ensure_future(respond(streams.merge(hints.events(), log.events()), clients, send))
    async with asyncio.timeout(5):
        await waits.wait()
        task.cancel()
        await asyncio.wait((task,))
        while not (hints.is_closed and log.is_closed):
            await asyncio.sleep(0.001)
    assert clients._value.get() == 0


async def test_a_failure_of_one_ends_the_stream_and_closes_the_others() -> None:
    async def failing() -> AsyncGenerator[bytes]:
        yield b"one"
        raise OSError("no such file")

    hints = Source()
    merged = streams.merge(hints.events(), failing())
    async with asyncio.timeout(5):
        assert await anext(merged) == b"one"
        with pytest.raises(OSError, match="no such file"):
            await anext(merged)
    assert hints.is_closed


@pytest.mark.parametrize("first", ["fails", "ends"])
async def test_of_two_that_end_at_once_the_failure_of_the_other_is_logged(
    first: str, caplog: pytest.LogCaptureFixture
) -> None:
    gate = asyncio.Event()

    async def leading() -> AsyncGenerator[bytes]:
        await gate.wait()
        if first == "fails":
            raise OSError("the first")
        return
        yield b""

    async def failing() -> AsyncGenerator[bytes]:
        await gate.wait()
        raise OSError("the second")
        yield b""

    merged = streams.merge(leading(), failing())
    upcoming = asyncio.ensure_future(anext(merged, b""))
    await asyncio.sleep(0)
    gate.set()
    told = set()
    async with asyncio.timeout(5):
        try:
            assert await upcoming == b""
        except OSError as error:  # whichever of them is looked at first
            told.add(str(error))
    told |= {str(record.exc_info and record.exc_info[1]) for record in caplog.records}
    assert told == ({"the first", "the second"} if first == "fails" else {"the second"}), "neither raised nor logged"
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]


async def test_one_that_fails_while_it_is_closed_leaves_none_open(caplog: pytest.LogCaptureFixture) -> None:
    async def failing() -> AsyncGenerator[bytes]:
        try:
            yield b"one"
            await asyncio.Event().wait()
        finally:
            raise OSError("no such file")

    log = Source()
    first = failing()
    merged = streams.merge(first, log.events())
    async with asyncio.timeout(5):
        assert await anext(merged) == b"one"
        await merged.aclose()
    assert log.is_closed
    assert "no such file" in caplog.text


@pytest.mark.parametrize(
    ("header", "number"),
    [
        (None, None),
        ("", None),
        ("0", 0),
        ("17", 17),
        ("-1", -1),
        ("x", -1),
        ("1.5", -1),
        ("\u0663", -1),
        ("9" * 30, -1),
    ],
)
def test_the_last_event_id(header: str | None, number: int | None) -> None:
    assert streams.last_event_id(header) == number
