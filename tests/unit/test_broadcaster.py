"""Events to streams: from memory, from the record, or from the beginning."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence

import pytest

from app.supervisor.broadcaster import MEMORY, TOO_FAR, Broadcaster, Published, Reset

pytestmark = pytest.mark.anyio


class Record:
    """The recorded events; counts how often it was asked."""

    def __init__(self, ids: Iterable[int] = ()) -> None:
        self.ids = list(ids)
        self.asked: list[int] = []

    async def recall(self, after: int, limit: int) -> Sequence[Published]:
        self.asked.append(after)
        assert len(self.asked) < 100, "it asks the record again and again"
        await asyncio.sleep(0)
        return [published(id_) for id_ in self.ids if id_ > after][:limit]


def published(id_: int) -> Published:
    return Published(id_, {"id": str(id_), "to": "running", "outcome": None})


def publish(broadcaster: Broadcaster, record: Record, ids: Iterable[int]) -> None:
    fresh = list(ids)
    record.ids += fresh
    broadcaster.publish([published(id_) for id_ in fresh])


async def take(events: AsyncIterator[Published | Reset], count: int) -> list[int | Reset]:
    """The next events' numbers, or resets."""
    found: list[int | Reset] = []
    async with asyncio.timeout(5):
        while len(found) < count:
            event = await anext(events)
            found.append(event if isinstance(event, Reset) else event.id)
    return found


async def test_from_now_on() -> None:
    record = Record(range(1, 6))
    broadcaster = Broadcaster(record.recall, 5)
    events = broadcaster.events(None)
    waiting = asyncio.ensure_future(take(events, 2))
    await asyncio.sleep(0)
    publish(broadcaster, record, [6, 7])
    assert await waiting == [6, 7]
    assert record.asked == []


async def test_from_memory_to_any_number_of_readers() -> None:
    record = Record()
    broadcaster = Broadcaster(record.recall, 0)
    publish(broadcaster, record, range(1, 11))
    for after in range(10):
        assert await take(broadcaster.events(after), 10 - after) == list(range(after + 1, 11))
    assert record.asked == []


async def test_first_from_the_record_and_then_from_memory_without_gap_or_repeat() -> None:
    record = Record()
    broadcaster = Broadcaster(record.recall, 0)
    publish(broadcaster, record, range(1, MEMORY + 1001))
    events = broadcaster.events(0)
    assert await take(events, MEMORY + 1000) == list(range(1, MEMORY + 1001))
    publish(broadcaster, record, [MEMORY + 1001])
    assert await take(events, 1) == [MEMORY + 1001]


async def test_what_is_recorded_but_not_published_yet_comes_once_and_resets_nobody() -> None:
    """A commit is seen in the record a moment before its events are published."""
    record = Record(range(1, 9))
    broadcaster = Broadcaster(record.recall, 5)
    events = broadcaster.events(2)
    assert await take(events, 3) == [3, 4, 5]
    waiting = asyncio.ensure_future(take(events, 3))
    await asyncio.sleep(0)
    broadcaster.publish([published(id_) for id_ in (6, 7, 8)])
    assert await waiting == [6, 7, 8]


async def test_events_that_were_deleted_are_waited_for_by_nobody() -> None:
    """The record holds nothing between where the reader is and where memory begins."""
    record = Record([1, 2])
    broadcaster = Broadcaster(record.recall, 10)
    events = broadcaster.events(1)
    waiting = asyncio.ensure_future(take(events, 2))
    for _ in range(20):
        await asyncio.sleep(0)
    publish(broadcaster, record, [11])
    assert await waiting == [2, 11]
    assert len(record.asked) < 4


async def test_a_reader_too_far_behind_starts_over() -> None:
    record = Record()
    broadcaster = Broadcaster(record.recall, TOO_FAR + 1)
    events = broadcaster.events(0)
    assert await take(events, 1) == [Reset(TOO_FAR + 1)]
    publish(broadcaster, record, [TOO_FAR + 2])
    assert await take(events, 1) == [TOO_FAR + 2]
    assert record.asked == []


@pytest.mark.parametrize("after", [6, 10**15])
async def test_a_number_that_was_never_given_starts_over(after: int) -> None:
    broadcaster = Broadcaster(Record().recall, 5)
    assert await take(broadcaster.events(after), 1) == [Reset(5)]


async def test_a_reader_that_stops_reading_costs_nothing_and_is_told_when_it_comes_back() -> None:
    record = Record()
    broadcaster = Broadcaster(record.recall, 0)
    events = broadcaster.events(0)
    publish(broadcaster, record, [1])
    assert await take(events, 1) == [1]
    publish(broadcaster, record, range(2, TOO_FAR + 10))
    assert await take(events, 1) == [Reset(TOO_FAR + 9)]


async def test_closing_ends_every_stream() -> None:
    broadcaster = Broadcaster(Record().recall, 0)
    streams = [asyncio.ensure_future(anext(broadcaster.events(None), None)) for _ in range(3)]
    await asyncio.sleep(0)
    broadcaster.close()
    async with asyncio.timeout(5):
        assert await asyncio.gather(*streams) == [None, None, None]
    assert [event async for event in broadcaster.events(0)] == []
