"""The launcher: imports that go wrong, what it tells, what it forks, and what outlives it."""

import _socket
import errno
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import procdeck
from procdeck import birth, child, launcher, posix, pristine
from procdeck.launcher import Launcher, Spare
from procdeck.protocol import VERSION
from tests.runtime import Runtime, is_alive, kill, wait_gone
from tests.waiting import wait_until

Make = Callable[..., Runtime]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Start a launcher of modules given as their source."""
    made: list[Runtime] = []

    def make(sources: dict[str, str], modules: list[str] | None = None, **config: Any) -> Runtime:
        for name, source in sources.items():
            (tmp_path / f"{name}.py").write_text(source)
        folder = tmp_path / f"runtime{len(made)}"
        runtime = Runtime(folder, modules or list(sources), [tmp_path], **config)
        made.append(runtime)
        return runtime.start()

    yield make
    for runtime in made:
        runtime.close()


GOOD = "def work() -> int:\n    'Works.'\n    return 1\n"


# --- what it tells --------------------------------------------------------------------------------------------------


def test_it_says_who_it_is_what_there_is_and_which_files_matter(make: Make, tmp_path: Path) -> None:
    runtime = make({"jobs": f"import helpers\n{GOOD}", "helpers": ""}, modules=["jobs"])
    assert (runtime.hello["version"], runtime.hello["pid"]) == (VERSION, runtime.process.pid)
    assert runtime.hello["python"] == sys.version.split()[0]
    entry = runtime.entry("jobs:work")
    assert (entry["kind"], entry["doc"], entry["preloaded"], entry["error"]) == ("function", "Works.", True, None)
    assert {str(tmp_path / "jobs.py"), str(tmp_path / "helpers.py")} <= set(runtime.files or ())
    assert not any("procdeck/" in file or "/lib/python" in file for file in runtime.files or ())


BAD_IMPORTS = [
    pytest.param("import time\ntime.sleep(1000)", "longer than 1 s", id="hangs"),
    pytest.param("while True: pass", "longer than 1 s", id="spins"),
    pytest.param("import sys\nsys.exit(3)", "ended the interpreter", id="sys-exit"),
    pytest.param("import os\nos._exit(3)", "ended the interpreter: exit code 3", id="os-exit"),
    pytest.param("import os\nos._exit(0)", "ended the interpreter: exit code 0", id="os-exit-0"),
    pytest.param("import ctypes\nctypes.string_at(0)", "SIGSEGV", id="crashes"),
    pytest.param("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "SIGKILL", id="kills-itself"),
    pytest.param("def f(:", "SyntaxError", id="no-python"),
    pytest.param("import no_such_module", "ModuleNotFoundError", id="misses-another"),
    pytest.param("raise ValueError('no')", "ValueError: no", id="raises"),
    pytest.param("raise KeyboardInterrupt", "ended the interpreter", id="interrupt"),
    pytest.param("import os\nos.close(1)\nx", "NameError", id="closes-stdout"),
]


@pytest.mark.parametrize(("source", "reason"), BAD_IMPORTS)
def test_a_module_that_does_ill_at_import_harms_itself_alone(make: Make, source: str, reason: str) -> None:
    runtime = make({"bad": source, "good": GOOD}, import_timeout=1)
    bad = runtime.entry("bad")
    assert bad["kind"] == "module"
    assert reason in bad["error"]
    run = runtime.launch("good:work")
    assert run.until_told_over()["result"] == 1


def test_the_traceback_of_an_import_begins_in_the_module(make: Make, tmp_path: Path) -> None:
    error = make({"bad": "raise ValueError('no')"}).entry("bad")["error"]
    assert str(tmp_path / "bad.py") in error
    assert "importlib" not in error
    assert "launcher.py" not in error


def test_a_file_that_could_not_be_imported_is_watched_all_the_same(make: Make, tmp_path: Path) -> None:
    for source in ("raise ValueError('no')", "import os\nos._exit(1)"):
        assert str(tmp_path / "bad.py") in (make({"bad": source}).files or ())


def test_a_module_that_hangs_takes_what_it_started_with_it(make: Make, tmp_path: Path) -> None:
    source = f"""
