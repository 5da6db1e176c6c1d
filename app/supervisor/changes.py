"""What changed lately, for pages that ask again when something of theirs did.

Whoever looks is told names, not news: the page asks for the present state anyway. So nothing has to be kept for each
reader, a change costs the same however many pages are open, and a process that is measured a hundred times between two
looks is told of once.
"""

import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.supervisor.pulse import Pulse
from procdeck.states import FINAL, Outcome

MEMORY = 2048
"""Names that are remembered of each kind; who is further behind is told that anything may have changed."""


class Recent:
    """Names in the order in which they were touched last, the last ``memory`` of them."""

    def __init__(self, memory: int = MEMORY) -> None:
        self._memory = memory
        self._touched: dict[str, int] = {}
        self._forgotten = 0
        self.count = 0
        """How many times anything was touched: where a reader is."""

    def touch(self, name: str) -> None:
        """Remember that ``name`` changed just now."""
        self.count += 1
        self._touched.pop(name, None)
        self._touched[name] = self.count
        if len(self._touched) > self._memory:
            oldest = next(iter(self._touched))
            self._forgotten = self._touched.pop(oldest)

    def since(self, count: int) -> list[str] | None:
        """The names that were touched after ``count``, the latest first; None when too many were."""
        if count < self._forgotten:
            return None
        found: list[str] = []
        for name, touched in reversed(self._touched.items()):
            if touched <= count:
                break
            found.append(name)
        return found


@dataclass(frozen=True, slots=True)
class Place:
    """How far a reader has come."""

    moved: int
    measured: int
    touched: int
    resets: int


@dataclass(frozen=True, slots=True)
class Changed:
    """What a reader missed. Of processes that `moved` the state changed, of those that were `measured` only figures;
    `touched` are names of other things. None: too many to tell."""

    moved: list[str] | None
    measured: list[str] | None
    touched: list[str] | None
    is_reset: bool


class Changes:
    """Which processes, and what else, changed. ``pulse`` beats with every change but measurements: those are frequent
    and may wait for the next look."""

    def __init__(self) -> None:
        self._moved, self._measured, self._touched = Recent(), Recent(), Recent()
        self._resets = 0
        self.pulse = Pulse()
        self.closing = Pulse()
        self.closed = False
        self.run = secrets.token_hex(8)
        """Changes with each start of the service: counts of another run can't be compared with these."""
        self.changed_at = datetime.now(UTC)
        """When anything but a measurement changed last: a page that was made before has missed it."""
        self.ended: Counter[Outcome] = Counter()
        """How many processes came to their end in this run, by outcome."""

    @property
    def place(self) -> Place:
        """Where a reader is who has seen everything."""
        return Place(self._moved.count, self._measured.count, self._touched.count, self._resets)

    def moved(self, facts: Mapping[str, Any]) -> None:
        """A process changed its state; ``facts`` are those of its event."""
        self._moved.touch(str(facts["id"]))
        if facts["to"] in FINAL and facts["outcome"] is not None:
            self.ended[Outcome(facts["outcome"])] += 1
        self._tell()

    def removed(self, process_id: str) -> None:
        """A process is not in the record any more."""
        self._moved.touch(process_id)
        self._tell()

    def measured(self, process_id: str) -> None:
        """There are new figures of a process: a sample, progress, a condition."""
        self._measured.touch(process_id)

    def touched(self, name: str) -> None:
        """Something else changed: `targets`, `activity`, `operations`."""
        self._touched.touch(name)
        self._tell()

    def reset(self) -> None:
        """Anything may have changed: the record was made again."""
        self._resets += 1
        self._tell()

    def _tell(self) -> None:
        self.changed_at = datetime.now(UTC)
        self.pulse.fire()

    def close(self) -> None:
        """Nobody shall wait any more: the service ends."""
        self.closed = True
        self.closing.fire()
        self.pulse.fire()

    def since(self, place: Place) -> Changed:
        """What changed since a reader was at ``place``."""
        return Changed(
            self._moved.since(place.moved),
            self._measured.since(place.measured),
            self._touched.since(place.touched),
            self._resets != place.resets,
        )
