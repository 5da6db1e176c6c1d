"""Where output goes: both streams are kept in the order they arrived, and so is what multiprocessing itself logs."""

import multiprocessing
import sys
import time
from typing import Literal

from procdeck import progress, target


@target
def worker(level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO", steps: int = 3) -> None:
    """Work a little, and tell of it through the logger of `multiprocessing`, which writes to stderr.

    At INFO and below the library adds what it does itself: starting, ending, the exit code. Each line begins with
    the level and the name of the process. A log level chosen at the launch does the same without any code, and wins.
    """
    logger = multiprocessing.get_logger()
    if not logger.handlers:
        multiprocessing.log_to_stderr(level)
    for step in range(1, steps + 1):
        logger.debug("step %d begins", step)
        print(f"Doing some work, part {step} of {steps}", flush=True)
        logger.info("step %d done", step)
    logger.warning("nothing left to do")


@target
def both_streams(lines: int = 100, pause: float = 0.05) -> None:
    """Write `lines` lines, every fifth to stderr, with `pause` seconds between them: something to follow."""
    for number in range(1, lines + 1):
        stream = sys.stdout if number % 5 else sys.stderr
        print(f"line {number} of {lines}", file=stream, flush=True)
        progress(number / lines, f"line {number}")
        time.sleep(pause)
