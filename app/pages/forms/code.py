"""A launch as code: for the API from a shell and from Python, and the plain call of the function. Pure."""

import json
import pprint
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.arguments import MAX_DEPTH
from app.pages.forms.fields import JSON
from app.pages.forms.options import OPTIONS
from app.supervisor.launches import Launch

WIDTH = 88
MAX_SHOWN = 20_000
"""Characters of values, about, of which code is made: a page is no place for more of them."""
PER_ITEM = 6
"""Characters beside those of an item itself: brackets, a comma, the beginning of its line."""
CUT = "…"
"""In place of what is left out."""


def request_body(launch: Launch) -> JSON:
    """The launch as the body of `POST /processes`, without what is as it would be anyway."""
    plain = Launch(target=launch.target)
    names = ("args", "kwargs", *OPTIONS)
    return {"target": launch.target} | {
        name: getattr(launch, name) for name in names if getattr(launch, name) != getattr(plain, name)
    }


def shortened(launch: Launch) -> tuple[Launch, bool]:
    """The launch with as much of its values as is shown, and whether that is not all: a text, a list or an object ends
    with `CUT` then. So does one that is nested deeper than a launch may be."""
    room = _Room(MAX_SHOWN)
    names = ("args", "kwargs", "env", "labels")
    shown = {name: room.fitted(getattr(launch, name), -1) for name in names}
    return (replace(launch, **shown), True) if room.is_exceeded else (launch, False)


class _Room:
    """So many characters for values, which are given out in the order in which they are asked for."""

    def __init__(self, size: int) -> None:
        self._left = size
        self.is_exceeded = False

    def fitted(self, value: Any, depth: int) -> Any:
        """As much of a JSON value as there is room for."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list | dict):
            if depth >= MAX_DEPTH:
                return self._cut()
            return self._list(value, depth + 1) if isinstance(value, list) else self._object(value, depth + 1)
        self._left -= len(str(value))
        return value

    def _list(self, items: list[Any], depth: int) -> list[Any]:
        found: list[Any] = []
        for item in items:
            if self._left <= 0:
                return [*found, self._cut()]
            found.append(self.fitted(item, depth))
            self._left -= PER_ITEM
        return found

    def _object(self, members: JSON, depth: int) -> JSON:
        found: JSON = {}
        for key, value in members.items():
            if self._left <= 0:
                return {**found, CUT: self._cut()}
            found[self._text(key)] = self.fitted(value, depth)
            self._left -= PER_ITEM
        return found

    def _text(self, text: str) -> str:
        room = max(self._left, 0)
        self._left -= len(text) + len('""')
        return text if len(text) <= room else f"{text[:room]}{self._cut()}"

    def _cut(self) -> str:
        self.is_exceeded = True
        return CUT


def curl(launch: Launch, server_url: str, token_file: Path) -> str:
    """The same launch from a shell."""
    token = f'"Authorization: Bearer $(cat {_in_quotes(str(token_file))})"'
    body = json.dumps(request_body(launch), ensure_ascii=False)
    lines = (
        f"curl -X POST {shlex.quote(f'{server_url}/api/v1/processes')}",
        f"-H {token}",
        "-H 'Content-Type: application/json'",
        f"-d {shlex.quote(body)}",
    )
    return " \\\n  ".join(lines)


def _in_quotes(path: str) -> str:
    """A path inside of $() inside of double quotes."""
    return path if re.fullmatch(r"[\w@%+=:,./-]+", path, re.ASCII) else shlex.quote(path)


def httpx_code(launch: Launch, server_url: str, token_file: Path) -> str:
    """The same launch from Python, over the API."""
    return f"""from pathlib import Path

import httpx

