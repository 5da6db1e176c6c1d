"""supervisord, driven through XML-RPC over its Unix socket on a connection that is kept."""

import http.client
import socket
import time
import xmlrpc.client
from pathlib import Path
from typing import Any

from benchmarks.managers.base import BENCH_PYTHON, Manager, script_command, wait_until

_CONFIG = """\
[supervisord]
nodaemon = true
logfile = {folder}/supervisord.log
pidfile = {folder}/supervisord.pid
childlogdir = {folder}
loglevel = warn
minfds = 4096

[unix_http_server]
file = {folder}/socket
chmod = 0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[program:bench]
command = {command}
process_name = %(process_num)d
numprocs = {count}
autostart = false
autorestart = false
startsecs = 0
stopsignal = KILL
redirect_stderr = true
stdout_logfile = {folder}/%(process_num)d.log
stdout_logfile_maxbytes = 0
"""
_OVER = {"STOPPED", "EXITED", "FATAL"}
_TIMEOUT = 120.0


class Supervisord(Manager):
    """One program group; startsecs is 0, so that a start is answered as soon as it is done."""

    name = "supervisord"

    def start(self) -> None:
        config = self.folder / "supervisord.conf"
        command = " ".join(script_command(self))
        config.write_text(_CONFIG.format(folder=self.folder, command=command, count=self.program.count))
        self._start_daemon(BENCH_PYTHON, "-m", "supervisor.supervisord", "-c", config)
        # Any: each method has its own type of answer.
        self._rpc: Any = xmlrpc.client.ServerProxy(
            "http://localhost", _UnixTransport(self.folder / "socket")
        ).supervisor
        self._wait_ready(self._answers)

    def launch(self) -> int:
        asked_at = time.monotonic_ns()
        if self.program.count == 1:
            self._rpc.startProcess("bench:0", False)
        else:
            self._rpc.startProcessGroup("bench", False)
        return asked_at

    def wait_over(self) -> None:
        wait_until(self._is_over, _TIMEOUT, "supervisord says that all is over")

    def kill(self) -> None:
        self._rpc.stopProcessGroup("bench")

    def time_ends(self) -> dict[str, int]:
        # It has no events for clients, so ask as often as it answers: the best a client can do.
        self.launch()
        while not self._is_over():
            pass
        return {"polling": time.monotonic_ns()}

    def log_files(self) -> list[Path]:
        return [path for path in [self.folder / "0.log"] if path.exists()]

    def _answers(self) -> bool:
        try:
            return bool(self._rpc.getState()["statename"] == "RUNNING")
        except OSError:
            return False

    def _is_over(self) -> bool:
        if self.program.count == 1:
            return bool(self._rpc.getProcessInfo("bench:0")["statename"] in _OVER)
        return all(info["statename"] in _OVER for info in self._rpc.getAllProcessInfo())


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT)
        self.sock.connect(str(self._path))


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._unix = _UnixConnection(path)

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        return self._unix

    def close(self) -> None:
        self._unix.close()
