"""Server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api import streams
from app.metrics import Metrics

pytestmark = pytest.mark.anyio


async def answered(events: AsyncIterator[bytes], allowed: bool = True) -> list[bytes]:
    """All that a client is sent."""
    async with asyncio.timeout(5):
        return [chunk async for chunk in streams._with_pings(events, lambda: allowed)]


async def some(*chunks: bytes) -> AsyncIterator[bytes]:
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
    await sent.aclose()  # type: ignore[attr-defined]


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
    await sent.aclose()  # type: ignore[attr-defined]
    async with asyncio.timeout(5):
        await ended.wait()


async def test_clients_are_counted_while_they_read() -> None:
    clients = Metrics().sse_clients.labels("events")
    events = streams.counted(some(b"one", b"two"), clients)
    await anext(events)
    assert clients._value.get() == 1
    assert [chunk async for chunk in events] == [b"two"]
    assert clients._value.get() == 0


async def test_the_answer_is_one_that_proxies_do_not_hold_back() -> None:
    answer = streams.respond(some(), lambda: True)
    assert answer.media_type == "text/event-stream"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["cache-control"] == "no-store"


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
