"""The journal: what is on disk is whole, whatever happened while it was written; replaying it is harmless."""

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import lifecycle
from app.lifecycle import Process
from app.supervisor.recovery import event_of_entry
from procdeck import run_folder
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
    os.close(journal.fd)


def test_entries_are_numbered_and_come_back(folder: str, journal: Journal) -> None:
    first = journal.append("started", "launcher", None, {"pid": 42, "note": "é\n"})
    second = journal.append("stopped", "keeper", "a reason", {"exitcode": 0})
    assert [first["seq"], second["seq"]] == [1, 2]
    assert read_journal(folder) == [first, second]


def test_a_journal_has_no_longest_length(folder: str, journal: Journal) -> None:
    for _ in range(18):
        last = journal.append("asked", "tester", "x" * (1 << 20), {})
    entries = read_journal(folder)
    assert len(entries) == 18
    assert entries[-1] == last


def test_there_may_be_none(folder: str) -> None:
    assert read_journal(folder) == []


def test_an_entry_is_on_the_disk_when_append_returns(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    journal.append("started", "launcher", None, {})
    assert synced == [journal.fd]


def test_a_line_that_is_being_written_does_not_count_yet(folder: str, journal: Journal) -> None:
    entry = journal.append("started", "launcher", None, {})
    os.write(journal.fd, b'{"seq":2,"event":"sto')
    assert read_journal(folder) == [entry]


@pytest.mark.parametrize("line", ["", "nonsense", "[]", "{}", '{"seq":"1","event":"x"}', '{"seq":1}'])
def test_a_whole_line_that_is_no_entry_is_said(folder: str, line: str) -> None:
    (Path(folder) / run_folder.JOURNAL).write_text(line + "\n")
    with pytest.raises(ValueError, match=r"."):
        read_journal(folder)


def short_write(fd: int, data: bytes, write: Callable[[int, bytes], int] = os.write) -> int:
    return write(fd, data[: len(data) // 2])


def no_write(fd: int, data: bytes) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def no_sync(fd: int) -> None:
    raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize(("name", "broken"), [("write", short_write), ("write", no_write), ("fdatasync", no_sync)])
def test_an_entry_that_could_not_be_written_leaves_nothing_behind(
    folder: str, journal: Journal, monkeypatch: pytest.MonkeyPatch, name: str, broken: Any
) -> None:
    first = journal.append("started", "launcher", None, {"pid": 42})
    with monkeypatch.context() as patch:
        patch.setattr(os, name, broken)
        with pytest.raises(OSError, match=r"error|space"):
            journal.append("asked", "Bob", None, {"action": "stop"})
    assert read_journal(folder) == [first]
    last = journal.append("stopped", "keeper", None, {"exitcode": 0})
    assert read_journal(folder) == [first, last]


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
