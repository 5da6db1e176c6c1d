"""Fields with what was typed into them; arguments, links and presets as if they had been typed. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from app.pages.forms import values
from app.pages.forms.fields import (
    DEFAULT,
    JSON,
    MAX_ROWS,
    NONE,
    VALUE,
    Field,
    Widget,
    at,
    by_position,
    fields,
    only,
    row,
)
from app.pages.forms.options import OPTIONS
from app.pages.forms.reading import OMITTED, Typed, is_json, rows_of, use_of, value_of
from app.pages.forms.values import Wrong


@dataclass(frozen=True, slots=True)
class Input:
    """A field as the form shows it: what is chosen, what is typed, what is wrong."""

    field: Field
    use: str
    text: str
    error: str = ""
    as_json: bool = False
    is_empty_meant: bool = False
    zone: str = ""
    parts: tuple["Input", ...] = ()
    """The fields of an object, the rows of a list."""

    @property
    def widget(self) -> Widget:
        """The input to show, which depends on the text: one that it can't hold would change it."""
        if self.as_json:
            return "json"
        if self.field.widget == "text" and "\n" in self.text:
            return "lines"
        if self.field.widget == "datetime" and self.text and values.moment(_whole(self.text)) is None:
            return "text"
        return self.field.widget

    @property
    def asks_empty(self) -> bool:
        """Whether to offer that an empty text is meant: only where it could be, and was sent or meant."""
        if self.field.widget not in ("text", "lines") or self.field.uses or self.field.kind == "item" or self.as_json:
            return False
        return self.is_empty_meant or (bool(self.error) and not self.text and self.field.is_free_text)

    @property
    def offers_json(self) -> bool:
        """Whether the field could be JSON instead."""
        return not self.as_json and not self.field.is_json and self.field.widget not in ("choice", "secret")

    @property
    def rows(self) -> int:
        """Lines of a larger input."""
        return min(max(self.text.count("\n") + 1, 2 if self.field.widget in ("list", "object") else 3), 16)

    @property
    def has_error(self) -> bool:
        """Whether something is wrong with it, or inside of it."""
        return bool(self.error) or any(part.has_error for part in self.parts)

    @property
    def start_text(self) -> str:
        """What an input begins with once a value is wanted in place of the default."""
        default = self.field.schema.get("default")
        if default is None or self.field.is_structured or self.field.widget == "secret":
            return ""
        return _typed(self.field, default).get(f"arg-{self.field.name}", "")


def _whole(text: str) -> str:
    """A date and time that a picker gave, with the seconds that it may have left out."""
    try:
        return values.joined_moment(text, "")
    except Wrong:
        return text


def inputs(known: Iterable[Field], typed: Typed, errors: Mapping[str, str]) -> list[Input]:
    """The form with what was typed, or as it begins when nothing was."""
    return [_input(one, typed, errors) for one in known]


def _input(one: Field, typed: Typed, errors: Mapping[str, str]) -> Input:
    name = one.name
    text = typed.get(f"arg-{name}", "") if one.widget != "secret" else ""
    if one.widget == "choice" and not text and not one.is_required:
        text = DEFAULT
    zone = typed.get(f"zone-{name}", "")
    if one.widget == "datetime" and (split := values.moment(_whole(text))) is not None:
        text, zone = split[0], split[1] or zone
    as_json = is_json(one, typed)
    parts: tuple[Input, ...] = ()
    if one.is_structured and not as_json:
        parts = _parts(one, _begun(one, typed), errors)
    is_empty_meant = typed.get(f"empty-{name}") == "yes"
    return Input(one, use_of(one, typed), text, errors.get(name, ""), as_json, is_empty_meant, zone, parts)


def _parts(one: Field, typed: Typed, errors: Mapping[str, str]) -> tuple[Input, ...]:
    if one.widget == "fields":
        return tuple(_input(member, typed, errors) for member in one.members)
    found = []
    for index, key in enumerate(rows_of(one, typed)):
        here = row(one, index)
        mine = {f"{part}-{here.name}": typed.get(f"{part}-{one.name}.{key}", "") for part in ("arg", "zone")}
        found.append(_input(here, mine, errors))
    return tuple(found)


def _begun(one: Field, typed: Typed) -> Typed:
    """What is inside of a field into which nobody has typed yet: its default, to be changed."""
    default = one.schema.get("default")
    if default is None or any(_is_inside(one, key) or key == f"use-{one.name}" for key in typed):
        return typed
    return _typed(one, _lean(one, default))


def _is_inside(one: Field, key: str) -> bool:
    part, _, name = key.partition("-")
    return part in PARTS and name.startswith(f"{one.name}.")


PARTS = ("arg", "use", "as", "zone", "empty")
"""What the names of inputs begin with."""


