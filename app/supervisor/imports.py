"""Run folders into the record: of a database that was lost or damaged, or is older than they are.

The one way in which that is done: at the start of the service, while it runs, and by `procdeck rebuild`.
"""

import asyncio
import logging
import os
import shutil
import stat
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from app.db.store import Store, insert_process
from app.lifecycle import Process, Transition
from app.supervisor.evidence import Evidence, examine, why_foreign
from app.supervisor.recovery import process_of_folder, remembered
from procdeck import failpoints, run_folder
from procdeck.states import FINAL, State

logger = logging.getLogger("procdeck.imports")

QUARANTINE = "quarantine"
"""The folder beside the run folders in which those are kept that say nothing that can be understood."""
_AT_ONCE = 64
_NEVER_CAME = (State.CREATED, State.QUEUED)


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
    store: Store, runs: Path, known: Collection[str], living: Mapping[str, Process] | None = None
) -> Imported:
    """Take the folders below ``runs`` whose names are not ``known`` into the record.

    ``living`` are processes that the caller has in memory, by id: what their folders do not tell any more is known of
    them. Raises `app.errors.RecordUnavailable`, OSError when ``runs`` can't be read.
    """
    living = living or {}
    found = Imported()
    names, found.refused = await asyncio.to_thread(scan, runs)
    unknown = sorted({*names, *living} - set(known))
    for start in range(0, len(unknown), _AT_ONCE):
        some = unknown[start : start + _AT_ONCE]
        folders = await asyncio.to_thread(_read_all, runs, some, living, found)
        # Side by side, for they share commits.
        works = [_take(store, folder, found, living) for folder in folders]
        for error in await asyncio.gather(*works, return_exceptions=True):
            if error is not None:
                raise error
    for name, why in {**found.refused, **found.postponed, **found.quarantined}.items():
        what = "was moved to quarantine" if name in found.quarantined else "is left as it is"
        logger.warning("the run folder %r can't be taken into the record and %s: %s", name, what, why)
    return found


async def _take(store: Store, folder: _Found, found: Imported, living: Mapping[str, Process]) -> None:
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
    is_abandoned = process.state not in FINAL and process.state not in _NEVER_CAME and not folder.evidence.is_kept
    found.lost += process.state is State.LOST or is_abandoned
    logger.info("took %s (%s) into the record from its run folder", process.name, process.id)


# --- looking at folders; everything below blocks -----------------------------------------------------------------


def scan(runs: Path) -> tuple[list[str], dict[str, str]]:
    """The names of the run folders, and of what is in their place and refused, with the reason. Raises OSError."""
    names: list[str] = []
    refused: dict[str, str] = {}
    with os.scandir(runs) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                why = why_foreign(runs / entry.name)
                if why is None:
                    names.append(entry.name)
                else:
                    refused[entry.name] = why
    return names, refused


def _read_all(runs: Path, names: Iterable[str], living: Mapping[str, Process], found: Imported) -> list[_Found]:
    folders = []
    for name in names:
        try:
            folder = _read(runs / name, living.get(name))
        except _NotUnderstood as error:
            _quarantine(runs, name, str(error), found)
        except OSError as error:
            # Out of descriptors, or a disk in trouble: that says nothing of the folder.
            found.postponed[name] = f"it can't be read: {error.strerror}"
        else:
            folders += [folder] if folder is not None else []
    return folders


def _read(folder: Path, living: Process | None) -> _Found | None:
    """What a folder tells; None when it is the rest of a creation that was cut off, which is removed."""
    if living is None and _is_unfinished(folder):
        logger.info("removing %s: the service ended in the middle of making it", folder)
        shutil.rmtree(folder)
        return None
    evidence = examine(folder)
    spec = living.spec if living is not None else _spec(folder)
    if living is not None and not evidence.entries and living.state not in _NEVER_CAME:
        process, transitions = remembered(living)
        return _Found(process, transitions, evidence)
    try:
        process, transitions = process_of_folder(spec, evidence)
    except (KeyError, ValueError, TypeError) as error:
        raise _NotUnderstood(f"its spec is not one of ours: {error!r}") from error
    return _Found(process, transitions, evidence)


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
