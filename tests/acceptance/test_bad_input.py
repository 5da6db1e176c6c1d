"""Bad input of every kind gets a clear answer, and the service goes on."""

import json
import os
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.sse import Reader
from tests.service import HOSTILE, JSON, Service
from tests.waiting import wait_until

NOBODY = "01890000-0000-7000-8000-000000000000"
"""An id that no process has."""


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service that has to put up with all of it, and is well afterwards."""
    service = Service(tmp_path_factory.mktemp("patient"), [HOSTILE])
    try:
        service.start()
        pid = service.pid
        yield service
        assert service.join(service.launch("hostile:say"))["exitcode"] == 0
        assert service.pid == pid
        assert "Traceback" not in service.text()
    finally:
        service.close()


def problem(answer: httpx.Response, status: int) -> JSON:
    """The problem details of an answer."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told: JSON = answer.json()
    assert told["status"] == status
    assert told["title"]
    assert told["detail"]
    return told


def count(service: Service) -> int:
    """How many processes there are."""
    return len(service.client.get("/processes", params={"limit": 500}).json()["items"])


# --- launches -------------------------------------------------------------------------------------------------------

LAUNCHES: list[tuple[JSON, str]] = [
    ({}, "target"),
    ({"target": "hostile:nothing"}, "target"),
    ({"target": ""}, "target"),
    ({"target": "x" * 10_000}, "target"),
    ({"target": "os:system", "args": ["true"]}, "target"),
    ({"target": "hostile:say.__class__"}, "target"),
    ({"target": "../hostile:say"}, "target"),
    ({"target": "hostile:s\u0430y"}, "target"),
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
def test_a_launch_that_cannot_be_is_refused_by_naming_the_field(patient: Service, body: JSON, field: str) -> None:
    before = count(patient)
    told = problem(patient.client.post("/processes", json=body), 422)
    assert any(field in error["field"] for error in told["errors"]), told["errors"]
    assert count(patient) == before


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
def test_a_body_that_is_not_sound_json_is_refused(patient: Service, name: str) -> None:
    answer = patient.client.post("/processes", content=BODIES[name], headers={"Content-Type": "application/json"})
    problem(answer, 400)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_body_that_does_not_say_that_it_is_json_is_refused(patient: Service, kind: str) -> None:
    answer = patient.client.post("/processes", content=b'{"target": "hostile:say"}', headers={"Content-Type": kind})
    problem(answer, 415)


@pytest.mark.parametrize("body", [b"[]", b"null", b'"hostile:say"', b"1", b""])
def test_a_body_that_is_no_object_is_refused(patient: Service, body: bytes) -> None:
    answer = patient.client.post("/processes", content=body, headers={"Content-Type": "application/json"})
    problem(answer, 422)


@pytest.mark.parametrize("path", ["/processes", f"/processes/{NOBODY}/stop", f"/processes/{NOBODY}/signal"])
@pytest.mark.parametrize("chunked", [False, True])
def test_five_megabytes_are_too_large(patient: Service, path: str, chunked: bool) -> None:
    body = b'{"target": "hostile:say", "args": ["' + b"x" * 5_000_000 + b'"]}'
    content: Any = iter([body[at : at + 65536] for at in range(0, len(body), 65536)]) if chunked else body
    try:
        answer = patient.client.post(path, content=content, headers={"Content-Type": "application/json"})
    except httpx.WriteError:
        return  # the refusal came first, and the rest of the body was not wanted
    problem(answer, 413)


def test_an_idempotency_key_belongs_to_its_request(patient: Service) -> None:
    key = {"Idempotency-Key": "the one"}
    first = patient.launch("hostile:say", "a", headers=key)
    told = problem(patient.client.post("/processes", json={"target": "hostile:say", "args": ["b"]}, headers=key), 422)
    assert told["errors"][0]["field"] == "Idempotency-Key"
    assert first["id"] in told["errors"][0]["message"]
    assert patient.launch("hostile:say", "a", headers=key)["id"] == first["id"]
    problem(
        patient.client.post("/processes", json={"target": "hostile:say"}, headers={"Idempotency-Key": "k" * 201}), 422
    )


# --- processes and streams ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id_", [NOBODY, "nonsense", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "a%00b", "%ff"])
@pytest.mark.parametrize(
    ("method", "rest"),
    [
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/transitions"),
        ("GET", "/log"),
        ("GET", "/log/stream"),
        ("POST", "/start"),
        ("POST", "/join?timeout=1"),
        ("POST", "/stop"),
        ("POST", "/terminate"),
        ("POST", "/kill"),
        ("POST", "/interrupt"),
        ("POST", "/relaunch"),
    ],
)
def test_a_process_that_there_is_not(patient: Service, method: str, rest: str, id_: str) -> None:
    problem(patient.client.request(method, f"/processes/{id_}{rest}"), 404)


def test_what_the_state_does_not_allow(patient: Service) -> None:
    created = patient.launch("hostile:nap", start=False)
    running = patient.launch("hostile:nap")
    over = patient.join(patient.launch("hostile:say"))

    def post(process: JSON, action: str, **body: object) -> httpx.Response:
        return patient.client.post(f"/processes/{process['id']}/{action}", json=body or None)

    for action in ("join", "stop", "terminate", "kill", "interrupt"):
        assert "never started" in problem(post(created, action), 409)["detail"]
    for action in ("stop", "terminate", "kill", "interrupt"):
        assert "over already" in problem(post(over, action), 409)["detail"]
    for process in (running, over):
        problem(post(process, "start"), 409)
    for process in (created, over):
        problem(post(process, "signal", signal="SIGUSR1"), 409)
    problem(patient.client.delete(f"/processes/{running['id']}"), 409)
    assert post(over, "join").status_code == 200

    patient.post(running, "kill")
    patient.join(running)
    for process in (created, running, over):
        assert patient.client.delete(f"/processes/{process['id']}").status_code == 204
        problem(patient.client.get(f"/processes/{process['id']}"), 404)


@pytest.mark.parametrize(
    "body",
    [{"signal": "SIGNOTHING"}, {"signal": "USR1"}, {"signal": 10}, {"signal": "SIGUSR1", "tree": "yes?"}, {}],
    ids=json.dumps,
)
def test_a_signal_that_there_is_not(patient: Service, body: JSON) -> None:
    process = patient.launch("hostile:nap")
    problem(patient.client.post(f"/processes/{process['id']}/signal", json=body), 422)
    patient.post(process, "kill")


@pytest.mark.parametrize(
    "query",
    [
        "/processes?cursor=nonsense",
        "/processes?cursor=%00",
        "/processes?limit=0",
        "/processes?limit=501",
        "/processes?limit=many",
        "/processes?state=asleep",
        "/processes?outcome=fine",
    ],
)
def test_a_bad_query(patient: Service, query: str) -> None:
    problem(patient.client.get(query), 422)


@pytest.mark.parametrize(
    "query", ["tail=-1", "after=-1", "after=9223372036854775808", "stream=stdin", "format=xml", "follow=2"]
)
def test_a_bad_question_about_a_log(patient: Service, query: str) -> None:
    process = patient.join(patient.launch("hostile:say"))
    problem(patient.client.get(f"/processes/{process['id']}/log?{query}"), 422)


@pytest.mark.parametrize("timeout", ["-1", "nan", "inf", "soon"])
def test_a_bad_time_to_wait(patient: Service, timeout: str) -> None:
    process = patient.join(patient.launch("hostile:say"))
    problem(patient.client.post(f"/processes/{process['id']}/join", params={"timeout": timeout}), 422)


@pytest.mark.parametrize("last", ["garbage", "-5", "1.5", "9" * 17, "9" * 400])
def test_a_last_event_id_that_is_none_of_ours(patient: Service, last: str) -> None:
    reader = Reader(patient, "/events", last)
    reader.wait_for("reset")
    patient.join(patient.launch("hostile:say"))
    reader.wait_for("process")


@pytest.mark.parametrize("last", ["garbage", "-5", "9" * 17, "9" * 400])
def test_a_last_event_id_that_no_log_has(patient: Service, last: str) -> None:
    process = patient.join(patient.launch("hostile:say"))
    assert Reader(patient, f"/processes/{process['id']}/log/stream", last).join()[-1].name == "end"


# --- target modules -------------------------------------------------------------------------------------------------

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
def test_a_module_that_cannot_be_imported_is_shown_with_its_error(broken: Service, module: str) -> None:
    entry = broken.client.get(f"/targets/{module}").json()
    assert entry["kind"] == "module"
    assert MODULES[module][1] in entry["error"]
    told = problem(broken.client.post("/processes", json={"target": module}), 422)
    assert MODULES[module][1] in told["detail"]
    problem(broken.client.post("/processes", json={"target": f"{module}:say"}), 422)


def test_the_error_of_a_module_names_the_line_and_nothing_of_ours(broken: Service) -> None:
    error = broken.client.get("/targets/no_zero").json()["error"]
    assert 'no_zero.py", line 1' in error
    assert "launcher.py" not in error
    assert "importlib" not in error


def test_the_other_modules_work(broken: Service) -> None:
    process = broken.launch("sound:say")
    assert broken.join(process)["exitcode"] == 0
    assert broken.log(process) == "sound\n"
    assert broken.client.get("/targets/sound:say").json()["preloaded"] is True


def test_a_module_that_leaves_threads_is_not_preloaded_but_works(broken: Service) -> None:
    entry = broken.client.get("/targets/threaded:say").json()
    assert (entry["preloaded"], entry["error"]) == (False, None)
    assert "1 more thread(s)" in entry["warnings"][0]
    process = broken.launch("threaded:say")
    assert broken.join(process)["exitcode"] == 0
    assert broken.log(process) == "sound\n"


@pytest.mark.parametrize(("name", "word"), [("coroutine", "async"), ("generator", "generator"), ("stream", "async")])
def test_coroutines_and_generators_are_refused_with_the_reason(broken: Service, name: str, word: str) -> None:
    entry = broken.client.get(f"/targets/refused:{name}").json()
    assert word in entry["error"]
    told = problem(broken.client.post("/processes", json={"target": f"refused:{name}"}), 409)
    assert entry["error"] in told["detail"]
    assert broken.join(broken.launch("refused:fine"))["exitcode"] == 0


def test_no_import_leaves_a_process_behind(broken: Service) -> None:
    assert len(broken.launcher_pids) == 1


# --- starting the service -------------------------------------------------------------------------------------------


def refused(service: Service, code: int, *words: str) -> None:
    """The service refuses to start, in a sentence."""
    found, said = service.refusal()
    assert found == code, said
    assert "Traceback" not in said
    for word in words:
        assert word in said


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused(Service(tmp_path, [HOSTILE], ["--port", str(port)]), os.EX_UNAVAILABLE, str(port), "already in use")


def test_a_data_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    refused(Service(tmp_path, [HOSTILE]), os.EX_CANTCREAT, str(tmp_path / "data"))


@pytest.mark.parametrize(
    ("name", "code"),
    [("runs", os.EX_CANTCREAT), ("token", os.EX_CANTCREAT), ("runtime/procdeck", os.EX_CANTCREAT), ("procdeck.db", 1)],
)
def test_a_data_folder_with_something_else_in_place_of_ours(tmp_path: Path, name: str, code: int) -> None:
    service = Service(tmp_path, [HOSTILE])
    path = service.data_dir / name
    path.parent.mkdir(parents=True)
    if name == "runs":
        path.write_text("")
    else:
        path.mkdir()
        (path / "file").write_text("")
    refused(service, code, str(service.data_dir))


def test_a_data_folder_that_may_not_be_written(tmp_path: Path) -> None:
    service = Service(tmp_path, [HOSTILE])
    service.data_dir = Path("/proc/procdeck-data")  # where not even root can make a folder
    refused(service, os.EX_CANTCREAT, "/proc/procdeck-data")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[server\n", ["not valid TOML", "line 1"]),
        ("[server]\nprot = 8000\n", ["prot", "did you mean port?"]),
        ('[server]\nport = "8000"\n', ["port", "whole number"]),
        ("[server]\nport = 70000\n", ["port", "at most 65535"]),
        ('[server]\non_exit = "explode"\n', ["on_exit", "wait, leave, terminate"]),
        ('[server]\nhost = "0.0.0.0"\n', ["0.0.0.0", "allowed-hosts"]),
        ("[servers]\n", ["servers", "server"]),
        ("[commands.x]\n", ["[commands.x] run"]),
        ('[environments.x]\npythn = "python3"\n', ["pythn", "did you mean python?"]),
    ],
)
def test_a_bad_configuration(tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "procdeck.toml").write_text(text)
    refused(Service(tmp_path, [HOSTILE]), os.EX_CONFIG, "procdeck.toml", *words)


