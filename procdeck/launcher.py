"""The launcher: one for each environment; imports the target modules once, describes them, and forks a keeper for each
launch.

``python -P -m procdeck.launcher FD CONFIG``: ``FD`` is the connected socket to the service, ``CONFIG`` a JSON object
with ``path`` (folders for sys.path), ``modules`` (names), ``preload`` (bool), ``import_timeout`` (seconds) and
``open_files`` (the soft limit of descriptors for those it forks). It ends at the end-of-file of the socket; what it
forked lives on. One thread and no event loop, for it forks.

Each module is first imported in a throw-away process: one that hangs, exits or crashes the interpreter can't take the
launcher down, and one that leaves threads behind is not imported here at all, because a fork copies the locks of
threads that it does not copy.
"""

from __future__ import annotations

import _socket
import gc
import importlib
import resource
import sys
import sysconfig
import traceback
from contextlib import suppress
from errno import ECONNRESET, EPIPE
from importlib.machinery import PathFinder
from json import dumps, loads
from multiprocessing import popen_fork as _popen_fork
from multiprocessing import util as _util
from select import POLLIN, poll
from time import monotonic
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

from procdeck import failpoints, oom, posix, registry, schema
from procdeck.child import line_buffer_stdio
from procdeck.forking import fork_bare, note_hooks
from procdeck.keeper import keep
from procdeck.pristine import os, signal
from procdeck.protocol import VERSION, Decoder, Message, encode

_WARM = (_popen_fork, _util)
"""Imported for the children to come: what is loaded before the fork is shared and costs them no time."""

SPARE_AGAIN, SPARE_AGAIN_MAX = 1.0, 60.0
"""Seconds until a keeper is forked ahead once more after one ended without a launch, or could not be forked; twice as
many each time up to the maximum, until a launch was handed over."""
MAX_KEEPERS = 4
"""That are tried for one launch, when each of them is gone before it can be told."""

Entries = list[dict[str, Any]]


class Spare(NamedTuple):
    """A keeper that waits for its launch, and the launcher's end of the socket pair to it."""

    pid: int
    orders: _socket.socket


