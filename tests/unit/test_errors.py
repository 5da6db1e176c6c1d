import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import (
    MAX_JSON_DEPTH,
    AppError,
    Conflict,
    InternalError,
    Invalid,
    InvalidJSON,
    StartupError,
    TooManyRequests,
    Unauthorized,
    is_api,
    parse_json,
    problem,
    problem_types,
    wants_html,
)


def test_a_problem_has_the_members_of_rfc_9457() -> None:
    assert problem(Conflict("It is over.")) == {
        "type": "/docs#problem-conflict",
        "title": "Conflict",
        "status": 409,
        "detail": "It is over.",
    }


def test_field_errors_are_listed() -> None:
    error = Invalid("1 field is wrong.", errors=[{"field": "kwargs.width", "message": "must be a whole number"}])
    assert problem(error)["errors"] == [{"field": "kwargs.width", "message": "must be a whole number"}]


def test_some_errors_bring_headers() -> None:
    assert Unauthorized("no").headers == {"WWW-Authenticate": "Bearer"}
    assert TooManyRequests("no", retry_after=1.2).headers == {"Retry-After": "2"}


def test_an_internal_error_says_its_id_and_nothing_else() -> None:
    assert problem(InternalError("beef"))["request_id"] == "beef"


def test_every_problem_has_a_slug_of_its_own_and_is_explained() -> None:
    kinds = [kind for kind in problem_types() if kind.__module__ == "app.errors"]
    assert len({kind.slug for kind in kinds}) == len(kinds)
    assert all(kind.__doc__ and kind.__doc__ != AppError.__doc__ for kind in kinds)
    assert [kind.status for kind in kinds] == sorted(kind.status for kind in kinds)


def test_every_startup_error_ends_with_a_code_of_its_own() -> None:
    codes = [kind.exit_code for kind in StartupError.__subclasses__()]
    assert len(set(codes)) == len(codes)
    assert 0 not in codes


@pytest.mark.parametrize(
    ("path", "accept", "html"),
    [
        ("/processes", "text/html,*/*", True),
        ("/processes", "*/*", False),
        ("/api/v1/processes", "text/html", False),
        ("/metrics", "text/html", False),
        ("/docs", "text/html", True),
        ("/docs", "application/json", False),
        ("/apiary", "text/html", True),
    ],
)
def test_a_page_is_for_who_asks_for_html_where_pages_are(path: str, accept: str, html: bool) -> None:
    assert wants_html(path, accept) is html


def test_what_machines_ask_for() -> None:
    assert all(map(is_api, ("/api", "/api/v1/targets", "/docs", "/openapi.json", "/metrics", "/healthz", "/readyz")))
    assert not any(map(is_api, ("/", "/login", "/static/app.css", "/processes/1", "/metricsx")))


def _nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "line 1, column 2"),
        (b"", "not valid JSON"),
        (b'{"a": 1} x', "Extra data"),
        (b'\xef\xbb\xbf{"a": 1}', "BOM"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b'{"a": "\xff"}', "not UTF-8: invalid start byte at byte 7"),
        (b'{"a": NaN}', "NaN"),
        (b"[-Infinity]", "-Infinity"),
        (b"[1e999]", "1e999"),
        (b'{"a": 1, "b": {"c": 2, "c": 3}}', "'c' twice"),
        (b'["\\ud800"]', "surrogate"),
        (b'["\\uDFFF"]', "surrogate"),
        (b"[" + b"9" * 4301 + b"]", "4300 digits"),
        (_nested(MAX_JSON_DEPTH + 1), "levels deep"),
        (_nested(100_000), "levels deep"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "levels deep"),
    ],
)
def test_a_body_that_is_not_strict_json_is_refused_by_name(body: bytes, said: str) -> None:
    with pytest.raises(InvalidJSON) as refusal:
        parse_json(body)
    assert said in refusal.value.detail
    assert refusal.value.errors[0]["field"] == "body"
    json.dumps(problem(refusal.value), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "body",
    [
        _nested(MAX_JSON_DEPTH),
        b"[" + b",".join([b"[]"] * 1000) + b"]",
        b'["\\ud83d\\ude00", "[[[["]',
        b"[" + b"9" * 4300 + b"]",
        b'{"": null}',
    ],
)
def test_what_is_unusual_and_right_passes(body: bytes) -> None:
    assert parse_json(body) == json.loads(body)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(values)
def test_every_json_value_comes_through(value: object) -> None:
    assert parse_json(json.dumps(value).encode()) == value


@given(st.binary())
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(InvalidJSON):
        parse_json(body)
