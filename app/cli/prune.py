"""`procdeck prune`: remove finished processes that are no longer to be kept, with or without a service."""

import re
from typing import Annotated

import typer

from app import units
from app.cli import codes, output
from app.cli.client import JSON
from app.cli.command import Cli, add_command
from app.cli.failure import Failure
from app.cli.output import note, print_json, say, table

PATIENCE = 24 * 3600.0
"""Seconds that it may take: a million records are not removed in a minute."""
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    add_command(app, prune)


def prune(
    cli: Cli,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only tell which; remove nothing.")] = False,
    older_than: Annotated[float | None, typer.Option(metavar="DAYS", help="Those that ended longer ago.")] = None,
    keep_per_target: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Keep so many of each target; the oldest go.")
    ] = None,
    keep_bytes: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Keep so many bytes (500M, 20G); the oldest go.")
    ] = None,
    target: Annotated[str | None, typer.Option(metavar="TARGET", help="Only processes of this target.")] = None,
) -> None:
    """Remove finished processes, record and log.

    Without a limit those of the settings hold (keep_days, keep_per_target, keep_bytes); without any at all nothing is
    removed. What is alive, queued or only created is never touched.
    """
    if older_than is not None and not 0 < older_than <= 36500:
        raise Failure("--older-than must be a number of days above 0", codes.USAGE)
    size = None if keep_bytes is None else parse_size(keep_bytes)
    asked = {"older_than_days": older_than, "keep_per_target": keep_per_target, "keep_bytes": size, "target": target}
    body: JSON = {name: value for name, value in asked.items() if value is not None} | {"dry_run": dry_run}
    if cli.url is not None or cli.is_running():
        pruned = cli.service().post("/prune", body, patience=PATIENCE)
    else:
        from app.cli.offline_prune import prune as prune_offline

        note(f"no service runs on {cli.settings.data_dir}; looking at its record")
        pruned = prune_offline(cli.settings, body)
    if cli.as_json:
        print_json(pruned)
    else:
        _tell(pruned)


def parse_size(text: str) -> int:
    """The bytes that `500M`, `1.5 GiB` or `1048576` mean; units are powers of 1024. Raises Failure."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    size = int(float(found[1]) * _UNITS[found[2].upper()]) if found else 0
    if not 1 <= size < 2**63:
        raise Failure(f"{text!r} is not a size, such as 500M or 20G", codes.USAGE)
    return size


def _tell(pruned: JSON) -> None:
    if pruned["items"]:
        columns = ("NO", "NAME", "TARGET", "STOPPED", "SIZE", "FOR ITS")
        table(columns, map(_row, pruned["items"]), right=("NO", "SIZE"), cut="TARGET")
    if len(pruned["items"]) < pruned["count"]:
        say(f"… and {pruned['count'] - len(pruned['items'])} more")
    done = "would be removed" if pruned["dry_run"] else "removed"
    say(f"{pruned['count']} finished process(es) {done}, {units.size(pruned['bytes'])}")


def _row(item: JSON) -> tuple[str, ...]:
    stopped = output.moment(item["stopped_at"])
    return (str(item["number"]), item["name"], item["target"], stopped, units.size(item["bytes"]), item["reason"])
