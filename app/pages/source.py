"""The source text of a target, read from its file by the service, which never imports it."""

import inspect
import stat
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

MAX_FILE = 2 * 1024 * 1024
MAX_TEXT = 20_000
MAX_LINES = 400


@dataclass(frozen=True, slots=True)
class Source:
    """Where a target is written, and the lines of it; `text` is empty and `why_not` says why when they can't be
    shown."""

    file: str
    line: int
    text: str = ""
    why_not: str = ""


def source_of(entry: Mapping[str, Any]) -> Source | None:
    """The source of a target of the catalogue; None when it is not known. Blocks while it reads the file."""
    place = entry.get("source")
    if not place or not place.get("file") or not place.get("line"):
        return None
    file, line = str(place["file"]), int(place["line"])
    if entry.get("fingerprint") is None:
        return Source(file, line)
    try:
        content = _content(Path(file))
    except OSError as error:
        return Source(file, line, why_not=f"The file can't be read: {error.strerror or error}.")
    if content is None:
        return Source(file, line)
    if sha256(content).hexdigest() != entry["fingerprint"]:
        # It may also be another file than the module's own, which nobody has taken the fingerprint of.
        why = "The file is not, or no longer, the one that was imported; Reload on the page of all targets reads it."
        return Source(file, line, why_not=why)
    return Source(file, line, text=_block(content.decode("utf-8", "replace"), line))


def _content(path: Path) -> bytes | None:
    """The content of a Python file; None for what is none, or too large."""
    if path.suffix not in (".py", ".pyw"):
        return None
    status = path.stat()
    return path.read_bytes() if stat.S_ISREG(status.st_mode) and status.st_size <= MAX_FILE else None


def _block(text: str, line: int) -> str:
    """The definition that begins at a line, decorators included."""
    lines = text.splitlines(keepends=True)[line - 1 :]
    try:
        found = "".join(inspect.getblock(lines))
    except (SyntaxError, tokenize.TokenError):
        return ""
    if len(found) > MAX_TEXT or found.count("\n") > MAX_LINES:
        found = "".join(found[:MAX_TEXT].splitlines(keepends=True)[:MAX_LINES]) + "…\n"
    return found
