import inspect
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.arguments import MAX_ERRORS, FieldError, check
from procdeck.schema import ArgumentError, convert_arguments, parameters_schema


class Color(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Options:
    size: int
    name: str = ""
    inner: "Options | None" = None


def plain(src: Path, width: int = 640, *, fast: bool = False) -> None: ...
def nothing() -> None: ...
def only_by_position(a: int, b: int = 0, /, c: int = 0) -> None: ...
def open_ended(a: int, /, *rest: int, **others: str) -> None: ...
def untyped(a, b=1): ...  # type: ignore[no-untyped-def]


def typed(
    color: Color = Color.RED,
    mode: Literal["a", 1] = "a",
    opts: Options | None = None,
    many: list[Options] = [],  # noqa: B006 - never called
    unique: set[int] = set(),  # noqa: B006
    pair: tuple[int, str] = (1, ""),
    table: dict[str, list[int]] = {},  # noqa: B006
    either: int | list[int] | Options = 1,
    when: datetime | None = None,
    day: date | None = None,
    pause: timedelta = timedelta(),
    where: Path = Path(),
    share: Annotated[float, {"minimum": 0, "exclusiveMaximum": 1}] = 0.5,
    word: Annotated[str, {"minLength": 2, "maxLength": 3}] = "ab",
) -> None: ...


def entry(function: Callable[..., Any]) -> dict[str, Any]:
    return {"name": f"tests:{function.__name__}", "parameters": parameters_schema(function)}


def problems(function: Callable[..., Any], *args: Any, **kwargs: Any) -> list[tuple[str, str]]:
    return [(error.field, error.message) for error in check(entry(function), list(args), kwargs)]


BINDING: list[tuple[Callable[..., Any], list[Any], dict[str, Any], list[tuple[str, str]]]] = [
    (plain, ["a"], {}, []),
    (plain, ["a", 2], {"fast": True}, []),
    (plain, [], {"src": "a", "width": 2}, []),
    (plain, [], {}, [("kwargs.src", "is required")]),
    (plain, ["a", 1, True, 4], {}, [("args[2]", "is too many: the target takes 2 arguments by position, not 4")]),
    (nothing, [1], {}, [("args[0]", "is too many: the target takes no arguments by position, not 1")]),
    (plain, ["a"], {"src": "b"}, [("kwargs.src", "is given twice: also as args[0]")]),
    (plain, ["a"], {"widht": 1}, [("kwargs.widht", "is not a parameter of the target; did you mean 'width'?")]),
    (plain, ["a"], {"q": 1}, [("kwargs.q", "is not a parameter of the target; it has src, width, fast")]),
    (nothing, [], {"q": 1}, [("kwargs.q", "is not a parameter of the target")]),
    (only_by_position, [1], {"c": 3}, []),
    (only_by_position, [1], {"b": 3}, [("kwargs.b", "must be given by position, as args[1]")]),
    (only_by_position, [], {}, [("args[0]", "is required (a)")]),
    (open_ended, [1, 2, 3], {"x": "y", "a": "z", "rest": "w"}, []),
    (open_ended, [1, "2"], {}, [("args[1]", "must be an integer, not '2'")]),
    (open_ended, [1], {"x": 3}, [("kwargs.x", "must be a text, not 3")]),
    (open_ended, [], {"a": "x"}, [("args[0]", "is required (a)")]),
    (untyped, [{"any": [None]}], {"b": "x"}, []),
]  # fmt: skip


@pytest.mark.parametrize(("function", "args", "kwargs", "expected"), BINDING)
def test_binding(function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any], expected: Any) -> None:
    assert problems(function, *args, **kwargs) == expected


