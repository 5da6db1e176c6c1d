"""The log: what goes in comes out, wherever a reader begins and whatever the disk does."""

import errno
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procdeck import log
from procdeck.log import MAX_TEXT_BYTES, Chunk, LogWriter, extent, parse, read_chunk, segments, tail_offset, text_of
from procdeck.pristine import os

RECORD = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z (stdout|stderr) [FP] [^\n]*\n")
BUDGET = 64 * 1024
"""The smallest that the settings allow; a segment then has 64 KiB, and all but the last are removed."""

pieces = st.lists(st.sampled_from([b"a", b"\n", b"x" * 50, b"\xff", b" ", b"stdout F "]), max_size=12).map(b"".join)
steps = st.lists(st.tuples(st.sampled_from(["stdout", "stderr", "flush"]), pieces), max_size=20)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path)


def write(folder: str, *fed: tuple[str, bytes], budget: int = 1 << 20) -> LogWriter:
    writer = LogWriter(folder, budget)
    for stream, data in fed:
        if stream == "flush":
            writer.flush()
        else:
            writer.feed(stream, data)
    writer.close()
    return writer


def chunks(folder: str, after: int = 0, limit: int = 256 * 1024) -> Iterator[Chunk]:
    while (chunk := read_chunk(folder, after, limit)).data:
        yield chunk
        after = chunk.end


def whole(folder: str) -> bytes:
    return b"".join(chunk.data for chunk in chunks(folder))


def text(folder: str, stream: str | None = None) -> bytes:
    return b"".join(text_of(chunk, stream) for chunk in chunks(folder))


# --- what goes in comes out -----------------------------------------------------------------------------------------


