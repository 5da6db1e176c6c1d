"""The launch form: parameters as inputs, and what was typed as a launch."""

import enum
import json
import subprocess
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.pages import forms
from app.pages.forms.code import MAX_SHOWN
from app.supervisor.launches import Launch
from procdeck.schema import parameters_schema


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


@dataclass
class Size:
    width: int
    height: int = 3


@dataclass
class Job:
    sizes: list[int]
    size: Size
    colour: Colour = Colour.GREEN
    note: str | None = "n"
    inner: "Job | None" = None


def plain(  # type: ignore[no-untyped-def]
    count: int,
    name: str,
    flag: bool,
    mode: Literal["fast", "slow"],
    anything,
    ratio: float = 0.5,
    maybe: int | None = None,
    limit: int | None = 5,
    verbose: bool = True,
    colour: Colour = Colour.RED,
    day: date = date(2026, 1, 31),
    size: Size = Size(1),  # noqa: B008 - never called
    tags: list[str] = [],  # noqa: B006
    implied: Any = "text",
    note: Annotated[str, {"x-widget": "multiline"}] = "",
    wait: timedelta = timedelta(minutes=90),
    at: datetime | None = None,
    token: Annotated[str, {"x-widget": "password"}] = "none",
    nested: Job | None = None,
) -> None: ...


def by_place(first: int, second: int = 2, /, third: int = 3, *rest: int, fourth: int = 4, **more: str) -> None: ...


PLAIN = parameters_schema(plain)
BY_PLACE = parameters_schema(by_place)

GIVEN = {
    "arg-count": "3",
    "arg-name": "x",
    "arg-flag": "true",
    "arg-mode": '"fast"',
    "arg-anything": "null",
}
"""What the required parameters of `plain` need."""


def field(name: str, parameters: dict[str, Any] = PLAIN) -> forms.Field:
    return next(one for one in forms.fields(parameters) if one.name == name)


def read(**typed: str) -> dict[str, Any]:
    found = forms.arguments(PLAIN, GIVEN | {name.replace("__", "-"): value for name, value in typed.items()})
    assert found.errors == {}
    return found.kwargs


def wrong(**typed: str) -> dict[str, str]:
    return forms.arguments(PLAIN, GIVEN | {name.replace("__", "-"): value for name, value in typed.items()}).errors


# --- inputs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "widget"),
    [
        ("count", "integer"),
        ("name", "text"),
        ("flag", "choice"),
        ("mode", "choice"),
        ("anything", "json"),
        ("ratio", "number"),
        ("maybe", "integer"),
        ("colour", "choice"),
        ("day", "date"),
        ("size", "fields"),
        ("tags", "rows"),
        ("wait", "duration"),
        ("at", "datetime"),
        ("token", "secret"),
        ("implied", "text"),
        ("note", "lines"),
    ],
)
def test_each_type_has_its_input(name: str, widget: str) -> None:
    assert field(name).widget == widget


@pytest.mark.parametrize(
    ("name", "uses"),
    [
        ("count", ()),
        ("ratio", ("default", "value")),
        # None is the default: to offer it twice would ask a question that has no answer.
        ("maybe", ("default", "value")),
        ("limit", ("default", "none", "value")),
    ],
)
def test_an_optional_parameter_offers_default_none_and_value(name: str, uses: tuple[str, ...]) -> None:
    assert field(name).uses == uses


def test_a_required_choice_is_not_made_in_advance() -> None:
    (shown,) = forms.inputs([field("flag")], {}, {})
    assert shown.text == ""
    assert [choice.word for choice in field("flag").choices] == ["True", "False"]


def test_a_choice_with_a_default_begins_with_it() -> None:
    (shown,) = forms.inputs([field("verbose")], {}, {})
    assert shown.text == forms.DEFAULT
    assert [choice.word for choice in field("verbose").choices] == ["default: True", "True", "False"]


def test_members_of_an_enum_are_named() -> None:
    assert [choice.word for choice in field("colour").choices] == ["default: RED = 1", "RED = 1", "GREEN = 2"]


class Speed(enum.Enum):
    SLOW = "slow"
    FAST = "fast"


def pays(
    price: Decimal,
    key: int | str,
    share: float | str | None = None,
    off: Annotated[Decimal, {"minimum": 0}] = Decimal("0.50"),
    rates: list[Decimal] = [],  # noqa: B006
    colour: Colour | None = None,
    speed: Speed = Speed.FAST,
    folder: Path | None = None,
) -> None:
    """What is typed as a text, and is not always one."""


