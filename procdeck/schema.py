"""A signature as JSON Schema (2020-12), and JSON values as the Python arguments that it asks for.

Both come from one reading of the annotations, a `Codec` each, so that the form and the call can't disagree:

| annotation | JSON |
|---|---|
| int, float, str, bool, None | integer (2.0 counts, true does not), number, string, boolean, null |
| list, tuple, set, frozenset, Sequence, Iterable ... | array; a set takes no element twice |
| dict, Mapping | object; its keys stay text |
| Literal, Enum | enum: the values if JSON has them, else the names |
| X or None, Union | anyOf, tried in the order written |
| dataclass | object with a property for each field of `__init__` |
| Path, datetime, date, time, UUID | string, format path, date-time, date, time (ISO 8601, UTC offset optional), uuid |
| Decimal | string, or number, which is taken by its shortest digits ("x-unit": "decimal") |
| timedelta | number of seconds ("x-unit": "seconds") |
| Annotated | as what it wraps; a text becomes the description, a dict gives bounds: {"minimum": 1} |
| Any, object, none at all | {}: anything |

Whatever else is written gives {} and a warning: the function gets the value as JSON has it. A default of None admits
null. Where a dataclass contains itself the schema ends with "object", while the conversion goes on.
Standard library only and light: this runs in every child, under the user's own interpreter. The modules of datetime,
pathlib, decimal ... are looked at only if the target's own module has loaded them.
"""

import collections.abc
import enum
import functools
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable
from inspect import Parameter, Signature
from typing import Any, NamedTuple

Schema = dict[str, Any]
Convert = Callable[[Any, str], Any]

_SHOWN_LENGTH = 60
_REPR_LENGTH = 200
_LARGEST_DEFAULT = 4096
_BOUNDS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"} | {"minLength", "maxLength"}


class ArgumentError(TypeError):
    """An argument that the target can't take. `field` says which one, as "args[0]" or "kwargs.size.width"; `message`
    continues it as a sentence: "must be an integer, not 'abc'"."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(field, message)
        self.field = field
        self.message = message

    def __str__(self) -> str:
        return f"{self.field} {self.message}"


class Codec(NamedTuple):
    """How an annotation looks in JSON Schema, and `convert(value, field)` from JSON, which raises ArgumentError."""

    schema: Schema
    convert: Convert


class _Argument(NamedTuple):
    name: str
    kind: Any
    default: Any
    codec: Codec


def describe_parameters(function: Callable[..., Any]) -> tuple[Schema, list[str]]:
    """The JSON Schema of a function's (or Process subclass's) parameters, in their order, and what it can't express.

    Each property has "x-kind" (positional_only, positional_or_keyword, var_positional, keyword_only) and, where there
    is one, "default" or, if JSON can't hold it, "x-default-repr". `*args` is an array; `**kwargs` is
    "additionalProperties", with its name in "x-var-keyword".
    """
    arguments, warnings = _read(function)
    schema: Schema = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    for argument in arguments:
        if argument.kind is Parameter.VAR_KEYWORD:
            schema["additionalProperties"] = argument.codec.schema
            schema["x-var-keyword"] = argument.name
        else:
            schema["properties"][argument.name] = _property(argument)
            if argument.default is Parameter.empty and argument.kind is not Parameter.VAR_POSITIONAL:
                schema["required"].append(argument.name)
    return schema, warnings


def parameters_schema(function: Callable[..., Any]) -> Schema:
    """The JSON Schema of a function's parameters alone; see describe_parameters."""
    return describe_parameters(function)[0]


class Converters(NamedTuple):
    """How the arguments of one function are converted: by position, by name, and what its `*args` and `**kwargs`
    take."""

    by_position: list[Codec]
    by_name: dict[str, Codec]
    rest: Codec
    other: Codec


@functools.cache
def converters(function: Callable[..., Any]) -> Converters:
    """The converters of ``function``, read from its annotations once: a launcher asks before it forks, its children
    have them."""
    found = Converters([], {}, _ANYTHING, _ANYTHING)
    for argument in _read(function)[0]:
        if argument.kind is Parameter.VAR_POSITIONAL:
            found = found._replace(rest=argument.codec)
        elif argument.kind is Parameter.VAR_KEYWORD:
            found = found._replace(other=argument.codec)
        else:
            if argument.kind is not Parameter.KEYWORD_ONLY:
                found.by_position.append(argument.codec)
            if argument.kind is not Parameter.POSITIONAL_ONLY:
                found.by_name[argument.name] = argument.codec
    return found