def test_a_configuration_that_there_is_not(tmp_path: Path) -> None:
    refused(Service(tmp_path, [HOSTILE], ["--config", "elsewhere.toml"]), os.EX_CONFIG, "elsewhere.toml")


def test_a_database_of_a_newer_version_is_left_alone(hostile: Service) -> None:
    process = hostile.join(hostile.launch("hostile:say"))
    hostile.stop()
    file = hostile.data_dir / "procdeck.db"
    with sqlite3.connect(file) as connection:
        (version,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    before = file.read_bytes()
    refused(hostile, os.EX_DATAERR, "9999", "newer")
    assert file.read_bytes() == before

    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))
    connection.close()
    assert hostile.start().get(process)["exitcode"] == 0


def test_a_file_that_is_no_database_is_refused_by_name(hostile: Service) -> None:
    hostile.stop()
    file = hostile.data_dir / "procdeck.db"
    file.write_bytes(b"garbage" * 1000)
    refused(hostile, 1, "procdeck.db", "file is not a database")
    assert file.read_bytes() == b"garbage" * 1000


def test_an_interpreter_that_there_is_not(tmp_path: Path) -> None:
    """The service comes up and says so; what else it has can be launched."""
    (tmp_path / "procdeck.toml").write_text(
        '[environments.gone]\npython = "/no/such/python"\ntargets = ["elsewhere"]\n'
        '[commands.hello]\nrun = ["echo", "hello"]\n'
    )
    service = Service(tmp_path, [HOSTILE])
    try:
        service.start(ready=False)
        wait_until(lambda: service.client.get("/targets/hostile:say").status_code == 200, 20, service.text)
        assert service.join(service.launch("hostile:say"))["exitcode"] == 0
        assert service.join(service.launch("hello"))["exitcode"] == 0
        entry = service.client.get("/targets/elsewhere").json()
        assert "/no/such/python can't be run" in entry["error"]
        answer = httpx.get(f"{service.url}/readyz")
        assert answer.status_code == 503
        assert "gone" in answer.text
    finally:
        service.close()


def test_a_command_that_cannot_be_run(tmp_path: Path) -> None:
    (tmp_path / "procdeck.toml").write_text('[commands.gone]\nrun = ["/no/such/program"]\n')
    service = Service(tmp_path, [HOSTILE])
    try:
        process = service.start().launch("gone")
        ended = service.join(process)
        assert ended["exitcode"] != 0
        assert "/no/such/program" in ended["exit_summary"] + service.log(process)
    finally:
        service.close()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_folder_to_work_in_that_there_is_not(patient: Service, method: str) -> None:
    ended = patient.join(patient.launch("hostile:say", cwd="/no/such/folder", start_method=method))
    assert ended["outcome"] in ("failed", "not_started")
    assert "/no/such/folder" in ended["exit_summary"]
