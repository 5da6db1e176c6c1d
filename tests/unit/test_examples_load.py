"""The bundled examples: they load as the launcher loads them, and do what their docstrings say."""

import hashlib
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from procdeck.registry import collect
from procdeck.schema import convert_arguments

EXAMPLES = Path(__file__).parents[2] / "examples"
MODULES = sorted(file.stem for file in EXAMPLES.glob("*.py"))

Load = Callable[[str], Any]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Imports an example as a top-level module, which is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(EXAMPLES))

    def load(name: str) -> ModuleType:
        sys.modules.pop(name, None)
        return importlib.import_module(name)

    yield load
    for name in MODULES:
        sys.modules.pop(name, None)


def test_the_names_of_the_field_are_there(load: Load) -> None:
    found = {entry["name"].partition(":")[2] for name in MODULES for entry in collect(load(name))}
    assert found >= {"worker", "my_service", "daemon", "non_daemon", "slow_worker", "Worker", "checksums", "heartbeat"}
    assert found >= {"exit_error", "exit_ok", "return_value", "raises", "terminated"}


@pytest.mark.parametrize("name", MODULES)
def test_every_target_is_fit_for_launch_explained_and_typed(load: Load, name: str) -> None:
    assert name not in sys.stdlib_module_names
    readme = (EXAMPLES / "README.md").read_text()
    entries = collect(load(name))
    assert entries
    for entry in entries:
        assert (entry["error"], entry["warnings"]) == (None, [])
        assert len(entry["doc"]) > 20
        assert f"`{entry['name'].partition(':')[2]}`" in readme
        assert all(set(schema) - {"x-kind", "default"} for schema in entry["parameters"]["properties"].values())
        assert json.loads(json.dumps(entry)) == entry


LAUNCH_ALL = """
import json, multiprocessing, sys
import basics, exit_codes
context = multiprocessing.get_context("fork")
functions = [exit_codes.exit_error, exit_codes.exit_ok, exit_codes.return_value, exit_codes.raises,
             exit_codes.terminated]
processes = [context.Process(target=f, name=f.__name__) for f in functions] + [basics.Worker()]
for process in processes:
    process.start()
processes[4].terminate()
for process in processes:
    process.join()
print(json.dumps([process.exitcode for process in processes]))
"""


