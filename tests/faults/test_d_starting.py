"""D: what can't be started is refused with the reason, and what is started is started once."""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.edited import SOURCE, names, reload, served, told, write
from tests.faults.inject import control_group
from tests.faults.invariants import every, hold
from tests.reading import problem
from tests.runtime import is_alive
from tests.service import HOSTILE, JSON, Service
from tests.waiting import wait_until

NOBODY = "01890000-0000-7000-8000-000000000000"
"""An id that no process has."""
MB = 1_000_000


@pytest.fixture(scope="module", autouse=True)
def _well_afterwards(shared: Service) -> Iterator[None]:
    """All of this is asked of one service, which is none the worse for it."""
    pid, before = shared.pid, psutil.Process(shared.pid).memory_info().rss
    yield
    assert shared.pid == pid
    assert "Traceback" not in shared.text()
    assert psutil.Process(pid).memory_info().rss - before < 60 * MB
    hold(shared)


# --- F50 to F53, F56: modules of targets ----------------------------------------------------------------------------

MODULES = {
    "no_import": ("import there_is_no_such_module", "ModuleNotFoundError: No module named 'there_is_no_such_module'"),
    "no_syntax": ("def f(:", "SyntaxError"),
    "no_zero": ("1 / 0", "ZeroDivisionError"),
    "hangs": ("import time\ntime.sleep(1000)", "took longer than 2 s"),
    "exits": ("import sys\nsys.exit(3)", "ended the interpreter"),
    "leaves": ("import os\nos._exit(4)", "exit code 4"),
    "crashes": ("import ctypes\nctypes.string_at(0)", "SIGSEGV"),
    "is_killed": ("import os\nos.kill(os.getpid(), 9)", "SIGKILL"),
}
THREADED = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
SOUND = 'def say():\n    print("sound")\n'
REFUSED = """
from procdeck import target

@target
async def coroutine(): ...

@target
def generator():
    yield 1

@target
async def stream():
    yield 1

@target
class Plain: ...

target(name="not callable")(7)

@target
def fine(): ...
"""


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose target modules are broken, but for two."""
    folder = tmp_path_factory.mktemp("broken")
    sources = {name: source for name, (source, _) in MODULES.items()}
    sources |= {"threaded": THREADED + SOUND, "refused": REFUSED, "sound": SOUND}
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(source)
    service = Service(folder, [folder / f"{name}.py" for name in sources], ["--import-timeout", "2"])
    try:
        yield service.start()
    finally:
        service.close()


@pytest.mark.parametrize("module", MODULES)
def test_f50_f51_a_module_that_cannot_be_imported_is_shown_with_its_error(broken: Service, module: str) -> None:
    entry = broken.client.get(f"/targets/{module}").json()
    assert entry["kind"] == "module"
    assert MODULES[module][1] in entry["error"]
    told = problem(broken.client.post("/processes", json={"target": module}), 422)
    assert MODULES[module][1] in told["detail"]
    problem(broken.client.post("/processes", json={"target": f"{module}:say"}), 422)


def test_f50_the_error_of_a_module_names_the_line_and_nothing_of_ours(broken: Service) -> None:
    error = broken.client.get("/targets/no_zero").json()["error"]
    assert 'no_zero.py", line 1' in error
    assert "launcher.py" not in error
    assert "importlib" not in error


def test_f50_f51_the_other_modules_work(broken: Service) -> None:
    process = broken.launch("sound:say")
    assert broken.join(process)["exitcode"] == 0
    assert broken.log(process) == "sound\n"
    assert broken.client.get("/targets/sound:say").json()["preloaded"] is True


def test_f50_a_broken_edit_is_shown_and_mended_by_the_next(tmp_path: Path) -> None:
    service = served(tmp_path, SOURCE.format(version="one"))
    try:
        gate = tmp_path / "gate"
        running = service.start().launch("jobs:tell_later", str(gate))
        write(tmp_path / "jobs.py", "def tell(:\n")
        wait_until(lambda: names(service) == {"jobs"}, 20, "the change was not noticed")
        entry = service.client.get("/targets/jobs").json()
        assert "SyntaxError" in entry["error"]
        refused = service.client.post("/processes", json={"target": "jobs:tell"})
        assert refused.status_code == 422
        assert told(service, "hostile:whoami")

        gate.touch()
        assert service.join(running)["result"] == "one"
        write(tmp_path / "jobs.py", SOURCE.format(version="two"))
        wait_until(lambda: "jobs:tell" in names(service), 20, "the change was not noticed")
        assert told(service) == "two"
    finally:
        service.close()


GLUTTON = """
hoard = []
while True:
    hoard.append(bytes(range(256)) * 40_000)
