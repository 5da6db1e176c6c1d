"""Reading the log of a process, as far as it goes or for as long as the process lives."""

import asyncio
from collections.abc import AsyncIterator

from app.supervisor.supervisor import Supervisor
from procdeck.log import Chunk

LOOK_ANYWAY = 2.0
"""Seconds after which a log is looked at without a hint: its keeper may be reconnecting."""


async def start_offset(supervisor: Supervisor, process_id: str, after: int, tail: int | None) -> int:
    """Where to begin: at ``after``, or ``tail`` records before the end."""
    if tail is None:
        return after
    return await asyncio.to_thread(supervisor.engine.log_tail_offset, process_id, tail)


async def chunks(supervisor: Supervisor, process_id: str, after: int, *, follow: bool) -> AsyncIterator[Chunk]:
    """Whole records from offset ``after`` on; with ``follow`` until the process is over or the service ends, else until
    the end as it is now, or some records behind it."""
    if not follow:
        _, end = await asyncio.to_thread(supervisor.engine.log_extent, process_id)
        while after < end and (chunk := await asyncio.to_thread(supervisor.engine.read_log, process_id, after)).data:
            yield chunk
            after = chunk.end
        return
    async with supervisor.log_followed(process_id) as live:
        while not supervisor.stopping:
            # Both taken before the read: what comes after them is not missed.
            is_over = live is None or live.saved.is_over
            seen = live.log_grew.count if live else 0
            chunk = await asyncio.to_thread(supervisor.engine.read_log, process_id, after)
            after = chunk.end
            if chunk.data:
                yield chunk
            elif is_over or live is None:
                return
            else:
                await live.log_grew.wait(LOOK_ANYWAY, since=seen)
