"""Reading the log of a process, as far as it goes or for as long as the process lives."""

import asyncio
import errno
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, TypeVar

from app.supervisor.supervisor import Supervisor
from procdeck.log import Chunk

T = TypeVar("T")
P = ParamSpec("P")

BATCH_EVERY = 0.05
"""Seconds between two pieces of a log that grows: a child that writes without pause makes twenty pieces a second, not
thousands."""
FULL_BYTES = 128 * 1024
"""A piece of this size is followed by the next at once: the reader is not at the end yet."""
TRY_AGAIN = 0.5
"""Seconds after which a log is read again that could not be opened for want of descriptors."""
LOOK_ANYWAY = 2.0
"""Seconds after which a log is looked at without a hint: its keeper may be reconnecting."""


_readers = ThreadPoolExecutor(16, "log-reader")
"""Threads of their own: many readers of a disk that hardly answers wait for each other, and nobody else for them."""


async def _read(look: Callable[..., T], *arguments: object) -> T:
    return await asyncio.get_running_loop().run_in_executor(_readers, look, *arguments)


@dataclass(frozen=True, slots=True)
class LogSource:
    """The log of one process as `app.log` reads it; its methods block."""

    supervisor: Supervisor
    key: str

    def segments(self) -> list[tuple[int, int]]:
        """(first offset, size) of each segment, oldest first."""
        return self.supervisor.engine.log_segments(self.key)

    def marks(self) -> dict[int, int]:
        """How many lines ended before a segment, by its first offset."""
        return self.supervisor.engine.log_marks(self.key)

    def read(self, after: int, limit: int) -> Chunk:
        """Whole records from ``after`` on."""
        return self.supervisor.engine.read_log(self.key, after, limit)


async def reading(look: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Call what reads logs, and blocks, in a thread of their readers."""
    return await asyncio.get_running_loop().run_in_executor(_readers, partial(look, *arguments, **named))


async def extent(supervisor: Supervisor, process_id: str) -> tuple[int, int]:
    """(offset of the oldest byte kept, offset behind the last)."""
    return await _read(supervisor.engine.log_extent, process_id)


async def start_offset(supervisor: Supervisor, process_id: str, after: int, tail: int | None) -> int:
    """Where to begin: at ``after``, or ``tail`` records before the end."""
    if tail is None:
        return after
    return await _read(supervisor.engine.log_tail_offset, process_id, tail)


async def chunks(
    supervisor: Supervisor, process_id: str, after: int, *, follow: bool, max_lag: int | None = None
) -> AsyncGenerator[Chunk]:
    """Whole records from offset ``after`` on; with ``follow`` until the process is over or the service ends, else until
    the end as it is now, or some records behind it. Who follows, and is more than ``max_lag`` bytes behind, goes on
    near the end."""
    if not follow:
        _, end = await extent(supervisor, process_id)
        while after < end and (chunk := await _read(supervisor.engine.read_log, process_id, after)).data:
            yield chunk
            after = chunk.end
        return
    async with supervisor.log_followed(process_id) as live:
        while not supervisor.stopping:
            # Both taken before the read: what comes after them is not missed.
            is_over = live is None or live.saved.is_over
            seen = live.log_grew.count if live else 0
            try:
                if max_lag is not None:
                    _, end = await extent(supervisor, process_id)
                    after = end - max_lag // 2 if end - after > max_lag else after
                chunk = await _read(supervisor.engine.read_log, process_id, after)
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE):
                    raise
                await asyncio.sleep(TRY_AGAIN)  # out of descriptors: who reads already need not be sent away
                continue
            after = chunk.end
            if chunk.data:
                yield chunk
                if not is_over and len(chunk.data) < FULL_BYTES:
                    await asyncio.sleep(BATCH_EVERY)
            elif is_over or live is None:
                return
            else:
                await live.log_grew.wait(LOOK_ANYWAY, since=seen)
