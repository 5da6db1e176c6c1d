"""The built distributions: all files are in them, and the wheel works from another folder, without the checkout."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple, get_args

import httpx
import pytest

from app.resources import Resource
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]

JOBS = '''
"""Functions of this test."""


def double(number: int) -> int:
    """Twice the number."""
    print("doubling", number)
    return 2 * number
'''


class Distributions(NamedTuple):
    wheel: Path
    sdist: Path


def environment() -> dict[str, str]:
    """The environment of a user: nothing in it leads to the checkout or sets us up."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PROCDECK_", "PYTHON"))}


def run(*command: str | Path, cwd: Path) -> str:
    """Run to the end and return the output; it is shown when the command fails."""
    done = subprocess.run(
        command, cwd=cwd, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def files_below(folder: Path) -> set[str]:
    """Relative paths of all files, without what the interpreter cached."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """The sdist, and the wheel made from it; so what the sdist lacks is missed in the wheel too."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    [wheel] = out.glob("*.whl")
    [sdist] = out.glob("*.tar.gz")
    return Distributions(wheel, sdist)


@pytest.fixture(scope="module")
def installed(distributions: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands of a new virtual environment that has the wheel.

    Its dependencies are those of the environment that runs the tests, so that nothing is downloaded: a path line in a
    .pth file makes them importable, but the .pth files there, the editable install among them, are not followed.
    """
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    [own] = folder.glob("lib/python*/site-packages")
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (own / "borrowed.pth").write_text("".join(f"{path}\n" for path in sorted(borrowed)))
    # --ignore-installed: the borrowed packages hold an editable Procdeck, which is not to be uninstalled from there.
    run(
        *(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"),
        *("--ignore-installed", "--disable-pip-version-check", distributions.wheel),
        cwd=folder,
    )
    return folder / "bin"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def serving(installed: Path, folder: Path, *targets: Path) -> Iterator[httpx.Client]:
    """The installed command serving `targets` from `folder`; a client that holds the operator's token."""
    port, data, log = free_port(), folder / "data", folder / "service.log"
    command: list[str | Path] = [installed / "procdeck", "serve", *targets, "--port", str(port), "--data-dir", data]
    with (
        log.open("wb") as output,
        subprocess.Popen(command, cwd=folder, env=environment(), stdout=output, stderr=output) as service,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client,
    ):

        def is_ready() -> bool:
            assert service.poll() is None, f"the service has ended:\n{log.read_text()}"
            try:
                return client.get("/readyz").status_code == HTTPStatus.OK
            except httpx.TransportError:
                return False

        try:
            wait_until(is_ready, 30, lambda: f"the service is not ready:\n{log.read_text()}")
            client.headers["Authorization"] = f"Bearer {(data / 'token').read_text().strip()}"
            yield client
            service.send_signal(signal.SIGTERM)
            assert service.wait(timeout=30) in (0, -signal.SIGTERM, 128 + signal.SIGTERM), log.read_text()
        finally:
            if service.poll() is None:
                service.kill()


def test_wheel_and_sdist_carry_all_files(distributions: Distributions) -> None:
    with zipfile.ZipFile(distributions.wheel) as wheel:
        in_wheel = set(wheel.namelist())
    with tarfile.open(distributions.sdist) as sdist:
        in_sdist = {name.partition("/")[2] for name in sdist.getnames()}
    for package in ("app", "procdeck"):
        expected = {f"{package}/{path}" for path in files_below(ROOT / package)}
        assert expected <= in_wheel
        assert expected <= in_sdist
    for resource in get_args(Resource):
        expected = files_below(ROOT / resource)
        assert expected, resource
        assert {f"app/{resource}/{path}" for path in expected} <= in_wheel
        assert {f"{resource}/{path}" for path in expected} <= in_sdist


def test_the_wheel_puts_nothing_else_at_the_top_level(distributions: Distributions) -> None:
    with zipfile.ZipFile(distributions.wheel) as wheel:
        top = {name.partition("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"app", "procdeck"}


def test_what_is_installed_is_not_the_checkout(installed: Path, tmp_path: Path) -> None:
    code = "import app, procdeck, json; print(json.dumps([app.__file__, procdeck.__file__]))"
    for found in json.loads(run(installed / "python", "-c", code, cwd=tmp_path)):
        assert Path(found).is_relative_to(installed.parent), found


def test_the_installed_command_serves_pages_and_the_bundled_examples(installed: Path, tmp_path: Path) -> None:
    with serving(installed, tmp_path) as client:
        targets = client.get("/api/v1/targets").raise_for_status().json()["items"]
        assert targets
        assert [target for target in targets if target["error"]] == []
        page = client.get("/processes").raise_for_status()
        assert page.headers["Content-Type"].startswith("text/html")
        static = set(re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text))
        assert static
        for url in static:
            client.get(url).raise_for_status()


def test_the_installed_command_launches(installed: Path, tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.py"
    jobs.write_text(JOBS)
    with serving(installed, tmp_path, jobs) as client:
        launched = client.post("/api/v1/processes", json={"target": "jobs:double", "args": [21]})
        assert launched.status_code == HTTPStatus.CREATED, launched.text
        path = f"/api/v1/processes/{launched.json()['id']}"
        process = client.post(f"{path}/join", params={"timeout": 30}).raise_for_status().json()
        assert (process["state"], process["outcome"], process["exitcode"]) == ("exited", "succeeded", 0), process
        assert process["result"] == 42
        log = client.get(f"{path}/log", params={"format": "text"}).raise_for_status()
        assert log.text == "doubling 21\n"
