"""What ships: Dockerfile, compose file, lock files and package metadata, read by parsers and held to promises."""

import configparser
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, get_args

import pytest

from app.resources import Resource, resource_dir
from app.settings import settings_table
from tests.deployment import (
    ROOT,
    compose,
    compose_service,
    dockerfile,
    entry_point,
    image_arguments,
    image_environment,
    seconds,
)

PIN = re.compile(r"^([a-z0-9][a-z0-9.-]*)==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE)


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def pins(name: str) -> dict[str, str]:
    """Package and version of each entry of a lock file that has hashes."""
    text = (ROOT / "requirements" / f"{name}.lock").read_text()
    return {package: version for package, version, _ in PIN.findall(text)}


# --- lock files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["runtime", "build", "dev", "bench"])
def test_each_locked_package_has_hashes_and_no_registry_is_named(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.lock").read_text()
    left = PIN.sub("", text)
    assert [line for line in left.splitlines() if line and not line.lstrip().startswith("#")] == []
    assert "://" not in text
    assert "index" not in text


@pytest.mark.parametrize("name", ["runtime", "build"])
def test_users_and_developers_get_the_same_versions(name: str) -> None:
    assert pins(name)
    assert pins(name).items() <= pins("dev").items()


def test_each_declared_dependency_is_locked() -> None:
    project = pyproject()["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["postgres"]]
    names = {re.split(r"[\[<>=]", requirement)[0].lower() for requirement in declared}
    assert names <= pins("runtime").keys()


# --- package -----------------------------------------------------------------------------------------------------


def test_each_resource_goes_into_the_wheel_and_the_sdist() -> None:
    targets = pyproject()["tool"]["hatch"]["build"]["targets"]
    assert targets["wheel"]["force-include"] == {name: f"app/{name}" for name in get_args(Resource)}
    assert {f"/{name}" for name in get_args(Resource)} <= set(targets["sdist"]["include"])


@pytest.mark.parametrize("name", get_args(Resource))
def test_each_resource_is_found_in_the_checkout(name: Resource) -> None:
    assert resource_dir(name) == ROOT / name
    assert not (ROOT / name / "__init__.py").exists(), "would be imported in place of a library of that name"


def test_what_the_sdist_names_exists() -> None:
    include = pyproject()["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert [path for path in include if not (ROOT / path.lstrip("/")).exists()] == []


# --- image -------------------------------------------------------------------------------------------------------


def test_the_image_is_a_slim_python_pinned_by_version_and_the_same_in_both_stages() -> None:
    images = [i.argument.split()[0] for i in dockerfile() if i.word == "FROM"]
    assert len(images) == 2
    assert len(set(images)) == 1
    assert re.fullmatch(r"python:3\.1[1-9]-slim-[a-z]+", images[0])


def test_the_image_does_not_run_as_root() -> None:
    words = [i.word for i in dockerfile()]
    [user] = image_arguments("USER")
    uid, gid = map(int, user.split(":"))
    assert uid >= 1000
    assert gid >= 1000
    assert "RUN" not in words[words.index("USER") :]


def test_tini_is_the_first_process_and_starts_the_service() -> None:
    assert entry_point() == ["tini", "--", "procdeck", "serve"]
    assert image_arguments("STOPSIGNAL") == ["SIGTERM"]
    assert any("apt-get install" in run and " tini" in run for run in image_arguments("RUN"))


def test_everything_installed_in_the_image_is_locked() -> None:
    installs = re.findall(r"pip install [^&]+", " ".join(i.argument for i in dockerfile() if i.word == "RUN"))
    assert installs
    for install in installs:
        assert "--require-hashes" in install or ("--no-deps" in install and "--no-index" in install)


def test_what_the_image_copies_is_in_the_build_context() -> None:
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in allowed
    for instruction in dockerfile():
        if instruction.word == "COPY" and "--from=" not in instruction.argument:
            for source in instruction.argument.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert "!" + source.split("/")[0] in allowed, source


def test_the_image_keeps_its_data_in_a_volume_of_its_own() -> None:
    assert image_arguments("VOLUME") == [image_environment()["PROCDECK_DATA_DIR"]] == ["/data"]
    assert any("--mode 0700 /data" in run for run in image_arguments("RUN"))


def test_image_and_compose_file_set_only_settings_that_exist() -> None:
    known = {row.variable: row for row in settings_table()}
    given = image_environment() | compose_service()["environment"]
    for name, value in given.items():
        if name.startswith("PROCDECK_"):
            known[name].parse(value, Path("/"), name)


@contextmanager
def answering(status: HTTPStatus) -> Iterator[int]:
    """A server on a free port whose /readyz answers with `status`, and everything else with 404."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else HTTPStatus.NOT_FOUND)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def health(port: int) -> int:
    """Exit code of the image's health check, asking at `port`, with a proxy in the environment that is not there."""
    command = [sys.executable, "-I", str(ROOT / "docker" / "healthcheck.py")]
    environ = {**os.environ, "PROCDECK_PORT": str(port), "http_proxy": "http://127.0.0.1:1"}
    return subprocess.run(command, env=environ, capture_output=True, timeout=30, check=False).returncode


def test_the_health_check_tells_the_truth() -> None:
    with answering(HTTPStatus.OK) as port:
        assert health(port) == 0
    assert health(port) == 1, "nobody listens any more"
    with answering(HTTPStatus.SERVICE_UNAVAILABLE) as port:
        assert health(port) == 1


def test_the_image_runs_the_health_check_that_it_copies() -> None:
    [check] = image_arguments("HEALTHCHECK")
    command = json.loads(check[check.index("CMD ") + 4 :])
    assert f"docker/healthcheck.py {command[-1]}" in image_arguments("COPY")


# --- compose -----------------------------------------------------------------------------------------------------


def test_compose_publishes_on_this_machine_only() -> None:
    ports = compose_service()["ports"]
    assert ports == [f"127.0.0.1:8000:{image_environment()['PROCDECK_PORT']}"]
    assert "network_mode" not in compose_service()


def test_compose_keeps_the_data_and_mounts_the_targets_read_only() -> None:
    assert compose_service()["volumes"] == ["data:/data", "./examples:/targets:ro"]
    assert "data" in compose()["volumes"]
    assert compose_service()["environment"]["PROCDECK_TARGETS"] == "/targets"


def test_compose_gives_the_processes_time_to_end() -> None:
    service = compose_service()
    environment = service["environment"]
    assert environment["PROCDECK_ON_EXIT"] == "terminate"
    needed = float(environment["PROCDECK_GRACE"]) + float(environment["PROCDECK_SHUTDOWN_TIMEOUT"]) + 10
    assert seconds(service["stop_grace_period"]) > needed


def test_compose_takes_away_what_is_not_needed() -> None:
    service = compose_service()
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert any(mount.startswith("/tmp:") for mount in service["tmpfs"])
    assert not {"privileged", "cap_add", "pid", "ipc", "devices", "user"} & service.keys()
    assert "docker.sock" not in str(service)


def test_compose_bounds_what_can_be_used_up() -> None:
    service = compose_service()
    assert service["pids_limit"] > 0
    assert service["mem_limit"]
    assert service["ulimits"]["nofile"]["hard"] >= 65536
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}


def test_compose_adds_no_second_init() -> None:
    assert compose_service()["init"] is False
    assert not {"entrypoint", "command"} & compose_service().keys()


# --- documents and scripts ---------------------------------------------------------------------------------------


def code_block(name: str) -> str:
    """The block of docs/deployment.md that begins with the comment `# name`."""
    text = (ROOT / "docs" / "deployment.md").read_text()
    [block] = re.findall(rf"^```\w*\n# {re.escape(name)}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert isinstance(block, str)
    return block


def test_the_systemd_unit_lets_processes_outlive_the_service() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(code_block("/etc/systemd/system/procdeck.service"))
    assert unit["Service"]["KillMode"] == "process"
    assert unit["Service"]["OOMPolicy"] == "continue"
    assert unit["Service"]["Environment"] == "PROCDECK_ON_EXIT=leave"


def test_the_proxies_of_the_manual_do_not_hold_back_streams() -> None:
    assert "proxy_buffering off;" in code_block("/etc/nginx/conf.d/procdeck.conf")
    assert "flush_interval -1" in code_block("/etc/caddy/Caddyfile")


def test_continuous_integration_runs_the_commands_of_the_manual() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = script.read_text().splitlines()
    assert "set -euo pipefail" in lines
    assert lines[-2:] == ["make check", "make test"]
