"""Searching the record on both databases: every condition against a plain reading of what it means, in one stretch and
in many; and that no scan is needed where there is an index."""

import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, event

from app.db import search, statistics
from app.db.search import Filter, Finder
from app.db.store import Measured, Store, insert_process, save_measured
from app.lifecycle import Process
from app.search import WORD, Part, Search, parse
from procdeck.states import ACTIVE, ALIVE, FINAL, Outcome, State
from tests.fakes import a_process

pytest_plugins = ["tests.databases"]
pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)
COUNT = 120


async def add(store: Store, processes: Sequence[Process]) -> None:
    def job(connection: Connection) -> None:
        for process in processes:
            insert_process(connection, process, [])
        sizes = [Measured(each.id, each.disk_bytes, None) for each in processes if each.disk_bytes is not None]
        save_measured(connection, sizes)

    await store.writer.run(job)


def history(count: int = COUNT) -> list[Process]:
    """Processes of all kinds, the same each time, with gaps between their numbers; one recorded each half hour."""
    choice = random.Random(7)
    return [a_random_process(choice, 3 * number, count - number) for number in range(1, count + 1)]


def a_random_process(choice: random.Random, number: int, place: int) -> Process:
    created = NOW - timedelta(minutes=30 * place)
    state = choice.choice([State.EXITED] * 6 + list(State))
    outcome = choice.choice([each for each in Outcome if each is not Outcome.LOST]) if state is State.EXITED else None
    started = None if state in (State.CREATED, State.QUEUED) or outcome is Outcome.NOT_STARTED else created
    duration = choice.choice([1.0, 100.0, 4000.0, 90000.0]) if state in FINAL and started else None
    stopped = created + timedelta(seconds=duration or 0) if state in FINAL else None
    kwargs: dict[str, Any] = {}
    if choice.random() < 0.7:
        kwargs["lr"] = choice.choice([0.1, 0.5, 1, 1.0, "0.1", 1e-05, True, None])
    if choice.random() < 0.3:
        kwargs["path"] = choice.choice(["/in/Cat.png", 'a "b" c', "straße", "100%", "a_b"])
        kwargs["model"] = {"depth": choice.choice([3, 30, "three"]), "sizes": [1, 2]}
    return a_process(
        state,
        id=str(UUID(int=number)),
        number=number,
        name=choice.choice(["nightly", "Nightly-2", "train-1", "train-22", "*"]),
        target=choice.choice(["jobs:train", "other:train", "jobs:resize", "jobs:ping", "images.tools:train_all"]),
        spec={"args": choice.choice([[], ["fast"], [number], ["width", 640]]), "kwargs": kwargs},
        created_at=created,
        requested_by=choice.choice(["cli", "browser", "token:ci"]),
        daemon=choice.random() < 0.2,
        labels=choice.choice([{}, {}, {"team": "a"}, {"team": "b", "tier": "1"}, {"team": "c"}, {"team": ""}]),
        origin_id="x" if choice.random() < 0.1 else None,
        outcome=Outcome.LOST if state is State.LOST else outcome,
        exitcode=choice.choice([0, 1, 2, -9, -15]) if started and state is State.EXITED else None,
        started_at=started,
        stopped_at=stopped,
        duration=duration,
        disk_bytes=100 if stopped and place > 20 else None,
    )


# --- what a search means, read plainly -------------------------------------------------------------------------------


def fits(process: Process, wanted: Search) -> bool:
    kinds = {part.kind for part in wanted.parts if not part.excluded}
    either = kinds & {"state", "outcome", "target", "exit", "name", "by"}
    return (
        all(any(holds(process, part) for part in wanted.of(kind)) for kind in either)
        and all(holds(process, part) for part in wanted.parts if not part.excluded and part.kind not in either)
        and not any(holds(process, part) for part in wanted.parts if part.excluded)
    )


