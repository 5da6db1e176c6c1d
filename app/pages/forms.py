"""The launch form: a target's parameters as inputs, and what was typed as a launch. Pure.

What the form shows is what is sent. A parameter with a default offers "default" (the name is left out of the request),
None where the target takes it, and a value; nothing that was typed is ever dropped in silence. Inputs go by the name of
their parameter: `arg-width` is the text, `use-width` the choice between the three, `as-width` "json" when the input is
JSON although the type would have a simpler one, `empty-width` "yes" when an empty text is meant.
"""

import json
import math
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from app.errors import AppError, FieldError, parse_json
from app.supervisor.launches import Launch
from procdeck.schema import wanted

JSON = dict[str, Any]
Typed = Mapping[str, str]
Widget = Literal["choice", "integer", "number", "text", "lines", "date", "json", "list", "object"]

DEFAULT, NONE, VALUE = "default", "none", "value"
MAX_RADIOS = 4
MAX_SHOWN = 60
MAX_NAME = 200
MAX_SECONDS = 10 * 365 * 86400.0
"""Ten years: longer ones are mistakes."""

START_METHODS = ("fork", "spawn", "forkserver")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LEFTOVERS = ("end", "keep")


class Wrong(ValueError):
    """What was typed is no value; the text continues the field's name as a sentence."""


