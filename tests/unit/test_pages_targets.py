"""The pages of targets: how they have fared, where they are written, the code of a launch."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from app.pages import forms
from app.pages.outcomes import CHART_HEIGHT, LEAST_HEIGHT, Run, chart, summary
from app.pages.source import MAX_LINES, source_of
from app.pages.targets import grouped, matching
from app.supervisor.launches import Launch
from procdeck.registry import collect

# --- outcomes ----------------------------------------------------------------------------------------------------

RUN = Run("p1", "work-1", "succeeded", 2.0, datetime(2026, 1, 31, tzinfo=UTC))


def runs(*words: str) -> list[Run]:
    return [replace(RUN, word=word) for word in words]


def test_a_summary_counts_what_is_over() -> None:
    told = summary([*runs("running", "succeeded", "failed"), replace(RUN, duration=4.0)])
    assert (told.over, told.succeeded, told.average, told.percent) == (3, 2, 3.0, 67)
    assert told.text == "2 succeeded, 1 running, 1 failed"
    assert summary([]).percent is None


@pytest.mark.parametrize(("good", "bad", "percent"), [(1, 0, 100), (0, 1, 0), (999, 1, 99), (1, 999, 1), (1, 1, 50)])
def test_all_and_nothing_are_said_only_when_they_are(good: int, bad: int, percent: int) -> None:
    assert summary(runs(*["succeeded"] * good, *["crashed"] * bad)).percent == percent


def test_a_chart_goes_from_the_oldest_to_the_newest() -> None:
    newest = replace(RUN, id="newest", duration=8.0)
    found = chart([newest, *runs("running"), replace(RUN, duration=0.0), replace(RUN, duration=None), RUN])
    assert found is not None
    assert [bar.run.id for bar in found.bars] == ["p1", "p1", "newest"]
    assert [bar.height for bar in found.bars] == [CHART_HEIGHT // 4, LEAST_HEIGHT, CHART_HEIGHT]
    assert all(bar.y + bar.height == CHART_HEIGHT and bar.x + found.bar_width <= found.width for bar in found.bars)


def test_one_run_is_no_chart_and_none_take_no_time() -> None:
    assert chart([RUN]) is None
    found = chart([replace(RUN, duration=0.0)] * 2)
    assert found is not None
    assert {bar.height for bar in found.bars} == {LEAST_HEIGHT}


def test_a_run_in_words() -> None:
    assert RUN.text == "work-1: succeeded after 2.00 s, started 2026-01-31 00:00:00 UTC"
    assert replace(RUN, word="timed_out", started_at=None).text == "work-1: timed out after 2.00 s"
    assert replace(RUN, word="running", started_at=None).text == "work-1: running"


# --- the catalogue -----------------------------------------------------------------------------------------------


def entry(name: str, **more: Any) -> dict[str, Any]:
    module = name.partition(":")[0] if ":" in name else ""
    return {"name": name, "module": module, "kind": "function", "doc": "", "signature": "()", **more}


def test_targets_are_found_by_all_words() -> None:
    entries = [
        entry("a:resize", doc="Scales pictures."),
        entry("b:resize"),
        entry("a:work", signature="(picture: str)"),
    ]
    assert [one["name"] for one in matching(entries, "PICTURE a:")] == ["a:resize", "a:work"]
    assert matching(entries, "") == entries


def test_targets_are_grouped_by_module_and_commands_come_last() -> None:
    found = grouped([entry("ls", kind="command"), entry("b:x"), entry("a:x"), entry("b:y")])
    assert [(group, [one["name"] for one in ones]) for group, ones in found] == [
        ("a", ["a:x"]),
        ("b", ["b:x", "b:y"]),
        ("Commands", ["ls"]),
    ]


# --- the source --------------------------------------------------------------------------------------------------

TEXT = """import os

@wrap
def work(a,
         b):
    # inside
    return a

def other(): ...
"""


def written(path: Path, text: str, line: int) -> dict[str, Any]:
    path.write_text(text)
    return {"source": {"file": str(path), "line": line}, "fingerprint": sha256(text.encode()).hexdigest()}


def test_the_source_is_the_definition_and_no_more(tmp_path: Path) -> None:
    found = source_of(written(tmp_path / "jobs.py", TEXT, 3))
    assert found is not None
    assert found.text == "@wrap\ndef work(a,\n         b):\n    # inside\n    return a\n"
    assert (found.file, found.line, found.why_not) == (str(tmp_path / "jobs.py"), 3, "")


def test_a_source_that_was_changed_is_not_shown(tmp_path: Path) -> None:
    target = written(tmp_path / "jobs.py", TEXT, 3)
    (tmp_path / "jobs.py").write_text("other = 1\n")
    found = source_of(target)
    assert found is not None
    assert found.text == ""
    assert "no longer, the one that was imported" in found.why_not
    (tmp_path / "jobs.py").unlink()
    found = source_of(target)
    assert found is not None
    assert found.why_not == "The file can't be read: No such file or directory."


def test_only_modules_that_were_imported_are_read(tmp_path: Path) -> None:
    target = written(tmp_path / "secrets.txt", TEXT, 3)
    found = source_of(target)
    assert found is not None
    assert (found.text, found.why_not) == ("", "")
    target = written(tmp_path / "jobs.py", TEXT, 3)
    found = source_of(target | {"fingerprint": None})
    assert found is not None
    assert found.text == ""
    assert source_of(target | {"source": None}) is None


@pytest.mark.parametrize("line", [1, 9, 10_000])
def test_a_line_that_can_not_be_is_shown_as_it_is(tmp_path: Path, line: int) -> None:
    assert source_of(written(tmp_path / "jobs.py", TEXT, line)) is not None


def test_a_long_source_is_cut(tmp_path: Path) -> None:
    text = "def work():\n" + "    pass\n" * 5000
    found = source_of(written(tmp_path / "jobs.py", text, 1))
    assert found is not None
    assert MAX_LINES <= found.text.count("\n") <= MAX_LINES + 1
    broken = 'def work():\n    """' + "x\n" * 10
    assert source_of(written(tmp_path / "jobs.py", broken, 1)) is not None