class Launcher:
    """State of one launcher."""

    def __init__(self, link: _socket.socket, config: dict[str, Any]) -> None:
        self.link = link
        self.config = config
        self.keepers: dict[int, str | None] = {}
        self.files: set[str] = set()
        self.codes: dict[str, str | None] = {}  # fingerprints of the modules that are imported here
        self.own_fds = [link.fileno()]
        self.spare: Spare | None = None
        self.spare_at = 0.0  # not before that, in monotonic seconds, is one forked ahead
        self.spare_again = SPARE_AGAIN

    def run(self) -> None:
        """Import, describe, then serve until the service closes the connection."""
        # No collection from here to the freeze: what it would free leaves holes in pages that the forked processes
        # share, and whatever they put there costs each of them a page (the advice of gc.freeze()'s documentation).
        gc.disable()
        self._tell("hello", version=VERSION, pid=os.getpid(), python=sys.version.split()[0])
        failpoints.reach("launcher.import.before")
        for module in self.config["modules"]:
            self._tell("module", entries=self._load(module))
        failpoints.reach("launcher.ready.before")
        self._tell("ready", files=sorted(self.files | _own_files()))
        gc.freeze()  # keeps the collector from writing to, and so copying, what the forked processes share
        self._serve()

    def _tell(self, type_: str, **fields: Any) -> None:
        self.link.sendall(encode(type_, **fields))

    # --- importing ----------------------------------------------------------------------------------------------------

    def _load(self, name: str) -> Entries:
        """The catalogue entries of a module, having imported it here when that is safe."""
        trial = try_import(name, self.config["import_timeout"])
        self.files.update(trial.get("files", ()), source_of(name))
        if "error" in trial:
            return [_broken(name, trial["error"])]
        preload = self.config["preload"] and not trial["threads"]
        entries: Entries = trial["entries"]
        error = _import_here(name, entries) if preload else None
        if error is not None:
            return [_broken(name, error)]
        for entry in entries:
            entry["preloaded"] = preload
            if preload:
                self.codes[name] = entry["fingerprint"]
            if trial["threads"]:
                entry["warnings"] = [*entry.get("warnings", ()), THREADS.format(count=trial["threads"])]
        return entries

    # --- serving ------------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        os.set_blocking(wake_read, False)
        self.own_fds += [wake_read, wake_write]
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in the terminal is the service's affair
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        posix.note_handled_signals()
        waiter, decoder = poll(), Decoder()
        waiter.register(self.link, POLLIN)
        waiter.register(wake_read, POLLIN)
        self._prepare_spare()
        while True:
            for fd, _ in waiter.poll(self._until_spare()):
                if fd == wake_read:
                    os.read(wake_read, 4096)
                    self._reap()
                    continue
                try:
                    data = self.link.recv(65536)
                except ConnectionResetError:  # killed with something unread
                    data = b""
                if not data:
                    return
                for message in decoder.feed(data):
                    self._on_message(message)
            self._prepare_spare()

    def _on_message(self, message: Message) -> None:
        if message["type"] == "launch":
            self._launch(message["spec"])

    def _launch(self, spec: dict[str, Any]) -> None:
        """Hand the launch to the keeper that waits for one, then fork the next."""
        if spec["start_method"] == "fork":  # under the others the child imports the module anew, as it is then
            spec["code"] = self.codes.get(spec["target"].partition(":")[0])
        try:
            failpoints.reach("launcher.launch.taken")
            pid = self._hand_over(encode("launch", spec=spec))
        except (OSError, RuntimeError) as error:
            self._tell("not_forked", id=spec["id"], error=f"{type(error).__name__}: {error}")
            return
        self.keepers[pid] = spec["id"]
        failpoints.reach("launcher.launch.handed_over")
        self._tell("forked", id=spec["id"], keeper_pid=pid)

    def _hand_over(self, order: bytes) -> int:
        self._reap()  # a spare one killed just now may have left a child that still holds its end of the socket pair
        for _ in range(MAX_KEEPERS):
            spare = self.spare or self._fork()
            self.spare = None
            try:
                spare.orders.sendall(order)
                self.spare_at, self.spare_again = 0.0, SPARE_AGAIN
                return spare.pid
            except OSError as error:
                if error.errno not in (EPIPE, ECONNRESET):
                    raise  # else somebody killed the spare one: take a new one
            finally:
                spare.orders.close()
        raise RuntimeError("each keeper forked for it ended at once, for want of descriptors or memory, or was killed")

    def _prepare_spare(self) -> None:
        """A keeper that is forked before it is needed has its first, costly steps behind it when it is.

        One that dies at once (no descriptor is left, or no memory) wakes us by its end, and so would each after it.
        """
        if self.spare is None and monotonic() >= self.spare_at:
            try:
                self.spare = self._fork()
            except (OSError, RuntimeError):  # the launch that needs it will tell
                self._put_off_spare()

    def _put_off_spare(self) -> None:
        self.spare_at = monotonic() + self.spare_again
        self.spare_again = min(2 * self.spare_again, SPARE_AGAIN_MAX)

    def _until_spare(self) -> float | None:
        """Milliseconds until a keeper is to be forked ahead; None when there is one."""
        return None if self.spare is not None else max(0.0, self.spare_at - monotonic()) * 1000 + 0.5

    def _fork(self) -> Spare:
        if thread_count() > 1 and threads_after_fork() > 1:
            raise RuntimeError(
                "the launcher has threads by now, started by a preloaded module; forking it could deadlock the child"
            )
        sys.stdout.flush()  # what is buffered here would be written a second time by the child
        sys.stderr.flush()
        failpoints.reach("launcher.fork.before")
        ours, theirs = _socket.socketpair()
        try:
            pid = fork_bare()
            if pid == 0:
                keep(theirs, [*self.own_fds, ours.fileno()])
        finally:
            theirs.close()
        self.keepers[pid] = None
        return Spare(pid, ours)

    def _reap(self) -> None:
        """Tell of keepers that ended: one killed before its first word is noticed at once."""
        while self.keepers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            if self.spare is not None and self.spare.pid == pid:
                self.spare.orders.close()
                self.spare = None
                self._put_off_spare()
            process_id = self.keepers.pop(pid, None)
            if process_id is not None:
                self._tell("keeper_exited", id=process_id, keeper_pid=pid, status=status)


