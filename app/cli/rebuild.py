"""`procdeck rebuild`: the record made again from the run folders, without a service."""

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from app.cli import codes
from app.cli.command import Cli, add_command
from app.cli.failure import Failure
from app.cli.output import note, print_json, say

if TYPE_CHECKING:
    from app.supervisor.imports import Imported


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    add_command(app, rebuild)


def rebuild(cli: Cli) -> None:
    """Make the record again from the run folders, while no service runs.

    The database that is there is moved aside and kept. Processes are not touched: those that live go on, and the next
    start of the service adopts them. It does the same by itself when it finds its database damaged.

    The exit code is 1 when run folders could not be taken into the record.
    """
    # Imported here: short commands need none of it.
    from app.cli.offline import user_name
    from app.data_folder import RUNS, lock_data_folder
    from app.errors import RecordUnavailable
    from app.supervisor.activity import Activity
    from app.supervisor.record import Rebuilt
    from app.supervisor.record import rebuild as make_again

    async def make_and_note() -> Rebuilt:
        why = "asked for on the command line"
        rebuilt = await make_again(settings.record_url, runs, why)
        activity = Activity(rebuilt.store)
        await activity.renewed(f"cli:{user_name()}", why, rebuilt.imported.taken, rebuilt.renewed.kept)
        return rebuilt

    settings = cli.settings
    runs = settings.data_dir / RUNS
    if not runs.is_dir():
        raise Failure(f"there are no run folders in {settings.data_dir}", codes.REFUSED)
    lock = lock_data_folder(settings.data_dir)
    try:
        rebuilt = asyncio.run(make_and_note())
        rebuilt.store.close()
    except (RecordUnavailable, OSError) as error:
        raise Failure(f"the record can't be made again: {error}", codes.TRY_LATER) from error
    finally:
        os.close(lock)
    imported, kept = rebuilt.imported, rebuilt.renewed.kept
    left = {name: getattr(imported, name) for name in ("quarantined", "refused", "postponed")}
    if cli.as_json:
        print_json({"taken": imported.taken, "lost": imported.lost, **left, "kept": str(kept) if kept else None})
    else:
        _say(imported, kept)
    if any(left.values()):
        raise typer.Exit(codes.PROBLEM)


def _say(imported: "Imported", kept: Path | None) -> None:
    say(f"{imported.taken} processes were taken into a new record; of {imported.lost} the keeper is dead.")
    if kept:
        say(f"The database that was there is kept as {kept}.")
    for place, reasons in (
        ("moved to quarantine", imported.quarantined),
        ("left as it is", imported.refused),
        ("left as it is, the next start of the service tries it again", imported.postponed),
    ):
        for name, why in reasons.items():
            note(f"{name}: {place}: {why}")
