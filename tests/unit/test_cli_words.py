"""From the words of `procdeck run` to arguments, for targets described as the registry describes them."""

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest

from app.cli.failure import Failure
from app.cli.words import bind, value_of
from procdeck.schema import parameters_schema


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


def resize(src: Path, width: int = 640, *more: float, title: str = "", flag: bool = False, anything=None) -> None:  # type: ignore[no-untyped-def]
    """A bit of everything."""


def tagged(first: str, /, second: int | str = 0, third: str | None = None, **tags: int) -> None:
    """Positional-only, unions, and keywords of any name."""


def bound(function: Callable[..., Any], *words: str, named: tuple[str, ...] = ()) -> tuple[list[Any], dict[str, Any]]:
    return bind(words, named, parameters_schema(function))


@pytest.mark.parametrize(
    ("words", "args", "kwargs"),
    [
        ([], [], {}),
        (["a.png"], ["a.png"], {}),
        (["7"], ["7"], {}),  # a path is text, whatever it looks like
        (["a.png", "320"], ["a.png", 320], {}),
        (["a.png", "wide"], ["a.png", "wide"], {}),  # the service says what is wrong with it
        (["a.png", "1", "2", "3.5"], ["a.png", 1, 2, 3.5], {}),
        (["a.png", "width=320"], ["a.png"], {"width": 320}),
        (["width=320", "a.png"], ["a.png"], {"width": 320}),
        (["a=b.png"], ["a=b.png"], {}),  # no parameter of that name
        (["src=a=b.png"], [], {"src": "a=b.png"}),
        (["a.png", "more=1"], ["a.png", "more=1"], {}),  # *more can't be given by name
        (["a.png", "title=007"], ["a.png"], {"title": "007"}),
        (["a.png", "title=true"], ["a.png"], {"title": "true"}),
        (["a.png", 'title="x"'], ["a.png"], {"title": '"x"'}),
        (["a.png", "title="], ["a.png"], {"title": ""}),
        (["a.png", "flag=true"], ["a.png"], {"flag": True}),
        (["a.png", 'anything={"a": [1]}'], ["a.png"], {"anything": {"a": [1]}}),
        (["a.png", "anything=x"], ["a.png"], {"anything": "x"}),
        (["a.png", "anything=null"], ["a.png"], {"anything": None}),
        (["a.png", "anything=NaN"], ["a.png"], {"anything": "NaN"}),
    ],
)
def test_words_become_arguments(words: list[str], args: list[Any], kwargs: dict[str, Any]) -> None:
    assert bound(resize, *words) == (args, kwargs)


def test_a_positional_only_parameter_is_not_a_keyword() -> None:
    assert bound(tagged, "first=1", "second=x") == (["first=1"], {"second": "x"})


def test_kwarg_takes_any_name_by_the_schema_of_the_others() -> None:
    assert bound(tagged, "a", named=("depth=3", "second=5", "third=null")) == (
        ["a"],
        {"depth": 3, "second": 5, "third": None},
    )


def test_a_command_takes_texts() -> None:
    schema = {"properties": {"args": {"type": "array", "items": {"type": "string"}, "x-kind": "var_positional"}}}
    assert bind(["--level=3", "7", "args=x"], [], schema) == (["--level=3", "7", "args=x"], {})


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("5", {"type": "integer"}, 5),
        ("5", {"type": "number"}, 5),
        ("true", {"type": "integer"}, True),  # not an integer; and not a text either
        ("5", {"anyOf": [{"type": "string"}, {"type": "null"}]}, "5"),
        ("null", {"anyOf": [{"type": "string"}, {"type": "null"}]}, None),
        ('"null"', {"anyOf": [{"type": "string"}, {"type": "null"}]}, "null"),
        ("5", {"anyOf": [{"type": "integer"}, {"type": "string"}]}, 5),
        ('"5"', {"anyOf": [{"type": "integer"}, {"type": "string"}]}, "5"),
        ("1", {"enum": ["1", "2"]}, "1"),
        ("1", {"enum": [1, 2]}, 1),
        ("1", {"enum": [True, "1"]}, "1"),
        ("[1, 2]", {"type": "array"}, [1, 2]),
        ("[" * 10_000, {"type": "array"}, "[" * 10_000),
    ],
)
def test_a_value_is_json_where_that_fits(text: str, schema: dict[str, Any], value: object) -> None:
    found = value_of(text, schema)
    assert (found, type(found)) == (value, type(value))


def test_enumerations_and_literals_keep_their_text() -> None:
    def paint(colour: Colour, coats: Literal["1", "2"]) -> None: ...

    assert bound(paint, "red", "2") == (["red", "2"], {})


@pytest.mark.parametrize("named", [("width",), ("=3",), ("width=1", "width=2")])
def test_what_is_no_pair_and_what_comes_twice_is_refused(named: tuple[str, ...]) -> None:
    with pytest.raises(Failure) as refused:
        bound(resize, "a.png", named=named)
    assert refused.value.exit_code == 2


def test_a_name_in_both_ways_is_refused() -> None:
    with pytest.raises(Failure, match="twice"):
        bound(resize, "a.png", "width=1", named=("width=2",))
