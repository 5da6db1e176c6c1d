"""The journal: what is on disk is whole, whatever happened while it was written; replaying it is harmless."""

import errno
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import lifecycle
from app.lifecycle import Process
from app.supervisor.recovery import event_of_entry
from procdeck import posix, run_folder
from procdeck.pristine import os
from procdeck.run_folder import Entry, Journal, read_journal
from procdeck.states import State
from tests.fakes import a_process, an_entry

LIFE = [
    an_entry(1, "started", "launcher", pid=42),
    an_entry(2, "signalled", "Alice", signal="SIGUSR1"),
    an_entry(3, "asked", "Bob", action="stop", grace=1),
    an_entry(4, "asked", action="escalate", signal="SIGTERM"),
    an_entry(5, "stopped", exitcode=-15, duration=1.0),
]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path)


@pytest.fixture
def journal(folder: str) -> Iterator[Journal]:
    journal = Journal(folder)
    yield journal
    with suppress(OSError):  # closed by the test
        os.close(journal.fd)


def test_entries_are_numbered_and_come_back(folder: str, journal: Journal) -> None:
    first = journal.append("started", "launcher", None, {"pid": 42, "note": "é\n"})
    second = journal.append("stopped", "keeper", "a reason", {"exitcode": 0})
    assert [first["seq"], second["seq"]] == [1, 2]
    assert read_journal(folder) == ([first, second], None)


def test_an_end_is_readable_however_much_was_asked_before(folder: str, journal: Journal) -> None:
    """Signals and requests may come without end: they are left out one day, which the last one written says."""
    told = [journal.append("signalled", "tester", "x" * 250_000, {"signal": "SIGHUP"}) for _ in range(300)]
    told += [journal.append("asked", "tester", "x" * 250_000, {"action": "stop"}) for _ in range(300)]
    told.append(journal.append("stopped", "keeper", None, {"exitcode": 0}))
    assert [entry["seq"] for entry in told] == list(range(1, 602))
    entries, damage = read_journal(folder)
    assert damage is None
    assert path_of(folder).stat().st_size < run_folder.MAX_JOURNAL_BYTES / 10
    assert entries[-1] == told[-1]
    for event in ("signalled", "asked"):
        kept = [entry for entry in entries if entry["event"] == event]
        assert kept == [entry for entry in told if entry["event"] == event][: len(kept)]
        assert ["left_out" in entry["data"] for entry in kept] == [False] * (len(kept) - 1) + [True]


def test_there_may_be_none(folder: str) -> None:
    assert read_journal(folder) == ([], None)