# --- fields: what a parameter looks like -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several values: how it is posted, and how it reads."""

    key: str
    word: str


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter as an input."""

    name: str
    label: str
    kind: str
    widget: Widget
    schema: JSON
    type_text: str
    is_required: bool
    is_nullable: bool
    choices: tuple[Choice, ...] = ()

    @property
    def description(self) -> str:
        return str(self.schema.get("description", ""))

    @property
    def has_default(self) -> bool:
        return "default" in self.schema or "x-default-repr" in self.schema

    @property
    def default_text(self) -> str:
        return _default_text(self.schema)

    @property
    def start_text(self) -> str:
        """What an input begins with once a value is wanted in place of the default."""
        default = self.schema.get("default")
        return "" if default is None else _typed(self, default).get(f"arg-{self.name}", "")

    @property
    def placeholder(self) -> str:
        """What a value may look like."""
        plain, _ = _without_null(self.schema)
        if self.widget == "object" or plain.get("type") == "object":
            return _skeleton(plain)
        if self.widget == "list" or plain.get("type") == "array":
            return "[1, 2]"
        if self.widget == "json":
            return '1, "text", [1, 2], {"name": 1}'
        return _PLACEHOLDERS.get(plain.get("format", ""), "")

    @property
    def uses(self) -> tuple[str, ...]:
        """What may be chosen beside a value; only a value when it is empty."""
        if self.widget in ("choice", "list", "object"):
            return ()
        uses = (DEFAULT,) if self.has_default else ()
        offers_none = self.is_nullable and self.schema.get("default", ...) is not None
        return (*uses, *((NONE,) if offers_none else ()), *((VALUE,) if uses or offers_none else ()))


def fields(parameters: JSON) -> list[Field]:
    """The inputs of a target, in the order of its parameters."""
    required = set(parameters.get("required", ()))
    found = [_field(name, schema, name in required) for name, schema in parameters.get("properties", {}).items()]
    other = parameters.get("additionalProperties", False)
    if other is not False:
        name = f"**{parameters.get('x-var-keyword', 'kwargs')}"
        schema: JSON = {"additionalProperties": other, "x-kind": "var_keyword"}
        found.append(Field(name, name, "var_keyword", "object", schema, "a JSON object", False, False))
    return found


def _field(name: str, schema: JSON, is_required: bool) -> Field:
    kind = schema.get("x-kind", "positional_or_keyword")
    if kind == "var_positional":
        item = wanted(schema["items"]) if schema.get("items") else "a JSON value"
        return Field(name, f"*{name}", kind, "list", schema, f"a JSON list, each item {item}", False, False)
    plain, is_nullable = _without_null(schema)
    widget, choices = _widget(plain, schema)
    if widget == "choice":
        choices = _offered(choices, schema, is_required, is_nullable)
    type_text = wanted(schema) if _is_typed(schema) else "any JSON value"
    return Field(name, name, kind, widget, schema, type_text, is_required, is_nullable, choices)


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
    return (others[0] if len(others) == 1 else {"anyOf": others}), is_nullable


_PLACEHOLDERS = {
    "date-time": "2026-01-31T09:30:00+01:00",
    "time": "09:30:00",
    "path": "/path/on/the/server",
    "uuid": "01890a5d-ac96-774b-bcce-b302099a8057",
}


def _skeleton(schema: JSON) -> str:
    """An object with the names that are known of it."""
    known = schema.get("properties", {})
    return json.dumps({name: inner.get("default") for name, inner in known.items()} or {"name": 1}, ensure_ascii=False)


_BY_FORMAT: dict[str, Widget] = {"date": "date"}
_BY_TYPE: dict[str, Widget] = {"integer": "integer", "number": "number", "string": "text"}


def _widget(plain: JSON, schema: JSON) -> tuple[Widget, tuple[Choice, ...]]:
    if "enum" in plain:
        names = plain.get("x-names") or [None] * len(plain["enum"])
        return "choice", tuple(_choice(value, name) for value, name in zip(plain["enum"], names, strict=False))
    if plain.get("type") == "boolean" or (not _is_typed(schema) and isinstance(schema.get("default"), bool)):
        return "choice", (_choice(True), _choice(False))
    if plain.get("type") == "string":
        is_long = schema.get("x-widget", plain.get("x-widget")) in ("multiline", "textarea")
        return ("lines" if is_long else _BY_FORMAT.get(plain.get("format", ""), "text")), ()
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
    return Choice(_compact(value), word if name is None or isinstance(value, str) else f"{name} = {word}")


def _offered(choices: tuple[Choice, ...], schema: JSON, is_required: bool, is_nullable: bool) -> tuple[Choice, ...]:
    """All that can be chosen: the default by its own, for it leaves the name out of the request."""
    default = () if is_required else (Choice(DEFAULT, f"default: {_default_text(schema)}"),)
    none = _choice(None)
    offers_none = is_nullable and none not in choices and schema.get("default", ...) is not None
    return (*default, *choices, *((none,) if offers_none else ()))


def _default_text(schema: JSON) -> str:
    text = repr(schema["default"]) if "default" in schema else str(schema.get("x-default-repr", ""))
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# --- inputs: a field with what was typed into it -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Input:
    """A field as the form shows it: what is chosen, what is typed, what is wrong."""

    field: Field
    use: str
    text: str
    error: str = ""
    as_json: bool = False
    is_empty_meant: bool = False

    @property
    def widget(self) -> Widget:
        if self.as_json:
            return "json"
        # A one-line input would drop line breaks.
        return "lines" if self.field.widget == "text" and "\n" in self.text else self.field.widget

    @property
    def asks_empty(self) -> bool:
        """Whether to offer that an empty text is meant: only where it could be, and was sent or meant."""
        is_text = self.field.widget in ("text", "lines") and not self.field.uses
        return is_text and (self.is_empty_meant or (bool(self.error) and not self.text))

    @property
    def rows(self) -> int:
        """Lines of a larger input."""
        return min(max(self.text.count("\n") + 1, 2 if self.field.widget in ("list", "object") else 3), 16)


def inputs(known: Iterable[Field], typed: Typed, errors: Mapping[str, str]) -> list[Input]:
    """The form with what was typed, or as it begins when nothing was."""
    return [_input(one, typed, errors.get(one.name, "")) for one in known]


def _input(one: Field, typed: Typed, error: str) -> Input:
    name = one.name
    use = typed.get(f"use-{name}", "")
    if use not in one.uses:
        use = one.uses[0] if one.uses else VALUE
    text = typed.get(f"arg-{name}", "")
    if one.widget == "choice" and not text and not one.is_required:
        text = DEFAULT
    return Input(one, use, text, error, typed.get(f"as-{name}") == "json", typed.get(f"empty-{name}") == "yes")


def typed_of(parameters: JSON, args: list[Any], kwargs: JSON) -> tuple[dict[str, str], list[str]]:
    """Arguments as if they had been typed, and the names of those that the target no longer has."""
    known = {one.name: one for one in fields(parameters)}
    by_position = _by_position(known.values())
    typed: dict[str, str] = {}
    for one, value in zip(by_position, args, strict=False):
        typed |= _typed(one, value)
    rest, other = _one(known.values(), "var_positional"), _one(known.values(), "var_keyword")
    lost = [name for name in kwargs if name not in known and other is None]
    lost += [f"args[{i}]" for i in range(len(by_position), len(args)) if rest is None]
    if rest is not None and len(args) > len(by_position):
        typed |= _typed(rest, args[len(by_position) :])
    for name in kwargs.keys() & known.keys():
        typed |= _typed(known[name], kwargs[name])
    extra = {name: value for name, value in kwargs.items() if name not in known}
    if other is not None and extra:
        typed |= _typed(other, extra)
    return typed, lost


def _typed(one: Field, value: Any) -> dict[str, str]:
    name = one.name
    if one.widget == "choice" and _compact(value) in {choice.key for choice in one.choices}:
        return {f"arg-{name}": _compact(value)}
    if value is None and one.schema.get("default", ...) is None:
        return {}
    if value is None and NONE in one.uses:
        return {f"use-{name}": NONE}
    if _fits(one.widget, value):
        text = value if isinstance(value, str) else repr(value)
        empty = {f"empty-{name}": "yes"} if text == "" else {}
        return {f"use-{name}": VALUE, f"arg-{name}": text, **empty}
    pretty = json.dumps(value, indent=2, ensure_ascii=False) if isinstance(value, list | dict) else _compact(value)
    as_json = {} if one.widget in ("json", "list", "object") else {f"as-{name}": "json"}
    return {f"use-{name}": VALUE, f"arg-{name}": pretty, **as_json}


_FITTING: dict[str, tuple[type, ...]] = {
    "integer": (int,),
    "number": (int, float),
    "text": (str,),
    "lines": (str,),
    "date": (str,),
}


def _fits(widget: Widget, value: Any) -> bool:
    return type(value) in _FITTING.get(widget, ())


def _by_position(known: Iterable[Field]) -> list[Field]:
    return [one for one in known if one.kind in ("positional_only", "positional_or_keyword")]


def _one(known: Iterable[Field], kind: str) -> Field | None:
    return next((one for one in known if one.kind == kind), None)


# --- from what was typed to arguments ----------------------------------------------------------------------------

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
    values: JSON = {}
    for one in known:
        try:
            values[one.name] = value_of(one, typed)
        except Wrong as error:
            found.errors[one.name] = str(error)
            values[one.name] = OMITTED
    rest, other = _one(known, "var_positional"), _one(known, "var_keyword")
    further = values.pop(rest.name) if rest else OMITTED
    named = values.pop(other.name) if other else OMITTED
    positional = _positional(_by_position(known), values, is_followed=bool(further) and further is not OMITTED)
    found.args = [_filled(one, values[one.name], found.errors) for one in positional]
    found.args += further if isinstance(further, list) else []
    taken = {one.name for one in positional}
    found.kwargs = {name: value for name, value in values.items() if value is not OMITTED and name not in taken}
    if other is not None and isinstance(named, dict):
        _add_named(other, named, known, found)
    return found


def _positional(by_position: list[Field], values: JSON, *, is_followed: bool) -> list[Field]:
    """The fields that must go by position: all before further ones, else up to the last positional-only one given."""
    if is_followed:
        return by_position
    only = [i for i, one in enumerate(by_position) if one.kind == "positional_only"]
    given = [i for i in only if values[by_position[i].name] is not OMITTED]
    return by_position[: given[-1] + 1] if given else []


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


def value_of(one: Field, typed: Typed) -> Any:
    """The value of one field, or OMITTED. Raises Wrong."""
    text = typed.get(f"arg-{one.name}", "")
    if typed.get(f"as-{one.name}") == "json":
        return _used(one, typed, text, lambda: _json_value(text))
    if one.widget == "choice":
        return _chosen(one, text)
    if one.widget in ("list", "object"):
        return _collection(one, text)
    return _used(one, typed, text, lambda: _read(one, text, is_empty_meant=_is_empty_meant(one, typed)))


def _is_empty_meant(one: Field, typed: Typed) -> bool:
    return bool(one.uses) or typed.get(f"empty-{one.name}") == "yes"


def _used(one: Field, typed: Typed, text: str, read: Callable[[], Any]) -> Any:
    use = typed.get(f"use-{one.name}", one.uses[0] if one.uses else VALUE)
    if use == VALUE or use not in one.uses:
        return read()
    if text:
        raise Wrong(
            f"has a value typed, but {'None' if use == NONE else 'the default'} is chosen: clear one of the two"
        )
    return None if use == NONE else OMITTED


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
    value = _json_value(text)
    if not isinstance(value, list if one.widget == "list" else dict):
        raise Wrong(f"must be {'a JSON list, such as [1, 2]' if one.widget == 'list' else 'a JSON object'}")
    return value


def _read(one: Field, text: str, *, is_empty_meant: bool) -> Any:
    if one.widget in ("text", "lines"):
        if not text and not is_empty_meant:
            raise Wrong("is required; tick the box if an empty text is meant")
        return text.replace("\r\n", "\n")
    if not text.strip():
        raise Wrong("is required" if not one.uses else "needs a value")
    if one.widget == "integer":
        return _integer(text)
    if one.widget == "number":
        return _number(text)
    return text.strip() if one.widget == "date" else _json_value(text)


def _integer(text: str) -> int:
    try:
        if re.fullmatch(r"[+-]?\d+", text.strip(), re.ASCII):
            return int(text)
    except ValueError:  # more digits than Python converts
        raise Wrong("has too many digits") from None
    raise Wrong(f"must be a whole number, not {_shown(text)}")


def _number(text: str) -> int | float:
    if re.fullmatch(r"[+-]?\d{1,300}", text.strip(), re.ASCII):
        return int(text)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise Wrong(f"must be a number, not {_shown(text)}")
    return number


def _json_value(text: str) -> Any:
    try:
        return parse_json(text.strip().encode("utf-8", "surrogatepass"))
    except AppError as error:
        reason = error.detail.removeprefix("The body is not valid JSON: ").removeprefix("The body ").rstrip(".")
        raise Wrong(f"is not JSON ({reason}); a text is written in quotes: {_quoted(text)}") from None


def _quoted(text: str) -> str:
    line = text.strip().split("\n", 1)[0][:20]
    return json.dumps(line, ensure_ascii=False) if re.fullmatch(r"[\w ./:-]+", line) else '"text"'


def _shown(text: str) -> str:
    return repr(text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…")


def placed(parameters: JSON, errors: Iterable[FieldError]) -> tuple[dict[str, str], list[str]]:
    """Errors of the service (`args[1]`, `kwargs.opts.size`) at their fields; those that belong to none as sentences."""
    known = fields(parameters)
    at: dict[str, str] = {}
    others = []
    for error in errors:
        name, deeper = _place(error["field"], known)
        if name is None:
            others.append(f"{error['field']} {error['message']}".strip())
        else:
            at.setdefault(name, f"{deeper} {error['message']}".strip())
    return at, others


def _place(path: str, known: list[Field]) -> tuple[str | None, str]:
    """The field that a path is about, and what follows of the path."""
    if by_index := re.match(r"args\[(\d+)\](.*)", path, re.DOTALL):
        index, by_position = int(by_index[1]), _by_position(known)
        if index < len(by_position):
            return by_position[index].name, by_index[2]
        rest = _one(known, "var_positional")
        return (rest.name, f"[{index - len(by_position)}]{by_index[2]}") if rest else (None, "")
    if path.startswith("kwargs."):
        inner = path.removeprefix("kwargs.")
        for one in known:
            if inner == one.name or inner.startswith((f"{one.name}.", f"{one.name}[")):
                return one.name, inner[len(one.name) :]
        other = _one(known, "var_keyword")
        return (other.name, inner) if other else (None, "")
    return (option_key(path), "") if path in OPTIONS else (None, "")


# --- the options that every launch has ---------------------------------------------------------------------------

OPTIONS = (
    "name", "daemon", "start", "timeout", "grace", "start_method", "log_level", "leftovers", "env", "cwd", "labels",
)  # fmt: skip


def option_key(name: str) -> str:
    """Where errors of an option stand: a target may have a parameter of the same name."""
    return f"option-{name}"


FRESH = {"start": "yes", "start_method": "fork", "leftovers": "end"}
"""The options of a form that nobody has typed into."""


def options(typed: Typed) -> tuple[JSON, dict[str, str]]:
    """The options as `Launch` takes them, and what is wrong with them by `option_key`."""
    readers: dict[str, Callable[[str], Any]] = {
        "name": lambda text: _read_name(text.strip()),
        "daemon": lambda text: {"": None, "yes": True, "no": False}[text],
        "timeout": lambda text: _read_seconds(text.strip(), above_zero=True),
        "grace": lambda text: _read_seconds(text.strip(), above_zero=False),
        "start_method": lambda text: _one_of(text or "fork", START_METHODS),
        "log_level": lambda text: _one_of(text, LOG_LEVELS) if text else None,
        "leftovers": lambda text: _one_of(text or "end", LEFTOVERS),
        "env": lambda text: _read_pairs(text, "variable"),
        "cwd": lambda text: _read_folder(text.strip()),
        "labels": lambda text: _read_pairs(text, "label"),
    }
    found: JSON = {"start": typed.get("start") == "yes"}
    errors: dict[str, str] = {}
    for name, read in readers.items():
        try:
            found[name] = read(_no_nul(typed.get(name, "")))
        except Wrong as error:
            errors[option_key(name)] = str(error)
        except KeyError:
            errors[option_key(name)] = "must be one of those offered"
    return found, errors


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise Wrong("must not hold a NUL character")
    return text


def _read_name(text: str) -> str | None:
    if len(text) > MAX_NAME:
        raise Wrong(f"must have at most {MAX_NAME} characters")
    return text or None


def _read_seconds(text: str, *, above_zero: bool) -> float | None:
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        raise Wrong(f"must be a number of seconds, not {_shown(text)}") from None
    if not 0 <= number <= MAX_SECONDS or (above_zero and number == 0):
        raise Wrong(f"must be a number of seconds {'above 0' if above_zero else 'from 0'} up to ten years")
    return number


def _one_of(text: str, words: tuple[str, ...]) -> str:
    if text not in words:
        raise Wrong(f"must be one of {', '.join(words)}")
    return text


def _read_folder(text: str) -> str | None:
    if text and not Path(text).is_absolute():
        raise Wrong("must be an absolute path: it begins with /")
    return text or None


def _read_pairs(text: str, what: str) -> dict[str, str]:
    """Lines `NAME=value`."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        if not line.strip():
            continue
        name, equals, value = line.partition("=")
        name = name.strip()
        if not name or not equals:
            raise Wrong(f"must have one NAME=value a line; line {number} has not")
        if name in found:
            raise Wrong(f"has the {what} {name!r} twice")
        if len(name) > MAX_NAME or (what == "label" and len(value) > MAX_NAME):
            raise Wrong(f"has too long a {what} in line {number}: at most {MAX_NAME} characters")
        found[name] = value
    if what == "label" and len(found) > 50:
        raise Wrong("must be at most 50 labels")
    return found