PAYS = parameters_schema(pays)


def test_the_members_of_an_enum_are_told() -> None:
    known = {one.name: one for one in forms.fields(PAYS)}
    assert known["colour"].type_text == "one of RED = 1 or GREEN = 2 (Colour) or null"
    assert known["speed"].type_text == "one of slow or fast (Speed)"
    assert known["price"].type_text == "a decimal number"
    assert known["off"].default_word == "default: 0.50"
    assert known["folder"].format == "path"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("price", " 12.50 ", "12.50"),
        ("price", "1e-400", "1e-400"),
        ("key", "5", 5),
        ("key", "-7", -7),
        ("key", "5.5", "5.5"),
        ("key", "five", "five"),
        ("share", "0.5", 0.5),
        ("share", "half", "half"),
    ],
)
def test_decimals_keep_their_digits_and_what_reads_as_a_number_is_one(name: str, text: str, value: Any) -> None:
    given = forms.arguments(PAYS, {"arg-price": "1", "arg-key": "k", f"arg-{name}": text, f"use-{name}": "value"})
    assert given.errors == {}
    assert given.kwargs[name] == value
    assert type(given.kwargs[name]) is type(value)


def test_a_decimal_that_is_none_is_told() -> None:
    assert "must be a number such as 12.50" in forms.arguments(PAYS, {"arg-price": "much"}).errors["price"]


@pytest.mark.parametrize(
    "kwargs",
    [
        {"price": "1.50", "key": "5", "rates": ["0.10", 2]},
        {"price": 0.1, "key": 5, "share": "0.5"},
        {"price": 10, "key": "a\nb", "share": 0.5},
        {"price": "x", "key": ""},
    ],
)
def test_a_text_that_looks_like_a_number_comes_back_as_a_text(kwargs: dict[str, Any]) -> None:
    typed, lost = forms.typed_of(PAYS, [], kwargs)
    assert lost == []
    given = forms.arguments(PAYS, typed)
    assert {name: str(value) if name == "price" else value for name, value in given.kwargs.items()} == {
        name: str(value) if name == "price" else [str(each) for each in value] if name == "rates" else value
        for name, value in kwargs.items()
    }


def test_a_link_gives_what_is_typed_and_may_name_parameters_plainly() -> None:
    typed, lost = forms.prefilled(PAYS, {"target": "t", "price": "2", "key": "k", "name": "n", "other": "x"})
    assert typed == {"arg-price": "2", "arg-key": "k"}
    assert lost == ["other"]
    typed = forms.FRESH | {
        "arg-price": "2.0", "arg-key": "&=", "use-off": "default", "arg-off": "9", "use-rates": "value",
        "arg-rates.0": "1", "arg-rates.1": "2", "name": "n", "start": "", "key": "form-1", "arg-speed": "default",
    }  # fmt: skip
    query = dict(parse_qsl(forms.link_query("t:pays", PAYS, typed) or "", keep_blank_values=True))
    assert query.pop("target") == "t:pays"
    assert (query["name"], query["start"]) == ("n", "")
    assert not any("off" in key or key == "key" for key in query)
    again, lost = forms.prefilled(PAYS, query)
    assert lost == []
    assert forms.arguments(PAYS, again) == forms.arguments(PAYS, {**typed, "arg-off": ""})
    assert forms.link_query("t:pays", PAYS, {"arg-key": "x" * 10_000}) is None


def test_a_link_has_no_secret_and_json_finds_its_way() -> None:
    typed = GIVEN | {"use-token": "value", "arg-token": "hush", "as-size": "json", "arg-size": '{"width": 7}'}
    typed |= {"use-size": "value"}
    query = forms.link_query("t", PLAIN, typed) or ""
    assert "hush" not in query
    again, _ = forms.prefilled(PLAIN, dict(parse_qsl(query, keep_blank_values=True)))
    assert forms.arguments(PLAIN, again).kwargs["size"] == {"width": 7}


def test_rest_and_keywords_are_inputs_too() -> None:
    assert [(one.label, one.widget) for one in forms.fields(BY_PLACE)][3:] == [
        ("*rest", "rows"),
        ("fourth", "integer"),
        ("**more", "object"),
    ]


# --- values ------------------------------------------------------------------------------------------------------


