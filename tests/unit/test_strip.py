"""The strip of numbers above the list: its look at the machine."""

import asyncio
from pathlib import Path

import pytest

from app.pages.strip import Watch

pytestmark = pytest.mark.anyio


async def test_pages_that_ask_at_the_same_time_share_one_look(tmp_path: Path) -> None:
    first, *others = await asyncio.gather(*(watch.look() for watch in [Watch(tmp_path)] * 5))
    assert first is not None
    assert first.disk.size > 0
    assert all(other is first for other in others)


async def test_a_folder_that_is_gone_is_no_fault_of_a_page(tmp_path: Path) -> None:
    assert await Watch(tmp_path / "gone").look() is None
