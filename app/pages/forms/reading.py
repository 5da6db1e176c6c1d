"""From what was typed to arguments, and errors of the service back to their fields. Pure."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.errors import FieldError
from app.pages.forms import values
from app.pages.forms.fields import DEFAULT, JSON, NONE, VALUE, Field, by_position, fields, only, row
from app.pages.forms.options import OPTIONS, option_key
from app.pages.forms.values import Wrong

Typed = Mapping[str, str]

OMITTED = object()
"""The parameter is left to its default."""


@dataclass(slots=True)
class Arguments:
    """The arguments of a launch; `errors` by the name of the field."""

    args: list[Any] = field(default_factory=list)
    kwargs: JSON = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


def arguments(parameters: JSON, typed: Typed) -> Arguments:
    """What was typed as arguments, by name wherever the target allows it."""
    known = fields(parameters)
    found = Arguments()
    given = {one.name: value_of(one, typed, found.errors) for one in known}
    rest, other = only(known, "var_positional"), only(known, "var_keyword")
    further = given.pop(rest.name) if rest else OMITTED
    named = given.pop(other.name) if other else OMITTED
    positional = _positional(by_position(known), given, is_followed=bool(further) and further is not OMITTED)
    found.args = [_filled(one, given[one.name], found.errors) for one in positional]
    found.args += further if isinstance(further, list) else []
    taken = {one.name for one in positional}
    found.kwargs = {name: value for name, value in given.items() if value is not OMITTED and name not in taken}
    if other is not None and isinstance(named, dict):
        _add_named(other, named, known, found)
    return found


def _positional(known: list[Field], given: JSON, *, is_followed: bool) -> list[Field]:
    """The fields that must go by position: all before further ones, else up to the last positional-only one given."""
    if is_followed:
        return known
    alone = [i for i, one in enumerate(known) if one.kind == "positional_only"]
    present = [i for i in alone if given[known[i].name] is not OMITTED]
    return known[: present[-1] + 1] if present else []


def _filled(one: Field, value: Any, errors: dict[str, str]) -> Any:
    """A value for a place that can't be left out, because others come after it."""
    if value is not OMITTED:
        return value
    if "default" in one.schema:
        return one.schema["default"]
    errors.setdefault(one.name, "needs a value here, because arguments by position come after it")
    return None


def _add_named(other: Field, named: JSON, known: list[Field], found: Arguments) -> None:
    # A positional-only parameter and a keyword may share a name; everything else would be given twice.
    twice = [one.name for one in known if one.name in named and one.kind != "positional_only"]
    if twice:
        found.errors[other.name] = f"has {', '.join(map(repr, twice))}, which has a field of its own"
    else:
        found.kwargs |= named


# --- one field ---------------------------------------------------------------------------------------------------


def use_of(one: Field, typed: Typed) -> str:
    """What is chosen: the default, None or a value."""
    chosen = typed.get(f"use-{one.name}", "")
    return chosen if chosen in one.uses else one.uses[0] if one.uses else VALUE


def is_json(one: Field, typed: Typed) -> bool:
    """Whether a field is shown as JSON although its type would have simpler inputs."""
    if one.is_json:
        return False
    return typed.get(f"as-{one.name}") == "json" or (one.is_structured and bool(typed.get(f"arg-{one.name}")))


def rows_of(one: Field, typed: Typed) -> list[str]:
    """The keys of the rows of a list, in their order; rows between them may have been taken away."""
    start = f"arg-{one.name}."
    found = {name.removeprefix(start) for name in typed if name.startswith(start)}
    return sorted((key for key in found if re.fullmatch(r"\d{1,6}", key, re.ASCII)), key=int)


def value_of(one: Field, typed: Typed, errors: dict[str, str]) -> Any:
    """The value of one field, or OMITTED; what is wrong with it, or with fields inside of it, is added to
    ``errors``."""
    try:
        return _value_of(one, typed, errors)
    except Wrong as error:
        errors[one.name] = str(error)
        return OMITTED


def _value_of(one: Field, typed: Typed, errors: dict[str, str]) -> Any:
    text = typed.get(f"arg-{one.name}", "")
    if is_json(one, typed):
        if one.kind == "var_positional":
            return _collection(one, text)
        return _used(one, typed, text, lambda: values.json_value(_present(text)))
    if one.is_structured:
        use = use_of(one, typed)
        # What is inside is out of sight while the default or None is chosen.
        return _structured(one, typed, errors) if use == VALUE else None if use == NONE else OMITTED
    if one.widget == "choice":
        return _chosen(one, text)
    if one.widget in ("list", "object"):
        return _collection(one, text)
    return _used(one, typed, text, lambda: _simple(one, typed, text))


