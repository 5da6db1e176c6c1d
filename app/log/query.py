"""What of a log is wanted: words or an expression, a level, a stream."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode

import regex

from app.errors import Invalid
from app.log import ansi
from app.log.levels import NAMES, Level
from app.log.lines import Line

LONGEST_QUERY = 1000
STREAMS = ("stdout", "stderr")


class TooSlow(Exception):
    """An expression took more time than there was."""


@dataclass(frozen=True, slots=True)
class Query:
    """``words`` is looked for as it is, or as an expression if ``is_regex``; ``is_inverted``: the lines without it.

    ``level`` is the least grave that is wanted; lines that name none pass up to `Level.INFO`.
    """

    words: str = ""
    is_regex: bool = False
    is_case_sensitive: bool = False
    is_inverted: bool = False
    level: Level | None = None
    stream: str | None = None

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Query:
        """From the parameters ``q regex case invert level stream`` of an address. Raises Invalid, naming the field."""
        query = cls(
            given.get("q", ""),
            _flag(given, "regex"),
            _flag(given, "case"),
            _flag(given, "invert"),
            _level(given.get("level", "")),
            _stream(given.get("stream", "")),
        )
        query.compiled()
        return query

    def params(self) -> dict[str, str]:
        """The parameters again; only those that say anything."""
        found = {
            "q": self.words,
            "regex": "1" if self.is_regex and self.words else "",
            "case": "1" if self.is_case_sensitive and self.words else "",
            "invert": "1" if self.is_inverted and self.words else "",
            "level": self.level.name.lower() if self.level is not None else "",
            "stream": self.stream or "",
        }
        return {name: value for name, value in found.items() if value}

    @property
    def text(self) -> str:
        """`params` as the query of an address."""
        return urlencode(self.params(), errors="backslashreplace")

    @property
    def is_all(self) -> bool:
        """Whether every line is wanted."""
        return not self.params()

    def compiled(self) -> regex.Pattern[str] | None:
        """The expression; None for words as they are. Raises Invalid."""
        if len(self.words) > LONGEST_QUERY:
            raise _invalid("q", f"must have at most {LONGEST_QUERY:,} characters")
        if not self.is_regex or not self.words:
            return None
        try:
            return regex.compile(self.words, 0 if self.is_case_sensitive else regex.IGNORECASE)
        except (regex.error, RecursionError, OverflowError, MemoryError, ValueError) as error:
            raise _invalid("q", f"is no regular expression: {error}") from error


def _invalid(field: str, message: str) -> Invalid:
    names = {"q": "What to look for", "level": "The level", "stream": "The stream"}
    return Invalid(f"{names.get(field, field)} {message}.", errors=[{"field": field, "message": message}])


def _flag(given: Mapping[str, str], name: str) -> bool:
    text = given.get(name, "").lower()
    if text not in ("", "0", "1", "true", "false", "on", "off"):
        raise _invalid(name, "must be 1 or 0")
    return text in ("1", "true", "on")


def _level(text: str) -> Level | None:
    if text in ("", "all"):
        return None
    if text not in NAMES:
        raise _invalid("level", f"must be one of {', '.join(NAMES)}")
    return NAMES[text]


def _stream(text: str) -> Literal["stdout", "stderr"] | None:
    match text:
        case "" | "both":
            return None
        case "stdout" | "stderr":
            return text
    raise _invalid("stream", "must be stdout or stderr")


class Matcher:
    """Tells of lines whether a query wants them; ``seconds`` is all that its expression may take together."""

    def __init__(self, query: Query, seconds: float = 0.7) -> None:
        self.query = query
        self.has_longer = False
        """Whether there was a line too long to be searched as a whole: see `app.log.ansi.LONGEST_RAW`."""
        self._deadline = time.monotonic() + seconds
        self._pattern = query.compiled()
        self._needle = query.words if query.is_case_sensitive else query.words.lower()

    def wants(self, line: Line) -> bool:
        """Raises TooSlow."""
        query = self.query
        if query.stream is not None and line.stream != query.stream:
            return False
        if query.level is not None and (line.level or Level.INFO) < query.level:
            return False
        if not query.words:
            return True
        self.has_longer = self.has_longer or len(line.raw) > ansi.LONGEST_RAW
        return self.has(ansi.searched(line.raw)) is not query.is_inverted

    def has(self, text: str) -> bool:
        """Whether the words are in a text. Raises TooSlow."""
        if self._pattern is None:
            return self._needle in (text if self.query.is_case_sensitive else text.lower())
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TooSlow
        try:
            return self._pattern.search(text, timeout=left, concurrent=True) is not None
        except TimeoutError:
            raise TooSlow from None
        except (RecursionError, MemoryError):
            raise TooSlow from None
