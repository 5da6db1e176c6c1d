"""The command line as people and scripts use it, against a real service."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.cli import codes
from procdeck import posix, run_folder
from tests.service import COMMAND, HOSTILE, Service
from tests.waiting import wait_until

JSON = dict[str, Any]

SECONDS = 60.0

# What is written, byte for byte: an unfinished line, both streams, and bytes that are no text.
WRITER = """
import os

def write():
    os.write(1, b"name? ")
    os.write(2, b"careful\\n")
    os.write(1, b"Bob\\n  two  \\n\\n")
    os.write(1, b"raw \\xff\\r\\n")
    os.write(1, b"no newline")
"""
WRITTEN = (b"name? Bob\n  two  \n\nraw \xff\r\nno newline", b"careful\n")


@pytest.fixture
def targets(tmp_path: Path) -> Iterator[Service]:
    """A service with `hostile` and with a target that writes bytes."""
    (tmp_path / "writer.py").write_text(WRITER)
    service = Service(tmp_path, [HOSTILE, tmp_path / "writer.py"])
    try:
        yield service.start()
    finally:
        service.close()


class Done(subprocess.CompletedProcess[bytes]):
    """A command that has ended."""

    @property
    def text(self) -> str:
        return self.stdout.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)

    @property
    def errors(self) -> str:
        return self.stderr.decode()


def environment(more: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PROCDECK_")} | dict(more)


def begin(service: Service, *words: str, variables: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start `procdeck WORDS` on the data folder of `service`."""
    at = words.index("--") if "--" in words else len(words)
    command = [str(COMMAND), *words[:at], "--data-dir", str(service.data_dir), *words[at:]]
    return subprocess.Popen(
        command,
        cwd=service.folder,
        env=environment(variables or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,  # `communicate` would not see what a `readline` before it took into a buffer
    )


def finished(command: subprocess.Popen[bytes]) -> Done:
    """Wait for its end."""
    try:
        out, err = command.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        command.kill()
        out, err = command.communicate()
        raise AssertionError(f"{command.args!r} does not end; so far:\n{out!r}\n{err!r}") from None
    return Done(command.args, command.returncode, out, err)


def procdeck(service: Service, *words: str, code: int = 0, variables: Mapping[str, str] | None = None) -> Done:
    """Run `procdeck WORDS` to its end, which must have this exit code."""
    done = finished(begin(service, *words, variables=variables))
    assert done.returncode == code, (done.text, done.errors)
    return done


def launched(service: Service, *words: str) -> JSON:
    """`procdeck run WORDS`; the process."""
    [process_id] = procdeck(service, "run", *words).text.split()
    return service.get({"id": process_id})


def gone(pid: int) -> bool:
    stat = posix.stat(pid)
    return stat is None or stat.state == "Z"


# --- run ---------------------------------------------------------------------------------------------------------


def test_run_follow_ends_with_the_code_of_the_process(hostile: Service) -> None:
    assert procdeck(hostile, "run", "hostile:say", "good morning", "--follow").stdout == b"good morning\n"
    assert procdeck(hostile, "run", "-f", "hostile:say", "x", "code=1", code=1).stdout == b"x\n"
    assert "SystemExit" not in procdeck(hostile, "run", "-f", "hostile:say", "x", "255", code=255).errors


def test_run_follow_ends_with_128_and_the_number_of_the_signal(hostile: Service) -> None:
    following = begin(hostile, "run", "-f", "hostile:nap", "--name", "sleeper")
    wait_until(lambda: names(hostile) == ["sleeper"], SECONDS, "it is not running")
    procdeck(hostile, "terminate", "sleeper", "--reason", "enough of it")
    done = finished(following)
    assert (done.returncode, done.stdout) == (143, b"")
    assert "(enough of it)" in done.errors


def names(service: Service) -> list[str]:
    return [process["name"] for process in procdeck(service, "ps", "--state", "running", "--json").json]


@pytest.mark.parametrize("follow", [True, False])
def test_output_arrives_as_it_was_written(targets: Service, follow: bool) -> None:
    process = targets.launch("writer:write")
    targets.join(process)
    done = procdeck(targets, "logs", process["name"], *(["--follow"] if follow else []))
    # The stream of events is text: only there a byte that is no text becomes U+FFFD.
    expected = WRITTEN[0].replace(b"\xff", "\ufffd".encode()) if follow else WRITTEN[0]
    assert (done.stdout, done.stderr) == (expected, WRITTEN[1])


def test_words_become_arguments_by_the_signature(hostile: Service) -> None:
    process = launched(
        hostile, "hostile:say", "007", "code=0", "--label", "team=a", "--name", "bond", "--timeout", "60"
    )
    kept = {name: process[name] for name in ("args", "kwargs", "name", "labels", "timeout")}
    assert kept == {"args": ["007"], "kwargs": {"code": 0}, "name": "bond", "labels": {"team": "a"}, "timeout": 60.0}
    process = launched(hostile, "hostile:say", "--kwarg", "code=0", "--", "--help")
    assert (process["args"], process["kwargs"]) == (["--help"], {"code": 0})


def test_what_does_not_fit_is_told_by_field(hostile: Service) -> None:
    done = procdeck(hostile, "run", "hostile:say", "x", "code=many", "--follow", code=codes.REFUSED)
    assert "error: Invalid values: " in done.errors
    assert "kwargs.code: must be an integer" in done.errors
    assert "error: Not found: There is no target 'no:such'." in procdeck(hostile, "run", "no:such", code=65).errors
    assert procdeck(hostile, "ps", "--all", "--json").json == []


def test_created_is_not_started_and_can_be(hostile: Service) -> None:
    process = launched(hostile, "hostile:say", "--no-start")
    assert process["state"] == "created"
    assert "never started" in procdeck(hostile, "join", process["name"], code=codes.REFUSED).errors
    procdeck(hostile, "start", process["name"])
    procdeck(hostile, "join", process["name"])
    again = procdeck(hostile, "relaunch", process["name"], "--json").json
    assert again["origin_id"] == process["id"]


def test_following_goes_on_where_it_was_when_the_service_comes_back(hostile: Service, tmp_path: Path) -> None:
    truth, gate = tmp_path / "truth", tmp_path / "gate"
    following = begin(hostile, "run", "-f", "hostile:tick_until", str(truth), str(gate), "0.01", "5")
    wait_until(lambda: truth.exists() and truth.read_text().count("\n") > 20, SECONDS, "nothing is written")
    hostile.kill()
    seen = truth.read_text().count("\n")
    wait_until(lambda: truth.read_text().count("\n") > seen + 20, SECONDS, "the process has not gone on")
    hostile.start()
    gate.touch()
    done = finished(following)
    assert done.text == truth.read_text()
    assert done.returncode == 5
    assert "waiting for it to come back" in done.errors


def test_ctrl_c_ends_the_following_and_not_the_process(hostile: Service) -> None:
    following = begin(hostile, "run", "-f", "hostile:until_stopped")
    assert following.stdout is not None
    assert following.stdout.readline() == b"waiting\n"
    following.send_signal(signal.SIGINT)
    done = finished(following)
    assert done.returncode == codes.INTERRUPTED
    assert "1 (Process-1) goes on" in done.errors
    assert re.fullmatch(r"1 \(Process-1\): stopp(ing|ed)\n", procdeck(hostile, "stop", "1").text)
    assert procdeck(hostile, "join", "1").stderr == b""


# --- logs and join -----------------------------------------------------------------------------------------------


def test_logs_follow_until_the_end(hostile: Service, tmp_path: Path) -> None:
    truth, gate = tmp_path / "truth", tmp_path / "gate"
    process = hostile.launch("hostile:tick_until", str(truth), str(gate))
    following = begin(hostile, "logs", "--follow", process["id"][-12:])
    assert following.stdout is not None
    first = following.stdout.readline()
    gate.touch()
    done = finished(following)
    assert (first + done.stdout).decode() == truth.read_text()
    assert done.returncode == 0


def test_logs_show_the_last_lines_one_stream_and_times(hostile: Service) -> None:
    process = launched(hostile, "hostile:say", "a\nb\nc")
    hostile.join(process)
    assert procdeck(hostile, "logs", "1", "--tail", "2").text == "b\nc\n"
    assert procdeck(hostile, "logs", "1", "-f", "--tail", "1").text == "c\n"
    assert procdeck(hostile, "logs", "1", "--stream", "stderr").text == ""
    stamped = procdeck(hostile, "logs", "1", "--times", "--tail", "1").text
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z c\n", stamped)
    [record] = procdeck(hostile, "logs", "1", "--json", "--tail", "1").text.splitlines()
    assert json.loads(record) | {"time": ""} == {"time": "", "stream": "stdout", "partial": False, "text": "c"}


def test_join_ends_with_the_code_or_with_that_of_timeout(hostile: Service) -> None:
    process = launched(hostile, "hostile:nap")
    done = procdeck(hostile, "join", process["name"], "--timeout", "0.2", "--json", code=codes.TIME_UP)
    assert done.json["is_alive"]
    assert "is still running after 0.2 s" in done.errors
    assert procdeck(hostile, "kill", process["name"], "--json").json[0]["id"] == process["id"]
    assert "Killed (SIGKILL) by operator at " in procdeck(hostile, "join", process["name"], code=137).errors


# --- looking and naming ------------------------------------------------------------------------------------------


def test_ps_lists_what_lives_and_all_on_request(hostile: Service) -> None:
    over, living = (
        launched(hostile, "hostile:say", "x"),
        launched(hostile, "hostile:nap", "--name", "bed \x1b[31m"),
    )
    hostile.join(over)
    assert [process["id"] for process in procdeck(hostile, "ps", "--json").json] == [living["id"]]
    everything = procdeck(hostile, "ps", "--all", "--json").json
    assert [process["id"] for process in everything] == [living["id"], over["id"]]
    assert everything[1] == hostile.get(over)
    assert [process["id"] for process in procdeck(hostile, "ps", "--state", "exited", "--json").json] == [over["id"]]
    by_search = procdeck(hostile, "ps", "--search", f"is:over {over['number']}", "--json").json
    assert [process["id"] for process in by_search] == [over["id"]]
    assert "“stat:”" in procdeck(hostile, "ps", "--search", "stat:failed", code=codes.REFUSED).errors
    shown = procdeck(hostile, "ps", "-a").text
    assert re.search(rf"2 +bed \\x1b\[31m +running +{living['pid']} .* hostile:nap\(\)", shown)
    assert re.search(r'1 +Process-1 +succeeded +0 .* hostile:say\("x"\)', shown)


def test_every_way_to_name_a_process(hostile: Service) -> None:
    process = launched(hostile, "hostile:nap", "--name", "sleeper")
    for word in (process["id"], "1", "#1", "sleeper", process["id"][:13], process["id"][-8:]):
        assert procdeck(hostile, "show", word, "--json").json["id"] == process["id"]
    assert "there is no process 'nobody'" in procdeck(hostile, "show", "nobody", code=codes.REFUSED).errors
    hostile.launch("hostile:nap", name="sleeper")
    assert "may be any of 2 (sleeper), 1 (sleeper)" in procdeck(hostile, "kill", "sleeper", code=codes.REFUSED).errors
    shown = procdeck(hostile, "show", "1").text
    assert "hostile:nap()" in shown
    assert "running" in shown


def test_signals_are_sent_and_one_refusal_does_not_keep_from_the_rest(hostile: Service) -> None:
    process = launched(hostile, "hostile:nap")
    procdeck(hostile, "signal", process["name"], "usr1")
    procdeck(hostile, "join", process["name"], code=128 + signal.SIGUSR1)
    launched(hostile, "hostile:nap")
    done = procdeck(hostile, "interrupt", "1", "9", "2", code=codes.REFUSED)
    assert re.fullmatch(r"2 \(Process-2\): stopp(ing|ed)\n", done.text)  # it may be over by then
    assert "error: 1: Conflict: Process-1 is over already" in done.errors
    assert "error: 9: there is no process" in done.errors
    procdeck(hostile, "join", "2", code=1)
    assert procdeck(hostile, "rm", "1", "2").text == "1 (Process-1): removed\n2 (Process-2): removed\n"
    assert procdeck(hostile, "ps", "-a", "--json").json == []


def test_targets_are_listed_and_login_gives_a_link(hostile: Service) -> None:
    listed = {entry["name"] for entry in procdeck(hostile, "targets", "--json").json}
    assert {"hostile:say", "hostile:nap"} <= listed
    assert "hostile:say" in procdeck(hostile, "targets", "--reload").text
    link = procdeck(hostile, "login").text.strip()
    assert link.startswith(f"{hostile.url}/login?code=")
    assert httpx.get(link).status_code == 200


# --- finding the service -----------------------------------------------------------------------------------------


def test_without_a_service_it_says_so_and_how_to_start_one(tmp_path: Path) -> None:
    done = procdeck(Service(tmp_path), "ps", code=codes.NO_SERVICE)
    assert f"no service runs on the data folder {tmp_path / 'data'}" in done.errors
    assert "procdeck serve" in done.errors
    assert not (tmp_path / "data").exists()


def test_an_address_and_a_token_are_enough(hostile: Service, tmp_path: Path) -> None:
    elsewhere = Service(tmp_path / "elsewhere")
    elsewhere.folder.mkdir()
    by_variable = {"PROCDECK_URL": hostile.url, "PROCDECK_TOKEN": hostile.token}
    assert procdeck(elsewhere, "ps", "--json", variables=by_variable).json == []
    refused = procdeck(elsewhere, "ps", "--url", hostile.url, "--token", "wrong", code=codes.NOT_ALLOWED)
    assert "error: Not signed in: " in refused.errors
    procdeck(elsewhere, "ps", "--url", hostile.url, code=codes.NOT_ALLOWED)
    nobody = procdeck(elsewhere, "ps", "--url", "http://127.0.0.1:1", code=codes.NO_SERVICE)
    assert nobody.errors == "error: no service answers at http://127.0.0.1:1: Connection refused\n"


def test_what_keeps_the_service_from_starting_is_told_without_a_traceback(hostile: Service) -> None:
    in_use = procdeck(hostile, "serve", "--port", "0", code=os.EX_TEMPFAIL)
    assert in_use.errors.startswith("error: the data folder ")
    port = hostile.url.rpartition(":")[2]
    elsewhere = Service(hostile.folder / "elsewhere")
    elsewhere.folder.mkdir()
    assert "can't listen on" in procdeck(elsewhere, "serve", "--port", port, code=os.EX_UNAVAILABLE).errors
    assert "error: --port: must be" in procdeck(elsewhere, "serve", "--port", "http", code=os.EX_CONFIG).errors
    procdeck(elsewhere, "serve", "--no-such-flag", code=codes.USAGE)


def test_a_short_command_does_not_import_the_service(hostile: Service) -> None:
    done = procdeck(hostile, "ps", variables={"PYTHONPROFILEIMPORTTIME": "1"})
    imported = {line.rpartition("|")[2].strip() for line in done.errors.splitlines()}
    assert "app.cli.processes" in imported
    assert imported.isdisjoint({"fastapi", "sqlalchemy", "sqlmodel", "uvicorn", "jinja2", "httpx"})


# --- stop --all --------------------------------------------------------------------------------------------------


def test_stop_all_ends_everything_through_the_service(hostile: Service) -> None:
    processes = [hostile.launch(f"hostile:{name}") for name in ("nap", "until_stopped", "deaf")]
    family = hostile.launch("hostile:family", 7, True)
    hostile.wait_for_log(family, "grandchild")
    grandchild = int(hostile.log(family).split()[1])
    hostile.wait_for_log(processes[2], "deaf")
    told = procdeck(hostile, "stop", "--all", "--grace", "0.5", "--json").json
    assert {process["id"] for process in told} == {process["id"] for process in [*processes, family]}
    assert {process["outcome"] for process in told} == {"stopped"}
    assert gone(grandchild)
    assert procdeck(hostile, "stop", "--all").text == "no process was alive\n"
    procdeck(hostile, "stop", code=codes.USAGE)
    procdeck(hostile, "stop", "1", "--all", code=codes.USAGE)


def test_stop_all_ends_everything_without_a_service(hostile: Service) -> None:
    over = hostile.join(hostile.launch("hostile:say"))
    processes = [hostile.launch(f"hostile:{name}") for name in ("nap", "until_stopped", "deaf")]
    family = hostile.launch("hostile:family", 7, True)
    hostile.wait_for_log(family, "grandchild")
    for process, text in zip(processes[1:], ("waiting", "deaf"), strict=True):
        hostile.wait_for_log(process, text)
    hostile.kill()
    done = procdeck(hostile, "stop", "--all", "--grace", "0.5", "--reason", "moving house", "--json")
    assert hostile.tree_pids() == []
    told = {process["id"]: process for process in done.json}
    assert told.keys() == {process["id"] for process in [*processes, family]}
    assert {process["outcome"] for process in done.json} == {"stopped"}
    assert [told[process["id"]]["exitcode"] for process in processes] == [-15, 0, -9]
    assert "no service runs on" in done.errors
    assert "no process was alive" in procdeck(hostile, "stop", "--all").text
    hostile.start()
    for process in [*processes, family]:
        now = hostile.get(process)
        assert now["outcome"] == "stopped"
        assert now["exit_summary"] == told[process["id"]]["exit_summary"]
        assert "stop by cli:" in now["exit_summary"]
        assert "(moving house)" in now["exit_summary"]
    assert hostile.get(over) | {"disk_bytes": None} == over | {"disk_bytes": None}  # measured when there is time


def test_stop_all_ends_what_a_killed_keeper_left_and_calls_it_lost(hostile: Service) -> None:
    lost_before, lost_now = hostile.launch("hostile:nap"), hostile.launch("hostile:family", 7, True)
    hostile.wait_for_log(lost_now, "grandchild")
    grandchild = int(hostile.log(lost_now).split()[1])
    kill_keeper(hostile, lost_before)
    assert hostile.join(lost_before)["outcome"] == "lost"
    hostile.kill()
    kill_keeper(hostile, lost_now)
    done = procdeck(hostile, "stop", "--all", "--json")
    assert [(process["id"], process["state"]) for process in done.json] == [(lost_now["id"], "lost")]
    assert gone(grandchild)
    hostile.start()
    assert hostile.join(lost_now)["outcome"] == "lost"


def kill_keeper(service: Service, process: JSON) -> None:
    folder = str(service.data_dir / "runs" / process["id"])
    os.kill(run_folder.read_journal(folder).entries[0]["data"]["keeper_pid"], signal.SIGKILL)
    wait_until(lambda: not run_folder.is_kept(folder), SECONDS, "the keeper lives")


def test_stop_all_says_who_is_still_alive(hostile: Service) -> None:
    """A keeper that is stopped by a signal neither calls nor ends anything."""
    process = hostile.launch("hostile:nap", grace=0)
    pid = process["detail"]["keeper_pid"]
    os.kill(pid, signal.SIGSTOP)
    hostile.kill()
    try:
        done = procdeck(hostile, "stop", "--all", "--grace", "0", code=codes.STILL_ALIVE)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert "error: still alive: 1 (Process-1)" in done.errors
