"""A real service, started by its real command, for the tests that use it as its users do."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from procdeck import posix
from tests.waiting import wait_until

COMMAND = Path(sys.executable).with_name("procdeck")
HOSTILE = Path(__file__).with_name("hostile.py")
"""Target functions that do what targets should not."""

START_SECONDS = 30.0
END_SECONDS = 30.0

JSON = dict[str, Any]


class Service:
    """One data folder and the service on it, on a free port of loopback.

    `start` and `kill` it as often as a test needs.
    """

    def __init__(
        self,
        folder: Path,
        targets: Sequence[str | Path] = (),
        flags: Sequence[str] = (),
        *,
        environ: Mapping[str, str] | None = None,
        command: Sequence[str | Path] = (COMMAND,),
    ) -> None:
        """``environ`` are variables in addition to the test's own, of which those of our settings are left out;
        ``command`` is what is told to serve."""
        self.folder = folder
        self.data_dir = folder / "data"
        self.targets = [str(target) for target in targets]
        self.flags = list(flags)
        self.environ = dict(environ or {})
        """Added to the environment at the next start."""
        self.environ = dict(environ or {})
        self.command = [str(word) for word in command]
        self.output = folder / "service.out"
        self._process: subprocess.Popen[bytes] | None = None
        self._client: httpx.Client | None = None

    # --- the service ------------------------------------------------------------------------------------------------

    def start(self, *, ready: bool = True) -> "Service":
        """Start it and wait until it takes launches (or, unless ``ready``, until it answers at all)."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PROCDECK_")} | self.environ
        with self.output.open("ab") as output:
            output.write(b"--- start\n")
            self._process = subprocess.Popen(
                [*self.command, "serve", *self.targets, "--port", "0", "--data-dir", str(self.data_dir), *self.flags],
                cwd=self.folder,
                env=environ | self.environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(lambda: self._is_up(ready), START_SECONDS, lambda: f"did not come up:\n{self.text()}")
        return self

    def _is_up(self, ready: bool) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"the service ended with {self._process.returncode}:\n{self.text()}")
        if "Procdeck serves on" not in self._last_text():
            return False
        return httpx.get(f"{self.url}/{'readyz' if ready else 'healthz'}").status_code == 200

    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def refusal(self) -> tuple[int, str]:
        """Start it and wait until it has refused to serve: its exit code, and what it said."""
        with pytest.raises(AssertionError, match=r"the service ended with"):
            self.start()
        assert self._process is not None
        return self._process.returncode, self._last_text()

    def text(self) -> str:
        """All that it has written to its terminal."""
        return self.output.read_text(errors="replace")

    def _last_text(self) -> str:
        return self.text().rpartition("--- start\n")[2]

    @property
    def url(self) -> str:
        """Where it listens since its last start."""
        found = re.search(r"Procdeck serves on (\S+);", self._last_text())
        assert found, self.text()
        return found[1]

    @property
    def login_link(self) -> str:
        """The one-time link that it printed at its last start."""
        found = re.search(r"http\S+/login\?code=\S+", self._last_text())
        assert found, self.text()
        return found[0]

    @property
    def token(self) -> str:
        """The operator's token."""
        return (self.data_dir / "token").read_text().strip()

    @property
    def pid(self) -> int:
        """Its pid."""
        assert self._process is not None
        return self._process.pid

    @property
    def launcher_pids(self) -> list[int]:
        """The pids of its launchers."""
        return posix.children(self.pid)

    @property
    def client(self) -> httpx.Client:
        """A client of the API at its present address; a new one after a start."""
        base = f"{self.url}/api/v1"
        if self._client is None or str(self._client.base_url).rstrip("/") != base:
            self._close_client()
            headers = {"Authorization": f"Bearer {self.token}"}
            self._client = httpx.Client(base_url=base, headers=headers, timeout=30)
        return self._client

    def _close_client(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def kill(self) -> None:
        """SIGKILL: what no program can prepare for."""
        self._end(signal.SIGKILL)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, wait until it has; its exit code."""
        return self._end(number)

    def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        self._close_client()
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            return self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"the service did not end:\n{self.text()}") from None

    def close(self) -> None:
        """Leave nothing behind: end the service, and then every process of its data folder."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        self._close_client()
        self.end_everything()

    def end_everything(self) -> None:
        """SIGKILL the keepers of this data folder; their children and what those left behind go with them or after
        them."""
        for pid in self.tree_pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        wait_until(lambda: not self.tree_pids(), 10, lambda: f"these live on: {self.tree_pids()}")

    def tree_pids(self) -> list[int]:
        """Every process that holds a file of the data folder open or carries the id of one of its processes."""
        ids = {entry.name for entry in (self.data_dir / "runs").glob("*")} if self.data_dir.exists() else set()
        mine = (os.getpid(), self.pid if self._process and self._process.poll() is None else 0)
        return [pid for pid in posix.all_pids() if pid not in mine and self._is_ours(pid, ids)]

    def _is_ours(self, pid: int, ids: set[str]) -> bool:
        stat = posix.stat(pid)
        if stat is None or stat.state == "Z":
            return False
        try:
            links = [str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()]
            variables = posix.read_file(f"/proc/{pid}/environ", 1 << 20)
        except OSError:
            return False
        if any(link.startswith(f"{self.data_dir}/") for link in links):
            return True
        return any(f"PROCDECK_ID={id_}".encode() in variables for id_ in ids)

    # --- processes, by REST -----------------------------------------------------------------------------------------

    def launch(self, target: str, *args: object, headers: dict[str, str] | None = None, **more: object) -> JSON:
        """Launch; the process. ``more`` are fields of the request."""
        body = {"target": target, "args": list(args), **more}
        answer = self.client.post("/processes", json=body, headers=headers)
        assert answer.status_code in (200, 201), answer.text
        process: JSON = answer.json()
        return process

    def get(self, process: JSON) -> JSON:
        """The process as it is now."""
        return self._checked(self.client.get(f"/processes/{process['id']}"))

    def post(self, process: JSON, action: str, **body: object) -> JSON:
        """stop, terminate, kill, … ; the process after that."""
        return self._checked(self.client.post(f"/processes/{process['id']}/{action}", json=body or None))

    def join(self, process: JSON, seconds: float = 30) -> JSON:
        """Wait until it is over; the process."""
        joined = self._checked(
            self.client.post(f"/processes/{process['id']}/join", params={"timeout": seconds}, timeout=seconds + 10)
        )
        assert not joined["is_alive"], f"still {joined['state']} after {seconds} s"
        return joined

    def log(self, process: JSON, **params: str) -> str:
        """The log as text."""
        answer = self.client.get(f"/processes/{process['id']}/log", params=params)
        assert answer.status_code == 200, answer.text
        return answer.text

    def transitions(self, process: JSON) -> list[JSON]:
        """Its history."""
        items: list[JSON] = self._checked(self.client.get(f"/processes/{process['id']}/transitions"))["items"]
        return items

    def wait_for_log(self, process: JSON, text: str, seconds: float = 10) -> None:
        """Wait until ``text`` is in its log."""
        wait_until(lambda: text in self.log(process), seconds, lambda: f"{text!r} is not in {self.log(process)!r}")

    def _checked(self, answer: httpx.Response) -> JSON:
        assert answer.status_code == 200, answer.text
        told: JSON = answer.json()
        return told
