"""The folder of one process."""

import errno
import json
import shutil
import stat
import threading
from pathlib import Path

import pytest

from procdeck import posix, run_folder
from procdeck.pristine import os
from tests.fakes import SPEC


@pytest.fixture
def folder(tmp_path: Path) -> str:
    path = str(tmp_path / "run")
    run_folder.create(path, SPEC)
    return path


def test_it_is_for_its_owner_only(folder: str) -> None:
    fd = run_folder.claim(folder)
    assert fd is not None
    os.close(fd)
    os.close(run_folder.Journal(folder).fd)
    for path in (Path(folder), *Path(folder).rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_the_spec_comes_back_as_it_was(folder: str) -> None:
    assert run_folder.read_spec(folder) == SPEC
    assert not (Path(folder) / "spec.json.new").exists()


def test_a_folder_is_made_once(folder: str) -> None:
    with pytest.raises(FileExistsError):
        run_folder.create(folder, {})
    assert run_folder.read_spec(folder) == SPEC


@pytest.mark.parametrize("text", ["", "[]", "{", "null"])
def test_a_spec_that_is_not_ours_is_refused(folder: str, text: str) -> None:
    (Path(folder) / run_folder.SPEC).write_text(text)
    with pytest.raises(ValueError, match=r"."):
        run_folder.read_spec(folder)


def test_a_spec_that_did_not_fit_on_the_disk_is_no_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:10]))
    with pytest.raises(OSError, match="No space left") as caught:
        run_folder.create(str(tmp_path / "run"), SPEC)
    assert caught.value.errno == errno.ENOSPC
    assert not (tmp_path / "run" / run_folder.SPEC).exists()


def test_only_one_can_claim_it_and_for_ever(folder: str) -> None:
    assert not run_folder.is_claimed(folder)
    fd = run_folder.claim(folder)
    assert fd is not None
    assert run_folder.is_claimed(folder)
    assert run_folder.claim(folder) is None
    os.close(fd)
    assert run_folder.claim(folder) is None
    assert run_folder.is_claimed(folder)


def test_whoever_sees_it_claimed_sees_it_kept(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in between: a keeper that is just coming must not be taken for one that was killed."""
    seen: list[tuple[bool, bool]] = []
    lock = posix.lock

    def look(fd: int) -> bool:
        seen.append((run_folder.is_claimed(folder), lock(fd)))
        return seen[-1][1]

    monkeypatch.setattr(posix, "lock", look)
    fd = run_folder.claim(folder)
    assert fd is not None
    assert seen == [(False, True)]
    assert os.fstat(fd).st_ino == Path(folder, run_folder.LOCK).stat().st_ino
    assert sorted(path.name for path in Path(folder).iterdir()) == ["lock", "log", "spec.json"]
    os.close(fd)


@pytest.mark.parametrize("linked", [False, True])
def test_one_who_was_killed_while_claiming_is_no_hindrance(folder: str, linked: bool) -> None:
    """What it leaves has the name of its thread, and another may have that number by now."""
    draft = Path(folder, f"{run_folder.LOCK}.{threading.get_native_id()}")
    draft.touch()
    if linked:
        os.link(draft, Path(folder, run_folder.LOCK))
    fd = run_folder.claim(folder)
    assert (fd is None) == linked
    assert not draft.exists()
    if fd is not None:
        os.close(fd)


def test_nobody_keeps_it_when_nobody_has_the_lock(folder: str) -> None:
    assert not run_folder.is_kept(folder)
    fd = run_folder.claim(folder)
    assert fd is not None
    os.close(fd)
    assert not run_folder.is_kept(folder)


def test_the_lock_says_which_file_it_is_and_a_copy_is_another(folder: str, tmp_path: Path) -> None:
    assert not run_folder.is_original(folder)
    fd = run_folder.claim(folder)
    assert fd is not None
    assert run_folder.is_held(folder, fd)
    assert run_folder.is_original(folder)
    copy = str(tmp_path / "copy")
    shutil.copytree(folder, copy)
    assert not run_folder.is_original(copy)
    assert not run_folder.is_held(copy, fd)
    moved = str(Path(folder).rename(tmp_path / "moved"))
    assert run_folder.is_original(moved)
    os.close(fd)


def test_a_lock_of_another_boot_or_without_a_word_is_no_proof(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fd = run_folder.claim(folder)
    assert fd is not None
    with monkeypatch.context() as patch:
        patch.setattr(posix, "BOOT_ID", "another")
        assert not run_folder.is_original(folder)
    os.ftruncate(fd, 0)
    assert not run_folder.is_original(folder)
    os.close(fd)


def test_what_was_removed_is_made_again_and_taken_again(folder: str) -> None:
    before = run_folder.claim(folder)
    assert before is not None
    shutil.rmtree(folder)
    run_folder.restore(folder, SPEC)
    assert run_folder.read_spec(folder) == SPEC
    assert not run_folder.is_held(folder, before)
    after = run_folder.reclaim(folder)
    assert after is not None
    assert run_folder.is_held(folder, after)
    assert run_folder.is_original(folder)
    run_folder.restore(folder, {})  # what is there stays
    assert run_folder.read_spec(folder) == SPEC
    assert sorted(path.name for path in Path(folder).iterdir()) == ["lock", "log", "spec.json"]
    os.close(before)
    os.close(after)


def test_a_copied_lock_is_replaced_when_its_keeper_takes_the_folder_again(folder: str, tmp_path: Path) -> None:
    before = run_folder.claim(folder)
    assert before is not None
    backup = shutil.copytree(folder, tmp_path / "backup")
    shutil.rmtree(folder)
    shutil.copytree(backup, folder)
    after = run_folder.reclaim(folder)
    assert after is not None
    assert run_folder.is_original(folder)
    os.close(before)
    os.close(after)


def test_settling_harms_nothing(folder: str) -> None:
    run_folder.settle(folder)
    assert run_folder.read_spec(folder) == SPEC


def test_the_time_is_utc_with_microseconds() -> None:
    now = run_folder.now_text()
    assert now.endswith("+00:00")
    assert json.loads(json.dumps(now)) == now