GOOD: list[tuple[str, Any]] = [
    ("color", "red"), ("mode", 1), ("opts", None), ("opts", {"size": 1}), ("opts", {"size": 1, "inner": {"size": 2}}),
    ("many", [{"size": 1}]), ("unique", [1, 2]), ("pair", [1, "x"]), ("table", {"a": [1]}), ("either", [1]),
    ("either", {"size": 1}), ("when", "2026-01-31T09:30:00Z"), ("when", "2026-01-31T09:30"), ("when", None),
    ("day", "2026-01-31"), ("pause", 1.5), ("where", "a/b"), ("share", 0), ("word", "abc"),
]  # fmt: skip
BAD: list[tuple[str, Any, str, str]] = [
    ("color", "green", "", "must be one of 'red' or 'blue', not 'green'"),
    ("mode", True, "", "must be one of 'a' or 1, not true"),
    ("opts", 5, "", "must be an object (Options) or null, not 5"),
    ("opts", {}, ".size", "is required"),
    ("opts", {"size": "x"}, ".size", "must be an integer, not 'x'"),
    ("opts", {"size": True}, ".size", "must be an integer, not true"),
    ("opts", {"size": 1, "sice": 2}, ".sice", "is not a field of it; did you mean 'size'?"),
    ("many", [{"size": 1}, {"name": ""}], "[1].size", "is required"),
    ("many", {}, "", "must be a list, not an object"),
    ("unique", [1, 1], "", "must not have the same item twice"),
    ("pair", [1], "", "must have at least 2 items"),
    ("pair", [1, "a", 2], "", "must have at most 2 items"),
    ("pair", ["a", "a"], "[0]", "must be an integer, not 'a'"),
    ("table", {"a": [1, None]}, ".a[1]", "must be an integer, not null"),
    ("either", "x", "", "must be an integer, a list or an object (Options), not 'x'"),
    ("either", [1, "x"], "[1]", "must be an integer, not 'x'"),
    ("either", {}, ".size", "is required"),
    ("when", "noon", "", "must be a date and time such as 2026-01-31T09:30:00+01:00 or null, not 'noon'"),
    ("day", "2026-02-30", "", "must be a date such as 2026-01-31 or null, not '2026-02-30'"),
    ("pause", "1h", "", "must be a number of seconds, not '1h'"),
    ("where", "a\0b", "", "must be a path, not 'a\\x00b'"),
    ("share", -1, "", "must be at least 0"),
    ("share", 1, "", "must be less than 1"),
    ("word", "a", "", "must have at least 2 characters"),
    ("word", "abcd", "", "must have at most 3 characters"),
]


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_values_that_fit(name: str, value: Any) -> None:
    assert problems(typed, **{name: value}) == []
    convert_arguments(typed, [], {name: value})


@pytest.mark.parametrize(("name", "value", "below", "message"), BAD)
def test_values_that_do_not_fit(name: str, value: Any, below: str, message: str) -> None:
    assert problems(typed, **{name: value}) == [(f"kwargs.{name}{below}", message)]


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


LIMITS: list[tuple[Any, list[tuple[str, str]]]] = [
    (nested(32), []),
    (nested(33), [("args[0]" + "[0]" * 32, "is nested too deeply: at most 32 levels")]),
    (nested(100_000), [("args[0]" + "[0]" * 32, "is nested too deeply: at most 32 levels")]),
    ({"x": [math.nan]}, [("args[0].x[0]", "must be a finite number: NaN and Infinity are not JSON")]),
    (-math.inf, [("args[0]", "must be a finite number: NaN and Infinity are not JSON")]),
    (10**4300 - 1, []),
    (-(10**4300), [("args[0]", "is too long a number: at most 4300 digits")]),
    ("\ud800", [("args[0]", "is not valid text: it has half of a surrogate pair")]),
    ({"\ud800": 1}, [("args[0]", "has a name that is not valid text")]),
    ({1: 1}, [("args[0]", "has a name that is not valid text")]),
    ({1, 2}, [("args[0]", "must be a JSON value, not a Python set")]),
    ("x" * 65_530, []),
    ("x" * 65_531, [("args", "is too large: 65537 bytes as JSON, of at most 65536")]),
    ("é" * 32_766, [("args", "is too large: 65538 bytes as JSON, of at most 65536")]),
]


@pytest.mark.parametrize(("value", "expected"), LIMITS, ids=range(len(LIMITS)))
def test_limits(value: Any, expected: Any) -> None:
    assert problems(untyped, value) == expected


def test_the_limit_of_size_counts_args_and_kwargs_together() -> None:
    assert problems(untyped, "x" * 40_000, b="x" * 40_000)[0][0] == "args"
    assert problems(untyped, a="x" * 70_000) == [("kwargs", "is too large: 70010 bytes as JSON, of at most 65536")]


