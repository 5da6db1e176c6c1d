"""Whether arguments fit a target, told before anything is launched: the catalogue entry against the JSON of a request.

Binding follows Python's own rules; each value is then held against its parameter's JSON Schema. Field names are as the
caller wrote them: "args[1]", "kwargs.width", "kwargs.opts.size".
"""

import difflib
import itertools
import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from jsonschema import Draft202012Validator, FormatChecker, ValidationError
from jsonschema.validators import extend

from procdeck.schema import shown, wanted

MAX_BYTES = 64 * 1024
MAX_DEPTH = 32
MAX_DIGITS = 4300
MAX_ERRORS = 50

_CACHED_PLANS = 1024
_BITS_TO_LOOK_AT = 14_000  # no integer of fewer bits has more than MAX_DIGITS digits
_TOO_LARGE = 10**MAX_DIGITS

Schema = dict[str, Any]


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field; `message` continues the field's name as a sentence."""

    field: str
    message: str


def check(entry: dict[str, Any], args: list[Any], kwargs: dict[str, Any]) -> list[FieldError]:
    """Everything that is wrong with the arguments of a launch, at most MAX_ERRORS; an empty list if nothing is."""
    refused = list(itertools.islice(_beyond_limits(args, kwargs), MAX_ERRORS))
    if refused:  # such a value is not looked at any further: that could cost more than it is worth
        return refused
    return list(itertools.islice(_plan(entry["parameters"]).errors(args, kwargs), MAX_ERRORS))


# Limits, whatever the target


def _beyond_limits(args: list[Any], kwargs: dict[str, Any]) -> Iterator[FieldError]:
    healthy = True
    for field, value in _named(args, kwargs):
        for error in _unfit(field, value, 0):
            healthy = False
            yield error
    for name in kwargs:
        if not _is_text(name):
            healthy = False
            yield FieldError("kwargs", "has a name that is not valid text")
    if healthy:
        size = len(_compact(args)) + len(_compact(kwargs))
        if size > MAX_BYTES:
            yield FieldError(
                "args" if args else "kwargs", f"is too large: {size} bytes as JSON, of at most {MAX_BYTES}"
            )


