"""Run folders into the record: of a database that was lost or damaged, or is older than they are.

The one way in which that is done: at the start of the service, while it runs, and by `procdeck rebuild`.
"""

import asyncio
import logging
import os
import shutil
import stat
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from app.db.store import Store, insert_process
from app.lifecycle import Process, Transition
from app.supervisor.evidence import Evidence, examine, why_foreign
from app.supervisor.recovery import NEVER_CAME, Memory, process_of_folder, remembered
from procdeck import failpoints, run_folder
from procdeck.states import FINAL, State

logger = logging.getLogger("procdeck.imports")

QUARANTINE = "quarantine"
"""The folder beside the run folders in which those are kept that say nothing that can be understood."""
AT_ONCE = 64
"""Folders that are read and taken together."""


@dataclass
class Imported:
    """What became of the run folders that the record did not know.

    ``taken`` are in it now; of these ``lost`` had a keeper that lives no more and left no exit record.
    ``quarantined`` were moved aside, ``refused`` are where they were: by name, with the reason; ``postponed`` as well,
    but can be tried again. ``processes`` are those that were asked for, as they are in the record.
    """

    taken: int = 0
    lost: int = 0
    quarantined: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    postponed: dict[str, str] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)


@dataclass(frozen=True)
class _Found:
    """A run folder that can be understood."""

    process: Process
    transitions: list[Transition]
    evidence: Evidence


class _NotUnderstood(Exception):
    """A run folder says nothing that can be understood; the text is the reason."""


async def import_folders(
    store: Store, runs: Path, known: AbstractSet[str], living: Mapping[str, Memory] | None = None
) -> Imported:
    """Take the folders below ``runs`` whose names are not ``known`` into the record. Nobody launches or deletes
    meanwhile.

    ``living`` are processes that the caller has in memory, by id: what their folders do not tell any more is known of
    them. None while no service has run yet: then the rest of a creation that was cut off is removed. Raises
    `app.errors.RecordUnavailable`, OSError when ``runs`` can't be read.
    """
    reader = _Reader(runs, living or {}, is_tidy=living is None)
    unknown = await asyncio.to_thread(scan, runs, known)
    # What is in memory first: should another have its number or its key, it is that one's which is wrong.
    first = [name for name in reader.living if name not in known]
    await _import(store, reader, [*first, *(name for name in unknown if name not in reader.living)])
    _log(reader.found, reader.found.postponed)
    return reader.found


async def import_again(store: Store, runs: Path, names: Collection[str]) -> Imported:
    """Try those once more that were postponed. Nobody launches or deletes meanwhile. Raises as `import_folders`."""
    reader = _Reader(runs, {}, is_tidy=False)
    unknown = await asyncio.to_thread(lambda: [name for name in names if store.get(name) is None])
    await _import(store, reader, unknown)
    _log(reader.found, {})  # what is postponed again has been told of
    return reader.found


def _log(found: Imported, postponed: Mapping[str, str]) -> None:
    for name, why in {**found.refused, **postponed, **found.quarantined}.items():
        what = "was moved to quarantine" if name in found.quarantined else "is left as it is"
        logger.warning("the run folder %r can't be taken into the record and %s: %s", name, what, why)
    if found.taken:
        logger.info("took %d process(es) into the record from their run folders", found.taken)


async def _import(store: Store, reader: "_Reader", names: Sequence[str]) -> None:
    for start in range(0, len(names), AT_ONCE):
        folders = await asyncio.to_thread(reader.read_all, names[start : start + AT_ONCE])
        # Side by side, for they share commits.
        works = [_take(store, folder, reader.found, reader.living) for folder in folders]
        for error in await asyncio.gather(*works, return_exceptions=True):
            if error is not None:
                raise error


async def _take(store: Store, folder: _Found, found: Imported, living: Container[str]) -> None:
    process = folder.process
    try:
        failpoints.reach("service.import.read")
        await store.writer.run(partial(insert_process, process=process, transitions=folder.transitions))
        failpoints.reach("service.import.taken")
    except OSError as error:
        found.postponed[process.id] = f"it can't be read: {error.strerror}"
        return
    except SQLAlchemyError as error:
        # Its number or its key belongs to another: it comes from another data folder, or is a copy.
        found.refused[process.id] = " ".join(str(getattr(error, "orig", error)).split())
        return
    found.taken += 1
    if process.id in living:
        found.processes[process.id] = process
    is_abandoned = process.state not in FINAL and process.state not in NEVER_CAME and not folder.evidence.is_kept
    found.lost += process.state is State.LOST or is_abandoned
    logger.debug("took %s (%s) into the record from its run folder", process.name, process.id)


