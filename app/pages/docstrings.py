"""Docstrings as HTML: wrapped lines become paragraphs, lists stay lists, indented blocks and doctests stay as they are.
Pure.

Everything is escaped before any markup is added, so that no docstring can bring its own.
"""

import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence

from markupsafe import Markup, escape

_ITEM = re.compile(r"([-*+•]|\d{1,3}[.)])\s+(?=\S)")
_NAMED = re.compile(r"\*{0,2}\w+(?: ?\([^()]*\))?:(?:\s|$)")
"""`width: in pixels`, a line of a section `Args:`."""
_CODE = re.compile(r"``([^`\n]+)``|`([^`\n]+)`")


def html(doc: str) -> Markup:
    """A docstring to be put on a page."""
    lines = inspect.cleandoc(doc).splitlines()
    return Markup("\n").join(_blocks(lines))


def first_sentence(doc: str) -> Markup:
    """The first paragraph as one line."""
    first = inspect.cleandoc(doc).split("\n\n", 1)[0].split("\n")
    head = [line for number, line in enumerate(first) if number == 0 or not _begins_another(line)]
    return _inline(" ".join(line.strip() for line in head))


def _begins_another(line: str) -> bool:
    return bool(_ITEM.match(line)) or line[:1].isspace() or line.startswith(">>>")


def _blocks(lines: Sequence[str]) -> Iterator[Markup]:
    at = 0
    while at < len(lines):
        line = lines[at]
        if not line.strip():
            at += 1
            continue
        if line.lstrip().startswith(">>>"):
            behind = _until(lines, at, lambda later: not later.strip())
            yield _pre(lines[at:behind])
        elif line[0].isspace():
            behind = _until(lines, at, lambda later: bool(later.strip()) and not later[0].isspace())
            yield _indented(lines[at:behind])
        elif _ITEM.match(line):
            behind = _until(lines, at, lambda later: bool(later.strip()) and not _belongs_to_list(later))
            yield _list(lines[at:behind], _ITEM)
        else:
            behind = _until(lines, at, lambda later: not later.strip() or _begins_another(later))
            yield Markup("<p>{}</p>").format(_inline(" ".join(text.strip() for text in lines[at:behind])))
        at = behind


def _until(lines: Sequence[str], at: int, is_behind: Callable[[str], bool]) -> int:
    """The next line after ``at`` that is no part of the block any more."""
    return next((number for number in range(at + 1, len(lines)) if is_behind(lines[number])), len(lines))


def _belongs_to_list(line: str) -> bool:
    return bool(_ITEM.match(line)) or line[0].isspace()


def _pre(lines: Sequence[str]) -> Markup:
    return Markup('<pre class="code">{}</pre>').format(textwrap.dedent("\n".join(lines)).rstrip())


def _indented(lines: Sequence[str]) -> Markup:
    """What a section says of its names, or a list of its own, as a list; anything else as it stands."""
    inner = textwrap.dedent("\n".join(lines)).splitlines()
    heads = [line for line in inner if line.strip() and not line[0].isspace()]
    for begin in (_NAMED, _ITEM):
        # One that is indented further than the rest, or by an odd blank, is below none of them.
        if begin.match(inner[0]) and all(begin.match(line) for line in heads):
            return _list(inner, begin)
    return _pre(lines)


def _list(lines: Sequence[str], begin: re.Pattern[str]) -> Markup:
    """Items that begin with ``begin``; what is below an item and further in belongs to it."""
    items: list[list[str]] = []
    for line in lines:
        if begin.match(line):
            items.append([line])
        elif line.strip():
            items[-1].append(line)
    is_plain = begin is _ITEM
    is_numbered = is_plain and lines[0][0].isdigit()
    tag = Markup("ol" if is_numbered else "ul")
    texts = [" ".join(text.strip() for text in item) for item in items]
    if is_plain:
        texts = [_ITEM.sub("", text, count=1) for text in texts]
    told = Markup("").join(Markup("<li>{}</li>").format(_item(text, is_named=not is_plain)) for text in texts)
    start = Markup(' start="{}"').format(int(_leading_number(lines[0]))) if is_numbered else ""
    return Markup("<{0}{1}{2}>{3}</{0}>").format(tag, "" if is_plain else Markup(' class="names"'), start, told)


def _leading_number(line: str) -> str:
    return re.match(r"\d+", line)[0]  # type: ignore[index]  # the caller has seen it


def _item(text: str, *, is_named: bool) -> Markup:
    name, colon, rest = text.partition(":")
    if not is_named:
        return _inline(text)
    return Markup("<code>{}</code>{} {}").format(name, colon, _inline(rest.strip()))


def _inline(text: str) -> Markup:
    """A line with what is in backticks as code."""
    found, at = Markup(""), 0
    for code in _CODE.finditer(text):
        found += escape(text[at : code.start()]) + Markup("<code>{}</code>").format(code[1] or code[2])
        at = code.end()
    return found + escape(text[at:])