import subprocess, time
from pathlib import Path
Path({str(tmp_path / "pid")!r}).write_text(str(subprocess.Popen(["sleep", "1000"]).pid))
time.sleep(1000)
"""
    make({"bad": source}, import_timeout=1)
    wait_gone(int((tmp_path / "pid").read_text()))


def test_the_trial_leaves_nothing_running(make: Make, tmp_path: Path) -> None:
    """A module that starts a program at import has one, of the real import; not another one of the trial."""
    source = f"""
import subprocess
with open({str(tmp_path / "pids")!r}, "a") as file:
    print(subprocess.Popen(["sleep", "1000"]).pid, file=file)
{GOOD}"""
    make({"starter": source})
    pids = [int(line) for line in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    try:
        wait_gone(pids[0])
        assert is_alive(pids[1])
    finally:
        for pid in filter(is_alive, pids):
            kill(pid)


def test_a_module_that_closes_all_files_and_hangs_is_not_waited_for(make: Make) -> None:
    source = "import os, time\nos.closerange(3, 1000)\ntime.sleep(1000)\n"
    runtime = make({"bad": source, "good": GOOD}, import_timeout=1)
    assert "longer than 1 s" in runtime.entry("bad")["error"]
    assert runtime.launch("good:work").until_told_over()["result"] == 1


def test_a_module_that_ignores_the_end_of_its_children_does_not_harm_the_next_trial(make: Make) -> None:
    source = f"import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\n{GOOD}"
    runtime = make({"ignores": source, "threaded": f"{source}{THREADS}", "good": GOOD})
    assert [runtime.entry(f"{name}:work")["error"] for name in ("ignores", "threaded", "good")] == [None] * 3
    assert runtime.launch("good:work").until_told_over()["result"] == 1
    assert runtime.launch("ignores:work").until_told_over()["result"] == 1


def test_a_module_that_forks_a_helper_at_import_is_described_at_once(make: Make, tmp_path: Path) -> None:
    """Although the helper holds all that was open, the pipe of the answer too."""
    source = f"""
import os, time
helper = os.fork()
if helper == 0:
    os.setsid()
    time.sleep(1000)
with open({str(tmp_path / "pids")!r}, "a") as file:
    print(helper, file=file)
{GOOD}"""
    try:
        runtime = make({"helped": source}, import_timeout=5)
        assert runtime.entry("helped:work")["error"] is None
        assert runtime.launch("work").until_told_over()["result"] == 1
    finally:
        for pid in map(int, (tmp_path / "pids").read_text().split()):
            kill(pid)


THREADS = f"""
import threading, time
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
{GOOD}
def threads():
    return threading.active_count()
"""


def test_a_module_that_leaves_threads_behind_is_not_preloaded(make: Make) -> None:
    runtime = make({"threaded": THREADS, "good": GOOD})
    entry = runtime.entry("threaded:work")
    assert entry["preloaded"] is False
    assert "1 more thread" in entry["warnings"][-1]
    assert runtime.entry("good:work")["preloaded"] is True
    assert runtime.launch("threaded:threads").until_told_over()["result"] == 2


def test_preloading_can_be_turned_off(make: Make, tmp_path: Path) -> None:
    source = f"import os\nwith open({str(tmp_path / 'pids')!r}, 'a') as f: print(os.getpid(), file=f)\n{GOOD}"
    runtime = make({"jobs": source}, preload=False)
    assert runtime.entry("jobs:work")["preloaded"] is False
    run = runtime.launch("work")
    assert run.until_told_over()["result"] == 1
    pids = [int(line) for line in (tmp_path / "pids").read_text().split()]
    assert runtime.process.pid not in pids
    assert run.pid in pids


def test_what_a_module_prints_at_import_goes_to_the_service_s_output_and_not_to_children(make: Make) -> None:
    runtime = make({"loud": f"import sys\nsys.stdout.write('loud import')\n{GOOD}"})
    run = runtime.launch("work")
    run.until_gone()
    assert run.text() == ""
    assert "loud import" in runtime.output


PATCHES = f"""
import os, select, signal, socket, time
def broken(*args, **kwargs):
    raise RuntimeError("patched")
