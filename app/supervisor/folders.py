"""What run folders take on the disk, and how it is given back. Everything here blocks."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.data_folder import run_ids
from app.db.store import Measured
from app.retention import OldestSegments, Segment
from procdeck import log, run_folder

DELETED = ".deleted"


@dataclass(frozen=True, slots=True)
class Stock:
    """The logs of all processes: their bytes together, and for each living one its oldest and end offset."""

    bytes: int
    living: dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Trimmed:
    """What was removed from the start of a log: so many bytes, it begins at ``start`` now."""

    process_id: str
    bytes: int
    start: int


class RunFolders:
    """The run folders below ``runs``."""

    def __init__(self, runs: Path) -> None:
        self._runs = runs

    def ids(self) -> Iterator[str]:
        """The ids of all run folders."""
        return run_ids(self._runs)

    def _log(self, process_id: str) -> str:
        return f"{self._runs}/{process_id}/{run_folder.LOG}"

    def _is_kept(self, process_id: str) -> bool:
        return run_folder.is_kept(f"{self._runs}/{process_id}")

    # --- whole folders ------------------------------------------------------------------------------------------------

    def measure(self, process_id: str) -> Measured | None:
        """What the folder of a process that is over takes; None while its keeper still ends what it left behind, or
        while it can't be looked at: what is measured is kept for good.

        A folder that is not there takes nothing.
        """
        folder = f"{self._runs}/{process_id}"
        try:
            if not _is_there(folder):
                return Measured(process_id, 0, None)
            if self._is_kept(process_id):
                return None
            parts = log.segments(self._log(process_id))
            size = _size_of(folder)
        except OSError:  # out of descriptors, a disk in trouble, or a folder that was removed this moment
            return None
        return Measured(process_id, size, parts[0][0] if parts else None)

    def delete(self, process_id: str) -> None:
        """Remove a folder. It gets a hidden name first, so that a half-removed one is never taken for a run."""
        self.hide(process_id)
        self.remove_hidden(process_id)

    def hide(self, process_id: str) -> None:
        """Give a folder a hidden name; one that is not there is no error. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            (self._runs / process_id).rename(self._hidden(process_id))

    def show(self, process_id: str) -> None:
        """Give it its own name again. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            self._hidden(process_id).rename(self._runs / process_id)

    def hidden_ids(self) -> list[str]:
        """The ids of the folders that are hidden."""
        return [hidden.name[1:].removesuffix(DELETED) for hidden in self._runs.glob(f".*{DELETED}")]

    def remove_hidden(self, process_id: str) -> None:
        """Remove a hidden folder, or as much of it as can be."""
        shutil.rmtree(self._hidden(process_id), ignore_errors=True)

    def _hidden(self, process_id: str) -> Path:
        return self._runs / f".{process_id}{DELETED}"

    # --- logs ---------------------------------------------------------------------------------------------------------

    def log_extents(self, process_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
        """(offset of the oldest byte kept, offset behind the last) of each log that can be read."""
        found = {}
        for process_id in process_ids:
            with contextlib.suppress(OSError):
                found[process_id] = log.extent(self._log(process_id))
        return found

    def take_stock(self, oldest: OldestSegments) -> Stock:
        """Look at every log there is; their closed segments are given to ``oldest``."""
        total = 0
        living: dict[str, tuple[int, int]] = {}
        for process_id in self.ids():
            with contextlib.suppress(OSError):
                parts = log.segments(self._log(process_id))
                # In this order: whoever has a log and no keeper after that will never write again.
                is_kept = self._is_kept(process_id)
                total += sum(size for _, size in parts)
                if is_kept and parts:
                    living[process_id] = (parts[0][0], parts[-1][0] + parts[-1][1])
                oldest.add(process_id, self._closed(process_id, parts[:-1] if is_kept else parts))
        return Stock(total, living)

    def _closed(self, process_id: str, parts: Sequence[tuple[int, int]]) -> Iterator[Segment]:
        folder = self._log(process_id)
        for first, size in parts:
            if size:
                with contextlib.suppress(FileNotFoundError):  # the keeper's own budget was faster
                    yield Segment(first, size, os.lstat(f"{folder}/{first:020d}.log").st_mtime_ns)

    def trim(self, process_id: str, firsts: Sequence[int]) -> Trimmed:
        """Remove the segments with these first offsets, the oldest ones of a log. Raises OSError."""
        folder = self._log(process_id)
        parts = log.segments(folder)
        left = [first for first, _ in parts if first not in firsts]
        start = left[0] if left else parts[-1][0] + parts[-1][1] if parts else 0
        if parts and not left:
            # All of a log that is over. An empty segment keeps its end: a reader is told that there was something.
            os.close(os.open(f"{folder}/{start:020d}.log", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        removed = 0
        for first, size in parts:
            if first in firsts:
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{folder}/{first:020d}.log").unlink()
                    removed += size
        for first, lines in log.marks(folder).items():
            if first < start:
                Path(folder, log.mark_name(first, lines)).unlink(missing_ok=True)
        return Trimmed(process_id, removed, start)


def _is_there(path: str) -> bool:
    """Raises OSError when that can't be known, which `os.path.exists` takes for a no."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True


def _size_of(folder: str) -> int:
    """Bytes of the blocks of all files below a folder, and of the folders."""
    found = os.lstat(folder)
    size = found.st_blocks * 512
    with os.scandir(folder) as entries:
        for entry in entries:
            is_folder = entry.is_dir(follow_symlinks=False)
            with contextlib.suppress(FileNotFoundError):
                size += _size_of(entry.path) if is_folder else entry.stat(follow_symlinks=False).st_blocks * 512
    return size
