"""The budget of all logs together: the oldest closed segments go first, whosever they are.

Each keeper holds its own log within a budget; only here somebody sees all of them. All logs are looked at seldom. In
between only those are looked at whose keepers told anything, for who writes much can't help using the processor, and
that is told; so nothing is looked at while nothing happens.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from app.db.store import Store, save_measured
from app.errors import AppError
from app.metrics import Metrics
from app.retention import OldestSegments
from app.supervisor.folders import RunFolders, Trimmed
from app.supervisor.ledger import Live

logger = logging.getLogger("procdeck.logs")

LOOK_EVERY = 2.0
"""Seconds between two looks at the logs that may have grown."""
STOCK_EVERY = 3600.0
"""Seconds after which all logs are looked at, whether or not the budget seems to be exceeded."""
SLACK = 20
"""Once it is exceeded, this part of the budget is freed beyond it, and has to be written before all logs are looked at
again."""


class LogBudget:
    """Keeps all logs below ``budget`` bytes (0 is no limit), and knows from where on the log of each of ``lives`` is
    kept."""

    def __init__(
        self, budget: int, folders: RunFolders, store: Store, lives: Mapping[str, Live], metrics: Metrics
    ) -> None:
        self._budget = budget
        self._folders = folders
        self._store = store
        self._lives = lives
        self._metrics = metrics
        self._heard: set[str] = set()
        self._gone: set[str] = set()
        self._extents: dict[str, tuple[int, int]] = {}  # of those with a keeper, as they are counted in `_bytes`
        self._bytes = 0
        self._next_trim = budget

    def heard(self, process_id: str) -> None:
        """The keeper of this process told something: its log may have grown."""
        self._heard.add(process_id)

    def gone(self, process_id: str) -> None:
        """The keeper of this process is gone; when the process is over its log has been written."""
        self._heard.add(process_id)
        self._gone.add(process_id)

    async def run(self) -> None:
        """Never returns."""
        clock = asyncio.get_running_loop().time
        next_stock = clock()
        while True:
            try:
                if clock() >= next_stock:
                    next_stock = clock() + STOCK_EVERY
                    await self._take_stock()
                await self._look()
                if self._budget and self._bytes > self._next_trim:
                    await self._trim()
            except (AppError, OSError, SQLAlchemyError) as error:
                logger.warning("the logs could not be looked at (it will be tried again): %s", error)
            except Exception:
                logger.exception("the logs could not be looked at (it will be tried again)")
            await asyncio.sleep(LOOK_EVERY)

    async def _look(self) -> None:
        """See how far the logs are that may have grown, and which of their segments their own keepers removed."""
        heard, self._heard = list(self._heard), set()
        gone, self._gone = self._gone, set()
        if not heard:
            return
        for process_id, extent in (await asyncio.to_thread(self._folders.log_extents, heard)).items():
            was = self._extents.get(process_id, (0, 0))
            self._bytes += (extent[1] - extent[0]) - (was[1] - was[0])
            self._metrics.log_trimmed_bytes.inc(max(0, extent[0] - was[0]))
            self._set_start(process_id, extent[0])
            if process_id in gone and process_id not in self._lives:
                self._extents.pop(process_id, None)
            else:
                self._extents[process_id] = extent

    def _set_start(self, process_id: str, start: int) -> None:
        live = self._lives.get(process_id)
        if live is not None and live.process.log_start < start:
            live.process = replace(live.process, log_start=start)
            live.saved = replace(live.saved, log_start=start)

    async def _take_stock(self, excess: int = 0) -> OldestSegments:
        """Look at all logs; the oldest of their closed segments that make up ``excess``."""
        oldest = OldestSegments(excess)
        stock = await asyncio.to_thread(self._folders.take_stock, oldest)
        self._bytes, self._extents = stock.bytes, stock.living
        for process_id, (start, _) in stock.living.items():
            self._set_start(process_id, start)
        return oldest

    async def _trim(self) -> None:
        """Remove the oldest closed segments until all logs are below the budget again, or nothing closed is left."""
        enough = self._budget - self._budget // SLACK
        oldest = await self._take_stock(self._bytes - enough)
        if self._bytes > self._budget:
            oldest.lower(self._bytes - enough)  # what was known before may have been too much
            trimmed = await asyncio.to_thread(self._trim_all, oldest.chosen())
            await self._account(trimmed)
        # What stays is being written: trying again helps only when there is more.
        self._next_trim = max(self._budget, self._bytes + self._budget // SLACK)

    def _trim_all(self, chosen: Mapping[str, Sequence[int]]) -> list[Trimmed]:
        found = []
        for process_id, firsts in chosen.items():
            try:
                found.append(self._folders.trim(process_id, firsts))
            except OSError as error:
                logger.warning("the log of %s could not be trimmed: %s", process_id, error)
        return found

    async def _account(self, trimmed: Sequence[Trimmed]) -> None:
        removed = sum(each.bytes for each in trimmed)
        self._bytes -= removed
        self._metrics.log_trimmed_bytes.inc(removed)
        for each in trimmed:
            if each.process_id in self._extents:
                self._extents[each.process_id] = (each.start, self._extents[each.process_id][1])
            self._set_start(each.process_id, each.start)
        over = [each.process_id for each in trimmed if each.process_id not in self._extents]
        measured = await asyncio.to_thread(lambda: [found for found in map(self._folders.measure, over) if found])
        if measured:
            await self._store.writer.run(partial(save_measured, found=measured))
        message = "removed %d bytes of the oldest logs, of %d process(es): together they exceeded log_budget_total"
        logger.info(message, removed, len(trimmed))
