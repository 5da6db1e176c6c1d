"""Waiting for a condition, never for a time."""

import time
from collections.abc import Callable

INTERVAL_SECONDS = 0.01


def wait_until(condition: Callable[[], object], seconds: float, message: str | Callable[[], str]) -> None:
    """Return as soon as `condition()` is true; after `seconds` raise AssertionError with `message`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(message if isinstance(message, str) else message())
        time.sleep(INTERVAL_SECONDS)
