"""The one stream of a page: hints about its topics, the log that it shows, and their ends."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app import streams
from app.errors import Invalid, NotFound
from app.health.troubles import Troubles
from app.pages import stream
from app.pages.stream import MAX_IDS, Topics, hints
from app.supervisor.changes import Changed, Changes
from app.supervisor.pulse import Pulse
from app.supervisor.supervisor import Supervisor
from procdeck.states import Outcome, State

pytestmark = pytest.mark.anyio


class Watched:
    """The parts of a supervisor that a page's stream looks at."""

    def __init__(self) -> None:
        self.changes = Changes()
        self.troubles = Troubles()
        self.activity = SimpleNamespace(noted=Pulse())

    def hints(self, topics: str) -> AsyncGenerator[bytes]:
        return hints(cast(Supervisor, self), Topics.of(topics))

    def move(self, process_id: str, outcome: Outcome | None = None) -> None:
        to = State.RUNNING if outcome is None else State.EXITED
        self.changes.moved({"id": process_id, "to": to, "outcome": outcome})


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setattr(stream, "EVERY", 0.05)
    monkeypatch.setattr(stream, "LOOK_EVERY", 0.001)
    return Watched()


async def read(events: AsyncGenerator[bytes]) -> tuple[str, Any]:
    """The next event: its name and its data."""
    async with asyncio.timeout(5):
        frame = (await anext(events)).decode()
    lines = dict(line.split(": ", 1) for line in frame.strip().splitlines())
    return lines["event"], json.loads(lines["data"])


def changed(**changes: Any) -> Changed:
    nothing: dict[str, Any] = {"moved": [], "measured": [], "touched": [], "is_reset": False}
    return Changed(**(nothing | changes))


@pytest.mark.parametrize(
    ("text", "plain", "processes"),
    [
        ("", set(), set()),
        ("list", {"list"}, set()),
        ("process:a process:b,targets, ", {"targets"}, {"a", "b"}),
        ("process:", set(), {""}),
    ],
)
def test_topics(text: str, plain: set[str], processes: set[str]) -> None:
    assert Topics.of(text) == Topics(frozenset(plain), frozenset(processes))


