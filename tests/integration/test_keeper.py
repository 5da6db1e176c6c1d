"""Keepers with real children: the order of events, exit codes, output, the end of the tree, the service's absence."""

import ctypes
import os
import signal
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from procdeck import failpoints, keeper, log, posix, pristine, run_folder
from tests.runtime import HOSTILE, Run, Runtime, is_alive, kill, wait_gone
from tests.waiting import wait_until

EXTRA = '''
import multiprocessing, os, random, signal, sys, time, threading
from multiprocessing import Process
from pathlib import Path
from procdeck import progress, stop_requested

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
signal.signal(signal.SIGHUP, signal.SIG_IGN)
signal.signal(signal.SIGTERM, lambda *_: print("the launcher's own handler"))

def signals_in_force():
    return [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Sig")]

def burn_in_an_orphan(seconds):
    if os.fork() == 0:
        if os.fork() == 0:
            end = time.process_time() + seconds
            while time.process_time() < end:
                pass
        os._exit(0)
    os.wait()
    time.sleep(1000)

def last_words():
    """A descendant answers SIGTERM with a line that has no newline."""
    if os.fork() == 0:
        os.setsid()
        def end(*_):
            os.write(1, b"last words")
            os._exit(0)
        signal.signal(signal.SIGTERM, end)
        os.write(1, b"set\\n")
        while True:
            time.sleep(1)
    log = Path(os.environ["RUN"]) / "log" / f"{0:020d}.log"
    while not log.exists() or "set" not in log.read_text():
        time.sleep(0.005)
    sys.exit(3)

def family_stops():
    if os.fork() == 0:
        while not stop_requested():
            time.sleep(0.005)
        print("the grandchild saw it")
        os._exit(0)
    os.wait()

def raise_(size):
    raise ValueError("\\N{GRINNING FACE}" * size)

def raise_odd():
    class Odd(Exception):
        def __str__(self):
            raise RuntimeError("no text")
    raise Odd

def surrogate():
    raise ValueError("caf\\udce9")

def return_(value):
    return value

def nan():
    return float("nan")

def who():
    me = multiprocessing.current_process()
    return [me.name, me.daemon, type(me).__name__, multiprocessing.parent_process().pid == os.getppid()]

def no_children():
    multiprocessing.Process(target=print).start()

def print_often(count):
    for number in range(count):
        print(number)

def chatter():
    while True:
        print("x" * 100)

def report(count):
    for number in range(count):
        progress(number / count, str(number))

def say_to_the_keeper(packet):
    from procdeck import child
    child._channel.send(packet.encode())

def track():
    from multiprocessing import resource_tracker
    resource_tracker.ensure_running()
    print("tracker", resource_tracker._resource_tracker._pid)
    time.sleep(1000)

def fill_a_large_pipe(gate, size):
    import fcntl
    fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 1 << 20)
    print("ready")
    while not Path(gate).exists():
        time.sleep(0.005)
    os.write(1, b"x" * size)

def stubborn_family(path):
    """A descendant of its own session that ignores SIGTERM and goes on after the child's end."""
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        Path(path).write_text(str(os.getpid()))
        while True:
            time.sleep(1)
    while not Path(path).exists() or not Path(path).read_text():
        time.sleep(0.005)

hooks = []
os.register_at_fork(after_in_child=lambda: hooks.append(os.getpid()))

def forked():
    return [hooks.count(os.getpid()), random.random()]

class Worker(Process):
    def __init__(self, number=1):
        super().__init__()
        self.number = number

    def run(self):
        print("worker", self.number, self.name, multiprocessing.current_process() is self)
'''


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    folder = tmp_path_factory.mktemp("keeper")
    (folder / "extra.py").write_text(EXTRA)
    runtime = Runtime(folder / "runtime", ["extra", "hostile"], [folder, HOSTILE.parent]).start()
    yield runtime
    runtime.close()


def ended(run: Run) -> dict[str, Any]:
    return run.until_told_over()


# --- the order of events --------------------------------------------------------------------------------------------


def test_an_entry_is_on_the_disk_before_it_is_told(runtime: Runtime) -> None:
    run = runtime.launch("hostile:until_stopped")
    run.wait(lambda: run.messages, "nothing was told")
    assert run.events == ["started"]
    run.end("stop", reason="enough")
    ended(run)
    assert run.events == ["started", "asked", "stopped"]
    assert [entry["seq"] for entry in run.journal] == [1, 2, 3]
    told = {entry["seq"]: entry for entry in run.entries}
    assert all(told[entry["seq"]] == entry for entry in run.journal if entry["seq"] in told)
    assert 3 in told


def test_hello_tells_all_that_a_service_must_know(runtime: Runtime) -> None:
    run = runtime.launch("hostile:until_stopped")
    pid = run.pid
    run.wait_for_hello()
    hello = run.told("hello")[0]
    assert (hello["version"], hello["id"], hello["pid"], hello["journal_seq"]) == (1, run.id, pid, 1)
    assert hello["keeper_pid"] == run.keeper_pid
    assert hello["last_entry"] == run.journal[0]


def test_the_exit_record_is_on_the_disk_before_the_child_is_reaped(runtime: Runtime) -> None:
    """With the keeper stopped nothing is recorded, and the child's status stays with the kernel."""
    run = runtime.launch("hostile:until_stopped")
    pid = run.pid
    assert run.keeper_pid is not None
    os.kill(run.keeper_pid, signal.SIGSTOP)
    kill(pid)
    wait_gone(pid)
    dead = posix.stat(pid)
    assert dead is not None
    assert dead.state == "Z"
    assert "stopped" not in run.events
    os.kill(run.keeper_pid, signal.SIGCONT)
    ended(run)
    assert run.facts["exitcode"] == -9