def holds(process: Process, part: Part) -> bool:
    value = part.value or ""
    match part.kind:
        case "word":
            is_named = part.number == process.number or part.id == process.id
            return is_named or value.casefold() in f"{process.name}\n{process.target}\n{text_of(process)}".casefold()
        case "state":
            return value in (process.state, process.outcome)
        case "outcome":
            return value == process.outcome
        case "exit":
            code = process.exitcode
            sign, number = part.comparison
            compare: dict[str, Callable[[int], bool]] = {
                "=": number.__eq__, ">": number.__lt__, "<": number.__gt__, ">=": number.__le__, "<=": number.__ge__,
            }  # fmt: skip
            return code is not None and compare[sign](code)
        case "target":
            whole, _, last = process.target.rpartition(":")
            names = (process.target, last) if whole else (process.target,)
            return any(name.startswith(value) if part.is_prefix else name == value for name in names)
        case "name":
            return process.name.startswith(value) if part.is_prefix else process.name == value
        case "by":
            return process.requested_by.startswith(value) if part.is_prefix else process.requested_by == value
        case "label":
            return part.key in process.labels and part.value in (None, process.labels[part.key or ""])
        case "arg":
            return argument_holds(process, part)
        case "is":
            states = {"alive": ALIVE, "active": ACTIVE, "over": FINAL}.get(value)
            if states is not None:
                return process.state in states
            return process.daemon if value == "daemon" else process.origin_id is not None
    at = {"created": process.created_at, "started": process.started_at, "ended": process.stopped_at}[part.kind]
    return at is not None and at >= NOW - part.within


def text_of(process: Process) -> str:
    return json.dumps([process.spec["args"], process.spec["kwargs"]], ensure_ascii=False)


def argument_holds(process: Process, part: Part) -> bool:
    wanted = (part.value or "").casefold()
    if part.key is None:
        return wanted in text_of(process).casefold()
    values = [process.spec["kwargs"][part.key]] if part.key in process.spec["kwargs"] else []
    if part.key.isdigit() and int(part.key) < len(process.spec["args"]):
        values = [process.spec["args"][int(part.key)]]
    if part.key.startswith("model.") and "model" in process.spec["kwargs"]:
        values = [process.spec["kwargs"]["model"][part.key.removeprefix("model.")]]
    for value in values:
        texts = {value if isinstance(value, str) else json.dumps(value)}
        if type(value) in (int, float) and not part.is_prefix and is_number(wanted):
            return bool(float(wanted) == value)
        if any(text.casefold().startswith(wanted) if part.is_prefix else text.casefold() == wanted for text in texts):
            return True
    return False


def is_number(text: str) -> bool:
    return text[:1].isdigit()


PARTS = (
    *("train", "TRAIN", "nowhere", r'"\"width\", 640"', "100%", "a_b", "STRASSE", "12", "#30", "600", "2", r'"\"b\""'),
    *(str(UUID(int=number)) for number in (30, 31)),
    *("target:train", "target:jobs:train", "target:jobs:*", "target:train*", "target:none", "target:*", "target:jobs"),
    *(f"state:{each}" for each in (*State, Outcome.FAILED, Outcome.TIMED_OUT)),
    *(f"outcome:{each}" for each in Outcome),
    *("exit:0", "exit:-9", "exit:>0", "exit:<0", "exit:>=1", "exit:<=-15", "exit:SIGTERM"),
    *("arg:cat", "arg:fast", "arg:train", "arg:lr=0.1", "arg:lr=1", "arg:lr=1.0", "arg:lr=true", "arg:lr=null"),
    *("arg:lr=0.*", "arg:lr=0.00001", "arg:path=/in/cat.png", 'arg:path="a \\"b\\" c"', "arg:path=/in*", "arg:0=FAST"),
    *("arg:1=640", "arg:model.depth=3", "arg:model.depth=three", "arg:none=1"),
    *("label:team", "label:team=a", "label:team=", "label:tier=1", "label:none", "label:team=none"),
    *("name:nightly", "name:train-*", 'name:"*"', "name:Nightly*", "by:cli", "by:token*", "by:nobody"),
    *("created:1h", "created:2d", "started:90m", "started:3d", "ended:12h", "ended:2d", "ended:52w"),
    *("is:alive", "is:active", "is:over", "is:daemon", "is:relaunch"),
)  # fmt: skip


def searches() -> list[str]:
    """Every part, alone and excluded; and many put together."""
    choice = random.Random(11)
    parts = [*PARTS, *(f"-{part}" for part in PARTS)]
    return parts + [" ".join(choice.sample(parts, choice.choice([2, 2, 3]))) for _ in range(40)]


def expected(processes: Sequence[Process], wanted: Search) -> list[int]:
    fitting = [process for process in reversed(processes) if fits(process, wanted)]
    named = {(part.number, part.id) for part in wanted.of(WORD)}
    numbers, ids = {number for number, _ in named}, {id_ for _, id_ in named}
    first = [process.number for process in fitting if process.number in numbers or process.id in ids]
    return first + [process.number for process in fitting if process.number not in first]


