"""What can be launched: the entries of all launchers and the commands of the settings, by name."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.settings import CommandSettings

Entry = dict[str, Any]

COMMAND_PARAMETERS: Entry = {
    "type": "object",
    "properties": {"args": {"type": "array", "items": {"type": "string"}, "x-kind": "var_positional"}},
    "required": [],
    "additionalProperties": False,
}
"""A command takes any number of texts behind those of its definition."""


class Catalogue:
    """The registered targets.

    A name that two environments give is the first one's, in the order of ``environments``, whichever is ready first;
    the other's entry is shown beside it, and says so.
    """

    def __init__(self, commands: Mapping[str, CommandSettings], environments: Sequence[str] = ()) -> None:
        self._commands = [_command(name, command) for name, command in commands.items()]
        self._by_environment: dict[str, list[Entry]] = {name: [] for name in environments}
        self._by_name: dict[str, Entry] = {}
        self._index()

    def replace(self, environment: str, entries: Sequence[Entry]) -> None:
        """Set all entries of an environment, after its launcher was (re)loaded."""
        self._by_environment[environment] = [{**entry, "environment": environment} for entry in entries]
        self._index()

    def _index(self) -> None:
        self._by_name = {}
        for entry in self._commands + [entry for entries in self._by_environment.values() for entry in entries]:
            first = self._by_name.setdefault(entry["name"], entry)
            if first is not entry:
                other = f"{entry['name']} ({entry['environment']})"
                taken = f"the environment {first['environment']!r} has a target of this name; rename one of the modules"
                self._by_name[other] = {**entry, "name": other, "error": entry.get("error") or taken}

    def items(self) -> list[Entry]:
        """All entries, by name; modules that failed to import are entries too, with their error."""
        return [self._by_name[name] for name in sorted(self._by_name)]

    def get(self, name: str) -> Entry | None:
        """The entry of exactly this name."""
        return self._by_name.get(name)


def _command(name: str, command: CommandSettings) -> Entry:
    return {
        "name": name,
        "module": "",
        "environment": "default",
        "kind": "command",
        "doc": command.doc or "",
        "signature": "(*args: str)",
        "parameters": COMMAND_PARAMETERS,
        "preloaded": False,
        "error": None,
        "source": None,
        "fingerprint": None,
        "warnings": [],
        "run": list(command.run),
        "env": dict(command.env),
        "cwd": str(command.cwd) if command.cwd else None,
    }