def test_started_names_the_process_for_good(runtime: Runtime) -> None:
    run = runtime.launch("hostile:until_stopped")
    pid = run.pid
    facts = run.journal[0]["data"]
    dead = posix.stat(pid)
    assert dead is not None
    assert facts["start_ticks"] == dead.start_ticks
    assert facts["boot_id"] == posix.BOOT_ID
    assert facts["keeper_pid"] == dead.parent


# --- exit codes -----------------------------------------------------------------------------------------------------

EXITS = [
    pytest.param("say", [], 0, id="returns"),
    pytest.param("leave", [], 0, id="exit-none"),
    pytest.param("leave", [3], 3, id="exit-3"),
    pytest.param("leave", ["a reason"], 1, id="exit-text"),
    pytest.param("leave", [256], 0, id="exit-256"),
    pytest.param("leave", [-1], 255, id="exit-minus-1"),
    pytest.param("leave_at_once", [9], 9, id="os-exit"),
    pytest.param("close_everything", [], 5, id="closes-everything"),
    pytest.param("become", ["sh", "-c", "exit 42"], 42, id="exec"),
    pytest.param("become", ["no such program"], 1, id="exec-of-nothing"),
    pytest.param("become", ["sh", "-c", "kill -USR2 $$"], -12, id="exec-and-signal"),
    pytest.param("segfault", [], -11, id="segfault"),
    pytest.param("abort", [], -6, id="abort"),
]


@pytest.mark.parametrize(("target", "args", "code"), EXITS)
def test_exit_codes_are_those_of_multiprocessing(runtime: Runtime, target: str, args: list[Any], code: int) -> None:
    facts = ended(runtime.launch(f"hostile:{target}", *args))
    assert facts["exitcode"] == code
    status = facts["wait_status"]
    assert os.waitstatus_to_exitcode(status & ~0x80) == code
    assert facts["core_dumped"] == bool(os.WIFSIGNALED(status) and os.WCOREDUMP(status))


def test_a_core_dump_is_told(runtime: Runtime, tmp_path: Path) -> None:
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    if pattern.startswith(("|", "/")):
        pytest.skip(f"core dumps go to {pattern}")
    facts = ended(runtime.launch("hostile:become", "sh", "-c", "ulimit -c unlimited; kill -QUIT $$", cwd=str(tmp_path)))
    assert facts["exitcode"] == -signal.SIGQUIT
    assert facts["core_dumped"] == bool(list(tmp_path.glob("core*")))


def test_the_exit_code_is_that_of_the_child_although_a_tracer_sees_its_end_first(runtime: Runtime) -> None:
    run = runtime.launch("hostile:nap")
    pid = run.pid
    run.wait_for_hello()
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    assert ptrace(PTRACE_SEIZE, pid, None, None) == 0, os.strerror(ctypes.get_errno())
    kill(pid)
    wait_gone(pid)
    run.send("signal", request=1, signal="SIGCONT", actor="tester", reason=None, tree=False)
    run.wait_for_event("signalled")  # the keeper has met the end before, and can't say yet which
    os.waitpid(pid, 0)
    assert ended(run)["exitcode"] == -9


PTRACE_SEIZE = 0x4206
"""From linux/ptrace.h."""


