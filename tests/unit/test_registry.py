import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from procdeck import registry, target
from procdeck.registry import collect, resolve

Load = Callable[[str], ModuleType]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Imports a text as the module `jobs`."""
    monkeypatch.setattr(registry, "_registered", {})

    def load(text: str) -> ModuleType:
        file = tmp_path / "jobs.py"
        file.write_text("from procdeck import target\n" + text)
        spec = importlib.util.spec_from_file_location("jobs", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "jobs", module)
        spec.loader.exec_module(module)
        return module

    return load


def names(entries: list[dict[str, Any]]) -> list[str]:
    return [entry["name"].removeprefix("jobs:") for entry in entries]


def test_the_decorator_returns_the_very_same_object(load: Load) -> None:
    def function() -> None: ...

    assert target(function) is function
    assert target(timeout=3.0)(function) is function
    assert target(5) == 5


def test_an_entry(load: Load) -> None:
    module = load(
        "from pathlib import Path\n"
        "@target(name='sizer', daemon=True, timeout=60, grace=2.5)\n"
        "def resize(src: Path, width: int = 640) -> str:\n"
        "    '''Make it smaller.\n\n    Much smaller.\n    '''\n"
    )
    assert collect(module) == [
        {
            "name": "jobs:resize",
            "module": "jobs",
            "kind": "function",
            "doc": "Make it smaller.\n\nMuch smaller.",
            "signature": "(src: Path, width: int = 640) -> str",
            "parameters": {
                "type": "object",
                "properties": {
                    "src": {"type": "string", "format": "path", "x-kind": "positional_or_keyword"},
                    "width": {"type": "integer", "x-kind": "positional_or_keyword", "default": 640},
                },
                "required": ["src"],
                "additionalProperties": False,
            },
            "defaults": {"name": "sizer", "daemon": True, "timeout": 60, "grace": 2.5},
            "source": {"file": str(module.__file__), "line": 3},
            "warnings": [],
            "error": None,
        }
    ]


def test_a_process_subclass(load: Load) -> None:
    module = load(
        "import multiprocessing\n"
        "@target\nclass Plain(multiprocessing.Process): pass\n"
        "@target\nclass Sized(multiprocessing.get_context('spawn').Process):\n"
        "    def __init__(self, size: int, *, deep: bool = False): super().__init__()\n"
    )
    plain, sized = collect(module)
    assert (plain["kind"], plain["signature"], plain["parameters"]["properties"], plain["doc"]) == (
        "process",
        "()",
        {},
        "",
    )
    assert (sized["kind"], sized["signature"]) == ("process", "(size: int, *, deep: bool = False)")
    assert sized["parameters"]["required"] == ["size"]
    assert sized["source"]["line"] == 5
    assert (plain["error"], sized["error"]) == (None, None)


def test_without_any_decorator_all_public_definitions_count_in_source_order(load: Load) -> None:
    module = load(
        "import os, multiprocessing\nfrom pathlib import Path\nfrom shutil import copy\n"
        "def zebra(): ...\ndef _private(): ...\nclass Worker(multiprocessing.Process): ...\nclass Other: ...\n"
        "def ant(): ...\nalias = ant\nNUMBER = 5\n"
        "import functools\n@functools.lru_cache\ndef cached(): ...\n"
        "class Rude:\n    __class__ = property(lambda self: 1 / 0)\nrude = Rude()\n"
    )
    assert names(collect(module)) == ["zebra", "Worker", "ant", "cached"]
    assert all(entry["error"] is None for entry in collect(module))


def test_one_decorator_and_only_the_decorated_count(load: Load) -> None:
    module = load("def first(): ...\n@target\ndef second(): ...\n@target()\ndef third(): ...\n")
    assert names(collect(module)) == ["second", "third"]


def test_what_the_module_imports_from_others_is_not_its_own_unless_registered_there(load: Load) -> None:
    module = load("from shutil import copy, move\ntarget(copy)\n")
    assert names(collect(module)) == ["copy"]


def test_a_decorator_of_ones_own_may_register(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    helpers = ModuleType("helpers")
    exec("from procdeck import target\ndef job(f): return target(timeout=5)(f)\n", vars(helpers))
    monkeypatch.setitem(sys.modules, "helpers", helpers)
    module = load("from helpers import job\n@job\ndef work(): ...\n")
    assert [(e["name"], e["defaults"], e["error"]) for e in collect(module)] == [("jobs:work", {"timeout": 5}, None)]
    assert names(collect(helpers)) == ["helpers:job"]


def test_what_is_described_is_what_the_name_gives(load: Load) -> None:
    module = load(
        "import asyncio\n"
        "def run(f):\n    def runner(times: int): return asyncio.run(f())\n    return runner\n"
        "@run\n@target\nasync def work(): ...\n"
    )
    [entry] = collect(module)
    assert (entry["error"], entry["signature"]) == (None, "(times: int)")


def test_a_second_definition_replaces_the_first(load: Load) -> None:
    module = load("@target\ndef f(a): ...\n@target\ndef g(): ...\n@target\ndef f(b): ...\n")
    assert [(e["name"], e["signature"]) for e in collect(module)] == [("jobs:g", "()"), ("jobs:f", "(b)")]


REFUSED = [
    ("@target\nasync def f(): ...", "f", "async function"),
    ("@target\nasync def f(): yield", "f", "async generator"),
    ("@target\ndef f(): yield", "f", "generator"),
    ("@target\nclass f: ...", "f", "class"),
    ("f = target(lambda: 1)", "<lambda>", "lambda"),
    ("def outer():\n    @target\n    def f(): ...\nouter()", "outer.<locals>.f", "inside another function"),
    ("f = target(5)", "<int at line 2>", "must be callable"),
    ("import functools\nf = target(functools.partial(print))", "<partial at line 3>", "no name"),
    ("class C:\n    @target\n    def f(self): ...", "C.f", "method"),
    ("@target\ndef f(): ...\ndel f", "f", "has no 'f'"),
    ("@target\ndef f(): ...\nf = 5", "f", "must be callable"),
    ("@target(timeout=-1)\ndef f(): ...", "f", "timeout"),
    ("@target(timeout=0)\ndef f(): ...", "f", "timeout"),
    ("@target(grace=float('nan'))\ndef f(): ...", "f", "grace"),
    ("@target(grace=True)\ndef f(): ...", "f", "grace"),
    ("@target(name=' ')\ndef f(): ...", "f", "name"),
    ("@target(daemon='yes')\ndef f(): ...", "f", "daemon"),
    ("async def f(): ...", "f", "async function"),  # the same without the decorator
    ("f = lambda: 1", "f", "lambda"),
    ("def outer():\n    def inner(): ...\n    return inner\nf = outer()\ndel outer", "f", "inside another function"),
]


@pytest.mark.parametrize(("text", "name", "reason"), REFUSED)
def test_what_cannot_be_launched_is_an_entry_with_the_reason(load: Load, text: str, name: str, reason: str) -> None:
    [entry] = collect(load(text))
    assert entry["name"] == f"jobs:{name}"
    assert reason in entry["error"]


@pytest.mark.parametrize("kind", ["staticmethod", "classmethod"])
def test_methods_that_need_no_object_are_fine(load: Load, kind: str) -> None:
    first = "cls, " if kind == "classmethod" else ""
    [entry] = collect(load(f"class C:\n    @{kind}\n    @target\n    def f({first}a: int): ...\n"))
    assert (entry["error"], entry["name"], entry["signature"]) == (None, "jobs:C.f", "(a: int)")


def test_one_odd_function_does_not_hide_the_others(load: Load) -> None:
    module = load(
        "class Rude:\n    def __repr__(self): 1 / 0\n@target\ndef odd(a: Rude()): ...\n@target\ndef even(): ...\n"
    )
    odd, even = collect(module)
    assert odd["error"] == "It can't be described: ZeroDivisionError: division by zero"
    assert (even["name"], even["error"]) == ("jobs:even", None)


def test_resolve(load: Load) -> None:
    module = load("class C:\n    @staticmethod\n    def f(): ...\ndef g(): ...\n")
    assert resolve("jobs:g") is module.g
    assert resolve("jobs:C.f") is module.C.f


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("jobs", ValueError),
        ("jobs:", ValueError),
        (":g", ValueError),
        ("jobs:f.<locals>.g", ValueError),
        ("jobs:no", AttributeError),
        ("no_such_module:f", ModuleNotFoundError),
    ],
)
def test_resolve_refuses(load: Load, name: str, error: type[Exception]) -> None:
    load("def g(): ...\n")
    with pytest.raises(error):
        resolve(name)


def test_registering_costs_no_import_of_multiprocessing_or_inspect() -> None:
    script = (
        "from procdeck import target\nimport sys\nsys.exit(bool({'multiprocessing', 'inspect'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-S", "-c", script], cwd=root, timeout=60, check=False).returncode == 0


def test_the_package_gives_what_the_child_offers() -> None:
    import procdeck
    from procdeck import child

    assert procdeck.progress is child.progress
    assert procdeck.stop_requested is child.stop_requested
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = procdeck.nothing