def _lean(one: Field, value: Any) -> Any:
    """An object without what its members are anyway: they show as left to their defaults."""
    if one.widget != "fields" or not isinstance(value, dict):
        return value
    members = {member.key: member for member in one.members}
    return {
        key: _lean(members[key], inner) if key in members else inner
        for key, inner in value.items()
        if key not in members or members[key].schema.get("default", ...) != inner
    }


# --- values as if they had been typed ----------------------------------------------------------------------------


def typed_of(parameters: JSON, args: list[Any], kwargs: JSON) -> tuple[dict[str, str], list[str]]:
    """Arguments as if they had been typed, and the names of those that the target no longer has.

    Secrets are left out: they are asked for again.
    """
    known = {one.name: one for one in fields(parameters)}
    positional = by_position(known.values())
    typed: dict[str, str] = {}
    for one, value in zip(positional, args, strict=False):
        typed |= _typed(one, value)
    rest, other = only(known.values(), "var_positional"), only(known.values(), "var_keyword")
    lost = [name for name in kwargs if name not in known and other is None]
    lost += [f"args[{i}]" for i in range(len(positional), len(args)) if rest is None]
    if rest is not None and len(args) > len(positional):
        typed |= _typed(rest, args[len(positional) :])
    for name in kwargs.keys() & known.keys():
        typed |= _typed(known[name], kwargs[name])
    extra = {name: value for name, value in kwargs.items() if name not in known}
    if other is not None and extra:
        typed |= _typed(other, extra)
    return typed, lost


def _typed(one: Field, value: Any) -> dict[str, str]:
    name = one.name
    if one.widget == "secret":
        return {f"use-{name}": VALUE} if value is not None and one.uses else {}
    if one.widget == "choice" and values.written(one, value) is not None:
        return {f"arg-{name}": values.written(one, value) or ""}
    if value is None and one.schema.get("default", ...) is None:
        return {}  # to say so would be to say the default
    if value is None and NONE in one.uses:
        return {f"use-{name}": NONE}
    if one.is_structured:
        return _typed_inside(one, value) or _typed_json(one, value)
    text = values.written(one, value)
    if text is None:
        return _typed_json(one, value)
    return {f"use-{name}": VALUE, f"arg-{name}": text} | ({f"empty-{name}": "yes"} if text == "" else {})


def _typed_json(one: Field, value: Any) -> dict[str, str]:
    as_json = {} if one.is_json else {f"as-{one.name}": "json"}
    return {f"use-{one.name}": VALUE, f"arg-{one.name}": values.json_text(value), **as_json}


def _typed_inside(one: Field, value: Any) -> dict[str, str] | None:
    """A list or an object by its rows or fields; None where those could not say it."""
    typed = {f"use-{one.name}": VALUE}
    if one.widget == "rows":
        if not isinstance(value, list) or len(value) > MAX_ROWS:
            return None
        for index, item in enumerate(value):
            text = values.written(row(one, index), item)
            if text is None:
                return None
            typed[f"arg-{one.name}.{index}"] = text
        return typed
    members = {member.key: member for member in one.members}
    if not isinstance(value, dict) or not value.keys() <= members.keys():
        return None
    if any(member.is_required and key not in value for key, member in members.items()):
        return None
    for key, inner in value.items():
        typed |= _typed(members[key], inner)
    return typed


# --- links -------------------------------------------------------------------------------------------------------


