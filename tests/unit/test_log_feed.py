"""What a page that follows a log is sent."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from app.log.levels import Level
from app.log.query import Query
from app.pages.log import BURST, LEAST, LINES_PER_SECOND, Feed, Rate, log_events
from procdeck.log import Chunk
from tests.unit.test_log_lines import Kept, kept, record

JSON = dict[str, Any]


def frames(made: Sequence[bytes]) -> list[tuple[str, JSON]]:
    found = []
    for frame in made:
        event, data = frame.decode().rstrip("\n").split("\n")
        found.append((event.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def feed_of(log: Kept, query: Query | None = None, start: int = 0) -> Feed:
    source: Any = log
    feed = Feed(source, query or Query(), 0.0)
    feed.start(start)
    return feed


def chunk(log: Kept, start: int = 0) -> Chunk:
    return log.read(start, 1 << 20)


def test_lines_come_with_numbers_and_where_to_go_on() -> None:
    first = record("one") + record("two")
    log = kept(first + record("three"))
    [(name, told)] = frames(feed_of(log, start=len(first)).feed(chunk(log, len(first)), 0.0))
    assert (name, told["count"], told["number"]) == ("log", 1, 3)
    assert told["after"] == told["position"] == len(log.parts[0])
    assert f'id="o{len(first)}"' in told["html"]
    assert ">3</a>" in told["html"]


def test_a_line_that_is_not_finished_is_sent_again_under_its_name() -> None:
    parts = [record("whole"), record("na", tag="P"), record("me?", tag="P"), record(" me")]
    log = kept(*parts)
    feed = feed_of(log)
    start = len(parts[0])
    at = 0
    shown = []
    for part in parts:
        for _, told in frames(feed.feed(Chunk(at, at + len(part), part), float(at))):
            shown.append((told["html"].split('class="x">')[1].split("<")[0], told["after"], told["number"]))
        at += len(part)
    assert shown == [("whole", start, 1), ("na", start, 2), ("name?", start, 2), ("name? me", at, 2)]
    # Who comes back to where the line began gets it as a whole, under the same number.
    [(_, told)] = frames(feed_of(log, start=start).feed(chunk(log, start), 0.0))
    assert ">2</a>" in told["html"]


def test_a_bar_is_sent_once_a_second() -> None:
    parts = [record(f"\r{number} %", "stderr", tag="P") for number in range(100)]
    feed = feed_of(kept(*parts))
    at, sent = 0, 0
    for number, part in enumerate(parts):
        sent += len(feed.feed(Chunk(at, at + len(part), part), number / 20))
        at += len(part)
    assert sent == 5
    assert feed.is_holding
    assert feed.due(4.95) == []
    [(_, told)] = frames(feed.due(6.0))
    assert "99 %" in told["html"]
    assert not feed.is_holding


def test_of_too_many_lines_the_last_are_sent_and_the_others_counted() -> None:
    log = kept(*(record(str(number)) for number in range(BURST + 700)))
    data = log.parts[0]
    [(skip, left_out), (name, told)] = frames(feed_of(log).feed(Chunk(0, len(data), data), 0.0))
    assert (skip, name) == ("log-skip", "log")
    assert (left_out["lines"], told["count"]) == (700, BURST)
    assert left_out["from"] == 0
    assert f'id="o{left_out["to"]}"' in told["html"]
    assert told["number"] == BURST + 700


def test_the_rate_is_held_and_comes_back() -> None:
    rate = Rate(0.0)
    assert rate.take(BURST, 0.0) == BURST
    assert rate.take(1000, 0.0) == LEAST
    assert rate.take(10_000, 1.0) == LINES_PER_SECOND
    assert rate.take(5, 100.0) == 5
    assert rate.take(BURST, 101.0) == BURST


def test_only_what_is_wanted_is_sent_and_levels_come_from_before() -> None:
    before = record("Traceback (most recent call last):", "stderr") + record("  File", "stderr")
    log = kept(before + record("fine") + record("ValueError: x", "stderr") + record("INFO:on", "stderr"))
    feed = feed_of(log, Query(level=Level.ERROR), len(before))
    [(_, told)] = frames(feed.feed(chunk(log, len(before)), 0.0))
    assert told["count"] == 1
    assert "ValueError" in told["html"]
    assert 'class="l le se cont"' in told["html"]


class Disk:
    """A supervisor of one log that is over; `removed` bytes of it are kept no longer."""

    stopping = False

    def __init__(self, log: Kept) -> None:
        self.engine = self
        self._log = log

    def log_segments(self, _: str) -> list[tuple[int, int]]:
        return self._log.segments()

    def log_marks(self, _: str) -> dict[int, int]:
        return self._log.marks()

    def log_extent(self, _: str) -> tuple[int, int]:
        parts = self._log.segments()
        return parts[0][0], parts[-1][0] + parts[-1][1]

    def read_log(self, _: str, after: int, limit: int = 256 * 1024) -> Chunk:
        oldest, _end = self.log_extent("")
        return self._log.read(max(after, oldest), limit)

    def log_followed(self, _: str) -> "Disk":
        return self

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, *_: object) -> None:
        return None


@pytest.mark.anyio
async def test_the_frames_of_a_log_that_is_over() -> None:
    log = kept(record("a"), record("b"), start=500)
    disk: Any = Disk(log)
    end = disk.log_extent("")[1]
    told = frames([frame async for frame in log_events(disk, "p1", {"after": "0"})])
    assert [name for name, _ in told] == ["log", "log-end"]
    told = frames([frame async for frame in log_events(disk, "p1", {"after": "100"})])
    assert told[0] == ("log-gap", {"from": 100, "to": 500})
    assert [name for name, _ in told] == ["log-gap", "log", "log-end"]
    assert told[-1][1] == {"after": end}
    told = frames([frame async for frame in log_events(disk, "p1", {"after": str(end)})])
    assert told == [("log-end", {"after": end})]


@pytest.mark.anyio
async def test_who_is_far_behind_is_told_what_was_passed_over() -> None:
    log = kept(*(record("x" * 1000) for _ in range(3000)))
    disk: Any = Disk(log)
    told = frames([frame async for frame in log_events(disk, "p1", {"after": "0"})])
    assert told[0][0] == "log-skip"
    assert told[0][1]["lines"] is None
    assert told[-1][0] == "log-end"
    assert told[-2][1]["number"] == 3000
