"""The launchers: one for each environment, started again when it dies, replaced on a reload."""

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, time
from typing import Any, cast

from watchfiles import Change, awatch

from app.settings import EnvironmentSettings, Settings
from app.startup_errors import BadConfig
from procdeck import failpoints, oom, posix
from procdeck.protocol import Decoder, Message, ProtocolError, encode

logger = logging.getLogger("procdeck.launchers")

DEFAULT = "default"
BACKOFF_MIN, BACKOFF_MAX = 0.2, 30.0
FAILURES = 3
"""Failures in a row that are no accident."""
LONG_LIFE = 10.0
"""Seconds after which the end of a launcher is taken for an accident, and not for what will happen to the next, too."""
START_WITHIN = 30.0
"""Seconds a launcher may take beyond the imports, on a machine that is busy."""
AT_ONCE = 3
"""Launchers in a row that are replaced at once for a file that changed during the imports: a module may write such a
file itself, each time that it is imported."""


class LauncherGone(Exception):
    """The launcher ended before it answered; whether it forked is for the run folder to say."""


class NotForked(Exception):
    """The launcher is well and could not fork; the text is the reason."""


@dataclass(frozen=True)
class LauncherConfig:
    """What an environment's launcher is started with: interpreter, folders for sys.path, module names, variables."""

    name: str
    python: str
    path: tuple[str, ...]
    modules: tuple[str, ...]
    env: Mapping[str, str]
    preload: bool
    import_timeout: float
    open_files: int


def configs(settings: Settings, default_targets: tuple[str, ...], open_files: int) -> list[LauncherConfig]:
    """One for the targets given to the service itself, under its own interpreter, and one for each environment of the
    settings."""
    named = dict(settings.environments)
    plain = named.pop(DEFAULT, EnvironmentSettings())
    targets = (*(settings.targets or (() if plain.targets else default_targets)), *plain.targets)
    wanted = [(DEFAULT, plain, targets), *((name, env, env.targets) for name, env in named.items())]
    return [_config(name, env, targets, settings.import_timeout, open_files) for name, env, targets in wanted]


def _config(
    name: str, env: EnvironmentSettings, targets: tuple[str, ...], import_timeout: float, open_files: int
) -> LauncherConfig:
    found = [pair for target in targets for pair in split_target(target)]
    _refuse_namesakes(found)
    folders = dict.fromkeys(folder for folder, _ in found if folder)
    modules = dict.fromkeys(module for _, module in found)
    path = (*folders, *env.path, str(Path.cwd()))
    python = env.python or sys.executable
    return LauncherConfig(name, python, path, tuple(modules), env.env, env.preload, import_timeout, open_files)


def _refuse_namesakes(found: Sequence[tuple[str | None, str]]) -> None:
    """Raise BadConfig when two files would be one module: an interpreter has one of each name."""
    folder_of: dict[str, str] = {}
    for folder, module in found:
        if folder is not None and folder_of.setdefault(module, folder) != folder:
            both = f"{folder_of[module]}/{module} and {folder}/{module}"
            raise BadConfig(f"the targets {both} have the same module name: rename one, or give it another environment")


def split_target(target: str) -> list[tuple[str | None, str]]:
    """(folder for sys.path, module name) of a target: of a module (``jobs.resize``), a file (``jobs/resize.py``) or all
    files of a folder; a package here (``jobs`` with an ``__init__.py``) is a module unless written ``jobs/``."""
    path = Path(target)
    if os.sep not in target and (path / "__init__.py").is_file():
        return [(str(Path.cwd()), target)]
    if path.is_dir():
        return [(str(path.resolve()), file.stem) for file in sorted(path.glob("*.py")) if not file.stem.startswith("_")]
    if path.suffix == ".py" or os.sep in target:
        return [(str(path.resolve().parent), path.stem)]
    return [(None, target)]


