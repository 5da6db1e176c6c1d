"""Seconds as they are typed and read: `1h30m`. Pure."""

import math
import re

_UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
_OTHER_NAMES = {"min": "m", "sec": "s"}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|min|sec|[wdhms])\s*", re.ASCII)
_LONGEST = 10**12
"""Seconds that are still written with units."""


def parsed(text: str) -> int | float | None:
    """Seconds: `90`, `1.5`, `1h30m`, `2 d 4 h`, `250ms`; None for what is no time."""
    stripped = text.strip().lower()
    rest = stripped.removeprefix("-")
    parts = _PART.findall(rest)
    if not parts or _PART.sub("", rest):
        return number(text)
    amounts = [(number(amount) or 0) * _UNITS[_OTHER_NAMES.get(unit, unit)] for amount, unit in parts]
    return -sum(amounts) if stripped.startswith("-") else sum(amounts)


def number(text: str) -> int | float | None:
    """A finite number, whole if it is written so; None for what is none."""
    if re.fullmatch(r"[+-]?\d{1,300}", text.strip(), re.ASCII):
        return int(text)
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def written(seconds: float) -> str:
    """Seconds as `parsed` reads them: `1h30m`, `0.25s`."""
    if seconds != int(seconds) or not 0 < abs(seconds) < _LONGEST:
        return repr(seconds) if "e" in repr(seconds) or not seconds else f"{seconds!r}s"
    whole, text = abs(int(seconds)), ""
    for unit in ("d", "h", "m", "s"):
        count, whole = divmod(whole, int(_UNITS[unit]))
        text += f"{count}{unit}" if count else ""
    return f"-{text}" if seconds < 0 else text
