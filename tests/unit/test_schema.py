import dataclasses
import enum
import math
import multiprocessing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, NewType, Optional, TypeVar, Union
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procdeck.schema import (
    ArgumentError,
    convert_arguments,
    describe_parameters,
    parameters_schema,
    shown,
    signature_text,
    to_json,
)


class Color(enum.Enum):
    RED = "red"
    BLUE = 2


class Shape(enum.Enum):
    ROUND = (1, 2)
    SQUARE = (3, 4)


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass(frozen=True)
class Size:
    width: int
    height: int = 480
    tags: list[str] = dataclasses.field(default_factory=list)
    hidden: int = dataclasses.field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.width < 0:
            raise ValueError("negative width")


@dataclass
class Tree:
    value: int
    children: "list[Tree]" = dataclasses.field(default_factory=list)
    made: "NoSuchName" = None  # type: ignore[name-defined]  # noqa: F821


UserId = NewType("UserId", int)
Bounded = TypeVar("Bounded", bound=int)
Free = TypeVar("Free")

SIZE_SCHEMA = {
    "type": "object",
    "title": "Size",
    "properties": {
        "width": {"type": "integer"},
        "height": {"type": "integer", "default": 480},
        "tags": {"type": "array", "items": {"type": "string"}, "default": []},
    },
    "required": ["width"],
    "additionalProperties": False,
}
INT, TEXT, NULL = {"type": "integer"}, {"type": "string"}, {"type": "null"}
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)

# annotation, its schema, pairs of (JSON value, Python value), JSON values that are refused
CASES: list[tuple[Any, dict[str, Any], list[tuple[Any, Any]], list[Any]]] = [
    (int, INT, [(3, 3), (2.0, 2), (-(10**30), -(10**30))], ["3", 2.5, True, None, [1]]),
    (float, {"type": "number"}, [(3, 3.0), (2.5, 2.5)], ["3", True, None, 10**400]),
    (str, TEXT, [("x", "x"), ("", "")], [3, None]),
    (bool, {"type": "boolean"}, [(True, True), (False, False)], [0, 1, "true"]),
    (None, NULL, [(None, None)], [0, ""]),
    (Any, {}, [([1, {}], [1, {}])], []),
    (object, {}, [(None, None)], []),
    (list[int], {"type": "array", "items": INT}, [([], []), ([1, 2.0], [1, 2])], [[1, "2"], "12", {}]),
    (list, {"type": "array"}, [([1, "a"], [1, "a"])], ["ab"]),
    (Sequence[str], {"type": "array", "items": TEXT}, [(["a"], ["a"])], ["a"]),
    (Iterable[int], {"type": "array", "items": INT}, [([1], [1])], [1]),
    (tuple, {"type": "array"}, [([1, "a"], (1, "a"))], [None]),
    (tuple[int, ...], {"type": "array", "items": INT}, [([1, 2], (1, 2))], [["a"]]),
    (
        tuple[int, str],
        {"type": "array", "prefixItems": [INT, TEXT], "minItems": 2, "maxItems": 2},
        [([1, "a"], (1, "a"))],
        [[1], [1, "a", 2], ["a", 1], 1],
    ),
    (set[int], {"type": "array", "items": INT, "uniqueItems": True}, [([1, 2], {1, 2})], [1, ["a"]]),
    (frozenset[str], {"type": "array", "items": TEXT, "uniqueItems": True}, [(["a"], frozenset("a"))], ["a"]),
    (set, {"type": "array", "uniqueItems": True}, [([1, "a"], {1, "a"})], [[[1]]]),
    (dict[str, int], {"type": "object", "additionalProperties": INT}, [({"a": 1}, {"a": 1})], [{"a": "b"}, [1]]),
    (dict, {"type": "object"}, [({"a": [1]}, {"a": [1]})], [[]]),
    (Mapping[str, Path], {"type": "object", "additionalProperties": {"type": "string", "format": "path"}},
     [({"a": "b"}, {"a": Path("b")})], [{"a": 1}]),
    (Literal["a", 2, True, None], {"enum": ["a", 2, True, None]}, [("a", "a"), (True, True)], [1, "b", False]),
    (Literal[Color.RED], {"enum": ["red"]}, [("red", Color.RED)], [2]),
    (Color, {"enum": ["red", 2], "title": "Color", "x-names": ["RED", "BLUE"]},
     [("red", Color.RED), (2, Color.BLUE)], ["RED", 1]),
    (Shape, {"enum": ["ROUND", "SQUARE"], "title": "Shape", "x-names": ["ROUND", "SQUARE"]},
     [("ROUND", Shape.ROUND)], [[1, 2]]),
    (Level, {"enum": [1, 2], "title": "Level", "x-names": ["LOW", "HIGH"]}, [(2, Level.HIGH)], [True, 3]),
    (Optional[int], {"anyOf": [INT, NULL]}, [(None, None), (3, 3)], ["a"]),  # noqa: UP045
    (int | None, {"anyOf": [INT, NULL]}, [(None, None), (3, 3)], ["a"]),
    (Union[int, str], {"anyOf": [INT, TEXT]}, [("3", "3"), (3, 3)], [None, []]),  # noqa: UP007
    (date | str, {"anyOf": [{"type": "string", "format": "date"}, TEXT]},
     [("2026-01-31", date(2026, 1, 31)), ("soon", "soon")], [1]),
    (int | Any, {}, [("x", "x")], []),
    (Size, SIZE_SCHEMA, [({"width": 3, "tags": ["a"]}, Size(3, tags=["a"])), ({"width": 1, "height": 2}, Size(1, 2))],
     [{}, {"width": "a"}, {"width": 1, "hidden": 2}, {"width": -1}, [1]]),
    (Path, {"type": "string", "format": "path"}, [("a/b", Path("a/b"))], [1, "a\0b"]),
    (PurePosixPath, {"type": "string", "format": "path"}, [("a/b", PurePosixPath("a/b"))], [1]),
    (datetime, {"type": "string", "format": "date-time"},
     [("2026-01-31T12:00:00Z", NOON), ("2026-01-31T12:00", datetime(2026, 1, 31, 12))], ["noon", 5]),  # noqa: DTZ001
    (date, {"type": "string", "format": "date"}, [("2026-01-31", date(2026, 1, 31))], ["2026-02-30", 5]),
    (time, {"type": "string", "format": "time"}, [("09:30", time(9, 30))], ["25:00"]),
    (UUID, {"type": "string", "format": "uuid"}, [("12345678" * 4, UUID("12345678" * 4))], ["x"]),
    (
        Decimal,
        {"anyOf": [{"type": "string", "format": "decimal"}, {"type": "number"}], "x-unit": "decimal"},
        [("12.50", Decimal("12.50")), (3, Decimal(3)), (0.1, Decimal("0.1"))],
        ["much", None, True],
    ),
    (timedelta, {"type": "number", "x-unit": "seconds"}, [(90, timedelta(seconds=90)), (0.5, timedelta(seconds=0.5))],
     ["1h", 1e300]),
    (Annotated[int, "How many", {"minimum": 1, "pattern": 3, "title": "Count"}],
     INT | {"description": "How many", "minimum": 1, "title": "Count"}, [(1, 1)], ["a"]),
    (list[Annotated[int, "A number"]], {"type": "array", "items": INT | {"description": "A number"}},
     [([1], [1])], [["a"]]),
    (UserId, INT, [(1, 1)], ["a"]),
    (Bounded, INT, [(1, 1)], ["a"]),
]  # fmt: skip