@pytest.fixture
def armed(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    """A runtime with the fail point that the test names, which fails once in all."""
    (tmp_path / "hits").mkdir()
    monkeypatch.setenv(failpoints.VARIABLE, f"{request.param}:error:1")
    monkeypatch.setenv(failpoints.FOLDER, str(tmp_path / "hits"))
    runtime = Runtime(tmp_path / "armed").start()
    yield runtime
    runtime.close()
    assert (tmp_path / "hits" / request.param).exists()


@pytest.mark.parametrize("armed", ["keeper.exit.seen", "keeper.exit.drained"], indirect=True)
def test_what_a_fork_server_told_once_is_known_when_the_record_is_tried_again(armed: Runtime) -> None:
    assert ended(armed.launch("say", "hello", 7, start_method="forkserver"))["exitcode"] == 7


@pytest.mark.parametrize(
    "armed", ["keeper.start.ordered", "keeper.start.recorded", "keeper.connect.before"], indirect=True
)
def test_a_step_of_the_beginning_that_failed_is_tried_again(armed: Runtime) -> None:
    run = armed.launch("until_stopped")
    run.wait_for_hello()
    assert run.told("hello")[0]["last_entry"]["event"] == "started"
    run.end("stop")
    assert ended(run)["exitcode"] == 0
    assert run.events == ["started", "asked", "stopped"]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGINT", "SIGHUP", "SIGALRM"])
def test_a_signal_is_the_exit_code_s_negative(runtime: Runtime, name: str) -> None:
    run = runtime.launch("hostile:nap")
    run.wait_for_event("started")
    run.send("signal", request=1, signal=name, actor="tester", reason=None, tree=False)
    facts = ended(run)
    # Python answers SIGINT with KeyboardInterrupt, and multiprocessing that with exit code 1.
    assert facts["exitcode"] == (1 if name == "SIGINT" else -signal.Signals[name])
    assert [entry["event"] for entry in run.journal] == ["started", "signalled", "stopped"]
    assert run.journal[1]["data"]["signal"] == name


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize(("target", "args", "code"), [("say", ["hello", 7], 7), ("nap", [1000], -9)])
def test_start_methods(runtime: Runtime, method: str, target: str, args: list[Any], code: int) -> None:
    run = runtime.launch(f"hostile:{target}", *args, start_method=method)
    if code < 0:
        run.wait_for_event("started")
        run.end("kill")
    facts = ended(run)
    assert facts["exitcode"] == code
    assert run.text("stdout") == ("hello\n" if code == 7 else "")
    run.until_gone()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_the_child_is_multiprocessing_s_own(runtime: Runtime, method: str) -> None:
    run = runtime.launch("who", start_method=method, name="Alice", daemon=True)
    ended(run)
    name, daemon, _, has_parent = run.facts["result"]
    assert (name, daemon) == ("Alice", True)
    assert has_parent or method == "forkserver"


def test_a_daemonic_process_may_have_no_children(runtime: Runtime) -> None:
    facts = ended(runtime.launch("no_children", daemon=True))
    assert facts["exitcode"] == 1
    assert "daemonic processes are not allowed to have children" in facts["error"]["message"]


def test_a_subclass_of_process_is_instantiated_in_the_child(runtime: Runtime) -> None:
    run = runtime.launch("Worker", 5, kind="process", name="Worker-3")
    assert ended(run)["exitcode"] == 0
    assert run.text() == "worker 5 Worker-3 True\n"


def test_a_command_is_run_under_the_same_keeper(runtime: Runtime) -> None:
    run = runtime.launch("list", "one", 2, kind="command", run=["printf", "%s,%s"], env={"LANG": "C"})
    assert ended(run)["exitcode"] == 0
    run.until_gone()
    assert run.text() == "one,2"


def test_the_logger_of_multiprocessing_on_request(runtime: Runtime) -> None:
    run = runtime.launch("hostile:say", log_level="INFO")
    ended(run)
    said = run.text("stderr")
    assert "[INFO/Process-1] child process calling self.run()" in said
    assert "[INFO/Process-1] process exiting with exitcode 0" in said


# --- data: result, exception, progress ------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, False, "", [], {"a": [1, None, "é"]}, 1.5])
def test_a_return_value_is_kept_as_data(runtime: Runtime, value: object) -> None:
    assert ended(runtime.launch("return_", value))["result"] == value


@pytest.mark.parametrize(
    ("target", "args", "reason"),
    [
        ("hostile:big_result", [65 * 1024], "at most 65536 are kept"),
        ("hostile:odd_result", [], "can't be written as JSON"),
        ("nan", [], "can't be written as JSON"),
    ],
)
def test_a_return_value_that_can_t_be_kept_is_said(runtime: Runtime, target: str, args: list[Any], reason: str) -> None:
    facts = ended(runtime.launch(target, *args))
    assert facts["exitcode"] == 0
    assert reason in facts["result_omitted"]
    assert "result" not in facts


def test_an_exception_is_data_and_in_the_log(runtime: Runtime) -> None:
    run = runtime.launch("raise_", 1)
    facts = ended(run)
    assert facts["exitcode"] == 1
    assert (facts["error"]["type"], facts["error"]["message"]) == ("ValueError", "\N{GRINNING FACE}")
    traceback = facts["error"]["traceback"]
    assert 'extra.py", line' in traceback
    assert "child.py" not in traceback
    assert "Traceback (most recent call last)" in run.text("stderr")


@pytest.mark.parametrize(
    ("target", "args", "message"),
    [
        pytest.param("raise_", [100_000], "\N{GRINNING FACE}" * 4000, id="long"),
        pytest.param("surrogate", [], "caf\udce9", id="surrogate"),
        pytest.param("raise_odd", [], "<its message can't be had: RuntimeError>", id="odd"),
    ],
)
def test_an_exception_that_is_hard_to_tell_is_told(
    runtime: Runtime, target: str, args: list[Any], message: str
) -> None:
    facts = ended(runtime.launch(target, *args))
    assert facts["exitcode"] == 1
    assert facts["error"]["message"] == message


def test_wrong_arguments_and_an_unknown_target_are_errors_of_the_child(runtime: Runtime) -> None:
    assert ended(runtime.launch("hostile:steps", "many"))["exitcode"] == 1
    assert ended(runtime.launch("hostile:missing"))["error"]["type"]


def test_a_folder_that_is_not_there_is_told(runtime: Runtime) -> None:
    run = runtime.launch("hostile:say", cwd="/no/such/folder")
    facts = ended(run)
    assert facts["exitcode"] == 1
    assert facts["error"]["type"] == "FileNotFoundError"
    assert "/no/such/folder" in run.text("stderr")


def test_progress_is_told_while_it_runs_and_kept_at_the_end(runtime: Runtime) -> None:
    run = runtime.launch("hostile:steps", 3)
    facts = ended(run)
    told = [message["progress"] for message in run.told("progress")]
    assert told
    assert all(set(report) == {"fraction", "message"} for report in told)
    assert facts["progress"] == {"fraction": 1.0, "message": "step 3"}
    assert facts["result"] == {"steps": 3}


def test_progress_in_masses_blocks_nobody(runtime: Runtime) -> None:
    run = runtime.launch("report", 20_000)
    assert ended(run)["exitcode"] == 0


class Chatty:
    """A channel that always has one more packet."""

    def __init__(self) -> None:
        self.taken = 0

    def recv(self, size: int) -> bytes:
        self.taken += 1
        assert self.taken < 10_000, "the keeper does nothing else any more"
        return b'{"type": "progress", "fraction": 0.5, "message": ""}'


def test_progress_without_end_keeps_the_keeper_from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = keeper.Keeper.__new__(keeper.Keeper)
    told: list[dict[str, Any]] = []
    link, channel = SimpleNamespace(offer=told.append), Chatty()
    busy.timers, busy.progress, busy.progress_told_at = {}, None, 0.0
    monkeypatch.setattr(busy, "link", link, raising=False)
    monkeypatch.setattr(busy, "channel", channel, raising=False)
    busy._on_channel(0)
    assert channel.taken == keeper.PACKETS_A_TURN
    assert list(busy.timers) == ["progress"]  # told once for all of them
    assert not told


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param('{"type": "outcome", "result": NaN}', id="nan"),
        pytest.param('{"type": "outcome", "error": 5}', id="no-error"),
        pytest.param('{"type": "outcome", "error": {"type": 1, "message": 2, "traceback": 3}}', id="no-texts"),
        pytest.param('{"type": "outcome", "result_omitted": 5}', id="no-reason"),
        pytest.param('{"type": "outcome", "duration": "long", "leftovers": [1], "exitcode": "x"}', id="our-facts"),
        pytest.param('{"type": "progress", "fraction": NaN, "message": ""}', id="nan-progress"),
        pytest.param('{"type": "progress", "fraction": 0.5, "message": 7}', id="no-message"),
        pytest.param('["type"]', id="no-object"),
    ],
)
def test_what_a_target_writes_to_the_channel_can_t_spoil_the_exit_record(runtime: Runtime, packet: str) -> None:
    run = runtime.launch("say_to_the_keeper", packet)
    facts = ended(run)
    assert run.events == ["started", "stopped"]
    assert (facts["exitcode"], facts["leftovers"], type(facts["duration"])) == (0, 0, float)
    assert not facts.keys() & {"result", "result_omitted", "error", "progress"}


