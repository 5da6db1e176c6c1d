"""The keyboard shortcuts: one table for the script that acts on them and for the page that lists them.

A single key never changes anything: it moves, opens or shows.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shortcut:
    """``keys`` are pressed one after the other. ``act`` is `open:ADDRESS`, `tell:KEY` (an event `key:KEY` of the
    document, for the script of a page), a word that static/keys.js knows, or empty where the browser does it itself."""

    keys: tuple[str, ...]
    does: str
    act: str = ""


GROUPS: tuple[tuple[str, tuple[Shortcut, ...]], ...] = (
    (
        "Everywhere",
        (
            Shortcut(("/",), "Search or jump to a process, a target or a command", "jump"),
            Shortcut(("?",), "Show these shortcuts", "open:/shortcuts"),
            Shortcut(("g", "p"), "Go to the processes", "open:/processes"),
            Shortcut(("g", "t"), "Go to the targets", "open:/targets"),
            Shortcut(("g", "i"), "Go to the timeline", "open:/timeline"),
            Shortcut(("g", "a"), "Go to the activity", "open:/activity"),
            Shortcut(("l",), "Launch: choose a target, or take that of the page", "launch"),
            Shortcut(("Esc",), "Close a menu or a dialog"),
        ),
    ),
    (
        "In a list",
        (
            Shortcut(("j",), "Next row", "next"),
            Shortcut(("k",), "Row before", "previous"),
            Shortcut(("x",), "Tick the row, or take the tick away", "tick"),
            Shortcut(("Enter",), "Open the row"),
        ),
    ),
    (
        "In a log",
        (
            Shortcut(("f",), "Follow the end, or stop following", "tell:f"),
            Shortcut(("Ctrl+F",), "Find in the whole log; pressed again, the search of the browser"),
            Shortcut(("n",), "Next hit of the search", "tell:n"),
            Shortcut(("N",), "Hit before", "tell:N"),
            Shortcut(("Enter",), "With the log in focus: pick the first line in sight; arrows move on, Esc lets go"),
            Shortcut(("Shift+↓",), "Pick the next line, too; Shift+↑ the one before"),
        ),
    ),
)


def acts() -> dict[str, str]:
    """What each shortcut does, by its keys with spaces between: what the script gets."""
    return {" ".join(shortcut.keys): shortcut.act for _, group in GROUPS for shortcut in group if shortcut.act}
