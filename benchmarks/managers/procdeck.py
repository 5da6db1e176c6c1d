"""Procdeck, driven through its REST API."""

import itertools
import selectors
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.managers.base import BENCH_PYTHON, WORK, BenchError, Manager
from benchmarks.managers.connection import Connection

_CONFIG = """\
[server]
on_exit = "terminate"
log_level = "warning"
"""
_PANDAS_CONFIG = f"""
[environments.pandas]
python = "{BENCH_PYTHON}"
path = ["{WORK}"]
targets = ["bench_pandas"]
"""
_CONNECTIONS = 16  # for a burst
_API = "/api/v1"


class Procdeck(Manager):
    """`procdeck serve` with the work's module as target; the one that imports pandas has its own environment."""

    name = "procdeck"
    log_prefix = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6,9}Z stdout F "

    def start(self) -> None:
        self._ids: list[str] = []
        self._connections: list[Connection] = []
        self._stream: Connection | None = None
        self._port = _free_port()
        self._data = self.folder / "data"
        self._config = self.folder / "procdeck.toml"
        self._config.write_text(_CONFIG + (_PANDAS_CONFIG if self.program.module == "bench_pandas" else ""))
        self._serve()
        self._connections = [self.connect() for _ in range(min(self.program.count, _CONNECTIONS))]
        self._wait_ready(self._has_target)
        if self.program.function == "end":
            self._stream = self.connect()
            self._stream.open_stream(f"{_API}/events")

    def _serve(self) -> None:
        command = Path(sys.executable).with_name("procdeck")
        options = ["--port", str(self._port), "--data-dir", str(self._data), "--config", str(self._config)]
        self._start_daemon(command, "serve", WORK / "bench_trivial.py", *options)
        self._wait_ready(self._listens)

    def launch(self) -> int:
        asked_at = time.monotonic_ns()
        if self.program.count == 1:
            self._ids = [self._first.ask("POST", f"{_API}/processes", self._body)["id"]]
        else:
            self._ids = self._launch_many()
        return asked_at

    def wait_over(self) -> None:
        for ident in self._ids:
            self._first.ask("POST", f"{_API}/processes/{ident}/join")
        self._ids = []

    def kill(self) -> None:
        for ident in self._ids:
            self._first.ask("POST", f"{_API}/processes/{ident}/kill")
        self.wait_over()

    def time_ends(self) -> dict[str, int]:
        assert self._stream is not None
        self.launch()
        (ident,) = self._ids
        self._first.send("POST", f"{_API}/processes/{ident}/join")
        told: dict[str, int] = {}
        with selectors.DefaultSelector() as selector:
            selector.register(self._first, selectors.EVENT_READ)
            selector.register(self._stream, selectors.EVENT_READ)
            while len(told) < 2:
                ready = {key.fileobj for key, _ in selector.select()}
                now = time.monotonic_ns()
                if self._stream in ready and _tells_end(self._stream.read_data(), ident):
                    told["event"] = now
                if self._first in ready:
                    self._first.receive()
                    told["join"] = now
        return told

    @property
    def url(self) -> str:
        """Where the service is."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def token(self) -> str:
        """The operator's token."""
        return (self._data / "token").read_text().strip()

    @property
    def ids(self) -> list[str]:
        """The processes launched last."""
        return self._ids

    def serve_anew(self, prepare: Callable[[Path], None]) -> None:
        """End the service, do something to its data folder, and serve that."""
        self._close_connections()
        super().close()
        prepare(self._data)
        self._serve()
        self._connections = [self.connect()]

    def time_adoption(self) -> float:
        self._close_connections()
        self._kill_daemon()
        began = time.monotonic()
        self._serve()
        with self.connect() as connection:
            self._wait_ready(lambda: _connected_keepers(connection) == self.program.count)
        took = time.monotonic() - began
        self._connections = [self.connect() for _ in range(_CONNECTIONS)]
        return took

    def log_files(self) -> list[Path]:
        return [path for ident in self._ids for path in sorted((self._data / "runs" / ident / "log").glob("*.log"))]

    def close(self) -> None:
        # First of all: the service waits for nobody's connection, but neither shall it have to close ours.
        self._close_connections()
        super().close()

    def _close_connections(self) -> None:
        for connection in [*self._connections, *([self._stream] if self._stream else [])]:
            connection.close()
        self._connections, self._stream = [], None

    @property
    def _first(self) -> Connection:
        return self._connections[0]

    @property
    def _body(self) -> dict[str, Any]:
        program = self.program
        return {"target": f"{program.module}:{program.function}", "args": [str(self.fifo), *program.args]}

    def _launch_many(self) -> list[str]:
        """All copies, with as many requests in flight as there are connections."""
        ids: list[str] = []
        to_send = itertools.count(len(self._connections))
        with selectors.DefaultSelector() as selector:
            for connection in self._connections:
                selector.register(connection, selectors.EVENT_READ)
                connection.send("POST", f"{_API}/processes", self._body)
            while len(ids) < self.program.count:
                for key, _ in selector.select():
                    assert isinstance(key.fileobj, Connection)
                    ids.append(key.fileobj.receive()["id"])
                    if next(to_send) < self.program.count:
                        key.fileobj.send("POST", f"{_API}/processes", self._body)
        return ids

    def connect(self) -> Connection:
        """A kept connection of the operator."""
        return Connection(self._port, self.token)

    def _listens(self) -> bool:
        try:
            with self.connect() as connection:
                connection.ask("GET", f"{_API}/targets")
        except OSError:
            return False
        return True

    def _has_target(self) -> bool:
        wanted = f"{self.program.module}:{self.program.function}"
        items = self._first.ask("GET", f"{_API}/targets")["items"]
        for item in items:
            if item.get("error"):
                raise BenchError(f"target {item['name']}: {item['error']}")
        return any(item["name"] == wanted for item in items)


def _connected_keepers(connection: Connection) -> int:
    connection.send("GET", "/metrics")
    name = b"procdeck_keepers_connected "
    [line] = [line for line in connection.receive_body().splitlines() if line.startswith(name)]
    return int(float(line.removeprefix(name)))


def _tells_end(events: list[Any], ident: str) -> bool:
    return any(event.get("id") == ident and event.get("state") in ("exited", "lost") for event in events)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
