"""The log of one process: everything it wrote, stamped, in segments.

A record is a line in the CRI format, as Kubernetes' container runtimes write it and log shippers read it:
``2026-11-22T06:55:26.123456Z stdout F text``. ``F`` ends a line; ``P`` is a part of one (an over-long line, or a prompt
without its newline), to be joined with what follows in the same stream. An **offset** is a position in the whole stream
of these bytes. A segment is the file ``log/<first offset, 20 digits>.log``; the oldest segments go first when the log
exceeds its budget, and offsets stay. Beside each but the first is an empty file ``<first offset>-<lines>.lines``, whose
name tells how many lines ended before it: so numbers of lines stay, too.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from time import gmtime, strftime, time_ns
from typing import NamedTuple

from procdeck import failpoints, files
from procdeck.pristine import os

SEGMENT_BYTES = 8 * 1024 * 1024
MARK = ".lines"
MAX_TEXT_BYTES = 64 * 1024
"""Longest text of a record; a longer line becomes several."""


class LogWriter:
    """Stamps and appends; used by the keeper, the only writer.

    ``end`` is the offset behind the last record, ``dropped_bytes`` what the child wrote and no disk took. A failed
    write never raises: the child must not be blocked or killed by a full disk, so what can't be written is counted, and
    the next record that can be written is preceded by one that says so. The same holds for what somebody else removes:
    a segment that was unlinked, replaced, cut or written to is left, and another begun at the same offset.
    """

    def __init__(self, folder: str, budget: int) -> None:
        self._folder = folder
        self._budget = budget
        self._segment_bytes = max(min(SEGMENT_BYTES, budget // 4), 64 * 1024)
        self._pending = {"stdout": b"", "stderr": b""}
        self._segments: list[int] = []  # first offsets of those closed
        self._marks: dict[int, str] = {}  # the files that tell how many lines ended before a segment
        self._lines = 0
        self._second = -1
        self._second_text = ""
        self._unreported = 0
        self._removed = 0  # bytes of segments, not reported yet
        self._fd = -1
        self._path = ""
        self._file = (0, 0)
        self._first = 0
        self.end = 0
        self.dropped_bytes = 0

    def feed(self, stream: str, chunk: bytes) -> None:
        """Append what was read from ``stream``. An unfinished last line waits for its rest, see `flush`."""
        pending = self._pending[stream]
        cut = chunk.rfind(b"\n") + 1
        if cut == 0:
            pending += chunk
            if len(pending) > MAX_TEXT_BYTES:
                self._write(b"".join(self._parts(stream, pending)))
                pending = b""
            self._pending[stream] = pending
            return
        prefix = self._prefix(stream, b"F")
        head = b""
        if len(pending) + chunk.find(b"\n") > MAX_TEXT_BYTES:
            head, pending = b"".join(self._parts(stream, pending)), b""
        lines = (pending + chunk[: cut - 1]).replace(b"\n", b"\n" + prefix)
        self._pending[stream] = chunk[cut:]
        self._write(b"".join((head, prefix, lines, b"\n")))

    def flush(self) -> None:
        """Append unfinished lines as parts: a prompt becomes visible before its newline comes."""
        for stream, pending in self._pending.items():
            if pending:
                self._pending[stream] = b""
                self._write(b"".join(self._parts(stream, pending)))

    @property
    def has_unfinished(self) -> bool:
        """Whether `flush` would append anything."""
        return bool(self._pending["stdout"] or self._pending["stderr"])

    def _parts(self, stream: str, text: bytes) -> Iterator[bytes]:
        prefix = self._prefix(stream, b"P")
        for start in range(0, len(text), MAX_TEXT_BYTES):
            yield prefix + text[start : start + MAX_TEXT_BYTES] + b"\n"

    def _prefix(self, stream: str, tag: bytes) -> bytes:
        second, nanoseconds = divmod(time_ns(), 1_000_000_000)
        if second != self._second:
            self._second = second
            self._second_text = strftime("%Y-%m-%dT%H:%M:%S", gmtime(second))
        return b"%s.%06dZ %s %s " % (self._second_text.encode(), nanoseconds // 1000, stream.encode(), tag)

    def _write(self, records: bytes) -> None:
        note, written = b"", 0
        try:
            failpoints.reach("log.write.before")
            if self._fd >= 0 and (changed := self._foreign_change()) is not None:
                self._leave_segment(changed)
            note = self._notes()
            records = note + records
            if self._fd < 0 or self.end - self._first >= self._segment_bytes:
                self._rotate()
            # Where the disk is slow this waits for it, and what the child writes meanwhile stays in its pipe. That is
            # the bound: it goes on until the pipe is full (64 KiB, pipe(7)), and then waits with us. To take more off
            # it would be to keep it in memory without end, or to lose what a disk that is only slow would have taken.
            written = os.write(self._fd, records)
        except OSError:
            pass
        if written < len(records):
            written = self._undo_partial(records, written)
            self._count_lost(len(note), records, written)
        else:
            self._unreported = self._removed = 0
        self.end += written
        self._lines += lines_ended(records[:written])

    def _notes(self) -> bytes:
        """Records that tell what is missing before what follows them."""
        texts = []
        if self._removed:
            texts.append(f"[procdeck: {self._removed} bytes of this log were removed or changed by somebody else]\n")
        if self._unreported:
            texts.append(f"[procdeck: {self._unreported} bytes of output could not be written]\n")
        return b"".join(self._prefix("stderr", b"F") + text.encode() for text in texts)

    def _foreign_change(self) -> int | None:
        """How many bytes of the segment that is written to somebody else has removed or added; None when nothing was
        done to it. Looked for before each write: one call of the kernel, next to one that copies up to 64 KiB."""
        size = self.end - self._first
        try:
            found = os.lstat(self._path)
        except (FileNotFoundError, NotADirectoryError):  # a file in the place of the folder, too
            return size
        if (found.st_dev, found.st_ino) != self._file:
            return size
        return abs(found.st_size - size) or None

    def _leave_segment(self, changed: int) -> None:
        size = self.end - self._first
        try:
            if os.fstat(self._fd).st_size > size:  # what was added would cover the offsets of what follows
                os.ftruncate(self._fd, size)
        except OSError:
            pass
        self._close_segment()
        self._segments.append(self._first)
        self._removed += changed

    def _count_lost(self, note: int, records: bytes, written: int) -> None:
        """Count the text of the records that were not written; the note in front of them is no output.

        ``note`` is the note's length: 0 when nothing was to be said, or the failure came before it was made.
        """
        if 0 < note <= written:
            self._unreported = self._removed = 0
        lost = len(text_of(Chunk(0, 0, records[max(note, records.rfind(b"\n", 0, written) + 1) :])))
        self._unreported += lost
        self.dropped_bytes += lost

    def _undo_partial(self, records: bytes, written: int) -> int:
        """Cut the segment back to whole records after a short write (a disk just full); the bytes that stay."""
        whole = records.rfind(b"\n", 0, written) + 1
        try:
            os.ftruncate(self._fd, self.end - self._first + whole)
        except OSError:
            return written
        return whole

    def _rotate(self) -> None:
        failpoints.reach("log.rotate.before")
        path = f"{self._folder}/{self.end:020d}.log"
        fd = self._new_segment(path)
        if self._fd >= 0:
            self._close_segment()
            self._segments.append(self._first)
        found = os.fstat(fd)
        self._fd, self._first, self._path, self._file = fd, self.end, path, (found.st_dev, found.st_ino)
        self._mark()
        while self._segments and self.end - self._segments[0] > self._budget - self._segment_bytes:
            # Gone already? The budget of the whole service takes segments, too.
            first = self._segments.pop(0)
            files.remove(f"{self._folder}/{first:020d}.log")
            if mark := self._marks.pop(first, ""):
                files.remove(mark)

    def _mark(self) -> None:
        """Tell by the name of a file how many lines ended before the segment that begins: it is never half written.
        Without it readers count, as far as what they would count is kept."""
        if self._first == 0:
            return
        path = f"{self._folder}/{mark_name(self._first, self._lines)}"
        try:
            files.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        except OSError:
            return
        self._marks[self._first] = path

    def _new_segment(self, path: str) -> int:
        """Open a file that is new, whatever somebody has put where it belongs."""
        if not _is_folder(self._folder):
            files.remove(self._folder)  # a file, or a link, which would lead us elsewhere
            os.mkdir(self._folder, 0o700)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        try:
            return os.open(path, flags, 0o600)
        except FileExistsError:
            files.remove(path)
            return os.open(path, flags, 0o600)

    def close(self) -> None:
        """Append what is unfinished and close the segment."""
        self.flush()
        if self._fd >= 0:
            self._close_segment()

    def _close_segment(self) -> None:
        fd, self._fd = self._fd, -1
        files.close(fd)


def _is_folder(path: str) -> bool:
    """Whether it is one itself, and no link to one."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