def typed_options(spec: Mapping[str, Any], number: int | None = None) -> dict[str, str]:
    """The options of a launch as if they had been typed; a name that was only counted (`Process-7`) is left out."""
    name = str(spec["name"])
    is_counted = number is not None and name.endswith(f"-{number}")
    typed = {
        "name": "" if is_counted else name,
        "daemon": "yes" if spec["daemon"] else "no",
        "start": "yes",
        "start_method": str(spec["start_method"]),
        "leftovers": str(spec["leftovers"]),
        "log_level": spec["log_level"] or "",
        "cwd": spec["cwd"] or "",
        "env": "\n".join(f"{name}={value}" for name, value in spec["env"].items()),
        "labels": "\n".join(f"{name}={value}" for name, value in spec["labels"].items()),
    }
    times = {name: f"{spec[name]:g}" for name in ("timeout", "grace") if spec[name] is not None}
    return typed | times


# --- the whole form ----------------------------------------------------------------------------------------------


def launch_of(target: str, parameters: JSON, typed: Typed) -> tuple[Launch, dict[str, str]]:
    """What was typed as a launch, and what is wrong by the name of its field; the launch is whole if nothing is."""
    given = arguments(parameters, typed)
    chosen, wrong = options(typed)
    launch = Launch(
        target=target,
        args=given.args,
        kwargs=given.kwargs,
        origin_id=typed.get("origin_id") or None,
        **chosen,
    )
    return launch, given.errors | wrong


def request_body(launch: Launch) -> JSON:
    """The launch as the body of `POST /processes`, without what is as it would be anyway."""
    plain = Launch(target=launch.target)
    names = ("args", "kwargs", *OPTIONS)
    return {"target": launch.target} | {
        name: getattr(launch, name) for name in names if getattr(launch, name) != getattr(plain, name)
    }


def curl(launch: Launch, server_url: str, token_file: Path) -> str:
    """The same launch from a shell."""
    token = f'"Authorization: Bearer $(cat {_in_quotes(str(token_file))})"'
    body = json.dumps(request_body(launch), ensure_ascii=False)
    lines = (
        f"curl -X POST {shlex.quote(f'{server_url}/api/v1/processes')}",
        f"-H {token}",
        "-H 'Content-Type: application/json'",
        f"-d {shlex.quote(body)}",
    )
    return " \\\n  ".join(lines)


def _in_quotes(path: str) -> str:
    """A path inside of $() inside of double quotes."""
    return path if re.fullmatch(r"[\w@%+=:,./-]+", path, re.ASCII) else shlex.quote(path)
