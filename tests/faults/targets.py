"""Targets that write down for themselves what they do: the ground truth. Not a test: the launcher imports it."""

import os
import signal
import sys
import time
from pathlib import Path


def work(truth: str, lines: int, every: float, code: int, deaf: bool = False, family: bool = False) -> None:
    """Print numbered lines and write the same into the file ``truth``, which begins with ``started`` and ends with
    ``end CODE``; ``deaf`` ignores SIGTERM, ``family`` leaves a grandchild behind in a session of its own."""
    if deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with Path(truth).open("a", buffering=1) as file:
        file.write(f"started {os.getpid()}\n")
        if family and os.fork() == 0:
            os.setsid()
            time.sleep(1000)
        for number in range(lines):
            file.write(f"{number}\n")
            print(number)
            time.sleep(every)
        file.write(f"end {code}\n")
    sys.exit(code)
