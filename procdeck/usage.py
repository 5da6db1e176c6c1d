"""The history of what one process used: the file ``usage`` of its run folder.

The file begins with `MAGIC`. Behind it are records of one size (`RECORD`, little endian), oldest first: the time
(seconds since 1970), the CPU seconds that the tree had used until then, its resident bytes then, the most resident
bytes since the record before, the highest CPU use since then (percent of one core), and the highest numbers of threads,
open files and processes. Where nothing changes nothing is written: two records in a row that say the same are the ends
of a time in which that was so.

When the file is full, two neighbours are put together into one each, and it goes on at half the resolution: what is at
its highest stays so, CPU seconds and bytes are those of the later one. So it never takes more than `MOST_BYTES`, and an
average over it is a fair one.

It is a help to people and nothing depends on it: what the disk does not take is left out, and whatever somebody does to
the file, nobody fails over it.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Sequence
from time import monotonic, time
from typing import NamedTuple

from procdeck import files
from procdeck.pristine import os

USAGE = "usage"
MAGIC = b"procdeck usage 1"
RECORD = struct.Struct("<ddQQfIII")
MOST_RECORDS = 1364
MOST_BYTES = len(MAGIC) + MOST_RECORDS * RECORD.size
"""Just below 64 KiB."""

_COUNT = 2**32 - 1
_BYTES = 2**64 - 1


class Point(NamedTuple):
    """One record, see the module."""

    at: float
    cpu_seconds: float
    rss_bytes: int
    max_rss_bytes: int
    max_cpu_percent: float
    threads: int
    open_files: int
    processes: int


class UsageWriter:
    """Appends to the history in a run folder; used by the keeper, the only writer. Nothing here raises OSError.

    The file is open only while it is written to: an idle process costs neither a descriptor nor a write. Times are
    those of a clock that never goes back, begun by the one on the wall.
    """

    def __init__(self, folder: str) -> None:
        self._path = f"{folder}/{USAGE}"
        self._offset = time() - monotonic()
        self._last: Point | None = None
        self._held: Point | None = None

    def add(self, sample: dict[str, int | float]) -> None:
        """Take a sample of `procdeck.tree.Meter`; one that is the same as that before is written when another comes."""
        point = Point(
            monotonic() + self._offset,
            float(sample["cpu_seconds"]),
            _up_to(sample["rss_bytes"], _BYTES),
            _up_to(sample["rss_bytes"], _BYTES),
            float(sample["cpu_percent"]),
            _up_to(sample["threads"], _COUNT),
            _up_to(sample["open_files"], _COUNT),
            _up_to(sample["processes"], _COUNT),
        )
        last, self._last = self._last, point
        if last is not None and last[1:] == point[1:]:
            self._held = point
            return
        held, self._held = self._held, None
        self._append([point] if held is None else [held, point])

    def close(self) -> None:
        """Write what was held back."""
        if self._held is not None:
            self._append([self._held])
            self._held = None

    def _append(self, points: Sequence[Point]) -> None:
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        except OSError:
            return
        try:
            self._write(fd, points)
        except OSError:
            return
        finally:
            files.close(fd)

    def _write(self, fd: int, points: Sequence[Point]) -> None:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return
        # By the size that there is: what a full disk has taken a part of is written over, and a file that somebody has
        # removed or cut goes on from what is left.
        count = max(0, found.st_size - len(MAGIC)) // RECORD.size
        if count + len(points) > MOST_RECORDS:
            self._replace([*thinned(read(self._path)), *points])
            return
        data = b"".join(RECORD.pack(*point) for point in points)
        if count == 0:
            os.pwrite(fd, MAGIC + data, 0)
        else:
            os.pwrite(fd, data, len(MAGIC) + count * RECORD.size)

    def _replace(self, points: Sequence[Point]) -> None:
        """Under another name first: a reader finds the old file or the new one."""
        fresh = f"{self._path}.new"
        files.remove(fresh)
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        data = MAGIC + b"".join(RECORD.pack(*point) for point in points)
        try:
            is_whole = os.write(fd, data) == len(data)
        finally:
            files.close(fd)
        if is_whole:
            os.rename(fresh, self._path)
        else:
            files.remove(fresh)


def _up_to(value: int | float, most: int) -> int:
    return max(0, min(int(value), most))


def merged(first: Point, second: Point) -> Point:
    """One record in the place of two neighbours."""
    return Point(
        second.at,
        second.cpu_seconds,
        second.rss_bytes,
        max(first.max_rss_bytes, second.max_rss_bytes),
        max(first.max_cpu_percent, second.max_cpu_percent),
        max(first.threads, second.threads),
        max(first.open_files, second.open_files),
        max(first.processes, second.processes),
    )


def thinned(points: Sequence[Point]) -> list[Point]:
    """Half as many; the first stays, so that the history begins when it began."""
    rest = points[1:]
    pairs = [merged(*rest[at : at + 2]) for at in range(0, len(rest) - 1, 2)]
    return [*points[:1], *pairs, *(rest[-1:] if len(rest) % 2 else ())]


def read(path: str) -> list[Point]:
    """The records of a file, those that make sense; none of a file that is not there or not ours. Blocks. Raises
    OSError when it can't be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return []
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return []
        data = os.read(fd, MOST_BYTES)
    finally:
        files.close(fd)
    return parse(data)


def parse(data: bytes) -> list[Point]:
    """The records of a file's content. What somebody has written into it is left out: times have to go on, figures to
    be figures."""
    if not data.startswith(MAGIC):
        return []
    end = len(data) - (len(data) - len(MAGIC)) % RECORD.size
    points: list[Point] = []
    last = 0.0
    for point in map(Point._make, RECORD.iter_unpack(data[len(MAGIC) : end])):
        if last < point.at < _YEAR_9999 and 0 <= point.cpu_seconds < _YEAR_9999 and 0 <= point.max_cpu_percent < 1e9:
            points.append(point)
            last = point.at
    return points


_YEAR_9999 = 253402300800.0