"""


@pytest.mark.root
@pytest.mark.usefixtures("needs_root")
def test_f51_a_module_that_eats_all_memory_at_import_is_the_one_that_is_killed(tmp_path: Path) -> None:
    service = served(tmp_path, SOURCE.format(version="one"), watch=False)
    with control_group("memory", limit_in_bytes=400 * MB, swappiness=0) as join_group:
        try:
            pid = service.start().pid
            old = service.launch("hostile:nap")
            join_group(pid)
            write(tmp_path / "jobs.py", GLUTTON)
            assert "SIGKILL" in reload(service)["jobs"]["error"]
            assert told(service, "hostile:whoami")
            write(tmp_path / "jobs.py", SOURCE.format(version="two"))
            assert "jobs:tell" in reload(service)
            assert told(service) == "two"
            assert service.get(old)["state"] == "running"
            assert service.pid == pid
            service.post(old, "kill")
            hold(service)
        finally:
            service.close()


def test_f51_no_import_leaves_a_process_behind(broken: Service) -> None:
    assert len(broken.launcher_pids) == 1


def test_f52_a_module_that_leaves_threads_is_not_preloaded_but_works(broken: Service) -> None:
    entry = broken.client.get("/targets/threaded:say").json()
    assert (entry["preloaded"], entry["error"]) == (False, None)
    assert "1 more thread(s)" in entry["warnings"][0]
    process = broken.launch("threaded:say")
    assert broken.join(process)["exitcode"] == 0
    assert broken.log(process) == "sound\n"


PATCHED = """
import atexit, os, select, signal, socket, time
from pathlib import Path

HERE = Path(__file__).parent

def note(name):
    with (HERE / name).open("a") as file:
        file.write(f"{os.getpid()}\\n")

os.register_at_fork(after_in_child=lambda: note("forked"))
atexit.register(note, "exited")
signal.signal(signal.SIGTERM, lambda *_: note("terminated") or os._exit(9))

def broken(*args, **kwargs):
    raise RuntimeError("patched")

kept = {name: getattr(os, name) for name in ("read", "write", "open", "close")}
os.waitpid = os.waitid = os.wait4 = os.fork = os.pipe = select.poll = broken
signal.set_wakeup_fd = socket.socket = socket.socketpair = time.monotonic = broken

def work(seconds: float = 0.0):
    print("it works")
    time.sleep(seconds)
