"""What would steer a terminal, as HTML."""

import html.parser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.log import ansi
from app.resources import resource_dir


@pytest.mark.parametrize(
    ("raw", "made"),
    [
        ("plain <b>", "plain &lt;b&gt;"),
        ("\x1b[31mred\x1b[0m x", '<span class="c f1">red</span> x'),
        ("\x1b[1;92mx\x1b[22my\x1b[39mz", '<span class="c f10 bo">x</span><span class="c f10">y</span>z'),
        ("\x1b[38;5;208mo\x1b[48;5;17mx", '<span class="c f208">o</span><span class="c f208 k b17">x</span>'),
        ("\x1b[38;2;255;0;0mr", '<span class="c f196">r</span>'),
        ("\x1b[38:2::255:0:0mr", "r"),
        ("\x1b[7mi\x1b[27mn", '<span class="c fi k bi">i</span>n'),
        ("\x1b[31;7mi", '<span class="c fi k b1">i</span>'),
        ("\x1b[38;5;999mx\x1b[38mx\x1b[;mx\x1b[999999999mx", "xxxx"),
        ("\x1b[2;3;4;9mx", '<span class="di it st un">x</span>'),
        ('\x1b]8;;http://x"><script>\x07link\x1b]8;;\x07', "link"),
        ("\x1b]0;title\x1b\\x\x1bPq#0\x1b\\y\x1b(Bz\x1b[2K\x1b[1Ag\x1b=k", "xyzgk"),
        ("a\x00b\x07c\td", "a\N{REPLACEMENT CHARACTER}bc\td"),
        ("10 %\r20 %\r30 %", "30 %"),
        ("50 %\r\x1b[K", "50 %"),
        ("\x1b[32m50 %\r60 %", '<span class="c f2">60 %</span>'),
        ("line\r", "line"),
        ("\x1b", ""),
        ("\x1b[", ""),
    ],
)
def test_escapes_become_classes_or_nothing(raw: str, made: str) -> None:
    assert ansi.html(raw) == made


def test_a_line_is_shown_as_far_as_a_page_can_bear_it() -> None:
    for size in (ansi.LONGEST + 1, ansi.LONGEST_RAW + 1, 5_000_000):
        assert ansi.plain("x" * size) == "x" * ansi.LONGEST + ansi.CUT
    assert ansi.plain("x" * ansi.LONGEST) == "x" * ansi.LONGEST
    assert ansi.plain("\r".join(["50 %"] * 100_000) + "\r99 %\r\r") == "99 %"
    assert ansi.plain("\x1b[1;31m0\x1b[0m" * 5_000) == "0" * 5_000


class Reader(html.parser.HTMLParser):
    """Collects what a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.classes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            assert name == "class"
            self.classes |= set((value or "").split())

    def handle_data(self, data: str) -> None:
        self.text += data


PIECES = [
    "\x1b[",
    "\x1b]",
    "\x1b",
    "31",
    "38;5;",
    "38;2;1;2;3",
    "m",
    ";",
    "\r",
    "<script>",
    '"',
    "&lt;",
    "a",
    "\x9b",
    "\x07",
    "7",
]


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3))))
def test_whatever_is_written_nothing_but_spans_and_its_text_comes_out(pieces: list[str]) -> None:
    raw = "".join(pieces)
    reader = Reader()
    reader.feed(ansi.html(raw))
    reader.close()
    assert reader.tags <= {"span"}
    assert all(name.isalnum() for name in reader.classes)
    assert reader.text == ansi.plain(raw)
    assert "\x1b" not in reader.text
    assert "\r" not in reader.text


def test_the_stylesheet_is_the_one_that_is_made() -> None:
    assert (resource_dir("static") / "ansi.css").read_text() == ansi.stylesheet()
    assert ansi.nearest(*ansi.palette(123)) == 123
