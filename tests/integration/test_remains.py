"""Ending what is left of a process whose keeper was killed, and nobody else."""

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.supervisor.remains import Census, Marks, end_remains
from procdeck import posix, run_folder
from tests.fakes import SPEC
from tests.runtime import is_alive
from tests.waiting import wait_until

PROCESS_ID = "0193-remains-of-a-test"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / PROCESS_ID
    run_folder.create(str(folder), SPEC)
    claimed = run_folder.claim(str(folder))
    assert claimed is not None
    os.close(claimed)
    return folder


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def start(stack: ExitStack, *command: str, env: dict[str, str] | None = None, fds: tuple[int, ...] = ()) -> int:
    """A program in a session of its own, at work."""
    process = stack.enter_context(
        subprocess.Popen(
            command or ("sleep", "1000"),
            env=os.environ | (env or {}),
            pass_fds=fds,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
        )
    )
    stack.callback(process.kill)
    wait_until(lambda: (s := posix.stat(process.pid)) is not None and s.state == "S", 10, "it does not sleep")
    return process.pid


def marks(folder: Path, session: int | None = None) -> Marks:
    leader = posix.stat(session) if session else None
    return Marks(PROCESS_ID, folder, session, leader.start_ticks if leader else None)


def test_nothing_is_left_of_nothing(folder: Path) -> None:
    assert end_remains(marks(folder)) == 0


def test_a_want_of_descriptors_does_not_mean_that_nothing_is_left(folder: Path, stack: ExitStack) -> None:
    file = stack.enter_context((folder / run_folder.LOCK).open())
    pid = start(stack, fds=(file.fileno(),))
    sought = marks(folder)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            sought.are_on(pid)
        with pytest.raises(OSError, match="Too many open files"):
            end_remains(sought)
        with pytest.raises(OSError, match="Too many open files"):
            Census.take(folder.parent)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert is_alive(pid)


def test_who_holds_the_lock_file_open_is_of_the_tree(folder: Path, stack: ExitStack) -> None:
    file = stack.enter_context((folder / run_folder.LOCK).open())
    pid = start(stack, fds=(file.fileno(),))
    stranger = start(stack)
    assert end_remains(marks(folder)) == 1
    assert not is_alive(pid)
    assert is_alive(stranger)
    assert not file.closed  # this process holds it, too, and lives


def test_the_lock_file_is_known_through_a_symbolic_link(folder: Path, tmp_path: Path, stack: ExitStack) -> None:
    link = tmp_path / "data"
    link.symlink_to(tmp_path, target_is_directory=True)
    file = stack.enter_context((link / PROCESS_ID / run_folder.LOCK).open())
    pid = start(stack, fds=(file.fileno(),))
    assert end_remains(marks(link / PROCESS_ID)) == 1
    assert not is_alive(pid)


def test_who_has_the_variable_is_of_the_tree(folder: Path, stack: ExitStack) -> None:
    pid = start(stack, env={"PROCDECK_ID": PROCESS_ID})
    almost = start(stack, env={"PROCDECK_ID": PROCESS_ID + "1"}), start(stack, env={"NOT_PROCDECK_ID": PROCESS_ID})
    assert end_remains(marks(folder)) == 1
    assert not is_alive(pid)
    assert all(map(is_alive, almost))


def test_who_is_in_the_child_s_session_is_of_the_tree(folder: Path, stack: ExitStack) -> None:
    leader = start(stack, "sh", "-c", "sleep 1000 & wait")
    family = [leader, *posix.descendants(leader)]
    assert len(family) == 2
    assert end_remains(marks(folder, leader)) == 2
    assert not any(map(is_alive, family))


def test_a_session_whose_number_was_given_again_is_a_stranger_s(folder: Path, stack: ExitStack) -> None:
    leader = start(stack)
    stat = posix.stat(leader)
    assert stat is not None
    assert end_remains(Marks(PROCESS_ID, folder, leader, stat.start_ticks - 1)) == 0
    assert is_alive(leader)


def test_a_copy_of_the_folder_is_no_leave_to_end_its_processes(folder: Path, tmp_path: Path, stack: ExitStack) -> None:
    """A backup beside the living original, or in the place of it: variable and session are those of the original."""
    leader = start(stack, env={"PROCDECK_ID": PROCESS_ID})
    file = stack.enter_context((folder / run_folder.LOCK).open())
    forked = start(stack, fds=(file.fileno(),))
    copy = tmp_path / "copy" / PROCESS_ID
    shutil.copytree(folder, copy)
    assert end_remains(marks(copy, leader)) == 0
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)
    assert end_remains(marks(folder, leader)) == 0
    assert is_alive(leader)
    assert is_alive(forked)


def test_a_folder_that_was_moved_is_still_the_one(folder: Path, tmp_path: Path, stack: ExitStack) -> None:
    pid = start(stack, env={"PROCDECK_ID": PROCESS_ID})
    (tmp_path / "moved").mkdir()
    moved = folder.rename(tmp_path / "moved" / PROCESS_ID)
    assert end_remains(marks(moved)) == 1
    assert not is_alive(pid)


def test_one_that_starts_others_while_it_is_ended_is_ended_with_them(folder: Path, stack: ExitStack) -> None:
    breed = "trap '' TERM; while :; do sleep 1000 & sleep 0.01; done"
    pid = start(stack, "sh", "-c", breed, env={"PROCDECK_ID": PROCESS_ID})
    wait_until(lambda: len(posix.descendants(pid)) > 3, 10, "it starts nothing")
    assert end_remains(marks(folder)) >= 4
    assert not [one for one in posix.all_pids() if marks(folder).are_on(one) and is_alive(one)]