class Record(NamedTuple):
    """One record: ``offset`` of its first byte, ``end`` the offset behind it, ``time`` as on disk, ``partial`` when the
    line goes on."""

    offset: int
    end: int
    time: str
    stream: str
    partial: bool
    text: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole records of a log as bytes: ``start`` is the offset of the first, ``end`` behind the last; ``data`` is empty
    at the log's end."""

    start: int
    end: int
    data: bytes


def segments(folder: str) -> list[tuple[int, int]]:
    """(first offset, size) of each segment, oldest first; empty when nothing was written."""
    if not _is_folder(folder):
        return []  # nothing yet, or a link that somebody has put there: it must not lead a reader elsewhere
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    ours = [name for name in names if name.endswith(".log") and _is_offset(name[:-4])]
    found = [(int(name[:-4]), _size(f"{folder}/{name}")) for name in ours]
    return sorted((first, size) for first, size in found if size is not None)


def lines_ended(data: bytes) -> int:
    """How many lines end in these records: those that are no parts."""
    count = data.count(b"\n")
    if b" P " in data and (b" stdout P " in data or b" stderr P " in data):
        return count - sum(line[34:37] == b" P " for line in data.split(b"\n"))
    return count


def mark_name(first: int, lines: int) -> str:
    """The name of the file that tells how many lines ended before the segment that begins at ``first``."""
    return f"{first:020d}-{lines}{MARK}"