"""


def test_f53_what_a_module_patches_and_registers_at_import_is_for_its_children_alone(tmp_path: Path) -> None:
    (tmp_path / "patched.py").write_text(PATCHED)
    service = Service(tmp_path, [tmp_path / "patched.py", HOSTILE])
    try:
        service.start()
        works = [service.join(service.launch("patched:work")) for _ in range(3)]
        assert [process["exitcode"] for process in works] == [0, 0, 0]
        assert {service.log(process) for process in works} == {"it works\n"}
        lasting = service.launch("patched:work", 1000.0)
        service.wait_for_log(lasting, "it works")
        service.post(lasting, "terminate")
        # Its handler is not the child's: that has the defaults of a process just started.
        assert service.join(lasting)["exitcode"] == -15
        keepers = {process["detail"]["keeper_pid"] for process in [*works, lasting]}
        noted = {name: {int(pid) for pid in (tmp_path / name).read_text().split()} for name in ("forked",)}
        assert noted["forked"] >= {process["pid"] for process in [*works, lasting]}
        assert not noted["forked"] & {*keepers, *service.launcher_pids, service.pid}
        assert not (tmp_path / "terminated").exists()
        assert all((service.data_dir / "runs" / p["id"] / "keeper.log").read_text() == "" for p in works)
        hold(service)
    finally:
        service.close()


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("coroutine", "async function"),
        ("generator", "generator"),
        ("stream", "async generator"),
        ("Plain", "only functions and subclasses of multiprocessing.Process"),
        ("<int at line 18>", "must be callable, and this int is not"),
    ],
)
def test_f56_what_can_t_be_launched_is_refused_with_the_reason(broken: Service, name: str, word: str) -> None:
    entry = broken.client.get(f"/targets/refused:{name}").json()
    assert word in entry["error"]
    told = problem(broken.client.post("/processes", json={"target": f"refused:{name}"}), 409)
    assert entry["error"] in told["detail"]
    assert broken.join(broken.launch("refused:fine"))["exitcode"] == 0


# --- F54, F55: requests ---------------------------------------------------------------------------------------------


def count(service: Service) -> int:
    """How many processes there are."""
    return len(every(service))


LAUNCHES: list[tuple[JSON, str]] = [
    ({}, "target"),
    ({"target": 7}, "target"),
    ({"target": "hostile:tick"}, "path"),
    ({"target": "hostile:say", "args": ["a", 0, "more"]}, "args"),
    ({"target": "hostile:say", "args": [["no text"]]}, "args[0]"),
    ({"target": "hostile:say", "kwargs": {"code": "three"}}, "code"),
    ({"target": "hostile:say", "kwargs": {"code": 1.5}}, "code"),
    ({"target": "hostile:say", "kwargs": {"code": None}}, "code"),
    ({"target": "hostile:say", "kwargs": {"colour": "red"}}, "colour"),
    ({"target": "hostile:say", "args": ["a"], "kwargs": {"text": "b"}}, "text"),
    ({"target": "hostile:say", "args": "abc"}, "args"),
    ({"target": "hostile:say", "kwargs": []}, "kwargs"),
    ({"target": "hostile:say", "colour": "red"}, "colour"),
    ({"target": "hostile:say", "timeout": -1}, "timeout"),
    ({"target": "hostile:say", "timeout": 0}, "timeout"),
    ({"target": "hostile:say", "grace": 1e12}, "grace"),
    ({"target": "hostile:say", "start_method": "telepathy"}, "start_method"),
    ({"target": "hostile:say", "log_level": "LOUD"}, "log_level"),
    ({"target": "hostile:say", "env": {"A=B": "c"}}, "env"),
    ({"target": "hostile:say", "env": {"A": 1}}, "env"),
    ({"target": "hostile:say", "env": {"A": "\0"}}, "env"),
    ({"target": "hostile:say", "cwd": "a\0b"}, "cwd"),
    ({"target": "hostile:say", "name": ""}, "name"),
    ({"target": "hostile:say", "name": "x" * 201}, "name"),
    ({"target": "hostile:say", "labels": {"a": {"b": "c"}}}, "labels"),
    ({"target": "hostile:say", "start": "perhaps"}, "start"),
]


@pytest.mark.parametrize(("body", "field"), LAUNCHES, ids=lambda value: json.dumps(value)[:60])
def test_f54_a_launch_that_cannot_be_is_refused_by_naming_the_field(shared: Service, body: JSON, field: str) -> None:
    before = count(shared)
    told = problem(shared.client.post("/processes", json=body), 422)
    assert any(field in error["field"] for error in told["errors"]), told["errors"]
    assert count(shared) == before


BODIES = {
    "NaN": b'{"target": "hostile:nap", "args": [NaN]}',
    "Infinity": b'{"target": "hostile:nap", "args": [-Infinity]}',
    "a number beyond floats": b'{"target": "hostile:nap", "args": [1e999]}',
    "a number of 5000 digits": b'{"target": "hostile:nap", "args": [' + b"9" * 5000 + b"]}",
    "a name twice": b'{"target": "hostile:say", "target": "hostile:nap"}',
    "half a surrogate pair": rb'{"target": "hostile:say", "args": ["\ud800"]}',
    "no UTF-8": b'{"target": "hostile:say", "args": ["\xff"]}',
    "cut off": b'{"target": "hostile:say"',
    "not JSON": b"target=hostile:say",
    "100000 levels": b'{"target": "hostile:say", "args": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@pytest.mark.parametrize("name", BODIES)
def test_f54_a_body_that_is_not_sound_json_is_refused(shared: Service, name: str) -> None:
    answer = shared.client.post("/processes", content=BODIES[name], headers={"Content-Type": "application/json"})
    problem(answer, 400)


@pytest.mark.parametrize("path", ["/processes", f"/processes/{NOBODY}/stop", f"/processes/{NOBODY}/signal"])
@pytest.mark.parametrize("chunked", [False, True])
def test_f54_five_megabytes_are_too_large(shared: Service, path: str, chunked: bool) -> None:
    body = b'{"target": "hostile:say", "args": ["' + b"x" * 5_000_000 + b'"]}'
    content: Any = iter([body[at : at + 65536] for at in range(0, len(body), 65536)]) if chunked else body
    try:
        answer = shared.client.post(path, content=content, headers={"Content-Type": "application/json"})
    except httpx.WriteError:
        return  # the refusal came first, and the rest of the body was not wanted
    problem(answer, 413)


def test_f54_a_body_of_100_megabytes_is_not_taken_in(shared: Service) -> None:
    before = psutil.Process(shared.pid).memory_info().rss
    block = b"x" * 2**16
    headers = {"Content-Type": "application/json"}
    for content in (iter([block] * 1600), block * 1600):
        try:
            problem(shared.client.post("/processes", content=content, headers=headers, timeout=60), 413)
        except (httpx.WriteError, httpx.ReadError):
            continue  # hung up on in the middle of it
    assert psutil.Process(shared.pid).memory_info().rss - before < 30 * MB


NAMES = [
    "",
    " ",
    "hostile",
    "hostile:",
    ":say",
    "hostile:nothing",
    "hostile:say.__class__",
    "hostile:__class__.__init__",
    "__class__.__init__",
    "hostile:Path",
    "os:system",
    "builtins:eval",
    "../x",
    "../hostile:say",
    "hostile:../say",
    "/etc/passwd",
    "hostile:say\0",
    "hostile:say\n",
    "hostile:s\u0430y",  # a Cyrillic a
    "hostile:\uff53\uff41\uff59",  # full width, which Python itself takes for the same name
    "hostile:say\u202e",
    "x" * 10_000,
    "hostile:" + "say." * 2_000,
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:40])
def test_f55_a_target_is_found_by_exactly_its_name(shared: Service, name: str) -> None:
    before = count(shared)
    told = problem(shared.client.post("/processes", json={"target": name}), 422)
    assert [error["field"] for error in told["errors"]] == ["target"]
    assert count(shared) == before
    path = "".join(f"%{byte:02x}" for byte in name.encode())
    if name.strip("./ ") and len(path) < 20_000:
        assert shared.client.get(f"/targets/{path}").status_code == 404


# --- F57: the same request, again -----------------------------------------------------------------------------------


def test_f57_an_idempotency_key_belongs_to_its_request(shared: Service) -> None:
    key = {"Idempotency-Key": "the one"}
    first = shared.launch("hostile:say", "a", headers=key)
    told = problem(shared.client.post("/processes", json={"target": "hostile:say", "args": ["b"]}, headers=key), 422)
    assert told["errors"][0]["field"] == "Idempotency-Key"
    assert first["id"] in told["errors"][0]["message"]
    assert shared.launch("hostile:say", "a", headers=key)["id"] == first["id"]
    problem(
        shared.client.post("/processes", json={"target": "hostile:say"}, headers={"Idempotency-Key": "k" * 201}), 422
    )


def test_f57_twenty_requests_at_once_with_one_key_are_one_process(shared: Service, tmp_path: Path) -> None:
    path = tmp_path / "started"
    url, headers = f"{shared.url}/api/v1/processes", {"Authorization": f"Bearer {shared.token}"}

    def ask(number: int) -> httpx.Response:
        body = {"target": "hostile:count", "args": [str(path)]}
        if number % 4 == 3:
            body["args"] = [str(tmp_path / "another")]
        return httpx.post(url, json=body, headers=headers | {"Idempotency-Key": "burst"}, timeout=30)

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(ask, range(20)))
    same = [answer for answer in answers if answer.status_code != 422]
    assert len({answer.json()["id"] for answer in same}) == 1
    assert sorted(answer.status_code for answer in same)[:-1] == [200] * (len(same) - 1)
    assert same[0].json()["id"] in {process["id"] for process in every(shared)}
    ended = shared.join(same[0].json())
    assert ended["exitcode"] == 0
    started = [file for file in (path, tmp_path / "another") if file.exists()]
    assert [len(file.read_text().splitlines()) for file in started] == [1]
    assert len(same) == (15 if started == [path] else 5)


# --- F58: code that is edited ---------------------------------------------------------------------------------------


def test_f58_a_process_tells_the_code_that_it_runs(tmp_path: Path) -> None:
    service = served(tmp_path, SOURCE.format(version="one"), watch=False)
    try:
        gate = tmp_path / "gate"
        old = service.start().launch("jobs:tell_later", str(gate))
        created = service.launch("jobs:tell", start=False)
        launchers = service.launcher_pids
        first = code_of(tmp_path)
        write(tmp_path / "jobs.py", SOURCE.format(version="two") + "\ndef added() -> None: ...\n")
        second = code_of(tmp_path)
        stale = service.launch("jobs:tell")  # not before it is asked for
        assert (service.join(stale)["result"], service.get(stale)["code"]) == ("one", first)
        assert service.client.get("/targets/jobs:tell").json()["fingerprint"] == first

        entries = reload(service)
        assert {entry["fingerprint"] for name, entry in entries.items() if name.startswith("jobs:")} == {second}
        assert "jobs:added" in entries
        fresh = service.join(service.launch("jobs:tell"))
        assert (fresh["result"], fresh["code"]) == ("two", second)
        late = service.post(created, "start")  # created under the old code, started under the new
        assert (service.join(late)["result"], service.get(late)["code"]) == ("two", second)
        anew = service.join(service.launch("jobs:tell", start_method="spawn"))
        assert (anew["result"], anew["code"]) == ("two", None)

        assert (service.get(old)["state"], service.get(old)["code"]) == ("running", first)
        assert "(the target has other code now)" in page_of(service, old)
        assert "(the target has other code now)" not in page_of(service, fresh)
        gate.touch()
        assert service.join(old)["result"] == "one"
        wait_until(lambda: not set(launchers) & set(service.launcher_pids), 5, "the old launcher lives on")
        assert len(service.launcher_pids) == 1
        service.kill()
        service.start()
        assert [service.get(process)["code"] for process in (old, fresh)] == [first, second]
        hold(service)
    finally:
        service.close()


def code_of(folder: Path) -> str:
    """The fingerprint of `jobs` as it is on the disk."""
    return hashlib.sha256((folder / "jobs.py").read_bytes()).hexdigest()


def page_of(service: Service, process: JSON) -> str:
    """The details on the page of a process."""
    headers = {"Authorization": f"Bearer {service.token}", "Accept": "text/html"}
    return httpx.get(f"{service.url}/processes/{process['id']}?tab=details", headers=headers).text


# --- F61: stop before the start -------------------------------------------------------------------------------------


def test_f61_queued_processes_are_cancelled_or_started_in_their_order(tmp_path: Path) -> None:
    service = Service(tmp_path, [HOSTILE], ["--max-processes", "1", "--start-timeout", "1"])
    try:
        first = service.start().launch("hostile:nap")
        second, third = service.launch("hostile:nap"), service.launch("hostile:nap")
        assert [process["state"] for process in (first, second, third)] == ["running", "queued", "queued"]

        cancelled = service.post(second, "terminate", reason="not needed")
        assert (cancelled["state"], cancelled["outcome"], cancelled["exitcode"]) == ("exited", "stopped", None)
        assert cancelled["exit_summary"] == "Cancelled before it was started."
        assert service.transitions(second)[-1]["actor"] == "operator"

        service.post(first, "kill")
        wait_until(lambda: service.get(third)["state"] == "running", 10, "the next in the queue is not started")
        assert service.get(second)["pid"] is None

        last = service.launch("hostile:say")
        service.kill()
        service.start()
        assert service.get(second)["outcome"] == "stopped"
        service.post(third, "kill")
        assert service.join(last)["outcome"] in ("succeeded", "not_started")
    finally:
        service.close()


def test_f61_a_stop_that_meets_the_start_ends_it_for_good(shared: Service) -> None:
    def post(process: JSON, action: str) -> httpx.Response:
        url = f"{shared.url}/api/v1/processes/{process['id']}/{action}"
        body = {"grace": 0} if action == "stop" else None
        return httpx.post(url, json=body, headers={"Authorization": f"Bearer {shared.token}"}, timeout=30)

    ways = set()
    with ThreadPoolExecutor(2) as pool:
        for round_ in range(30):
            process = shared.launch("hostile:nap", start=False)
            actions = ("start", "stop") if round_ % 2 else ("stop", "start")
            asked = {action: pool.submit(post, process, action) for action in actions}
            started, stopped = asked["start"].result(), asked["stop"].result()
            assert started.status_code == 200, started.text
            if stopped.status_code == 409:  # it came first: there was nothing to stop yet
                assert "never started" in stopped.json()["detail"]
                stopped = post(process, "stop")
            assert stopped.status_code == 200, stopped.text
            ended = shared.join(process)
            assert ended["outcome"] == "stopped"
            assert ended["pid"] is None or not is_alive(ended["pid"])
            ways.add(tuple(row["to"] for row in shared.transitions(process)))
    assert {way[-1] for way in ways} == {"exited"}
    assert all(way.count("running") <= 1 for way in ways)
