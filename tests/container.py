"""The container's entry point with the compose file's environment, as PID 1 of a PID namespace, without an engine.

`unshare` gives what matters of a container here: tini as PID 1, and a namespace that ends with it. Image, volumes and
limits are checked as files, in tests/unit/test_packaging_files.py.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deployment import ROOT, compose_service, entry_point, image_environment
from tests.waiting import wait_until

UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
GRACE = 2.0
SHUTDOWN_TIMEOUT = 2.0

JOBS = '''
"""Functions of this test."""
import os
import signal
import sys


def wait():
    """End at the first signal."""
    print("ready")
    signal.pause()


def deaf():
    """Ignore SIGTERM, together with a grandchild in a session of its own."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid()
    else:
        print("ready")
    while True:
        signal.pause()


def orphans(count: int):
    """Leave `count` processes behind that end without a parent, then end with code 7."""
    for _ in range(count):
        child = os.fork()
        if child == 0:
            os.fork()
            os._exit(0)
        os.waitpid(child, 0)
    sys.exit(7)
'''


def can_unshare() -> bool:
    if os.geteuid() != 0 or not shutil.which("tini") or not shutil.which("unshare"):
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True, timeout=10, check=False).returncode == 0


NEEDED = [
    pytest.mark.root,
    pytest.mark.skipif(not can_unshare(), reason="needs tini, and root that may make PID namespaces"),
]
"""The marks of tests that use it."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def descendants(root: int) -> dict[int, tuple[int, str]]:
    """Parent and state letter of each process below `root`; zombies are in it, which other lists leave out."""
    parents: dict[int, tuple[int, str]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(stat.parent.name)] = (int(parent), state)
    found: dict[int, tuple[int, str]] = {}
    level = {root}
    while level:
        level = {pid for pid, (parent, _) in parents.items() if parent in level}
        found |= {pid: parents[pid] for pid in level}
    return found


def zombies(root: int) -> list[int]:
    return [pid for pid, (_, state) in descendants(root).items() if state == "Z"]


def children(parent: int) -> list[int]:
    return [pid for pid, (of, _) in descendants(parent).items() if of == parent]


def innermost_pid(pid: int) -> int | None:
    """The pid that the process has in its own namespace; None when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    [namespaces] = [line for line in status.splitlines() if line.startswith("NSpid:")]
    return int(namespaces.split()[-1])


class Container:
    """A running entry point: its PID 1 as seen from outside, and a client that holds the operator's token."""

    def __init__(self, unshare: "subprocess.Popen[bytes]", data: Path, port: int, log: Path) -> None:
        self.unshare = unshare
        self.data = data
        self.port = port
        self.log = log
        self.init = 0
        self.api = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False)

    def await_ready(self) -> None:
        wait_until(self.is_ready, 30, lambda: f"the service is not ready:\n{self.log.read_text()}")
        [self.init] = children(self.unshare.pid)
        token = (self.data / "token").read_text().strip()
        self.api.headers["Authorization"] = f"Bearer {token}"

    def is_ready(self) -> bool:
        assert self.unshare.poll() is None, f"the container has ended:\n{self.log.read_text()}"
        try:
            return self.api.get("/readyz").status_code == HTTPStatus.OK
        except httpx.TransportError:
            return False

    def signal(self, number: signal.Signals) -> None:
        """What an engine does: a signal for PID 1 and for nobody else."""
        os.kill(self.init, number)

    def kill(self) -> None:
        """End it at once with all that is in it, as an engine does whose patience is over."""
        self.signal(signal.SIGKILL)
        self.unshare.wait(timeout=10)

    def launch(self, target: str, *args: object, daemon: bool = False) -> str:
        """Launch, and return the id."""
        response = self.api.post(
            "/api/v1/processes", json={"target": f"jobs:{target}", "args": list(args), "daemon": daemon}
        )
        assert response.status_code == HTTPStatus.CREATED, response.text
        identity: str = response.json()["id"]
        return identity

    def launch_and_await_ready(self, target: str, *, daemon: bool = False) -> str:
        """Launch, and return the id when the function has printed its first line."""
        identity = self.launch(target, daemon=daemon)
        wait_until(lambda: "ready" in self.output(identity), 15, f"{target} printed nothing")
        return identity

    def process(self, identity: str) -> dict[str, Any]:
        return self.answer(f"/api/v1/processes/{identity}")

    def answer(self, path: str) -> dict[str, Any]:
        response = self.api.get(path).raise_for_status()
        body: dict[str, Any] = response.json()
        return body

    def output(self, identity: str) -> str:
        return self.api.get(f"/api/v1/processes/{identity}/log", params={"format": "text"}).raise_for_status().text

    def join(self, identity: str) -> dict[str, Any]:
        response = self.api.post(f"/api/v1/processes/{identity}/join", params={"timeout": 20}).raise_for_status()
        body: dict[str, Any] = response.json()
        assert not body["is_alive"], body
        return body

    def outer_pid(self, inner: int) -> int:
        """The pid outside of the process that is `inner` in the namespace."""
        inside = {innermost_pid(pid): pid for pid in descendants(self.init)}
        return inside[inner]

    def health(self) -> int:
        """Exit code of the image's health check."""
        command = [sys.executable, "-I", str(ROOT / "docker" / "healthcheck.py")]
        environ = {"PROCDECK_PORT": str(self.port)}
        return subprocess.run(command, env=environ, capture_output=True, timeout=30, check=False).returncode


@contextmanager
def container(folder: Path) -> Iterator[Container]:
    """A container on the volumes `folder`/data and `folder`/targets, ready; killed at the end if it still runs."""
    data, targets, log = folder / "data", folder / "targets", folder / "service.log"
    targets.mkdir(exist_ok=True)
    (targets / "jobs.py").write_text(JOBS)
    port = free_port()
    given = image_environment() | compose_service()["environment"]
    assert given["PROCDECK_TARGETS"] == "/targets"
    environ = given | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "LANG": "C.UTF-8",  # as the Python image sets it
        "PROCDECK_HOST": "127.0.0.1",
        "PROCDECK_PORT": str(port),
        "PROCDECK_DATA_DIR": str(data),
        "PROCDECK_TARGETS": str(targets),
        "PROCDECK_GRACE": str(GRACE),
        "PROCDECK_SHUTDOWN_TIMEOUT": str(SHUTDOWN_TIMEOUT),
    }
    with (
        log.open("ab") as output,
        subprocess.Popen(
            [*UNSHARE, *entry_point()], env=environ, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        ) as unshare,
    ):
        running = Container(unshare, data, port, log)
        try:
            with running.api:
                running.await_ready()
                yield running
        finally:
            # PID 1 first: unshare then ends when all of the namespace has ended, and the data folder is free.
            if unshare.poll() is None:
                for init in children(unshare.pid):
                    os.kill(init, signal.SIGKILL)
            try:
                unshare.wait(timeout=10)
            except subprocess.TimeoutExpired:
                unshare.kill()


@contextmanager
def namespace() -> Iterator[int]:
    """A PID namespace with an init that reaps and does nothing else; its pid outside. All in it ends with it."""
    with subprocess.Popen([*UNSHARE, "tini", "--", "sleep", "infinity"]) as unshare:
        try:
            wait_until(lambda: children(unshare.pid), 10, "no namespace came up")
            [init] = children(unshare.pid)
            wait_until(lambda: children(init), 10, "no init came up")
            yield init
        finally:
            unshare.kill()
