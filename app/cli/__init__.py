"""The command line. `main` is the console script; one module a group of commands.

Commands that only talk to a running service import none of it: the REST client is the standard library's, so that
`procdeck ps` answers at once. What they need of the service (the settings, which say where the data folder is) imports
nothing beyond it.
"""

import sys

import typer

from app.cli import backup, doctor, logs, processes, prune, rebuild, run, serve, targets
from app.cli.failure import Failure
from app.cli.output import note
from app.startup_errors import StartupError


def make_app() -> typer.Typer:
    """The commands, in the order in which the help lists them."""
    app = typer.Typer(
        name="procdeck",
        help="Launch Python functions as child processes and watch over them.",
        no_args_is_help=True,
        # A traceback with the values of variables in it would show the token.
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for module in (serve, run, processes, logs, targets, prune, backup, rebuild, doctor):
        module.add_to(app)
    return app


def main() -> None:
    """Run the command that `sys.argv` asks for; ends by SystemExit with one of the codes of `app.cli.codes`."""
    try:
        make_app()(prog_name="procdeck")
    except Failure as failure:
        note(f"error: {failure}")
        sys.exit(failure.exit_code)
    except StartupError as error:
        note(f"error: {error}")
        sys.exit(error.exit_code)


__all__ = ["main"]
