"""What ends a command: a text for a person, and an exit code for a script."""

from collections.abc import Mapping
from typing import Any

from app.cli import codes


class Failure(Exception):
    """The command can't do what was asked; printed as "error: TEXT", without a traceback."""

    def __init__(self, text: str, exit_code: int = codes.REFUSED) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class Refused(Failure):
    """The service answered with a problem (RFC 9457)."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(_told(problem), codes.of_status(status))
        self.status = status


class Unreachable(Failure):
    """No service answers; it may come back."""

    def __init__(self, text: str) -> None:
        super().__init__(text, codes.NO_SERVICE)


def _told(problem: Mapping[str, Any]) -> str:
    """ "title: detail", and a line for each field."""
    parts = [str(part) for part in (problem.get("title"), problem.get("detail")) if part]
    fields = [f"  {error.get('field')}: {error.get('message')}" for error in problem.get("errors", ())]
    return "\n".join([": ".join(parts), *fields])
