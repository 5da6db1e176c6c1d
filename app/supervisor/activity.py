"""Notes of what was asked of the service and changes no state of a process: who deleted, pruned, reloaded, signed in.

A note comes after what it tells of and is no part of it: one that can't be written is logged, and nothing else fails.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

from sqlalchemy import Connection

from app.db.activity import RETENTION, Note, insert_note, trim_notes
from app.db.store import Store
from app.lifecycle import SERVICE
from app.supervisor.pulse import Pulse
from app.supervisor.retention import Pruned

logger = logging.getLogger("procdeck.activity")

KEPT = 100_000
"""Notes that are kept; the oldest go."""
TRIM_EVERY = 500
"""Notes between two looks at how many there are."""
WITHIN = 2.0
"""Seconds for which the write of a note is waited for; it goes on without whoever waits."""
MAX_NAME = 200
MAX_REASON = 1000
REFUSALS_EVERY = 60.0
"""Seconds between two notes of refused attempts to sign in: who tries for long must not fill the record."""
NAMED = 100
"""Processes of a pruning whose ids its note keeps; of the others it keeps the first and the last."""
STRANGER = "unknown"
"""The actor of an attempt to sign in that was refused."""


class Activity:
    """Writes notes. ``noted`` beats with every one that was written."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.noted = Pulse()
        self._count = 0
        self._refusal_told_at: float | None = None
        self._refusals = 0

    async def note(
        self,
        actor: str,
        action: str,
        *,
        subject_kind: str,
        subject_id: str,
        subject_name: str,
        reason: str | None = None,
        result: str = "done",
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Note that ``actor`` did something; see `app.db.activity.Note`. Returns when it is written; never raises."""
        reason = cut(reason, MAX_REASON) if reason else None
        subject_name = cut(subject_name, MAX_NAME)
        note = Note(
            datetime.now(UTC), actor, action, subject_kind, subject_id, subject_name, reason, result, detail or {}
        )
        is_to_be_trimmed = self._count % TRIM_EVERY == 0
        self._count += 1

        def job(connection: Connection) -> None:
            insert_note(connection, note)
            if is_to_be_trimmed:
                trim_notes(connection, KEPT)

        try:
            async with asyncio.timeout(WITHIN):
                await self._store.writer.run(job)
        except Exception as error:
            logger.warning("it could not be noted that %s did %s (%s): %s", actor, action, subject_name, _why(error))
        self.noted.fire()

    async def pruned(self, actor: str, pruned: Pruned, target: str | None = None) -> None:
        """Note that finished processes were removed, all in one: nothing when there were none."""
        if not pruned.count:
            return
        detail: dict[str, Any] = {"count": pruned.count, "bytes": pruned.bytes}
        detail |= removed([choice.process.id for choice in pruned.shown], pruned.count)
        if pruned.shown:
            detail["reasons"] = sorted({choice.reason for choice in pruned.shown})
        name = f"processes of {target}" if target else "finished processes"
        await self.note(
            actor, "pruned", subject_kind="processes", subject_id=RETENTION, subject_name=name, detail=detail
        )

    async def renewed(self, actor: str, why: str, taken: int, kept: Path | None) -> None:
        """Note that the record was made again, with so many processes; of what was noted before nothing is left."""
        detail = {"processes": taken, "kept": str(kept) if kept else None}
        await self.note(
            actor,
            "renewed",
            subject_kind="service",
            subject_id="",
            subject_name="record",
            reason=why,
            detail=detail,
        )

    async def service(self, action: str, detail: Mapping[str, Any]) -> None:
        """Note that the service ``started`` or ``stopped``."""
        await self.note(SERVICE, action, subject_kind="service", subject_id="", subject_name="service", detail=detail)

    async def signed_in(self, actor: str, address: str) -> None:
        """Note that a browser signed in."""
        await self._door(actor, "signed_in", address)

    async def signed_out(self, actor: str, address: str) -> None:
        """Note that a browser signed out."""
        await self._door(actor, "signed_out", address)

    async def sign_in_refused(self, address: str, why: str) -> None:
        """Note that an attempt to sign in was refused, one a minute at most; it says how many were before it."""
        now = monotonic()
        if self._refusal_told_at is not None and now - self._refusal_told_at < REFUSALS_EVERY:
            self._refusals += 1
            return
        self._refusal_told_at, unnoted, self._refusals = now, self._refusals, 0
        await self._door(STRANGER, "sign_in", address, why, "refused", {"unnoted": unnoted} if unnoted else None)

    async def _door(
        self,
        actor: str,
        action: str,
        address: str,
        reason: str | None = None,
        result: str = "done",
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        await self.note(
            actor,
            action,
            subject_kind="session",
            subject_id="",
            subject_name=address or "a browser",
            reason=reason,
            result=result,
            detail=detail,
        )


def removed(ids: Sequence[str], count: int) -> dict[str, Any]:
    """What a note tells of processes that were removed together, of which ``ids`` are known: all of few, else the first
    and the last. Ids hold the time of creation: that of one that is gone can be compared with these."""
    if not ids:
        return {}
    ordered = sorted(ids)
    named = {"ids": ordered} if count <= NAMED else {}
    return named | {"first_id": ordered[0], "last_id": ordered[-1]}


def cut(text: str, most: int) -> str:
    """The text, or so many characters of it, of which the last says that there is more."""
    return text if len(text) <= most else f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__
