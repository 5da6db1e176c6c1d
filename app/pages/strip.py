"""The numbers above the list: what needs somebody, what went well, and how much room the machine has left."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import monotonic

from app.health import host
from app.health.host import Disk
from app.units import size
from procdeck.states import State

LOOK_EVERY = 10.0
"""Seconds for which what was seen of the machine is good enough."""
ANSWER_WITHIN = 0.1
"""Seconds that a page waits for it; the next page has it then."""


@dataclass(frozen=True, slots=True)
class Machine:
    """``cores`` that may be used, bytes of ``memory`` in all, and the disk of the data folder."""

    cores: float
    memory: int
    disk: Disk

    @property
    def disk_used(self) -> float:
        """The part of the disk that is not free, 0 to 1."""
        return 1 - self.disk.free / self.disk.size if self.disk.size else 0.0


class Watch:
    """Looks at the machine when a page asks, and not again for a while. A disk that does not answer keeps a thread of
    its own, and no page."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, "strip")
        self._seen: Machine | None = None
        self._seen_at = -LOOK_EVERY
        self._asked: asyncio.Future[Machine] | None = None

    async def look(self) -> Machine | None:
        """What is known of the machine; None when nothing is yet."""
        if self._asked is None and monotonic() - self._seen_at >= LOOK_EVERY:
            self._asked = asyncio.get_running_loop().run_in_executor(self._thread, self._read)
        asked = self._asked
        if asked is not None:
            await asyncio.wait((asked,), timeout=ANSWER_WITHIN)
            # Other pages wait for the same answer: one of them takes it.
            if asked.done() and asked is self._asked:
                self._take(asked)
        return self._seen

    def _take(self, asked: asyncio.Future[Machine]) -> None:
        self._asked, self._seen_at = None, monotonic()
        try:
            self._seen = asked.result()
        except OSError:
            self._seen = None  # the troubles on every page say what is wrong with the disk

    def _read(self) -> Machine:
        return Machine(host.cores(), host.memory().size, host.disk(self._folder))


@cache
def watch(folder: Path) -> Watch:
    """The watch of the disk that ``folder`` is on."""
    return Watch(folder)


@dataclass(frozen=True, slots=True)
class Number:
    """One number of the strip: ``value``, the ``word`` for what it is of, and what there is ``more`` to say; ``url`` is
    the list that it counts."""

    key: str
    value: str
    word: str
    url: str = ""
    title: str = ""
    more: str = ""
    is_bad: bool = False


def numbers(
    states: Mapping[State, int] | None,
    failed: int | None,
    succeeded: int | None,
    usage: tuple[float, int],
    machine: Machine | None,
) -> list[Number]:
    """The strip. ``failed`` and ``succeeded`` are of the last 24 hours, ``usage`` is percent of one core and bytes;
    what is None is not known now."""
    running, stopping = (None if states is None else states.get(state, 0) for state in (State.RUNNING, State.STOPPING))
    ended = "search=ended%3A24h"
    cpu, memory = usage
    return [
        Number("running", _count(running), "running", "/processes?state=running"),
        Number("stopping", _count(stopping), "stopping", "/processes?state=stopping"),
        Number("failed", _count(failed), "failed in 24 h", f"/processes?view=failed&{ended}", is_bad=bool(failed)),
        Number("succeeded", _count(succeeded), "succeeded in 24 h", f"/processes?view=succeeded&{ended}"),
        Number("cpu", f"{cpu:.0f} %", "CPU", "/processes?view=active&sort=cpu", more=_of_cores(machine)),
        Number("memory", size(memory), "memory", "/processes?view=active&sort=memory", more=_of_memory(machine)),
        *_disk(machine),
    ]


def _count(count: int | None) -> str:
    return "\N{EN DASH}" if count is None else f"{count:,}"


def _of_cores(machine: Machine | None) -> str:
    if machine is None:
        return ""
    return f"of {machine.cores:g} core" if machine.cores == 1 else f"of {machine.cores:g} cores"


def _of_memory(machine: Machine | None) -> str:
    return f"of {size(machine.memory)}" if machine else ""


def _disk(machine: Machine | None) -> list[Number]:
    if machine is None:
        return []
    free = f"{size(machine.disk.free)} of {size(machine.disk.size)} free"
    return [
        Number(
            "disk", f"{machine.disk_used * 100:.0f} %", "disk used", title=free, more=f"{size(machine.disk.free)} free"
        )
    ]