def test_defaults_are_left_out() -> None:
    assert read() == {"count": 3, "name": "x", "flag": True, "mode": "fast", "anything": None}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("ratio", "0.25", 0.25),
        ("ratio", "2", 2),
        ("ratio", "1e3", 1000.0),
        ("limit", "-7", -7),
        ("maybe", " 12 ", 12),
        ("day", "2026-02-01", "2026-02-01"),
        ("size", '{"width": 9}', {"width": 9}),
        ("tags", "[]", []),
        ("implied", "", ""),
        ("note", "two\r\nlines", "two\nlines"),
    ],
)
def test_a_value_is_what_was_typed(name: str, text: str, value: Any) -> None:
    assert read(**{f"use__{name}": "value", f"arg__{name}": text})[name] == value


def test_none_is_a_value_of_its_own() -> None:
    assert read(use__limit="none")["limit"] is None


def test_choices_keep_their_type() -> None:
    assert read(arg__colour="2", arg__verbose="false") | {} == read() | {"colour": 2, "verbose": False}


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ({"arg__count": ""}, "is required"),
        ({"arg__count": "1.5"}, "must be a whole number, not '1.5'"),
        ({"arg__count": "9" * 5000}, "has too many digits"),
        ({"arg__name": ""}, "is required; tick the box if an empty text is meant"),
        ({"arg__flag": ""}, "is required"),
        ({"arg__flag": "1"}, "must be one of those offered"),
        ({"arg__mode": "default"}, "is required"),
        ({"arg__anything": "hello"}, 'a text is written in quotes: "hello"'),
        ({"arg__anything": "[NaN]"}, "is not JSON"),
        ({"use__ratio": "value", "arg__ratio": "nan"}, "must be a number, not 'nan'"),
        ({"use__ratio": "value", "arg__ratio": ""}, "needs a value"),
        ({"use__ratio": "default", "arg__ratio": "3"}, "has a value typed, but the default is chosen"),
        ({"use__limit": "none", "arg__limit": "3"}, "has a value typed, but None is chosen"),
    ],
)
def test_what_is_no_value_is_told_at_its_field(typed: dict[str, str], message: str) -> None:
    errors = wrong(**typed)
    (name,) = {key.partition("__")[2] for key in typed}
    assert list(errors) == [name]
    assert message in errors[name]


def test_an_empty_text_can_be_meant() -> None:
    assert read(arg__name="", empty__name="yes")["name"] == ""


def test_any_field_can_be_json() -> None:
    assert read(as__count="json", arg__count="[1]")["count"] == [1]


# --- binding -----------------------------------------------------------------------------------------------------


def bind(**typed: str) -> tuple[list[Any], dict[str, Any], dict[str, str]]:
    found = forms.arguments(BY_PLACE, {f"arg-{name}": text for name, text in typed.items()} | _values(typed))
    return found.args, found.kwargs, found.errors


def _values(typed: dict[str, str]) -> dict[str, str]:
    return {f"use-{name}": "value" for name in typed}


def test_positional_only_parameters_go_by_position_and_others_by_name() -> None:
    assert bind(first="1", third="9") == ([1], {"third": 9}, {})


def test_further_arguments_bring_those_before_them_along() -> None:
    assert bind(first="1", rest="[7, 8]") == ([1, 2, 3, 7, 8], {}, {})


def test_keywords_of_any_name() -> None:
    found = forms.arguments(BY_PLACE, {"arg-first": "1", "arg-**more": '{"colour": "red"}'})
    assert (found.args, found.kwargs, found.errors) == ([1], {"colour": "red"}, {})


def test_a_keyword_that_has_a_field_is_refused_in_the_other() -> None:
    found = forms.arguments(BY_PLACE, {"arg-first": "1", "arg-**more": '{"third": "red"}'})
    assert found.errors == {"**more": "has 'third', which has a field of its own"}


def test_a_default_that_json_lacks_must_be_given_before_further_arguments() -> None:
    def target(start: object = object(), *rest: int) -> None: ...

    found = forms.arguments(parameters_schema(target), {"arg-rest": "[1]"})
    assert found.errors == {"start": "needs a value here, because arguments by position come after it"}


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ([], GIVEN_VALUES := {"count": 3, "name": "", "flag": False, "mode": "slow", "anything": {"a": [1]}}),
        ([3, "x", True, "fast", None, 0.5, None, None, False, 2, "2026-02-01", {"width": 1}, ["a"], "b"], {}),
        ([3, "x", True, "fast", "text"], {"count": 1, "implied": 7, "limit": 0, "note": "a\nb"}),
        ([[1, 2]], GIVEN_VALUES | {"name": 5, "flag": "maybe", "mode": "other"}),
    ],
)
def test_arguments_of_an_earlier_launch_come_back_as_they_were(args: list[Any], kwargs: dict[str, Any]) -> None:
    typed, lost = forms.typed_of(PLAIN, args, kwargs)
    names = [one.name for one in forms.fields(PLAIN)]
    found = forms.arguments(PLAIN, typed)
    assert (lost, found.errors) == ([], {})
    # A default of None needs not be sent: it is the same.
    sent = {name: value for name, value in (dict(zip(names, args, strict=False)) | kwargs).items() if name != "maybe"}
    assert found.kwargs == sent