@pytest.mark.parametrize("text", ["nothing", "list,process", ",".join(f"process:{number}" for number in range(11))])
def test_topics_that_are_none(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        Topics.of(text)
    assert refused.value.errors[0]["field"] == "topics"


@pytest.mark.parametrize(
    ("topics", "what", "told"),
    [
        ("list", {"moved": ["a"]}, (["a"], [], [])),
        ("list", {"measured": ["a"]}, ([], ["a"], [])),
        ("list", {"touched": ["targets"]}, None),
        ("process:a", {"moved": ["b"], "measured": ["b"]}, None),
        ("process:a", {"moved": ["b", "a"]}, (["a"], [], [])),
        ("process:a", {"moved": None}, (["a"], [], [])),
        ("activity", {"moved": ["a"], "measured": ["a"]}, (["a"], [], [])),
        ("activity", {"measured": ["a"]}, None),
        ("targets", {"touched": ["targets", "operations"]}, ([], [], ["targets"])),
        ("", {"moved": ["a"], "touched": ["targets"]}, None),
        ("", {"touched": ["troubles"]}, ([], [], ["troubles"])),
    ],
)
def test_a_page_is_told_of_what_it_shows(topics: str, what: dict[str, Any], told: tuple[list[str], ...] | None) -> None:
    hint = Topics.of(topics).hint(changed(**what))
    assert (hint and (hint["ids"], hint["measured"], hint["topics"])) == told


def test_more_than_can_be_named() -> None:
    topics = Topics.of("list")
    ids = [str(number) for number in range(MAX_IDS + 1)]
    nothing: dict[str, Any] = {"ids": [], "measured": [], "topics": [], "more": False, "more_measured": False}
    assert topics.hint(changed(moved=ids)) == nothing | {"ids": ids[:-1], "more": True}
    assert topics.hint(changed(moved=None)) == nothing | {"more": True}
    assert topics.hint(changed(measured=ids)) == nothing | {"measured": ids[:-1], "more_measured": True}
    assert topics.hint(changed(measured=None)) == nothing | {"more_measured": True}
    one = Topics.of("process:a").hint(changed(moved=None, measured=None))
    assert one == nothing | {"ids": ["a"], "measured": ["a"]}


async def test_hello_comes_first_then_what_changed(watched: Watched) -> None:
    events = watched.hints("list")
    name, facts = await read(events)
    assert name == "hello"
    assert {"version", "now", "changed_at", "run", "failed"} == set(facts)
    watched.move("a")
    watched.changes.measured("b")
    told = {"ids": ["a"], "measured": ["b"], "topics": [], "more": False, "more_measured": False}
    assert await read(events) == ("changed", told)
    watched.changes.measured("b")
    assert (await read(events))[1]["measured"] == ["b"], "a measurement alone"
    await events.aclose()


async def test_hints_come_no_oftener_than_once_in_a_while(watched: Watched) -> None:
    """By the loop's clock; what comes in between is one hint."""
    events = watched.hints("list")
    await read(events)
    clock = asyncio.get_running_loop().time
    watched.move("a")
    await read(events)
    first = clock()
    upcoming = asyncio.ensure_future(read(events))
    for number in range(50):
        watched.move(f"p{number}")
        await asyncio.sleep(0)
    name, hint = await upcoming
    assert clock() - first >= stream.EVERY * 0.9
    assert (name, len(hint["ids"])) == ("changed", 50)
    await events.aclose()


async def test_what_is_no_process_is_told_as_well(watched: Watched) -> None:
    events = watched.hints("activity,targets")
    await read(events)
    watched.activity.noted.fire()
    assert (await read(events))[1]["topics"] == ["activity"]
    watched.troubles.report("disk", "It is full.")
    assert (await read(events))[1]["topics"] == ["troubles"]
    watched.changes.touched("targets")
    assert (await read(events))[1]["topics"] == ["targets"]
    await events.aclose()


async def test_a_reset_and_the_end_of_the_service(watched: Watched) -> None:
    events = watched.hints("process:a")
    await read(events)
    watched.changes.reset()
    assert (await read(events))[0] == "reset"
    upcoming = asyncio.ensure_future(read(events))
    await asyncio.sleep(0)
    watched.changes.close()
    assert (await upcoming)[0] == "restart"
    with pytest.raises(StopAsyncIteration):
        await anext(events)


async def test_the_end_of_the_service_does_not_wait_for_the_next_hint(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "EVERY", 3600.0)
    events = watched.hints("list")
    await read(events)
    watched.move("a")
    await read(events)
    upcoming = asyncio.ensure_future(read(events))
    await asyncio.sleep(0.01)
    watched.changes.close()
    assert (await upcoming)[0] == "restart"


async def test_failures_are_counted(watched: Watched) -> None:
    watched.move("a", Outcome.FAILED)
    watched.move("b", Outcome.STOPPED)
    watched.move("c", Outcome.LOST)
    events = watched.hints("list")
    assert (await read(events))[1]["failed"] == 2
    await events.aclose()


async def test_a_log_that_is_refused_is_told_in_the_stream(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refusing(supervisor: Supervisor, process_id: str, query: Mapping[str, str]) -> AsyncGenerator[bytes]:
        yield streams.event("log", "{}")
        raise NotFound("It was deleted.")

    monkeypatch.setattr(stream, "log_events", refusing)
    lines = stream._log(cast(Supervisor, watched), "a", {})
    assert await read(lines) == ("log", {})
    name, problem = await read(lines)
    assert (name, problem["status"], problem["detail"]) == ("log-refused", 404, "It was deleted.")
    with pytest.raises(StopAsyncIteration):
        await anext(lines)