def function_of(annotation: Any) -> Any:
    def function(value): ...  # type: ignore[no-untyped-def]

    function.__annotations__ = {"value": annotation}
    return function


@pytest.mark.parametrize(("annotation", "schema", "good", "bad"), CASES, ids=[str(case[0])[:40] for case in CASES])
def test_annotations(annotation: Any, schema: Any, good: list[tuple[Any, Any]], bad: list[Any]) -> None:
    function = function_of(annotation)
    described, warnings = describe_parameters(function)
    assert described["properties"]["value"] == schema | {"x-kind": "positional_or_keyword"}
    assert warnings == []
    for value, expected in good:
        (converted,), _ = convert_arguments(function, [value], {})
        assert (converted, type(converted)) == (expected, type(expected))
    for value in bad:
        with pytest.raises(ArgumentError) as caught:
            convert_arguments(function, [], {"value": value})
        assert caught.value.field.startswith("kwargs.value")


@pytest.mark.parametrize("annotation", [bytes, complex, "NoSuchName", 5, "1 +", [1, 2], Free, list["NoSuchName"]])  # type: ignore[name-defined]  # noqa: F821
def test_what_is_not_understood_is_passed_on_with_a_warning(annotation: Any) -> None:
    function = function_of(annotation)
    described, [warning] = describe_parameters(function)
    assert described["properties"]["value"] == {"x-kind": "positional_or_keyword"}
    assert warning.startswith("value: the annotation ")
    assert convert_arguments(function, [[1]], {}) == (([1],), {})


