"""Which finished processes go, and why; which segments of logs go. Nothing here does I/O.

Three limits, each of which may be absent: an age, a count for each target, and the bytes of all run folders together.
What is too old goes first, then what is too many of its target, and only then, oldest first, as much as it takes for
the bytes: so one target that floods the folder does not push out the history of the others while its own count says
that it has too many.
"""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from app.settings import Settings


@dataclass(frozen=True, slots=True)
class Limits:
    """What is kept of the finished processes; None is no limit."""

    days: float | None = None
    per_target: int | None = None
    bytes: int | None = None

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """Those of the settings, where 0 is no limit."""
        return cls(settings.keep_days or None, settings.keep_per_target or None, settings.keep_bytes or None)

    def __bool__(self) -> bool:
        """Whether there is any."""
        return (self.days, self.per_target, self.bytes) != (None, None, None)


class Key(NamedTuple):
    """The place of a process among the finished ones, oldest first."""

    stopped_at: datetime
    number: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A process that is over, with the ``bytes`` that its run folder takes."""

    id: str
    number: int
    name: str
    target: str
    stopped_at: datetime
    bytes: int

    @property
    def key(self) -> Key:
        """Its place, oldest first."""
        return Key(self.stopped_at, self.number)


class Reason(StrEnum):
    """Why a process goes."""

    AGE = "age"
    COUNT = "count"
    BYTES = "bytes"


class Choice(NamedTuple):
    """A process that goes."""

    process: Candidate
    reason: Reason


@dataclass(slots=True)
class Held:
    """The candidates that there are: how many of each target, and the bytes of all."""

    counts: dict[str, int] = field(default_factory=dict)
    bytes: int = 0


class Chooser:
    """Chooses among the finished processes of ``held``, given in pages, each oldest first.

    Ask `by_age` until it chooses less than the page, then `by_count` for the `crowded` targets, then `by_bytes` while
    it `is_over_bytes`. What was chosen counts as gone, also when it is given again: so the same choice can be made with
    the chosen ones removed between two pages, or left in place.
    """

    def __init__(self, held: Held, limits: Limits, now: datetime) -> None:
        self._limits = limits
        self._counts = dict(held.counts)
        self._bytes = held.bytes
        self._oldest_kept = None if limits.days is None else now - timedelta(days=limits.days)
        self._gone: dict[str, Key] = {}  # of each target, the newest that was chosen for its count

    def by_age(self, page: Iterable[Candidate]) -> list[Choice]:
        """Those that are too old."""
        if self._oldest_kept is None:
            return []
        return [self._choose(each, Reason.AGE) for each in page if each.stopped_at < self._oldest_kept]

    def crowded(self) -> list[str]:
        """The targets with more finished processes than are kept of each."""
        return sorted(filter(self.is_crowded, self._counts))

    def is_crowded(self, target: str) -> bool:
        """Whether more finished processes of this target are left than are kept."""
        most = self._limits.per_target
        return most is not None and self._counts.get(target, 0) > most

    def by_count(self, page: Iterable[Candidate]) -> list[Choice]:
        """Those that are too many of their target."""
        chosen: list[Choice] = []
        for each in page:
            if self.is_crowded(each.target) and not self._is_gone(each):
                chosen.append(self._choose(each, Reason.COUNT))
                self._gone[each.target] = each.key
        return chosen

    @property
    def is_over_bytes(self) -> bool:
        """Whether what is left takes more than is kept."""
        return self._limits.bytes is not None and self._bytes > self._limits.bytes

    def by_bytes(self, page: Iterable[Candidate]) -> list[Choice]:
        """As many as it takes."""
        chosen: list[Choice] = []
        for each in page:
            if not self.is_over_bytes:
                break
            if not self._is_gone(each):
                chosen.append(self._choose(each, Reason.BYTES))
        return chosen

    def _is_gone(self, candidate: Candidate) -> bool:
        if self._oldest_kept is not None and candidate.stopped_at < self._oldest_kept:
            return True
        gone = self._gone.get(candidate.target)
        return gone is not None and candidate.key <= gone

    def _choose(self, candidate: Candidate, reason: Reason) -> Choice:
        self._counts[candidate.target] = self._counts.get(candidate.target, 0) - 1
        self._bytes -= candidate.bytes
        return Choice(candidate, reason)


# --- segments of logs --------------------------------------------------------------------------------------------


class Segment(NamedTuple):
    """A closed segment of a log: nobody writes to it any more. ``modified_at`` is in nanoseconds since 1970."""

    first: int
    size: int
    modified_at: int


class OldestSegments:
    """The oldest segments whose bytes together are at least ``excess``: what goes for the budget of all logs.

    It keeps no more of what it is given than that, however many segments there are.
    """

    def __init__(self, excess: int) -> None:
        self._excess = excess
        self._newest_first: list[tuple[int, str, int, int]] = []
        self._bytes = 0

    def add(self, process_id: str, segments: Iterable[Segment]) -> None:
        """Take the closed segments of a log, oldest first, into account."""
        modified_at = 0
        for segment in segments:
            # Never younger than the one before it, whatever a clock that was set back says: a log goes from its start.
            modified_at = max(modified_at, segment.modified_at)
            heapq.heappush(self._newest_first, (-modified_at, process_id, -segment.first, segment.size))
            self._bytes += segment.size
        self._drop_newest()

    def lower(self, excess: int) -> None:
        """No more than this is needed."""
        self._excess = min(self._excess, excess)
        self._drop_newest()

    def _drop_newest(self) -> None:
        while self._newest_first and self._bytes - self._newest_first[0][3] >= self._excess:
            self._bytes -= heapq.heappop(self._newest_first)[3]

    def chosen(self) -> Mapping[str, list[int]]:
        """The first offsets of those that go, oldest first, by process."""
        found: dict[str, list[int]] = {}
        for _, process_id, minus_first, _ in self._newest_first:
            found.setdefault(process_id, []).append(-minus_first)
        return {process_id: sorted(firsts) for process_id, firsts in found.items()}
