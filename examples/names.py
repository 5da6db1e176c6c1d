"""A process knows its own name: the one that it was launched with or, without one, `Process-1`, `Process-2` ..."""

import time
from multiprocessing import current_process

from procdeck import target


@target
def worker(seconds: float = 2.0) -> None:
    """Say hello and goodbye by name. Launch it twice: once with a name of your own, once without."""
    _be_there_for(seconds)


@target(name="my_service")
def my_service(seconds: float = 3.0) -> None:
    """The same, with a name that stands in the code: @target(name="my_service")."""
    _be_there_for(seconds)


def _be_there_for(seconds: float) -> None:
    name = current_process().name
    print(name, "Starting")
    time.sleep(seconds)
    print(name, "Exiting")