def found_by(store: Store, text: str, limit: int, budget: float | None) -> list[int]:
    """All pages of a search, put together."""
    numbers: list[int] = []
    below: int | None = None
    while True:
        page = Finder(store.rows, Filter(search=parse(text)), NOW).page(limit, below, budget)
        assert len(page.items) <= limit
        assert budget is not None or page.searched_back_to is None
        numbers += [process.number for process in page.items]
        if page.next is None:
            return numbers
        assert below is None or page.next < below
        below = page.next


@pytest.mark.parametrize("size", ["as it is", "tiny"])
async def test_every_search_finds_what_it_means(store: Store, monkeypatch: pytest.MonkeyPatch, size: str) -> None:
    if size == "tiny":  # so that few processes are many
        monkeypatch.setattr(search, "FEW", 5)
        monkeypatch.setattr(search, "FIRST_STRETCH", 30)
        monkeypatch.setattr(search, "MOST_KEYS", 2)
        monkeypatch.setattr(search, "MOST_TARGETS", 2)
    processes = history()
    await add(store, processes)
    for text in searches():
        wanted = expected(processes, parse(text))
        assert found_by(store, text, 50 if size == "tiny" else 500, None) == wanted, text
        count = Finder(store.rows, Filter(search=parse(text)), NOW).count(10_000, None)
        assert count == (len(wanted), True), text


