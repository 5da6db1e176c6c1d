"""What every command has in common: the options that say which service is meant, and how the service is found."""

import functools
import inspect
import json
import math
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

import typer

from app.cli import codes
from app.cli.client import JSON, Service, path_of
from app.cli.failure import Failure, Refused, Unreachable
from app.cli.output import note
from app.data_folder import ADDRESS, LOCK, TOKEN
from app.settings import Settings, is_loopback
from procdeck import posix
from procdeck.states import FINAL

RETRY_EVERY = 0.5
JOIN_STEP = 30.0
"""Seconds that one request of `join` waits at most: a connection that breaks unseen is noticed soon after."""

T = TypeVar("T")


@dataclass(frozen=True)
class Cli:
    """The common options, and the service that they mean."""

    url: str | None = None
    token: str | None = None
    data_dir: Path | None = None
    config: Path | None = None
    as_json: bool = False

    @cached_property
    def settings(self) -> Settings:
        """Settings as `procdeck serve` would have them here. Raises `app.errors.StartupError`."""
        return Settings.load({"data_dir": self.data_dir, "config": self.config}, os.environ, Path.cwd())

    def is_running(self) -> bool:
        """Whether a service holds the data folder."""
        try:
            return posix.is_locked(str(self.settings.data_dir / LOCK))
        except OSError as error:
            raise Failure(f"can't look into {self.settings.data_dir}: {error.strerror}", codes.NOT_ALLOWED) from error

    def service(self) -> Service:
        """The service, found anew each time, for it may have come back at another port. Raises Unreachable, Failure."""
        if self.url is not None:
            return Service(self.url, self.token or self._token_for(self.url))
        return Service(self._local_url(), self.token or self._local_token())

    def _local_url(self) -> str:
        folder = self.settings.data_dir
        if not self.is_running():
            raise Unreachable(
                f"no service runs on the data folder {folder}\n"
                f"  start one:     procdeck serve --data-dir {folder}\n"
                "  or name one:   --data-dir DIR or --url URL"
            )
        try:
            url: str = json.loads((folder / ADDRESS).read_text())["url"]
        except (OSError, ValueError, KeyError, TypeError):
            raise Unreachable(f"the service on {folder} is starting or ending; try again in a moment") from None
        return url

    def _local_token(self) -> str | None:
        path = self.settings.data_dir / TOKEN
        try:
            return path.read_text().strip()
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise Failure(f"can't read {path}: {error}", codes.NOT_ALLOWED) from error

    def _token_for(self, url: str) -> str | None:
        """The local token, when `url` is plainly the local service's: sent to others it would be given away."""
        try:
            given, local = urlsplit(url), urlsplit(self._local_url())
            is_local = is_loopback(given.hostname or "") and given.port == local.port
        except (Unreachable, ValueError):
            return None
        return self._local_token() if is_local else None

    def patiently(self, ask: Callable[[Service], T], deadline: float = math.inf) -> T:
        """`ask`, as often as it takes for a service to be there: one that restarts has not forgotten the process.

        After `deadline`, a time of `time.monotonic`, its absence is raised.
        """
        told = False
        while True:
            try:
                return ask(self.service())
            except (Unreachable, Refused) as error:
                if error.exit_code not in (codes.NO_SERVICE, codes.TRY_LATER) or time.monotonic() >= deadline:
                    raise
            if not told:
                note("the service is away; waiting for it to come back (Ctrl-C ends the waiting, not the process)")
                told = True
            time.sleep(RETRY_EVERY)

    def wait_until_over(self, process_id: str, timeout: float = math.inf) -> JSON:
        """The process once it is over, or when `timeout` seconds have passed."""
        deadline = time.monotonic() + timeout
        while True:
            asked_at = time.monotonic()
            step = max(0.0, min(JOIN_STEP, deadline - asked_at))
            process = self.patiently(functools.partial(_join, process_id=process_id, step=step), deadline)
            if is_over(process) or time.monotonic() >= deadline:
                return process
            if time.monotonic() - asked_at < step:
                time.sleep(RETRY_EVERY)  # it answered too soon: it is about to end


def _join(service: Service, *, process_id: str, step: float) -> JSON:
    process: JSON = service.post(path_of(process_id, "join"), timeout=step, patience=step + 30)
    return process


def is_over(process: Mapping[str, Any]) -> bool:
    """Whether no change of state can follow."""
    return process["state"] in FINAL


# --- declaring commands ------------------------------------------------------------------------------------------


def _option(kind: Any, *names: str, **more: Any) -> Any:
    return Annotated[kind, typer.Option(*names, rich_help_panel="Which service", **more)]


_COMMON: Mapping[str, tuple[Any, Any]] = {
    "as_json": (Annotated[bool, typer.Option("--json", help="Print JSON.")], False),
    "data_dir": (_option(Path | None, help="Data folder of a service on this machine; default as for `serve`."), None),
    "config": (_option(Path | None, help="Configuration file that names the data folder."), None),
    "url": (_option(str | None, envvar="PROCDECK_URL", help="Address of the service; default: the local one's."), None),
    "token": (
        _option(str | None, envvar="PROCDECK_TOKEN", help="Its token; default: the local one's. Safer as a variable."),
        None,
    ),
}

Command = Callable[..., None]


def add_command(app: typer.Typer, function: Command, name: str | None = None) -> None:
    """Add `function(cli, …)` as a command with the common options besides its own; its docstring is the help."""
    signature = inspect.signature(function)
    own = list(signature.parameters.values())[1:]

    def command(**given: Any) -> None:
        cli = Cli(**{option: given.pop(option) for option in _COMMON})
        with _prompt_ctrl_c():
            function(cli, **given)

    common = [_keyword(option, annotation, default) for option, (annotation, default) in _COMMON.items()]
    add_with_parameters(app, command, [*own, *common], name or function.__name__, function.__doc__)


@contextmanager
def _prompt_ctrl_c() -> Iterator[None]:
    """Wake up twice a second: a SIGINT that comes between the interpreter's look for signals and the read(2) after it
    would be noticed only when something is read, and who waits for a process may wait for long."""
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.5, 0.5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def add_with_parameters(
    app: typer.Typer, command: Command, parameters: list[inspect.Parameter], name: str, doc: str | None
) -> None:
    """Add `command`, which takes whatever keywords it is given, with these parameters in place of its own signature."""
    listed = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    command.__signature__ = inspect.Signature(listed)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in listed}
    # One line a paragraph: the help wraps them to the terminal, and would keep our own line breaks too.
    command.__doc__ = re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(doc or ""))
    app.command(name)(command)