def test_the_keys_of_an_object_stay_text() -> None:
    described, [warning] = describe_parameters(function_of(dict[int, str]))
    assert described["properties"]["value"]["additionalProperties"] == TEXT
    assert "keys" in warning


def test_a_whole_signature() -> None:
    def function(a: int, b, /, c: str = "x", *rest: float, d: bool, e: Path = Path("y"), **others: int) -> None: ...  # type: ignore[no-untyped-def]

    described, warnings = describe_parameters(function)
    assert described == {
        "type": "object",
        "properties": {
            "a": INT | {"x-kind": "positional_only"},
            "b": {"x-kind": "positional_only"},
            "c": TEXT | {"x-kind": "positional_or_keyword", "default": "x"},
            "rest": {"type": "array", "items": {"type": "number"}, "x-kind": "var_positional"},
            "d": {"type": "boolean", "x-kind": "keyword_only"},
            "e": {"type": "string", "format": "path", "x-kind": "keyword_only", "default": "y"},
        },
        "required": ["a", "b", "d"],
        "additionalProperties": INT,
        "x-var-keyword": "others",
    }
    assert list(described["properties"]) == ["a", "b", "c", "rest", "d", "e"]
    assert warnings == []
    args, kwargs = convert_arguments(function, [1, 2, "z", 3, 4], {"d": True, "e": "f", "a": 5})
    assert (args, kwargs) == ((1, 2, "z", 3.0, 4.0), {"d": True, "e": Path("f"), "a": 5})
    assert [type(x) for x in args[3:]] == [float, float]


def test_annotations_written_as_text_are_looked_up_one_by_one() -> None:
    def function(a: "int", b: "NoSuchName", c: "Path | None" = None) -> "NoSuchName": ...  # type: ignore[name-defined]  # noqa: F821

    described, [warning] = describe_parameters(function)
    assert described["properties"]["a"] == INT | {"x-kind": "positional_or_keyword"}
    assert described["properties"]["b"] == {"x-kind": "positional_or_keyword"}
    assert described["properties"]["c"]["anyOf"] == [{"type": "string", "format": "path"}, NULL]
    assert warning.startswith("b: the annotation NoSuchName can't be read")
    assert convert_arguments(function, [1, 2, "x"], {}) == ((1, 2, Path("x")), {})


@pytest.mark.parametrize(
    ("default", "shown_as"),
    [
        (None, {"default": None}),
        (math.inf, {"x-default-repr": "inf"}),
        (math.nan, {"x-default-repr": "nan"}),
        (Color.BLUE, {"default": 2}),
        (Shape.ROUND, {"default": "ROUND"}),
        (Level.LOW, {"default": 1}),
        (Size(3), {"default": {"width": 3, "height": 480, "tags": []}}),
        ((1, {"a": {2}}), {"default": [1, {"a": [2]}]}),
        (Decimal("0.50"), {"default": "0.50"}),
        (timedelta(minutes=1), {"default": 60.0}),
        (NOON, {"default": "2026-01-31T12:00:00+00:00"}),
        (b"x", {"x-default-repr": "b'x'"}),
        ({1: 2}, {"x-default-repr": "{1: 2}"}),
        (Size, {"x-default-repr": repr(Size)}),
        ("x" * 5000, {"x-default-repr": "'" + "x" * 199 + "..."}),
    ],
)
def test_defaults(default: Any, shown_as: dict[str, Any]) -> None:
    def function(value=default): ...  # type: ignore[no-untyped-def]

    assert parameters_schema(function)["properties"]["value"] == {"x-kind": "positional_or_keyword", **shown_as}


@pytest.mark.parametrize("hint", [int, Color])
def test_a_default_of_none_admits_null(hint: Any) -> None:
    def function(value=None): ...  # type: ignore[no-untyped-def]

    function.__annotations__ = {"value": hint}
    assert parameters_schema(function)["properties"]["value"]["anyOf"][1] == NULL
    assert convert_arguments(function, [None], {}) == ((None,), {})


def test_a_class_that_contains_itself() -> None:
    described, warnings = describe_parameters(function_of(Tree))
    tree = described["properties"]["value"]["properties"]
    assert tree["children"]["items"] == {"type": "object", "title": "Tree"}
    assert len(warnings) == 2
    value = {"value": 1, "children": [{"value": 2, "children": [{"value": 3.0}]}]}
    assert convert_arguments(function_of(Tree), [value], {})[0] == (Tree(1, [Tree(2, [Tree(3)])]),)
    value["children"][0]["children"][0]["value"] = "x"  # type: ignore[index]
    with pytest.raises(
        ArgumentError, match=r"^args\[0\]\.children\[0\]\.children\[0\]\.value must be an integer, not 'x'$"
    ):
        convert_arguments(function_of(Tree), [value], {})


