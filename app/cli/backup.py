"""`procdeck backup`: the data folder in one file, while the service runs or not."""

from pathlib import Path
from typing import Annotated

import typer

from app import units
from app.cli import codes
from app.cli.command import Cli, add_command
from app.cli.failure import Failure
from app.cli.output import note, print_json, say


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    add_command(app, backup)


def backup(
    cli: Cli,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; compressed when it ends in .gz or .tgz.")],
    no_logs: Annotated[bool, typer.Option("--no-logs", help="Leave out what the processes wrote.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
) -> None:
    """Write the record and the run folders into one tar file, whether or not the service runs.

    To restore it, unpack it into an empty folder and serve from there. What was alive is recorded as lost then. A
    record in PostgreSQL is not in it: pg_dump is for that.
    """
    from app.backup import CannotBackUp, back_up

    if cli.url is not None:
        raise Failure("a backup is made where the data folder is: --url has no meaning here", codes.USAGE)
    try:
        found, size = back_up(cli.settings, file, logs=not no_logs, force=force)
    except CannotBackUp as refusal:
        raise Failure(str(refusal)) from None
    except OSError as error:
        raise Failure(f"the backup could not be written: {error}", codes.SERVICE_FAILED) from error
    if cli.as_json:
        told = {"file": str(file), "size": size, "processes": found.processes, "bytes": found.bytes}
        print_json(told | {"has_record": found.has_record, "has_logs": not no_logs})
        return
    if not found.has_record:
        note(
            "the record is not in it: use pg_dump for one in PostgreSQL; what is in it is enough to make a record anew"
        )
    record = "the record and " if found.has_record else ""
    say(f"{file}: {record}{found.processes} run folder(s), {units.size(found.bytes)} in {units.size(size)}")
