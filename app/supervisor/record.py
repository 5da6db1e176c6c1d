"""Keeps the record usable: notices that its database is damaged, gone or can't be written, says so, and makes it again
from the run folders.

What runs is not touched by any of this. While the database is made again nothing can be launched or listed; keepers go
on, and what they tell is in their journals.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from app.db.store import Renewed, Store, keep_counts, try_to_write
from app.errors import RecordUnavailable, StartupError
from app.lifecycle import Process
from app.supervisor.imports import QUARANTINE, Imported, import_folders
from app.supervisor.ledger import Ledger
from app.supervisor.pulse import Pulse
from app.troubles import Troubles

logger = logging.getLogger("procdeck.record")

LOOK_EVERY = 2.0
"""Seconds between two looks at the files of the database."""
LARGEST_WAL = 64 * 1024 * 1024
"""Bytes of SQLite's -wal above which somebody keeps it from being written back."""
TOLD_FOR = 24 * 3600.0
"""Seconds for which it is shown that the database was made again."""

_UNUSABLE, _UNSAVED, _WAL, _RENEWED, _FOLDERS = (
    "database",
    "database-writes",
    "database-wal",
    "database-renewed",
    "run-folders",
)
"""Keys of troubles."""


@dataclass(frozen=True)
class Rebuilt:
    """A record that was made again, not in use yet."""

    store: Store
    renewed: Renewed
    imported: Imported


async def rebuild(
    url: str, runs: Path, why: str, counts: Mapping[str, int] | None = None, living: Mapping[str, Process] | None = None
) -> Rebuilt:
    """Put a new database in the place of the one at ``url``, which nobody has open, and fill it from the run folders.

    ``counts`` are numbers, by the names of the table `counter`, that were given for sure; ``living`` are processes that
    the caller has in memory. Raises StartupError, RecordUnavailable, OSError; what was there is moved aside all the
    same then.
    """
    store, renewed = await asyncio.to_thread(Store.renew, url, why)
    try:
        return Rebuilt(store, renewed, await fill(store, renewed, runs, counts, living))
    except BaseException:
        await asyncio.to_thread(store.discard)
        raise


async def fill(
    store: Store,
    renewed: Renewed,
    runs: Path,
    counts: Mapping[str, int] | None = None,
    living: Mapping[str, Process] | None = None,
) -> Imported:
    """Take every run folder into a new database; its numbers go on behind those of the old one. See `rebuild`."""
    # One more than was given: who has seen the last event is told to start over as well.
    known = {name: max(renewed.counts.get(name, 0), (counts or {}).get(name, 0)) for name in ("process", "event")}
    known["event"] += 1
    await store.writer.run(partial(keep_counts, counts=known))
    return await import_folders(store, runs, (), living)