def _structured(one: Field, typed: Typed, errors: dict[str, str]) -> Any:
    if one.widget == "fields":
        inside = {member.key: value_of(member, typed, errors) for member in one.members}
        return {key: value for key, value in inside.items() if value is not OMITTED}
    found = []
    for index, key in enumerate(rows_of(one, typed)):
        here = row(one, index)
        mine = {f"{part}-{here.name}": typed.get(f"{part}-{one.name}.{key}", "") for part in ("arg", "zone")}
        found.append(value_of(here, mine, errors))
    return [value for value in found if value is not OMITTED]  # what is wrong is in ``errors``


def _used(one: Field, typed: Typed, text: str, read: Any) -> Any:
    use = use_of(one, typed)
    if use == VALUE:
        return read()
    if text:
        raise Wrong(
            f"has a value typed, but {'None' if use == NONE else 'the default'} is chosen: clear one of the two"
        )
    return None if use == NONE else OMITTED


def _simple(one: Field, typed: Typed, text: str) -> Any:
    if one.widget == "datetime":
        text = values.joined_moment(text, typed.get(f"zone-{one.name}", ""))
    if one.widget == "secret" and not text:
        raise Wrong("is a secret, which is not kept: type it again")
    if one.widget in ("text", "lines") and not text:
        is_meant = bool(one.uses) or one.kind == "item" or typed.get(f"empty-{one.name}") == "yes"
        if not is_meant:
            raise Wrong(f"is required{'; tick the box if an empty text is meant' if one.is_free_text else ''}")
    return values.read(one, text)


def _present(text: str) -> str:
    if not text.strip():
        raise Wrong("is required")
    return text


def _chosen(one: Field, text: str) -> Any:
    if text == DEFAULT or (not text and not one.is_required):
        if one.is_required:
            raise Wrong("is required")
        return OMITTED
    if not text:
        raise Wrong("is required")
    if text not in {choice.key for choice in one.choices}:
        raise Wrong("must be one of those offered")
    return json.loads(text)


def _collection(one: Field, text: str) -> Any:
    if not text.strip():
        return OMITTED
    value = values.json_value(text)
    is_list = one.kind == "var_positional"
    if not isinstance(value, list if is_list else dict):
        raise Wrong(f"must be {'a JSON list, such as [1, 2]' if is_list else 'a JSON object'}")
    return value


# --- errors of the service ---------------------------------------------------------------------------------------


def placed(
    parameters: JSON, errors: Iterable[FieldError], typed: Typed | None = None
) -> tuple[dict[str, str], list[str]]:
    """Errors of the service (`args[1]`, `kwargs.opts.size`) at their fields; those that belong to none as sentences.

    ``typed`` tells which fields are shown as JSON: an error inside of such a one stands at it.
    """
    known = fields(parameters)
    found: dict[str, str] = {}
    others = []
    for error in errors:
        name, deeper = _place(error["field"], known, typed or {})
        if name is None:
            others.append(f"{error['field']} {error['message']}".strip())
        else:
            found.setdefault(name, f"{deeper} {error['message']}".strip())
    return found, others


def _place(path: str, known: list[Field], typed: Typed) -> tuple[str | None, str]:
    """The field that a path is about, and what follows of the path."""
    if by_index := re.match(r"args\[(\d+)\](.*)", path, re.DOTALL):
        index, positional = int(by_index[1]), by_position(known)
        if index < len(positional):
            return _inside(positional[index], by_index[2], typed)
        rest = only(known, "var_positional")
        return _inside(rest, f"[{index - len(positional)}]{by_index[2]}", typed) if rest else (None, "")
    if path.startswith("kwargs."):
        inner = path.removeprefix("kwargs.")
        for one in known:
            if inner == one.name or inner.startswith((f"{one.name}.", f"{one.name}[")):
                return _inside(one, inner[len(one.name) :], typed)
        other = only(known, "var_keyword")
        return (other.name, inner) if other else (None, "")
    return (option_key(path), "") if path in OPTIONS else (None, "")


def _inside(one: Field, deeper: str, typed: Typed) -> tuple[str, str]:
    """The same for a field and what follows of the path behind it."""
    if is_json(one, typed):
        return one.name, deeper
    for member in one.members:
        if deeper == f".{member.key}" or deeper.startswith((f".{member.key}.", f".{member.key}[")):
            return _inside(member, deeper[len(member.key) + 1 :], typed)
    if one.widget == "rows" and (found := re.match(r"\[(\d+)\](.*)", deeper, re.DOTALL)):
        return f"{one.name}.{found[1]}", found[2]
    return one.name, deeper
