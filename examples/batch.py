"""A batch as people run them: checksums of all files under a folder, with progress, a report, and an early way out."""

import hashlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

from procdeck import progress, stop_requested, target

BLOCK = 1024 * 1024


class Algorithm(Enum):
    """The digests on offer; the values are hashlib's names."""

    SHA256 = "sha256"
    SHA512 = "sha512"
    BLAKE2 = "blake2b"


@dataclass(frozen=True)
class Selection:
    """Which files of a folder count: by name, by size in bytes, and whether those in subfolders do."""

    pattern: str = "*"
    subfolders: bool = True
    at_least: int = 0
    at_most: int | None = None


class StopRequested(Exception):
    """Somebody asked the batch to stop."""


@target
def checksums(
    folder: Annotated[Path, "Where to look, a folder on the server's machine"],
    algorithm: Algorithm = Algorithm.SHA256,
    selection: Selection = Selection(),
    report: Annotated[Path | None, "A file that gets the same lines as the log"] = None,
) -> dict[str, Any]:
    """Checksum every selected file, one line each, in the format of `sha256sum` and its kin.

    A file that can't be read is told on stderr and counted. Asked to stop, it ends within one block of a file, keeps
    what it has, and says so in its result.
    """
    files = sorted(_selected(folder, selection))
    lines, unreadable, stopped = [], 0, False
    for number, file in enumerate(files):
        progress(number / len(files), _name(file))
        try:
            lines.append(f"{_digest(file, algorithm)}  {_name(file)}")
            print(lines[-1])
        except OSError as error:
            unreadable += 1
            print(f"{_name(file)}: {error.strerror}", file=sys.stderr)
        except StopRequested:
            stopped = True
            break
    if report is not None:
        report.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    progress(len(lines) / len(files) if stopped else 1.0, "stopped" if stopped else "done")
    return {"files": len(files), "checked": len(lines), "unreadable": unreadable, "stopped": stopped}


def _selected(folder: Path, selection: Selection) -> Iterator[Path]:
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    found = folder.rglob(selection.pattern) if selection.subfolders else folder.glob(selection.pattern)
    return (path for path in found if _counts(path, selection))


def _counts(path: Path, selection: Selection) -> bool:
    try:
        # Links could lead in circles, and reading a pipe could take for ever.
        if path.is_symlink() or not path.is_file():
            return False
        size = path.stat().st_size
    except OSError:
        return True  # reading it will tell what is wrong
    return selection.at_least <= size and (selection.at_most is None or size <= selection.at_most)


def _name(file: Path) -> str:
    """The name as text that can be printed, whatever bytes it has."""
    return os.fsencode(file).decode(errors="backslashreplace")


def _digest(file: Path, algorithm: Algorithm) -> str:
    digest = hashlib.new(algorithm.value)
    with file.open("rb") as stream:
        while block := stream.read(BLOCK):
            if stop_requested():
                raise StopRequested
            digest.update(block)
    return digest.hexdigest()
