"""Keeps the record usable: notices that its database is damaged, gone or can't be written, says so, and makes it again
from the run folders.

What runs is not touched by any of this. While the database is made again nothing can be launched or listed; keepers go
on, and what they tell is in their journals.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from app.db.store import Renewed, Store, keep_counts, try_to_write
from app.errors import RecordUnavailable, StartupError
from app.health.troubles import Troubles
from app.supervisor.imports import AT_ONCE, QUARANTINE, Imported, import_again, import_folders
from app.supervisor.ledger import Ledger
from app.supervisor.pulse import Pulse
from app.supervisor.recovery import Memory

logger = logging.getLogger("procdeck.record")

LOOK_EVERY = 2.0
"""Seconds between two looks at the files of the database."""
LARGEST_WAL = 64 * 1024 * 1024
"""Bytes of SQLite's -wal above which somebody keeps it from being written back."""
TRY_AGAIN_AFTER = 2.0, 30.0
"""Seconds until what could not be taken into the record is tried again: the first time, and at most."""
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
    url: str, runs: Path, why: str, counts: Mapping[str, int] | None = None, living: Mapping[str, Memory] | None = None
) -> Rebuilt:
    """Put a new database in the place of the one at ``url``, which nobody has open, and fill it from the run folders.

    ``counts`` are numbers, by the names of the table `counter`, that were given for sure; ``living`` are processes that
    the caller has in memory, see `import_folders`. Raises StartupError, RecordUnavailable, OSError; what was there is
    moved aside all the same then.
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
    living: Mapping[str, Memory] | None = None,
) -> Imported:
    """Take every run folder into a new database; its numbers go on behind those of the old one. It may be done again
    when it was cut off. See `rebuild`."""
    # One more than was given: who has seen the last event is told to start over as well.
    known = {name: max(renewed.counts.get(name, 0), (counts or {}).get(name, 0)) for name in ("process", "event")}
    known["event"] += 1
    await store.writer.run(partial(keep_counts, counts=known))
    before = await asyncio.to_thread(store.ids)
    imported = await import_folders(store, runs, before, living)
    imported.taken += len(before)
    return imported


class Record:
    """Watches over the database of ``store`` while the service runs.

    ``last_number`` gives the highest number of a process so far; ``go_on`` is awaited when processes were put into the
    record past the ledger, until it returns once without an exception.
    """

    def __init__(
        self,
        store: Store,
        runs: Path,
        ledger: Ledger,
        troubles: Troubles,
        last_number: Callable[[], int],
        go_on: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._runs = runs
        self._ledger = ledger
        self._troubles = troubles
        self._last_number = last_number
        self._go_on = go_on
        self._renewals: list[Callable[[], Awaitable[None]]] = []
        self._tellings: list[Callable[[Renewed, int], None]] = []
        self._renewed: Renewed | None = None
        """The database is new, and was not filled yet."""
        self._is_behind = False
        """There are run folders that the record has yet to be told of, numbers that were given among them."""
        self._has_to_go_on = False
        self._quarantined: dict[str, str] = {}
        self._refused: dict[str, str] = {}
        self._postponed: dict[str, str] = {}
        self._patience, self._try_again_at = TRY_AGAIN_AFTER[0], 0.0
        self._wal_bytes = 0
        self._is_renewing = False
        self._is_alone = False
        self._users = 0
        self._moved = Pulse()

    def when_renewed(self, tell: Callable[[], Awaitable[None]]) -> None:
        """Have ``tell`` awaited each time that the record was made again while the service runs."""
        self._renewals.append(tell)

    def tell_renewed_to(self, tell: Callable[[Renewed, int], None]) -> None:
        """Have ``tell`` called each time that a new database was filled, with how many processes it holds."""
        self._tellings.append(tell)

    @asynccontextmanager
    async def in_step(self) -> AsyncIterator[None]:
        """For whoever changes record and run folder of a process one after the other: while the context lasts no folder
        is imported.

        Waits while some are. Raises RecordUnavailable while the record is made again, or knows of less than there is.
        """
        while self._is_alone:
            self._refuse()
            await self._moved.wait()
        self._refuse()
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            self._moved.fire()

    def _refuse(self) -> None:
        if self._is_renewing:
            raise RecordUnavailable("The record is being made again from the run folders.")
        if self._is_behind:
            raise RecordUnavailable("The record can't be brought up to date with the run folders yet.")

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Nobody is `in_step` while the context lasts; who comes before it begins has to wait, or it never would."""
        self._is_alone = True
        try:
            while self._users:
                await self._moved.wait()
            yield
        finally:
            self._is_alone = False
            self._moved.fire()

    # --- at the start -------------------------------------------------------------------------------------------------

    async def begin(self, renewed: Renewed | None) -> None:
        """Take in what the record does not know. ``renewed`` says that it is a new one.

        What can't be taken now, since the disk of the database is full, is taken later.
        """
        self._renewed, self._is_behind = renewed, True
        try:
            is_changed = await self._import_all(None)
            if self._postponed:
                # It may have been a moment's trouble: nothing is answered before it was tried once more.
                is_changed = await self._import_postponed() or is_changed
        except RecordUnavailable as error:
            if error.is_damage:
                await self._renew(error.detail)
                return
            self._tell_behind(error)
            is_changed = True
        self._has_to_go_on = False  # the start does
        if is_changed:
            self._ledger.broadcaster.restart(await asyncio.to_thread(self._store.last_event_id))

    async def _import_all(self, living: Mapping[str, Memory] | None) -> bool:
        """Whether there was something that the record did not know."""
        renewed = self._renewed
        if renewed is not None:
            imported = await fill(self._store, renewed, self._runs, living=living)
        else:
            known = await asyncio.to_thread(self._store.ids)
            imported = await import_folders(self._store, self._runs, known, living)
        self._is_behind, self._renewed = False, None
        if renewed is not None:
            self._tell_renewed(renewed, imported)
        self._refused, self._postponed = imported.refused, imported.postponed
        self._tell_folders(imported)
        return imported.taken > 0 or renewed is not None

    async def _import_postponed(self) -> bool:
        names = list(self._postponed)
        taken = 0
        for start in range(0, len(names), AT_ONCE):
            some = names[start : start + AT_ONCE]
            async with self._alone():
                imported = await import_again(self._store, self._runs, some)
            for name in some:
                self._postponed.pop(name, None)
            self._postponed |= imported.postponed
            self._refused |= imported.refused
            self._has_to_go_on |= imported.taken > 0
            taken += imported.taken
            self._tell_folders(imported)
        return taken > 0

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
        if (self._is_behind or self._postponed) and _now() >= self._try_again_at:
            await self._import_late()
        if self._has_to_go_on:
            await self._catch_up()

    async def _import_late(self) -> None:
        """Once more what could not be taken before, each time after a longer pause."""
        self._try_again_at = _now() + self._patience
        self._patience = min(2 * self._patience, TRY_AGAIN_AFTER[1])
        try:
            if self._is_behind:
                # Nobody is in step since the start. Some may have been taken before this: go on in any case.
                await self._import_all({})
                self._has_to_go_on = True
            await self._import_postponed()
        except RecordUnavailable as error:
            self._tell_behind(error)
        if not (self._is_behind or self._postponed):
            self._patience = TRY_AGAIN_AFTER[0]

    async def _catch_up(self) -> None:
        """The record has what the ledger and the readers of events have not seen."""
        self._ledger.broadcaster.restart(await asyncio.to_thread(self._store.last_event_id))
        await self._go_on()
        self._has_to_go_on = False

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
        self._is_renewing = True  # from now on nobody new is in step
        try:
            await asyncio.to_thread(self._store.close)
            async with self._alone():
                rebuilt = await self._make_again(why)
        except (StartupError, RecordUnavailable, OSError) as error:
            self._troubles.report(_UNUSABLE, f"{sentence} That has not worked yet: {_plain(error)}")
            logger.error("the database could not be made again (it is tried again): %s", error)  # noqa: TRY400
            self._store.suspect(why)
            return
        finally:
            self._is_renewing = False
            self._moved.fire()
        self._troubles.clear(_UNUSABLE)
        self._tell_renewed(rebuilt.renewed, rebuilt.imported)
        self._refused, self._postponed = rebuilt.imported.refused, rebuilt.imported.postponed
        self._tell_folders(rebuilt.imported)
        for tell in self._renewals:
            try:
                await tell()
            except Exception:
                logger.exception("not all is as it was before the database was made again")
        await self._catch_up()

    async def _make_again(self, why: str) -> Rebuilt:
        """A new database in the place of the one that was closed, in use at once."""
        lives = self._ledger.lives
        living = {id_: live.memory() for id_, live in lives.items() if not live.is_new}
        counts = {"process": self._last_number(), "event": self._ledger.broadcaster.last_id}
        rebuilt = await rebuild(str(self._store.url), self._runs, why, counts, living)
        # Without waiting in between: nothing is saved as it was in the old database.
        self._store.adopt(rebuilt.store)
        self._ledger.failing = None
        self._is_behind, self._renewed, self._has_to_go_on = False, None, True
        for process in rebuilt.imported.processes.values():
            if live := lives.get(process.id):
                self._ledger.resume(live, process)
        return rebuilt

    # --- saying it ----------------------------------------------------------------------------------------------------

    def _tell_renewed(self, renewed: Renewed, imported: Imported) -> None:
        at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        kept = f" What was there is kept as {renewed.kept}." if renewed.kept else ""
        done = f"It was made again from the run folders at {at}, with {imported.taken} processes."
        logger.error("%s %s%s", renewed.why, done, kept)
        sentence = f"{renewed.why} {done}{kept} Who was signed in may have to sign in again."
        self._troubles.report(_RENEWED, sentence)
        asyncio.get_running_loop().call_later(TOLD_FOR, self._troubles.clear, _RENEWED)
        for tell in self._tellings:
            tell(renewed, imported.taken)

    def _tell_behind(self, error: RecordUnavailable) -> None:
        sentence = f"Run folders can't be taken into the record yet: {_plain(error)}"
        if self._is_behind:
            sentence += " Nothing can be launched until they are."
        if self._troubles.report(_FOLDERS, sentence):
            logger.error("run folders can't be taken into the record now: %s", error)

    def _tell_folders(self, imported: Imported) -> None:
        self._quarantined |= imported.quarantined  # which the next import does not meet any more
        parts = []
        if self._quarantined:
            place = self._runs.with_name(QUARANTINE)
            parts.append(f"Run folders that can't be understood were moved to {place}: {_listed(self._quarantined)}.")
        if left := self._refused | self._postponed:
            parts.append(f"Run folders that can't be taken into the record: {_listed(left)}.")
        if parts:
            self._troubles.report(_FOLDERS, " ".join(parts))
        else:
            self._troubles.clear(_FOLDERS)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _plain(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if text.endswith(".") else f"{text}."


def _listed(reasons: Mapping[str, str], most: int = 5) -> str:
    shown = [f"{name} ({why})" for name, why in list(reasons.items())[:most]]
    return ", ".join(shown) + (f" and {len(reasons) - most} more" if len(reasons) > most else "")