class Record:
    """Watches over the database of ``store`` while the service runs.

    ``last_number`` gives the highest number of a process so far; ``go_on`` is awaited when the record was made again,
    with what was imported.
    """

    def __init__(
        self,
        store: Store,
        runs: Path,
        ledger: Ledger,
        troubles: Troubles,
        last_number: Callable[[], int],
        go_on: Callable[[Imported], Awaitable[None]],
    ) -> None:
        self._store = store
        self._runs = runs
        self._ledger = ledger
        self._troubles = troubles
        self._last_number = last_number
        self._go_on = go_on
        self._renewals: list[Callable[[], Awaitable[None]]] = []
        self._import_is_due = False
        self._quarantined: dict[str, str] = {}
        self._wal_bytes = 0
        self._users = 0
        self._unused = Pulse()

    def when_renewed(self, tell: Callable[[], Awaitable[None]]) -> None:
        """Have ``tell`` awaited each time that the record was made again while the service runs."""
        self._renewals.append(tell)

    @contextmanager
    def in_step(self) -> Iterator[None]:
        """For whoever changes record and run folder of a process one after the other: while the context lasts no folder
        is imported."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            self._unused.fire()

    # --- at the start -------------------------------------------------------------------------------------------------

    async def begin(self, renewed: Renewed | None) -> bool:
        """Take in what the record does not know; whether there was something. ``renewed`` says that it is a new one.

        What can't be taken now, since the disk of the database is full, is taken later.
        """
        try:
            found = renewed is not None or await self._import()
            if renewed is not None:
                self._tell_renewed(renewed, await fill(self._store, renewed, self._runs))
            if self._import_is_due:
                # It may have been a moment's trouble: nothing is answered before it was tried once more.
                found = await self._import() or found
        except RecordUnavailable as error:
            if error.is_damage:
                await self._renew(error.detail)
            else:
                logger.error("run folders can't be taken into the record now: %s", error)  # noqa: TRY400
                self._import_is_due = True
            return True
        return found

    async def _import(self) -> bool:
        known = await asyncio.to_thread(self._store.ids)
        imported = await import_folders(self._store, self._runs, known)
        self._tell_folders(imported)
        return imported.taken > 0

    # --- while the service runs ---------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Look every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                await self._look()
            except Exception:
                logger.exception("the database could not be looked at; it is tried again")

    async def _look(self) -> None:
        damage = self._store.damage() or await self._examine()
        if damage is not None:
            await self._renew(damage)
            return
        await self._look_at_writes()
        await self._look_at_wal()
        if self._import_is_due and await self._import():
            # Their events are past the readers, and behind numbers that these have seen.
            self._ledger.broadcaster.restart(await asyncio.to_thread(self._store.last_event_id))
            await self._go_on(Imported())

    async def _examine(self) -> str | None:
        """What is wrong with the files for good."""
        try:
            self._wal_bytes = await asyncio.to_thread(self._store.examine)
        except RecordUnavailable as error:
            return error.detail if error.is_damage else None
        return None

    async def _look_at_writes(self) -> None:
        failing = self._store.writer.failing or self._ledger.failing
        if failing is None:
            if self._troubles.clear(_UNSAVED):
                logger.warning("the database can be written again")
            return
        sentence = f"The database can't be written: {_plain(failing)} Processes go on; what happens to them is kept in"
        if self._troubles.report(_UNSAVED, f"{sentence} their run folders, and nothing can be launched."):
            logger.error("the database can't be written: %s", failing)
        try:
            await self._store.writer.run(try_to_write)
        except RecordUnavailable:
            return

    async def _look_at_wal(self) -> None:
        if self._wal_bytes > LARGEST_WAL:
            await self._store.writer.checkpoint()
            self._wal_bytes = await asyncio.to_thread(self._store.examine)
        if self._wal_bytes <= LARGEST_WAL:
            self._troubles.clear(_WAL)
            return
        megabytes = self._wal_bytes // 2**20
        sentence = f"The file of the database's latest changes has grown to {megabytes} MiB: another program has been"
        if self._troubles.report(_WAL, f"{sentence} reading the database for long, and has to end for it to shrink."):
            logger.warning("the -wal of the database has grown to %d MiB: some reader does not end", megabytes)

    # --- making it again ----------------------------------------------------------------------------------------------

    async def _renew(self, why: str) -> None:
        if not self._store.can_be_renewed:
            self._troubles.report(_UNUSABLE, f"{why} It can't be mended from here.")
            return
        sentence = f"{why} It is being made again from the run folders; what runs goes on, and nothing can be launched."
        if self._troubles.report(_UNUSABLE, sentence):
            logger.error("%s It is being made again from the run folders.", why)
        await asyncio.to_thread(self._store.close)
        await self._until_unused()
        lives = self._ledger.lives
        living = {id_: live.process for id_, live in lives.items() if not live.is_new}
        counts = {"process": self._last_number(), "event": self._ledger.broadcaster.last_id}
        try:
            rebuilt = await rebuild(str(self._store.url), self._runs, why, counts, living)
        except (StartupError, RecordUnavailable, OSError) as error:
            self._troubles.report(_UNUSABLE, f"{sentence} That has not worked yet: {_plain(error)}")
            logger.error("the database could not be made again (it is tried again): %s", error)  # noqa: TRY400
            self._store.suspect(why)
            return
        self._store.adopt(rebuilt.store)
        self._ledger.failing = None
        self._ledger.broadcaster.restart(await asyncio.to_thread(self._store.last_event_id))
        await self._go_on(rebuilt.imported)
        for tell in self._renewals:
            await tell()
        self._troubles.clear(_UNUSABLE)
        self._tell_renewed(rebuilt.renewed, rebuilt.imported)

    async def _until_unused(self) -> None:
        while self._users:
            await self._unused.wait()

    # --- saying it ----------------------------------------------------------------------------------------------------

    def _tell_renewed(self, renewed: Renewed, imported: Imported) -> None:
        at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        kept = f" What was there is kept as {renewed.kept}." if renewed.kept else ""
        done = f"It was made again from the run folders at {at}, with {imported.taken} processes."
        logger.error("%s %s%s", renewed.why, done, kept)
        sentence = f"{renewed.why} {done}{kept} Who was signed in may have to sign in again."
        self._troubles.report(_RENEWED, sentence)
        asyncio.get_running_loop().call_later(TOLD_FOR, self._troubles.clear, _RENEWED)
        self._tell_folders(imported)

    def _tell_folders(self, imported: Imported) -> None:
        self._import_is_due = bool(imported.postponed)
        self._quarantined |= imported.quarantined  # which the next import does not meet any more
        parts = []
        if self._quarantined:
            place = self._runs.with_name(QUARANTINE)
            parts.append(f"Run folders that can't be understood were moved to {place}: {_listed(self._quarantined)}.")
        if left := imported.refused | imported.postponed:
            parts.append(f"Run folders that can't be taken into the record: {_listed(left)}.")
        if parts:
            self._troubles.report(_FOLDERS, " ".join(parts))
        else:
            self._troubles.clear(_FOLDERS)


def _plain(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if text.endswith(".") else f"{text}."


def _listed(reasons: Mapping[str, str], most: int = 5) -> str:
    shown = [f"{name} ({why})" for name, why in list(reasons.items())[:most]]
    return ", ".join(shown) + (f" and {len(reasons) - most} more" if len(reasons) > most else "")