THREADS = "importing it leaves {count} more thread(s) running: it is imported anew in each child instead of once here"


def thread_count() -> int:
    """Threads of this process, those that Python does not know included."""
    return len(os.listdir("/proc/self/task"))


def threads_after_fork() -> int:
    """`thread_count` once this process has forked.

    Libraries that know about fork end their threads before each one and start them again when they need them: OpenBLAS
    does, so that numpy and pandas can be preloaded. What a first fork does not end is there to stay.
    """
    if thread_count() > 1:
        pid = fork_bare()
        if pid == 0:
            os._exit(0)
        with suppress(ChildProcessError):  # it is over, and was reaped by the kernel: SIGCHLD is ignored
            os.waitpid(pid, 0)
    return thread_count()


def try_import(name: str, limit: float) -> dict[str, Any]:
    """Import ``name`` in a process of its own, at most ``limit`` seconds: ``{entries, threads, files}`` or
    ``{error}``."""
    # A module imported before may have it ignored, or reap whatever ends: this one's end would be lost to us.
    posix.reset_signal(signal.SIGCHLD)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        _trial(name, write)
    os.close(write)
    os.setpgid(pid, pid)  # by both, for whichever comes first
    deadline = monotonic() + limit
    told = _read_line(read, deadline)
    os.close(read)
    in_time = told is not None and _ends_until(pid, deadline)
    os.killpg(pid, signal.SIGKILL)  # with all that the module started; the real import will start it again
    _, status = os.waitpid(pid, 0)
    if not in_time:
        return {"error": f"importing it took longer than {limit:g} s"}
    if not told:
        return {"error": f"importing it ended the interpreter: {_describe_status(status)}"}
    answer: dict[str, Any] = loads(told)
    return answer


def _trial(name: str, write: int) -> NoReturn:
    """In the throw-away process: import, describe, answer.

    A group of its own, so that all it started can be ended with it.
    """
    os.setpgid(0, 0)
    _offer_to_oom_killer()
    try:
        answer: dict[str, Any]
        try:
            module = importlib.import_module(name)
            code = _fingerprint(module)
            entries = [{**entry, "fingerprint": code} for entry in registry.collect(module)]
            answer = {"entries": entries, "threads": threads_after_fork() - 1, "files": sorted(_own_files())}
        except Exception:
            answer = {"error": _import_traceback(), "files": sorted(_own_files())}
        with open(write, "wb") as pipe:
            pipe.write(dumps(answer).encode() + b"\n")
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        # SystemExit ends here too: the empty answer tells of it. Threads that the module left behind are not waited
        # for.
        os._exit(0 if sys.exc_info()[0] is None else 1)


