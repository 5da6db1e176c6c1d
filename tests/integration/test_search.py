"""Searching the record on both databases: every condition against a plain reading of what it means, in one stretch and
in many; and that no scan is needed where there is an index."""

import json
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import Connection, event

from app.db import search, statistics
from app.db.engine import upgrade
from app.db.search import Filter, Finder
from app.db.store import Measured, Store, insert_process, save_measured
from app.lifecycle import Process
from app.search import WORD, Part, Search, parse
from procdeck.states import ACTIVE, ALIVE, FINAL, Outcome, State
from tests.fakes import a_process

if TYPE_CHECKING:
    from tests.postgres import PostgreSQL

pytest_plugins = ["tests.postgres"]
pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)
BOTH = [pytest.param("sqlite", id="sqlite"), pytest.param("postgresql", id="postgresql", marks=pytest.mark.postgres)]
COUNT = 120


@pytest.fixture(scope="module")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("migrated") / "procdeck.db"
    upgrade(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="module")
def migrated_url(postgresql: "PostgreSQL") -> str:
    url = postgresql.new_database()
    upgrade(url)
    return url


@pytest.fixture(params=BOTH)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        url = f"sqlite:///{shutil.copy(request.getfixturevalue('migrated_file'), tmp_path)}"
    else:
        url = request.getfixturevalue("migrated_url")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("TRUNCATE process, transition, label, session")
    opened = Store.open(url)
    yield opened
    opened.close()


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
ON_SQLITE = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


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
    store.durations("jobs:train")
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
            if each.started_at is not None
            and each.started_at < end
            and (each.stopped_at is None or each.stopped_at >= begin)
            and target in (None, each.target)
        }
        found = store.spans(begin, end, target)
        assert {run.number for run in found} == wanted
        assert [run.started_at for run in found] == sorted(run.started_at for run in found if run.started_at)
        assert len(store.spans(begin, end, target, limit=5)) == min(5, len(wanted))


async def test_the_newest_runs_of_targets(store: Store) -> None:
    processes = history()
    await add(store, processes)
    found = store.recent_of_targets(["jobs:train", "none"], each=3)
    newest = [each for each in reversed(processes) if each.target == "jobs:train"]
    assert [run.number for run in found["jobs:train"]] == [each.number for each in newest[:3]]
    assert found["none"] == []
    ran = [each for each in newest if each.duration is not None]
    assert [run.duration for run in store.durations("jobs:train", limit=8)] == [each.duration for each in ran[:8]]
    run = found["jobs:train"][0]
    assert all(getattr(run, name) == getattr(newest[0], name) for name in statistics.Run.__slots__)