def test_a_union_says_what_is_wrong_inside_the_only_alternative_that_comes_near() -> None:
    with pytest.raises(ArgumentError, match=r"^args\[0\]\.width is required$"):
        convert_arguments(function_of(Size | list[int] | None), [{}], {})
    with pytest.raises(ArgumentError, match=r"^args\[0\] must be an object \(Size\), a list or null, not 'x'$"):
        convert_arguments(function_of(Size | list[int] | None), ["x"], {})


def test_process_subclasses() -> None:
    class Plain(multiprocessing.Process): ...

    class Sized(Plain):
        def __init__(self, size: int) -> None: ...

    class Deeper(Sized): ...

    assert parameters_schema(Plain)["properties"] == {}
    assert parameters_schema(Plain)["additionalProperties"] is False
    assert signature_text(Deeper) == "(size: int)"
    assert convert_arguments(Deeper, [2.0], {}) == ((2,), {})


def test_a_function_that_hides_its_signature_takes_anything() -> None:
    described, [warning] = describe_parameters(min)
    assert described["properties"]["args"]["x-kind"] == "var_positional"
    assert described["additionalProperties"] == {}
    assert "can't be read" in warning
    assert signature_text(min) == "(...)"
    assert convert_arguments(min, [1, "a"], {"key": 1}) == ((1, "a"), {"key": 1})


def test_signatures_for_people() -> None:
    def function(
        a: Annotated[Path, "where"],
        b: "dict[str, Path]",
        c: Literal["x.y", "z"] = "z",
        *,
        d: Color = Color.RED,
        e: Sequence[Path | None] = (),
        f: datetime | None = None,
    ) -> Mapping[str, Any]:
        return {}

    assert signature_text(function) == (
        "(a: Path, b: dict[str, Path], c: Literal['x.y', 'z'] = 'z', *, d: Color = Color.RED, "
        "e: Sequence[Path | None] = (), f: datetime | None = None) -> Mapping[str, Any]"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), ("abc", "'abc'"), (2.5, "2.5"), ([1], "a list"), ({}, "an object"),
     (10**5000, "a very long number"), ("x" * 100, "'" + "x" * 55 + "...'")],
    ids=range(8),
)  # fmt: skip
def test_values_in_messages(value: Any, text: str) -> None:
    assert shown(value) == text
    assert len(text) <= 60


def test_the_error_tells_field_and_message() -> None:
    with pytest.raises(TypeError) as caught:
        convert_arguments(function_of(list[int]), [[1, "abc"]], {})
    assert isinstance(caught.value, ArgumentError)
    assert (caught.value.field, caught.value.message) == ("args[0][1]", "must be an integer, not 'abc'")


scalars = [
    (int, st.integers()),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (str, st.text()),
    (bool, st.booleans()),
    (None, st.none()),
    (Color, st.sampled_from(Color)),
    (Level, st.sampled_from(Level)),
    (Path, st.text("abc/.", min_size=1).map(Path)),
    (datetime, st.datetimes(timezones=st.just(UTC))),
    (date, st.dates()),
    (time, st.times()),
    (UUID, st.uuids()),
    (timedelta, st.integers(-(10**9), 10**9).map(lambda n: timedelta(milliseconds=n))),
    (Size, st.builds(Size, st.integers(0), st.integers(), st.lists(st.text()))),
]


def wrapped(hint: tuple[Any, st.SearchStrategy[Any]]) -> st.SearchStrategy[tuple[Any, st.SearchStrategy[Any]]]:
    inner: Any
    inner, values = hint
    return st.sampled_from(
        [
            (list[inner], st.lists(values, max_size=3)),
            (tuple[inner, ...], st.lists(values, max_size=3).map(tuple)),
            (tuple[inner, int], st.tuples(values, st.integers())),
            (dict[str, inner], st.dictionaries(st.text(), values, max_size=3)),
            (Optional[inner], st.none() | values),  # noqa: UP045
        ]
    )


hints = st.recursive(st.sampled_from(scalars), lambda inner: inner.flatmap(wrapped), max_leaves=3)


@given(hints.flatmap(lambda hint: st.tuples(st.just(hint[0]), hint[1])))
def test_what_goes_to_json_comes_back(case: tuple[Any, Any]) -> None:
    hint, value = case
    assert convert_arguments(function_of(hint), [to_json(value)], {}) == ((value,), {})
