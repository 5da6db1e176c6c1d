"""A real launcher with real keepers, without the service: the test is what they call."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import procdeck
from app.supervisor.remains import Marks, end_remains
from procdeck import log, posix, run_folder
from procdeck.protocol import Decoder, Message, encode
from tests.waiting import wait_until

HOSTILE = Path(__file__).with_name("hostile.py")
SECONDS = 15.0
"""Time that anything may take here; far more than it needs."""
OVER = ("stopped", "not_started")

Spec = dict[str, Any]


class Run:
    """One launch: what the launcher and the keeper told of it, and its folder."""

    def __init__(self, runtime: "Runtime", spec: Spec, folder: Path) -> None:
        self._runtime = runtime
        self.id: str = spec["id"]
        self.spec = spec
        self.folder = folder
        self.keeper_pid: int | None = None
        self.not_forked: str | None = None
        self.keeper_status: int | None = None
        self.messages: list[Message] = []
        self.hellos = 0
        self.link: socket.socket | None = None

    # --- what was told and what is on disk --------------------------------------------------------------------------

    def told(self, kind: str) -> list[Message]:
        """The messages of this type, in their order."""
        return [message for message in self.messages if message["type"] == kind]

    @property
    def entries(self) -> list[run_folder.Entry]:
        """The journal entries that the keeper told, of their own or with a hello."""
        told = (message.get("entry") or message.get("last_entry") for message in self.messages)
        return list({entry["seq"]: entry for entry in told if entry}.values())

    @property
    def journal(self) -> list[run_folder.Entry]:
        """The journal as it is on disk."""
        return run_folder.read_journal(str(self.folder)).entries

    @property
    def events(self) -> list[str]:
        """The kinds of the journal's entries."""
        return [entry["event"] for entry in self.journal]

    @property
    def facts(self) -> dict[str, Any]:
        """What the journal's last entry says."""
        facts: dict[str, Any] = self.journal[-1]["data"]
        return facts

    @property
    def pid(self) -> int:
        """Pid of the child."""
        self.wait_for_event("started")
        pid: int = self.journal[0]["data"]["pid"]
        return pid

    def text(self, stream: str | None = None) -> str:
        """What the child wrote, as far as it is in the log."""
        folder = str(self.folder / run_folder.LOG)
        pieces, after = [], 0
        while (chunk := log.read_chunk(folder, after)).data:
            pieces.append(log.text_of(chunk, stream))
            after = chunk.end
        return b"".join(pieces).decode()

    @property
    def keeper_log(self) -> str:
        """The keeper's own troubles."""
        return (self.folder / run_folder.KEEPER_LOG).read_text()

    # --- waiting ----------------------------------------------------------------------------------------------------

    def wait(self, condition: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
        """Listen to all until the condition is true."""
        self._runtime.wait(condition, lambda: f"{what}: {self.messages} {self.text()!r}", seconds)

    def wait_for_event(self, event: str, count: int = 1) -> None:
        """Until the journal has it."""
        self.wait(lambda: self.events.count(event) >= count, f"no {event}")
        if "started" in self.events:  # known by then, also when the launcher has not told of it yet
            self.keeper_pid = self.journal[0]["data"]["keeper_pid"]

    def wait_for_hello(self, count: int = 1) -> None:
        """Until its keeper has called so many times."""
        self.wait(lambda: self.hellos >= count, "no hello")

    def wait_for_text(self, text: str) -> None:
        """Until the log has it."""
        self.wait(lambda: text in self.text(), f"{text!r} is not in the log")

    def until_told_over(self) -> dict[str, Any]:
        """Until the keeper has told of the end; the facts of it."""
        self.wait(lambda: any(entry["event"] in OVER for entry in self.entries), "the end was not told")
        return self.facts

    def until_gone(self) -> dict[str, Any]:
        """Until the keeper itself has ended, after its child and all that was left of it; the facts of the end."""
        self.wait(lambda: self.keeper_status is not None, "the keeper lives on")
        return self.facts

    # --- commands ---------------------------------------------------------------------------------------------------

    def send(self, type_: str, **fields: Any) -> None:
        """A message to the keeper."""
        self.wait(lambda: self.link is not None, "the keeper is not connected")
        assert self.link is not None
        self.link.sendall(encode(type_, **fields))

    def end(self, action: str, *, grace: float | None = None, tree: bool = False, reason: str | None = None) -> None:
        """Ask for the end."""
        self.send("end", request=1, action=action, actor="tester", grace=grace, tree=tree, reason=reason)


class Runtime:
    """A launcher of ``modules`` and the socket that its keepers call.

    ``constants`` replaces constants of `procdeck.keeper`: what takes a quarter of a minute in life need not in a test.
    """

    def __init__(
        self,
        folder: Path,
        modules: Sequence[str] = ("hostile",),
        path: Sequence[Path] = (HOSTILE.parent,),
        *,
        constants: Mapping[str, float] | None = None,
        **config: Any,
    ) -> None:
        self.folder = folder
        self.socket_path = folder / "service.sock"
        self.modules = list(modules)
        self.config = {"path": [str(part) for part in path], "modules": self.modules, "preload": True}
        self.config |= {"import_timeout": 10.0, "open_files": 1024, "oom_score": 0} | config
        self.runs: dict[str, Run] = {}
        self.entries: list[dict[str, Any]] = []
        self.hello: Message = {}
        self.files: list[str] | None = None
        self._decoder = Decoder()
        self._keepers: dict[int, tuple[socket.socket, Decoder, Run | None]] = {}
        (folder / "runs").mkdir(parents=True)
        (folder / "runtime").mkdir()
        (folder / "runtime" / "procdeck").symlink_to(Path(procdeck.__file__).parent)
        self._listener: socket.socket | None = None
        self.listen()
        self.link, theirs = socket.socketpair()
        with theirs, (folder / "launcher.out").open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-P", *_program(constants), str(theirs.fileno()), json.dumps(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                env=os.environ | {"PYTHONPATH": str(folder / "runtime")},
                start_new_session=True,
            )

    def start(self) -> "Runtime":
        """Wait until it has imported its modules."""
        self.wait(lambda: self.files is not None or self.process.poll() is not None, lambda: "it is not ready")
        assert self.files is not None, self.output
        return self

    @property
    def output(self) -> str:
        """What the launcher wrote."""
        return (self.folder / "launcher.out").read_text()

    def entry(self, name: str) -> dict[str, Any]:
        """The catalogue entry of this name."""
        return next(entry for entry in self.entries if entry["name"] == name)

    # --- launching --------------------------------------------------------------------------------------------------

    def launch(self, target: str, *args: Any, **spec: Any) -> Run:
        """Have a target of the first module launched. ``spec`` are further fields of the launch spec."""
        run = self.create(target, *args, **spec)
        self.ask(run)
        return run

    def create(self, target: str, *args: Any, **changes: Any) -> Run:
        """Make a run folder."""
        id_ = uuid.uuid4().hex
        name = target if ":" in target else f"{self.modules[0]}:{target}"
        spec: Spec = {"id": id_, "number": len(self.runs) + 1, "name": "Process-1", "target": name, "kind": "function"}
        spec |= {"args": list(args), "kwargs": {}}
        spec |= {"daemon": False, "start_method": "fork", "timeout": None, "grace": 0.3, "env": {}, "cwd": None}
        spec |= {"log_level": None, "leftovers": "end", "log_budget": 1 << 20} | changes
        folder = self.folder / "runs" / id_
        run_folder.create(str(folder), spec)
        run = self.runs[id_] = Run(self, spec, folder)
        return run

    def ask(self, run: Run) -> None:
        """Ask the launcher for a keeper of this run; more than once, if a test likes."""
        spec = {**run.spec, "folder": str(run.folder), "socket": str(self.socket_path)}
        self.link.sendall(encode("launch", spec=spec))

    # --- listening --------------------------------------------------------------------------------------------------

    def listen(self) -> None:
        """Be there for keepers, as the service is when it (re)starts."""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.socket_path))
        self._listener.listen(128)

    def vanish(self) -> None:
        """Be gone for keepers, as a service that was killed."""
        assert self._listener is not None
        self._listener.close()
        self._listener = None
        self.socket_path.unlink()
        for fd in list(self._keepers):
            self._forget(fd)

    def wait(self, condition: Callable[[], object], message: Callable[[], str], seconds: float = SECONDS) -> None:
        """Take what launcher and keepers say until the condition is true."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(message())
            self._turn()

    def _turn(self) -> None:
        sockets = [self.link, *(keeper for keeper, _, _ in self._keepers.values())]
        if self._listener is not None:
            sockets.append(self._listener)
        for ready in select.select([s for s in sockets if s.fileno() >= 0], [], [], 0.01)[0]:
            if ready is self._listener:
                keeper, _ = ready.accept()
                self._keepers[keeper.fileno()] = (keeper, Decoder(), None)
            elif ready is self.link:
                self._hear_launcher()
            else:
                self._hear_keeper(ready.fileno())

    def _hear_launcher(self) -> None:
        data = self.link.recv(65536)
        if not data:
            self.link.close()
        for message in self._decoder.feed(data):
            kind, run = message["type"], self.runs.get(message.get("id") or "")
            if kind == "hello":
                self.hello = message
            elif kind == "module":
                self.entries += message["entries"]
            elif kind == "ready":
                self.files = message["files"]
            elif run is not None and kind == "forked":
                run.keeper_pid = message["keeper_pid"]
            elif run is not None and kind == "not_forked":
                run.not_forked = message["error"]
            elif run is not None and kind == "keeper_exited":
                run.keeper_status = message["status"]

    def _hear_keeper(self, fd: int) -> None:
        keeper, decoder, run = self._keepers[fd]
        try:
            data = keeper.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            self._forget(fd)
        for message in decoder.feed(data):
            if message["type"] == "hello":
                run = self.runs[message["id"]]
                run.link, run.hellos = keeper, run.hellos + 1
                self._keepers[fd] = (keeper, decoder, run)
            assert run is not None, message
            run.messages.append(message)

    def _forget(self, fd: int) -> None:
        keeper, _, run = self._keepers.pop(fd)
        keeper.close()
        if run is not None and run.link is keeper:
            run.link = None

    # --- the end ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Leave nothing behind."""
        self.link.close()
        try:
            self.process.wait(SECONDS)
        finally:
            self.process.kill()
            self.process.wait()
            for run in [run for run in self.runs.values() if run.keeper_status is None]:
                end_remains(Marks(run.id, run.folder, None, None))
            if self._listener is not None:
                self.vanish()


def _program(constants: Mapping[str, float] | None) -> list[str]:
    if not constants:
        return ["-m", "procdeck.launcher"]
    changes = "".join(f"keeper.{name} = {value!r}\n" for name, value in constants.items())
    return ["-c", f"from procdeck import keeper, launcher\n{changes}launcher.main()"]


def is_alive(pid: int) -> bool:
    """Whether the process runs: there, and no zombie."""
    stat = posix.stat(pid)
    return stat is not None and stat.state not in "ZX"


def wait_gone(pid: int, seconds: float = SECONDS) -> None:
    """Until it no longer runs."""
    wait_until(lambda: not is_alive(pid), seconds, lambda: f"{pid} lives on: {posix.stat(pid)}")


def kill(pid: int | None) -> None:
    """SIGKILL."""
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
