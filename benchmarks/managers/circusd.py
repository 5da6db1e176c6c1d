"""circusd, driven by its own ZeroMQ client over Unix sockets."""

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.managers.base import BENCH_PYTHON, BenchError, Manager, script_command, wait_until

_CONFIG = """\
[circus]
endpoint = ipc://{folder}/endpoint
pubsub_endpoint = ipc://{folder}/pubsub
multicast_endpoint =
check_delay = {check_delay}
loglevel = ERROR

[watcher:bench]
cmd = {command}
numprocesses = {count}
autostart = false
respawn = false
copy_env = true
stop_signal = KILL
stdout_stream.class = FileStream
stdout_stream.filename = {folder}/out.log
"""
# circusd looks for ended processes only so often (seconds; 5 if not told otherwise). Launching isn't touched by it:
# there it only shortens the pause between two rounds. For the end it is as short as it can reasonably be.
_CHECK_DELAYS = {"end": 0.01, "sleep": 5.0}
_CHECK_DELAY = 0.1
_TIMEOUT = 120.0


class Circus(Manager):
    """One watcher; a helper in the peers' environment speaks to circusd, since its client lives there."""

    name = "circus"
    _bridge: subprocess.Popen[str] | None = None

    def start(self) -> None:
        config = self.folder / "circus.ini"
        config.write_text(self._config())
        self._start_daemon(BENCH_PYTHON, "-m", "circus.circusd", config)
        self._wait_ready((self.folder / "endpoint").exists)
        self._start_bridge()
        self._wait_ready(lambda: self._status() == "stopped")

    def launch(self) -> int:
        return int(self._command("start", waiting=self.program.count > 1)["asked_at"])

    def wait_over(self) -> None:
        wait_until(lambda: self._status() == "stopped", _TIMEOUT, "circusd says that all is over")

    def kill(self) -> None:
        self._command("stop", waiting=True)

    def time_ends(self) -> dict[str, int]:
        self.launch()
        reaped = self._ask({})["at"]
        if reaped is None:
            raise BenchError("no reap event came")
        return {"event": int(reaped)}

    def log_files(self) -> list[Path]:
        return [path for path in [self.folder / "out.log"] if path.exists()]

    def close(self) -> None:
        if self._bridge is not None:
            self._bridge.communicate()
        super().close()

    def _config(self) -> str:
        return _CONFIG.format(
            folder=self.folder,
            command=shlex.join(script_command(self)),
            count=self.program.count,
            check_delay=_CHECK_DELAYS.get(self.program.function, _CHECK_DELAY),
        )

    def _start_bridge(self) -> None:
        script = Path(__file__).with_name("circus_bridge.py")
        endpoints = [f"ipc://{self.folder}/{name}" for name in ("endpoint", "pubsub")]
        self._bridge = subprocess.Popen(
            [str(BENCH_PYTHON), "-P", str(script), *endpoints],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            start_new_session=True,
        )

    def _status(self) -> str:
        return str(self._command("status")["answer"]["status"])

    def _command(self, command: str, **properties: Any) -> dict[str, Any]:
        """Send a command, again and again while circusd is busy with another one (it does one at a time)."""
        answers: list[dict[str, Any]] = []

        def done() -> bool:
            answers.append(self._ask({"command": command, "properties": {"name": "bench", **properties}}))
            return "already running" not in str(answers[-1]["answer"].get("reason"))

        wait_until(done, _TIMEOUT, "circusd is free", interval=0.001)
        answer = answers[-1]
        if answer["answer"]["status"] == "error":
            raise BenchError(f"circusd: {answer['answer']['reason']}")
        return answer

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._bridge is not None
        assert self._bridge.stdin is not None
        assert self._bridge.stdout is not None
        self._bridge.stdin.write(json.dumps(request) + "\n")
        line = self._bridge.stdout.readline()
        if not line:
            raise BenchError("the client of circusd ended")
        answer: dict[str, Any] = json.loads(line)
        return answer