def _offer_to_oom_killer() -> None:
    """Should the import eat all memory, it is this process that the kernel ends, and nobody else's (proc(5))."""
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def _fingerprint(module: ModuleType) -> str | None:
    """SHA-256 of the file that ``module`` was imported from, in hexadecimal; None when it has none.

    Should the file be changed between import and this, the change is noticed all the same: the service compares its
    time with that of this launcher's start.
    """
    import hashlib  # only ever in the throw-away process: it loads OpenSSL, which the forked ones shall not carry

    try:
        with open(str(module.__file__), "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except (AttributeError, OSError):
        return None


def _import_traceback() -> str:
    """The traceback of the present exception without the frames of this file and of the import system, which say
    nothing of the module."""
    kind, error, tb = sys.exc_info()
    while tb is not None and (
        "importlib" in tb.tb_frame.f_code.co_filename or tb.tb_frame.f_code.co_filename == __file__
    ):
        tb = tb.tb_next
    return "".join(traceback.format_exception(kind, error, tb))


def _read_line(fd: int, deadline: float) -> bytes | None:
    """The bytes up to the first newline; empty when the end-of-file comes before it, None when the deadline (monotonic
    seconds) does.

    The end-of-file alone tells nothing: a process that the module forked holds the pipe open, too.
    """
    waiter = poll()
    told = b""
    waiter.register(fd, POLLIN)
    while (left := deadline - monotonic()) > 0:
        if waiter.poll(left * 1000):
            piece = os.read(fd, 65536)
            if not piece:
                return b""
            told += piece
            if b"\n" in piece:
                return told.partition(b"\n")[0]
    return None


def _ends_until(pid: int, deadline: float) -> bool:
    """Whether the child ends before the deadline (monotonic seconds); it is not reaped."""
    fd = os.pidfd_open(pid)
    try:
        waiter = poll()
        waiter.register(fd, POLLIN)
        return bool(waiter.poll(max(0.0, deadline - monotonic()) * 1000))
    finally:
        os.close(fd)


def source_of(name: str) -> list[str]:
    """The file of the outermost package or module of ``name``, also when it can't be imported: its repair is a change
    worth knowing."""
    spec = PathFinder.find_spec(name.partition(".")[0])
    return [spec.origin] if spec is not None and spec.origin is not None else []


def _describe_status(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def _import_here(name: str, entries: Entries) -> str | None:
    """Import for good, and read the annotations that the children will need; the error text when it fails this time."""
    try:
        importlib.import_module(name)
        for entry in entries:
            if not entry["error"]:
                schema.converters(registry.resolve(entry["name"]))
    except BaseException:
        return _import_traceback()
    return None


def _broken(name: str, error: str) -> dict[str, Any]:
    last = error.strip().rpartition("\n")[2]
    return {
        "name": name,
        "module": name,
        "kind": "module",
        "doc": "",
        "signature": "",
        "parameters": {},
        "preloaded": False,
        "error": error,
        "source": None,
        "fingerprint": None,
        "warnings": [last],
    }


def _own_files() -> set[str]:
    """Source files of the modules loaded that belong neither to Python nor to installed packages nor to us: those that
    people edit."""
    paths = sysconfig.get_paths()
    foreign = (paths["stdlib"], paths["platstdlib"], paths["purelib"], paths["platlib"], os.path.dirname(__file__))
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return {file for file in files if file and file.endswith(".py") and not file.startswith(foreign)}


def main() -> NoReturn:
    """The command ``python -m procdeck.launcher FD CONFIG``."""
    if sys.version_info < (3, 11):  # noqa: UP036 - any interpreter can be named in procdeck.toml
        sys.exit(f"Procdeck's runtime needs Python 3.11 or newer; this is {sys.version.split()[0]}")
    failpoints.arm(os.environ.pop(failpoints.VARIABLE, ""), os.environ.pop(failpoints.FOLDER, None))
    config = loads(sys.argv[2])
    link = _socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(link.fileno(), False)
    sys.argv = [""]
    # A spawned child loads the main module again, as `__mp_main__`, which only defines things here: by its file when
    # there is no spec, and else by its name, for which it would search the user's folders first.
    sys.modules["__main__"].__spec__ = None
    if os.environ.get("PROCDECK_PYTHONPATH") is not None:
        os.environ["PYTHONPATH"] = os.environ.pop("PROCDECK_PYTHONPATH")
    else:
        os.environ.pop("PYTHONPATH", None)
    note_hooks()
    sys.path[:0] = config["path"]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(config["open_files"], hard), hard))
    oom.set_score(config["oom_score"])
    posix.set_process_name("procdeck-launch")
    line_buffer_stdio()  # here, and not in each child: what is there already costs them nothing
    code = 1
    try:
        with suppress(BrokenPipeError, ConnectionResetError):  # the service is gone, and with it the reason to be
            Launcher(link, config).run()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        _leave(code)


def _leave(code: int) -> NoReturn:
    """End at once.

    As an interpreter ends, by exit handlers and finalizers, the modules imported here would remove what they made (a
    temporary folder, a manager) under the children that still use it.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed, gone or replaced by a module
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
