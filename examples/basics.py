"""The first things to launch: a plain worker, one that gets a number, one that takes too long, and a class."""

import multiprocessing
import time

from procdeck import stop_requested, target


@target
def worker(num: int | None = None) -> None:
    """Print one line and be done.

    Launch it a few times with different numbers, and look at the order in which the lines arrive.
    """
    print("Worker" if num is None else f"Worker: {num}")


@target
def slow_worker(seconds: float = 30.0) -> None:
    """Sleep without ever looking up: what `terminate` and `kill` are for.

    Terminated before it has finished, it leaves exit code -15 and no second line.
    """
    print("Slow worker begins")
    time.sleep(seconds)
    print("Slow worker has finished")


@target
def patient_worker(seconds: float = 30.0) -> str:
    """Work in small steps, and go home at the next one when asked to: what `stop` is for.

    Both ends are good ones here: the exit code is 0 either way, and the result tells which it was.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if stop_requested():
            return "stopped early"
        time.sleep(min(0.1, seconds))
    return "worked to the end"


@target
class Worker(multiprocessing.Process):
    """A subclass of Process: its work is in `run`, and its name, if none is given, begins with that of the class."""

    def run(self) -> None:
        print(f"In {self.name}")
