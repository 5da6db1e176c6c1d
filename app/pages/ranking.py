"""What a person means who typed a few letters into the jump menu. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

MOST = 12
"""Items that the menu shows."""
MOST_PROCESSES = 8
UNASKED = {"process": 4, "command": 7, "target": 3}
"""How many of each kind are offered before anything was typed, besides what can be done where one is."""

_APART = re.compile(r"[^\w]+|_+")


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the menu. ``href`` is where it leads; where ``theme`` is given it chooses colours instead. ``words``
    find it too; ``weight`` settles between items that fit as well."""

    kind: Literal["process", "target", "command"]
    title: str
    href: str = ""
    note: str = ""
    icon: str = "right"
    words: str = ""
    theme: str = ""
    weight: int = 0
    is_asked_for: bool = False
    """What was typed is its number or its id: it comes first."""
    is_here: bool = False
    """It is about what the page shows."""


def rank(items: Sequence[Item], typed: str) -> list[Item]:
    """The items that fit what was typed, the likeliest first; each of its words must fit. While nothing is typed, what
    one is likely to want."""
    wanted = typed.casefold().split()
    if not wanted:
        return _unasked(items)
    found = [(score, item) for item in items if (score := _score(item, wanted)) > 0]
    # Stable: what is as likely stays in the order given.
    found.sort(key=lambda pair: -pair[0])
    chosen: list[Item] = []
    for _, item in found:
        if item.kind != "process" or sum(known.kind == "process" for known in chosen) < MOST_PROCESSES:
            chosen.append(item)
    return chosen[:MOST]


def _unasked(items: Sequence[Item]) -> list[Item]:
    chosen = [item for item in items if item.is_here]
    for kind, most in UNASKED.items():
        chosen += [item for item in items if item.kind == kind and not item.is_here][:most]
    return chosen


def _score(item: Item, wanted: Sequence[str]) -> int:
    if item.is_asked_for:
        return 10_000
    title, words = item.title.casefold(), item.words.casefold()
    fits = [_fit(title, words, word) for word in wanted]
    return sum(fits) + item.weight + 1 if all(fits) else 0


def _fit(title: str, words: str, word: str) -> int:
    if title == word:
        return 200
    if title.startswith(word):
        return 80
    if any(part.startswith(word) for part in _APART.split(title)):
        return 60
    if word in title:
        return 40
    if any(part.startswith(word) for part in _APART.split(words)):
        return 30
    if word in words:
        return 10
    return 5 if len(word) > 2 and _is_scattered(word, title) else 0


def _is_scattered(word: str, title: str) -> bool:
    """Whether the letters occur in this order."""
    rest = iter(title)
    return all(letter in rest for letter in word)
