"""`procdeck serve`: every setting is a flag, made from the table of settings."""

import inspect
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.command import add_with_parameters
from app.settings import Setting, Settings, settings_table
from app.startup_errors import BadConfig
from procdeck import failpoints


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    parameters = [_parameter(row) for row in settings_table()]
    add_with_parameters(app, serve, parameters, "serve", serve.__doc__)


def serve(**flags: Any) -> None:
    """Serve the page, the API and the processes, until SIGTERM or Ctrl-C.

    A flag stands over its environment variable, that over procdeck.toml, that over the default.
    """
    from app.server import serve as run_service

    _arm_fail_points()
    settings = Settings.load({name: _joined(name, value) for name, value in flags.items()}, os.environ, Path.cwd())
    raise typer.Exit(run_service(settings))


def _arm_fail_points() -> None:
    """What a test asks of this service and of its launchers. Raises BadConfig."""
    try:
        failpoints.arm(os.environ.get(failpoints.VARIABLE, ""), os.environ.get(failpoints.FOLDER))
    except ValueError as error:
        raise BadConfig(f"{failpoints.VARIABLE}: {error}") from None


def _joined(name: str, value: Any) -> Any:
    """A list may be given as in a variable, with commas, or by repeating the flag; targets are words of their own."""
    return ",".join(value) if isinstance(value, list) and name != "targets" else value


def _parameter(row: Setting) -> inspect.Parameter:
    about = f"{row.about.help} [{row.variable}{_default(row)}]"
    if row.name == "targets":
        about = f"{row.about.help} Default: the bundled examples. [{row.variable}]"
        annotation: Any = Annotated[list[str] | None, typer.Argument(metavar="TARGETS", help=about, show_default=False)]
    elif row.type is bool:
        names = row.flag if row.name.startswith("no_") else f"{row.flag}/--no-{row.flag.removeprefix('--')}"
        annotation = Annotated[bool | None, typer.Option(names, help=about, show_default=False)]
    elif row.type == tuple[str, ...]:
        annotation = Annotated[
            list[str] | None, typer.Option(row.flag, metavar="TEXT,…", help=about, show_default=False)
        ]
    else:
        words = row.kind.name.split(", ")
        metavar = "|".join(words) if words[1:] else words[0].split()[-1].upper()
        annotation = Annotated[str | None, typer.Option(row.flag, metavar=metavar, help=about, show_default=False)]
    return inspect.Parameter(row.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _default(row: Setting) -> str:
    if row.default in (None, (), False):
        return ""
    return f"; default: {'on' if row.default is True else row.default}"