def test_positional_arguments_come_back_by_position() -> None:
    typed, lost = forms.typed_of(BY_PLACE, [1, 2, 3, 4, 5], {"fourth": 6, "colour": "red"})
    found = forms.arguments(BY_PLACE, typed)
    assert (lost, found.args, found.kwargs) == ([], [1, 2, 3, 4, 5], {"fourth": 6, "colour": "red"})


def test_arguments_that_the_target_no_longer_has_are_named() -> None:
    count = len(forms.fields(PLAIN))
    _, lost = forms.typed_of(PLAIN, [0] * (count + 1), {"gone": 1})
    assert lost == ["gone", f"args[{count}]"]


# --- objects and lists -------------------------------------------------------------------------------------------


def test_an_object_has_a_field_for_each_of_its_members() -> None:
    found = field("nested")
    assert [(one.name, one.widget) for one in found.members] == [
        ("nested.sizes", "rows"),
        ("nested.size", "fields"),
        ("nested.colour", "choice"),
        ("nested.note", "text"),
        ("nested.inner", "json"),  # it contains itself
    ]
    assert found.uses == ("default", "value")


def test_what_an_object_and_a_list_hold_is_sent() -> None:
    typed = {
        "use-nested": "value",
        "arg-nested.sizes.0": "1",
        "arg-nested.sizes.7": "2",
        "arg-nested.sizes.10": "3",
        "arg-nested.size.width": "4",
        "use-nested.note": "none",
    }
    found = forms.arguments(PLAIN, GIVEN | typed)
    assert found.errors == {}
    assert found.kwargs["nested"] == {"sizes": [1, 2, 3], "size": {"width": 4}, "note": None}


def test_an_empty_list_is_an_empty_list() -> None:
    assert read(use__tags="value")["tags"] == []
    assert "tags" not in read(use__tags="default", **{"arg__tags.0": "out of sight"})


def test_what_is_wrong_inside_is_told_inside() -> None:
    typed = {"use-nested": "value", "arg-nested.sizes.3": "x", "arg-nested.size.width": ""}
    found = forms.arguments(PLAIN, GIVEN | typed)
    assert found.errors == {
        "nested.sizes.0": "must be a whole number, not 'x'",
        "nested.size.width": "is required",
    }


def test_errors_of_the_service_are_placed_inside_of_objects_and_lists() -> None:
    errors: list[Any] = [
        {"field": "kwargs.nested.sizes[1]", "message": "must be at most 9"},
        {"field": "kwargs.nested.inner.size.width", "message": "is required"},
        {"field": "kwargs.size.width", "message": "must be an integer"},
    ]
    at, others = forms.placed(PLAIN, errors, {"as-size": "json"})
    assert others == []
    assert at == {
        "nested.sizes.1": "must be at most 9",
        "nested.inner": ".size.width is required",
        "size": ".width must be an integer",
    }


def test_a_list_and_an_object_begin_with_their_defaults() -> None:
    def target(tags: list[str] = ["a", "b"], size: Size = Size(1)) -> None: ...  # noqa: B006, B008

    parameters = parameters_schema(target)
    tags, size = forms.inputs(forms.fields(parameters), {}, {})
    assert (tags.use, [part.text for part in tags.parts]) == ("default", ["a", "b"])
    assert [(part.use, part.text) for part in size.parts] == [("value", "1"), ("default", "")]
    assert forms.arguments(parameters, {}).kwargs == {}


def test_rows_come_and_go_by_buttons() -> None:
    typed = {"arg-tags.0": "a", "arg-tags.1": "b", "use-tags": "value"}
    more, _ = forms.changed(PLAIN, typed, "add-row-tags") or ({}, {})
    assert more["arg-tags.2"] == ""
    less, _ = forms.changed(PLAIN, more, "remove-row-tags.0") or ({}, {})
    assert read(**{name.replace("-", "__", 1): text for name, text in less.items()})["tags"] == ["b", ""]
    assert forms.changed(PLAIN, typed, "launch") is None


