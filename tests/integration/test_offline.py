"""What `procdeck stop --all` without a service does with those whose keeper is dead."""

import os
from pathlib import Path

import pytest

from app.cli import offline
from app.supervisor.remains import Marks
from procdeck import posix, run_folder
from tests.fakes import SPEC


@pytest.mark.parametrize(("boot_id", "session"), [(posix.BOOT_ID, 42), ("another", None)])
def test_a_session_is_only_of_the_boot_that_it_was_noted_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, boot_id: str, session: int | None
) -> None:
    folder = tmp_path / SPEC["id"]
    run_folder.create(str(folder), SPEC)
    claimed = run_folder.claim(str(folder))
    assert claimed is not None
    os.close(claimed)
    journal = run_folder.Journal(str(folder))
    journal.append("started", "launcher", None, {"pid": 42, "keeper_pid": 41, "start_ticks": 7, "boot_id": boot_id})
    os.close(journal.fd)
    asked: list[Marks] = []

    def end_remains(marks: Marks) -> int:
        asked.append(marks)
        return 3

    monkeypatch.setattr(offline, "end_remains", end_remains)
    shown = offline._settled(folder)
    assert asked == [Marks(SPEC["id"], folder, session, 7)]
    assert shown["state"] == "lost"
    assert "3 process(es)" in shown["exit_summary"]
