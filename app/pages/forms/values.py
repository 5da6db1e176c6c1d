"""What is typed into one simple input as a value, and a value as it would be typed. Pure."""

import json
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

from app.errors import AppError, parse_json
from app.pages.forms import durations
from app.pages.forms.fields import MAX_SHOWN, Field, Widget, compact


class Wrong(ValueError):
    """What was typed is no value; the text continues the field's name as a sentence."""


def read(one: Field, text: str) -> Any:
    """The value that a text stands for; blanks are refused except as texts. Raises Wrong."""
    if one.widget in ("text", "lines", "secret"):
        return text.replace("\r\n", "\n")
    if not text.strip():
        raise Wrong("needs a value" if one.uses or one.kind == "item" else "is required")
    if one.widget == "either":
        return _either(one, text)
    return _READERS[one.widget](text)


def written(one: Field, value: Any) -> str | None:
    """The text that is read as exactly this value; None where only JSON can say it."""
    if one.widget == "choice":
        text = compact(value)
        return text if text in {choice.key for choice in one.choices} else None
    if type(value) not in _FITTING.get(one.widget, ()):
        return None
    text = durations.written(value) if one.widget == "duration" else value if isinstance(value, str) else repr(value)
    # A page can't hold these, or a browser would change them.
    if _UNTYPABLE.search(text) or (one.kind == "item" and "\n" in text):
        return None
    if one.widget == "date" and not _DATE.fullmatch(text):
        return None
    try:
        if isinstance(value, str) and one.widget not in ("decimal", "either"):
            return text
        again = read(one, text)
        # A number where a text was would be another call.
        is_same = again == value and isinstance(again, str) == isinstance(value, str)
        return text if is_same or (one.widget == "decimal" and again == text) else None
    except Wrong:
        return None


_FITTING: dict[Widget, tuple[type, ...]] = {
    "integer": (int,),
    "number": (int, float),
    "duration": (int, float),
    "text": (str,),
    "lines": (str,),
    "secret": (str,),
    "date": (str,),
    "datetime": (str,),
    "decimal": (str, int),
    "either": (str, int, float),
}
_UNTYPABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


# --- numbers -----------------------------------------------------------------------------------------------------


def _integer(text: str) -> int:
    try:
        if re.fullmatch(r"[+-]?\d+", text.strip(), re.ASCII):
            return int(text)
    except ValueError:  # more digits than Python converts
        raise Wrong("has too many digits") from None
    raise Wrong(f"must be a whole number, not {shown(text)}")


def _number(text: str) -> int | float:
    found = durations.number(text)
    if found is None:
        raise Wrong(f"must be a number, not {shown(text)}")
    return found


def _decimal(text: str) -> str:
    """As it is typed, for its digits count: 12.50 is not 12.5."""
    try:
        Decimal(text.strip())
    except InvalidOperation:
        raise Wrong(f"must be a number such as 12.50, not {shown(text)}") from None
    return text.strip()


def _either(one: Field, text: str) -> Any:
    """What reads as a number that the target takes is one; all else is a text."""
    if re.fullmatch(r"[+-]?\d+", text.strip(), re.ASCII):
        return _integer(text)
    number = durations.number(text) if "number" in one.kinds else None
    return text.replace("\r\n", "\n") if number is None else number


# --- times -------------------------------------------------------------------------------------------------------


def duration(text: str) -> int | float:
    """Seconds: `90`, `1.5`, `1h30m`, `2 d 4 h`, `250ms`. Raises Wrong."""
    found = durations.parsed(text)
    if found is None:
        raise Wrong(f"must be a time such as 1h30m, 45s or a number of seconds, not {shown(text)}")
    return found


_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d)?)(Z|[+-]\d\d:\d\d)?", re.ASCII)


def moment(text: str) -> tuple[str, str] | None:
    """A date and time as a picker has it, and its offset; None for what a picker could not hold."""
    found = _MOMENT.fullmatch(text.strip())
    # A picker drops seconds that are 0, and they are put back; without any they would come to be.
    if found is None or len(found[2]) < len("00:00:00"):
        return None
    return f"{found[1]}T{found[2]}", found[3] or ""


def joined_moment(text: str, zone: str) -> str:
    """What a picker gave, with the seconds that it left out and the offset beside it. Raises Wrong."""
    text, zone = text.strip(), zone.strip()
    found = _MOMENT.fullmatch(text)
    if found is None or found[3]:
        return text  # it is typed in full
    zone = {"utc": "+00:00", "z": "Z"}.get(zone.lower(), zone)
    if zone and not re.fullmatch(r"Z|[+-]\d\d:\d\d", zone, re.ASCII):
        raise Wrong(f"has a zone that is neither UTC nor an offset such as +01:00: {shown(zone)}")
    seconds = "" if len(found[2]) > len("00:00") else ":00"
    return f"{found[1]}T{found[2]}{seconds}{zone}"


# --- JSON --------------------------------------------------------------------------------------------------------


def json_value(text: str) -> Any:
    """The value of a JSON text. Raises Wrong."""
    try:
        return parse_json(text.strip().encode("utf-8", "surrogatepass"))
    except AppError as error:
        reason = error.detail.removeprefix("The body is not valid JSON: ").removeprefix("The body ").rstrip(".")
        raise Wrong(f"is not JSON ({reason}); a text is written in quotes: {_quoted(text)}") from None


def json_text(value: Any) -> str:
    """JSON to be edited."""
    return json.dumps(value, indent=2, ensure_ascii=False) if isinstance(value, list | dict) else compact(value)


def _quoted(text: str) -> str:
    line = text.strip().split("\n", 1)[0][:20]
    return json.dumps(line, ensure_ascii=False) if re.fullmatch(r"[\w ./:-]+", line) else '"text"'


def shown(text: str) -> str:
    """A text in a message."""
    return repr(text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…")


_READERS: dict[Widget, Callable[[str], Any]] = {
    "integer": _integer,
    "number": _number,
    "duration": duration,
    "decimal": _decimal,
    "date": str.strip,
    "datetime": str.strip,
    "json": json_value,
}
