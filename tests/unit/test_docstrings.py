"""Docstrings on pages: reflowed, and never markup of their own."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from app.pages.docstrings import first_sentence, html


@pytest.mark.parametrize(
    ("doc", "told"),
    [
        ("", ""),
        ("   \n\n ", ""),
        ("One line\n    goes on.\n\n    Another.", "<p>One line goes on.</p>\n<p>Another.</p>"),
        ("Take `x` and ``y z``.", "<p>Take <code>x</code> and <code>y z</code>.</p>"),
        ("<b>`</b>`", "<p>&lt;b&gt;<code>&lt;/b&gt;</code></p>"),
        ("- one\n  goes on\n- two", "<ul><li>one goes on</li><li>two</li></ul>"),
        ("3. three\n4. four", '<ol start="3"><li>three</li><li>four</li></ol>'),
        ("As:\n\n    a\n      b\n\n    c\n.", '<p>As:</p>\n<pre class="code">a\n  b\n\nc</pre>\n<p>.</p>'),
        ("Text\n>>> f(`1`)\n2\n\nMore", '<p>Text</p>\n<pre class="code">&gt;&gt;&gt; f(`1`)\n2</pre>\n<p>More</p>'),
        (
            "It.\n\nArgs:\n    a (int): one\n        goes on\n    *b: two",
            "<p>It.</p>\n<p>Args:</p>\n"
            '<ul class="names"><li><code>a (int)</code>: one goes on</li><li><code>*b</code>: two</li></ul>',
        ),
        ("It.\n\n      odd\n    - a\n.", '<p>It.</p>\n<pre class="code">  odd\n- a</pre>\n<p>.</p>'),
        ("Either:\n    - a\n    - b", "<p>Either:</p>\n<ul><li>a</li><li>b</li></ul>"),
    ],
)
def test_a_docstring_as_html(doc: str, told: str) -> None:
    assert str(html(doc)) == told


def test_the_first_paragraph_is_one_line() -> None:
    assert str(first_sentence("Do `it`\n    now.\n\n    More.")) == "Do <code>it</code> now."
    assert str(first_sentence("Do it:\n- a\n- b")) == "Do it:"


@given(st.text(alphabet=st.sampled_from("ab<>&\"'`-*1.:> \n\t()x")) | st.text())
def test_no_docstring_brings_markup_or_fails(doc: str) -> None:
    own = r'</?(?:p|ul|ol|li|code|pre)(?: class="(?:code|names)"| start="\d+")*>'
    for told in (html(doc), first_sentence(doc)):
        rest = re.sub(own, "", str(told))
        assert "<" not in rest
        assert ">" not in rest
    wanted = {letter for letter in str(escape(doc)) if letter.isalpha()}
    assert {letter for letter in str(html(doc)) if letter.isalpha()} >= wanted
