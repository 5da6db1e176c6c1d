"""Lines of a log as people read them: joined, numbered, levelled, found, and as text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import Invalid
from app.log import find as finding
from app.log import html, moments, places, text, window
from app.log.find import find, last_traceback
from app.log.levels import Classifier, Level, level_of
from app.log.lines import adopt, context, line_start
from app.log.numbering import Numbering
from app.log.query import LONGEST_QUERY, Matcher, Query, TooSlow
from app.log.source import blocks_back, extent, read_range
from procdeck.log import Chunk

START = datetime(2026, 11, 22, 6, 55, 26, tzinfo=UTC)


@dataclass
class Kept:
    """A log in memory, of segments."""

    parts: dict[int, bytes] = field(default_factory=dict)
    key: str = "p1"
    told: dict[int, int] = field(default_factory=dict)

    def marks(self) -> dict[int, int]:
        return self.told

    def segments(self) -> list[tuple[int, int]]:
        return sorted((first, len(data)) for first, data in self.parts.items())

    def read(self, after: int, limit: int) -> Chunk:
        limit = max(limit, 3 * 64 * 1024)
        for first, size in self.segments():
            if after >= first + size:
                continue
            data, at = self.parts[first], max(0, after - first)
            if at and data[at - 1 : at] != b"\n":
                at = data.find(b"\n", at) + 1
            piece = data[at : at + limit]
            piece = piece[: piece.rfind(b"\n") + 1]
            if piece:
                return Chunk(first + at, first + at + len(piece), piece)
            after = first + size
        return Chunk(after, after, b"")


def record(words: str, stream: str = "stdout", *, tag: str = "F", second: float = 0.0) -> bytes:
    time = (START + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return f"{time} {stream} {tag} {words}\n".encode()


def kept(*records: bytes, per_segment: int = 1_000_000, start: int = 0) -> Kept:
    log, first = Kept(), start
    for at in range(0, len(records), per_segment):
        data = b"".join(records[at : at + per_segment])
        log.parts[first] = data
        first += len(data)
    return log


def plain(count: int, per_segment: int = 1_000_000) -> Kept:
    return kept(*(record(f"line {number}", second=number) for number in range(1, count + 1)), per_segment=per_segment)


def texts(found: window.Window) -> list[str]:
    return [line.text for line in found.lines]


ALL = Query()

# --- reading -----------------------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(1, 9), st.integers(200, 900))
def test_blocks_backwards_are_the_whole_log(count: int, per_segment: int, size: int) -> None:
    log = plain(count, per_segment)
    _, end = extent(log)
    pieces = [block.data for block in blocks_back(log, end, size)]
    assert b"".join(reversed(pieces)) == b"".join(log.parts[first] for first in sorted(log.parts))


def test_a_range_has_the_records_that_begin_in_it() -> None:
    log = plain(10, per_segment=3)
    size = len(record("line 1"))
    assert read_range(log, size, 3 * size).data == record("line 2", second=2) + record("line 3", second=3)
    assert read_range(log, size + 1, 2 * size).data == b""


# --- lines -------------------------------------------------------------------------------------------------------


def test_parts_are_joined_by_stream_and_numbered_by_where_they_begin() -> None:
    log = kept(
        record("a", tag="P"),
        record("err", "stderr"),
        record("b", tag="P"),
        record("c"),
        record("open", tag="P"),
        record("last", "stderr"),
    )
    found = window.tail(log, 10, ALL, Numbering())
    assert [(line.number, line.stream, line.text, line.is_open) for line in found.lines] == [
        (1, "stdout", "abc", False),
        (2, "stderr", "err", False),
        (3, "stdout", "open", True),
        (4, "stderr", "last", False),
    ]


@given(
    st.lists(
        st.tuples(st.sampled_from(["stdout", "stderr"]), st.sampled_from("PF"), st.text("ab", max_size=3)), max_size=40
    ),
    st.integers(1, 7),
    st.integers(1, 6),
)
def test_pieces_put_together_are_the_whole(
    given_records: Sequence[tuple[str, str, str]], per_segment: int, count: int
) -> None:
    records = [record(words, stream, tag=tag) for stream, tag, words in given_records]
    log = kept(*records, per_segment=per_segment, start=700)
    numbering = Numbering()
    _, end = extent(log)
    whole = [(line.offset, line.number, line.text) for line in window.later(log, 0, 1000, ALL, numbering).lines]
    assert [number for _, number, _ in whole] == list(range(1, len(whole) + 1))
    onwards: list[tuple[int, int, str]] = []
    at = 0
    while True:
        piece = window.later(log, at, count, ALL, numbering)
        onwards += [(line.offset, line.number, line.text) for line in piece.lines]
        if not piece.has_later:
            break
        at = piece.after
    assert onwards == whole
    backwards: list[tuple[int, int, str]] = []
    at = end
    while True:
        piece = window.earlier(log, at, count, ALL, numbering)
        backwards[:0] = [(line.offset, line.number, line.text) for line in piece.lines]
        if not piece.has_earlier:
            break
        at = piece.before
    assert backwards == whole
    for offset, number, _ in whole:
        assert numbering.number_at(log, offset) == number
        assert line_start(log, offset) == offset


def test_a_line_that_began_before_can_be_gone_on_with() -> None:
    first, more = record("10 %\r", "stderr", tag="P"), record("20 %", "stderr", tag="P")
    log = kept(record("x"), first, more, record("\r30 %", "stderr"))
    offset = len(record("x") + first)
    assert texts(window.later(log, offset, 5, ALL, Numbering())) == []
    joiner = context(log, offset)
    adopt(log, joiner, offset)
    assert [(line.offset, line.raw) for line in joiner.open.values()] == [(len(record("x")), "10 %\r")]


def test_a_bar_of_many_parts_is_one_line_with_its_last_state() -> None:
    bar = [record(f"\r{number} %", "stderr", tag="P") for number in range(30_000)]
    log = kept(record("before"), *bar, record("", "stderr"), record("after"))
    assert texts(window.tail(log, 10, ALL, Numbering())) == ["before", "29999 %", "after"]
    assert texts(window.later(log, 0, 2, ALL, Numbering())) == ["before", "29999 %"]
    middle = sum(map(len, [record("before"), *bar[:15_000]]))
    assert line_start(log, middle) == len(record("before"))


def test_numbers_hold_over_segments_and_count_from_the_oldest_kept() -> None:
    log = plain(100, per_segment=7)
    numbering = Numbering()
    assert window.tail(log, 1, ALL, numbering).lines[0].number == 100
    assert numbering.offset_of(log, 50) == window.tail(log, 51, ALL, numbering).lines[0].offset
    assert numbering.offset_of(log, 1) == 0
    assert window.later(log, numbering.offset_of(log, 1000), 1, ALL, numbering).lines[0].number == 100
    del log.parts[0]
    assert window.tail(log, 1, ALL, numbering).lines[0].number == 93


def test_silence_is_measured() -> None:
    log = kept(record("a"), record("b", second=200), record("c", second=201))
    assert [round(line.silence) for line in window.tail(log, 5, ALL, Numbering()).lines] == [0, 200, 0]
    assert "3 min of silence" in html.rows(window.tail(log, 5, ALL, Numbering()).lines)


# --- levels ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("ERROR:root:it broke", Level.ERROR),
        ("2026-11-22 10:00:00,123 - app.core - WARNING - careful", Level.WARNING),
        ("[ERROR/Process-1] nothing left", Level.ERROR),
        ("[INFO/MainProcess] process shutting down", Level.INFO),
        ("[2026-11-22 10:00:00] ERROR in app: it broke", Level.ERROR),
        ("INFO:     Started server process", Level.INFO),
        ("2026-11-22 10:00:00.123 | DEBUG    | mod:f:1 - x", Level.DEBUG),
        ('{"level": "error", "msg": "x"}', Level.ERROR),
        ('{"msg": "x", "level": 30}', Level.WARNING),
        ("ts=1 level=warn msg=x", Level.WARNING),
        ("warning: unused variable", Level.WARNING),
        ("E1122 10:00:00.123456 1 file.cc:1] x", Level.ERROR),
        ("CRITICAL everything is lost", Level.ERROR),
        ("there was no ERROR found", None),
        ("information about errors", None),
        ("42 errors", None),
        ("", None),
    ],
)
def test_a_level_is_read_from_the_line(line: str, level: Level | None) -> None:
    assert level_of(line) == level


TRACEBACK = [
    "ERROR:root:step failed",
    "Traceback (most recent call last):",
    '  File "a.py", line 1, in f',
    '    {}["a"]',
    "KeyError: 'a'",
    "",
    "During handling of the above exception, another exception occurred:",
    "",
    "Traceback (most recent call last):",
    '  File "a.py", line 3, in f',
    "ValueError: wrong",
    "INFO:root:on we go",
    "plain",
]


def test_a_traceback_belongs_to_the_line_before_it() -> None:
    classifier = Classifier()
    told = [classifier.feed("stderr", line) for line in TRACEBACK]
    assert told[0] == (Level.ERROR, False)
    assert told[1:11] == [(Level.ERROR, True)] * 10
    assert told[11:] == [(Level.INFO, False), (None, False)]
    assert Classifier().feed("stderr", TRACEBACK[1]) == (Level.ERROR, False)


def test_streams_are_told_apart_and_indented_lines_inherit() -> None:
    classifier = Classifier()
    classifier.feed("stderr", "Traceback (most recent call last):")
    assert classifier.feed("stdout", "  indented") == (None, False)
    assert classifier.feed("stderr", "  File x") == (Level.ERROR, True)
    classifier.feed("stdout", "WARNING:root:several lines")
    assert classifier.feed("stdout", "  of them") == (Level.WARNING, False)


# --- looking for something ---------------------------------------------------------------------------------------


def numbers(log: Kept, query: Query) -> list[int]:
    return [line.number for line in window.tail(log, 1000, query, Numbering()).lines]


def test_a_filter_keeps_numbers_and_what_is_found_agrees() -> None:
    log = kept(
        *(record(f"{'Error' if number % 10 == 0 else 'fine'} {number}", second=number) for number in range(1, 101)),
        per_segment=13,
    )
    tens = list(range(10, 101, 10))
    assert numbers(log, Query("error")) == tens
    assert numbers(log, Query("error", is_case_sensitive=True)) == []
    assert numbers(log, Query(r"^Error \d+$", is_regex=True)) == tens
    assert len(numbers(log, Query("error", is_inverted=True))) == 90
    for query in (Query("error"), Query(r"r+or", is_regex=True), Query("error", is_inverted=True), Query("1")):
        found = find(log, query)
        lines = window.tail(log, 1000, query, Numbering()).lines
        assert found.offsets == [line.offset for line in reversed(lines)]
        assert (found.count, found.next) == (len(lines), None)


def test_what_stands_in_the_stamp_is_not_found() -> None:
    log = kept(record("2026 stdout"), record("x"), record("F 06"))
    assert find(log, Query("2026")).count == find(log, Query("stdout F")).count + 1 == 1
    assert find(log, Query("06")).count == 1


def test_what_is_found_is_what_is_shown() -> None:
    log = kept(
        record("\x1b[31mRE\x1b[0mD"), record("50 %\r100 %"), record("ÄPFEL"), record("spl", tag="P"), record("it")
    )
    assert find(log, Query("red")).count == 1
    assert find(log, Query("50")).count == 0
    assert find(log, Query("äpfel")).count == 1
    assert find(log, Query("split")).count == 1


def test_a_level_and_a_stream_narrow() -> None:
    log = kept(record("INFO:x"), *(record(line, "stderr") for line in TRACEBACK), record("DEBUG:y"), record("end"))
    assert numbers(log, Query(level=Level.ERROR)) == list(range(2, 13))
    assert numbers(log, Query(level=Level.INFO)) == [*range(1, 15), 16]
    assert numbers(log, Query(stream="stdout")) == [1, 15, 16]
    assert numbers(log, Query("f", level=Level.ERROR, stream="stderr"))[:1] == [2]
    start = last_traceback(log)
    assert start is not None
    assert Numbering().number_at(log, start) == 10


def test_an_expression_cannot_hold_up_the_service() -> None:
    log = kept(record("a" * 5000 + "!"))
    nasty = Query(r"(a|aa)+$", is_regex=True)
    matcher = Matcher(nasty, 0.05)
    with pytest.raises(TooSlow):
        matcher.has("a" * 5000 + "!")
    found = find(log, nasty, seconds=0.05)
    assert found.is_slow


@pytest.mark.parametrize(
    ("given_", "field_"),
    [
        ({"q": "([", "regex": "1"}, "q"),
        ({"q": "x" * (LONGEST_QUERY + 1)}, "q"),
        ({"level": "loud"}, "level"),
        ({"stream": "stdin"}, "stream"),
        ({"regex": "perhaps"}, "regex"),
        ({"at": "-1"}, "at"),
        ({"line": "first"}, "line"),
        ({"count": "999999"}, "count"),
        ({"time": "noon"}, "time"),
        ({"time": "25:00"}, "time"),
        ({"time": "10:00", "zone": "../../etc/passwd"}, "zone"),
        ({"time": "10:00", "zone": "Nowhere/Town"}, "zone"),
    ],
)
def test_what_can_not_be_is_refused_by_name(given_: dict[str, str], field_: str) -> None:
    with pytest.raises(Invalid) as refused:
        places.piece(plain(3), given_)
    assert [error["field"] for error in refused.value.errors] == [field_]


def test_a_query_survives_its_own_address() -> None:
    query = Query("a b&c", is_regex=True, is_inverted=True, level=Level.WARNING, stream="stderr")
    assert Query.of(query.params()) == query
    assert Query().params() == {}


# --- places ------------------------------------------------------------------------------------------------------


def test_places_by_offset_line_time_and_name() -> None:
    log = plain(1000, per_segment=90)
    at = Numbering().offset_of(log, 500)
    for given_ in ({"at": str(at)}, {"at": str(at - 3)}, {"line": "500"}, {"line": "5,00"}, {"time": "07:03:46"}):
        place, found = places.piece(log, given_ | {"count": "10"})
        assert place.target == at, given_
        assert [line.number for line in found.lines] == list(range(495, 505))
    assert texts(places.piece(log, {"at": "start", "count": "2"})[1]) == ["line 1", "line 2"]
    assert texts(places.piece(log, {"count": "2"})[1]) == ["line 999", "line 1000"]
    assert places.piece(log, {"at": "traceback"})[0].target is None
    assert texts(places.piece(log, {"at": "99999999"})[1])[-1] == "line 1000"
    assert places.piece(Kept(), {})[1].lines == []


@given(st.integers(-5, 1010))
def test_a_time_is_found_by_halving(second: int) -> None:
    log = plain(1000, per_segment=90)
    offset = moments.offset_at(log, START + timedelta(seconds=second))
    lines = window.later(log, offset, 1, ALL, Numbering()).lines
    expected = max(1, second)
    assert [line.number for line in lines] == ([expected] if expected <= 1000 else [])


# --- as HTML, and as text ----------------------------------------------------------------------------------------


def test_a_line_is_text_and_its_marks_are_ours() -> None:
    log = kept(
        record('<img src=x onerror="x">&\x1b[31m<b>red</b>'), record("Traceback (most recent call last):", "stderr")
    )
    found = window.tail(log, 5, ALL, Numbering()).lines
    made = html.chunks(found, target=found[1].offset)
    assert "<img" not in made
    assert "<b>" not in made
    assert '<span class="c f1">&lt;b&gt;red' in made
    assert re.findall(r'class="(l[^"]*)"', made) == ["l", "l le se picked"]
    assert len(re.findall('<div class="chunk">', html.chunks([found[0]] * 1001))) == 3


def whole(log: Kept, writer: text.Writer) -> str:
    return (writer.feed(read_range(log, 0, extent(log)[1])) + writer.end()).decode()


def test_a_download_has_what_was_asked_for() -> None:
    log = kept(record("\x1b[31mred\x1b[0m"), record("1 %\r2 %", second=61), record("no end", tag="P", second=3661))
    assert whole(log, text.Writer(ALL)) == "red\n2 %\nno end\n"
    assert whole(log, text.Writer(ALL, with_colours=True)) == "\x1b[31mred\x1b[0m\n1 %\r2 %\nno end\n"
    assert whole(log, text.Writer(Query("2"))) == "2 %\n"
    assert whole(log, text.Writer(Query("2"), text.since_stamp(START))) == "+00:01:01.000 2 %\n"
    told = whole(log, text.Writer(Query("red"), text.clock_stamp(text.zone_of("Nowhere/Town", "-90"))))
    assert told == "2026-11-22 05:25:26.000-01:30 red\n"


def test_numbers_stay_when_older_lines_are_removed() -> None:
    log = plain(100, per_segment=10)
    begins = [offset for offset, _ in log.segments()]
    log.told = {begins[index]: 10 * index for index in (3, 7)}
    numbering = Numbering()
    for gone, removed in ((0, 0), (1, 10), (4, 40), (7, 70)):
        for begin in begins[:gone]:
            log.parts.pop(begin, None)
        fresh = Numbering()
        assert fresh.removed(log) == removed
        for counting in (numbering, fresh):
            shown = window.later(log, 0, 1000, ALL, counting).lines
            assert [line.number for line in shown] == list(range(removed + 1, 101))
            assert [line.text for line in shown] == [f"line {line.number}" for line in shown]
            assert counting.offset_of(log, 95) == shown[94 - removed].offset
            assert counting.offset_of(log, 1) == shown[0].offset
    # Where nobody knows what went before, the oldest kept is the first.
    log.told = {}
    assert Numbering().removed(log) is None
    assert window.tail(log, 1, ALL, Numbering()).lines[0].number == 30


def test_the_hit_next_to_a_place_is_found_however_many_there_are() -> None:
    log = plain(300, per_segment=50)
    lines = window.later(log, 0, 1000, ALL, Numbering()).lines
    query = Query("7")
    hits = [line.offset for line in lines if "7" in line.text]
    assert [finding.first(log, query, hit + 1).offsets for hit in hits[:-1]] == [[hit] for hit in hits[1:]]
    assert [finding.last(log, query, hit).offsets for hit in hits[1:]] == [[hit] for hit in hits[:-1]]
    assert finding.first(log, query, hits[-1] + 1).offsets == finding.last(log, query, hits[0]).offsets == []
    newer = find(log, query, since=hits[10] + 1, most=0)
    assert (newer.count, newer.offsets) == (len(hits) - 11, [])


def test_a_line_is_searched_further_than_it_is_shown() -> None:
    log = kept(record("x" * 60_000, tag="P"), record("here"), record("y" * 60_000, tag="P"), record("z" * 60_000))
    found = find(log, Query("here"))
    assert (found.offsets, found.has_longer) == ([0], True)


def test_messages_of_many_lines_and_chains_belong_to_the_traceback() -> None:
    written = [
        "ERROR:root:no",
        "Traceback (most recent call last):",
        '  File "a.py", line 1, in f',
        "ValueError: one",
        "two",
        "  three",
        "",
        "The above exception was the direct cause of the following exception:",
        "",
        "Traceback (most recent call last):",
        "KeyError: 1",
        "INFO:root:on",
    ]
    classifier = Classifier()
    told = [classifier.feed("stderr", line) for line in written]
    assert told == [(Level.ERROR, False), *([(Level.ERROR, True)] * 10), (Level.INFO, False)]
