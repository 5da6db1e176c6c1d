"""What the measured processes do: targets for Procdeck, and a script for the peers, which can only start programs.

Standard library only, and little of it: what is imported here is paid by the peers at every launch. Each function tells
through a FIFO when (CLOCK_MONOTONIC, which all processes of a machine share) and in which process it ran.
"""

import os
import sys
import time


def _report(fifo: str, at: int) -> None:
    descriptor = os.open(fifo, os.O_WRONLY)
    os.write(descriptor, b"%d %d\n" % (at, os.getpid()))
    os.close(descriptor)


def first_line(fifo: str) -> None:
    """Report the moment of the first line, and return."""
    _report(fifo, time.monotonic_ns())


def sleep(fifo: str) -> None:
    """Report, then sleep without a word until killed."""
    _report(fifo, time.monotonic_ns())
    time.sleep(3600)


def end(fifo: str, delay: float) -> None:
    """Wait `delay` seconds, so that whoever wants to hear of the end listens, report, and be gone at once."""
    descriptor = os.open(fifo, os.O_WRONLY)
    time.sleep(delay)
    os.write(descriptor, b"%d %d\n" % (time.monotonic_ns(), os.getpid()))
    os._exit(0)


def lines(fifo: str, count: int) -> None:
    """Print `count` numbered lines, in whatever portions the interpreter lets them go."""
    _report(fifo, time.monotonic_ns())
    for number in range(count):
        print(f"line {number:07d} of what the benchmark prints")


def lines_at_once(fifo: str, count: int) -> None:
    """The same, but each line leaves the process when it is printed, as in a terminal."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    lines(fifo, count)


def prompt(fifo: str) -> None:
    """Write a prompt without its newline, report, and sleep until killed."""
    at = time.monotonic_ns()
    os.write(1, b"name? ")
    _report(fifo, at)
    time.sleep(3600)


def changing(fifo: str) -> None:
    """Report, then tell of progress twice a second, with some work in between, until killed. A target only: the peers
    have nothing to tell it to."""
    from procdeck import progress  # not paid by the peers

    _report(fifo, time.monotonic_ns())
    for number in range(1_000_000):
        progress(number % 500 / 500, f"step {number}")
        sum(range(20_000))
        time.sleep(0.5)


if __name__ == "__main__":
    function, target_fifo, *numbers = sys.argv[1:]
    globals()[function](target_fifo, *(float(number) if "." in number else int(number) for number in numbers))