def convert_arguments(
    function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """JSON values as the Python values that the function's annotations ask for; raises ArgumentError.

    Arguments that the function has no parameter for go through as they are: the call itself will complain.
    """
    known = converters(function)
    by_position = known.by_position + [known.rest] * (len(args) - len(known.by_position))
    return (
        tuple(by_position[i].convert(value, f"args[{i}]") for i, value in enumerate(args)),
        {name: known.by_name.get(name, known.other).convert(value, f"kwargs.{name}") for name, value in kwargs.items()},
    )


def signature_text(function: Callable[..., Any]) -> str:
    """The signature as a person would write it, without module names: "(src: Path, width: int = 640) -> str"."""
    try:
        found = _signature(function)
    except (TypeError, ValueError):
        return "(...)"
    parameters = [
        p.replace(
            annotation=p.annotation if p.annotation is Parameter.empty else _Text(_annotation_text(p.annotation)),
            default=p.default if p.default is Parameter.empty else _Text(_default_text(p.default)),
        )
        for p in found.parameters.values()
    ]
    result = found.return_annotation
    shown_result = result if result is Signature.empty else _Text(_annotation_text(result))
    return str(found.replace(parameters=parameters, return_annotation=shown_result))


# Words, the same here and where the service checks before it launches


def shown(value: Any) -> str:
    """A JSON value in a message: short, and lists and objects only by their kind."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "an object"
    text = "a very long number" if isinstance(value, int) and value.bit_length() > _REPR_LENGTH else repr(value)
    return text if len(text) <= _SHOWN_LENGTH else f"{text[: _SHOWN_LENGTH - 4]}...{text[-1]}"


_FORMATS = {
    "path": "a path",
    "date-time": "a date and time such as 2026-01-31T09:30:00+01:00",
    "date": "a date such as 2026-01-31",
    "time": "a time such as 09:30:00",
    "uuid": "a UUID",
}
_TYPES = {
    "integer": "an integer",
    "number": "a number",
    "string": "a text",
    "boolean": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
}


def wanted(schema: Schema) -> str:
    """What a schema asks for, to go after "must be"."""
    if schema.get("x-unit") == "decimal":
        return "a decimal number"
    if "anyOf" in schema:
        return _either([wanted(branch) for branch in schema["anyOf"]])
    if "enum" in schema:
        values = [shown(value) for value in schema["enum"]]
        return values[0] if len(values) == 1 else f"one of {_either(values)}"
    if schema.get("x-unit") == "seconds":
        return "a number of seconds"
    text = _FORMATS.get(schema.get("format", ""), _TYPES.get(schema.get("type", ""), "a JSON value"))
    return f"{text} ({schema['title']})" if schema.get("type") == "object" and "title" in schema else text


def _either(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _refuse(schema: Schema, value: Any, field: str) -> typing.NoReturn:
    raise ArgumentError(field, f"must be {wanted(schema)}, not {shown(value)}")


# Reading a signature


def _read(function: Callable[..., Any]) -> tuple[list[_Argument], list[str]]:
    reader = _Reader()
    try:
        parameters = _signature(function).parameters.values()
    except (TypeError, ValueError):  # some functions written in C do not say what they take
        unknown = Signature([Parameter("args", Parameter.VAR_POSITIONAL), Parameter("kwargs", Parameter.VAR_KEYWORD)])
        parameters = unknown.parameters.values()
        reader.warnings.append("The signature can't be read: whatever is given is passed on.")
    namespace = _namespace(function)
    return [reader.argument(parameter, namespace) for parameter in parameters], reader.warnings


def _signature(function: Callable[..., Any]) -> Signature:
    if not isinstance(function, type):
        return _written(function)
    process = sys.modules.get("multiprocessing.process")
    if process is not None and function.__init__ is process.BaseProcess.__init__:  # type: ignore[misc]
        return Signature()
    init = _written(function.__init__)  # type: ignore[misc]
    return init.replace(parameters=list(init.parameters.values())[1:], return_annotation=Signature.empty)


def _written(function: Callable[..., Any]) -> Signature:
    """The signature with its annotations as they stand: one that names something unknown must not spoil the rest."""
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return inspect.signature(function, annotation_format=Format.FORWARDREF)
    return inspect.signature(function)


def _namespace(function: Callable[..., Any]) -> dict[str, Any]:
    plain = inspect.unwrap(function.__init__ if isinstance(function, type) else function)  # type: ignore[misc]
    return getattr(plain, "__globals__", {})


def _resolved(annotation: Any, namespace: dict[str, Any]) -> Any:
    """The annotation with everything in it that is written as text looked up; raises what the look-up raises."""
    # One at a time, because get_type_hints gives up on all of a function for one name that it can't find.
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    return typing.get_type_hints(holder, namespace, include_extras=True)["it"]


def _property(argument: _Argument) -> Schema:
    schema = dict(argument.codec.schema)
    if argument.kind is Parameter.VAR_POSITIONAL:
        schema = {"type": "array", "items": schema}
    schema["x-kind"] = argument.kind.name.lower()
    if argument.default is not Parameter.empty:
        schema.update(_default(argument.default))
    return schema


def _default(value: Any) -> Schema:
    try:
        encoded = to_json(value)
        if len(repr(encoded)) <= _LARGEST_DEFAULT:
            return {"default": encoded}
    except (TypeError, ValueError, RecursionError):
        pass
    return {"x-default-repr": _default_text(value)}


def to_json(value: Any) -> Any:
    """A Python value as the JSON that converts back to it; raises TypeError or ValueError if there is none."""
    if isinstance(value, enum.Enum):
        return next(key for key, member in _members(type(value)).items() if member is value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if value - value != 0:
            raise ValueError("JSON has no NaN and no Infinity")
        return value
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((to_json(item) for item in value), key=repr)
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("the keys of a JSON object are texts")
        return {key: to_json(item) for key, item in value.items()}
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in _fields(type(value))}
    return _special_to_json(value)


def _special_to_json(value: Any) -> Any:
    if _is_timedelta(type(value)):
        return value.total_seconds()
    if _is_decimal(type(value)):
        return str(value)
    known = _known_text(type(value))
    if known is None:
        raise TypeError(f"{type(value).__name__} has no form in JSON")
    return value.isoformat() if known.method else str(value)


# One annotation -> one codec


class _Reader:
    """Turns annotations into codecs; `warnings` gathers what it can't express."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self._where = ""
        self._open: dict[type, list[Codec]] = {}

    def argument(self, parameter: Parameter, namespace: dict[str, Any]) -> _Argument:
        self._where = parameter.name
        codec = _admitting(parameter.default, self.hint(parameter.annotation, namespace))
        return _Argument(parameter.name, parameter.kind, parameter.default, codec)

    def hint(self, annotation: Any, namespace: dict[str, Any]) -> Codec:
        if annotation is Parameter.empty:
            return _ANYTHING
        try:
            return self.codec(_resolved(annotation, namespace))
        except Exception as error:  # an annotation may be any expression, and fail in any way
            return self._anything(f"the annotation {_annotation_text(annotation)} can't be read ({error})")

    def codec(self, annotation: Any) -> Codec:
        if isinstance(annotation, type) and annotation in _SCALARS:
            return _SCALARS[annotation]
        if annotation is Any or annotation is object or annotation is None:
            return _SCALARS[type(None)] if annotation is None else _ANYTHING
        origin = typing.get_origin(annotation) or annotation
        build = _BUILDERS.get(origin) if isinstance(origin, collections.abc.Hashable) else None
        if build is not None:
            return build(self, annotation)
        if isinstance(annotation, type):
            return self._class(annotation)
        inner = _alias(annotation)
        return self._unsupported(annotation) if inner is None else self.codec(inner)

    def _class(self, annotation: type) -> Codec:
        if issubclass(annotation, enum.Enum):
            return _enum(annotation)
        if hasattr(annotation, "__dataclass_fields__"):
            return self._dataclass(annotation)
        if _is_timedelta(annotation):
            return _timedelta(annotation)
        if _is_decimal(annotation):
            return _decimal(annotation)
        known = _known_text(annotation)
        return self._unsupported(annotation) if known is None else _text(known, annotation)

    def _unsupported(self, annotation: Any) -> Codec:
        return self._anything(f"the annotation {_annotation_text(annotation)} is not known here")

    def _anything(self, why: str) -> Codec:
        self.warnings.append(f"{self._where}: {why}, so the value is passed as JSON gives it")
        return _ANYTHING

    def annotated(self, annotation: Any) -> Codec:
        codec = self.codec(annotation.__origin__)
        extra: Schema = {}
        for note in annotation.__metadata__:
            if isinstance(note, str):
                extra["description"] = note
            elif isinstance(note, dict):
                extra.update(_keywords(note))
        return Codec(codec.schema | extra, codec.convert)

    def literal(self, annotation: Any) -> Codec:
        values = typing.get_args(annotation)
        try:
            return _choice([(to_json(value), value) for value in values], {})
        except TypeError:
            return self._unsupported(annotation)

    def union(self, annotation: Any) -> Codec:
        return _union([self.codec(branch) for branch in typing.get_args(annotation)])

    def array(self, annotation: Any) -> Codec:
        origin = typing.get_origin(annotation) or annotation
        make = _COLLECTIONS[origin]
        item = self.codec((typing.get_args(annotation) or (Any,))[0])
        schema: Schema = {"type": "array"} if not item.schema else {"type": "array", "items": item.schema}
        if make in (set, frozenset):
            schema["uniqueItems"] = True

        def convert(value: Any, field: str) -> Any:
            items = [item.convert(v, f"{field}[{i}]") for i, v in enumerate(_list(schema, value, field))]
            try:
                return make(items)
            except TypeError as error:
                raise ArgumentError(field, f"can't be made a set: {error}") from None

        return Codec(schema, convert)

    def tuple(self, annotation: Any) -> Codec:
        hints = typing.get_args(annotation)
        if not hints or hints[-1] is ...:
            return self.array(tuple[hints[0], ...] if hints else tuple)  # type: ignore[valid-type]
        items = [self.codec(hint) for hint in hints]
        size = len(items)
        schema = {"type": "array", "prefixItems": [i.schema for i in items], "minItems": size, "maxItems": size}

        def convert(value: Any, field: str) -> Any:
            if len(_list(schema, value, field)) != size:
                raise ArgumentError(field, f"must have exactly {size} items, not {len(value)}")
            return tuple(item.convert(v, f"{field}[{i}]") for i, (item, v) in enumerate(zip(items, value, strict=True)))

        return Codec(schema, convert)

    def object(self, annotation: Any) -> Codec:
        key, item_hint = typing.get_args(annotation) or (str, Any)
        if key not in (str, Any):
            self.warnings.append(f"{self._where}: the keys of a JSON object are texts, and stay texts")
        item = self.codec(item_hint)
        schema: Schema = {"type": "object", **({"additionalProperties": item.schema} if item.schema else {})}

        def convert(value: Any, field: str) -> Any:
            if not isinstance(value, dict):
                _refuse(schema, value, field)
            return {name: item.convert(v, f"{field}.{name}") for name, v in value.items()}

        return Codec(schema, convert)

    def _dataclass(self, cls: type) -> Codec:
        if cls in self._open:
            self.warnings.append(f"{self._where}: {cls.__name__} contains itself; deeper ones are checked in the child")
            done = self._open[cls]
            return Codec({"type": "object", "title": cls.__name__}, lambda value, field: done[0].convert(value, field))
        self._open[cls] = []
        namespace = vars(sys.modules.get(cls.__module__, types.ModuleType("")))
        namespace = namespace | {cls.__name__: cls}
        members = {f.name: (f, _admitting(f.default, self.hint(f.type, namespace))) for f in _fields(cls)}
        codec = _object_of(cls, members)
        self._open.pop(cls).append(codec)
        return codec


def _list(schema: Schema, value: Any, field: str) -> list[Any]:
    if not isinstance(value, list):
        _refuse(schema, value, field)
    return value


def _scalar(schema: Schema, *kinds: type) -> Codec:
    def convert(value: Any, field: str) -> Any:
        if type(value) not in kinds:  # not isinstance: true is not an integer here
            _refuse(schema, value, field)
        return value

    return Codec(schema, convert)


def _integer(value: Any, field: str) -> int:
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is not int:
        _refuse({"type": "integer"}, value, field)
    return value


def _number(value: Any, field: str) -> float:
    if type(value) not in (int, float):
        _refuse({"type": "number"}, value, field)
    try:
        return float(value)
    except OverflowError:
        raise ArgumentError(field, "is too large a number") from None


_ANYTHING = Codec({}, lambda value, field: value)
_SCALARS: dict[type, Codec] = {
    int: Codec({"type": "integer"}, _integer),
    float: Codec({"type": "number"}, _number),
    str: _scalar({"type": "string"}, str),
    bool: _scalar({"type": "boolean"}, bool),
    type(None): _scalar({"type": "null"}, type(None)),
}


def _admitting(default: Any, codec: Codec) -> Codec:
    """The codec, which takes null as well if that is the default."""
    if default is not None or not codec.schema:
        return codec
    branches = codec.schema.get("anyOf", [codec.schema])
    if any(b.get("type") == "null" or None in b.get("enum", ()) for b in branches):
        return codec
    return _union([codec, _SCALARS[type(None)]])


def _union(branches: list[Codec]) -> Codec:
    # A branch that takes anything makes the whole take anything, yet those before it are still converted.
    schema: Schema = {"anyOf": [b.schema for b in branches]} if all(b.schema for b in branches) else {}

    def convert(value: Any, field: str) -> Any:
        deeper = []
        for branch in branches:
            try:
                return branch.convert(value, field)
            except ArgumentError as error:
                deeper += [error] if error.field != field else []
        if len(deeper) == 1:  # the value was of that kind, and something inside it is wrong
            raise deeper[0]
        _refuse(schema, value, field)

    return Codec(schema, convert)


def _choice(pairs: list[tuple[Any, Any]], extra: Schema) -> Codec:
    schema: Schema = {"enum": [key for key, _ in pairs], **extra}

    def convert(value: Any, field: str) -> Any:
        for key, member in pairs:
            if key == value and isinstance(key, bool) == isinstance(value, bool):
                return member
        _refuse(schema, value, field)

    return Codec(schema, convert)


def _enum(cls: type[enum.Enum]) -> Codec:
    members = _members(cls)
    return _choice(list(members.items()), {"title": cls.__name__, "x-names": [m.name for m in members.values()]})


def _members(cls: type[enum.Enum]) -> dict[Any, enum.Enum]:
    """What stands for each member in JSON: its value, if JSON has all of the values, else its name."""
    plain = all(
        m.value is None or type(m.value) in (bool, int, str) or (type(m.value) is float and m.value - m.value == 0)
        for m in cls
    )
    return {m.value if plain else m.name: m for m in cls}


def _fields(cls: Any) -> list[Any]:
    import dataclasses

    return [field for field in dataclasses.fields(cls) if field.init]


def _object_of(cls: type, members: dict[str, tuple[Any, Codec]]) -> Codec:
    schema: Schema = {
        "type": "object",
        "title": cls.__name__,
        "properties": {name: codec.schema | _field_default(field) for name, (field, codec) in members.items()},
        "required": [name for name, (field, _) in members.items() if not _field_default(field)],
        "additionalProperties": False,
    }

    def convert(value: Any, field: str) -> Any:
        if not isinstance(value, dict):
            _refuse(schema, value, field)
        for name in schema["required"]:
            if name not in value:
                raise ArgumentError(f"{field}.{name}", "is required")
        for name in value:
            if name not in members:
                raise ArgumentError(f"{field}.{name}", f"is not a field of {cls.__name__}")
        values = {name: members[name][1].convert(v, f"{field}.{name}") for name, v in value.items()}
        try:
            return cls(**values)
        except Exception as error:  # what __post_init__ says about the values
            raise ArgumentError(field, f"is not accepted by {cls.__name__}: {error}") from error

    return Codec(schema, convert)


def _field_default(field: Any) -> Schema:
    import dataclasses

    if field.default is not dataclasses.MISSING:
        return _default(field.default)
    if field.default_factory in (list, dict, set, tuple, frozenset):
        return _default(field.default_factory())
    if field.default_factory is not dataclasses.MISSING:  # somebody's own function is not called just to describe it
        return {"x-default-repr": f"{getattr(field.default_factory, '__name__', 'factory')}()"}
    return {}


class _TextType(NamedTuple):
    """A class whose values JSON has as text, read by `method` (or by calling the class)."""

    module: str
    name: str
    format: str
    method: str


_TEXTS = (
    _TextType("pathlib", "PurePath", "path", ""),
    _TextType("datetime", "datetime", "date-time", "fromisoformat"),  # before date, of which it is a subclass
    _TextType("datetime", "date", "date", "fromisoformat"),
    _TextType("datetime", "time", "time", "fromisoformat"),
    _TextType("uuid", "UUID", "uuid", ""),
)


def _loaded(module: str, name: str) -> Any:
    """The class, or () as long as nobody has loaded its module (nothing is a subclass of that)."""
    return getattr(sys.modules.get(module), name, ())


def _known_text(cls: type) -> _TextType | None:
    return next((known for known in _TEXTS if issubclass(cls, _loaded(known.module, known.name))), None)


def _text(known: _TextType, cls: type) -> Codec:
    schema = {"type": "string", "format": known.format}
    read = getattr(cls, known.method) if known.method else cls

    def convert(value: Any, field: str) -> Any:
        if type(value) is not str or "\0" in value:
            _refuse(schema, value, field)
        try:
            return read(value)
        except ValueError:
            _refuse(schema, value, field)

    return Codec(schema, convert)


def _is_timedelta(cls: type) -> bool:
    return issubclass(cls, _loaded("datetime", "timedelta"))


def _timedelta(cls: Any) -> Codec:
    def convert(value: Any, field: str) -> Any:
        try:
            return cls(seconds=_number(value, field))
        except (OverflowError, ValueError):
            raise ArgumentError(field, "is too long a time") from None

    return Codec({"type": "number", "x-unit": "seconds"}, convert)


def _is_decimal(cls: type) -> bool:
    return issubclass(cls, _loaded("decimal", "Decimal"))


def _decimal(cls: Any) -> Codec:
    schema: Schema = {"anyOf": [{"type": "string", "format": "decimal"}, {"type": "number"}], "x-unit": "decimal"}

    def convert(value: Any, field: str) -> Any:
        if type(value) not in (str, int, float):
            _refuse(schema, value, field)
        try:
            # The digits of a float are those that it is written with: 0.1, not the 55 that it has in binary.
            return cls(repr(value) if type(value) is float else value)
        except ArithmeticError:
            _refuse(schema, value, field)

    return Codec(schema, convert)


def _alias(annotation: Any) -> Any:
    """What a NewType, a `type` alias or a bounded type variable stands for, or None."""
    for attribute in ("__supertype__", "__value__", "__bound__"):
        inner = getattr(annotation, attribute, None)
        if inner is not None:
            return inner
    return None


def _keywords(note: dict[Any, Any]) -> Schema:
    """What a dict in Annotated may say: bounds, and how a form shows the field."""
    bounds = {k: v for k, v in note.items() if k in _BOUNDS and type(v) in (int, float)}
    words = {k: v for k, v in note.items() if k in ("title", "description", "x-widget") and isinstance(v, str)}
    return bounds | words


_COLLECTIONS: dict[Any, Callable[[Iterable[Any]], Any]] = {
    list: list,
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Collection: list,
    collections.abc.Iterable: list,
    tuple: tuple,
    set: set,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
    frozenset: frozenset,
}
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_BUILDERS: dict[Any, Callable[[_Reader, Any], Codec]] = {
    **dict.fromkeys(_COLLECTIONS, _Reader.array),
    **dict.fromkeys(_MAPPINGS, _Reader.object),
    tuple: _Reader.tuple,
    typing.Annotated: _Reader.annotated,
    typing.Literal: _Reader.literal,
    typing.Union: _Reader.union,
    types.UnionType: _Reader.union,
}


# Signatures for people


class _Text(str):
    """Text that `inspect` writes into a signature without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


_QUOTED_OR_QUALIFIED = re.compile(r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?:\b[A-Za-z_]\w*\.)+(?=[A-Za-z_])""")


def _annotation_text(annotation: Any) -> str:
    if typing.get_origin(annotation) is typing.Annotated:
        return _annotation_text(annotation.__origin__)
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__qualname__ if annotation is not type(None) else "None"
    text = annotation if isinstance(annotation, str) else repr(annotation)
    return _QUOTED_OR_QUALIFIED.sub(lambda match: match[1] or "", text)


def _default_text(value: Any) -> str:
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    try:
        text = repr(value)
    except Exception:  # a repr is somebody else's code
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _REPR_LENGTH else f"{text[:_REPR_LENGTH]}..."
