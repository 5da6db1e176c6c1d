"""The Dockerfile and the compose file as data, for the tests that check them and the one that runs what they say."""

import json
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parent.parent


class Instruction(NamedTuple):
    """One instruction of the Dockerfile: its stage (counted from 0), its word, and what follows, on one line."""

    stage: int
    word: str
    argument: str


def dockerfile() -> list[Instruction]:
    """The Dockerfile's instructions in order, continued lines joined, comments left out."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    instructions: list[Instruction] = []
    stage = -1
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        if line.strip():
            word, _, argument = line.partition(" ")
            stage += word == "FROM"
            instructions.append(Instruction(stage, word, argument.strip()))
    return instructions


def image_arguments(word: str) -> list[str]:
    """The arguments of each `word` in the last stage, which is the image."""
    instructions = dockerfile()
    return [i.argument for i in instructions if i.word == word and i.stage == instructions[-1].stage]


def image_environment() -> dict[str, str]:
    """What ENV sets in the image."""
    return dict(pair.split("=", 1) for line in image_arguments("ENV") for pair in shlex.split(line))


def entry_point() -> list[str]:
    """ENTRYPOINT and CMD: the command line of the container."""
    [entry] = image_arguments("ENTRYPOINT")
    [command] = image_arguments("CMD")
    return [*json.loads(entry), *json.loads(command)]


def compose() -> dict[str, Any]:
    """The compose file with its variables at their defaults."""
    text = re.sub(r"\$\{\w+:-([^}]*)}", r"\1", (ROOT / "docker-compose.yml").read_text())
    assert "${" not in text, "a variable of the compose file has no default"
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def compose_service() -> dict[str, Any]:
    """The one service of the compose file."""
    [service] = compose()["services"].values()
    assert isinstance(service, dict)
    return service


def seconds(duration: str) -> float:
    """Compose's `1m30s` in seconds."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0}
    assert re.fullmatch(r"(\d+[hms])+", duration), duration
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([hms])", duration))