# --- looking at folders; everything below blocks -----------------------------------------------------------------


def scan(runs: Path, known: Container[str]) -> list[str]:
    """The names of what is in the place of a run folder and not ``known``, in their order. Raises OSError."""
    with os.scandir(runs) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.name not in known)


class _Reader:
    """Reads run folders; ``found`` gets what can't be taken. ``is_tidy`` removes the rests of creations."""

    def __init__(self, runs: Path, living: Mapping[str, Memory], *, is_tidy: bool) -> None:
        self._runs = runs
        self.living = living
        self._is_tidy = is_tidy
        self.found = Imported()

    def read_all(self, names: Iterable[str]) -> list[_Found]:
        """What those folders tell that can be understood."""
        folders = []
        for name in names:
            try:
                folder = self._read(name)
            except _NotUnderstood as error:
                _quarantine(self._runs, name, str(error), self.found)
            except OSError as error:
                # Out of descriptors, or a disk in trouble: that says nothing of the folder.
                self.found.postponed[name] = f"it can't be read: {error.strerror}"
            else:
                folders += [folder] if folder is not None else []
        return folders

    def _read(self, name: str) -> _Found | None:
        """What a folder tells; None when there is nothing to be taken."""
        memory = self.living.get(name)
        return self._read_unknown(self._runs / name) if memory is None else _read_living(self._runs / name, memory)

    def _read_unknown(self, folder: Path) -> _Found | None:
        if not _is_there(folder):
            return None  # it was removed meanwhile
        if foreign := why_foreign(folder):
            self.found.refused[folder.name] = foreign
            return None
        if _is_unfinished(folder):
            if self._is_tidy:
                logger.info("removing %s: the service ended in the middle of making it", folder)
                shutil.rmtree(folder)
            return None
        return _understood(_spec(folder), examine(folder))


def _read_living(folder: Path, memory: Memory) -> _Found:
    try:
        evidence = examine(folder)
    except OSError as error:
        evidence = Evidence([], is_kept=True, is_claimed=True, damage=f"it can't be read: {error.strerror}")
    if memory.is_ahead_of(evidence):
        process, transitions = remembered(memory)
        return _Found(process, transitions, evidence)
    return _understood(memory.process.spec, evidence)


def _understood(spec: Mapping[str, object], evidence: Evidence) -> _Found:
    try:
        process, transitions = process_of_folder(spec, evidence)
    except (KeyError, ValueError, TypeError) as error:
        raise _NotUnderstood(f"its spec is not one of ours: {error!r}") from error
    return _Found(process, transitions, evidence)


def _is_there(path: Path) -> bool:
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True


def _spec(folder: Path) -> dict[str, object]:
    try:
        if not stat.S_ISREG(os.lstat(folder / run_folder.SPEC).st_mode):
            raise _NotUnderstood("its spec is not a file")
        spec = run_folder.read_spec(str(folder))
    except FileNotFoundError:
        raise _NotUnderstood("it has no spec") from None
    except (ValueError, RecursionError) as error:
        raise _NotUnderstood(f"its spec can't be read: {error}") from error
    if spec.get("id") != folder.name:
        raise _NotUnderstood("its spec is the one of another process")
    return spec


def _is_unfinished(folder: Path) -> bool:
    """Whether a creation came no further than to the draft of the spec: nobody was told of it, and no keeper has it."""
    names = {path.name for path in folder.iterdir()}
    if names - {run_folder.LOG, f"{run_folder.SPEC}.new"}:
        return False
    return run_folder.LOG not in names or not any((folder / run_folder.LOG).iterdir())


def _quarantine(runs: Path, name: str, why: str, found: Imported) -> None:
    folder = runs / name
    if run_folder.is_kept(str(folder)):
        found.refused[name] = f"{why}; its keeper lives"
        return
    place = runs.with_name(QUARANTINE) / name
    try:
        place.parent.mkdir(mode=0o700, exist_ok=True)
        while place.exists():
            place = place.with_name(f"{place.name}.again")
        folder.rename(place)
    except OSError as error:
        found.refused[name] = f"{why}; it can't be moved to quarantine: {error.strerror}"
    else:
        found.quarantined[name] = why