async def test_times_together_find_all_however_many_there_are(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where most of what one of them gives is ruled out by the other, or was on an earlier page."""
    long_over = NOW - timedelta(hours=10)
    just_over = NOW - timedelta(minutes=5)
    times = [long_over] * 60 + [just_over] * 10
    over = [
        a_process(
            State.EXITED,
            outcome=Outcome.SUCCEEDED,
            id=str(UUID(int=number)),
            number=number,
            created_at=at,
            started_at=at,
            stopped_at=at + timedelta(seconds=1),
            duration=1.0,
        )
        for number, at in enumerate(times, 1)
    ]
    waiting = [
        a_process(State.CREATED, id=str(UUID(int=number)), number=number, created_at=just_over)
        for number in range(71, 131)
    ]
    await add(store, [*over, *waiting])
    newest = list(range(70, 60, -1))
    for few in (5000, 50, 20, 11, 3):
        monkeypatch.setattr(search, "FEW", few)
        assert found_by(store, "started:24h created:1h", 4, None) == newest
        assert found_by(store, "started:1h created:24h", 4, None) == newest
        assert found_by(store, "started:24h", 7, None) == list(range(70, 0, -1))
        assert store.count(Filter(search=parse("started:520w created:520w"))) == (70, True)


async def test_searches_for_times_with_hardly_room_for_candidates(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = random.Random(13)
    processes = history()
    await add(store, processes)
    times = [f"{kind}:{time}" for kind in ("created", "started", "ended") for time in ("45m", "9h", "1d", "2d", "3w")]
    others = ["is:relaunch", "is:alive", "state:exited", "target:train", "label:team", "train", "-state:created", "12"]
    for _ in range(60):
        monkeypatch.setattr(search, "FEW", choice.choice([1, 2, 4, 8, 16, 40]))
        monkeypatch.setattr(search, "FIRST_STRETCH", choice.choice([7, 30, 2000]))
        text = " ".join(
            [*choice.sample(times, choice.choice([1, 2, 3])), *choice.sample(others, choice.choice([0, 1]))]
        )
        assert found_by(store, text, choice.choice([3, 20]), None) == expected(processes, parse(text)), text


async def test_a_search_whose_time_is_over_can_be_continued(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "FEW", 5)
    monkeypatch.setattr(search, "FIRST_STRETCH", 20)
    monkeypatch.setattr(search, "_next_size", lambda size, _took: size)
    processes = history()
    await add(store, processes)
    page = Finder(store.rows, Filter(search=parse("600 nowhere")), NOW).page(10, None, 0.0)
    assert page.items == []
    assert page.next is not None
    by_number = {process.number: process for process in processes}
    oldest_seen = min(number for number in by_number if number >= page.next)
    assert page.searched_back_to == by_number[oldest_seen].created_at
    for text in ("nowhere", "train -label:team", "arg:lr=0.1", "600", "exit:-9 state:exited", "-state:running"):
        assert found_by(store, text, 7, 0.0) == expected(processes, parse(text)), text
    assert Finder(store.rows, Filter(search=parse("train")), NOW).count(1000, 0.0)[1] is False


async def test_a_count_ends_at_the_most_that_is_asked_for(store: Store) -> None:
    processes = history()
    await add(store, processes)
    for text in ("", "train", "state:exited", "arg:lr=0.1", "label:team"):
        exact = len(expected(processes, parse(text)))
        wanted = Filter(search=parse(text))
        assert store.count(wanted, exact) == (exact, True)
        assert store.count(wanted, exact - 1) == (exact - 1, False)


async def test_who_is_named_comes_first_and_only_once(store: Store) -> None:
    await add(store, history())
    assert found_by(store, "30", 1, None)[0] == 30
    assert found_by(store, "30 state:exited -state:exited", 1, None) == []
    numbers = found_by(store, "6", 4, None)
    assert numbers[0] == 6
    assert len(numbers) == len(set(numbers))


async def test_of_more_who_are_named_than_a_page_takes_none_is_lost(store: Store) -> None:
    both = [a_process(id=str(UUID(int=number)), number=number, name=name) for number, name in ((7, "x9"), (9, "x7"))]
    others = [a_process(id=str(UUID(int=number)), number=number, name="x79") for number in (1, 8, 10)]
    await add(store, sorted([*both, *others], key=lambda process: process.number))
    assert found_by(store, "7 9", 1, None) == [9, 10, 8, 7, 1]
    assert found_by(store, "7 9", 2, None) == [9, 7, 10, 8, 1]


async def test_nothing_is_found_in_an_empty_record(store: Store) -> None:
    for text in PARTS:
        assert store.search(Filter(search=parse(text)), 10).items == []
        assert store.count(Filter(search=parse(text))) == (0, True)


async def test_what_was_recorded_while_the_clock_was_ahead_is_found(store: Store) -> None:
    """Times of creation are not in the order of the numbers when the clock was set back."""
    processes = history(40)
    ahead = [replace(each, created_at=each.created_at + timedelta(minutes=59)) for each in processes[10:20]]
    await add(store, [*processes[:10], *ahead, *processes[20:]])
    for within in range(1, 22):
        text = f"created:{within * 60 + 7}m"
        wanted = [each for each in [*processes[:10], *ahead, *processes[20:]] if fits(each, parse(text))]
        assert found_by(store, text, 50, None) == [each.number for each in reversed(wanted)]


# --- indexes ---------------------------------------------------------------------------------------------------------


# PostgreSQL chooses by the sizes of its tables, which are small here.
ON_SQLITE = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


@pytest.fixture
def plans(store: Store) -> list[str]:
    """How SQLite carries out what the store asks, for each step of each query."""
    seen: list[str] = []

    @event.listens_for(store._engine, "before_cursor_execute")
    def explain(_c: Any, cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        seen.extend(row[3] for row in cursor.fetchall())

    return seen


BY_INDEX = (
    *("", "state:running", "state:failed", "outcome:failed", "target:jobs:train", "name:nightly", "label:team=a"),
    *("label:team", "target:train", "is:alive", "is:over", "-state:exited", "state:running state:failed"),
)


@ON_SQLITE
@pytest.mark.parametrize("text", BY_INDEX)
async def test_what_an_index_answers_is_not_looked_for_in_the_table(
    store: Store, plans: list[str], monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(search, "FEW", 0)  # as if there were more than a few of each
    await add(store, history(40))
    plans.clear()
    wanted = Filter(search=parse(text))
    store.search(wanted, 50, "MTAw")
    assert is_by_index(plans, may_walk=not text)
    plans.clear()
    store.count(wanted)
    assert is_by_index(plans, may_walk=not text)


@ON_SQLITE
@pytest.mark.parametrize("text", ["nowhere", "target:jobs:train nowhere", "state:failed label:team=b", "exit:-9"])
async def test_a_stretch_looks_at_no_more_than_its_numbers(
    store: Store, plans: list[str], monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(search, "FEW", 0)
    store.search(Filter(search=parse(text)), 50, "MTAw")
    assert is_by_index(plans)


@ON_SQLITE
async def test_times_and_runs_are_read_from_indexes(store: Store, plans: list[str]) -> None:
    for text in ("ended:1h", "started:1h", "created:1h", "ended:1h nowhere"):
        store.search(Filter(search=parse(text)), 50, "MTAw")
    store.spans(NOW, NOW + timedelta(hours=1))
    store.recent_of_targets(["jobs:train"])
    assert is_by_index(plans)
    plans.clear()
    store.spans(NOW, NOW + timedelta(hours=1), "jobs:train")
    assert all("target" in each or "SEARCH" in each or "ix_process_number" in each or "B-TREE" in each for each in plans
               if "SUBQUERY" not in each)  # fmt: skip


def is_by_index(plans: Sequence[str], *, may_walk: bool = False) -> bool:
    """Whether no step reads a whole table; ``may_walk``: one may begin at its end, and stop."""
    walks = [each for each in plans if each.startswith("SCAN") and each.split()[1] in ("process", "label")]
    assert may_walk or not walks, plans
    return any(each.startswith("SEARCH") for each in plans) or may_walk


# --- what ran when ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [None, "jobs:train"])
async def test_the_spans_of_a_range(store: Store, target: str | None) -> None:
    processes = history()
    await add(store, processes)
    for hours, length in ((-1, 2), (10, 1), (24, 24), (70, 3), (200, 150), (1000, 10)):
        begin = NOW - timedelta(hours=hours)
        end = begin + timedelta(hours=length)
        wanted = {
            each.number
            for each in processes
            if (at := each.started_at or each.stopped_at) is not None
            and at < end
            and (each.stopped_at is None or each.stopped_at >= begin)
            and target in (None, each.target)
        }
        found = store.spans(begin, end, target)
        assert {run.number for run in found} == wanted
        times = [run.started_at or run.stopped_at or end for run in found]
        assert times == sorted(times)
        counted = store.counted(begin, end, target, 100, budget=60)
        assert counted.since is None
        assert len(counted.runs) + sum(heap.count for heap in counted.heaps) == len(wanted)
        over = Counter((run.target, str(run.outcome or run.state)) for run in found)
        over.subtract((run.target, str(run.outcome or run.state)) for run in counted.runs)
        for heap in counted.heaps:
            over[heap.target, heap.status] -= heap.count
            assert heap.first <= heap.last <= heap.end
        assert not any(over.values())
        assert len(store.spans(begin, end, target, limit=5)) == min(5, len(wanted))


async def test_counting_that_takes_too_long_says_from_when_on_it_is_whole(store: Store) -> None:
    processes = history()
    await add(store, processes)
    begin = NOW - timedelta(hours=1000)
    counted = store.counted(begin, NOW, None, 100, budget=0)
    assert counted.since is not None
    assert begin < counted.since < NOW
    whole = [each for each in processes if each.stopped_at is not None and each.stopped_at >= counted.since]
    later = sum(run.stopped_at is not None for run in counted.runs)
    assert later + sum(heap.count for heap in counted.heaps) == len(whole)


@pytest.mark.parametrize("target", [None, "jobs:train"])
def test_what_ends_while_its_span_is_looked_for_is_told_once(target: str | None) -> None:
    living = a_process(State.RUNNING, started_at=NOW - timedelta(hours=1))
    ended = replace(living, state=State.EXITED, outcome=Outcome.SUCCEEDED, stopped_at=NOW, duration=3600.0)
    other = replace(ended, id=str(UUID(int=2)), number=2)

    def row(process: Process) -> list[Any]:
        return [getattr(process, name) for name in statistics.Run.__slots__]

    looks = iter([[row(living)], [], [row(ended)], [row(ended), row(other)]])
    found = statistics.spans(lambda query: next(looks), NOW - timedelta(hours=1), NOW, target, 10)
    assert [(run.number, run.state) for run in found][:1] == [(living.number, State.EXITED)]
    assert len(found) == (1 if target is None else 2)


async def test_the_newest_runs_of_targets(store: Store) -> None:
    processes = history()
    await add(store, processes)
    found = store.recent_of_targets(["jobs:train", "none"], each=3)
    newest = [each for each in reversed(processes) if each.target == "jobs:train"]
    assert [run.number for run in found["jobs:train"]] == [each.number for each in newest[:3]]
    assert found["none"] == []
    run = found["jobs:train"][0]
    assert all(getattr(run, name) == getattr(newest[0], name) for name in statistics.Run.__slots__)