def test_names_must_be_text() -> None:
    assert check(entry(open_ended), [1], {"\ud800": "x"})[0] == FieldError(
        "kwargs", "has a name that is not valid text"
    )


def test_many_errors_are_cut_short() -> None:
    assert len(problems(typed, many=["x"] * 10_000)) == MAX_ERRORS
    assert len(problems(untyped, [math.nan] * 10_000)) == MAX_ERRORS


def test_items_that_cannot_be_sorted_are_compared_quickly() -> None:
    mixed: list[Any] = [i if i % 2 else str(i) for i in range(10_000)]
    began = time.monotonic()
    errors = problems(typed, unique=mixed)
    assert len(errors) == MAX_ERRORS
    assert time.monotonic() - began < 5  # compared in pairs they take minutes


def test_an_entry_without_declared_parameters_takes_any_by_name() -> None:
    assert check({"parameters": {}}, [], {"x": 1}) == []
    assert len(check({"parameters": {}}, [1], {})) == 1


def test_a_new_catalogue_is_not_mistaken_for_the_old_one() -> None:
    for _ in range(3000):  # far more than are kept, so that dicts of later entries get the addresses of earlier ones
        good, bad = {"properties": {"a": {"type": "integer"}}}, {"properties": {"a": {"type": "string"}}}
        assert check({"parameters": good}, [1], {}) == []
        assert check({"parameters": bad}, [1], {}) != []


def test_it_is_quick() -> None:
    launch = entry(plain)
    check(launch, ["a", 2], {})
    times = []
    for _ in range(200):
        began = time.perf_counter()
        check(launch, ["a", 2], {})
        times.append(time.perf_counter() - began)
    assert min(times) < 100e-6


FUNCTIONS = [
    plain,
    nothing,
    only_by_position,
    open_ended,
    untyped,
    lambda a, /, b, *, c, d=1: None,
    lambda a=1, *args, b: None,
    lambda *, a, **kw: None,
]
names = st.sampled_from(["a", "b", "c", "d", "src", "width", "fast", "rest", "others", "x"])


@given(st.sampled_from(FUNCTIONS), st.lists(st.just(1), max_size=4), st.dictionaries(names, st.just(1), max_size=4))
def test_binding_is_pythons_own(function: Callable[..., Any], args: list[int], kwargs: dict[str, int]) -> None:
    try:
        inspect.signature(function).bind(*args, **kwargs)
        binds = True
    except TypeError:
        binds = False
    untyped_parameters = parameters_schema(function)
    for parameter in untyped_parameters["properties"].values():
        for keyword in set(parameter) - {"x-kind"}:
            del parameter[keyword]
    if untyped_parameters["additionalProperties"]:
        untyped_parameters["additionalProperties"] = {}
    assert (check({"parameters": untyped_parameters}, list(args), dict(kwargs)) == []) is binds


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["size", "name", "a"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.sampled_from(sorted(inspect.signature(typed).parameters)), json_values)
def test_what_passes_here_converts_in_the_child_and_the_other_way_round(name: str, value: Any) -> None:
    errors = check(entry(typed), [], {name: value})
    try:
        convert_arguments(typed, [], {name: value})
        converts = True
    except ArgumentError as error:
        converts = "too l" in error.message  # the child alone knows how long a time or how large a number may be
    # Bounds and repeated items are the service's business alone.
    bounds = ("at least", "at most", "more than", "less than", "twice")
    assert all(any(word in error.message for word in bounds) for error in errors) or not converts
    assert errors or converts


def test_bounds_hold_for_a_decimal_number_however_it_is_written() -> None:
    price = {"anyOf": [{"type": "string", "format": "decimal"}, {"type": "number"}], "x-unit": "decimal", "minimum": 0}
    entry = {"parameters": {"type": "object", "properties": {"price": price}, "additionalProperties": False}}
    for value, message in (
        ("0.10", None),
        (0, None),
        ("NaN", None),
        ("-0.10", "must be at least 0"),
        (-1, "must be at least 0"),
        ("much", "must be a decimal number, not 'much'"),
        (None, "must be a decimal number, not null"),
    ):
        errors = check(entry, [], {"price": value})
        assert [error.message for error in errors] == ([] if message is None else [message])
