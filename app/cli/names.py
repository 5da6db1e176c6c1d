"""Which process a word on the command line means: its id, number, name, or the beginning or end of its id."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from app.cli.client import JSON, Service, path_of
from app.cli.failure import Failure
from app.cli.output import clean

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PART_OF_ID = re.compile(r"[0-9a-f-]{4,35}")
PAGE = 500


def find(service: Service, word: str) -> JSON:
    """The process that `word` means. A number is looked for first, then a name, then a part of an id.

    Raises Failure when there is none, or more than one.
    """
    if _ID.fullmatch(word.lower()):
        process: JSON = service.get(path_of(word.lower()))
        return process
    number = word.removeprefix("#")
    if number.isascii() and number.isdigit() and (found := _numbered(every(service), int(number))):
        return found
    if named := service.get("/processes", name=word, limit=10)["items"]:
        return only(word, named)
    part = word.lower()
    return only(word, of_part(every(service), part) if _PART_OF_ID.fullmatch(part) else [])


def every(service: Service, **query: Any) -> Iterator[JSON]:
    """All processes that fit, newest first, fetched page by page as they are asked for."""
    cursor = None
    while True:
        page = service.get("/processes", **query, limit=PAGE, cursor=cursor)
        yield from page["items"]
        cursor = page["next"]
        if cursor is None:
            return


def _numbered(newest_first: Iterable[JSON], number: int) -> JSON | None:
    """The process of this number; none is looked at that is older."""
    for process in newest_first:
        if process["number"] <= number:
            return process if process["number"] == number else None
    return None


def of_part(processes: Iterable[JSON], part: str) -> list[JSON]:
    """Those whose id begins or ends so."""
    return [process for process in processes if process["id"].startswith(part) or process["id"].endswith(part)]


def only(word: str, found: list[JSON]) -> JSON:
    """The one that was found. Raises Failure, which names the others when there are some."""
    if len(found) == 1:
        return found[0]
    if not found:
        raise Failure(f"there is no process {word!r} (a number, a name, or an id or four or more characters of it)")
    some = ", ".join(map(title, found[:5])) + (" …" if len(found) > 5 else "")
    raise Failure(f"{word!r} may be any of {some}; give the number")


def title(process: Mapping[str, Any]) -> str:
    """How a process is named to people: its number and name."""
    return clean(f"{process['number']} ({process['name']})")
