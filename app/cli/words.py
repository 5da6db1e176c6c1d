"""From the words of a command line to the arguments of a target. Pure; the rules are those of `procdeck run --help`.

A word is read as JSON when the parameter takes what that gives, else as text: `3` is a number for an `int` and text for
a `str`, and a parameter without a type takes whatever JSON it is. So nothing needs quotes within quotes, and "007"
stays what it is where a text is meant.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from app.cli import codes
from app.cli.failure import Failure

Schema = Mapping[str, Any]

_TYPES: Mapping[str, tuple[type, ...]] = {
    "null": (type(None),),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
    "array": (list,),
    "object": (dict,),
}


def bind(words: Sequence[str], named: Sequence[str], parameters: Schema) -> tuple[list[Any], dict[str, Any]]:
    """(args, kwargs) for a target with these `parameters` (of its catalogue entry).

    `words` are positional; NAME=VALUE is a keyword argument where NAME is a parameter that can be given so. `named` are
    NAME=VALUE, each a keyword argument whatever it is called. Whether it all fits is for the service to say. Raises
    Failure for a name without a value and one given twice.
    """
    properties: Mapping[str, Schema] = parameters.get("properties", {})
    keywords = {name for name, schema in properties.items() if schema.get("x-kind") in _BY_NAME}
    positional: list[str] = []
    pairs = [_pair(word) for word in named]
    for word in words:
        name, equals, _ = word.partition("=")
        if equals and name in keywords:
            pairs.append(_pair(word))
        else:
            positional.append(word)
    _refuse_twice([name for name, _ in pairs])
    schemas = _positional_schemas(properties, len(positional))
    others = parameters.get("additionalProperties") or {}
    return (
        [value_of(word, schema) for word, schema in zip(positional, schemas, strict=True)],
        {name: value_of(text, properties.get(name, others)) for name, text in pairs},
    )


_BY_NAME = ("positional_or_keyword", "keyword_only")


def _pair(word: str) -> tuple[str, str]:
    name, equals, text = word.partition("=")
    if not equals or not name:
        raise Failure(f"{word!r} is not NAME=VALUE", codes.USAGE)
    return name, text


def _refuse_twice(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise Failure(f"the argument {name!r} is given twice", codes.USAGE)


def _positional_schemas(properties: Mapping[str, Schema], count: int) -> list[Schema]:
    """One for each of `count` positional values: those of the parameters in order, then that of *args."""
    by_position = [s for s in properties.values() if s.get("x-kind") in ("positional_only", "positional_or_keyword")]
    rest = [s.get("items", {}) for s in properties.values() if s.get("x-kind") == "var_positional"] or [{}]
    return [*by_position, *rest * count][:count]


def value_of(text: str, schema: Schema) -> Any:
    """The value that `text` stands for where `schema` says what is taken."""
    if _is_text_only(schema):
        return text
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return text
    if not _accepts(schema, value) and _accepts(schema, text):
        return text
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _is_text_only(schema: Schema) -> bool:
    if "anyOf" in schema:
        return all(map(_is_text_only, schema["anyOf"]))
    if "enum" in schema:
        return all(isinstance(value, str) for value in schema["enum"])
    return schema.get("type") == "string"


def _accepts(schema: Schema, value: Any) -> bool:
    """Whether the kind of `value` is one that `schema` takes; the service looks deeper."""
    if "anyOf" in schema:
        return any(_accepts(branch, value) for branch in schema["anyOf"])
    if "enum" in schema:
        return any(type(value) is type(known) and value == known for known in schema["enum"])
    if "type" not in schema:
        return True
    kinds = _TYPES[schema["type"]]
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
