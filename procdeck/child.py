"""The child: between the keeper's fork and the target, and what a target may call while it runs.

`progress` and `stop_requested` are the two calls for user code; both do nothing, harmlessly, outside a process of
Procdeck, so that a function can be tested or run by hand as it is.
"""

from __future__ import annotations

import gc
import math
import sys
import traceback
from _socket import MSG_DONTWAIT, MSG_PEEK, socket
from io import TextIOWrapper
from multiprocessing import get_context, log_to_stderr, popen_fork
from multiprocessing import process as mp_process
from typing import Any

from procdeck import failpoints, posix
from procdeck.forking import fork_with_hooks
from procdeck.pristine import os, signal
from procdeck.protocol import dump_json, load_json

MAX_RESULT_BYTES = 64 * 1024
"""A return value whose JSON is longer is not kept; the record then says so."""
MAX_LAUNCH_BYTES = 16 * 1024
"""Of a launch that is passed to a child forked ahead of time; one packet of the channel."""
MAX_TRACEBACK_CHARS = 32 * 1024

_channel: socket | None = None


def progress(fraction: float, message: str = "") -> None:
    """Tell how far the work is: ``fraction`` from 0 to 1 (values outside are moved to the nearer end), and a short
    text.

    Never blocks: when the keeper is behind, this report is dropped and a later one tells. Raises ValueError when
    ``fraction`` is NaN.
    """
    if math.isnan(fraction):
        raise ValueError("the fraction must be a number from 0 to 1")
    if _channel is None:
        return
    report = {"type": "progress", "fraction": min(max(float(fraction), 0.0), 1.0), "message": str(message)[:500]}
    try:
        _channel.send(dump_json(report), MSG_DONTWAIT)
    except OSError:
        return


def stop_requested() -> bool:
    """Whether somebody asked this process to stop: the poison pill.

    A target that loops should look now and then and return.
    """
    if _channel is None:
        return False
    try:
        # Only peeked at, never taken: every thread and every forked child of the target sees the same answer.
        return _channel.recv(1, MSG_PEEK | MSG_DONTWAIT) != b""
    except OSError:
        return False


