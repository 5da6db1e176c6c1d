"""`procdeck doctor`: is this machine, this data folder and this configuration fit for the service, and how is it?"""

import json
import shutil
import sys
import tempfile
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from app.cli import codes
from app.cli.client import JSON
from app.cli.command import Cli, add_command
from app.cli.failure import Failure
from app.cli.output import clean, print_json
from app.data_folder import ADDRESS
from app.startup_errors import StartupError

LEAST_WIDTH = 60


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    add_command(app, doctor)


def doctor(cli: Cli) -> None:
    """Check the data folder, the machine's limits, the targets and the running service.

    Each line says what a finding means and what to do about it. The exit code is 1 when there is a problem.
    """
    from app.health.doctor import Level

    findings = list(_findings(cli))
    if cli.as_json:
        print_json({"findings": [asdict(finding) for finding in findings]})
    else:
        _print(findings)
    if any(finding.level is Level.PROBLEM for finding in findings):
        raise typer.Exit(codes.PROBLEM)


def _findings(cli: Cli) -> Iterator[Any]:
    # Imported here, as all that is of the service's own: other commands need not wait for it.
    from app.health import doctor, host
    from app.version import VERSION

    settings = cli.settings
    yield from doctor.examine_machine(settings)
    yield doctor.judge_first_process(host.first_process(), _service_pid(settings.data_dir))
    try:
        is_running, told, error = _told(cli)
    except Failure as failure:  # not even its lock can be looked at
        yield doctor.problem("service", str(failure))
        return
    yield from doctor.judge_service(is_running, told, error, VERSION)
    yield from doctor.judge_targets(_targets(cli, told is not None))


def _service_pid(data_dir: Path) -> int | None:
    try:
        pid: int = json.loads((data_dir / ADDRESS).read_text())["pid"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return pid


def _told(cli: Cli) -> tuple[bool, JSON | None, str]:
    """Whether a service is there; what it says of itself, or why it does not. Raises Failure."""
    if cli.url is None and not cli.is_running():
        return False, None, ""
    try:
        told: JSON = cli.service().get("/service")
    except Failure as failure:
        return True, None, str(failure)
    return True, told, ""


def _targets(cli: Cli, is_answering: bool) -> list[JSON]:
    """The catalogue of the service, or of launchers that are started for it when there is none."""
    from app.health.doctor import offline_targets
    from app.resources import resource_dir

    if is_answering:
        items: list[JSON] = cli.service().get("/targets")["items"]
        return items
    with tempfile.TemporaryDirectory(prefix="procdeck-doctor-") as folder:
        try:
            return [
                dict(entry) for entry in offline_targets(cli.settings, (str(resource_dir("examples")),), Path(folder))
            ]
        except StartupError as error:
            return [{"name": "the configuration", "error": str(error)}]


def _print(findings: list[Any]) -> None:
    columns = max(len(finding.name) for finding in findings)
    width = max(LEAST_WIDTH, shutil.get_terminal_size().columns) if sys.stdout.isatty() else 0
    for finding in findings:
        begin = f"{finding.level:<8} {clean(finding.name):<{columns}}  "
        text = begin + clean(finding.sentence)
        print(textwrap.fill(text, width, subsequent_indent=" " * len(begin)) if width else text)
    counts = Counter(finding.level for finding in findings)
    said = [f"{counts[level]} {level}{'s' * (counts[level] != 1)}" for level in ("problem", "warning", "note")]
    print(f"\n{', '.join(said)}")
