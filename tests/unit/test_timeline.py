"""The timeline: ranges, bars, what is merged, and the axis."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import timeline
from app.errors import Invalid
from app.timeline import HEIGHT, LONGEST, SHORTEST, Bar, Range, Span, bars, chart, range_of, ticks

NOW = datetime(2026, 11, 22, 14, 2, 11, tzinfo=UTC)
HOUR = Range(NOW - timedelta(hours=1), NOW)


def span(begin: float, length: float | None = 1.0, status: str = "succeeded", target: str = "jobs:a") -> Span:
    """A process that began so many minutes after the begin of `HOUR`, and ran for so many; None: it still does."""
    began = HOUR.begin + timedelta(minutes=begin)
    end = None if length is None else began + timedelta(minutes=length)
    return Span(f"{target}-{begin}", f"Process-{begin}", target, began, end, status)


# --- ranges ------------------------------------------------------------------------------------------------------


def test_a_named_range_ends_a_little_after_now() -> None:
    within = range_of("6h", "", "", NOW)
    assert within.begin == NOW - timedelta(hours=6)
    assert NOW < within.end < NOW + timedelta(minutes=10)
    assert within.name == "6h"
    assert range_of("", "", "", NOW).name == timeline.DEFAULT


def test_times_are_taken_as_utc_unless_they_say_otherwise() -> None:
    within = range_of("1h", "2026-11-22T10:00", "2026-11-22T13:00+02:00", NOW)
    assert (within.begin.hour, within.end.hour, within.name) == (10, 11, "")
    assert range_of("", "2026-11-22T10:00", "", NOW).end == NOW
    assert range_of("", "", "2026-11-22", NOW).begin == datetime(2026, 11, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (("2y", "", ""), "range"),
        (("0m", "", ""), "range"),
        (("367d", "", ""), "range"),
        (("", "yesterday", ""), "from"),
        (("", "", "2026-13-01"), "to"),
        (("", "0001-01-01T00:00+14:00", ""), "from"),
        (("", "9999-12-31", ""), "from"),
        (("", "2026-11-22", "2026-11-21"), "to"),
        (("", "2020-01-01", "2026-11-21"), "to"),
        (("", "2026-11-22T10:00:00", "2026-11-22T10:00:59"), "to"),
    ],
)
def test_a_range_that_makes_no_sense_is_refused_by_its_field(asked: tuple[str, str, str], field: str) -> None:
    with pytest.raises(Invalid) as refusal:
        range_of(*asked, NOW)
    assert refusal.value.errors[0]["field"] == field


def test_ranges_move_and_zoom_around_their_middle() -> None:
    earlier = HOUR.moved(-0.5)
    assert earlier.end == HOUR.begin + timedelta(minutes=30)
    assert HOUR.zoomed(2) == Range(HOUR.begin - timedelta(minutes=30), HOUR.end + timedelta(minutes=30))
    assert HOUR.zoomed(1e-9).length == SHORTEST
    assert HOUR.zoomed(1e9).length == LONGEST


# --- bars --------------------------------------------------------------------------------------------------------


def test_what_ran_apart_is_apart_and_what_ran_at_the_same_time_is_one_with_a_count() -> None:
    found = bars([span(0, 10), span(20, 10), span(25, 20), span(50, 1)], HOUR, NOW)
    assert [bar.count for bar in found] == [1, 2, 1]
    assert [round(bar.x) for bar in found] == [0, 33, 83]
    assert round(found[1].width) == round(25 / 60 * 100)


def test_the_shortest_is_wide_enough_to_be_seen_and_stays_within_the_chart() -> None:
    first, last = bars([span(5, 0.001), span(59.999, 0.0)], HOUR, NOW)
    assert first.is_thin
    assert last.is_thin
    assert first.right == pytest.approx(5 / 60 * 100, abs=0.01)
    assert last.right <= 100


def test_what_took_a_moment_is_no_wider_than_it_was() -> None:
    (bar,) = bars([span(10, 52 / 60)], HOUR, NOW)
    assert bar.width == pytest.approx(52 / 3600 * 100)


def test_what_is_counted_is_cut_into_bars_by_when_it_began() -> None:
    heaps = [
        Span("", "", "jobs:a", HOUR.begin + timedelta(minutes=minute), HOUR.begin + timedelta(minutes=minute + 30),
             status, count, HOUR.begin + timedelta(minutes=minute, seconds=50))
        for minute in range(30)
        for status, count in (("succeeded", 100), ("failed", 2))
    ]  # fmt: skip
    drawn = chart(heaps, HOUR, NOW, by_process=False, is_counted=True)
    (row,) = drawn.rows
    assert row.count == sum(bar.count for bar in row.bars) == 30 * 102
    assert row.statuses == [("failed", 60), ("succeeded", 3000)]
    assert row.newest == HOUR.begin + timedelta(minutes=29, seconds=50)
    assert len(row.bars) >= 15
    assert all(bar.right <= following.x for bar, following in pairwise(row.bars))
    assert row.bars[-1].width == pytest.approx(50, abs=4)


def test_a_row_of_many_short_ones_is_no_single_long_bar() -> None:
    found = bars([span(minute / 4, 0.01) for minute in range(240)], HOUR, NOW)
    assert len(found) > 20
    assert sum(bar.count for bar in found) == 240
    assert max(bar.width for bar in found) < 2 * timeline.WIDEST_HEAP


def test_one_that_began_before_or_goes_on_reaches_the_edge() -> None:
    before, running = bars([span(-30, 40), span(50, None, "running")], HOUR, NOW)
    assert before.x == 0
    assert not before.is_open
    assert running.is_open
    assert running.x + running.width == pytest.approx(100)
    assert running.end(NOW) == NOW


def test_a_clock_that_went_back_makes_no_bar_of_negative_width() -> None:
    later = Span("a", "a", "jobs:a", NOW + timedelta(minutes=5), None, "running")
    (bar,) = bars([later], HOUR, NOW)
    assert (bar.x, bar.width, bar.is_thin) == (100, 0, True)
    assert bar.end(NOW) == later.begin


@given(st.lists(st.tuples(st.floats(-70, 70), st.floats(0, 90)), max_size=60))
def test_every_process_is_in_one_bar_and_bars_do_not_overlap(times: list[tuple[float, float]]) -> None:
    spans = sorted((span(begin, length) for begin, length in times), key=lambda each: each.begin)
    found = bars([each for each in spans if each.end is None or each.end >= HOUR.begin], HOUR, NOW)
    assert sum(bar.count for bar in found) == sum(each.end is None or each.end >= HOUR.begin for each in spans)
    for bar, following in pairwise(found):
        assert bar.x + bar.width <= following.x + 1e-9
    assert all(bar.width >= 0 and bar.x >= 0 and bar.x + bar.width <= 100 + 1e-9 for bar in found)


def test_parts_are_what_needs_a_look_first_and_fill_the_bar() -> None:
    spans = [*(span(0, 1) for _ in range(97)), span(0, 1, "failed"), span(0, 1, "crashed"), span(0, 1, "stopped")]
    parts = Bar(0, 10, spans).parts()
    assert [status for status, _, _ in parts] == ["crashed", "failed", "stopped", "succeeded"]
    assert sum(height for _, _, height in parts) == pytest.approx(HEIGHT)
    assert min(height for _, _, height in parts) >= timeline.THINNEST_PART


@given(st.lists(st.sampled_from(["crashed", "failed", "lost", "timed_out", "stopped", "succeeded"]), min_size=1))
def test_parts_always_fill_the_bar(statuses: list[str]) -> None:
    parts = Bar(0, 10, [span(0, 1, status) for status in statuses]).parts()
    assert sum(height for _, _, height in parts) == pytest.approx(HEIGHT)
    assert all(height > 0 for _, _, height in parts)


# --- rows --------------------------------------------------------------------------------------------------------


def test_the_row_with_the_newest_start_comes_first() -> None:
    drawn = chart(
        [span(0, 60, target="a"), span(30, 1, target="b"), span(20, 1, target="a")], HOUR, NOW, by_process=False
    )
    assert [row.key for row in drawn.rows] == ["b", "a"]
    assert [each.begin for each in drawn.rows[1].spans] == sorted(each.begin for each in drawn.rows[1].spans)
    by_process = chart([span(0), span(30), span(20)], HOUR, NOW, by_process=True)
    assert [row.name for row in by_process.rows] == ["Process-30", "Process-20", "Process-0"]


def test_rows_without_room_are_counted() -> None:
    drawn = chart([span(minute) for minute in range(5)], HOUR, NOW, by_process=True, most=3)
    assert (len(drawn.rows), drawn.left_out) == (3, 2)


def test_now_is_marked_where_it_is_in_the_range() -> None:
    assert chart([], HOUR, NOW, by_process=False).now == 100
    assert chart([], HOUR.moved(-2), NOW, by_process=False).now is None


# --- the axis ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "texts"),
    [
        (timedelta(minutes=1), ["14:01:20", "14:01:30"]),
        (timedelta(hours=1), ["13:10", "13:20"]),
        (timedelta(hours=24), ["15:00", "18:00"]),
        (timedelta(days=7), ["16 Nov", "17 Nov"]),
        (timedelta(days=366), ["13 Dec 2025", "12 Feb"]),
    ],
)
def test_ticks_are_at_even_times(length: timedelta, texts: list[str]) -> None:
    marks, _ = ticks(Range(NOW - length, NOW), NOW)
    assert [tick.text for tick in marks if not tick.is_outside][:2] == texts


def test_another_year_is_told() -> None:
    marks, _ = ticks(Range(datetime(2025, 12, 29, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC)), NOW)
    texts = [tick.text for tick in marks]
    assert "30 Dec 2025" in texts
    assert "2 Jan" in texts


def test_any_length_has_a_range_that_ends_now() -> None:
    for length, name in ((90, "90m"), (720, "12h"), (1440, "24h"), (2880, "2d"), (5040, "84h"), (0, "1m")):
        within = Range.until(NOW, timedelta(minutes=length))
        assert within.name == name
        assert range_of(name, "", "", NOW) == within
    assert Range.until(NOW, timedelta(days=999)).name == "366d"


def test_midnight_is_told_by_its_day() -> None:
    marks, _ = ticks(Range(NOW - timedelta(days=1), NOW), NOW)
    assert "22 Nov" in [tick.text for tick in marks]


@given(st.integers(60, int(LONGEST.total_seconds())), st.integers(0, 10**9))
def test_there_are_never_too_many_ticks_and_every_other_is_minor(seconds: int, shift: int) -> None:
    begin = datetime(1990, 1, 1, tzinfo=UTC) + timedelta(seconds=shift)
    marks, step = ticks(Range(begin, begin + timedelta(seconds=seconds)), NOW)
    assert sum(not tick.is_outside for tick in marks) <= timeline.MAX_TICKS + 1
    assert all(later.at - tick.at == timedelta(seconds=step) for tick, later in pairwise(marks))
    assert all(one.is_minor != other.is_minor for one, other in pairwise(marks))