def test_exit_codes_and_the_subclass() -> None:
    path = os.pathsep.join([str(EXAMPLES), str(EXAMPLES.parent)])
    ran = subprocess.run(
        [sys.executable, "-c", LAUNCH_ALL],
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    *lines, codes = ran.stdout.splitlines()
    assert json.loads(codes) == [1, 0, 0, 1, -15, 0]
    assert lines == ["In Worker-6"]
    assert "RuntimeError: something went wrong, as planned" in ran.stderr


def test_what_the_workers_print(load: Load, capfd: pytest.CaptureFixture[str]) -> None:
    basics, names, daemons = load("basics"), load("names"), load("daemons")
    basics.worker()
    basics.worker(3)
    basics.slow_worker(0)
    names.worker(0)
    names.my_service(0)
    daemons.daemon(0)
    daemons.non_daemon()
    me = "MainProcess"
    twice = [f"Starting: {me} {os.getpid()}", f"Exiting : {me} {os.getpid()}"] * 2
    named = [f"{me} Starting", f"{me} Exiting"] * 2
    expected = ["Worker", "Worker: 3", "Slow worker begins", "Slow worker has finished", *named, *twice]
    assert capfd.readouterr().out.splitlines() == expected
    assert {e["name"]: e["defaults"] for e in collect(daemons)}["daemons:daemon"] == {"daemon": True}


def test_a_patient_worker_goes_home_when_asked(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    basics = load("basics")
    assert basics.patient_worker(0) == "worked to the end"
    monkeypatch.setattr(basics, "stop_requested", lambda: True)
    assert basics.patient_worker(1000) == "stopped early"


def test_logs(load: Load, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import logging
    import multiprocessing

    logger = multiprocessing.get_logger()
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "level", logging.NOTSET)
    logs = load("logs")
    logs.worker("INFO", 1)
    logger.setLevel(logging.NOTSET)  # which also drops what the logger remembers of the level
    out, err = capfd.readouterr()
    assert out == "Doing some work, part 1 of 1\n"
    assert err.splitlines() == ["[INFO/MainProcess] step 1 done", "[WARNING/MainProcess] nothing left to do"]
    logs.both_streams(5, 0)
    out, err = capfd.readouterr()
    assert (len(out.splitlines()), err) == (4, "line 5 of 5\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.txt").write_bytes(b"alpha")
    (tmp_path / "b.bin").write_bytes(b"")
    (tmp_path / "sub" / "c.txt").write_bytes(b"gamma gamma")
    (tmp_path / "link.txt").symlink_to("a.txt")
    (tmp_path / "broken.txt").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.txt")
    return tmp_path


def run(function: Callable[..., Any], **kwargs: Any) -> Any:
    """Calls an example with JSON values, as the child does."""
    return function(**convert_arguments(function, [], kwargs)[1])


@pytest.mark.parametrize(
    ("selection", "names"),
    [
        ({}, ["a.txt", "b.bin", "sub/c.txt"]),
        ({"pattern": "*.txt"}, ["a.txt", "sub/c.txt"]),
        ({"subfolders": False}, ["a.txt", "b.bin"]),
        ({"at_least": 1, "at_most": 10}, ["a.txt"]),
    ],
)
def test_checksums(
    load: Load, folder: Path, tmp_path_factory: Any, selection: dict[str, Any], names: list[str]
) -> None:
    report = tmp_path_factory.mktemp("out") / "report"
    result = run(load("batch").checksums, folder=str(folder), selection=selection, report=str(report))
    assert result == {"files": len(names), "checked": len(names), "unreadable": 0, "stopped": False}
    digests = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names]
    assert report.read_text() == "".join(
        f"{digest}  {folder / name}\n" for digest, name in zip(digests, names, strict=True)
    )


def test_checksums_tells_its_progress_and_what_it_cannot_read(
    load: Load, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    batch = load("batch")
    told: list[tuple[float, str]] = []
    monkeypatch.setattr(batch, "progress", lambda fraction, message: told.append((fraction, message)))
    true_digest = batch._digest

    def digest(file: Path, algorithm: Any) -> str:
        if file.name == "b.bin":
            raise PermissionError(13, "Permission denied", str(file))
        return str(true_digest(file, algorithm))

    monkeypatch.setattr(batch, "_digest", digest)
    result = run(batch.checksums, folder=str(folder), algorithm="blake2b")
    assert result == {"files": 3, "checked": 2, "unreadable": 1, "stopped": False}
    assert [fraction for fraction, _ in told] == [0, 1 / 3, 2 / 3, 1.0]
    assert told[-1][1] == "done"
    out, err = capfd.readouterr()
    assert len(out.splitlines()) == 2
    assert err == f"{folder / 'b.bin'}: Permission denied\n"


def test_checksums_copes_with_any_file_name(load: Load, tmp_path: Path) -> None:
    Path(os.fsdecode(bytes(tmp_path) + b"/\xff")).touch()
    assert run(load("batch").checksums, folder=str(tmp_path))["checked"] == 1


def test_checksums_stops_when_asked(load: Load, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = load("batch")
    answers = iter([False, True])
    monkeypatch.setattr(batch, "stop_requested", lambda: next(answers))
    assert run(batch.checksums, folder=str(folder)) == {"files": 3, "checked": 2, "unreadable": 0, "stopped": True}


def test_checksums_wants_a_folder(load: Load, tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError):
        run(load("batch").checksums, folder=str(tmp_path / "missing"))
    assert run(load("batch").checksums, folder=str(tmp_path))["files"] == 0


def test_heartbeat(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    heartbeat = load("heartbeat")
    file = tmp_path / "alive"
    assert run(heartbeat.heartbeat, interval=0.001, count=3, file=str(file)) == 3
    assert [line.split(" ", 1)[1] for line in capfd.readouterr().out.splitlines()] == ["beat 1", "beat 2", "beat 3"]
    assert file.exists()
    assert run(heartbeat.heartbeat, count=0) == 0
    answers = iter([False, False, True])
    monkeypatch.setattr(heartbeat, "stop_requested", lambda: next(answers))
    assert run(heartbeat.heartbeat, interval=0.01) == 1
