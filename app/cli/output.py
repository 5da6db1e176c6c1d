"""What people and scripts see: JSON, notes, tables."""

import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any


def print_json(value: Any) -> None:
    """For scripts: indented JSON on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def say(text: str) -> None:
    """A line on stdout."""
    print(_printable_lines(text), flush=True)


def note(text: str) -> None:
    """A line on stderr: errors, and what is not the result of the command."""
    print(_printable_lines(text), file=sys.stderr, flush=True)


def _printable_lines(text: str) -> str:
    return "\n".join(map(clean, text.split("\n")))


def clean(text: str) -> str:
    """`text` without what a terminal would obey: names, arguments and messages are other people's."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = (), cut: str = "") -> None:
    """A table on stdout; the columns named in `right` hold numbers.

    On a terminal the column `cut` gives way when the line is too narrow; elsewhere nothing is cut off.
    """
    # Imported here: it takes as long as all else in a short command.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [[clean(cell) for cell in row] for row in rows]
    on_terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if on_terminal else 10_000
    if cut in columns:
        room = width - sum(_width(cells, columns, i) + 2 for i, name in enumerate(columns) if name != cut)
        _cut(cells, columns.index(cut), max(room, MIN_CUT))
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        shown.add_column(name, justify="right" if name in right else "left", no_wrap=True, overflow="ellipsis")
    for row in cells:
        shown.add_row(*map(Text, row))
    Console(width=width, highlight=False).print(shown)


MIN_CUT = 8
"""Characters that stay of a cell that gives way."""


def _width(cells: Sequence[Sequence[str]], columns: Sequence[str], at: int) -> int:
    return max(len(columns[at]), *(len(row[at]) for row in cells), 0)


def _cut(cells: Sequence[list[str]], at: int, width: int) -> None:
    for row in cells:
        row[at] = shortened(row[at], width)


def call(process: Mapping[str, Any]) -> str:
    """The call that a process is: ``jobs:resize("a.png", width=640)``."""
    parts = [compact(value) for value in process["args"]]
    parts += [f"{name}={compact(value)}" for name, value in process["kwargs"].items()]
    return f"{process['target']}({', '.join(parts)})"


def shortened(text: str, width: int = 60) -> str:
    """At most `width` characters of `text`."""
    return text if len(text) <= width else text[: width - 1] + "…"


def compact(value: Any) -> str:
    """JSON on one line."""
    return json.dumps(value, ensure_ascii=False)


def state(process: Mapping[str, Any]) -> str:
    """The state while it lives, with what is odd about it; the outcome once it is over."""
    word = str(process["outcome"] or process["state"]).replace("_", " ")
    return f"{word} ({process['condition']})" if process.get("condition") else word


def seconds(value: float | None) -> str:
    """A duration as people read it: ``0.52s``, ``12s``, ``3m05s``, ``2h10m``, ``4d03h``; empty for None."""
    if value is None:
        return ""
    if value < 10:
        return f"{value:.2f}s"
    whole = round(value)
    for size, name, below, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size}{name}{whole % size // below:02d}{small}"
    return f"{whole}s"


def moment(text: str | None) -> str:
    """A time of the API in this machine's time zone, without the date if it is today; empty for None."""
    if text is None:
        return ""
    at = datetime.fromisoformat(text).astimezone()
    return at.strftime("%H:%M:%S" if at.date() == datetime.now().astimezone().date() else "%Y-%m-%d %H:%M:%S")