def marks(folder: str) -> dict[int, int]:
    """How many lines ended before a segment, by its first offset, as far as the writer could tell; of segments that are
    gone perhaps, too. Logs of an older release have none."""
    if not _is_folder(folder):
        return {}
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return {}
    found = {}
    for name in names:
        first, _, lines = name.removesuffix(MARK).partition("-")
        if name.endswith(MARK) and _is_offset(first) and _is_offset(lines) and len(name) < 60:
            found[int(first)] = int(lines)
    return found


def _is_offset(name: str) -> bool:
    """Whether it is a number as the writer writes them; "²" is a digit to Python, too."""
    return name.isascii() and name.isdigit()


def _size(path: str) -> int | None:
    """Bytes of a segment; None when the writer has removed it meanwhile, or it is no file of the writer's."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def extent(folder: str) -> tuple[int, int]:
    """(offset of the oldest byte kept, offset behind the last)."""
    parts = segments(folder)
    return (parts[0][0], parts[-1][0] + parts[-1][1]) if parts else (0, 0)


def read_chunk(folder: str, after: int, limit: int = 256 * 1024) -> Chunk:
    """Whole records from offset ``after`` on, at least one if there is one, about ``limit`` bytes at most.

    An offset inside a record is moved to the start of the next; one in a segment that is gone, to the oldest record
    kept; one behind the end gives nothing. Raises OSError.
    """
    parts = segments(folder)
    if not parts:
        return Chunk(after, after, b"")
    for first, size in parts:
        if after < first + size:
            try:
                chunk = _read_records(f"{folder}/{first:020d}.log", first, max(after, first), limit)
            except FileNotFoundError:  # removed just now, by the budget
                continue
            # Nothing in the last segment: a record is being written there, and will be whole the next time.
            if chunk.data or first == parts[-1][0]:
                return chunk
            after = max(after, first + size)
    return Chunk(after, after, b"")


def _read_records(path: str, first: int, start: int, limit: int) -> Chunk:
    limit = max(limit, 3 * MAX_TEXT_BYTES)  # the rest of one record and the whole next one
    # One byte more in front tells whether `start` is the start of a record.
    back = 1 if start > first else 0
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        data = os.pread(fd, limit + back, start - first - back)
    finally:
        os.close(fd)
    if back:
        skip = data.find(b"\n") + 1
        if skip == 0:
            return Chunk(start, start, b"")
        start += skip - 1
        data = data[skip:]
    data = data[: data.rfind(b"\n") + 1]
    return Chunk(start, start + len(data), data)


def tail_offset(folder: str, lines: int) -> int:
    """The offset of the ``lines``-th record from the end; the oldest one when there are fewer."""
    wanted = lines
    for first, size in reversed(segments(folder)):
        position = size
        try:
            fd = os.open(f"{folder}/{first:020d}.log", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:  # removed just now, by the budget, and with it all that is older
            break
        try:
            while position > 0:
                step = min(position, 256 * 1024)
                block = os.pread(fd, step, position - step)
                count = block.count(b"\n")
                if count > wanted:
                    return first + position - step + _nth_newline_from_end(block, wanted + 1) + 1
                wanted -= count
                position -= step
        finally:
            os.close(fd)
    return extent(folder)[0]


def _nth_newline_from_end(block: bytes, count: int) -> int:
    at = len(block)
    for _ in range(count):
        at = block.rfind(b"\n", 0, at)
    return at


def parse(chunk: Chunk) -> Iterator[Record]:
    """The records of a chunk.

    Text is decoded as UTF-8; what is not is replaced for display, the bytes on disk stay as they were written.
    """
    offset = chunk.start
    for line in chunk.data.split(b"\n")[:-1]:
        end = offset + len(line) + 1
        time, stream, tag, text = _fields(line)
        yield Record(
            offset, end, time.decode(errors="replace"), stream.decode(), tag == b"P", text.decode(errors="replace")
        )
        offset = end


def _fields(line: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """Time, stream, tag and text of a record. A line that is none, because somebody has written into the file, is shown
    as it is, at the beginning of time."""
    fields = line.split(b" ", 3)
    if len(fields) == 4 and fields[1] in (b"stdout", b"stderr") and fields[2] in (b"F", b"P"):
        return fields[0], fields[1], fields[2], fields[3]
    return b"1970-01-01T00:00:00.000000Z", b"stderr", b"F", line


def text_of(chunk: Chunk, stream: str | None = None) -> bytes:
    """What the child wrote: the texts of the chunk's records without their stamps, of one stream or of both by
    arrival."""
    wanted = stream.encode() if stream else None
    pieces = []
    for line in chunk.data.split(b"\n")[:-1]:
        _, name, tag, text = _fields(line)
        if wanted is None or name == wanted:
            pieces.append(text if tag == b"P" else text + b"\n")
    return b"".join(pieces)
