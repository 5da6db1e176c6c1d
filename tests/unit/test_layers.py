"""The layers: who may import whom. Rules live if a test checks them."""

import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LAYERS = [
    ["procdeck"],
    [
        "app.version",
        "app.startup_errors",
        "app.resources",
        "app.answers",
        "app.units",
        "app.http_limits",
        "app.streams",
    ],
    ["app.health.host", "app.health.file_systems", "app.health.troubles"],
    ["app.compression", "app.errors", "app.data_folder", "app.health.judgements"],
    ["app.settings"],
    ["app.arguments", "app.bulk", "app.lifecycle", "app.metrics", "app.search"],
    ["app.retention", "app.log"],
    ["app.presentation"],
    ["app.db"],
    ["app.backup", "app.activity_view", "app.listing", "app.timeline"],
    ["app.supervisor", "app.security"],
    ["app.health"],
    ["app.deps"],
    ["app.api", "app.pages"],
    ["app.main"],
    ["app.server"],
    ["app.cli"],
    ["app.__main__"],
]
"""From the lowest to the highest. A module may import its own part, and parts of lower layers. What is named with its
package is a part of its own."""

RUNTIME_FOR_USERS_ONLY = {"procdeck.child", "procdeck.keeper", "procdeck.launcher", "procdeck.registry"}
"""What runs user code, or beside it: never in the service."""
LOADS_BY_NAME = {"importlib", "runpy", "imp", "pkgutil", "zipimport", "code", "codeop"}
STARTS_OR_OPENS = {
    *("pty", "socket", "socketserver", "sqlite3", "tests.service", "tests.runtime", "tests.postgres"),
    *(
        "app.db.engine",
        "app.db.writer",
        "app.supervisor.engine",
        "procdeck.birth",
        "procdeck.keeper",
        "procdeck.launcher",
    ),
}
ASK_ANOTHER_PROGRAM = {"test_cli", "test_examples_load", "test_packaging_files", "test_pages_forms", "test_registry"}
"""Unit tests that put a question to a fresh interpreter or a shell; they start nothing of ours."""
IN_NEWER_PYTHONS = {"annotationlib"}


def modules(folder: str) -> Iterator[tuple[str, Path]]:
    for path in sorted((ROOT / folder).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


@functools.cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


def imports(path: Path, module: str) -> set[str]:
    """The full names of all that a file imports, at whatever place; of ``from a import b`` both a and a.b."""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    found: set[str] = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            found |= {source, *(f"{source}.{alias.name}" for alias in node.names)}
    return found


def layer(name: str) -> tuple[int, str] | None:
    """(number of the layer, the part) of a module; None for what is not ours."""
    for number, parts in enumerate(LAYERS):
        for part in parts:
            if name == part or name.startswith(part + "."):
                return number, part
    return None


ALL = [pytest.param(name, path, id=name) for folder in ("procdeck", "app") for name, path in modules(folder)]
APP = [pytest.param(name, path, id=name) for name, path in modules("app")]
RUNTIME = [pytest.param(name, path, id=name) for name, path in modules("procdeck")]
UNIT = [pytest.param(name, path, id=path.stem) for name, path in modules("tests/unit")]


@pytest.mark.parametrize(("name", "path"), ALL)
def test_a_module_imports_its_own_part_and_lower_layers(name: str, path: Path) -> None:
    own = layer(name)
    if own is None:
        assert name == "app", f"{name} has no place in LAYERS"
        own = (0, "app")
    for other in filter(None, map(layer, imports(path, name))):
        assert other[0] < own[0] or other[1] == own[1], f"{name} imports {other[1]}"


@pytest.mark.parametrize(("name", "path"), RUNTIME)
def test_the_runtime_needs_the_standard_library_alone(name: str, path: Path) -> None:
    tops = {other.partition(".")[0] for other in imports(path, name)}
    assert not tops - sys.stdlib_module_names - {"procdeck"} - IN_NEWER_PYTHONS


@pytest.mark.parametrize(("name", "path"), APP)
def test_the_service_imports_no_user_code(name: str, path: Path) -> None:
    found = imports(path, name)
    assert not found & RUNTIME_FOR_USERS_ONLY
    assert not {other for other in found if other.startswith("examples")}
    assert not {other for other in found if other in LOADS_BY_NAME}
    called = set(filter(None, map(plain_call, nodes(path))))
    assert not called & {"exec", "eval", "__import__", "compile"}


def plain_call(node: ast.AST) -> str | None:
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None


def test_nothing_of_the_runtime_imports_the_launcher() -> None:
    users = [name for name, path in modules("procdeck") if "procdeck.launcher" in imports(path, name)]
    assert users == []


def test_only_the_settings_read_the_environment_for_settings() -> None:
    """Launchers hand the environment on; nobody else looks at it."""
    readers = {name for name, path in modules("app") if "environ" in attributes_of_os(path)}
    assert readers == {"app.supervisor.launchers", "app.cli.command", "app.cli.serve"}


def attributes_of_os(path: Path) -> set[str]:
    attributes = [node for node in nodes(path) if isinstance(node, ast.Attribute)]
    return {node.attr for node in attributes if isinstance(node.value, ast.Name) and node.value.id == "os"}


@pytest.mark.parametrize(("name", "path"), UNIT)
def test_unit_tests_start_no_process_and_open_no_socket_or_database(name: str, path: Path) -> None:
    found = imports(path, name)
    assert not found & STARTS_OR_OPENS
    assert "subprocess" not in found or path.stem in ASK_ANOTHER_PROGRAM
    assert not attributes_of_os(path) & {"fork", "forkpty", "posix_spawn", "system", "popen"}


def test_the_rules_catch_what_they_are_for(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("def f():\n    from app.api import processes\n    import importlib.util\nfrom . import sibling\n")
    found = imports(path, "app.pages.broken")
    assert {"app.api", "app.api.processes", "importlib.util", "app.pages.sibling"} <= found
    own, other = layer("app.pages.broken"), layer("app.api.processes")
    assert own is not None
    assert other is not None
    assert own[0] == other[0]
    assert own[1] != other[1]
