"""What a run folder says about its process."""

from collections.abc import Sequence
from dataclasses import dataclass

from procdeck.run_folder import Entry


@dataclass(frozen=True, slots=True)
class Evidence:
    """The journal's entries, whether a keeper lives, and whether one (or the service in its stead) ever took the
    process."""

    entries: Sequence[Entry]
    is_kept: bool
    is_claimed: bool