class _Forked(popen_fork.Popen):
    """multiprocessing's way to fork, save for the call itself, see `procdeck.forking`."""

    def _launch(self, process_obj: Any) -> None:
        ends: tuple[int, ...] = os.pipe()
        try:
            ends += os.pipe()
            self.pid = fork_with_hooks()
        except BaseException:
            for fd in ends:
                os.close(fd)
            raise
        parent_read, child_write, child_read, parent_write = ends
        if self.pid == 0:
            code = 1
            try:
                os.close(parent_read)
                os.close(parent_write)
                code = process_obj._bootstrap(parent_sentinel=child_read)
            finally:
                os._exit(code)
        os.close(child_write)
        os.close(child_read)
        # The parent's ends stay open as long as this process lives, or until `close`: the child's `parent_process()`
        # watches one of them.
        self.sentinel = parent_read
        self.parent_write = parent_write
        self.finalizer = None

    def close(self) -> None:
        """Close the parent's ends, of a child that is over."""
        os.close(self.sentinel)
        os.close(self.parent_write)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """As it is there, by a `waitpid` that user code can't have patched."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, flag)
            except ChildProcessError:
                return None
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


class ChildProcess(mp_process.BaseProcess):
    """The process that the keeper starts, a real one of multiprocessing's, under any start method.

    ``channel`` is the child's end of a sequential-packet socket pair to the keeper; ``keeper_fds`` is what the child
    must close, because fork copies every file descriptor, close-on-exec or not. Without a ``launch`` (see
    `procdeck.keeper`) the child is forked ahead of time and waits for it on the channel.
    """

    # What multiprocessing.Process has: the child's own children start as the interpreter's default says.
    _start_method = None

    def __init__(self, channel: socket, keeper_fds: list[int], launch: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.channel = channel
        self.keeper_fds = keeper_fds
        self.start_method = launch["start_method"] if launch else "fork"
        self.launch: dict[str, Any] = launch or {}

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - multiprocessing's name for the way a context starts a process
        if process_obj.start_method == "fork":
            return _Forked(process_obj)
        context: Any = get_context(process_obj.start_method)
        return context.Process._Popen(process_obj)

    def __getstate__(self) -> dict[str, Any]:
        # Only spawn and forkserver pickle the object; the socket then travels as multiprocessing passes file
        # descriptors.
        from multiprocessing.reduction import DupFd

        return {**self.__dict__, "channel": DupFd(self.channel.fileno()), "keeper_fds": []}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.channel = socket(fileno=state["channel"].detach())

    def _bootstrap(self, parent_sentinel: int | None = None) -> int:
        """multiprocessing's entry to the child, under every start method: everything ours comes before it, so that its
        own log lines, its traceback and its exit codes are those of any process of multiprocessing's."""
        _detach(self)
        if not self.launch:
            self.launch = _wait_for_launch(self.channel)
        try:
            self._adopt(self.launch)
            _enter(self.launch)
        except BaseException as error:  # who called us ends the process, and says nothing
            _tell(error=_describe(error))
            traceback.print_exc()
            sys.stderr.flush()
            return 1
        # multiprocessing would open /dev/null anew; fd 0 is that already, and `run` puts the object back.
        self.stdin, sys.stdin = sys.stdin, None
        return super()._bootstrap(parent_sentinel)  # type: ignore[misc,no-any-return]

    def _adopt(self, launch: dict[str, Any]) -> None:
        """Be who was asked for. The identity names the child's own children, as ``Process-7:1``."""
        self.name = launch["name"]
        self._config["daemon"] = launch["daemon"]  # type: ignore[attr-defined]
        self._identity = (launch["number"],)

    def run(self) -> None:
        """Call the target; tell the keeper that it is over: of the return value, or of the exception before it goes its
        way."""
        sys.stdin = self.stdin
        try:
            failpoints.reach("child.run.before_target")
            if self.launch.get("cwd"):
                os.chdir(self.launch["cwd"])
            result = _RUN[self.launch["kind"]](self.launch)
        except SystemExit:
            _tell()
            raise
        except BaseException as error:
            _tell(error=_describe(error))
            raise
        _tell(**_bounded(result) if result is not None else {})


def _detach(process: ChildProcess) -> None:
    """What every child does first, whatever it will run: a session of its own, and nothing of the keeper's left in
    it."""
    global _channel
    os.setsid()
    # The keeper's death must not leave an orphan that prints into a broken pipe. The keeper has one thread, so the
    # signal means what it says (it comes at the death of the creating *thread*); if the keeper died before this call,
    # sending on the channel fails.
    posix.prctl(posix.PR_SET_PDEATHSIG, signal.SIGKILL)
    if process.start_method == "forkserver":
        _release_fork_server()
    for fd in process.keeper_fds:
        os.close(fd)
    signal.set_wakeup_fd(-1)
    posix.reset_signals()
    _channel = process.channel
    try:
        _channel.send(b'{"type":"ready"}')
    except OSError:
        os._exit(1)
    line_buffer_stdio()


def _release_fork_server() -> None:
    """Let the fork server, which is this child's parent, end when the keeper does.

    It lives as long as anybody holds the writing end of a certain pipe, and hands that on to each child.
    """
    from multiprocessing.forkserver import _forkserver

    server: Any = _forkserver
    os.close(server._forkserver_alive_fd)
    server._forkserver_alive_fd = None


def _wait_for_launch(channel: socket) -> dict[str, Any]:
    """The launch, when it comes. Without one there is nothing to be: the keeper has no use for this child."""
    packet = channel.recv(MAX_LAUNCH_BYTES)
    if not packet:
        os._exit(0)
    launch: dict[str, Any] = load_json(packet)
    return launch