# --- the code of a launch ----------------------------------------------------------------------------------------

CALLS: list[Any] = []
JOBS = """
import enum
from datetime import timedelta
from multiprocessing import Process
from tests.unit.test_pages_targets import CALLS

class Colour(enum.Enum):
    RED = 1

def plain(text: str, count: int = 1, /, *rest, flag: bool = False, **more):
    CALLS.append((text, count, rest, flag, more))

def rich(wait: timedelta, colours: list[Colour] = [], sizes: set[int] = set()):
    CALLS.append((wait, colours, sizes))

class Holder:
    @staticmethod
    def inside(value=None):
        CALLS.append(value)

class Job(Process):
    def __init__(self, number: int):
        self.number = number

    def run(self):
        CALLS.append(self.number)
"""


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[dict[str, dict[str, Any]]]:
    """The catalogue of a module that can be imported from nowhere but its own folder."""
    (tmp_path / "jobs_of_test.py").write_text(JOBS)
    path = list(sys.path)
    sys.path.insert(0, str(tmp_path))
    module = __import__("jobs_of_test")
    found = {one["name"].partition(":")[2]: one for one in collect(module)}
    inside = {"name": "jobs_of_test:Holder.inside", "module": "jobs_of_test", "kind": "function"}
    found["Holder.inside"] = inside | {"source": found["plain"]["source"], "parameters": {"properties": {"value": {}}}}
    sys.path[:] = path
    CALLS.clear()
    yield found
    sys.path[:] = path
    del sys.modules["jobs_of_test"]


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "called"),
    [
        (
            "plain",
            ['it\'s\n"so"', 2, 3, None],
            {"flag": True, "not a name": [1.5], "x": "y" * 100},
            ('it\'s\n"so"', 2, (3, None), True, {"not a name": [1.5], "x": "y" * 100}),
        ),
        ("plain", [""], {}, ("", 1, (), False, {})),
        ("Holder.inside", [], {"value": {"a": [None]}}, {"a": [None]}),
        ("Job", [], {"number": 3}, 3),
    ],
)
def test_the_plain_call_is_the_call(
    jobs: dict[str, Any], name: str, args: list[Any], kwargs: dict[str, Any], called: Any
) -> None:
    code = forms.python(Launch(jobs[name]["name"], args, kwargs), jobs[name])
    assert "convert_arguments" not in code
    exec(compile(code, "call", "exec"), {})
    assert [called] == CALLS


def test_the_plain_call_converts_as_a_launch_does(jobs: dict[str, Any]) -> None:
    launch = Launch("jobs_of_test:rich", [], {"wait": 90, "colours": [1], "sizes": [2]})
    code = forms.python(launch, jobs["rich"])
    exec(compile(code, "call", "exec"), {})
    ((wait, colours, sizes),) = CALLS
    assert (wait.total_seconds(), [colour.name for colour in colours], sizes) == (90.0, ["RED"], {2})


def test_the_code_of_a_command() -> None:
    command = {"name": "list", "kind": "command", "run": ["ls", "-l"], "env": {"A": "it's"}, "cwd": "/tmp"}
    code = forms.python(Launch("list", ["a b"]), command | {"parameters": {}})
    compile(code, "call", "exec")
    assert "subprocess.run(['ls', '-l', 'a b'], cwd='/tmp', env={**os.environ, **{'A': \"it's\"}}, check=True)" in code


def test_the_code_for_the_api_compiles(tmp_path: Path) -> None:
    launch = Launch("m:f", kwargs={"text": 'it\'s "quoted" {x}\n\\', "deep": {"a": [1.5, None, True] * 20}})
    code = forms.httpx_code(launch, "http://127.0.0.1:8000", tmp_path / "it's" / "token")
    names: dict[str, Any] = {}
    literal = code.partition("body = ")[2].partition("\nanswer = ")[0]
    compile(code, "call", "exec")
    exec(f"body = {literal}", names)
    assert names["body"] == forms.request_body(launch)
