"""Numbers as people read them."""

import pytest

from app.units import duration, size, span


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, ""),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (2**20 - 1, "1.0 MiB"),
        (5 * 2**40, "5.0 TiB"),
    ],
)
def test_sizes(count: int | None, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0.0, "0.00 s"),
        (0.844, "0.84 s"),
        (9.999, "9 s"),
        (59.9, "59 s"),
        (60, "1:00"),
        (3599, "59:59"),
        (3723, "1:02:03"),
        (3 * 86400 + 4 * 3600 + 300, "3 d 04:05"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((-1, "0.0 s"), (0.84, "0.8 s"), (12.4, "12 s"), (60, "1 min"), (130, "2 min 10 s"), (3600, "1 h")),
        *((11_100, "3 h 5 min"), (86_400, "1 d"), (187_200, "2 d 4 h")),
    ],
)
def test_stretches_of_time_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert span(seconds) == text
