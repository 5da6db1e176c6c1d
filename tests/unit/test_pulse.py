"""Waiting for the next change."""

import asyncio

import pytest

from app.supervisor.pulse import Pulse

pytestmark = pytest.mark.anyio


async def test_it_wakes_all_who_wait_and_nobody_who_comes_later() -> None:
    pulse = Pulse()
    waits = [asyncio.ensure_future(pulse.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    pulse.fire()
    assert await asyncio.gather(*waits) == [True, True, True]
    assert await pulse.wait(0.001) is False


async def test_the_count_bridges_the_time_between_looking_and_waiting() -> None:
    pulse = Pulse()
    seen = pulse.count
    pulse.fire()
    assert await pulse.wait(since=seen) is True
    assert await pulse.wait(0.001, since=pulse.count) is False


async def test_who_gives_up_leaves_nothing_behind() -> None:
    pulse = Pulse()
    assert await pulse.wait(0.001) is False
    cancelled = asyncio.ensure_future(pulse.wait())
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    pulse.fire()
    assert pulse.count == 1


async def test_a_waiter_that_waits_again_gets_the_next_beat() -> None:
    pulse = Pulse()

    async def count(times: int) -> int:
        for _ in range(times):
            await pulse.wait()
        return times

    counting = asyncio.ensure_future(count(3))
    for _ in range(3):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        pulse.fire()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        assert await counting == 3