token = Path({str(token_file)!r}).read_text().strip()
body = {_literal(request_body(launch))}
answer = httpx.post(
    {f"{server_url}/api/v1/processes"!r},
    headers={{"Authorization": f"Bearer {{token}}"}},
    json=body,
    timeout=30,
)
answer.raise_for_status()
print(answer.json()["id"])
"""


def _literal(value: Any) -> str:
    return pprint.pformat(value, width=WIDTH, sort_dicts=False)


# --- the call itself ---------------------------------------------------------------------------------------------


def python(launch: Launch, entry: Mapping[str, Any]) -> str:
    """The call of the function itself, in the interpreter that runs the code, without a process of its own.

    ``entry`` is the target's in the catalogue. Annotated arguments become what the annotations ask for, as they do in
    a launch.
    """
    if entry["kind"] == "command":
        return _command(launch, entry)
    module, _, qualname = str(entry["name"]).partition(":")
    module = str(entry.get("module") or module)
    folder = _folder(module, entry.get("source"))
    where = ["import sys", ""] if folder else []
    lines = [*where, *([f"sys.path.insert(0, {folder!r})"] if folder else []), *_imported(module, qualname)]
    result = "{}.run()" if entry["kind"] == "process" else "{}"
    if _is_plain(launch, entry["parameters"]):
        call = f"{qualname}({_arguments(launch.args, launch.kwargs)})"
        return "\n".join([*lines, "", result.format(call), ""])
    lines.insert(len(where), "from procdeck.schema import convert_arguments")
    convert = f"args, kwargs = convert_arguments(\n    {qualname},\n    {launch.args!r},\n    {launch.kwargs!r},\n)"
    return "\n".join([*lines, "", convert, result.format(f"{qualname}(*args, **kwargs)"), ""])


def _imported(module: str, qualname: str) -> list[str]:
    first = qualname.partition(".")[0]
    if all(part.isidentifier() for part in module.split(".")):
        return [f"from {module} import {first}"]
    return ["import importlib", f"{first} = importlib.import_module({module!r}).{first}"]


def _folder(module: str, source: Mapping[str, Any] | None) -> str:
    """Where the module is found; empty where its file does not tell."""
    file = (source or {}).get("file") or ""
    parts = module.split(".")
    for end in (f"/{'/'.join(parts)}.py", f"/{'/'.join(parts)}/__init__.py"):
        if file.startswith("/") and file.endswith(end):
            return str(file[: -len(end)] or "/")
    return ""


def _arguments(args: Iterable[Any], kwargs: Mapping[str, Any]) -> str:
    named = {name: value for name, value in kwargs.items() if name.isidentifier()}
    others = {name: value for name, value in kwargs.items() if name not in named}
    words = [repr(value) for value in args] + [f"{name}={value!r}" for name, value in named.items()]
    words += [f"**{others!r}"] if others else []
    text = ", ".join(words)
    return text if len(text) <= WIDTH - 20 and "\n" not in text else "\n    " + ",\n    ".join(words) + ",\n"


_PLAIN = ("integer", "number", "string", "boolean", "null")


def _is_plain(launch: Launch, parameters: JSON) -> bool:
    """Whether all that is given goes to the function as JSON has it."""
    known = {
        name: schema.get("items", {}) if schema.get("x-kind") == "var_positional" else schema
        for name, schema in parameters.get("properties", {}).items()
    }
    given = set(list(known)[: len(launch.args)]) | launch.kwargs.keys()
    other = parameters.get("additionalProperties")
    return all(_is_as_json(known.get(name, other if isinstance(other, dict) else {})) for name in given)


def _is_as_json(schema: JSON) -> bool:
    inner = {key: value for key, value in schema.items() if not key.startswith("x-") or key in ("x-names", "x-unit")}
    if "anyOf" in inner:
        return all(_is_as_json(branch) for branch in inner["anyOf"])
    if "x-names" in inner or "format" in inner or "x-unit" in inner:
        return False
    if "enum" in inner:
        return True  # a Literal: its values are JSON's
    return inner.get("type") in _PLAIN or not inner.keys() & {"type", "enum"} or _is_open(inner)


def _is_open(schema: JSON) -> bool:
    """An object that stays one; of an array nobody knows whether it becomes a list, a tuple or a set."""
    if schema.get("type") != "object" or "properties" in schema or "title" in schema:
        return False
    return _is_as_json(schema.get("additionalProperties") or {})


def _command(launch: Launch, entry: Mapping[str, Any]) -> str:
    words = [*entry["run"], *map(str, launch.args)]
    env = {**entry.get("env", {}), **launch.env}
    more = [f"cwd={launch.cwd or entry.get('cwd')!r}"] if launch.cwd or entry.get("cwd") else []
    more += [f"env={{**os.environ, **{env!r}}}"] if env else []
    lines = ["import os", "import subprocess"] if env else ["import subprocess"]
    return "\n".join([*lines, "", f"subprocess.run({', '.join([repr(words), *more, 'check=True'])})", ""])
