"""Five ways to end, and the exit code that each leaves: 0 for no error, above 0 for an error, -N for signal N."""

import sys
import time

from procdeck import target


@target
def exit_error(code: int = 1) -> None:
    """Leave by sys.exit with an error code: outcome `failed`, exit code 1 (or the one given)."""
    sys.exit(code)


@target
def exit_ok() -> None:
    """Come to the end: outcome `succeeded`, exit code 0."""


@target
def return_value(value: int = 1) -> int:
    """Return something: it becomes the result of the process, while the exit code stays 0."""
    return value


@target
def raises(message: str = "something went wrong, as planned") -> None:
    """Fail with an exception nobody catches: exit code 1, and the traceback is in the log and on the page."""
    raise RuntimeError(message)


@target
def terminated(seconds: float = 30.0) -> None:
    """Sleep until somebody terminates it: exit code -15, for SIGTERM is signal 15."""
    time.sleep(seconds)
