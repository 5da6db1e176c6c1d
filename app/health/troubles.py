"""What is wrong with the service as a whole, while it is: a full disk, a database that can't be written.

Whoever notices a trouble reports it and clears it again; the pages, `/readyz` and the API show what is present.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Trouble:
    """``sentence`` says to a person what is wrong and what follows from it; ``since`` is UTC."""

    key: str
    sentence: str
    since: datetime


class Troubles:
    """The troubles that are present, by key. Used from the thread of the event loop only."""

    def __init__(self) -> None:
        self._present: dict[str, Trouble] = {}

    def report(self, key: str, sentence: str) -> bool:
        """Something is wrong, still or anew; whether it was not known before."""
        before = self._present.get(key)
        since = before.since if before else datetime.now(UTC)
        self._present[key] = Trouble(key, sentence, since)
        return before is None

    def clear(self, key: str) -> bool:
        """It is well again; whether it was not before."""
        return self._present.pop(key, None) is not None

    def present(self) -> Sequence[Trouble]:
        """All that is wrong now, the oldest first."""
        return sorted(self._present.values(), key=lambda trouble: trouble.since)
