"""Who is waited for: a daemonic process ends with the server, any other is waited for and then left to its keeper.

Launch both and stop the server: `daemon` never gets to its last line. `join` with a timeout shorter than its sleep
returns with the process still alive.
"""

import time
from multiprocessing import current_process

from procdeck import target


@target(daemon=True)
def daemon(seconds: float = 2.0) -> None:
    """Start, sleep, exit, marked as a daemon. Raise `seconds` to have time to stop the server in between."""
    _report("Starting:")
    time.sleep(seconds)
    _report("Exiting :")


@target
def non_daemon() -> None:
    """Start and exit at once, not a daemon."""
    _report("Starting:")
    _report("Exiting :")


def _report(what: str) -> None:
    process = current_process()
    print(what, process.name, process.pid, flush=True)