def test_a_field_turns_into_json_and_back() -> None:
    typed = {"use-size": "value", "arg-size.width": "4"}
    as_json, errors = forms.changed(PLAIN, typed, "json-size") or ({}, {})
    assert errors == {}
    assert json.loads(as_json["arg-size"]) == {"width": 4}
    assert forms.arguments(PLAIN, GIVEN | as_json).kwargs["size"] == {"width": 4}
    back, errors = forms.changed(PLAIN, as_json, "plain-size") or ({}, {})
    assert errors == {}
    assert forms.arguments(PLAIN, GIVEN | back).kwargs["size"] == {"width": 4}
    _, errors = forms.changed(PLAIN, as_json | {"arg-size": '{"depth": 1}'}, "plain-size") or ({}, {})
    assert "simple inputs" in errors["size"]


def test_nothing_that_is_wrong_is_lost_on_the_way_to_json() -> None:
    as_json, _ = forms.changed(PLAIN, {"use-size": "value", "arg-size.width": "wide"}, "json-size") or ({}, {})
    assert json.loads(as_json["arg-size"]) == {"width": "wide"}


# --- times -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1h30m", 5400), ("90", 90), ("1.5", 1.5), ("2 d 4 h", 187200), ("250ms", 0.25), ("-5m", -300), ("1W", 604800)],
)
def test_a_time_is_typed_with_its_units(text: str, seconds: float) -> None:
    assert read(use__wait="value", arg__wait=text)["wait"] == seconds


@pytest.mark.parametrize("text", ["soon", "1h soon", "5 parsecs", "--1h", "1e999"])
def test_what_is_no_time_is_told(text: str) -> None:
    assert "must be a time such as 1h30m" in wrong(use__wait="value", arg__wait=text)["wait"]


@pytest.mark.parametrize(
    ("text", "zone", "value"),
    [
        ("2026-01-31T09:30", "", "2026-01-31T09:30:00"),
        ("2026-01-31T09:30:05", "utc", "2026-01-31T09:30:05+00:00"),
        ("2026-01-31T09:30:05", "Z", "2026-01-31T09:30:05Z"),
        ("2026-01-31T09:30", "+05:30", "2026-01-31T09:30:00+05:30"),
        ("2026-01-31T09:30:00.5+01:00", "", "2026-01-31T09:30:00.5+01:00"),
    ],
)
def test_a_moment_is_sent_with_the_zone_beside_it(text: str, zone: str, value: str) -> None:
    assert read(use__at="value", arg__at=text, zone__at=zone)["at"] == value


def test_a_zone_that_is_none_is_told() -> None:
    assert "neither UTC nor an offset" in wrong(use__at="value", arg__at="2026-01-31T09:30", zone__at="CET")["at"]


def test_a_picker_is_shown_only_what_it_can_hold() -> None:
    (one,) = forms.inputs([field("at")], {"use-at": "value", "arg-at": "2026-01-31T09:30:00+01:00"}, {})
    assert (one.widget, one.text, one.zone) == ("datetime", "2026-01-31T09:30:00", "+01:00")
    (one,) = forms.inputs([field("at")], {"use-at": "value", "arg-at": "2026-01-31T09:30:00.123456"}, {})
    assert (one.widget, one.text) == ("text", "2026-01-31T09:30:00.123456")


# --- secrets -----------------------------------------------------------------------------------------------------


def test_a_secret_is_asked_for_again_and_shown_nowhere() -> None:
    typed, _ = forms.typed_of(PLAIN, [], {"token": "s3cret"})
    assert typed == {"use-token": "value"}
    assert "is a secret" in forms.arguments(PLAIN, GIVEN | typed).errors["token"]
    (one,) = forms.inputs([field("token")], {"use-token": "value", "arg-token": "s3cret"}, {})
    assert (one.text, one.start_text) == ("", "")
    assert forms.without_secrets(PLAIN, {"arg-token": "s3cret", "arg-name": "x"}) == {"arg-name": "x"}
    assert forms.veiled(PLAIN, [], {"token": "s3cret", "name": "x"}) == ([], {"token": "***", "name": "x"})
    assert forms.prefilled(PLAIN, {"arg-token": "s3cret"}) == ({}, [])