class LauncherProcess:
    """One launcher that was started: its socket, what it said, and the launches it has not answered yet."""

    def __init__(self, config: LauncherConfig, on_keeper_exit: Callable[[str], None]) -> None:
        self.config = config
        self.entries: list[dict[str, Any]] = []
        self.files: list[str] = []
        self.imported = 0
        """Modules it has told of."""
        self.began = 0.0
        """When it was started, in seconds of the clock that files have."""
        self.ready = asyncio.Event()
        self.gone = asyncio.Event()
        self._on_keeper_exit = on_keeper_exit
        self._answers: dict[str, asyncio.Future[int]] = {}
        self._transport: asyncio.Transport | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._reaping: asyncio.Future[int] | None = None

    async def start(self, runtime: Path) -> None:
        """Start it; ``runtime`` is a folder that holds our package and nothing else.

        Raises OSError when the interpreter can't be run.
        """
        ours, theirs = socket.socketpair()
        self.began = time()
        try:
            # Not in a thread, where it would go on when this is cancelled; it takes a few milliseconds.
            self._process = _spawn(self.config, runtime, theirs)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(lambda: _LauncherLink(self), ours)

    async def launch(self, spec: Mapping[str, Any]) -> int:
        """Have a keeper forked; its pid. Raises NotForked, LauncherGone."""
        if self._transport is None:
            raise LauncherGone
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._answers[spec["id"]] = answer
        self._transport.write(encode("launch", spec=dict(spec)))
        try:
            return await answer
        finally:
            self._answers.pop(spec["id"], None)

    def close(self) -> None:
        """Let it end; what it forked lives on."""
        if self._transport is not None:
            self._transport.close()

    def kill(self) -> None:
        """End it at once, with all that its imports started; only before it is ready, for then it has no keepers."""
        if self._process is None or self.gone.is_set():
            return
        self._process.send_signal(signal.SIGSTOP)  # so that it starts nothing more, and reaps nobody whom we look at
        try:
            imports = posix.descendants(self._process.pid)
        except OSError:
            imports = []  # no descriptor to look for them with; the launcher itself must not stay stopped over it
        self._process.kill()
        for pid in imports:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.close()

    @property
    def pid(self) -> int | None:
        """Pid of the launcher, None before its start."""
        return self._process.pid if self._process else None

    def linked(self, transport: asyncio.Transport) -> None:
        """Its socket is open."""
        self._transport = transport

    def said(self, message: Message) -> None:
        """Take a message of the launcher."""
        kind = message["type"]
        if kind == "module":
            self.entries += message["entries"]
            self.imported += 1
        elif kind == "ready":
            self.files = message["files"]
            self.ready.set()
        elif kind == "forked":
            self._answer(message, lambda answer: answer.set_result(message["keeper_pid"]))
        elif kind == "not_forked":
            self._answer(message, lambda answer: answer.set_exception(NotForked(message["error"])))
        elif kind == "keeper_exited" and message["id"] is not None:
            self._on_keeper_exit(message["id"])

    def _answer(self, message: Message, give: Callable[[asyncio.Future[int]], None]) -> None:
        answer = self._answers.get(message["id"])
        if answer is not None and not answer.done():
            give(answer)

    def ended(self) -> None:
        """Its socket is at the end."""
        self._transport = None
        self.gone.set()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(LauncherGone())
        if self._process is not None:
            self._reaping = asyncio.get_running_loop().run_in_executor(None, self._process.wait)


class _LauncherLink(asyncio.Protocol):
    def __init__(self, launcher: LauncherProcess) -> None:
        self._launcher = launcher
        self._decoder = Decoder()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._launcher.linked(self._transport)

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._decoder.feed(data):
                self._launcher.said(message)
        except (ProtocolError, KeyError, TypeError):
            logger.exception("a launcher sent what is not a message; it is started again")
            if self._transport is not None:
                self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._launcher.ended()


def _spawn(config: LauncherConfig, runtime: Path, link: socket.socket) -> subprocess.Popen[bytes]:
    arguments = {
        "path": list(config.path),
        "modules": list(config.modules),
        "preload": config.preload,
        "import_timeout": config.import_timeout,
        "open_files": config.open_files,
        "oom_score": oom.FOUND,
    }
    command = [config.python, "-P", "-m", "procdeck.launcher", str(link.fileno()), json.dumps(arguments)]
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        pass_fds=[link.fileno()],
        env=_environ(config, runtime),
        start_new_session=True,  # a Ctrl-C in the terminal is for the service alone
    )