os.waitpid = os.waitid = os.wait4 = os.read = os.write = os.fork = os.pipe = os.open = os.close = select.poll = broken
signal.signal = signal.set_wakeup_fd = socket.socket = socket.socketpair = time.monotonic = time.sleep = broken
{GOOD}"""


def test_a_patched_standard_library_does_not_reach_the_keeper(make: Make) -> None:
    """gevent and its like replace functions of `os`, `select` and `signal`: for the child, which asked for it."""
    run = make({"patches": PATCHES}).launch("work")
    assert run.until_told_over()["exitcode"] == 0
    assert run.keeper_log == ""


def test_a_patched_standard_library_does_not_reach_the_launcher(make: Make) -> None:
    runtime = make({"patches": PATCHES})
    assert runtime.launch("work").until_told_over()["exitcode"] == 0
    assert runtime.launch("work").until_told_over()["exitcode"] == 0


def test_modules_of_the_user_win_over_ours(make: Make) -> None:
    """A top-level `app` or `tests` of theirs is theirs."""
    runtime = make({"app": "def mine():\n    return 'mine'\n"})
    assert runtime.launch("app:mine").until_told_over()["result"] == "mine"


# --- what outlives it -----------------------------------------------------------------------------------------------


def test_it_ends_with_the_service_s_connection_and_leaves_its_processes_alone(make: Make, tmp_path: Path) -> None:
    source = "import os, time\ndef wait(path):\n    while not os.path.exists(path): time.sleep(0.01)\n"
    runtime = make({"jobs": source})
    run = runtime.launch("wait", str(tmp_path / "go"))
    run.wait_for_hello()
    spares = [pid for pid in posix.children(runtime.process.pid) if pid != run.keeper_pid]
    runtime.link.close()
    assert runtime.process.wait(10) == 0
    for spare in spares:
        wait_gone(spare)
    assert is_alive(run.pid)
    (tmp_path / "go").touch()
    assert run.until_told_over()["exitcode"] == 0


def test_its_end_takes_nothing_away_from_its_processes(make: Make, tmp_path: Path) -> None:
    """What a module made at import is shared with the children, and no exit handler of the launcher's removes it."""
    source = f"""
import atexit, os, tempfile, time
shared = tempfile.TemporaryDirectory(dir={str(tmp_path)!r})
atexit.register(lambda: open({str(tmp_path / "handled")!r}, "w").close())
def look(path):
    while not os.path.exists(path): time.sleep(0.01)
    return os.path.isdir(shared.name)
"""
    runtime = make({"jobs": source})
    run = runtime.launch("look", str(tmp_path / "go"))
    run.wait_for_hello()
    runtime.link.close()
    assert runtime.process.wait(10) == 0
    assert not (tmp_path / "handled").exists()
    (tmp_path / "go").touch()
    assert run.until_told_over()["result"] is True


def test_a_killed_launcher_harms_no_process_and_leaves_no_spare_behind(make: Make, tmp_path: Path) -> None:
    runtime = make({"jobs": "import time\ndef nap():\n    time.sleep(1000)\n"})
    run = runtime.launch("nap")
    run.wait_for_hello()
    wait_until(lambda: len(posix.children(runtime.process.pid)) == 2, 10, "no spare keeper")
    family = posix.descendants(runtime.process.pid)
    runtime.process.kill()
    runtime.process.wait()
    for pid in family:
        if pid not in (run.pid, run.keeper_pid):
            wait_gone(pid)
    assert is_alive(run.pid)
    run.end("kill")
    assert run.until_told_over()["exitcode"] == -9


def test_a_keeper_that_ends_is_told_with_its_status(make: Make) -> None:
    runtime = make({"jobs": "import time\ndef nap(seconds):\n    time.sleep(seconds)\n"})
    well, killed = runtime.launch("nap", 0), runtime.launch("nap", 1000)
    well.until_gone()
    assert well.keeper_status == 0
    killed.wait_for_hello()
    kill(killed.keeper_pid)
    killed.until_gone()
    assert killed.keeper_status == signal.SIGKILL


def test_a_spare_keeper_that_was_killed_is_replaced(make: Make) -> None:
    runtime = make({"jobs": GOOD})
    for _ in range(3):
        wait_until(lambda: posix.children(runtime.process.pid), 10, "no spare keeper")
        for spare in posix.children(runtime.process.pid):
            kill(spare)
            wait_gone(spare)
        assert runtime.launch("work").until_told_over()["result"] == 1


