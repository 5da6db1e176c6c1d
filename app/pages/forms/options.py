"""The options that every launch has: its name, the daemon flag, limits, environment, labels. Pure."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from app.pages.forms import durations, values
from app.pages.forms.fields import JSON
from app.pages.forms.values import Wrong

Typed = Mapping[str, str]

MAX_NAME = 200
MAX_SECONDS = 10 * 365 * 86400.0
"""Ten years: longer ones are mistakes."""

START_METHODS = ("fork", "spawn", "forkserver")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LEFTOVERS = ("end", "keep")

OPTIONS = (
    "name", "daemon", "start", "timeout", "grace", "start_method", "log_level", "leftovers", "env", "cwd", "labels",
)  # fmt: skip


def option_key(name: str) -> str:
    """Where errors of an option stand: a target may have a parameter of the same name."""
    return f"option-{name}"


FRESH = {"start": "yes", "start_method": "fork", "leftovers": "end"}
"""The options of a form that nobody has typed into."""


def options(typed: Typed) -> tuple[JSON, dict[str, str]]:
    """The options as `Launch` takes them, and what is wrong with them by `option_key`."""
    readers: dict[str, Callable[[str], Any]] = {
        "name": lambda text: _read_name(text.strip()),
        "daemon": lambda text: {"": None, "yes": True, "no": False}[text],
        "timeout": lambda text: _read_seconds(text.strip(), above_zero=True),
        "grace": lambda text: _read_seconds(text.strip(), above_zero=False),
        "start_method": lambda text: _one_of(text or "fork", START_METHODS),
        "log_level": lambda text: _one_of(text, LOG_LEVELS) if text else None,
        "leftovers": lambda text: _one_of(text or "end", LEFTOVERS),
        "env": lambda text: _read_pairs(text, "variable"),
        "cwd": lambda text: _read_folder(text.strip()),
        "labels": lambda text: _read_pairs(text, "label"),
    }
    found: JSON = {"start": typed.get("start") == "yes"}
    errors: dict[str, str] = {}
    for name, read in readers.items():
        try:
            found[name] = read(_no_nul(typed.get(name, "")))
        except Wrong as error:
            errors[option_key(name)] = str(error)
        except KeyError:
            errors[option_key(name)] = "must be one of those offered"
    return found, errors


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise Wrong("must not hold a NUL character")
    return text


def _read_name(text: str) -> str | None:
    if len(text) > MAX_NAME:
        raise Wrong(f"must have at most {MAX_NAME} characters")
    return text or None


def _read_seconds(text: str, *, above_zero: bool) -> float | None:
    if not text:
        return None
    number = float(values.duration(text))
    if not 0 <= number <= MAX_SECONDS or (above_zero and number == 0):
        raise Wrong(f"must be a time {'above 0' if above_zero else 'from 0'} up to ten years")
    return number


def _one_of(text: str, words: tuple[str, ...]) -> str:
    if text not in words:
        raise Wrong(f"must be one of {', '.join(words)}")
    return text


def _read_folder(text: str) -> str | None:
    if text and not Path(text).is_absolute():
        raise Wrong("must be an absolute path: it begins with /")
    return text or None


def _read_pairs(text: str, what: str) -> dict[str, str]:
    """Lines `NAME=value`, or a JSON object of texts, which can hold what lines can't."""
    found = _object_of_texts(text, what) if text.lstrip().startswith("{") else _lines(text, what)
    for name, value in found.items():
        if len(name) > MAX_NAME or (what == "label" and len(value) > MAX_NAME):
            raise Wrong(f"has too long a {what}, {values.shown(name)}: at most {MAX_NAME} characters")
    if what == "label" and len(found) > 50:
        raise Wrong("must be at most 50 labels")
    return found


def _lines(text: str, what: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        if not line.strip():
            continue
        name, equals, value = line.partition("=")
        name = name.strip()
        if not name or not equals:
            raise Wrong(f"must have one NAME=value a line; line {number} has not")
        if name in found:
            raise Wrong(f"has the {what} {name!r} twice")
        found[name] = value
    return found


def _object_of_texts(text: str, what: str) -> dict[str, str]:
    value = values.json_value(text)
    if not isinstance(value, dict) or not all(isinstance(inner, str) for inner in value.values()):
        raise Wrong(f"must be a JSON object whose values are texts, or one {what} a line")
    return value


def typed_options(spec: Mapping[str, Any], number: int | None = None) -> dict[str, str]:
    """The options of a launch as if they had been typed; a name that was only counted (`Process-7`) is left out."""
    name = str(spec["name"])
    is_counted = number is not None and name.endswith(f"-{number}")
    typed = {
        "name": "" if is_counted else name,
        "daemon": "yes" if spec["daemon"] else "no",
        "start": "yes",
        "start_method": str(spec["start_method"]),
        "leftovers": str(spec["leftovers"]),
        "log_level": spec["log_level"] or "",
        "cwd": spec["cwd"] or "",
        "env": _typed_pairs(spec["env"]),
        "labels": _typed_pairs(spec["labels"]),
    }
    times = {name: durations.written(spec[name]) for name in ("timeout", "grace") if spec[name] is not None}
    return typed | times


def _typed_pairs(pairs: Mapping[str, str]) -> str:
    text = "\n".join(f"{name}={value}" for name, value in pairs.items())
    try:
        is_sound = _read_pairs(text, "variable") == pairs and "\r" not in text
    except Wrong:
        is_sound = False
    return text if is_sound else json.dumps(pairs, indent=2, ensure_ascii=False)
