"""Retention: removes the finished processes that the limits do not keep, in small batches.

The choice is `app.retention`'s. A process can be chosen once it is over and its run folder was measured, which waits
until its keeper is gone; one that is alive, queued or created is in none of the queries.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from app.db.store import Measured, Store, save_measured
from app.errors import AppError, Conflict, NotFound
from app.retention import Candidate, Choice, Chooser, Key, Limits
from app.supervisor.disk import RunFolders
from app.supervisor.pulse import Pulse

logger = logging.getLogger("procdeck.retention")

PASS_EVERY = 300.0
"""Seconds between two looks at the limits."""
SETTLE = 1.0
"""Seconds after an end in which others may come, so that they are measured together."""
RETRY_AFTER = 5.0
"""Seconds after which those are looked at again whose keeper was still busy."""
PAGE = 500
"""Candidates read at once."""
BATCH = 32
"""Processes removed, or measured, at once: what others have to write waits no longer than for these."""
PAUSE = 0.01
"""Seconds between two batches."""
SHOWN = 1000
"""Processes that are named in what a pruning tells."""


@dataclass(slots=True)
class Pruned:
    """What a pruning removed, or would remove: the first of them, the count and the bytes of all."""

    shown: list[Choice] = field(default_factory=list)
    count: int = 0
    bytes: int = 0

    def add(self, choice: Choice) -> None:
        """Count one more."""
        self.count += 1
        self.bytes += choice.process.bytes
        if len(self.shown) < SHOWN:
            self.shown.append(choice)


class Retention:
    """``delete`` removes the record and the run folder of a process; it may refuse with an `AppError`."""

    def __init__(self, store: Store, folders: RunFolders, delete: Callable[[str], Awaitable[None]]) -> None:
        self._store = store
        self._folders = folders
        self._delete = delete
        self._one_at_a_time = asyncio.Lock()
        self.over = Pulse()
        """To be fired when a process is over: it is measured soon after."""

    async def run(self, limits: Limits, told: Callable[[Pruned], None]) -> None:
        """Measure what is over, and prune every few minutes; ``told`` is called when something was removed. Never
        returns."""
        clock = asyncio.get_running_loop().time
        next_pass = clock()
        while True:
            seen = self.over.count
            wait = next_pass - clock()
            try:
                if wait <= 0:
                    next_pass, wait = clock() + PASS_EVERY, PASS_EVERY
                    pruned = await self.prune(limits) if limits else Pruned()
                    if pruned.count:
                        told(pruned)
                if await self.measure():
                    wait = min(wait, RETRY_AFTER)
            except (AppError, OSError, SQLAlchemyError) as error:
                logger.warning("retention could not do its work (it will be tried again): %s", error)
            if await self.over.wait(max(0.0, wait), since=seen):
                await asyncio.sleep(SETTLE)

    async def measure(self) -> int:
        """Measure the run folders of all that are over and were not measured; how many could not be yet."""
        after, left = 0, 0
        while page := await asyncio.to_thread(self._store.unmeasured, after, BATCH):
            after = page[-1][0]
            found = await asyncio.to_thread(self._measure, [process_id for _, process_id in page])
            left += len(page) - len(found)
            if found:
                await self._store.writer.run(partial(save_measured, found=found))
        return left

    def _measure(self, process_ids: Sequence[str]) -> list[Measured]:
        return [found for found in map(self._folders.measure, process_ids) if found is not None]

    async def prune(self, limits: Limits, *, target: str | None = None, dry_run: bool = False) -> Pruned:
        """Remove what ``limits`` do not keep, of all targets or of one (then its bytes alone count); what was removed.

        With ``dry_run`` nothing is removed. Raises RecordUnavailable.
        """
        pruned = Pruned()
        async with self._one_at_a_time:
            await self.measure()
            async for choices in self._choose(limits, target):
                gone = choices if dry_run else await self._remove(choices)
                for choice in gone:
                    pruned.add(choice)
        return pruned

    async def _choose(self, limits: Limits, target: str | None) -> AsyncIterator[list[Choice]]:
        held = await asyncio.to_thread(self._store.held, target)
        chooser = Chooser(held, limits, datetime.now(UTC))
        if limits.days is not None:
            async for page in self._pages(target):
                chosen = chooser.by_age(page)
                yield chosen
                if len(chosen) < len(page):
                    break
        for crowded in chooser.crowded():
            async for page in self._pages(crowded):
                yield chooser.by_count(page)
                if not chooser.is_crowded(crowded):
                    break
        if chooser.is_over_bytes:
            async for page in self._pages(target):
                yield chooser.by_bytes(page)
                if not chooser.is_over_bytes:
                    break

    async def _pages(self, target: str | None) -> AsyncIterator[list[Candidate]]:
        after: Key | None = None
        while page := await asyncio.to_thread(self._store.finished, after, PAGE, target):
            after = page[-1].key
            yield page

    async def _remove(self, choices: Sequence[Choice]) -> list[Choice]:
        gone: list[Choice] = []
        for start in range(0, len(choices), BATCH):
            batch = choices[start : start + BATCH]
            ends = await asyncio.gather(*(self._try_delete(choice.process.id) for choice in batch))
            gone += [choice for choice, is_gone in zip(batch, ends, strict=True) if is_gone]
            await asyncio.sleep(PAUSE)
        return gone

    async def _try_delete(self, process_id: str) -> bool:
        try:
            await self._delete(process_id)
        except (NotFound, Conflict):  # somebody else was faster
            return False
        except (AppError, OSError, SQLAlchemyError) as error:
            logger.warning("process %s could not be removed: %s", process_id, error)
            return False
        return True
