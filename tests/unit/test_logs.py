"""Reading logs, from a disk that a process writes to meanwhile."""

from typing import Any

import pytest

from app.api.logs import _bytes
from app.supervisor import logs
from procdeck.log import Chunk

pytestmark = pytest.mark.anyio

TIME = b"2026-11-22T06:55:26.123456Z"


class Disk:
    """An engine, and its supervisor, with one log."""

    def __init__(self, data: bytes, more: bytes = b"") -> None:
        self.engine = self
        self.data = data
        self.more = more

    def log_extent(self, _: str) -> tuple[int, int]:
        return 0, len(self.data)

    def read_log(self, _: str, after: int) -> Chunk:
        record = self.data[after : self.data.find(b"\n", after) + 1]
        self.data += self.more  # written while it is read
        return Chunk(after, after + len(record), record)


def a_record(stream: bytes, text: bytes) -> bytes:
    return b" ".join((TIME, stream, b"F", text)) + b"\n"


async def test_the_present_end_is_the_end_also_of_a_log_that_grows_while_it_is_read() -> None:
    record = a_record(b"stdout", b"busy")
    disk: Any = Disk(record * 3, more=record)
    assert [chunk.data async for chunk in logs.chunks(disk, "1", 0, follow=False)] == [record] * 3


async def test_one_stream_of_the_stamped_log_has_its_whole_texts() -> None:
    progress = a_record(b"stdout", b"10 %\r20 %\x0b\x0c\x85")
    disk: Any = Disk(progress + a_record(b"stderr", b"no\rno") + progress)
    found = [piece async for piece in _bytes(disk, "1", 0, "stdout", follow=False, stamped=True)]
    assert b"".join(found) == progress * 2