@given(steps)
def test_each_stream_s_bytes_come_out_as_they_went_in(fed: list[tuple[str, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        writer = write(folder, *fed)
        data = whole(folder)
        assert writer.end == len(data)
        assert RECORD.sub(b"", data) == b""
        for stream in ("stdout", "stderr"):
            assert text(folder, stream) == b"".join(piece for name, piece in fed if name == stream)


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.integers(0, 3 * MAX_TEXT_BYTES), st.sampled_from([b"", b"\n", b"\nx\n"])), min_size=1, max_size=4
    ),
    st.sampled_from([1, 4096, 65536]),
)
def test_long_lines_become_several_records_of_bounded_length(lines: list[tuple[int, bytes]], step: int) -> None:
    data = b"".join(b"x" * size + end for size, end in lines)
    step = max(step, len(data) // 200)
    with tempfile.TemporaryDirectory() as folder:
        write(folder, *(("stdout", data[at : at + min(step, 65536)]) for at in range(0, len(data), min(step, 65536))))
        assert text(folder) == data
        records = whole(folder).splitlines(keepends=True)
        assert all(len(record) <= 2 * MAX_TEXT_BYTES + 64 for record in records)


def test_records_tell_time_stream_and_whether_the_line_goes_on(folder: str) -> None:
    write(folder, ("stdout", b"name? "), ("flush", b""), ("stdout", b"Bob\n"), ("stderr", b"\xff bad\n"))
    records = [record for chunk in chunks(folder) for record in parse(chunk)]
    assert [(r.stream, r.partial, r.text) for r in records] == [
        ("stdout", True, "name? "),
        ("stdout", False, "Bob"),
        ("stderr", False, "\N{REPLACEMENT CHARACTER} bad"),
    ]
    assert [r.offset for r in records] == [0, *(r.end for r in records[:-1])]
    assert records[-1].end == extent(folder)[1]
    assert [r.time for r in records] == sorted(r.time for r in records)


def test_an_unfinished_line_waits_and_is_known(folder: str) -> None:
    writer = LogWriter(folder, 1 << 20)
    writer.feed("stdout", b"half")
    assert writer.has_unfinished
    assert writer.end == 0
    writer.flush()
    assert not writer.has_unfinished
    assert text(folder) == b"half"
    end = writer.end
    writer.flush()
    assert writer.end == end
    writer.close()


def test_a_log_that_was_never_written_is_empty(folder: str) -> None:
    assert segments(folder + "/none") == []
    assert extent(folder) == (0, 0)
    assert read_chunk(folder, 5) == Chunk(5, 5, b"")
    assert tail_offset(folder, 3) == 0


def test_the_tail_of_a_log_whose_oldest_segment_is_removed_meanwhile(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = LogWriter(folder, 1 << 20)
    writer.feed("stdout", b"one\ntwo\n")
    writer.close()
    Path(folder, f"{0:020d}.log").rename(Path(folder, f"{100:020d}.log"))
    for lines, first in ((1, True), (5, False)):
        listed = iter([[(0, 100), *segments(folder)], segments(folder)])
        monkeypatch.setattr(log, "segments", lambda _, listed=listed: next(listed))
        assert (tail_offset(folder, lines) > 100) is first


# --- offsets, segments, budget --------------------------------------------------------------------------------------


@given(st.integers(1, 400), st.integers(100, 3000))
@settings(max_examples=25)
def test_offsets_stay_when_the_oldest_segments_go(count: int, size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        writer = LogWriter(folder, BUDGET)
        ends = [0]
        for number in range(count):
            writer.feed("stdout", b"%06d" % number + b"x" * size + b"\n")
            ends.append(writer.end)
        writer.close()
        parts = segments(folder)
        assert [first + length for first, length in parts[:-1]] == [first for first, _ in parts[1:]]
        assert sum(length for _, length in parts) <= 2 * BUDGET + size + 100
        kept = [record for chunk in chunks(folder) for record in parse(chunk)]
        assert [(record.offset, record.end) for record in kept] == list(pairwise(ends))[-len(kept) :]
        assert [int(record.text[:6]) for record in kept] == list(range(count - len(kept), count))
        assert extent(folder) == (kept[0].offset, writer.end)


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[int]]:
    """A log of several segments with short, long and longest records; its folder, and the offsets of what is kept."""
    folder = str(tmp_path_factory.mktemp("varied"))
    writer = LogWriter(folder, 4 * BUDGET)
    for number in range(12):
        writer.feed("stdout", b"short\n" * number)
        writer.feed("stderr", b"y" * 9000 + b"\n")
        writer.feed("stdout", b"x" * (MAX_TEXT_BYTES - 1) + b"\n")
        writer.feed("stdout", b"x" * (MAX_TEXT_BYTES - 1) + b"\n")
    writer.close()
    offsets = [record.offset for chunk in chunks(folder) for record in parse(chunk)]
    return folder, [*offsets, writer.end]


@given(st.data())
@settings(max_examples=150)
def test_from_any_offset_a_reader_gets_whole_records_and_misses_none(
    varied: tuple[str, list[int]], data: st.DataObject
) -> None:
    folder, offsets = varied
    assert len(segments(folder)) > 2
    near = st.sampled_from(offsets).flatmap(lambda at: st.integers(max(0, at - 2), at + 2))
    after = data.draw(st.integers(0, offsets[-1] + 10) | near)
    limit = data.draw(st.sampled_from([1, 1000, 256 * 1024]))
    found = list(chunks(folder, after, limit))
    expected = [offset for offset in offsets[:-1] if offset >= after]
    assert [record.offset for chunk in found for record in parse(chunk)] == expected
    assert all(chunk.end - chunk.start == len(chunk.data) for chunk in found)
    assert RECORD.sub(b"", b"".join(chunk.data for chunk in found)) == b""


@given(st.data())
def test_the_tail_begins_that_many_records_before_the_end(varied: tuple[str, list[int]], data: st.DataObject) -> None:
    folder, offsets = varied
    lines = data.draw(st.integers(0, len(offsets) + 3))
    assert tail_offset(folder, lines) == offsets[max(0, len(offsets) - 1 - lines)]


def test_a_record_that_is_being_written_is_neither_read_nor_skipped(folder: str) -> None:
    writer = LogWriter(folder, 1 << 20)
    writer.feed("stdout", b"one\n")
    path = Path(folder) / f"{0:020d}.log"
    end = writer.end
    rest = b"2026-11-22T06:55:26.123456Z stdout F " + b"x" * 5000
    with path.open("ab") as file:
        file.write(rest)
    for after in (end, end + 10):
        assert read_chunk(folder, after).end == after
    with path.open("ab") as file:
        file.write(b"\n")
    assert text_of(read_chunk(folder, end)) == b"x" * 5000 + b"\n"
    writer.close()


def test_a_segment_that_goes_while_it_is_read_is_stepped_over(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = LogWriter(folder, BUDGET)
    for number in range(100):
        writer.feed("stdout", b"%d" % number + b"x" * 2000 + b"\n")
    writer.close()
    gone = [(0, extent(folder)[0]), *segments(folder)]
    monkeypatch.setattr(log, "segments", lambda _: gone)
    assert read_chunk(folder, 0).start == gone[1][0]


def test_other_files_and_links_in_the_folder_are_not_segments(folder: str) -> None:
    write(folder, ("stdout", b"one\n"))
    Path(folder, "notes.log").touch()
    Path(folder, "00000000000000000005.log").symlink_to("/etc/passwd")
    Path(folder, "7.txt").touch()
    assert [first for first, _ in segments(folder)] == [0]


# --- a disk that does not take it -----------------------------------------------------------------------------------


class Disk:
    """Stands before os.write: takes ``room`` bytes, then no more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room = 1 << 40
        self._write = os.write
        monkeypatch.setattr(os, "write", self.write)

    def write(self, fd: int, data: bytes) -> int:
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self._write(fd, data[: self.room])
        self.room -= written
        return written


@given(room=st.integers(0, 700), fed=st.lists(st.sampled_from([b"a\n", b"bb" * 30 + b"\n", b"c\nd\n"]), max_size=12))
def test_every_byte_is_in_the_log_or_counted(room: int, fed: list[bytes]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch, tempfile.TemporaryDirectory() as folder:
        disk = Disk(monkeypatch)
        disk.room = room
        writer = LogWriter(folder, 1 << 20)
        for data in fed:
            writer.feed("stdout", data)
        lost = writer.dropped_bytes
        assert len(text(folder, "stdout")) + lost == len(b"".join(fed))
        disk.room = 1 << 40
        writer.feed("stdout", b"back\n")
        writer.close()
        assert writer.dropped_bytes == lost
        data = whole(folder)
        assert RECORD.sub(b"", data) == b""
        assert len(data) == writer.end
        said = [int(number) for number in re.findall(rb"procdeck: (\d+) bytes of output could not be written", data)]
        assert sum(said) == lost
        assert text(folder, "stdout").endswith(b"back\n")


def test_a_full_disk_does_not_stop_a_reader(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    writer = LogWriter(folder, 1 << 20)
    writer.feed("stdout", b"before\n")
    disk.room = 10
    writer.feed("stdout", b"lost\n")
    writer.feed("stdout", b"lost as well\n")
    disk.room = 1 << 30
    writer.feed("stdout", b"after\n")
    writer.close()
    assert text(folder, "stdout") == b"before\nafter\n"
    assert text(folder, "stderr") == b"[procdeck: 18 bytes of output could not be written]\n"


def test_what_was_lost_is_not_forgotten_when_a_write_fails_before_it_is_told(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that gives no answer at all, neither about its files."""
    disk = Disk(monkeypatch)
    writer = LogWriter(folder, 1 << 20)
    writer.feed("stdout", b"before\n")
    disk.room = 0
    writer.feed("stdout", b"lost\n")
    with monkeypatch.context() as patch:
        patch.setattr(os, "lstat", no_answer)
        writer.feed("stdout", b"lost as well\n")
    disk.room = 1 << 30
    writer.feed("stdout", b"after\n")
    writer.close()
    assert writer.dropped_bytes == 18
    assert text(folder, "stderr") == b"[procdeck: 18 bytes of output could not be written]\n"


def no_answer(*_: object) -> None:
    raise OSError(errno.EIO, "Input/output error")


def test_a_close_that_reports_an_error_takes_no_other_file_s_number(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel lets go of the descriptor all the same (close(2)), and gives its number to the next file."""
    close = os.close

    def failing(fd: int) -> None:
        close(fd)
        no_answer()

    writer = LogWriter(folder, 1 << 20)
    writer.feed("stdout", b"one\n")
    Path(folder, f"{0:020d}.log").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(os, "close", failing)
        writer.feed("stdout", b"two\n")
        other = os.open(f"{folder}/other", os.O_RDWR | os.O_CREAT, 0o600)
        writer.feed("stdout", b"three\n")
        writer.close()
    assert os.fstat(other).st_size == 0
    os.close(other)
    assert text(folder, "stdout") == b"two\nthree\n"
    assert writer.dropped_bytes == 0


def test_no_new_segment_can_be_made(folder: str) -> None:
    """The run folder is gone: nothing can be written, and nothing raises."""
    writer = LogWriter(f"{folder}/log", 1 << 20)
    shutil.rmtree(folder)
    writer.feed("stdout", b"one\n")
    assert writer.dropped_bytes == 4
    Path(folder).mkdir()
    writer.feed("stdout", b"two\n")
    writer.close()
    assert text(f"{folder}/log", "stdout") == b"two\n"


# --- somebody else's hands ------------------------------------------------------------------------------------------

NOTE = b"[procdeck: %d bytes of this log were removed or changed by somebody else]\n"


def removed(path: Path) -> None:
    path.unlink()


def renamed(path: Path) -> None:
    path.rename(path.with_name("moved"))


def replaced(path: Path) -> None:
    renamed(path)
    path.write_bytes(b"")


def linked(path: Path) -> None:
    renamed(path)
    path.symlink_to("moved")


def cut(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("hand", [removed, renamed, replaced, linked, cut])
def test_a_segment_that_somebody_took_away_is_told_of_and_another_begun(
    folder: str, hand: Callable[[Path], None]
) -> None:
    writer = LogWriter(folder, 1 << 20)
    writer.feed("stdout", b"one\n")
    end = writer.end
    hand(Path(folder, f"{0:020d}.log"))
    writer.feed("stdout", b"two\n")
    writer.feed("stdout", b"three\n")
    writer.close()
    assert text(folder, "stdout") == b"two\nthree\n"
    assert text(folder, "stderr") == NOTE % end
    assert extent(folder)[1] == writer.end
    assert read_chunk(folder, end).start == end
    assert writer.dropped_bytes == 0


@pytest.mark.parametrize("hand", [removed, renamed, replaced, linked])
def test_an_empty_segment_that_somebody_took_away_is_begun_anew(
    folder: str, monkeypatch: pytest.MonkeyPatch, hand: Callable[[Path], None]
) -> None:
    disk = Disk(monkeypatch)
    disk.room = 0
    writer = LogWriter(folder, 1 << 20)
    writer.feed("stdout", b"lost\n")
    hand(Path(folder, f"{0:020d}.log"))
    disk.room = 1 << 30
    writer.feed("stdout", b"one\n")
    writer.close()
    assert text(folder, "stdout") == b"one\n"
    assert text(folder, "stderr") == b"[procdeck: 5 bytes of output could not be written]\n"


def test_what_somebody_adds_to_a_segment_is_taken_off(folder: str) -> None:
    writer = LogWriter(folder, 1 << 20)
    writer.feed("stdout", b"one\n")
    with Path(folder, f"{0:020d}.log").open("ab") as file:
        file.write(b"not ours\n")
    writer.feed("stdout", b"two\n")
    writer.close()
    assert text(folder, "stdout") == b"one\ntwo\n"
    assert text(folder, "stderr") == NOTE % 9


def test_a_segment_cut_in_the_middle_keeps_its_whole_records(folder: str) -> None:
    writer = LogWriter(folder, 1 << 20)
    writer.feed("stdout", b"one\n")
    writer.feed("stdout", b"two\n")
    os.truncate(Path(folder, f"{0:020d}.log"), writer.end - 2)
    writer.feed("stdout", b"three\n")
    writer.close()
    assert text(folder, "stdout") == b"one\nthree\n"
    assert text(folder, "stderr") == NOTE % 2


def test_a_log_folder_that_was_removed_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    writer = LogWriter(str(folder), 1 << 20)
    writer.feed("stdout", b"one\n")
    shutil.rmtree(folder)
    writer.feed("stdout", b"two\n")
    writer.close()
    assert text(str(folder), "stdout") == b"two\n"


def test_a_file_in_the_place_of_the_log_folder_is_taken_away(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    writer = LogWriter(str(folder), 1 << 20)
    writer.feed("stdout", b"one\n")
    end = writer.end
    shutil.rmtree(folder)
    folder.write_text("not a folder")
    writer.feed("stdout", b"two\n")
    writer.close()
    assert text(str(folder), "stdout") == b"two\n"
    assert text(str(folder), "stderr") == NOTE % end
    assert writer.dropped_bytes == 0


def test_a_link_in_the_place_of_the_log_folder_leads_nobody_elsewhere(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "log", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / f"{0:020d}.log").write_bytes(b"a secret\n")
    folder.symlink_to(elsewhere)
    assert segments(str(folder)) == []
    writer = LogWriter(str(folder), 1 << 20)
    writer.feed("stdout", b"one\n")
    writer.close()
    assert text(str(folder)) == b"one\n"
    assert (elsewhere / f"{0:020d}.log").read_bytes() == b"a secret\n"


def test_a_link_in_the_place_of_a_new_segment_leads_the_writer_nowhere(folder: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"not a log")
    Path(folder, f"{0:020d}.log").symlink_to(elsewhere)
    write(folder, ("stdout", b"one\n"))
    assert text(folder) == b"one\n"
    assert elsewhere.read_bytes() == b"not a log"


def test_old_segments_that_are_gone_already_do_not_stop_the_writing(folder: str) -> None:
    """The budget of all logs together takes the oldest, too."""
    writer = LogWriter(folder, BUDGET)
    for number in range(200):
        writer.feed("stdout", b"%d " % number + b"x" * 3000 + b"\n")
        for first, _ in segments(folder)[:-1]:
            Path(folder, f"{first:020d}.log").unlink()
    writer.close()
    assert writer.dropped_bytes == 0
    assert extent(folder)[0] > 0
    assert text(folder).endswith(b"199 " + b"x" * 3000 + b"\n")


def test_lines_that_are_no_records_are_shown_as_they_are(folder: str) -> None:
    write(folder, ("stdout", b"one\n"))
    with Path(folder, f"{0:020d}.log").open("r+b") as file:
        file.write(b"x\ny\n")
    records = [record for chunk in chunks(folder) for record in parse(chunk)]
    assert [record.text for record in records[:2]] == ["x", "y"]
    assert text(folder).startswith(b"x\ny\n")


def test_a_name_with_another_kind_of_digit_is_no_segment(folder: str) -> None:
    write(folder, ("stdout", b"one\n"))
    with open(f"{folder}/²³.log", "wb"):  # noqa: PTH123 - as the log does
        pass
    assert [first for first, _ in segments(folder)] == [0]


def test_the_lines_before_a_segment_are_told_by_a_name_and_go_with_it(folder: str) -> None:
    writer = LogWriter(folder, 4 * BUDGET)
    for number in range(200):
        writer.feed("stdout", b"%d " % number + b"x" * 3000 + b"\n")
    writer.close()
    told = log.marks(folder)
    assert sorted(told) == [first for first, _ in segments(folder)]
    for first, lines in told.items():
        assert text_of(read_chunk(folder, first)).startswith(b"%d " % lines)