def _enter(launch: dict[str, Any]) -> None:
    """The surroundings that the launch asks for."""
    # Never used and never closed: whoever of the child's tree holds the lock file open can be told to be ours by
    # /proc/PID/fd, even when the keeper was killed. It takes no lock.
    os.open(f"{launch['folder']}/lock", os.O_RDONLY | os.O_CLOEXEC)
    posix.set_process_name(launch["name"])
    if launch["env"]:
        os.environ.update(launch["env"])
    os.environ["PROCDECK_ID"] = launch["id"]  # last: no launch can take the mark of another's tree
    if launch.get("log_level"):
        log_to_stderr(launch["log_level"])
    gc.enable()
    _reseed()


def line_buffer_stdio() -> None:
    """Line-buffered UTF-8 on both streams, so that a line is in the log when it was printed, and still is when the
    process is killed right after.

    PYTHONUNBUFFERED would come too late for a forked child: an interpreter reads it only when it starts.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and not (stream.line_buffering and stream.errors == "backslashreplace"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)


def _reseed() -> None:
    """Forked children share the state of every generator seeded at import.

    Python's own reseeds itself after a fork, numpy's does not.
    """
    random = sys.modules.get("numpy.random")
    if random is not None:
        random.seed()


def _call_function(launch: dict[str, Any]) -> Any:
    from procdeck import registry, schema

    function = registry.resolve(launch["target"])
    args, kwargs = schema.convert_arguments(function, launch["args"], launch["kwargs"])
    return function(*args, **kwargs)


def _run_process(launch: dict[str, Any]) -> None:
    """Instantiate the registered subclass here, in the child, and be it: a constructor that hangs or exits then harms
    nobody else."""
    from procdeck import registry, schema

    cls = registry.resolve(launch["target"])
    args, kwargs = schema.convert_arguments(cls, launch["args"], launch["kwargs"])
    instance = cls(*args, **kwargs)
    instance.name = launch["name"]
    outer: Any = mp_process.current_process()
    instance._config = outer._config
    instance._identity = outer._identity
    instance._parent_pid = outer._parent_pid
    mp_process._current_process = instance  # type: ignore[attr-defined]
    instance.run()


def _exec_command(launch: dict[str, Any]) -> None:
    command = [*launch["run"], *map(str, launch["args"])]
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # ignored by Python for itself, and what is ignored survives exec
        posix.reset_signal(number)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        raise OSError(error.errno, error.strerror, command[0]) from None  # execvp does not say what it looked for


_RUN: dict[str, Any] = {"function": _call_function, "process": _run_process, "command": _exec_command}


def _describe(error: BaseException) -> dict[str, str]:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    # The two outermost frames are `run` and the function above; what the user wrote starts below them.
    inner = error.__traceback__
    for _ in range(2):
        inner = inner.tb_next if inner is not None and inner.tb_next is not None else inner
    text = "".join(traceback.format_exception(kind, error, inner))
    return {"type": name, "message": _text(error)[:4000], "traceback": text[-MAX_TRACEBACK_CHARS:]}


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:
        return f"<its message can't be had: {type(broken).__name__}>"


def _bounded(result: Any) -> dict[str, Any]:
    try:
        text = dump_json(result)
    except (TypeError, ValueError, RecursionError) as error:
        return {"result_omitted": f"the return value can't be written as JSON: {error}"}
    if len(text) > MAX_RESULT_BYTES:
        return {"result_omitted": f"the return value is {len(text)} bytes of JSON; at most {MAX_RESULT_BYTES} are kept"}
    return {"result": result}


def _tell(**facts: Any) -> None:
    """To the keeper.

    Blocks only while the keeper is behind by a full socket buffer; a keeper that is gone is no reason to fail.
    """
    if _channel is None:
        return
    try:
        failpoints.reach("child.run.returned")
        _channel.send(dump_json({"type": "outcome", **facts}))
    except OSError:
        return
