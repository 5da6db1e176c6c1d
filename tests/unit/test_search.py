"""The search language: what is understood, what is refused and how, and that its text gives it back."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import search
from app.errors import Invalid
from app.search import QUALIFIERS, WORD, Part, Search, parse


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        pytest.param("", [], id="nothing"),
        pytest.param("  \t\n ", [], id="spaces"),
        pytest.param("cat dog", [Part(WORD, "cat"), Part(WORD, "dog")], id="words"),
        pytest.param("cat cat", [Part(WORD, "cat")], id="the same twice"),
        pytest.param('"a b" -"c d"', [Part(WORD, "a b"), Part(WORD, "c d", excluded=True)], id="phrases"),
        pytest.param('""', [], id="nothing in quotes"),
        pytest.param(r'"a \"b\" \\ \c"', [Part(WORD, r'a "b" \ \c')], id="escapes"),
        pytest.param('a"b', [Part(WORD, 'a"b')], id="a quote within a word"),
        pytest.param('- -x --y "-z"', [Part(WORD, "-"), *(Part(WORD, w, excluded=True) for w in ("x", "-y")),
                     Part(WORD, "-z")], id="minus"),
        pytest.param('"target:x" 12:30', [Part(WORD, "target:x"), Part(WORD, "12:30")], id="no qualifiers"),
        pytest.param("target:a:b", [Part("target", "a:b")], id="target"),
        pytest.param("TARGET:Ab", [Part("target", "Ab")], id="qualifiers in any case"),
        pytest.param("-target:ping", [Part("target", "ping", excluded=True)], id="not a target"),
        pytest.param("target:a:* name:* by:w*", [Part("target", "a:", is_prefix=True), Part("name", "", is_prefix=True),
                     Part("by", "w", is_prefix=True)], id="beginnings"),
        pytest.param('name:"a*"', [Part("name", "a*")], id="a star in quotes"),
        pytest.param('name:"a b"', [Part("name", "a b")], id="a quoted value"),
        pytest.param("state:Timed-Out outcome:lost", [Part("state", "timed_out"),
                     Part("outcome", "lost")], id="states"),
        pytest.param("exit:1 exit:-09 exit:>=0 exit:kill -exit:SIGTERM", [Part("exit", "1"), Part("exit", "-9"),
                     Part("exit", ">=0"), Part("exit", "-15", excluded=True)], id="exit codes"),
        pytest.param("arg:cat.png arg:lr=0.1 arg:0=x*", [Part("arg", "cat.png"), Part("arg", "0.1", "lr"),
                     Part("arg", "x", "0", is_prefix=True)], id="arguments"),
        pytest.param('arg:"a=b" arg:"a b"="c d" arg:k= arg:k=v=w arg:x*', [Part("arg", "a=b"),
                     Part("arg", "c d", "a b"), Part("arg", "", "k"), Part("arg", "v=w", "k"),
                     Part("arg", "x*")], id="odd arguments"),
        pytest.param('label:team label:team=a label:"k k" label:t=', [Part("label", None, "team"),
                     Part("label", "a", "team"), Part("label", None, "k k"), Part("label", "", "t")], id="labels"),
        pytest.param("created:30m started:024H ended:2w", [Part("created", "30m"), Part("started", "24h"),
                     Part("ended", "2w")], id="times"),
        pytest.param("is:alive -is:daemon", [Part("is", "alive"), Part("is", "daemon", excluded=True)], id="is"),
        pytest.param("a\0b \ud800", [Part(WORD, "a\ufffdb"), Part(WORD, "\ufffd")], id="what no database takes"),
    ],
)  # fmt: skip
def test_what_is_understood(text: str, parts: list[Part]) -> None:
    found = parse(text)
    assert found.parts == tuple(parts)
    assert parse(found.text) == found


@pytest.mark.parametrize(
    ("text", "named"),
    [
        pytest.param("a traget:x b", "“traget:” in “traget:x” is unknown", id="unknown qualifier"),
        pytest.param('cat "dog', 'not closed: "dog', id="open quote"),
        pytest.param('name:"a', 'not closed: "a', id="open quote of a value"),
        pytest.param('x "a"b', "“\"a\"b”", id="text after a quote"),
        pytest.param("target: x", "must follow “target:”", id="no value"),
        pytest.param('-name:""', "must follow “-name:\"\"”", id="an empty value"),
        pytest.param("label:", "must follow “label:”", id="no label"),
        pytest.param("arg:=3", "“arg:=3”", id="no name"),
        pytest.param("state:runing", "“state:runing” is unknown; it can be created, queued", id="state"),
        pytest.param("outcome:running", "“outcome:running” is unknown", id="outcome"),
        pytest.param("is:odd", "“is:odd” is unknown; it can be alive", id="is"),
        pytest.param("exit:x", "“exit:x” is no exit code", id="exit"),
        pytest.param("exit:9999999999", "is no exit code", id="large exit code"),
        pytest.param("ended:24", "“ended:24” is no time", id="a time without a unit"),
        pytest.param("ended:0h", "“ended:0h” is no time", id="no time"),
        pytest.param("started:99999999w", "is no time", id="a time too long"),
        pytest.param("x" * 1001, "at most 1000 characters", id="too long"),
        pytest.param('"' + "\\a" * 450 + ' "', "at most 1000 characters", id="too long when it is written out"),
        pytest.param(" ".join(map(str, range(31))), "at most 30 parts", id="too many"),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, named: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse(text)
    assert named in refused.value.detail
    assert refused.value.errors == [{"field": "search", "message": refused.value.detail}]


def test_an_unknown_qualifier_is_answered_with_those_that_are_known() -> None:
    with pytest.raises(Invalid) as refused:
        parse("basics:worker")
    assert all(f"{name}:" in refused.value.detail for name in QUALIFIERS)
    assert "In quotes" in refused.value.detail


_PIECES = st.one_of(
    st.text(max_size=5),
    st.sampled_from(['"', "-", "\\", "*", "=", " ", ":", "é", "\0", "\ud800", "\u3000", "state:failed ", "exit:>0 "]),
    st.sampled_from([f"{name}:" for name in QUALIFIERS]),
)


@given(st.lists(_PIECES, max_size=12).map("".join))
def test_the_text_of_a_search_is_the_same_search(text: str) -> None:
    try:
        found = parse(text)
    except Invalid as refused:
        assert refused.errors[0]["field"] == "search"  # noqa: PT017  most are understood
        return
    assert parse(found.text) == found
    assert parse(found.text).text == found.text
    for part in found.parts:
        assert parse(part.text).parts == (part,)


@given(st.sampled_from(["target", "name", "by", "arg", "label"]), st.text(min_size=1, max_size=20), st.booleans())
def test_a_condition_that_is_added_takes_its_value_as_it_is(kind: str, value: str, excluded: bool) -> None:
    key = "key" if kind == "label" else None
    value = search._UNSTORABLE.sub("\ufffd", value)
    found = parse("cat").plus(kind, value, key=key, excluded=excluded)
    assert parse(found.text) == found
    assert found.of(kind, excluded=excluded) == (Part(kind, value, key, excluded),)


@given(st.text(max_size=50))
def test_words_are_nothing_but_words(text: str) -> None:
    found = search.words(text)
    assert all(part.kind == WORD and not part.excluded for part in found.parts)
    assert parse(found.text) == found


def test_a_part_can_be_taken_away() -> None:
    found = parse("cat state:failed -target:ping")
    assert [part.text for part in found.parts] == ["cat", "state:failed", "-target:ping"]
    assert found.minus(found.parts[1]).text == "cat -target:ping"
    assert found.minus(Part(WORD, "other")) == found


def test_a_condition_is_added_once_and_checked() -> None:
    found = parse("state:failed")
    assert found.plus("state", "failed") == found
    assert found.plus("target", "a:b").text == "state:failed target:a:b"
    assert found.plus("target", "a b", excluded=True).text == 'state:failed -target:"a b"'
    with pytest.raises(Invalid):
        found.plus("state", "odd")


def test_parts_by_their_kind() -> None:
    found = parse("cat -dog target:a:b target:c* -target:d label:team label:tier=1")
    assert found.of(WORD) == (Part(WORD, "cat"),)
    assert found.of(WORD, excluded=True) == (Part(WORD, "dog", excluded=True),)
    assert [part.value for part in found.of("target", excluded=True)] == ["d"]
    assert [part.value for part in found.of("label")] == [None, "1"]
    assert Search().text == ""


def test_what_values_mean() -> None:
    assert parse("ended:90m").parts[0].within == timedelta(minutes=90)
    assert [part.comparison for part in parse("exit:1 exit:>0 exit:<=-9").parts] == [("=", 1), (">", 0), ("<=", -9)]


@pytest.mark.parametrize(("word", "number"), [("12", 12), ("#12", 12), ("1²", None), ("9" * 19, None), ("#", None)])
def test_a_word_that_may_be_a_number(word: str, number: int | None) -> None:
    assert Part(WORD, word).number == number


def test_a_word_that_may_be_an_id() -> None:
    uuid = "01997f6e-7d9c-7bd1-8000-0123456789ab"
    assert Part(WORD, uuid.upper()).id == uuid
    assert Part(WORD, "{" + uuid[:-2] + "}").id is None
    assert Part("name", uuid).id is None
