"""Whether anything of a process is alive, told by its run folder: what this machine knows with or without a service."""

from pathlib import Path

from procdeck import run_folder


def has_ended(folder: Path) -> bool:
    """Whether there is an exit record. Raises OSError; ValueError when it may be where the journal is damaged."""
    entries, damage = run_folder.read_journal(str(folder))
    found = any(entry["event"] in ("stopped", "not_started") for entry in entries)
    if damage is not None and not found:
        raise ValueError(damage)
    return found


def is_alive(folder: Path) -> bool:
    """Whether its keeper lives, and not only for descendants that were asked to be kept.

    The exit is recorded at once; the keeper stays until it has ended what the process left behind.
    """
    if not run_folder.is_kept(str(folder)):
        return False
    try:
        return run_folder.read_spec(str(folder)).get("leftovers") != "keep" or not has_ended(folder)
    except (OSError, ValueError):
        return True