class Forks:
    """A launcher that forks nothing: its keepers are gone at once, as without a descriptor, until ``is_enough``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self.now, self.is_enough = 0, 1000.0, False
        self.orders: list[socket.socket] = []
        self.launcher = Launcher(socket.socket(), {})
        monkeypatch.setattr(launcher, "monotonic", lambda: self.now)
        monkeypatch.setattr(pristine.os, "waitpid", self.waitpid)
        monkeypatch.setattr(self.launcher, "_fork", self.fork)
        self.ended: list[int] = []

    def fork(self) -> Spare:
        self.count += 1
        ours, theirs = socket.socketpair()
        self.launcher.keepers[self.count] = None
        if self.is_enough:
            self.orders.append(theirs)
        else:
            theirs.close()
            self.ended.append(self.count)
        return Spare(self.count, ours)

    def waitpid(self, *_: int) -> tuple[int, int]:
        return (self.ended.pop(), 70 << 8) if self.ended else (0, 0)

    def turn(self, seconds: float = 0.0) -> None:
        """So much later, what the launcher does when it is woken by the end of a child."""
        self.now += seconds
        self.launcher._reap()
        self.launcher._prepare_spare()

    def close(self) -> None:
        for end in self.orders:
            end.close()
        if self.launcher.spare is not None:
            self.launcher.spare.orders.close()
        self.launcher.link.close()


@pytest.fixture
def forks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Forks]:
    forks = Forks(monkeypatch)
    yield forks
    forks.close()


def test_spare_keepers_that_end_at_once_are_followed_less_and_less_often(forks: Forks) -> None:
    for _ in range(100):
        forks.turn()
    assert forks.count == 1
    waits = []
    for _ in range(8):
        left = forks.launcher._until_spare()
        assert left is not None
        waits.append(round(left / 1000))
        forks.turn(left / 1000)
        forks.turn()
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert forks.count == 9


def test_a_launch_that_was_handed_over_brings_the_next_spare_keeper_at_once(forks: Forks) -> None:
    forks.turn()
    forks.turn()
    forks.is_enough = True
    assert forks.launcher._hand_over(b"launch") == 2
    assert forks.orders[0].recv(10) == b"launch"
    forks.turn()
    assert forks.count == 3
    assert forks.launcher._until_spare() is None


def test_a_launch_whose_keepers_all_end_at_once_is_refused(forks: Forks) -> None:
    with pytest.raises(RuntimeError, match="ended at once"):
        forks.launcher._hand_over(b"launch")
    assert forks.count == launcher.MAX_KEEPERS


def test_a_launcher_that_may_not_fork_does_not_try_without_end(forks: Forks, monkeypatch: pytest.MonkeyPatch) -> None:
    """To see whether its threads end before a fork it forks once: the end of that one wakes it."""

    def refuse() -> Spare:
        forks.count += 1
        raise RuntimeError("the launcher has threads by now")

    monkeypatch.setattr(forks.launcher, "_fork", refuse)
    for _ in range(100):
        forks.turn()
    assert forks.count == 1
    forks.turn(1.0)
    assert forks.count == 2


def test_a_spare_child_that_was_killed_is_replaced(make: Make) -> None:
    runtime = make({"jobs": GOOD})
    launcher = runtime.process.pid
    wait_until(lambda: len(posix.descendants(launcher)) == 2, 10, "no spare child")
    child = posix.descendants(launcher)[1]
    kill(child)
    wait_gone(child)
    assert runtime.launch("work").until_told_over()["result"] == 1


def test_a_spare_child_that_is_stopped_holds_up_no_keeper_that_has_no_use_for_it(make: Make) -> None:
    """A launch too long to be told is one for a child forked anew."""
    runtime = make({"jobs": GOOD})
    wait_until(lambda: len(posix.descendants(runtime.process.pid)) == 2, 10, "no spare child")
    child = posix.descendants(runtime.process.pid)[1]
    os.kill(child, signal.SIGSTOP)
    try:
        assert runtime.launch("work", env={"BIG": "x" * 20_000}).until_told_over()["result"] == 1
        assert not is_alive(child)
    finally:
        if is_alive(child):
            kill(child)


def failing_at(hit: int, call: Callable[..., Any]) -> Callable[..., Any]:
    """``call``, of which one fails."""
    calls = itertools.count(1)

    def counted(*args: Any) -> Any:
        if next(calls) == hit:
            raise OSError(errno.EMFILE, "Too many open files")
        return call(*args)

    return counted


@pytest.mark.parametrize(
    ("module", "name", "hit"),
    [
        *((pristine.os, "pipe", hit) for hit in (1, 2, 3, 4)),
        *((pristine.os, "dup", hit) for hit in (1, 2)),
        (_socket, "socketpair", 1),
        (child, "fork_with_hooks", 1),
    ],
)
def test_a_birth_that_fails_leaves_no_descriptor_behind(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, hit: int
) -> None:
    before = own_descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(module, name, failing_at(hit, getattr(module, name)))
        with pytest.raises(OSError, match="Too many open files"):
            birth.bear([])
    assert own_descriptors() == before


def own_descriptors() -> dict[str, str]:
    """What this process has open, by number; without the folder that is read for it."""
    found = {}
    for fd in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found[fd.name] = str(fd.readlink())
    return found


def test_a_burst_of_launches(make: Make) -> None:
    runtime = make({"jobs": "def number(n):\n    return n\n"})
    runs = [runtime.launch("number", n) for n in range(30)]
    assert [run.until_told_over()["result"] for run in runs] == list(range(30))
    for run in runs:
        run.until_gone()
    assert [stat.state for pid in posix.children(runtime.process.pid) if (stat := posix.stat(pid))].count("Z") == 0


def test_launching_leaks_no_descriptor(make: Make) -> None:
    runtime = make({"jobs": GOOD})

    def descriptors() -> int:
        return len(list(Path(f"/proc/{runtime.process.pid}/fd").iterdir()))

    runtime.launch("work").until_gone()
    wait_until(lambda: posix.children(runtime.process.pid), 10, "no spare keeper")
    before = descriptors()
    for _ in range(10):
        runtime.launch("work").until_gone()
    wait_until(lambda: descriptors() <= before, 10, lambda: f"{descriptors()} instead of {before}")


def test_a_launcher_with_threads_refuses_to_fork_and_says_why(make: Make, tmp_path: Path) -> None:
    """The trial finds none; the thread comes only when the module is imported for good."""
    source = f"""
