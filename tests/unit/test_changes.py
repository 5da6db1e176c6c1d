"""What changed lately, for pages that ask again."""

from typing import Any

import pytest

from app.supervisor.broadcaster import Broadcaster, Published
from app.supervisor.changes import Changes, Recent
from procdeck.states import Outcome, State


def facts(process_id: str, to: State = State.RUNNING, outcome: Outcome | None = None) -> dict[str, Any]:
    return {"id": process_id, "to": to, "outcome": outcome}


def test_names_are_told_once_the_latest_first() -> None:
    recent = Recent()
    recent.touch("a")
    before = recent.count
    for name in "bcab":
        recent.touch(name)
    assert recent.since(before) == ["b", "a", "c"]
    assert recent.since(recent.count) == []


def test_who_is_further_behind_than_is_remembered_is_told_so() -> None:
    recent = Recent(memory=3)
    places = []
    for name in "abcde":
        places.append(recent.count)
        recent.touch(name)
    assert recent.since(places[0]) is None
    assert recent.since(places[1]) is None
    assert recent.since(places[2]) == ["e", "d", "c"]
    for _ in range(10_000):
        recent.touch("e")
    assert len(recent._touched) == 3


def test_a_measurement_wakes_nobody_and_is_told_at_the_next_look() -> None:
    changes = Changes()
    place, beat = changes.place, changes.pulse.count
    for _ in range(1000):
        changes.measured("p")
    assert changes.pulse.count == beat
    changed = changes.since(place)
    assert (changed.moved, changed.measured, changed.is_reset) == ([], ["p"], False)


@pytest.mark.parametrize("what", ["moved", "removed", "touched", "reset", "close"])
def test_everything_else_wakes(what: str) -> None:
    changes = Changes()
    place, beat = changes.place, changes.pulse.count
    known: dict[str, list[Any]] = {"moved": [facts("p")], "removed": ["p"], "touched": ["targets"]}
    arguments = known.get(what, [])
    getattr(changes, what)(*arguments)
    assert changes.pulse.count == beat + 1
    changed = changes.since(place)
    assert changed.moved == (["p"] if what in ("moved", "removed") else [])
    assert changed.touched == (["targets"] if what == "touched" else [])
    assert changed.is_reset is (what == "reset")
    assert changes.closed is (what == "close")


def test_ends_are_counted_once() -> None:
    """Several transitions that are saved together all carry the outcome that the process has by then."""
    changes = Changes()
    changes.moved(facts("p", State.RUNNING, Outcome.FAILED))
    changes.moved(facts("p", State.EXITED, Outcome.FAILED))
    changes.moved(facts("q", State.EXITED, Outcome.SUCCEEDED))
    assert changes.ended == {Outcome.FAILED: 1, Outcome.SUCCEEDED: 1}


async def recall(after: int, limit: int) -> list[Published]:
    raise AssertionError


def test_the_broadcaster_tells_of_what_it_publishes() -> None:
    broadcaster = Broadcaster(recall, 0)
    place = broadcaster.changes.place
    broadcaster.publish([Published(1, facts("p")), Published(2, facts("q"))])
    assert broadcaster.changes.since(place).moved == ["q", "p"]
    broadcaster.restart(7)
    assert broadcaster.changes.since(place).is_reset
    broadcaster.close()
    assert broadcaster.changes.closed
