"""What a history of usage comes to."""

from dataclasses import astuple
from datetime import UTC, datetime, timedelta

import pytest

from app.supervisor.usage import MOST_POINTS, Figures, gone_on, summed_up, view
from procdeck.usage import MOST_RECORDS, Point

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
T0 = START.timestamp()


def point(at: float, cpu_seconds: float, rss: int = 100, cpu: float = 0.0, threads: int = 1) -> Point:
    return Point(T0 + at, cpu_seconds, rss, rss, cpu, threads, 4, 1)


def test_without_measurements_there_is_nothing() -> None:
    assert view(summed_up([], START)) == {"items": [], "average": None, "maximum": None}


def test_an_average_is_one_over_time() -> None:
    points = [point(1, 1.0, 100, 100), point(2, 2.0, 300, 100), point(10, 2.0, 300, 0.0, threads=9)]
    found = summed_up(points, START)
    assert found.average is not None
    assert astuple(found.average) == pytest.approx((20, 280, 7.4, 4, 1))
    assert found.maximum == Figures(100, 300, 9, 4, 1)
    # Where the start is unknown, or a clock was set, the first point stands for a second.
    for start in (None, START - timedelta(days=1), START + timedelta(days=1)):
        assert summed_up(points, start).average == found.average


def test_a_long_history_is_told_at_a_lower_resolution_and_comes_to_the_same() -> None:
    points = [point(at, at / 4, 100 + at, cpu=at % 90) for at in range(1, MOST_RECORDS + 1)]
    found = summed_up(points, START)
    assert len(found.points) <= MOST_POINTS
    assert found.points[-1] == points[-1]
    assert found.average is not None
    assert found.average.cpu_percent == pytest.approx(25)
    assert found.maximum is not None
    assert found.maximum.cpu_percent == 89


def test_one_that_is_quiet_goes_on_as_it_was() -> None:
    points = [point(1, 1.0)]
    sample = {"cpu_percent": 0.0, "cpu_seconds": 1.5, "rss_bytes": 70, "threads": 2, "processes": 3}
    assert gone_on(points, sample, START + timedelta(seconds=3)) == points
    assert gone_on([], sample, START + timedelta(seconds=100)) == []
    assert gone_on(points, None, START + timedelta(seconds=100)) == points
    # A keeper of an older release tells of no open files.
    _, last = gone_on(points, sample, START + timedelta(seconds=100))
    assert last == Point(T0 + 100, 1.5, 70, 70, 0.0, 2, 4, 3)


def test_the_contract() -> None:
    shown = view(summed_up([point(1, 0.5, 1000, 50.04)], START))
    assert shown["items"] == [
        {
            "at": "2026-11-22T12:00:01.000+00:00",
            "cpu_percent": 50.0,
            "rss_bytes": 1000,
            "threads": 1,
            "open_files": 4,
            "processes": 1,
        }
    ]
    assert shown["average"] == {
        "cpu_percent": 50.0,
        "rss_bytes": 1000,
        "threads": 1.0,
        "open_files": 4.0,
        "processes": 1.0,
    }