def _environ(config: LauncherConfig, runtime: Path) -> dict[str, str]:
    """The service's own variables without its settings, which hold secrets, and with those of the environment."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PROCDECK_")}
    environ |= {name: os.environ[name] for name in (failpoints.VARIABLE, failpoints.FOLDER) if name in os.environ}
    environ |= config.env
    if "PYTHONPATH" in environ:
        environ["PROCDECK_PYTHONPATH"] = environ["PYTHONPATH"]
    return environ | {"PYTHONPATH": os.pathsep.join(filter(None, (str(runtime), environ.get("PYTHONPATH"))))}


def make_runtime(data_dir: Path) -> Path:
    """A folder that holds the runtime package alone, so that another interpreter finds it and nothing else of ours."""
    import procdeck

    folder = data_dir / "runtime"
    folder.mkdir(mode=0o700, exist_ok=True)
    link = folder / "procdeck"
    package = Path(procdeck.__file__).resolve().parent
    if not link.is_symlink() or link.resolve() != package:
        link.unlink(missing_ok=True)
        link.symlink_to(package, target_is_directory=True)
    return folder


@dataclass
class Environment:
    """One environment: its present launcher, kept alive.

    A reload starts a second launcher beside the first and puts it in its place when it is ready; processes that run
    stay with the code they began with, for their keepers need no launcher.
    """

    config: LauncherConfig
    runtime: Path
    on_catalogue: Callable[[str, list[dict[str, Any]]], None]
    on_keeper_exit: Callable[[str], None]
    current: LauncherProcess | None = None
    closed: bool = False
    has_reported: bool = False
    """Whether its catalogue was told, be it that there is none."""
    failures: int = 0
    """Launchers in a row that did not come up, or did not live long."""
    last_failure: str = ""
    """Why the last one did not come up; empty when it did."""
    _up_since: float = 0.0
    _present: asyncio.Event = field(default_factory=asyncio.Event)
    _loading: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def keep_alive(self) -> None:
        """Start the launcher, and another when it dies, until cancelled; after one that failed or did not live long,
        wait 0.2 s, twice as long each time, at most 30 s."""
        delay = BACKOFF_MIN
        while not self.closed:
            if await self.reload() and await self._lifetime() >= LONG_LIFE:
                delay = BACKOFF_MIN
                self.failures = 0
            else:
                self.failures += 1
                await asyncio.sleep(delay)
                delay = min(delay * 2, BACKOFF_MAX)

    async def _lifetime(self) -> float:
        """Wait until there is no launcher any more; the seconds that there was one."""
        self._up_since = monotonic()
        while self.current is not None:
            await self.current.gone.wait()
            self._forget_dead()
        return monotonic() - self._up_since

    @property
    def is_failing(self) -> bool:
        """Whether it is no accident that there is no launcher, or none that has lived for long."""
        has_lived = self.current is not None and monotonic() - self._up_since >= LONG_LIFE
        return self.failures >= FAILURES and not has_lived

    def _forget_dead(self) -> None:
        if self.current is not None and self.current.gone.is_set():
            self.current = None
            self._present.clear()
            if not self.closed:
                logger.warning("the launcher of environment %r ended; starting another", self.config.name)

    async def reload(self) -> bool:
        """Start a new launcher and retire the present one; False when the new one did not come up (the present one
        stays)."""
        async with self._loading:
            fresh = LauncherProcess(self.config, self.on_keeper_exit)
            try:
                return await self._replace_by(fresh)
            except asyncio.CancelledError:
                fresh.kill()  # not only hung up on: it may hang
                raise
            except Exception as error:
                # Whatever it was: who keeps launchers alive must not end by it, for there would never be another.
                logger.exception("environment %r: its launcher could not be replaced", self.config.name)
                self._report_failure(f"its launcher can't be started: {error}")
                fresh.kill()
                return False

    async def _replace_by(self, fresh: LauncherProcess) -> bool:
        try:
            await fresh.start(self.runtime)
        except OSError as error:
            self._report_failure(f"{self.config.python} can't be run: {error}")
            return False
        if not await _ready(fresh, self._import_limit):
            self._report_failure(self._why_not(fresh))
            fresh.kill()
            return False
        failpoints.reach("service.reload.ready")
        retired, self.current = self.current, fresh
        try:
            failpoints.reach("service.reload.swapped")
            self._present.set()
            self.has_reported = True
            self.last_failure = ""
            self.on_catalogue(self.config.name, fresh.entries)
        finally:
            if retired is not None:
                retired.close()
        return True

    @property
    def _import_limit(self) -> float:
        """Seconds until a launcher has to be ready: each module is imported twice, and only the first time is limited
        in the launcher itself."""
        return self.config.import_timeout * (2 * len(self.config.modules) + 1) + START_WITHIN

    def _why_not(self, launcher: LauncherProcess) -> str:
        """Why it did not become ready."""
        if launcher.gone.is_set():
            return "the launcher ended before it was ready; its message is in the service's log"
        module = "".join(f", at the module {name}" for name in self.config.modules[launcher.imported :][:1])
        return f"the launcher was not ready within {self._import_limit:g} s{module}"

    async def reload_on_change(self) -> None:
        """Reload when a source file of the targets changes, or was changed while they were imported, until cancelled.

        A change that breaks a module is shown at its entry; the old code is not kept.
        """
        before: LauncherProcess | None = None
        in_a_row = 0
        while not self.closed:
            seen = await self._any_launcher()
            is_stale = seen is not before and await asyncio.to_thread(_is_any_newer, seen.files, seen.began)
            before, in_a_row = seen, in_a_row + 1 if is_stale else 0
            if 0 < in_a_row <= AT_ONCE or await self._has_changed(seen):
                logger.info("a file of environment %r changed; importing its targets anew", self.config.name)
                await self.reload()

    async def _has_changed(self, seen: LauncherProcess) -> bool:
        try:
            return await _changed(seen.files, seen.gone)
        except (OSError, RuntimeError) as error:  # no descriptor or no inotify instance is left
            logger.warning("the files of environment %r can't be watched now: %s", self.config.name, error)
            await asyncio.sleep(BACKOFF_MAX)
            return False

    async def _any_launcher(self) -> LauncherProcess:
        while self.current is None:
            await self._present.wait()
        return self.current

    def _report_failure(self, text: str) -> None:
        logger.error("environment %r: %s", self.config.name, text)
        self.has_reported = True
        self.last_failure = text
        if self.current is None:
            self.on_catalogue(self.config.name, [_broken(module, text) for module in self.config.modules])

    async def launcher(self, timeout: float) -> LauncherProcess:
        """The present launcher, waiting up to ``timeout`` seconds for one. Raises TimeoutError."""
        while self.current is None or self.current.gone.is_set():
            self._forget_dead()
            async with asyncio.timeout(timeout):
                await self._present.wait()
        return self.current

    @property
    def is_ready(self) -> bool:
        """Whether a launch would be taken at once."""
        return self.current is not None and not self.current.gone.is_set()

    def close(self) -> None:
        """Let the launcher end and start no other."""
        self.closed = True
        if self.current is not None:
            self.current.close()


def _folders_of(files: Sequence[str]) -> list[str]:
    return [str(folder) for folder in {Path(file).parent for file in files} if folder.is_dir()]


def _is_any_newer(files: Sequence[str], than: float) -> bool:
    """Whether one was changed since: by the time of the inode, which a file that was moved there has, too."""
    for file in files:
        with suppress(OSError):
            if Path(file).stat().st_ctime >= than:
                return True
    return False


async def _changed(files: Sequence[str], gone: asyncio.Event) -> bool:
    """Wait until one of ``files``, or a Python file beside one, was changed; False when the launcher ended first."""
    present = await asyncio.to_thread(_folders_of, files)
    if not present:
        await gone.wait()
        return False

    def is_source(change: Change, path: str) -> bool:
        return path.endswith(".py")

    async for _ in awatch(
        *present, watch_filter=is_source, stop_event=gone, recursive=False, ignore_permission_denied=True
    ):
        return True
    return False


async def _ready(launcher: LauncherProcess, limit: float) -> bool:
    """Whether it is ready, once it is, or has ended, or ``limit`` seconds are over."""
    waits = [asyncio.ensure_future(event.wait()) for event in (launcher.ready, launcher.gone)]
    try:
        await asyncio.wait(waits, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    return launcher.ready.is_set() and not launcher.gone.is_set()


def _broken(module: str, error: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": module, "module": module, "kind": "module", "doc": "", "signature": ""}
    return entry | {
        "parameters": {},
        "preloaded": False,
        "error": error,
        "source": None,
        "fingerprint": None,
        "warnings": [],
    }