def _named(args: list[Any], kwargs: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for i, value in enumerate(args):
        yield f"args[{i}]", value
    for name, value in kwargs.items():
        yield f"kwargs.{name}", value


def _unfit(field: str, value: Any, depth: int) -> Iterator[FieldError]:
    """What JSON, a database or the child could not take, in a value of any shape."""
    if isinstance(value, str):
        if not _is_text(value):
            yield FieldError(field, "is not valid text: it has half of a surrogate pair")
    elif isinstance(value, float):
        if value - value != 0:
            yield FieldError(field, "must be a finite number: NaN and Infinity are not JSON")
    elif isinstance(value, int):
        if value.bit_length() > _BITS_TO_LOOK_AT and abs(value) >= _TOO_LARGE:
            yield FieldError(field, f"is too long a number: at most {MAX_DIGITS} digits")
    elif isinstance(value, list | dict):
        if depth == MAX_DEPTH:
            yield FieldError(field, f"is nested too deeply: at most {MAX_DEPTH} levels")
            return
        if isinstance(value, dict) and not all(map(_is_text, value)):
            yield FieldError(field, "has a name that is not valid text")
            return
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in inner:
            yield from _unfit(_below(field, key), item, depth + 1)
    elif value is not None:
        yield FieldError(field, f"must be a JSON value, not a Python {type(value).__name__}")


def _is_text(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        return value.isascii() or bool(value.encode())
    except UnicodeEncodeError:
        return False


def _compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _below(field: str, key: str | int) -> str:
    return f"{field}[{key}]" if isinstance(key, int) else f"{field}.{key}"


# Binding, and the check of each value


class _Plan:
    """The parameters of one target, ready to be checked many times."""

    def __init__(self, parameters: Schema) -> None:
        kinds = {name: p.get("x-kind", "positional_or_keyword") for name, p in parameters.get("properties", {}).items()}
        checks = {name: _checker(p) for name, p in parameters.get("properties", {}).items()}
        self.required = [name for name in parameters.get("required", ()) if name in kinds]
        self.by_position = [n for n, kind in kinds.items() if kind in ("positional_only", "positional_or_keyword")]
        self.by_name = [n for n, kind in kinds.items() if kind in ("positional_or_keyword", "keyword_only")]
        self.checks = checks
        rest = next((n for n, kind in kinds.items() if kind == "var_positional"), None)
        self.rest = None if rest is None else _checker(parameters["properties"][rest].get("items", {}))
        other = parameters.get("additionalProperties", True)
        self.other = None if other is False else _checker(other if isinstance(other, dict) else {})

    def errors(self, args: list[Any], kwargs: dict[str, Any]) -> Iterator[FieldError]:
        given = dict(zip(self.by_position, args, strict=False))
        for i, value in enumerate(args):
            yield from self._positional(i, value, len(args))
        for name, value in kwargs.items():
            yield from self._keyword(name, value, given)
        for name in self.required:
            # A name that goes by position alone may be in kwargs and belong to **kwargs, or be complained of already.
            if name not in given and (name not in kwargs or (name not in self.by_name and self.other is not None)):
                yield self._missing(name)

    def _positional(self, i: int, value: Any, count: int) -> Iterator[FieldError]:
        if i < len(self.by_position):
            yield from self.checks[self.by_position[i]](f"args[{i}]", value)
        elif self.rest is not None:
            yield from self.rest(f"args[{i}]", value)
        elif i == len(self.by_position):
            yield FieldError(f"args[{i}]", f"is too many: the target takes {_positionals(i)}, not {count}")

    def _keyword(self, name: str, value: Any, given: dict[str, Any]) -> Iterator[FieldError]:
        field = f"kwargs.{name}"
        if name in self.by_name:
            if name in given:
                yield FieldError(field, f"is given twice: also as args[{self.by_position.index(name)}]")
            yield from self.checks[name](field, value)
        elif self.other is not None:
            yield from self.other(field, value)
        elif name in self.by_position:
            yield FieldError(field, f"must be given by position, as args[{self.by_position.index(name)}]")
        else:
            yield FieldError(field, f"is not a parameter of the target{_suggestion(name, self.by_name)}")

    def _missing(self, name: str) -> FieldError:
        if name in self.by_name:
            return FieldError(f"kwargs.{name}", "is required")
        return FieldError(f"args[{self.by_position.index(name)}]", f"is required ({name})")


def _positionals(count: int) -> str:
    return {0: "no arguments by position", 1: "1 argument by position"}.get(count, f"{count} arguments by position")


def _suggestion(name: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(name, known, 1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; it has {', '.join(known)}" if 0 < len(known) <= 10 else ""


# Plans are kept by the identity of the catalogue's dict, which is replaced, never changed, when targets are reloaded.
# Each keeps a hold of its dict, so that no other can come to have the same id.
_plans: OrderedDict[int, tuple[Schema, _Plan]] = OrderedDict()


def _plan(parameters: Schema) -> _Plan:
    found = _plans.get(id(parameters))
    if found is None:
        found = _plans[id(parameters)] = (parameters, _Plan(parameters))
        if len(_plans) > _CACHED_PLANS:
            _plans.popitem(last=False)
    return found[1]


Check = Callable[[str, Any], Iterator[FieldError]]


def _checker(schema: Schema) -> Check:
    validator = _Validator(schema, format_checker=_FORMATS)

    def errors(field: str, value: Any) -> Iterator[FieldError]:
        for error in validator.iter_errors(value):
            yield from _told(field, error)

    return errors


def _unique(_validator: Any, unique: bool, value: Any, _schema: Schema) -> Iterator[ValidationError]:
    # The library compares each item with each other if they can't be sorted: minutes for what fits in a request.
    if unique and isinstance(value, list) and len({json.dumps(item, sort_keys=True) for item in value}) < len(value):
        yield ValidationError("repeated items")


def _bound(name: str) -> Callable[[Any, Any, Any, Any], Iterator[ValidationError]]:
    def errors(validator: Any, limit: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
        # A decimal number comes as a text, too. What is none is told of by its format.
        if isinstance(value, str) and schema.get("x-unit") == "decimal":
            try:
                value = Decimal(value)
            except InvalidOperation:
                return
            if value.is_nan():
                return
        yield from Draft202012Validator.VALIDATORS[name](validator, limit, value, schema)

    return errors


_BOUNDS = {name: _bound(name) for name in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")}
_Validator = extend(Draft202012Validator, {"uniqueItems": _unique, **_BOUNDS})  # type: ignore[no-untyped-call]
_FORMATS = FormatChecker(formats=())


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(text) from None


def _format(name: str, parse: Callable[[str], object]) -> None:
    _FORMATS.checks(name, raises=ValueError)(lambda value: not isinstance(value, str) or parse(value) is not None)


# The same readers as the child's, so that what passes here converts there.
_format("date-time", datetime.fromisoformat)
_format("date", date.fromisoformat)
_format("time", time.fromisoformat)
_format("uuid", UUID)
_format("decimal", _decimal)
_format("path", lambda value: None if "\0" in value else value)


# The validator's errors in plain words

_Error = (
    Any  # a ValidationError: its declared types allow every attribute to be unset, which none is after a validation
)


def _told(base: str, error: _Error) -> Iterator[FieldError]:
    field = base
    for key in error.absolute_path:
        field = _below(field, key)
    if error.validator == "anyOf":
        yield from _told_of_branches(base, field, error)
    elif error.validator == "required":
        yield from _told_required(field, error)
    elif error.validator == "additionalProperties":
        known = list(error.schema.get("properties", ()))
        for name in error.instance:
            if name not in known:
                yield FieldError(_below(field, name), f"is not a field of it{_suggestion(name, known)}")
    else:
        yield FieldError(field, _sentence(error))


def _told_required(field: str, error: _Error) -> Iterator[FieldError]:
    # One error for each missing name; the library tells the name only inside its own sentence.
    for name in error.validator_value:
        if name not in error.instance and error.message.startswith(repr(name)):
            yield FieldError(_below(field, name), "is required")


def _told_of_branches(base: str, field: str, error: _Error) -> Iterator[FieldError]:
    """If the value is of the kind that just one alternative wants, what that one says; else all that would do."""
    branches: dict[int, list[_Error]] = {}
    for inner in error.context:
        branches.setdefault(inner.schema_path[0], []).append(inner)
    close = [inners for inners in branches.values() if not any(map(_is_of_another_kind, inners))]
    if len(close) == 1:
        for inner in close[0]:
            yield from _told(base, inner)
    else:
        yield FieldError(field, _sentence(error))


def _is_of_another_kind(inner: _Error) -> bool:
    # relative_path starts at the value that anyOf is about; format and enum can't be told from another kind of text
    return not inner.relative_path and inner.validator in ("type", "enum", "format", "anyOf")


def _sentence(error: _Error) -> str:
    if error.validator in ("type", "enum", "format", "anyOf"):
        return f"must be {wanted(error.schema)}, not {shown(error.instance)}"
    told = _SENTENCES.get(error.validator)
    return error.message if told is None else told.format(error.validator_value)


_SENTENCES = {
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
    "exclusiveMinimum": "must be more than {}",
    "exclusiveMaximum": "must be less than {}",
    "minLength": "must have at least {} characters",
    "maxLength": "must have at most {} characters",
    "minItems": "must have at least {} items",
    "maxItems": "must have at most {} items",
    "uniqueItems": "must not have the same item twice",
}