def test_an_entry_is_on_the_disk_when_append_returns(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    journal.append("started", "launcher", None, {})
    assert synced == [journal.fd]


def test_a_line_that_is_being_written_does_not_count_yet(folder: str, journal: Journal) -> None:
    entry = journal.append("started", "launcher", None, {"pid": 42})
    with path_of(folder).open("ab") as file:
        file.write(b'{"seq":2,"event":"sto')
    assert read_journal(folder) == ([entry], None)


def path_of(folder: str) -> Path:
    return Path(folder, run_folder.JOURNAL)


# --- damage ---------------------------------------------------------------------------------------------------------

GOOD = json.dumps(LIFE[0])


@pytest.mark.parametrize(
    "line",
    [
        "",
        "nonsense",
        "[]",
        "{}",
        "[" * 100_000,
        "\0" * 100,
        '{"seq":2}',
        GOOD,
        GOOD.replace('"seq": 1', '"seq": "2"'),
        GOOD.replace('"seq": 1', '"seq": true'),
        GOOD.replace('"seq": 1', '"seq": 2').replace('"pid": 42', '"pid": "42"'),
        GOOD.replace('"seq": 1', '"seq": 2').replace("2026", "not a time"),
        GOOD.replace('"seq": 1', '"seq": 2').replace('"reason": null', '"reason": 1'),
        '{"seq":2,"at":"2026-11-22T12:00:00+00:00","event":"stopped","actor":"keeper","data":{"exitcode":"0"}}',
        '{"seq":2,"at":"2026-11-22T12:00:00+00:00","event":"asked","actor":"keeper","data":{}}',
        '{"seq":2,"at":"2026-11-22T12:00:00+00:00","event":"asked","actor":"keeper","data":null}',
    ],
)
def test_what_stands_before_the_first_damaged_line_is_told(folder: str, line: str) -> None:
    path_of(folder).write_text(f"{GOOD}\n{line}\n{json.dumps(LIFE[1])}\n")
    entries, damage = read_journal(folder)
    assert entries == [LIFE[0]]
    assert damage is not None
    assert "line 2" in damage


@given(st.binary(max_size=200))
def test_whatever_is_in_the_file_reading_it_raises_nothing(text: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path_of(folder).write_bytes(GOOD.encode() + b"\n" + text)
        entries, damage = read_journal(folder)
        assert entries[0] == LIFE[0]
        assert damage is not None or len(entries) == 1 + text.count(b"\n")


def test_a_journal_without_end_is_not_read(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "MAX_JOURNAL_BYTES", 10_000)
    path_of(folder).write_text(f"{GOOD}\n" + "x" * 1_000_000)
    entries, damage = read_journal(folder)
    assert entries == [LIFE[0]]
    assert damage is not None
    assert "longer than 10000" in damage


def test_what_is_no_file_is_not_read(folder: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text(f"{GOOD}\n")
    makers: list[Callable[[], object]] = [
        lambda: path_of(folder).symlink_to(elsewhere),
        lambda: os.mkfifo(path_of(folder)),
    ]
    for make in makers:
        make()
        assert read_journal(folder) == ([], "the journal is not a file")
        path_of(folder).unlink()
    path_of(folder).mkdir()
    assert read_journal(folder) == ([], "the journal is not a file")


# --- a disk that does not take it -----------------------------------------------------------------------------------


def short_write(fd: int, data: bytes, offset: int, write: Callable[[int, bytes, int], int] = os.pwrite) -> int:
    return write(fd, data[: len(data) // 2], offset)


def no_write(fd: int, data: bytes, offset: int) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def no_sync(fd: int) -> None:
    raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize(("name", "broken"), [("pwrite", short_write), ("pwrite", no_write), ("fdatasync", no_sync)])
def test_what_could_not_be_written_is_owed_and_leaves_no_gap(
    folder: str, journal: Journal, monkeypatch: pytest.MonkeyPatch, name: str, broken: Any
) -> None:
    first = journal.append("started", "launcher", None, {"pid": 42})
    with monkeypatch.context() as patch:
        patch.setattr(os, name, broken)
        with pytest.raises(OSError, match=r"error|space"):
            journal.append("asked", "Bob", None, {"action": "stop"})
        assert journal.is_behind
    assert read_journal(folder).entries[0] == first
    assert read_journal(folder).damage is None
    [owed] = journal.owed
    last = journal.append("stopped", "keeper", None, {"exitcode": 0})
    assert read_journal(folder) == ([first, owed, last], None)
    assert [entry["seq"] for entry in (first, owed, last)] == [1, 2, 3]
    assert not journal.is_behind


def test_a_shorter_entry_takes_the_place_of_one_that_was_half_written(
    folder: str, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = journal.append("started", "launcher", None, {"pid": 42})
    journal.add("stopped", "keeper", None, {"exitcode": 0, "result": "x" * 10_000})
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", short_write)
        with pytest.raises(OSError, match="No space left"):
            journal.settle()
    assert read_journal(folder) == ([first], None)
    last = journal.amend({"exitcode": 0})
    journal.settle()
    assert read_journal(folder) == ([first, last], None)
    journal.reserve()
    journal.close()
    assert path_of(folder).read_bytes().count(b"\n") == 2


def test_what_a_sync_failed_for_is_written_anew_into_another_file(
    folder: str, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second sync of the same file would succeed, with nothing on the disk."""
    first = journal.append("started", "launcher", None, {"pid": 42})
    before = path_of(folder).stat().st_ino
    synced: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", no_sync)
        with pytest.raises(OSError, match="Input/output"):
            journal.append("asked", "Bob", None, {"action": "stop"})
        patch.setattr(os, "fsync", no_sync)
        with pytest.raises(OSError, match="Input/output"):
            journal.settle()
        assert path_of(folder).stat().st_ino == before
        patch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))
        journal.settle()
    assert path_of(folder).stat().st_ino != before
    assert synced == [path_of(folder).stat().st_ino, Path(folder).stat().st_ino]
    assert [entry["seq"] for entry in read_journal(folder).entries] == [1, 2]
    assert read_journal(folder).entries[0] == first
    assert os.listdir(folder) == [run_folder.JOURNAL]


def test_a_disk_that_gives_nothing_back_is_not_asked_for_what_was_written(
    folder: str, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = journal.append("started", "launcher", None, {"pid": 42})

    def no_read(*_: int) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", no_read)
        patch.setattr(os, "read", no_read)
        path_of(folder).unlink()
        last = journal.append("stopped", "keeper", None, {"exitcode": 0})
    assert read_journal(folder) == ([first, last], None)


def test_a_close_that_reports_an_error_costs_no_entry(
    folder: str, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = journal.append("started", "launcher", None, {"pid": 42})
    path_of(folder).unlink()
    with monkeypatch.context() as patch:
        patch.setattr(os, "close", closing_with_an_error)
        second = journal.append("asked", "Bob", None, {"action": "stop"})
    last = journal.append("stopped", "keeper", None, {"exitcode": 0})
    assert read_journal(folder) == ([first, second, last], None)


def closing_with_an_error(fd: int, close: Callable[[int], None] = os.close) -> None:
    is_journal = os.readlink(f"/proc/self/fd/{fd}").partition(" ")[0].endswith(run_folder.JOURNAL)
    close(fd)
    if is_journal:
        raise OSError(errno.EIO, "Input/output error")


def test_room_is_kept_ahead_and_given_back(folder: str, journal: Journal) -> None:
    journal.append("started", "launcher", None, {"pid": 42})
    taken = path_of(folder).stat().st_blocks
    journal.reserve()
    kept = path_of(folder).stat()
    assert kept.st_blocks * 512 >= run_folder.RESERVE_BYTES
    assert kept.st_size == len(path_of(folder).read_bytes())
    journal.close()
    assert path_of(folder).stat().st_blocks <= max(taken, 8)


def test_a_file_system_that_can_t_promise_room_is_no_error(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posix, "reserve", lambda *_: False)
    journal.append("started", "launcher", None, {"pid": 42})
    journal.reserve()
    journal.append("stopped", "keeper", None, {"exitcode": 0})


# --- somebody else's hands ------------------------------------------------------------------------------------------


def removed(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(b"")


def cut_in_the_middle(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def linked(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def replaced(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.write_text("something else\n" * 100)


def two_entries(journal: Journal) -> list[Entry]:
    started = journal.append("started", "launcher", None, {"pid": 42})
    return [started, journal.append("asked", "Bob", None, {"action": "stop"})]


@pytest.mark.parametrize("hand", [removed, cut, cut_in_the_middle, linked, replaced])
def test_a_journal_that_somebody_took_away_is_put_back_with_the_next_entry(
    folder: str, journal: Journal, hand: Callable[[Path], None]
) -> None:
    before = two_entries(journal)
    hand(path_of(folder))
    last = journal.append("stopped", "keeper", None, {"exitcode": 0})
    assert read_journal(folder) == ([*before, last], None)
    assert not path_of(folder).is_symlink()


@pytest.mark.parametrize("hand", [removed, cut, cut_in_the_middle])
def test_a_journal_that_somebody_took_away_can_be_put_back_without_an_entry(
    folder: str, journal: Journal, hand: Callable[[Path], None]
) -> None:
    before = two_entries(journal)
    hand(path_of(folder))
    journal.restore()
    assert read_journal(folder) == (before, None)


def test_what_somebody_wrote_before_the_first_entry_is_not_the_journal(folder: str) -> None:
    path_of(folder).write_text(f"{GOOD}\nnonsense\n")
    journal = Journal(folder)
    started = journal.append("started", "launcher", None, {"pid": 42})
    journal.close()
    assert read_journal(folder) == ([started], None)


# --- replaying ------------------------------------------------------------------------------------------------------


def starting() -> Process:
    return a_process(State.STARTING, seq=3)


def replay(process: Process, entries: list[Entry]) -> Process:
    for entry in entries:
        event = event_of_entry(entry)
        if not lifecycle.is_applied(process, event):
            process, _ = lifecycle.apply(process, event)
    return process


@given(st.lists(st.integers(0, len(LIFE)), max_size=8))
def test_replaying_is_harmless_however_often_and_from_wherever(ends: list[int]) -> None:
    process = starting()
    for end in ends:
        process = replay(process, LIFE[:end])
    assert process == replay(starting(), LIFE[: max(ends, default=0)])
    assert replay(process, LIFE) == replay(starting(), LIFE)


def test_a_gap_that_a_full_disk_left_keeps_no_end_from_being_known() -> None:
    process = replay(starting(), [LIFE[0], LIFE[4]])
    assert (process.state, process.exitcode, process.journal_seq) == (State.EXITED, -15, 5)
