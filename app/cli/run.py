"""`procdeck run`: launch a target."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import typer

from app.cli import codes
from app.cli.client import JSON, Service
from app.cli.command import Cli, add_command
from app.cli.failure import Failure
from app.cli.logs import Writer, follow_log
from app.cli.names import title
from app.cli.output import note, print_json, say
from app.cli.words import bind

START_PATIENCE = 120.0
"""Seconds that a launch may take to be answered: its launcher may have to import the targets first."""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    add_command(app, run)


def run(
    cli: Cli,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="A name that `procdeck targets` lists.")],
    args: Annotated[list[str] | None, typer.Argument(metavar="ARGS", help="Values, and NAME=VALUE.")] = None,
    kwarg: Annotated[
        list[str] | None, typer.Option("--kwarg", "-k", metavar="NAME=JSON", help="A keyword argument of any name.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the process.")] = None,
    daemon: Annotated[bool | None, typer.Option("--daemon/--no-daemon", help="End it when the service ends.")] = None,
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="Time limit.")] = None,
    grace: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Between asking it to end and SIGKILL.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option("--label", "-l", metavar="KEY=VALUE")] = None,
    env: Annotated[list[str] | None, typer.Option("--env", "-e", metavar="NAME=VALUE")] = None,
    cwd: Annotated[str | None, typer.Option(metavar="DIR", help="Working folder, on the service's machine.")] = None,
    start_method: Annotated[Literal["fork", "spawn", "forkserver"] | None, typer.Option()] = None,
    log_level: Annotated[
        str | None, typer.Option(metavar="DEBUG|INFO|…", help="Level of multiprocessing's logger, on stderr.")
    ] = None,
    no_start: Annotated[bool, typer.Option("--no-start", help="Only create it; `procdeck start` starts it.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Show its output until it is over, and end with its exit code.")
    ] = False,
) -> None:
    """Launch a target; its id on stdout.

    A value is read as JSON where the parameter takes what that gives, else it is text: 3 is a number for an int and
    text for a str. NAME=VALUE is a keyword argument if the target has a parameter of that name, else a positional text.
    Values that begin with a dash come after --, which ends the options: `procdeck run jobs:add -- -1 2`.

    With --follow the exit code is that of the process, 128+N if signal N ended it, 125 if it can't be known, 126 if it
    was never started. Ctrl-C then ends the following, not the process.
    """
    if follow and (cli.as_json or no_start):
        raise Failure(f"--follow and {'--json' if cli.as_json else '--no-start'} exclude each other", codes.USAGE)
    service = cli.service()
    given, named = bind(args or [], kwarg or [], parameters_of(service, target))
    body = {
        "target": target,
        "args": given,
        "kwargs": named,
        "name": name,
        "daemon": daemon,
        "start": not no_start,
        "start_method": start_method,
        "timeout": timeout,
        "grace": grace,
        "labels": _pairs(label or []),
        "env": _pairs(env or []),
        "cwd": cwd,
        "log_level": log_level and log_level.upper(),
    }
    asked = {key: value for key, value in body.items() if value is not None}
    process: JSON = service.post("/processes", asked, patience=START_PATIENCE)
    if follow:
        finish(follow_log(cli, process, Writer()))
    show_launched(cli, process)


def parameters_of(service: Service, target: str) -> dict[str, Any]:
    """The JSON Schema of a target's arguments. Raises Failure for an unknown target."""
    from urllib.parse import quote

    parameters: dict[str, Any] = service.get(f"/targets/{quote(target, safe='')}")["parameters"]
    return parameters


def _pairs(words: Sequence[str]) -> dict[str, str]:
    """KEY=VALUE each; a word without a value is a key with an empty one."""
    return {key: value for key, _, value in (word.partition("=") for word in words)}


def show_launched(cli: Cli, process: JSON) -> None:
    """Say what was launched: the id for scripts, the rest for people."""
    if cli.as_json:
        print_json(process)
    else:
        say(process["id"])
    if process["outcome"] == "not_started":
        finish(process)
    if not cli.as_json:
        note(f"{title(process)} is {process['state']}")


def finish(process: JSON) -> None:
    """End with the code of a process that is over; if it is not 0, say why."""
    code = codes.of_process(process)
    if code:
        note(f"{title(process)}: {process['exit_summary']}")
    raise typer.Exit(code)
