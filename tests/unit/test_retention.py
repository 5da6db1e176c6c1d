"""Who goes: never one too many, the limits hold, the oldest first, and a dry run says what a real one does."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.failure import Failure
from app.cli.prune import parse_size
from app.retention import Candidate, Choice, Chooser, Held, Limits, OldestSegments, Reason, Segment
from app.settings import Settings

NOW = datetime(2026, 11, 22, 6, 55, 26, tzinfo=UTC)


def candidate(number: int, days: float = 1.0, target: str = "a", size: int = 10) -> Candidate:
    return Candidate(str(number), number, f"Process-{number}", target, NOW - timedelta(days=days), size)


def held(candidates: Sequence[Candidate]) -> Held:
    return Held(Counter(each.target for each in candidates), sum(each.bytes for each in candidates))


def choose(candidates: Sequence[Candidate], limits: Limits, page: int = 3, *, really: bool = False) -> list[Choice]:
    """As the service chooses: page by page; ``really`` removes the chosen ones between two pages."""
    left = sorted(candidates, key=lambda each: each.key)
    chooser = Chooser(held(candidates), limits, NOW)
    chosen: list[Choice] = []

    def pages(target: str | None = None) -> Iterator[list[Candidate]]:
        after = None
        while True:
            found = [each for each in left if target in (None, each.target) and (after is None or each.key > after)]
            if not found:
                return
            after = found[:page][-1].key
            yield found[:page]

    def take(more: list[Choice]) -> None:
        chosen.extend(more)
        if really:
            for choice in more:
                left.remove(choice.process)

    for found in pages():
        take(more := chooser.by_age(found))
        if len(more) < len(found):
            break
    for target in chooser.crowded():
        for found in pages(target):
            take(chooser.by_count(found))
    for found in pages():
        take(chooser.by_bytes(found))
    return chosen


CANDIDATES = st.lists(st.tuples(st.integers(0, 40), st.sampled_from("abc"), st.integers(0, 50)), max_size=30).map(
    lambda drawn: [candidate(n, days / 4, target, size) for n, (days, target, size) in enumerate(drawn)]
)
LIMITS = st.builds(
    Limits,
    st.none() | st.floats(0.1, 12),
    st.none() | st.integers(1, 8),
    st.none() | st.integers(1, 500),
)


@given(CANDIDATES, LIMITS)
def test_what_is_left_is_within_the_limits(candidates: list[Candidate], limits: Limits) -> None:
    gone = {choice.process.id for choice in choose(candidates, limits)}
    left = [each for each in candidates if each.id not in gone]
    if limits.days is not None:
        assert all(NOW - each.stopped_at <= timedelta(days=limits.days) for each in left)
    if limits.per_target is not None:
        assert all(count <= limits.per_target for count in held(left).counts.values())
    if limits.bytes is not None:
        assert held(left).bytes <= limits.bytes


@given(CANDIDATES, LIMITS)
def test_nothing_goes_without_its_reason(candidates: list[Candidate], limits: Limits) -> None:
    left = list(candidates)
    for process, reason in choose(candidates, limits):
        assert process in left  # each once
        if reason is Reason.AGE:
            assert limits.days is not None
            assert NOW - process.stopped_at > timedelta(days=limits.days)
        elif reason is Reason.COUNT:
            assert limits.per_target is not None
            assert held(left).counts[process.target] > limits.per_target
        else:
            assert limits.bytes is not None
            assert held(left).bytes > limits.bytes
        left.remove(process)


@given(CANDIDATES, LIMITS)
def test_the_oldest_go_first(candidates: list[Candidate], limits: Limits) -> None:
    chosen = choose(candidates, limits)
    gone = {choice.process.id for choice in chosen}
    for process, reason in chosen:
        older = [each for each in candidates if each.key < process.key and each.id not in gone]
        if reason is Reason.COUNT:
            older = [each for each in older if each.target == process.target]
        assert not older


@given(CANDIDATES, LIMITS, st.integers(1, 40))
def test_a_dry_run_tells_what_a_real_one_does(candidates: list[Candidate], limits: Limits, page: int) -> None:
    assert choose(candidates, limits, page) == choose(candidates, limits, really=True)


def test_one_crowded_target_does_not_push_out_the_others() -> None:
    flood = [candidate(n, days=1, target="flood", size=100) for n in range(10)]
    others = [candidate(n + 100, days=50, target=f"t{n}") for n in range(5)]
    chosen = choose(others + flood, Limits(per_target=2, bytes=300))
    assert {choice.process.target for choice in chosen} == {"flood"}


def test_no_limit_is_no_choice() -> None:
    assert not Limits()
    assert choose([candidate(1, days=10_000, size=1 << 60)], Limits()) == []


def test_zero_in_the_settings_is_no_limit() -> None:
    assert not Limits.of(Settings())
    assert Limits.of(Settings(keep_days=0.5, keep_per_target=3)) == Limits(0.5, 3, None)


# --- segments of logs --------------------------------------------------------------------------------------------

LOGS = st.dictionaries(
    st.text("xyz", min_size=1, max_size=3), st.lists(st.tuples(st.integers(1, 50), st.integers(0, 30)), max_size=6)
)


def segments(drawn: Sequence[tuple[int, int]]) -> list[Segment]:
    firsts = [0, *accumulate(size for size, _ in drawn)]
    return [Segment(first, size, at) for first, (size, at) in zip(firsts, drawn, strict=False)]


@given(LOGS, st.integers(0, 600), st.integers(0, 600))
def test_enough_goes_and_always_from_the_start_of_a_log(
    logs: dict[str, list[tuple[int, int]]], excess: int, too_much: int
) -> None:
    oldest = OldestSegments(excess + too_much)
    for process_id, drawn in logs.items():
        oldest.add(process_id, segments(drawn))
    oldest.lower(excess)
    chosen = oldest.chosen()
    gone = 0
    for process_id, firsts in chosen.items():
        all_of_it = segments(logs[process_id])
        assert firsts == [segment.first for segment in all_of_it[: len(firsts)]]
        gone += sum(segment.size for segment in all_of_it[: len(firsts)])
    whole = sum(size for drawn in logs.values() for size, _ in drawn)
    assert gone >= min(excess, whole)
    if excess:
        biggest = max((size for drawn in logs.values() for size, _ in drawn), default=0)
        assert gone < excess + biggest
    else:
        assert gone == 0


def test_the_oldest_segments_go_whosever_they_are() -> None:
    oldest = OldestSegments(25)
    oldest.add("new", [Segment(0, 10, 50), Segment(10, 10, 60)])
    oldest.add("old", [Segment(0, 10, 10), Segment(10, 10, 20)])
    oldest.add("middle", [Segment(0, 10, 30), Segment(10, 10, 70)])
    assert oldest.chosen() == {"old": [0, 10], "middle": [0]}


# --- sizes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1048576", 1 << 20),
        ("500M", 500 << 20),
        ("1.5G", 3 << 29),
        ("20 GiB", 20 << 30),
        ("7k", 7 << 10),
        ("1TB", 1 << 40),
    ],
)
def test_sizes_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "M", "5X", "1e9", "9999999999T"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(Failure, match="is not a size"):
        parse_size(text)
