"""Exit codes of the command line, and those of processes as a shell has them.

`run --follow` and `join` end with the code of the process: 0 to 255, or 128 + N when signal N ended it. Where there is
none, the codes are those that timeout(1), env(1) and shells use for the same. Failures of the command itself use
sysexits.h, as `procdeck serve` does (see `app.errors.StartupError`).
"""

import os
from collections.abc import Mapping
from typing import Any

OK = 0
TIME_UP = 124
"""`join --timeout`: the time was over before the process was."""
CODE_UNKNOWN = 125
"""The process is over, but its exit code can't be known: it is lost."""
NOT_STARTED = 126
"""The process was never started: it could not be launched, or was cancelled before."""
INTERRUPTED = 130
"""Ctrl-C ended the command, not the process."""

USAGE = 2
"""Wrong words on the command line."""
REFUSED = os.EX_DATAERR
"""The service, or the command before it asked, refused: no such process, wrong arguments, not in this state."""
NO_SERVICE = os.EX_UNAVAILABLE
"""No service runs on the data folder, or none answers at the address."""
SERVICE_FAILED = os.EX_SOFTWARE
"""The service answered with a fault of its own, or with what is not an answer of ours."""
TRY_LATER = os.EX_TEMPFAIL
"""The service can't do it now; it is starting, stopping or full."""
NOT_ALLOWED = os.EX_NOPERM
"""The token is missing or wrong, or a file can't be read."""
PROBLEM = 1
"""`doctor` found a problem; `rebuild` could not take every run folder into the record."""
STILL_ALIVE = 1
"""`stop --all`: somebody is still alive, or could not be asked."""


def of_status(status: int) -> int:
    """The exit code for a problem with this HTTP status."""
    if status in (401, 403):
        return NOT_ALLOWED
    if status == 503:
        return TRY_LATER
    return REFUSED if status < 500 else SERVICE_FAILED


def of_process(process: Mapping[str, Any]) -> int:
    """The exit code of a process that is over."""
    code: int | None = process["exitcode"]
    if code is not None:
        return code if code >= 0 else 128 - code
    return CODE_UNKNOWN if process["outcome"] == "lost" else NOT_STARTED