def prefilled(parameters: JSON, given: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """What a link asks to be typed (`arg-width=640`, `use-limit=none`, or plainly `width=640`), and the names that the
    target does not have.

    A value chooses itself; a member of a choice goes by its value or its name, an object or a list also by JSON. A
    plain name that is one of `RESERVED` is not that of a parameter.
    """
    known = fields(parameters)
    typed: dict[str, str] = {}
    lost = []
    for key, text in given.items():
        if key in RESERVED:
            continue
        part, dash, name = key.partition("-")
        if not dash or part not in PARTS:
            key, part, name = f"arg-{key}", "arg", key
            if key in given:
                continue
        one = at(known, name)
        if one is None:
            lost.append(name)
        elif one.widget != "secret":
            typed |= _linked(one, part, key, text)
    for name in [key.partition("-")[2] for key in typed if not key.startswith("use-")]:
        _choose(known, name, typed, given)
    return typed, lost


RESERVED = frozenset({"target", "from", "preset", *OPTIONS})
"""What an address of the form has beside the parameters."""


def _choose(known: Iterable[Field], name: str, typed: dict[str, str], given: Mapping[str, str]) -> None:
    """Choose a value for a field and all that it is inside of, unless the link says otherwise."""
    path = ""
    for part in name.split("."):
        path = f"{path}.{part}" if path else part
        one = at(known, path)
        if one is not None and one.uses and f"use-{path}" not in given:
            typed[f"use-{path}"] = VALUE


def _linked(one: Field, part: str, key: str, text: str) -> dict[str, str]:
    if part != "arg":
        return {key: text}
    if one.widget == "choice":
        return {key: next((choice.key for choice in one.choices if text in (choice.key, *_words(choice.word))), text)}
    if one.is_structured:
        try:
            return _typed(one, values.json_value(text))
        except Wrong:
            return {key: text, f"as-{one.name}": "json"}
    return {key: text}


def _words(word: str) -> tuple[str, ...]:
    name, equals, _ = word.partition(" = ")
    return (word, word.lower(), name) if equals else (word, word.lower())


# --- buttons that change the form --------------------------------------------------------------------------------


def changed(parameters: JSON, typed: Typed, action: str) -> tuple[dict[str, str], dict[str, str]] | None:
    """The form after one of its own buttons: `add-row-NAME`, `remove-row-NAME.2`, `json-NAME`, `plain-NAME`; and what
    is wrong. None where it is no such button."""
    known = fields(parameters)
    for start, change in _CHANGES.items():
        if action.startswith(start):
            one = at(known, action.removeprefix(start))
            return change(one, typed) if one is not None else (dict(typed), {})
    return None


Changed = tuple[dict[str, str], dict[str, str]]


def _add_row(one: Field, typed: Typed) -> Changed:
    keys = rows_of(one, typed)
    if one.item is None or len(keys) >= MAX_ROWS:
        return dict(typed), {one.name: f"can't have more rows than {MAX_ROWS}; as JSON it can"}
    added = f"arg-{one.name}.{int(keys[-1]) + 1 if keys else 0}"
    return {**typed, f"use-{one.name}": VALUE, added: ""}, {}


def _remove_row(one: Field, typed: Typed) -> Changed:
    if one.kind != "item":
        return dict(typed), {}
    return {key: text for key, text in typed.items() if key.partition("-")[2] != one.name}, {}


def _to_json(one: Field, typed: Typed) -> Changed:
    errors: dict[str, str] = {}
    aware = {**typed, **({f"use-{one.name}": VALUE} if one.uses else {})}
    if one.is_structured:
        aware = {**_begun(one, typed), **aware}
    value = value_of(one, aware, errors)
    if errors or value is OMITTED:
        # What can't be read yet is taken as it was typed, to be mended there.
        value = _raw(one, aware)
    text = "" if value is None and not one.is_structured else values.json_text(value)
    rest = {key: text for key, text in typed.items() if not _is_inside(one, key)}
    return rest | {f"use-{one.name}": VALUE, f"as-{one.name}": "json", f"arg-{one.name}": text}, {}


def _raw(one: Field, typed: Typed) -> Any:
    """What is typed, wrong or not: what can't be read as a text."""
    errors: dict[str, str] = {}
    if one.widget == "fields":
        inside = {member.key: _raw(member, typed) for member in one.members}
        return {key: value for key, value in inside.items() if value is not None}
    if one.widget == "rows":
        return [typed[f"arg-{one.name}.{key}"] for key in rows_of(one, typed)]
    value = value_of(one, typed, errors)
    return typed.get(f"arg-{one.name}") or None if errors or value is OMITTED else value


def _to_plain(one: Field, typed: Typed) -> Changed:
    text = typed.get(f"arg-{one.name}", "")
    rest = {key: old for key, old in typed.items() if key not in (f"arg-{one.name}", f"as-{one.name}")}
    if not text.strip():
        return rest, {}
    try:
        fresh = _typed(one, values.json_value(text))
    except Wrong as error:
        return dict(typed), {one.name: str(error)}
    if fresh.get(f"as-{one.name}") == "json":
        return dict(typed), {one.name: "can't be shown in simple inputs: they could not hold it"}
    return rest | fresh, {}


_CHANGES = {"add-row-": _add_row, "remove-row-": _remove_row, "json-": _to_json, "plain-": _to_plain}


def without_secrets(parameters: JSON, typed: Typed) -> dict[str, str]:
    """What is typed without secrets, to be kept."""
    known = fields(parameters)

    def is_secret(key: str) -> bool:
        part, _, name = key.partition("-")
        one = at(known, name) if part == "arg" else None
        return one is not None and one.widget == "secret"

    return {key: text for key, text in typed.items() if not is_secret(key)}


SECRET = "***"
"""In place of a secret where a call is shown."""


def veiled(parameters: JSON, args: list[Any], kwargs: JSON) -> tuple[list[Any], JSON]:
    """The arguments to be shown, without their secrets."""
    known = fields(parameters)
    positional = by_position(known)
    return (
        [*(_veil(one, value) for one, value in zip(positional, args, strict=False)), *args[len(positional) :]],
        {name: _veil(at(known, name), value) for name, value in kwargs.items()},
    )


def _veil(one: Field | None, value: Any) -> Any:
    if one is None or value is None:
        return value
    if one.widget == "secret":
        return SECRET
    if one.widget == "fields" and isinstance(value, dict):
        members = {member.key: member for member in one.members}
        return {key: _veil(members.get(key), inner) for key, inner in value.items()}
    return value