def test_a_return_value_that_others_could_not_read_is_left_out(runtime: Runtime) -> None:
    value: Any = 0
    for _ in range(101):
        value = [value]
    assert "more than 100 levels deep" in ended(runtime.launch("return_", value))["result_omitted"]
    assert ended(runtime.launch("return_", value[0]))["result"] == value[0]


# --- the child's surroundings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("env", [{}, {"BIG": "x" * 20_000}])
def test_a_command_ignores_no_signal(runtime: Runtime, env: dict[str, str]) -> None:
    """Python ignores SIGPIPE and SIGXFSZ for itself, and exec would keep that."""
    spec: dict[str, Any] = {"kind": "command", "run": ["grep", "SigIgn", "/proc/self/status"], "env": env}
    run = runtime.launch("signals", **spec)
    run.until_gone()
    ignored = int(run.text().split()[1], 16)
    assert not ignored & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_no_signal_is_blocked_or_ignored_in_the_child(runtime: Runtime, method: str) -> None:
    """Although importing the module blocked, ignored and handled some in the launcher."""
    facts = ended(runtime.launch("hostile:signals_in_force", start_method=method))
    python_s_own = 1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1
    assert facts["result"] == {"SigBlk": 0, "SigIgn": python_s_own}


@pytest.mark.parametrize("size", [0, 20_000], ids=["told", "forked-anew"])
def test_a_child_inherits_none_of_the_keeper_s_descriptors_but_the_lock(runtime: Runtime, size: int) -> None:
    run = runtime.launch("hostile:open_files", env={"BIG": "x" * size})
    files = ended(run)["result"]
    assert files.pop("0") == "/dev/null"
    assert files.pop("1").startswith("pipe:")
    assert files.pop("2").startswith("pipe:")
    # /proc/PID/fd is the target's own doing.
    named = [name for name in files.values() if name.startswith("/") and not name.startswith("/proc/")]
    assert named == [str(run.folder / run_folder.LOCK)]
    kinds = sorted(name.partition(":")[0] for name in files.values() if not name.startswith("/"))
    # The side channel, and the pipes by which multiprocessing tells parent and child of each other's end.
    assert kinds == ["pipe", "pipe", "socket"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_that_can_t_be_what_was_asked_for_says_why(runtime: Runtime, method: str) -> None:
    run = runtime.launch("hostile:say", env={"A\0B": "no name"}, start_method=method)
    facts = ended(run)
    assert facts["exitcode"] == 1
    assert (facts["error"]["type"], facts["error"]["message"]) == ("ValueError", "embedded null byte")
    assert "ValueError: embedded null byte" in run.text("stderr")


def test_environment_and_folder_are_the_child_s_own(runtime: Runtime, tmp_path: Path) -> None:
    names = ["NAME", "PROCDECK_ID", "PYTHONPATH", "PROCDECK_PYTHONPATH"]
    run = runtime.launch("hostile:environment", *names, env={"NAME": "value"}, cwd=str(tmp_path))
    assert ended(run)["result"] == ["value", run.id, None, None, str(tmp_path)]


def test_the_mark_of_whose_tree_it_is_can_t_be_given_by_a_launch(runtime: Runtime) -> None:
    run = runtime.launch("hostile:environment", "PROCDECK_ID", env={"PROCDECK_ID": "another"})
    assert ended(run)["result"][0] == run.id


def test_hooks_of_user_code_run_once_and_every_child_has_random_numbers_of_its_own(runtime: Runtime) -> None:
    results = [ended(runtime.launch("forked"))["result"] for _ in range(3)]
    assert [hooks for hooks, _ in results] == [1, 1, 1]
    assert len({number for _, number in results}) == 3


def test_standard_input_is_empty(runtime: Runtime) -> None:
    assert ended(runtime.launch("hostile:read_input"))["result"] == "''"


def test_the_child_leads_a_session_of_its_own(runtime: Runtime) -> None:
    run = runtime.launch("hostile:nap")
    run.wait(lambda: run.keeper_pid, "the keeper was not told")
    child, keeper = posix.stat(run.pid), posix.stat(run.keeper_pid or 0)
    assert child is not None
    assert keeper is not None
    assert (child.session, keeper.session) == (run.pid, run.keeper_pid)


def test_files_are_for_the_owner_only(runtime: Runtime) -> None:
    run = runtime.launch("hostile:say")
    run.until_gone()
    for path in (run.folder, *run.folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


# --- output ---------------------------------------------------------------------------------------------------------


def test_every_byte_is_in_the_log(runtime: Runtime) -> None:
    run = runtime.launch("print_often", 100_000, log_budget=64 << 20)
    ended(run)
    assert run.text() == "".join(f"{number}\n" for number in range(100_000))


def test_streams_are_kept_apart(runtime: Runtime) -> None:
    run = runtime.launch("hostile:both", 100)
    ended(run)
    assert run.text("stdout") == "".join(f"out {number}\n" for number in range(100))
    assert run.text("stderr") == "".join(f"err {number}\n" for number in range(100))


def test_bytes_that_are_not_text_and_long_lines_stay_as_they_are(runtime: Runtime) -> None:
    run = runtime.launch("hostile:raw", "ff00fe0a")
    ended(run)
    chunk = log.read_chunk(str(run.folder / run_folder.LOG), 0)
    assert log.text_of(chunk) == b"\xff\x00\xfe\n"
    run = runtime.launch("hostile:long_line", 300_000)
    ended(run)
    assert run.text() == "x" * 300_000 + "\n"


def test_a_prompt_is_seen_before_its_newline_comes(runtime: Runtime) -> None:
    run = runtime.launch("hostile:prompt")
    run.wait_for_text("name? ")
    assert is_alive(run.pid)


def test_a_child_that_closes_its_output_lives_on(runtime: Runtime) -> None:
    run = runtime.launch("hostile:close_output")
    run.wait_for_text("closing")
    run.end("terminate")
    assert ended(run)["exitcode"] == -15


def test_who_watches_is_told_how_far_the_log_is(runtime: Runtime) -> None:
    run = runtime.launch("hostile:tick", str(runtime.folder / "truth"))
    run.wait_for_text("1\n")
    assert not run.told("log")
    run.send("watch", on=True)
    run.wait(lambda: len(run.told("log")) >= 3, "no hints")
    ends = [message["end"] for message in run.told("log")]
    assert ends == sorted(set(ends))
    run.send("watch", on=False)
    run.send("signal", request=1, signal="SIGCONT", actor="tester", reason=None, tree=False)
    run.wait_for_event("signalled")
    run.wait(lambda: any(entry["event"] == "signalled" for entry in run.entries), "not told")
    before, size = len(run.told("log")), len(run.text())
    run.wait(lambda: len(run.text()) > size + 20, "it does not go on")
    assert len(run.told("log")) <= before + 1


def test_the_last_output_is_whole_however_large_the_pipe(runtime: Runtime, tmp_path: Path) -> None:
    run = runtime.launch("fill_a_large_pipe", str(tmp_path / "gate"), 500_000)
    run.wait_for_text("ready\n")
    pid = run.pid
    assert run.keeper_pid is not None
    os.kill(run.keeper_pid, signal.SIGSTOP)
    (tmp_path / "gate").touch()
    wait_gone(pid)
    os.kill(run.keeper_pid, signal.SIGCONT)
    run.until_gone()
    assert run.text() == "ready\n" + "x" * 500_000


def test_the_log_keeps_to_its_budget(runtime: Runtime) -> None:
    run = runtime.launch("hostile:long_line", 2 << 20, log_budget=256 << 10)
    ended(run)
    parts = log.segments(str(run.folder / run_folder.LOG))
    assert parts[0][0] > 0
    assert sum(size for _, size in parts) <= 2 * (256 << 10)


# --- the end --------------------------------------------------------------------------------------------------------


def test_the_poison_pill_is_tried_first(runtime: Runtime) -> None:
    run = runtime.launch("hostile:until_stopped", grace=10)
    run.wait_for_text("waiting")
    run.end("stop")
    facts = ended(run)
    assert (facts["exitcode"], facts["result"]) == (0, "stopped politely")
    assert run.text() == "waiting\nasked to stop\n"


def test_a_descendant_sees_the_pill_too(runtime: Runtime) -> None:
    run = runtime.launch("family_stops", grace=10)
    run.wait_for_event("started")
    run.end("stop")
    assert ended(run)["exitcode"] == 0
    assert run.text() == "the grandchild saw it\n"


def test_stop_goes_on_to_term_and_to_kill(runtime: Runtime) -> None:
    run = runtime.launch("hostile:nap", grace=0.1)
    run.wait_for_event("started")
    run.end("stop")
    assert ended(run)["exitcode"] == -15
    deaf = runtime.launch("hostile:deaf", grace=0.1)
    deaf.wait_for_text("deaf")
    deaf.end("stop", reason="enough")
    assert ended(deaf)["exitcode"] == -9
    asked = [entry for entry in deaf.journal if entry["event"] == "asked"]
    assert [(entry["actor"], entry["data"].get("signal")) for entry in asked] == [
        ("tester", None),
        ("keeper", "SIGTERM"),
        ("keeper", "SIGKILL"),
    ]
    assert asked[0]["reason"] == "enough"


def test_who_asks_again_does_not_put_off_what_was_announced(runtime: Runtime) -> None:
    run = runtime.launch("hostile:deaf", grace=0.5)
    run.wait_for_text("deaf")
    run.end("stop")
    run.wait_for_event("asked")
    for action in ("stop", "interrupt", "terminate"):
        run.end(action, grace=1000)
    facts = ended(run)
    assert facts["exitcode"] == -9
    escalated = [entry["data"]["signal"] for entry in run.journal if entry["data"].get("action") == "escalate"]
    assert escalated == ["SIGTERM", "SIGKILL"]


def test_a_later_request_with_less_grace_is_not_held_up_by_an_earlier_one(runtime: Runtime) -> None:
    run = runtime.launch("hostile:deaf", grace=1000)
    run.wait_for_text("deaf")
    run.end("stop", grace=0.3)
    run.end("terminate", grace=0.4)
    run.end("stop", grace=1000)
    assert ended(run)["exitcode"] == -9


def test_the_grace_of_a_request_goes_before_that_of_the_launch(runtime: Runtime) -> None:
    run = runtime.launch("hostile:deaf", grace=1000)
    run.wait_for_text("deaf")
    run.end("terminate", grace=0.1)
    assert ended(run)["exitcode"] == -9


def test_terminate_without_a_grace_only_asks(runtime: Runtime) -> None:
    run = runtime.launch("hostile:deaf", grace=0.05)
    run.wait_for_text("deaf")
    run.end("terminate")
    run.send("signal", request=2, signal="SIGCONT", actor="tester", reason=None, tree=False)
    run.wait_for_event("signalled")
    assert is_alive(run.pid)
    assert run.events == ["started", "asked", "signalled"]


def test_a_stopped_child_can_be_ended(runtime: Runtime) -> None:
    run = runtime.launch("hostile:nap")
    os.kill(run.pid, signal.SIGSTOP)
    run.end("terminate")
    assert ended(run)["exitcode"] == -15


def test_the_time_limit_ends_it(runtime: Runtime) -> None:
    run = runtime.launch("hostile:deaf", timeout=0.3, grace=0.1)
    facts = ended(run)
    assert facts["exitcode"] == -9
    assert run.journal[1]["data"]["action"] == "time_limit"
    assert 0.3 < facts["duration"] < 5


def test_commands_after_the_end_are_no_trouble(runtime: Runtime) -> None:
    run = runtime.launch("hostile:family", leftovers="keep")
    ended(run)
    run.end("terminate")
    run.send("signal", request=2, signal="SIGTERM", actor="tester", reason=None, tree=False)
    run.wait(lambda: run.link is not None, "gone")
    assert run.events == ["started", "stopped"]


@pytest.mark.parametrize(
    "message",
    [
        {"type_": "end", "request": 7, "action": "explode", "actor": "tester"},
        {"type_": "end", "request": 7, "actor": "tester"},
        {"type_": "signal", "request": 7, "signal": "SIGNONE", "actor": "tester"},
        {"type_": "signal", "request": 7, "signal": 9, "actor": "tester"},
        {"type_": "never heard of this", "request": 7},
    ],
)
def test_a_command_that_can_t_be_carried_out_is_refused(runtime: Runtime, message: dict[str, Any]) -> None:
    run = runtime.launch("hostile:nap")
    run.wait_for_event("started")
    run.send("never heard of this")
    run.send(**message)
    run.wait(lambda: run.told("refused"), "not refused")
    assert run.told("refused")[0]["request"] == 7
    assert run.events == ["started"]
    assert is_alive(run.pid)


def test_a_service_that_talks_nonsense_is_left_and_called_again(runtime: Runtime) -> None:
    run = runtime.launch("hostile:nap")
    run.wait(lambda: run.link is not None, "no hello")
    assert run.link is not None
    run.link.sendall(b"\xff\xff\xff\xff")
    run.wait_for_hello(2)
    assert is_alive(run.pid)


# --- the tree -------------------------------------------------------------------------------------------------------


def grandchild_of(run: Run) -> int:
    run.wait_for_text("grandchild ")
    return int(run.text().split()[1])


def test_leftovers_are_ended_and_the_exit_is_recorded_at_once(runtime: Runtime) -> None:
    run = runtime.launch("hostile:family", 7)
    facts = ended(run)
    assert facts["exitcode"] == 7
    assert facts["leftovers"] == 1
    grandchild = grandchild_of(run)
    run.until_gone()
    assert not is_alive(grandchild)


def test_kill_takes_the_whole_tree(runtime: Runtime) -> None:
    run = runtime.launch("hostile:family", kwargs={"wait": True})
    grandchild = grandchild_of(run)
    run.end("kill")
    assert ended(run)["exitcode"] == -9
    run.until_gone()
    assert not is_alive(grandchild)


def test_a_program_that_left_the_session_and_closed_its_files_is_found(runtime: Runtime) -> None:
    run = runtime.launch("hostile:outsider")
    run.wait_for_text("outsider ")
    program = int(run.text().split()[1])
    run.end("terminate")
    assert ended(run)["exitcode"] == -15
    run.until_gone()
    assert not is_alive(program)


def test_leftovers_are_kept_on_request(runtime: Runtime) -> None:
    run = runtime.launch("hostile:family", 7, leftovers="keep")
    assert ended(run)["exitcode"] == 7
    grandchild = grandchild_of(run)
    assert is_alive(grandchild)
    assert run.keeper_status is None
    kill(grandchild)
    run.until_gone()


def test_the_last_words_of_leftovers_are_in_the_log(runtime: Runtime) -> None:
    run = runtime.create("last_words")
    run.spec["env"] = {"RUN": str(run.folder)}
    runtime.ask(run)
    run.until_gone()
    assert run.facts["exitcode"] == 3
    assert run.text() == "set\nlast words"


def test_orphans_are_reaped_and_their_cpu_time_is_counted(runtime: Runtime) -> None:
    run = runtime.launch("burn_in_an_orphan", 0.3)
    pid = run.pid
    assert run.keeper_pid is not None
    keeper = run.keeper_pid
    wait_until(lambda: len(posix.children(keeper)) == 2, 5, "no orphan came")
    wait_until(lambda: posix.children(keeper) == [pid], 10, lambda: f"not reaped: {posix.children(keeper)}")
    run.end("kill")
    assert ended(run)["cpu_seconds"] >= 0.3


def test_the_tree_is_measured(runtime: Runtime) -> None:
    run = runtime.launch("hostile:memory", 64 << 20)
    run.wait(lambda: any(message["sample"]["rss_bytes"] > 64 << 20 for message in run.told("sample")), "not measured")
    sample = run.told("sample")[-1]["sample"]
    assert sample["processes"] == 1
    assert sample["threads"] >= 1
    run.end("kill")
    facts = ended(run)
    assert facts["max_rss_bytes"] >= 64 << 20
    assert facts["rusage"]["max_rss_bytes"] >= 64 << 20


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_the_child_dies_with_its_keeper(runtime: Runtime, method: str) -> None:
    run = runtime.launch("hostile:deaf", start_method=method)
    run.wait_for_text("deaf")
    kill(run.keeper_pid)
    wait_gone(run.pid)
    run.until_gone()
    assert run.keeper_status == 9
    assert not run_folder.is_kept(str(run.folder))
    assert run.events == ["started"]


def test_a_fork_server_dies_with_its_keeper(lonely: Runtime) -> None:
    run = lonely.launch("hostile:deaf", start_method="forkserver")
    run.wait_for_text("deaf")
    parent = posix.stat(run.pid)
    assert parent is not None
    lonely.vanish()
    kill(run.keeper_pid)
    wait_gone(run.pid)
    wait_gone(parent.parent)


@pytest.mark.parametrize("leftovers", ["end", "keep"])
def test_a_resource_tracker_ends_when_the_tree_was_killed(runtime: Runtime, leftovers: str) -> None:
    run = runtime.launch("track", leftovers=leftovers)
    run.wait_for_text("tracker ")
    tracker = int(run.text().split()[1])
    try:
        run.end("kill")
        run.until_gone()
        wait_gone(tracker)
    finally:
        if is_alive(tracker):
            kill(tracker)


UNPRIVILEGED = """
import ctypes, os, signal, time

# Without CAP_KILL root is to a process of another user what a user is to that of a setuid program.
libc = ctypes.CDLL(None)
header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert libc.capget(header, sets) == 0
for number in (0, 1):
    sets[number] &= ~(1 << 5)
assert libc.capset(header, sets) == 0

def family():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for user in (65534, 0):
        if os.fork() == 0:
            os.setsid()
            os.setuid(user)
            print("is", os.getpid())
            time.sleep(1000)
    time.sleep(1000)
"""


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="a process of another user takes root")
def test_a_descendant_of_another_user_keeps_the_keeper_from_nothing(tmp_path: Path) -> None:
    (tmp_path / "unprivileged.py").write_text(UNPRIVILEGED)
    runtime = Runtime(tmp_path / "runtime", ["unprivileged"], [tmp_path]).start()
    descendants: list[int] = []
    try:
        run = runtime.launch("family", grace=0.3)
        run.wait(lambda: run.text().count("\n") == 2, "they are not there")
        descendants += map(int, run.text().replace("is ", "").split())
        stranger = next(pid for pid in descendants if Path(f"/proc/{pid}").stat().st_uid != 0)
        run.end("stop")
        run.until_gone()
        assert run.facts["exitcode"] == -9
        asked = [entry["data"].get("signal") for entry in run.journal if entry["event"] == "asked"]
        assert asked == [None, "SIGTERM", "SIGKILL"]
        assert [pid for pid in descendants if is_alive(pid)] == [stranger]
        assert "1 that the child left behind belong to another user" in run.keeper_log
    finally:
        for pid in filter(is_alive, descendants):
            kill(pid)
        runtime.close()


SCARCE = """
import errno, os, time
from procdeck import keeper

look, looks = keeper.leftovers, []

def leftovers(child):
    looks.append(child)
    if len(looks) == 1:
        raise OSError(errno.ENFILE, "none is left")
    return look(child)

keeper.leftovers = leftovers

def family():
    if os.fork() == 0:
        time.sleep(1000)
    os._exit(3)
"""


def test_an_exit_is_recorded_and_swept_when_what_is_left_can_t_be_counted(tmp_path: Path) -> None:
    (tmp_path / "scarce.py").write_text(SCARCE)
    runtime = Runtime(tmp_path / "runtime", ["scarce"], [tmp_path]).start()
    try:
        run = runtime.launch("family")
        facts = ended(run)
        assert (facts["exitcode"], facts["leftovers"]) == (3, None)
        assert run.keeper_pid is not None
        left = posix.children(run.keeper_pid)
        run.until_gone()
        assert not any(map(is_alive, left))
    finally:
        runtime.close()


# --- one keeper a process, and none after a forfeit -----------------------------------------------------------------


def test_a_process_is_started_once_however_often_it_is_asked_for(runtime: Runtime, tmp_path: Path) -> None:
    run = runtime.create("hostile:count", str(tmp_path / "count"))
    for _ in range(5):
        runtime.ask(run)
    ended(run)
    # The launcher answers in order: a later launch that is over was handled after all five.
    after = runtime.launch("hostile:say")
    after.until_gone()
    assert len((tmp_path / "count").read_text().splitlines()) == 1
    assert run.events == ["started", "stopped"]


def test_what_the_service_has_claimed_no_keeper_starts(runtime: Runtime, tmp_path: Path) -> None:
    run = runtime.create("hostile:count", str(tmp_path / "count"))
    claimed = run_folder.claim(str(run.folder))
    assert claimed is not None
    os.close(claimed)
    runtime.ask(run)
    run.wait(lambda: run.keeper_status == 0, "the keeper did not end")
    assert not (tmp_path / "count").exists()
    assert run.journal == []


def test_a_keeper_holds_its_folder_while_it_lives(runtime: Runtime) -> None:
    run = runtime.launch("hostile:until_stopped")
    run.wait_for_event("started")
    folder = str(run.folder)
    assert run_folder.is_kept(folder)
    run.end("stop")
    run.until_gone()
    assert not run_folder.is_kept(folder)
    assert run_folder.is_claimed(folder)


def test_what_can_t_be_started_is_told_with_the_reason(runtime: Runtime) -> None:
    run = runtime.launch("hostile:say", start_method="hatch")
    facts = ended(run)
    assert run.events == ["not_started"]
    assert "hatch" in facts["error"]["message"]
    assert "hatch" in run.keeper_log
    assert run.text() == ""


def test_what_can_t_be_journalled_is_not_begun_and_the_keeper_s_log_has_why(runtime: Runtime, tmp_path: Path) -> None:
    run = runtime.create("hostile:count", str(tmp_path / "count"))
    run_folder_journal = run.folder / run_folder.JOURNAL
    run_folder_journal.mkdir()
    runtime.ask(run)
    run.wait(lambda: run.keeper_status is not None, "the keeper did not end")
    assert run.keeper_status != 0
    assert "IsADirectoryError" in run.keeper_log
    assert [entry["event"] for entry in run.entries] == ["not_started"]  # the service is told all the same
    assert not (tmp_path / "count").exists()


def test_a_spec_that_can_t_be_made_durable_does_not_end_a_running_target(runtime: Runtime) -> None:
    run = runtime.create("hostile:say")
    (run.folder / run_folder.SPEC).unlink()
    runtime.ask(run)
    assert ended(run)["exitcode"] == 0
    assert run.events == ["started", "stopped"]
    assert run_folder.SPEC in run.keeper_log


# --- without the service --------------------------------------------------------------------------------------------


@pytest.fixture
def lonely(tmp_path: Path) -> Iterator[Runtime]:
    """A runtime whose service may vanish, with less patience than in life."""
    runtime = Runtime(tmp_path / "lonely", constants={"DAEMON_GRACE": 1.0, "RECONNECT_EVERY": 0.1}).start()
    yield runtime
    runtime.close()


def test_a_keeper_calls_again_when_the_service_is_back(lonely: Runtime) -> None:
    run = lonely.launch("until_stopped")
    brief = lonely.launch("wait_for_file", str(lonely.folder / "go"), 4)
    for one in (run, brief):
        one.wait_for_hello()
    lonely.vanish()
    (lonely.folder / "go").touch()
    brief.until_gone()  # all is done and on the disk with the service dead
    assert brief.facts["exitcode"] == 4
    assert is_alive(run.pid)
    lonely.listen()
    run.wait_for_hello(2)
    hello = run.told("hello")[-1]
    assert (hello["journal_seq"], hello["last_entry"]["event"]) == (1, "started")
    run.end("stop")
    assert ended(run)["exitcode"] == 0


def test_a_service_that_is_not_there_at_the_start_is_called_later(lonely: Runtime) -> None:
    lonely.vanish()
    run = lonely.launch("until_stopped")
    run.wait_for_text("waiting")
    lonely.listen()
    run.wait_for_hello()


def test_a_daemonic_process_ends_when_no_service_comes(lonely: Runtime) -> None:
    daemon, other = lonely.launch("nap", daemon=True), lonely.launch("nap")
    for one in (daemon, other):
        one.wait_for_hello()
    lonely.vanish()
    daemon.until_gone()
    assert daemon.facts["exitcode"] == -15
    assert daemon.events == ["started", "asked", "stopped"]
    assert is_alive(other.pid)


def test_a_daemonic_process_without_a_service_is_asked_to_end_once(tmp_path: Path) -> None:
    runtime = Runtime(tmp_path / "alone", constants={"DAEMON_GRACE": 0.1, "RECONNECT_EVERY": 0.05}).start()
    try:
        run = runtime.launch("deaf", daemon=True, grace=1.0)
        run.wait_for_text("deaf")
        runtime.vanish()
        run.until_gone()
        assert [entry["data"].get("action") for entry in run.journal] == [None, "terminate", "escalate", None]
    finally:
        runtime.close()


def test_a_folder_that_is_another_keeper_s_is_left_alone(lonely: Runtime) -> None:
    run = lonely.launch("nap")
    run.wait_for_hello()
    run.wait(lambda: run.keeper_pid, "the keeper was not told")
    theirs = lonely.folder / "theirs"
    run_folder.create(str(theirs), run.spec)
    (theirs / run_folder.JOURNAL).write_text("theirs\n")
    lock_fd = run_folder.claim(str(theirs))
    assert lock_fd is not None
    try:
        run.folder.rename(lonely.folder / "moved away")
        theirs.rename(run.folder)
        run.send("watch", on=True)  # it then samples at once, and looks after its folder
        for request in (1, 2):
            run.send("never heard of this", request=request)
            run.wait(lambda count=request: len(run.told("refused")) == count, "not refused")  # type: ignore[misc]
        assert (run.folder / run_folder.JOURNAL).read_text() == "theirs\n"
        kill(run.keeper_pid)
        run.wait(lambda: run.keeper_status is not None, "the keeper lives on")
    finally:
        os.close(lock_fd)


def test_a_keeper_s_own_troubles_do_not_fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    monkeypatch.setattr(pristine.os, "write", lambda _, text: written.append(text))
    monkeypatch.setattr(keeper, "_troubles", 0)
    for _ in range(keeper.MAX_TROUBLES + 10):
        keeper._log_trouble("once more")
    assert len(written) == keeper.MAX_TROUBLES


def test_nothing_is_owed_after_another_entry_took_what_was_owed_with_it(tmp_path: Path) -> None:
    paying = keeper.Keeper.__new__(keeper.Keeper)
    paying.timers = {}
    paying.journal = run_folder.Journal(str(tmp_path))
    paying._pay()
    paying.journal.close()
    assert not paying.timers


def test_a_daemonic_process_lives_on_when_the_service_is_back_in_time(lonely: Runtime) -> None:
    daemon = lonely.launch("nap", daemon=True)
    daemon.wait_for_hello()
    lonely.vanish()
    lonely.listen()
    daemon.wait_for_hello(2)
    # A second one that is left alone as long as the first was: when it ends, the first one's time would be over, too.
    witness = lonely.launch("nap", daemon=True)
    witness.wait_for_hello()
    sent = threading.Event()
    assert not sent.wait(1.2)
    assert is_alive(daemon.pid)
    assert daemon.events == ["started"]


def test_a_service_that_does_not_read_harms_nobody(runtime: Runtime) -> None:
    """No message is taken from the keeper: the child goes on, and its end is recorded."""
    run = runtime.launch("report", 50_000)
    wait_until(lambda: "stopped" in run.events, 15, lambda: f"{run.events}")
    assert run.facts["exitcode"] == 0
