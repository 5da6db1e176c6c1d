"""The clock on the wall, watched by one that nobody can set: what is removed for its age is removed for good."""

import time
from datetime import UTC, datetime


class WallClock:
    """``even_for`` are the seconds for which it has gone as CLOCK_BOOTTIME does (clock_gettime(2)), as far as it was
    looked at; ``jumped`` those that it jumped by before, 0 when it was never seen to."""

    def __init__(self) -> None:
        self._ahead: float | None = None
        self._even_since = time.clock_gettime(time.CLOCK_BOOTTIME)
        self.even_for = 0.0
        self.jumped = 0.0

    def look(self, tolerance: float) -> datetime:
        """The time. A difference of more than ``tolerance`` seconds since the last look is a jump."""
        wall, boot = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
        ahead = wall - boot
        if self._ahead is not None and abs(ahead - self._ahead) > tolerance:
            self.jumped, self._even_since = ahead - self._ahead, boot
        self._ahead = ahead
        self.even_for = boot - self._even_since
        return datetime.fromtimestamp(wall, UTC)
