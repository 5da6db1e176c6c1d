"""Targets are edited while processes run, live in environments of their own, or are not Python at all."""

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.edited import SOURCE, reload, served, told, write
from tests.service import HOSTILE, Service
from tests.waiting import wait_until

# --- reload ---------------------------------------------------------------------------------------------------------


def test_a_reload_by_itself_when_a_file_changes(tmp_path: Path) -> None:
    service = served(tmp_path, SOURCE.format(version="one"))
    try:
        gate = tmp_path / "gate"
        old = service.start().launch("jobs:tell_later", str(gate))
        assert told(service) == "one"
        write(tmp_path / "jobs.py", SOURCE.format(version="two"))
        wait_until(lambda: told(service) == "two", 20, "the change was not noticed")
        gate.touch()
        assert service.join(old)["result"] == "one"
    finally:
        service.close()


def test_a_reload_by_itself_when_a_module_that_a_target_imports_changes(tmp_path: Path) -> None:
    (tmp_path / "shared.py").write_text('VERSION = "one"\n')
    service = served(tmp_path, "import shared\n\ndef tell() -> str:\n    return shared.VERSION\n")
    try:
        service.start()
        assert told(service) == "one"
        write(tmp_path / "shared.py", 'VERSION = "two"\n')
        wait_until(lambda: told(service) == "two", 20, "the change was not noticed")
    finally:
        service.close()


def test_a_file_that_goes_and_comes_back(tmp_path: Path) -> None:
    service = served(tmp_path, SOURCE.format(version="one"))
    try:
        service.start()
        (tmp_path / "jobs.py").unlink()
        assert "ModuleNotFoundError" in reload(service)["jobs"]["error"]
        write(tmp_path / "jobs.py", SOURCE.format(version="two"))
        assert "jobs:tell" in reload(service)
        assert told(service) == "two"
    finally:
        service.close()


def test_launches_do_not_wait_for_a_slow_reload(tmp_path: Path) -> None:
    """A module that takes long to import does not keep the present launcher from launching."""
    service = served(tmp_path, SOURCE.format(version="one"), watch=False)
    try:
        service.start()
        gate = tmp_path / "gate"
        slow = f"import time\nfrom pathlib import Path\nwhile not Path({str(gate)!r}).exists(): time.sleep(0.01)\n"
        write(tmp_path / "jobs.py", slow + SOURCE.format(version="two"))
        headers = f"Authorization: Bearer {service.token}"
        url = f"{service.url}/api/v1/targets/reload"
        with subprocess.Popen(["curl", "-sf", "-X", "POST", "-H", headers, url], stdout=subprocess.DEVNULL) as asking:
            wait_until(lambda: len(service.launcher_pids) == 2, 10, "no reload begins")
            assert told(service) == "one"
            gate.touch()
            assert asking.wait(20) == 0
        assert told(service) == "two"
    finally:
        service.close()


# --- environments ---------------------------------------------------------------------------------------------------

THEIRS = """
import importlib.util
import sys


def where() -> dict[str, object]:
    import marker

    ours = [name for name in ("fastapi", "app", "alembic", "tests") if importlib.util.find_spec(name)]
    return {"prefix": sys.prefix, "version": list(sys.version_info[:2]), "marker": marker.NAME, "ours": ours}


def fail() -> None:
    raise RuntimeError("in another interpreter")
"""


def interpreters() -> list[str]:
    """The interpreters of this machine that can run targets: ours, and what stands beside it or on PATH."""
    beside = Path(sys.base_prefix).parent.glob("*/bin/python3")
    on_path = (Path(folder) / f"python3.{minor}" for folder in os.get_exec_path() for minor in range(11, 20))
    found = {Path(sys.base_prefix).resolve(): sys.executable}
    for candidate in (*beside, *on_path):
        if candidate.exists():
            version, prefix = _ask(candidate)
            if version >= (3, 11):
                found.setdefault(prefix, str(candidate))
    return list(found.values())


