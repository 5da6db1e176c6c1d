"""What a run folder says about its process."""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from procdeck import run_folder
from procdeck.run_folder import Entry


@dataclass(frozen=True, slots=True)
class Evidence:
    """The journal's entries, whether a keeper lives, whether one (or the service in its stead) ever took the process,
    and what is wrong with the journal behind those entries, or with the whole folder; None when nothing is.

    Of one that ``is_missing``, for it is gone or something else is in its place, nothing else can be said.
    """

    entries: Sequence[Entry]
    is_kept: bool
    is_claimed: bool
    damage: str | None = None
    is_missing: bool = False


def examine(folder: Path) -> Evidence:
    """What a run folder says. Blocks. Raises OSError when it can't be looked at."""
    foreign = why_foreign(folder)
    if foreign is not None:
        return Evidence(
            [], is_kept=False, is_claimed=False, damage=f"its run folder can't be used: {foreign}", is_missing=True
        )
    path = str(folder)
    # In this order: a keeper that comes in between is seen by its lock, and one that ends in between has written
    # its journal before it let go.
    is_claimed = run_folder.is_claimed(path)
    is_kept = run_folder.is_kept(path)
    entries, damage = run_folder.read_journal(path)
    return Evidence(entries, is_kept, is_claimed, damage)


def why_foreign(folder: Path) -> str | None:
    """Why what is at the path of a run folder is none of ours, None when it is one. What a link leads to is never
    looked at: who could put it there could have us read, and remove, what is not theirs. Raises OSError."""
    try:
        found = os.lstat(folder)
    except FileNotFoundError:
        return "it is gone"
    if stat.S_ISLNK(found.st_mode):
        return "it is a symbolic link"
    if not stat.S_ISDIR(found.st_mode):
        return "it is not a folder"
    if found.st_uid != os.geteuid():
        return f"it belongs to another user (uid {found.st_uid})"
    return None
