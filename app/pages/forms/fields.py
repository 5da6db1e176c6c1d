"""Parameters as fields: which input a JSON Schema gets, what can be chosen beside a value, how deep fields nest. Pure.

| schema | widget |
|---|---|
| enum, boolean | choice: radios up to four, else a list |
| integer, number | integer, number |
| number of seconds | duration: 1h30m |
| Decimal | decimal: a text that keeps its digits |
| integer or number, or text | either: what reads as a number is one |
| string | text; lines for x-widget multiline, secret for x-widget password |
| string of format date, date-time | date, datetime |
| array of one of these | rows: one input an item |
| object with known properties | fields: a field each, inside of the first |
| everything else | json |

`*args` is rows, or list (JSON) where its items are none of these; `**kwargs` is object (JSON).
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from app.pages.forms import durations
from procdeck.schema import wanted

JSON = dict[str, Any]
Widget = Literal[
    "choice", "integer", "number", "duration", "decimal", "either", "text", "lines", "secret", "date", "datetime",
    "rows", "fields", "json", "list", "object",
]  # fmt: skip

DEFAULT, NONE, VALUE = "default", "none", "value"
MAX_RADIOS = 4
MAX_SHOWN = 60
MAX_TOLD = 12
"""Members of an Enum that its type names."""
MAX_NESTED = 4
"""Fields inside of fields inside of fields; what lies deeper is JSON."""
MAX_MEMBERS = 40
"""Of one object; one with more is JSON."""
MAX_ROWS = 100
"""Of one list; one with more is JSON."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several values: how it is posted, and how it reads."""

    key: str
    word: str


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter, a member of an object or an item of a list as an input.

    ``name`` is the path to it: `opts.size`, `tags.0`.
    """

    name: str
    label: str
    kind: str
    widget: Widget
    schema: JSON
    type_text: str
    is_required: bool
    is_nullable: bool
    choices: tuple[Choice, ...] = ()
    members: tuple["Field", ...] = ()
    """Of an object, in their order."""
    item: "Field | None" = None
    """What each row of a list is."""

    @property
    def key(self) -> str:
        """The name inside of the object that it is a member of."""
        return self.name.rpartition(".")[2]

    @property
    def description(self) -> str:
        """What the target says of it."""
        return str(self.schema.get("description", ""))

    @property
    def is_structured(self) -> bool:
        """Whether it consists of further fields."""
        return self.widget in ("rows", "fields")

    @property
    def is_json(self) -> bool:
        """Whether it is JSON in any case."""
        return self.widget in ("json", "list", "object")

    @property
    def is_free_text(self) -> bool:
        """Whether any text will do, the empty one too; that is no path, no time and no UUID."""
        plain, _ = _without_null(self.schema)
        return self.widget in ("text", "lines") and "format" not in plain

    @property
    def format(self) -> str:
        """What kind of text it is by JSON Schema: `path`, `date`; empty for any."""
        plain, _ = _without_null(self.schema)
        return str(plain.get("format", ""))

    @property
    def kinds(self) -> frozenset[str]:
        """The types of an `either`: `string` and `integer` or `number`."""
        plain, _ = _without_null(self.schema)
        return _scalars(plain)

    @property
    def has_default(self) -> bool:
        """Whether it may be left out."""
        return "default" in self.schema or "x-default-repr" in self.schema

    @property
    def default_text(self) -> str:
        """The default, shortened."""
        return _default_text(self.schema)

    @property
    def default_word(self) -> str:
        """What it means to give no value."""
        return _default_word(self.schema)

    @property
    def bounds(self) -> JSON:
        """The least and the largest number, or length of a text, by the words of JSON Schema."""
        plain, _ = _without_null(self.schema)
        return {name: value for name, value in (plain | self.schema).items() if name in _BOUNDS}

    @property
    def placeholder(self) -> str:
        """What a value may look like."""
        plain, _ = _without_null(self.schema)
        if self.widget in ("object", "fields") or plain.get("type") == "object":
            return _skeleton(plain)
        if self.widget in ("list", "rows") or plain.get("type") == "array":
            return "[1, 2]"
        if self.widget == "json":
            return '1, "text", [1, 2], {"name": 1}'
        if self.widget == "decimal":
            return "12.50"
        return "1h30m" if self.widget == "duration" else _PLACEHOLDERS.get(plain.get("format", ""), "")

    @property
    def uses(self) -> tuple[str, ...]:
        """What may be chosen beside a value; only a value when it is empty."""
        if self.widget == "choice" or self.kind in ("var_positional", "var_keyword", "item"):
            return ()
        uses = () if self.is_required else (DEFAULT,)
        offers_none = self.is_nullable and self.schema.get("default", ...) is not None
        return (*uses, *((NONE,) if offers_none else ()), *((VALUE,) if uses or offers_none else ()))


_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength")


def fields(parameters: JSON) -> list[Field]:
    """The inputs of a target, in the order of its parameters."""
    required = set(parameters.get("required", ()))
    found = [_field(name, schema, name in required, 1) for name, schema in parameters.get("properties", {}).items()]
    other = parameters.get("additionalProperties", False)
    if other is not False:
        name = f"**{parameters.get('x-var-keyword', 'kwargs')}"
        schema: JSON = {"additionalProperties": other, "x-kind": "var_keyword"}
        found.append(Field(name, name, "var_keyword", "object", schema, "a JSON object", False, False))
    return found


def by_position(known: Iterable[Field]) -> list[Field]:
    """Those that can be given by position, without `*args`."""
    return [one for one in known if one.kind in ("positional_only", "positional_or_keyword")]


def only(known: Iterable[Field], kind: str) -> Field | None:
    """The one of this kind: `*args` or `**kwargs`."""
    return next((one for one in known if one.kind == kind), None)


def row(one: Field, index: int) -> Field:
    """An item of a list."""
    assert one.item is not None
    return replace(one.item, name=f"{one.name}.{index}", label=str(index + 1))


def at(known: Iterable[Field], path: str) -> Field | None:
    """The field of this name, however deep."""
    for one in known:
        if one.name == path:
            return one
        if path.startswith(f"{one.name}."):
            index = path.removeprefix(f"{one.name}.")
            return row(one, int(index)) if one.item and index.isdecimal() else at(one.members, path)
    return None


def _field(name: str, schema: JSON, is_required: bool, depth: int) -> Field:
    kind = schema.get("x-kind", "positional_or_keyword" if depth == 1 else "member")
    if kind == "var_positional":
        return _rest(name, schema)
    plain, is_nullable = _without_null(schema)
    widget, choices = _widget(plain, schema)
    members: tuple[Field, ...] = ()
    item: Field | None = None
    if widget == "choice":
        choices = _offered(choices, schema, is_required, is_nullable)
    elif plain.get("type") == "object" and depth <= MAX_NESTED and _has_known_members(plain):
        widget = "fields"
        inner = set(plain.get("required", ()))
        members = tuple(
            _field(f"{name}.{key}", below, key in inner, depth + 1) for key, below in plain["properties"].items()
        )
    elif plain.get("type") == "array" and (item := _item(name, plain)) is not None:
        widget = "rows"
    label = name.rpartition(".")[2]
    return Field(
        name, label, kind, widget, schema, _type_text(schema), is_required, is_nullable, choices, members, item
    )


def _rest(name: str, schema: JSON) -> Field:
    """The field of `*args`."""
    kind, item = "var_positional", _item(name, schema)
    if item is not None:
        text = f"any number of them, each {item.type_text}"
        return Field(name, f"*{name}", kind, "rows", schema, text, False, False, item=item)
    each = wanted(schema["items"]) if schema.get("items") else "a JSON value"
    return Field(name, f"*{name}", kind, "list", schema, f"a JSON list, each item {each}", False, False)


def _item(name: str, array: JSON) -> Field | None:
    """What a row is; None where the items are not simple."""
    inner = array.get("items")
    if not inner or "prefixItems" in array or not _is_typed(inner):
        return None
    widget, choices = _widget(inner, inner)
    if widget in ("json", "lines", "secret") or ("anyOf" in inner and widget != "decimal"):
        return None
    return Field(f"{name}.0", "", "item", widget, inner, _type_text(inner), True, False, choices)


def _has_known_members(plain: JSON) -> bool:
    known = plain.get("properties", {})
    is_closed = plain.get("additionalProperties") is False
    # A dot in a name would be taken for the way to a member.
    return is_closed and 0 < len(known) <= MAX_MEMBERS and not any("." in key for key in known)


def _type_text(schema: JSON) -> str:
    if not _is_typed(schema):
        return "any JSON value"
    plain, is_nullable = _without_null(schema)
    item = plain.get("items")
    null = " or null" if is_nullable else ""
    if plain.get("x-unit") == "seconds":
        return f"a time such as 1h30m, or a number of seconds{null}"
    if "x-names" in plain:
        return f"{_members_text(plain)}{null}"
    text = wanted(schema)
    if _scalars(plain):
        text = f"{text}; what reads as a number is sent as one"
    if plain.get("type") == "array" and item and _is_typed(item):
        text = f"{text}, each {wanted(item)}"
    return re.sub(" such as [^ ]+", "", text) + _bounds_text(plain | schema)


def _members_text(plain: JSON) -> str:
    """The members of an Enum, shortened: `one of FAST = 1 or SLOW = 2 (Mode)`."""
    known = [_choice(value, name).word for value, name in zip(plain["enum"], plain["x-names"], strict=False)]
    shown = [*known[:MAX_TOLD], *([f"{len(known) - MAX_TOLD} more"] if len(known) > MAX_TOLD else [])]
    either = " or ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
    return f"{'one of ' if len(shown) > 1 else ''}{either}{' ({})'.format(plain['title']) if 'title' in plain else ''}"


def _scalars(plain: JSON) -> frozenset[str]:
    """The types of a schema that takes a number or else any text, and nothing else."""
    branches = plain.get("anyOf", ())
    kinds = frozenset(str(branch.get("type")) for branch in branches)
    is_simple = all(not branch.keys() - {"type", *_BOUNDS} for branch in branches)
    is_both = "string" in kinds and kinds & {"integer", "number"} and kinds <= {"string", "integer", "number"}
    return kinds if is_simple and is_both else frozenset()


def _bounds_text(schema: JSON) -> str:
    said = [f"{word} {schema[name]:g}" for name, word in _BOUND_WORDS if type(schema.get(name)) in (int, float)]
    return f", {' and '.join(said)}" if said else ""


_BOUND_WORDS = (
    ("minimum", "at least"),
    ("exclusiveMinimum", "more than"),
    ("maximum", "at most"),
    ("exclusiveMaximum", "less than"),
    ("minLength", "characters: at least"),
    ("maxLength", "characters: at most"),
)


def _is_typed(schema: JSON) -> bool:
    return any(key in schema for key in ("type", "enum", "anyOf"))


def _without_null(schema: JSON) -> tuple[JSON, bool]:
    """The schema without the alternative null, and whether there was one."""
    branches = schema.get("anyOf")
    if branches is None:
        # What is not typed takes everything, None among it; JSON says null by itself.
        return schema, False
    others = [branch for branch in branches if branch.get("type") != "null"]
    is_nullable = len(others) < len(branches)
    if not is_nullable:
        return schema, False
    return (others[0] if len(others) == 1 else {"anyOf": others}), is_nullable


_PLACEHOLDERS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T09:30:00+01:00",
    "time": "09:30:00",
    "path": "/path/on/the/server",
    "uuid": "01890a5d-ac96-774b-bcce-b302099a8057",
}


def _skeleton(schema: JSON) -> str:
    """An object with the names that are known of it."""
    known = schema.get("properties", {})
    return json.dumps({name: inner.get("default") for name, inner in known.items()} or {"name": 1}, ensure_ascii=False)


_BY_FORMAT: dict[str, Widget] = {"date": "date", "date-time": "datetime"}
_BY_UNIT: dict[str, Widget] = {"seconds": "duration", "decimal": "decimal"}
_BY_TYPE: dict[str, Widget] = {"integer": "integer", "number": "number", "string": "text"}
_BY_WISH: dict[str, Widget] = {"multiline": "lines", "textarea": "lines", "password": "secret", "secret": "secret"}
"""What `Annotated[str, {"x-widget": ...}]` may ask for."""


def _widget(plain: JSON, schema: JSON) -> tuple[Widget, tuple[Choice, ...]]:
    if "enum" in plain:
        names = plain.get("x-names") or [None] * len(plain["enum"])
        return "choice", tuple(_choice(value, name) for value, name in zip(plain["enum"], names, strict=False))
    if plain.get("type") == "boolean" or (not _is_typed(schema) and isinstance(schema.get("default"), bool)):
        return "choice", (_choice(True), _choice(False))
    if plain.get("type") == "string":
        wish = schema.get("x-widget", plain.get("x-widget"))
        return _BY_WISH.get(str(wish)) or _BY_FORMAT.get(plain.get("format", ""), "text"), ()
    if plain.get("x-unit") in _BY_UNIT:
        return _BY_UNIT[plain["x-unit"]], ()
    if _scalars(plain):
        return "either", ()
    if not _is_typed(schema):
        return _implied(schema.get("default")), ()
    return _BY_TYPE.get(plain.get("type", ""), "json"), ()


def _implied(default: Any) -> Widget:
    """Without an annotation the default tells what is usual."""
    if isinstance(default, str):
        return "text"
    return "number" if isinstance(default, int | float) else "json"


def _choice(value: Any, name: str | None = None) -> Choice:
    """A value to choose; `name` is that of the member of an Enum, which says more than a number."""
    word = value if isinstance(value, str) else repr(value)
    return Choice(compact(value), word if name is None or isinstance(value, str) else f"{name} = {word}")


def _offered(choices: tuple[Choice, ...], schema: JSON, is_required: bool, is_nullable: bool) -> tuple[Choice, ...]:
    """All that can be chosen: the default by its own, for it leaves the name out of the request."""
    default = () if is_required else (Choice(DEFAULT, _default_word(schema)),)
    none = _choice(None)
    offers_none = is_nullable and none not in choices and schema.get("default", ...) is not None
    return (*default, *choices, *((none,) if offers_none else ()))


def _default_text(schema: JSON) -> str:
    plain, _ = _without_null(schema)
    default = schema.get("default")
    if "default" in schema and default in plain.get("enum", ()) and "x-names" in plain:
        text = _choice(default, plain["x-names"][plain["enum"].index(default)]).word
    elif plain.get("x-unit") == "seconds" and isinstance(default, int | float):
        text = durations.written(default)
    elif plain.get("x-unit") == "decimal":
        text = str(default) if "default" in schema else str(schema.get("x-default-repr", ""))
    else:
        text = repr(default) if "default" in schema else str(schema.get("x-default-repr", ""))
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"


def _default_word(schema: JSON) -> str:
    text = _default_text(schema)
    return f"default: {text}" if text else "left out"


def compact(value: Any) -> str:
    """JSON without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