def _ask(python: Path) -> tuple[tuple[int, ...], Path]:
    code = "import sys; print(sys.version_info[0], sys.version_info[1], sys.base_prefix)"
    done = subprocess.run([python, "-S", "-c", code], capture_output=True, text=True, check=False)
    major, minor, prefix = [*done.stdout.strip().split(" ", 2), "0", "0", "/"][:3] if done.returncode == 0 else "00/"
    return (int(major), int(minor)), Path(prefix).resolve()


@pytest.mark.parametrize("python", interpreters())
@pytest.mark.parametrize("preload", [True, False], ids=["preloaded", "imported-late"])
def test_an_environment_with_an_interpreter_of_its_own(tmp_path: Path, python: str, preload: bool) -> None:
    theirs = tmp_path / "theirs"
    if python == sys.executable:
        venv.create(theirs, symlinks=True)
    else:
        subprocess.run([python, "-m", "venv", "--without-pip", theirs], check=True)
    (packages,) = theirs.glob("lib/python3*/site-packages")
    (packages / "marker.py").write_text('NAME = "theirs"\n')
    (tmp_path / "their_jobs.py").write_text(THEIRS)
    (tmp_path / "procdeck.toml").write_text(
        f'[environments.theirs]\npython = "theirs/bin/python"\ntargets = ["their_jobs.py"]\n'
        f'preload = {str(preload).lower()}\nenv = {{ WHOSE = "theirs" }}\n'
    )
    service = Service(tmp_path, [HOSTILE])
    try:
        process = service.start().launch("their_jobs:where")
        result = service.join(process)["result"]
        assert process["environment"] == "theirs"
        assert (result["prefix"], result["marker"], result["ours"]) == (str(theirs), "theirs", [])
        assert service.client.get("/targets/their_jobs:where").json()["preloaded"] is preload

        for method in ("fork", "spawn", "forkserver"):
            failed = service.join(service.launch("their_jobs:fail", start_method=method))
            assert (failed["exitcode"], failed["error"]["message"]) == (1, "in another interpreter")
        assert service.join(service.launch("hostile:environment", "WHOSE"))["result"][0] is None
    finally:
        service.close()


def test_modules_of_the_user_stand_before_ours(tmp_path: Path) -> None:
    for name in ("app", "alembic", "templates", "tests", "examples"):
        (tmp_path / f"{name}.py").write_text('WHOSE = "the user\'s"\n')
    source = "import alembic, app, examples, templates, tests\n\n\ndef tell() -> list[str]:\n"
    source += "    return [module.WHOSE for module in (alembic, app, examples, templates, tests)]\n"
    service = served(tmp_path, source)
    try:
        service.start()
        assert told(service) == ["the user's"] * 5
    finally:
        service.close()


# --- commands -------------------------------------------------------------------------------------------------------


def test_a_command_that_is_not_python(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "procdeck.toml").write_text(
        """
[commands.greet]
run = ["sh", "-c", 'echo "$GREETING $* from $PWD"; exit 6', "sh"]
env = { GREETING = "hello" }
cwd = "elsewhere"
doc = "Greets."

[commands.family]
run = ["sh", "-c", "sleep 1000 & echo child $!; wait"]
"""
    )
    service = Service(tmp_path, [HOSTILE])
    try:
        service.start()
        entry = service.client.get("/targets/greet").json()
        assert (entry["kind"], entry["doc"], entry["error"]) == ("command", "Greets.", None)
        greet = service.launch("greet", "you", "all")
        ended = service.join(greet)
        assert (ended["kind"], ended["exitcode"], ended["outcome"]) == ("command", 6, "failed")
        assert service.log(greet) == f"hello you all from {elsewhere}\n"
        assert greet["name"] == "Process-1"

        wrong = service.client.post("/processes", json={"target": "greet", "args": [1]})
        assert wrong.status_code == 422

        family = service.launch("family")
        service.wait_for_log(family, "child ")
        found = re.search(r"child (\d+)", service.log(family))
        assert found
        service.post(family, "kill")
        assert service.join(family)["exitcode"] == -9
        wait_until(lambda: not Path(f"/proc/{found[1]}").exists(), 5, "its child lives on")
    finally:
        service.close()
