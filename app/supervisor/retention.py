"""Retention: removes the finished processes that the limits do not keep, in small batches.

The choice is `app.retention`'s. A process can be chosen once it is over and its run folder was measured, which waits
until its keeper is gone; one that is alive, queued or created is in none of the queries.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from app.db.store import Measured, Store, save_measured
from app.errors import AppError, Conflict, NotFound, RecordUnavailable
from app.health.troubles import Troubles
from app.retention import Candidate, Choice, Chooser, Key, Limits
from app.supervisor.folders import RunFolders
from app.supervisor.pulse import Pulse
from app.supervisor.wall_clock import WallClock

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
STEADY = timedelta(days=1)
"""For so long a clock that may be wrong has to go evenly before anything is removed for its age; half of the age when
that is less."""
CLOCK = "clock"
"""The trouble of a clock that is not believed."""


@dataclass(slots=True)
class Pruned:
    """What a pruning removed, or would remove: the first of them, the count and the bytes of all."""

    shown: list[Choice] = field(default_factory=list)
    count: int = 0
    bytes: int = 0

    def add(self, choices: Sequence[Choice]) -> None:
        """Count some more."""
        self.count += len(choices)
        self.bytes += sum(choice.process.bytes for choice in choices)
        self.shown += choices[: SHOWN - len(self.shown)]


class Retention:
    """``delete`` removes the record and the run folder of a process; it may refuse with an `AppError`."""

    def __init__(
        self, store: Store, folders: RunFolders, delete: Callable[[str], Awaitable[None]], troubles: Troubles
    ) -> None:
        self._store = store
        self._folders = folders
        self._delete = delete
        self._troubles = troubles
        self._clock = WallClock()
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
                    if limits:
                        await self._pass(limits, told)
                if await self.measure():
                    wait = min(wait, RETRY_AFTER)
            except (AppError, OSError, SQLAlchemyError) as error:
                logger.warning("retention could not do its work (it will be tried again): %s", error)
            except Exception:
                logger.exception("retention could not do its work (it will be tried again)")
            if await self.over.wait(max(0.0, wait), since=seen):
                await asyncio.sleep(SETTLE)

    async def _pass(self, limits: Limits, told: Callable[[Pruned], None]) -> None:
        """Prune, but for their age only while the clock can be believed."""
        now = datetime.now(UTC)
        if limits.days is not None:
            await self.measure()  # what was not is none of those that are known
            age = timedelta(days=limits.days)
            now = self._clock.look(tolerance=age.total_seconds() / 10)
            doubt = await asyncio.to_thread(self._doubt, age, now)
            if doubt is not None:
                limits = replace(limits, days=None)
                if not await asyncio.to_thread(self._is_any_older, now - age):
                    doubt = None  # nothing is kept for it, so there is nothing to tell
            self._tell_doubt(doubt)
        pruned = await self._prune(limits, None, now)
        if pruned.count:
            told(pruned)

    def _doubt(self, age: timedelta, now: datetime) -> str | None:
        """Why nothing is to be removed for being older than ``age`` now; None when the clock can be believed. Blocks.

        At a start nobody knows how the clock has gone before. It is believed when a process is known that ended in the
        time that is kept, but not so lately that the clock may have been as wrong as now when it did.
        """
        steady = min(STEADY, age / 2)
        if self._clock.even_for >= steady.total_seconds():
            return None
        hours = steady.total_seconds() / 3600
        if self._clock.jumped:
            why = f"The clock of this machine jumped by {self._clock.jumped / 86400:+.1f} days"
        else:
            kept = self._store.finished(Key(now - age, 0), 1)
            if kept and kept[0].stopped_at <= now - steady:
                return None
            days = age / timedelta(days=1)
            why = f"The clock may be wrong, for by it nothing ended between {days:g} days and {hours:g} h ago"
        return f"{why}: finished processes are not removed for their age before it has gone evenly for {hours:g} h."

    def _is_any_older(self, than: datetime) -> bool:
        oldest = self._store.finished(None, 1)
        return bool(oldest) and oldest[0].stopped_at < than

    def _tell_doubt(self, doubt: str | None) -> None:
        if doubt is None:
            self._troubles.clear(CLOCK)
        elif self._troubles.report(CLOCK, doubt):
            logger.warning("%s", doubt)

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

        With ``dry_run`` nothing is removed, and nobody who removes is waited for. Raises RecordUnavailable; some may be
        removed then.
        """
        if not dry_run:
            return await self._prune(limits, target, datetime.now(UTC))
        pruned = Pruned()
        await self.measure()
        async for choices in self._choose(limits, target, datetime.now(UTC)):
            pruned.add(choices)
        return pruned

    async def _prune(self, limits: Limits, target: str | None, now: datetime) -> Pruned:
        pruned = Pruned()
        async with self._one_at_a_time:
            await self.measure()
            async for choices in self._choose(limits, target, now):
                for start in range(0, len(choices), BATCH):
                    pruned.add(await self._remove(choices[start : start + BATCH]))
                    await asyncio.sleep(PAUSE)
        return pruned

    async def _choose(self, limits: Limits, target: str | None, now: datetime) -> AsyncIterator[list[Choice]]:
        held = await asyncio.to_thread(self._store.held, target)
        chooser = Chooser(held, limits, now)
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
        """Remove these at once; those that are gone. Raises RecordUnavailable: it would be the same with all others."""
        tries = (self._try_delete(choice.process.id) for choice in choices)
        ends = await asyncio.gather(*tries, return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end
        return [choice for choice, is_gone in zip(choices, ends, strict=True) if is_gone]

    async def _try_delete(self, process_id: str) -> bool:
        try:
            await self._delete(process_id)
        except (NotFound, Conflict):  # somebody else was faster
            return False
        except RecordUnavailable:
            raise
        except (AppError, OSError, SQLAlchemyError) as error:
            logger.warning("process %s could not be removed: %s", process_id, error)
            return False
        return True