# --- links -------------------------------------------------------------------------------------------------------


def test_a_link_fills_the_form() -> None:
    given = {
        "arg-count": "4",
        "arg-ratio": "0.1",
        "use-limit": "none",
        "arg-mode": "fast",
        "arg-flag": "true",
        "arg-colour": "GREEN",
        "arg-tags": '["a", "b"]',
        "arg-size.width": "3",
        "arg-gone": "1",
        "name": "ignored",
    }
    typed, lost = forms.prefilled(PLAIN, given)
    assert lost == ["gone"]
    found = forms.arguments(PLAIN, typed | {"arg-name": "x", "arg-anything": "1"})
    assert found.errors == {}
    assert found.kwargs == {
        "count": 4,
        "name": "x",
        "flag": True,
        "mode": "fast",
        "anything": 1,
        "ratio": 0.1,
        "limit": None,
        "colour": 2,
        "size": {"width": 3},
        "tags": ["a", "b"],
    }


def test_bad_json_of_a_link_is_kept_to_be_mended() -> None:
    typed, _ = forms.prefilled(PLAIN, {"arg-size": "{"})
    assert "is not JSON" in forms.arguments(PLAIN, GIVEN | typed).errors["size"]
    (one,) = forms.inputs([field("size")], typed, {})
    assert (one.as_json, one.text) == (True, "{")


# --- any target, any values --------------------------------------------------------------------------------------

