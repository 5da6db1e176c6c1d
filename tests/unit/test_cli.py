"""The command line without a service: exit codes, names of processes, streams, what is printed, how it is declared."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import codes, make_app
from app.cli.client import Event, Service, parse_events
from app.cli.command import Cli
from app.cli.failure import Failure, Refused, Unreachable
from app.cli.logs import Record, Writer, parse_record
from app.cli.names import find, of_part, only
from app.cli.output import clean, seconds, table
from app.cli.processes import signal_name
from app.settings import settings_table
from procdeck import posix

JSON = dict[str, Any]


# --- exit codes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exitcode", "outcome", "code"),
    [
        (0, "succeeded", 0),
        (1, "failed", 1),
        (255, "failed", 255),
        (-15, "stopped", 143),
        (-9, "crashed", 137),
        (None, "lost", codes.CODE_UNKNOWN),
        (None, "not_started", codes.NOT_STARTED),
        (None, "stopped", codes.NOT_STARTED),  # cancelled while it was queued
    ],
)
def test_the_exit_code_of_a_process_is_that_of_a_shell(exitcode: int | None, outcome: str, code: int) -> None:
    assert codes.of_process({"exitcode": exitcode, "outcome": outcome}) == code


def test_problems_have_exit_codes_of_their_own() -> None:
    found = {status: codes.of_status(status) for status in (401, 403, 404, 409, 422, 500, 503)}
    assert found == {401: 77, 403: 77, 404: 65, 409: 65, 422: 65, 500: 70, 503: 75}


def test_a_problem_is_told_with_its_fields() -> None:
    problem = {
        "title": "Invalid values",
        "detail": "One is wrong.",
        "errors": [{"field": "args[0]", "message": "is not"}],
    }
    assert str(Refused(422, problem)) == "Invalid values: One is wrong.\n  args[0]: is not"


# --- which process is meant --------------------------------------------------------------------------------------

IDS = [f"0193550{n}-7e3a-7c11-8d3e-1f2a3b4c5d{n}0" for n in range(5)]


class FakeService(Service):
    """Knows five processes, numbers 1 to 5; gives two a page."""

    def __init__(self) -> None:
        super().__init__("http://fake", None)
        names = ("Process-1", "beat", "beat", "3", "cafe")
        self.processes = [
            {"id": id_, "number": number, "name": name}
            for number, (id_, name) in enumerate(zip(IDS, names, strict=True), start=1)
        ]

    def get(self, path: str, **query: Any) -> Any:
        if path != "/processes":
            return next(process for process in self.processes if path == f"/processes/{process['id']}")
        fitting = [each for each in self.processes[::-1] if query.get("name") in (None, each["name"])]
        at = int(query.get("cursor") or 0)
        return {"items": fitting[at : at + 2], "next": str(at + 2) if len(fitting) > at + 2 else None}


@pytest.mark.parametrize(
    ("word", "number"),
    [
        (IDS[0], 1),
        (IDS[0].upper(), 1),
        ("2", 2),
        ("#2", 2),
        ("3", 3),  # the number, though another has it as its name
        ("Process-1", 1),
        ("cafe", 5),
        ("01935504", 5),
        ("4c5d30", 4),
    ],
)
def test_a_process_is_found_by_what_names_it(word: str, number: int) -> None:
    assert find(FakeService(), word)["number"] == number


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("99", "there is no process '99'"),
        ("nobody", "there is no process 'nobody'"),
        ("4c5", "there is no process"),  # too short to be meant as a part of an id
        ("beat", "may be any of 3 (beat), 2 (beat); give the number"),
        ("0193550", "may be any of 5 (cafe), 4 (3), 3 (beat), 2 (beat), 1 (Process-1)"),
    ],
)
def test_a_word_that_names_none_or_several_is_refused(word: str, said: str) -> None:
    with pytest.raises(Failure) as refused:
        find(FakeService(), word)
    assert said in str(refused.value)
    assert refused.value.exit_code == codes.REFUSED


def test_a_part_of_an_id_is_its_beginning_or_its_end() -> None:
    processes = FakeService().processes
    assert [each["number"] for each in of_part(processes, "5d10")] == [2]
    assert of_part(processes, "7e3a") == []
    assert only("x", processes[:1]) == processes[0]


@pytest.mark.parametrize("word", ["SIGUSR1", "usr1", "Usr1", "10"])
def test_signals_are_named_as_kill_names_them(word: str) -> None:
    assert signal_name(word) == "SIGUSR1"


@pytest.mark.parametrize("word", ["", "SIGNOTHING", "0", "999", "-9", "²"])
def test_a_signal_that_is_none_is_refused(word: str) -> None:
    with pytest.raises(Failure, match="there is no signal"):
        signal_name(word)


# --- streams and logs --------------------------------------------------------------------------------------------


def test_events_are_parsed_and_comments_skipped() -> None:
    lines = [
        b": hello\n",
        b"\n",
        b"event: lines\n",
        b"id: 7\n",
        b'data: ["a: b"]\n',
        b"\n",
        b"event: end\n",
        b"data: {}\n",
        b"\n",
    ]
    assert list(parse_events(iter(lines))) == [Event("lines", 7, ["a: b"]), Event("end", None, {})]


def test_an_event_that_is_not_complete_is_none() -> None:
    assert list(parse_events(iter([b"event: lines\n", b"id: 7\n", b"data: []\n"]))) == []


def test_a_record_keeps_its_bytes() -> None:
    line = b"2026-11-22T06:55:26.123456Z stderr P  a \xff\r\n"
    assert parse_record(line) == Record("2026-11-22T06:55:26.123456Z", "stderr", True, b" a \xff\r")
    assert parse_record(b"2026-11-22T06:55:26.123456Z stdout F \n").text == b""


RECORDS = [
    Record("T1", "stdout", True, b"name? "),
    Record("T2", "stderr", False, b"warning"),
    Record("T3", "stdout", False, b"\xffBob"),
]


def test_records_go_where_they_were_written_to(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    write(Writer())
    assert capfdbinary.readouterr() == (b"name? \xffBob\n", b"warning\n")


def test_times_stand_before_lines_and_not_before_their_rests(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    write(Writer(times=True))
    assert capfdbinary.readouterr() == (b"T1 name? \xffBob\n", b"T2 warning\n")


def test_records_as_json_are_lines_of_stdout(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    write(Writer(as_json=True))
    out, err = capfdbinary.readouterr()
    told = [json.loads(line) for line in out.splitlines()]
    assert told[2] == {"time": "T3", "stream": "stdout", "partial": False, "text": "\ufffdBob"}
    assert (len(told), err) == (3, b"")


def write(writer: Writer) -> None:
    for record in RECORDS:
        writer.write(record)
    writer.flush()


# --- what is printed ---------------------------------------------------------------------------------------------


def test_what_a_terminal_would_obey_is_shown_instead() -> None:
    assert clean("a\x1b[31mb\tc\u202ed\ud800é漢") == "a\\x1b[31mb\\tc\\u202ed\\ud800é漢"


def test_on_a_terminal_one_column_gives_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    rows = [("1", "Process-1", "f(" + "x" * 50 + ")"), ("200", "Zoe", "g()")]
    table(("NO", "NAME", "CALL"), rows, right=("NO",), cut="CALL")
    whole = capsys.readouterr().out.splitlines()
    assert whole[1].rstrip() == f"  1  Process-1  {rows[0][2]}"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    table(("NO", "NAME", "CALL"), rows, right=("NO",), cut="CALL")
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[1:] == ["  1  Process-1  f(xxxxxxxxxxx…", "200  Zoe        g()"]


def test_durations_read_well() -> None:
    shown = [seconds(value) for value in (None, 0, 0.523, 12, 59.7, 185, 7800, 360_000)]
    assert shown == ["", "0.00s", "0.52s", "12s", "1m00s", "3m05s", "2h10m", "4d04h"]


# --- finding the service -----------------------------------------------------------------------------------------


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A data folder as a service that lives leaves it; its lock is held by another process."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "token").write_text("pd_secret\n")
    (folder / "service.json").write_text('{"url": "http://127.0.0.1:8123", "pid": 1}')
    code = (
        "import sys; from pathlib import Path; from app.data_folder import lock_data_folder;"
        "lock_data_folder(Path(sys.argv[1])); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        yield folder
        holder.communicate()


def test_the_local_service_is_found_with_its_token(data_dir: Path) -> None:
    assert Cli(data_dir=data_dir).service() == Service("http://127.0.0.1:8123", "pd_secret")
    assert Cli(data_dir=data_dir, token="mine").service().token == "mine"


@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("http://127.0.0.1:8123", "pd_secret"),
        ("http://localhost:8123/", "pd_secret"),
        ("http://127.0.0.1:9999", None),
        ("http://example.org:8123", None),
        ("http://127.0.0.1:8123@example.org:8123", None),
        ("http://127.0.0.1:port", None),
    ],
)
def test_the_local_token_is_sent_to_the_local_service_only(data_dir: Path, url: str, token: str | None) -> None:
    assert Cli(url=url, data_dir=data_dir).service() == Service(url, token)


def test_a_service_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "service.json").write_text('{"url": "http://127.0.0.1:1", "pid": 1}')  # of one that was killed
    with pytest.raises(Unreachable, match="no service runs on the data folder") as refused:
        Cli(data_dir=tmp_path).service()
    assert "procdeck serve --data-dir" in str(refused.value)
    assert refused.value.exit_code == codes.NO_SERVICE


def test_a_service_that_has_not_told_its_address_yet_is_starting(data_dir: Path) -> None:
    (data_dir / "service.json").unlink()
    with pytest.raises(Unreachable, match="starting or ending"):
        Cli(data_dir=data_dir).service()


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://host", "http://", "http://host:99999"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(Failure, match="not the URL of a service") as refused:
        Service(url, None).get("/processes")
    assert refused.value.exit_code == codes.USAGE


def test_nobody_at_the_address_is_said(data_dir: Path) -> None:
    with pytest.raises(Unreachable, match=r"no service answers at http://127\.0\.0\.1:1: Connection refused"):
        Service("http://127.0.0.1:1", None).get("/processes")


def test_waiting_for_a_service_ends_with_the_time(tmp_path: Path) -> None:
    with pytest.raises(Unreachable):
        Cli(data_dir=tmp_path).wait_until_over(IDS[0], timeout=0)


def test_a_folder_without_a_service_is_not_made(tmp_path: Path) -> None:
    folder = tmp_path / "none"
    assert not Cli(data_dir=folder).is_running()
    assert not folder.exists()
    assert not posix.is_locked(str(folder))


# --- how it is declared ------------------------------------------------------------------------------------------

COMMANDS = (
    *("serve", "run", "ps", "show", "join", "start", "relaunch", "stop", "terminate", "kill", "interrupt", "signal"),
    *("rm", "logs", "targets", "login"),
)


def help_of(*words: str) -> str:
    done = CliRunner().invoke(make_app(), [*words, "--help"], env={"COLUMNS": "300", "TERM": "dumb", "NO_COLOR": "1"})
    assert done.exit_code == 0, done.output
    return done.output


def test_every_command_is_listed() -> None:
    shown = help_of()
    assert [name for name in COMMANDS if f" {name} " not in shown] == []


@pytest.mark.parametrize("name", COMMANDS[1:])
def test_every_command_names_its_service_and_prints_json(name: str) -> None:
    shown = help_of(name)
    assert [flag for flag in ("--json", "--url", "--data-dir", "--token", "--config") if flag not in shown] == []


def test_every_setting_is_a_flag_of_serve() -> None:
    shown = help_of("serve")
    rows = [row for row in settings_table() if row.name != "targets"]
    assert [row.name for row in rows if f"{row.flag} " not in shown and f"{row.flag}," not in shown] == []
    assert [row.name for row in rows if row.variable not in shown] == []
