"""A service as people run them: a sign of life at a fixed rate, for a monitor that worries when it stays away."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from procdeck import progress, stop_requested, target

LOOK_EVERY = 0.2
"""Seconds between two looks at whether somebody asked us to stop."""


@target(name="heartbeat", daemon=True)
def heartbeat(
    interval: Annotated[float, "Seconds from one beat to the next", {"exclusiveMinimum": 0}] = 1.0,
    count: Annotated[int | None, "How many beats; none for as long as it lives", {"minimum": 0}] = None,
    file: Annotated[Path | None, "A file whose modification time is renewed by each beat"] = None,
) -> int:
    """Beat every `interval` seconds until `count` is reached or somebody asks to stop; returns the number of beats.

    The beats keep their rhythm over hours: each is due at a multiple of the interval from the first, however long the
    one before took.
    """
    began = time.monotonic()
    beats = 0
    while beats != count and _awaited(began + beats * interval):
        beats += 1
        print(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} beat {beats}", flush=True)
        if file is not None:
            file.touch()
        if count is not None:
            progress(beats / count, f"{beats} of {count} beats")
    return beats


def _awaited(due: float) -> bool:
    """Sleep until `due` on the monotonic clock; False as soon as somebody asks to stop."""
    while not stop_requested():
        left = due - time.monotonic()
        if left <= 0:
            return True
        time.sleep(min(left, LOOK_EVERY))
    return False