import threading, time
from pathlib import Path
if Path({str(tmp_path / "once")!r}).exists():
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
Path({str(tmp_path / "once")!r}).touch()
{GOOD}"""
    runtime = make({"sly": source})
    run = runtime.launch("work")
    run.wait(lambda: run.not_forked, "it was not refused")
    assert "threads" in (run.not_forked or "")
    assert run.journal == []


# --- what the runtime is made of ------------------------------------------------------------------------------------


def loaded_files(program: str, *flags: str) -> list[str]:
    """The files of all modules that a fresh interpreter has loaded after ``program``."""
    ask = "import sys, json; print(json.dumps([getattr(m, '__file__', None) for m in list(sys.modules.values())]))"
    ran = subprocess.run(
        [sys.executable, *flags, "-c", f"{program}\n{ask}"],
        cwd=Path(procdeck.__file__).parents[1],
        capture_output=True,
        check=True,
        timeout=60,
    )
    return [file for file in json.loads(ran.stdout) if file]


def test_the_runtime_loads_the_standard_library_alone() -> None:
    own = str(Path(procdeck.__file__).parent)
    paths = sysconfig.get_paths()
    ours = (own, paths["stdlib"], paths["platstdlib"])
    files = loaded_files("import procdeck.keeper, procdeck.launcher", "-S")
    assert any(file.startswith(own) for file in files)
    assert not [file for file in files if not file.startswith(ours) or "site-packages" in file]


def test_the_service_loads_nothing_that_runs_user_code() -> None:
    files = loaded_files("import app.main")
    names = {Path(file).name for file in files if Path(file).parent == Path(procdeck.__file__).parent}
    assert names
    assert not names & {"keeper.py", "child.py", "launcher.py"}
    assert not [file for file in files if "/examples/" in file]
