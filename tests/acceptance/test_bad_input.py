"""Bad input of every kind gets a clear answer, and the service goes on."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.sse import Reader
from tests.reading import problem
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


def count(service: Service) -> int:
    """How many processes there are."""
    return len(service.client.get("/processes", params={"limit": 500}).json()["items"])


# --- launches -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_body_that_does_not_say_that_it_is_json_is_refused(patient: Service, kind: str) -> None:
    answer = patient.client.post("/processes", content=b'{"target": "hostile:say"}', headers={"Content-Type": kind})
    problem(answer, 415)


@pytest.mark.parametrize("body", [b"[]", b"null", b'"hostile:say"', b"1", b""])
def test_a_body_that_is_no_object_is_refused(patient: Service, body: bytes) -> None:
    answer = patient.client.post("/processes", content=body, headers={"Content-Type": "application/json"})
    problem(answer, 422)


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
