"""What can be launched; and the way into the page."""

from typing import Annotated

import typer

from app.cli.client import JSON
from app.cli.command import Cli, add_command
from app.cli.output import note, print_json, say, shortened, table


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    add_command(app, targets)
    add_command(app, login)


def targets(
    cli: Cli,
    reload: Annotated[bool, typer.Option("--reload", help="Import all target modules anew first.")] = False,
) -> None:
    """List what can be launched, and the modules that could not be imported."""
    service = cli.service()
    answer = service.post("/targets/reload", patience=300) if reload else service.get("/targets")
    if cli.as_json:
        print_json(answer["items"])
        return
    table(("TARGET", "SIGNATURE", "WHAT IT DOES"), map(_row, answer["items"]), cut="WHAT IT DOES")
    for entry in answer["items"]:
        if entry["error"]:
            note(f"{entry['name']}: {entry['error'].strip()}")


def _row(entry: JSON) -> tuple[str, str, str]:
    if entry["error"]:
        return entry["name"], "", f"error: {entry['error'].strip().splitlines()[-1]}"
    return entry["name"], shortened(entry["signature"]), (entry["doc"].strip().splitlines() or [""])[0]


def login(cli: Cli) -> None:
    """Print a link that signs a browser in: once, within ten minutes."""
    link: JSON = cli.service().post("/login-links")
    if cli.as_json:
        print_json(link)
    else:
        say(link["url"])
