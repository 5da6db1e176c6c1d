"""One at a time for each key, also for who comes while the key is handed on."""

import asyncio

import pytest

from app.supervisor.keyed import Keyed

pytestmark = pytest.mark.anyio


async def test_one_at_a_time_whoever_comes_when() -> None:
    keyed, inside, most, turns = Keyed(), 0, 0, 5

    async def come(late: int) -> None:
        nonlocal inside, most
        for _ in range(late):
            await asyncio.sleep(0)
        async with keyed.alone("a"):
            inside += 1
            most = max(most, inside)
            for _ in range(turns):
                await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(come(late) for late in range(40)))
    assert most == 1
    assert len(keyed) == 0


async def test_other_keys_do_not_wait_and_failures_let_go() -> None:
    keyed = Keyed()
    with pytest.raises(ValueError, match="inside"):
        async with keyed.alone("a"), keyed.alone("b"):
            raise ValueError("inside")
    assert len(keyed) == 0
    async with keyed.alone("a"):
        assert len(keyed) == 1