TEXTS = st.text(max_size=8)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSONS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(["a", "b", "size", "args", "use"])
SIMPLE = st.sampled_from(
    [
        {"type": "integer"},
        {"type": "number", "minimum": 0},
        {"type": "number", "x-unit": "seconds"},
        {"type": "string"},
        {"type": "string", "x-widget": "multiline"},
        {"type": "string", "format": "date"},
        {"type": "string", "format": "date-time"},
        {"type": "boolean"},
        {"enum": ["x", 1, None, True]},
        {"enum": [1, 2], "x-names": ["ONE", "TWO"]},
        {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        {},
    ]
)


def _objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(
        lambda properties, required: {
            "type": "object",
            "properties": properties,
            "required": sorted(required & properties.keys()),
            "additionalProperties": False,
        },
        st.dictionaries(NAMES, inner, min_size=1, max_size=3),
        st.sets(NAMES, max_size=2),
    )


SCHEMAS: st.SearchStrategy[Any] = st.recursive(
    SIMPLE,
    lambda inner: (
        _objects(inner)
        | inner.map(lambda schema: {"type": "array", "items": schema})
        | inner.map(lambda schema: {"anyOf": [schema, {"type": "null"}]})
    ),
    max_leaves=4,
)


def fitting(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that fit a schema, and now and then one that does not."""
    if "anyOf" in schema:
        return st.one_of([fitting(branch) for branch in schema["anyOf"]]) | JSONS
    if "enum" in schema:
        return st.sampled_from(schema["enum"]) | JSONS
    if schema.get("type") == "object":
        return st.fixed_dictionaries({}, optional={k: fitting(v) for k, v in schema["properties"].items()}) | JSONS
    if schema.get("type") == "array":
        return st.lists(fitting(schema["items"]), max_size=4) | JSONS
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "integer": st.integers(),
        "number": FLOATS | st.integers(-(10**6), 10**6),
        "string": TEXTS,
        "boolean": st.booleans(),
        "null": st.none(),
    }
    moments = {"date": st.dates().map(str), "date-time": st.datetimes().map(lambda at: at.isoformat())}
    by_format = moments.get(schema.get("format", ""))
    return kinds.get(schema.get("type", ""), JSONS) if by_format is None else by_format


def lean(schema: dict[str, Any], value: Any) -> Any:
    """A value without what says None where None is the default: the form leaves it out, which is the same."""
    branches = [schema, *schema.get("anyOf", ())]
    known = next((branch["properties"] for branch in branches if "properties" in branch), None)
    if not isinstance(value, dict) or known is None:
        return value
    return {
        key: lean(known.get(key, {}), inner)
        for key, inner in value.items()
        if inner is not None or known.get(key, {}).get("default", ...) is not None
    }


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_was_launched_comes_back_as_it_was(data: st.DataObject) -> None:
    properties: dict[str, Any] = {}
    values: dict[str, Any] = {}
    required = []
    for name in data.draw(st.sets(NAMES, min_size=1)):
        schema: dict[str, Any] = dict(data.draw(SCHEMAS))
        if data.draw(st.booleans()):
            schema["default"] = data.draw(fitting(schema))
        else:
            required.append(name)
        properties[name] = schema
        if name in required or data.draw(st.booleans()):
            values[name] = data.draw(fitting(schema))
    parameters = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}

    typed, lost = forms.typed_of(parameters, [], values)
    found = forms.arguments(parameters, typed)
    assert (lost, found.errors) == ([], {})
    whole = {"properties": properties}
    assert lean(whole, found.kwargs) == lean(whole, values)

    # And what is shown of it is what is sent: the same again when it is posted as shown.
    shown: dict[str, str] = {}
    for one in forms.inputs(forms.fields(parameters), typed, {}):
        post(one, shown)
    again = forms.arguments(parameters, shown)
    assert (again.kwargs, again.errors) == (found.kwargs, {})


def post(one: forms.Input, into: dict[str, str]) -> None:
    """What a browser sends of an input."""
    name = one.field.name
    if one.field.uses:
        into[f"use-{name}"] = one.use
    if one.as_json:
        into[f"as-{name}"] = "json"
    if one.is_empty_meant:
        into[f"empty-{name}"] = "yes"
    if one.widget == "datetime":
        into[f"zone-{name}"] = one.zone
    if one.widget not in ("rows", "fields"):
        into[f"arg-{name}"] = one.text.removesuffix(":00") if one.widget == "datetime" else one.text
    for part in one.parts:
        post(part, into)


# --- errors of the service ---------------------------------------------------------------------------------------


def test_errors_of_the_service_are_placed_at_their_fields() -> None:
    at, others = forms.placed(
        BY_PLACE,
        [
            {"field": "args[1]", "message": "must be an integer"},
            {"field": "args[4]", "message": "must be an integer"},
            {"field": "kwargs.fourth", "message": "must be an integer"},
            {"field": "kwargs.colour", "message": "must be a text"},
            {"field": "name", "message": "is too long"},
            {"field": "target", "message": "is unknown"},
        ],
    )
    assert at == {
        "second": "must be an integer",
        "rest.1": "must be an integer",
        "fourth": "must be an integer",
        "**more": "colour must be a text",
        "option-name": "is too long",
    }
    assert others == ["target is unknown"]


# --- options -----------------------------------------------------------------------------------------------------


def test_options_of_a_fresh_form_are_the_defaults_of_a_launch() -> None:
    launch, errors = forms.launch_of("jobs:work", {}, forms.FRESH)
    assert errors == {}
    assert launch == Launch(target="jobs:work")
    assert forms.request_body(launch) == {"target": "jobs:work"}


def test_options_are_read() -> None:
    chosen, errors = forms.options(
        {
            "name": " nightly ",
            "daemon": "yes",
            "timeout": "1.5",
            "grace": "0",
            "start_method": "spawn",
            "log_level": "DEBUG",
            "leftovers": "keep",
            "env": "A=1\r\nB=x=y\r\n\r\n",
            "cwd": "/tmp",
            "labels": "team=blue",
        }
    )
    assert errors == {}
    assert chosen == {
        "name": "nightly",
        "daemon": True,
        "start": False,
        "timeout": 1.5,
        "grace": 0.0,
        "start_method": "spawn",
        "log_level": "DEBUG",
        "leftovers": "keep",
        "env": {"A": "1", "B": "x=y"},
        "cwd": "/tmp",
        "labels": {"team": "blue"},
    }


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("name", "x" * 201, "at most 200 characters"),
        ("name", "a\0b", "NUL"),
        ("daemon", "perhaps", "must be one of those offered"),
        ("timeout", "0", "above 0"),
        ("timeout", "inf", "must be a time such as 1h30m"),
        ("timeout", "600w", "up to ten years"),
        ("timeout", "soon", "must be a time such as 1h30m, 45s or a number of seconds, not 'soon'"),
        ("grace", "-1", "from 0"),
        ("start_method", "magic", "must be one of fork, spawn, forkserver"),
        ("log_level", "LOUD", "must be one of DEBUG"),
        ("leftovers", "sell", "must be one of end, keep"),
        ("env", "A=1\nB", "line 2 has not"),
        ("env", "A=1\nA=2", "has the variable 'A' twice"),
        ("cwd", "relative", "must be an absolute path"),
        ("labels", f"a={'x' * 201}", "too long a label, 'a'"),
        ("labels", "\n".join(f"l{i}=1" for i in range(51)), "at most 50 labels"),
    ],
)
def test_wrong_options_are_told(name: str, text: str, message: str) -> None:
    _, errors = forms.options({name: text})
    assert list(errors) == [forms.option_key(name)]
    assert message in errors[forms.option_key(name)]


def test_a_parameter_may_be_called_like_an_option() -> None:
    def target(timeout: int) -> None: ...

    _, errors = forms.launch_of("m:target", parameters_schema(target), {"arg-timeout": "x", "timeout": "y"})
    assert set(errors) == {"timeout", "option-timeout"}


def test_options_of_an_earlier_launch_come_back() -> None:
    spec = {
        "name": "Process-7",
        "daemon": False,
        "start_method": "fork",
        "timeout": 2.5,
        "grace": 10.0,
        "env": {"A": "1"},
        "cwd": None,
        "log_level": None,
        "labels": {"team": "blue"},
        "leftovers": "end",
    }
    chosen, errors = forms.options(forms.typed_options(spec, 7))
    assert errors == {}
    # A name that was only counted is counted anew.
    assert chosen == spec | {"name": None, "start": True}
    assert forms.typed_options(spec | {"name": "mine"}, 7)["name"] == "mine"


# --- the same from a shell ---------------------------------------------------------------------------------------


def test_the_curl_command_is_read_by_a_shell_as_it_is_meant(tmp_path: Path) -> None:
    folder = tmp_path / "it's here"
    folder.mkdir()
    (folder / "token").write_text("secret\n")
    launch = Launch(target="m:f", kwargs={"text": 'it\'s "quoted" $HOME\n`x`'}, labels={"a": "b"})
    command = forms.curl(launch, "http://127.0.0.1:8000", folder / "token")
    assert command.startswith("curl ")
    script = f"curl() {{ printf '%s\\0' \"$@\"; }}; {command}"
    words = subprocess.run(["sh", "-c", script], check=True, capture_output=True).stdout.decode().split("\0")
    assert words[:-2] == [
        "-X",
        "POST",
        "http://127.0.0.1:8000/api/v1/processes",
        "-H",
        "Authorization: Bearer secret",
        "-H",
        "Content-Type: application/json",
        "-d",
    ]
    assert json.loads(words[-2]) == forms.request_body(launch)


# --- what is too long to be shown --------------------------------------------------------------------------------


def nested(depth: int, inside: Any) -> Any:
    for _ in range(depth):
        inside = {"a": [inside]}
    return inside


def test_what_is_not_too_long_is_shown_whole() -> None:
    launch = Launch("m:f", ["x" * 10_000, nested(15, 1)], {"a": [1, 2.5, None, True, {}]}, env={"A": "1"})
    assert forms.shortened(launch) == (launch, False)
    assert forms.shortened(launch)[0] is launch


@pytest.mark.parametrize(
    "value",
    [
        "x" * 200_000,
        list(range(50_000)),
        [[]] * 50_000,
        {str(number): "y" * 90 for number in range(2_000)},
        {"k" * 200_000: 1},
        nested(30, "z" * 200_000),
        [10**4000] * 20,
    ],
    ids=["text", "list", "nothings", "object", "name", "deep", "numbers"],
)
@pytest.mark.parametrize("where", ["args", "kwargs"])
def test_what_is_too_long_is_cut_and_says_so(where: str, value: Any) -> None:
    launch = Launch("m:f", ["first", value]) if where == "args" else Launch("m:f", kwargs={"a": "b", "v": value})
    shown, is_cut = forms.shortened(launch)
    assert is_cut
    for code in (forms.curl(shown, "http://x", Path("/t")), forms.httpx_code(shown, "http://x", Path("/t"))):
        assert "…" in code or "\\u2026" in code
        assert len(code) < 5 * MAX_SHOWN
    entry = {"name": "m:f", "kind": "function", "parameters": {}}
    assert len(forms.python(shown, entry)) < 5 * MAX_SHOWN


def test_of_what_is_nested_too_deeply_the_inside_is_left_out() -> None:
    for kwargs in ({"a": nested(2_000, 1)}, {"a": [nested(16, [1])]}):
        shown, is_cut = forms.shortened(Launch("m:f", kwargs=kwargs))
        assert is_cut
        json.dumps(shown.kwargs)
    at_the_limit = Launch("m:f", kwargs={"a": nested(16, 1)})
    assert forms.shortened(at_the_limit) == (at_the_limit, False)
