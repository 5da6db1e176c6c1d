"""What a process writes is in its log to the byte, and how it ended is known, whatever it does to its descriptors."""

import json
import os
import re
import stat
from pathlib import Path

import httpx
import pytest

from tests.acceptance.sse import Reader
from tests.reading import on_disk, raw
from tests.service import Service
from tests.waiting import wait_until

RECORD = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z (stdout|stderr) ([FP]) (.*)", re.DOTALL)
"""A line in the CRI format."""


def test_text_that_utf_8_does_not_have_is_shown_by_its_escape(shared: Service) -> None:
    odd = "caf\udce9"
    well, ill = (shared.join(shared.launch("hostile:half_characters", fail)) for fail in (False, True))
    assert well["result"] == {odd: odd}
    assert well["progress"]["message"] == odd
    assert ill["error"]["message"] == odd
    assert shared.log(well) == "caf\\udce9\n"
    for process in (well, ill):
        assert shared.get(process) == process
        assert len(shared.transitions(process)) == 5
        page = httpx.get(
            f"{shared.url}/processes/{process['id']}",
            headers={"Authorization": f"Bearer {shared.token}", "Accept": "text/html"},
        )
        assert page.status_code == 200
        assert "caf\\udce9" in page.text
    assert shared.client.get("/processes").status_code == 200


# --- what is kept ---------------------------------------------------------------------------------------------------


def test_lines_on_disk_are_in_the_cri_format(shared: Service) -> None:
    process = shared.launch("hostile:both", 3)
    shared.join(process)
    lines = on_disk(shared, process).split(b"\n")
    assert lines.pop() == b""
    found = [match.groups() for line in lines if (match := RECORD.fullmatch(line))]
    assert len(found) == len(lines) == 6
    assert sorted(found) == sorted(
        (f"std{name}".encode(), b"F", f"{name} {number}".encode()) for name in ("out", "err") for number in range(3)
    )
    assert raw(shared, process, format="cri") == on_disk(shared, process)


def test_parts_of_a_log(shared: Service) -> None:
    process = shared.launch("hostile:raw", b"".join(b"%d\n" % number for number in range(100)).hex())
    shared.join(process)
    assert shared.log(process, tail="3") == "97\n98\n99\n"
    assert shared.log(process, tail="0") == ""
    assert shared.log(process, tail="1000").splitlines() == [str(number) for number in range(100)]
    page = json.loads(raw(shared, process, format="json"))
    offsets = [record["offset"] for record in page["items"]]
    assert offsets[0] == 0
    assert page["next"] == len(on_disk(shared, process))
    for number in (0, 1, 50, 99):
        assert shared.log(process, after=str(offsets[number])).splitlines()[0] == str(number)
    # An offset inside of a record is that of the next.
    assert shared.log(process, after=str(offsets[50] + 1)).splitlines()[0] == "51"
    assert shared.log(process, after=str(page["next"])) == ""


def test_following_a_log_until_the_process_is_over(shared: Service, tmp_path: Path) -> None:
    truth, gate = tmp_path / "truth", tmp_path / "gate"
    process = shared.launch("hostile:tick_until", str(truth), str(gate), 0.01)
    url = f"/processes/{process['id']}/log"
    with shared.client.stream("GET", url, params={"follow": "true"}) as answer:
        pieces = answer.iter_text()
        text = next(pieces)
        assert shared.get(process)["state"] == "running"
        gate.touch()
        text += "".join(pieces)
    assert text == truth.read_text()


def test_following_a_log_that_ends_later_than_the_process(shared: Service) -> None:
    process = shared.launch("hostile:say")
    shared.join(process)
    assert shared.log(process, follow="true") == "hello\n"
    events = Reader(shared, f"/processes/{process['id']}/log/stream").join()
    assert [event.name for event in events] == ["lines", "end"]
    again = Reader(shared, f"/processes/{process['id']}/log/stream", events[0].id).join()
    assert [event.name for event in again] == ["end"]


def test_output_right_before_the_end_is_not_lost(shared: Service) -> None:
    text = "x" * 100
    processes = [shared.launch("hostile:raw", (text + f"\n{number}").encode().hex()) for number in range(30)]
    for number, process in enumerate(processes):
        shared.join(process)
        assert shared.log(process) == f"{text}\n{number}"


# --- children that close, replace and leave -------------------------------------------------------------------------


def test_a_thread_keeps_a_process_alive_until_it_is_stopped(shared: Service) -> None:
    process = shared.launch("hostile:leave_a_thread")
    shared.wait_for_log(process, "returning")
    assert shared.client.post(f"/processes/{process['id']}/join", params={"timeout": 0.1}).json()["is_alive"]
    shared.post(process, "terminate")
    assert shared.join(process)["exitcode"] == -15


# --- what a child is given, and gives back --------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_environment_and_folder(shared: Service, tmp_path: Path, method: str) -> None:
    process = shared.launch(
        "hostile:environment",
        "GREETING",
        "PROCDECK_ID",
        "PROCDECK_NOFILE",
        "PYTHONPATH",
        env={"GREETING": "grüß dich"},
        cwd=str(tmp_path),
        start_method=method,
    )
    assert shared.join(process)["result"] == [
        "grüß dich",
        process["id"],
        None,
        os.environ.get("PYTHONPATH"),
        str(tmp_path),
    ]


def test_what_one_process_does_to_itself_is_not_the_next_ones(shared: Service) -> None:
    shared.join(shared.launch("hostile:environment", env={"GREETING": "hello"}, cwd="/"))
    assert shared.join(shared.launch("hostile:environment", "GREETING"))["result"] == [None, str(shared.folder)]


def test_no_descriptor_of_ours_reaches_the_child(shared: Service) -> None:
    other = shared.launch("hostile:nap")
    found = shared.join(shared.launch("hostile:open_files"))["result"]
    names = [name for name in found.values() if name.startswith("/") and not name.startswith(("/dev/null", "/proc/"))]
    assert [Path(name).name for name in names] == ["lock"]
    assert sum(name.startswith("socket:") for name in found.values()) == 1
    shared.post(other, "kill")


def test_progress_and_result(shared: Service) -> None:
    ended = shared.join(shared.launch("hostile:steps", 4))
    assert ended["result"] == {"steps": 4}
    assert ended["progress"] == {"fraction": 1.0, "message": "step 4"}


def test_results_that_cannot_be_kept_are_said_to_be_left_out(shared: Service) -> None:
    big, odd = (
        shared.join(shared.launch(f"hostile:{name}", *args))
        for name, args in (("big_result", [100_000]), ("odd_result", []))
    )
    assert (big["exitcode"], big["result"], odd["exitcode"], odd["result"]) == (0, None, 0, None)
    assert "100002 bytes" in big["detail"]["result_omitted"]
    assert "JSON" in odd["detail"]["result_omitted"]


def test_memory_of_the_tree_is_measured(shared: Service) -> None:
    size = 50 * 2**20
    process = shared.launch("hostile:memory", size)
    shared.wait_for_log(process, "holding")
    wait_until(lambda: (shared.get(process)["rss_bytes"] or 0) > size, 10, lambda: str(shared.get(process)))
    shared.post(process, "kill")
    ended = shared.join(process)
    assert ended["max_rss_bytes"] > size
    assert ended["rss_bytes"] is None


def test_folders_and_files_are_private(shared: Service) -> None:
    shared.join(shared.launch("hostile:say"))
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in [shared.data_dir, *shared.data_dir.rglob("*")]}
    public = [str(path) for path, mode in modes.items() if mode & 0o077 and not path.is_symlink()]
    ours = [path for path in public if "/runtime/" not in path]
    assert ours == []


def test_two_readers_see_the_same(shared: Service, tmp_path: Path) -> None:
    truth, gate = tmp_path / "truth", tmp_path / "gate"
    process = shared.launch("hostile:tick_until", str(truth), str(gate), 0.001)
    path = f"/processes/{process['id']}/log/stream"
    readers = [Reader(shared, path), Reader(shared, path)]
    readers[0].wait_for("lines", 3)
    readers.append(Reader(shared, f"{path}?tail=0"))
    gate.touch()
    for reader in readers:
        reader.join()
    assert readers[0].log_text == readers[1].log_text == truth.read_text()
    assert truth.read_text().endswith(readers[2].log_text)


def test_a_reader_that_hangs_up_is_forgotten(shared: Service) -> None:
    process = shared.launch("hostile:prompt", "/no/such/gate")
    headers = {"Authorization": f"Bearer {shared.token}"}
    url = f"{shared.url}/api/v1/processes/{process['id']}/log/stream"

    def clients() -> float:
        text = httpx.get(f"{shared.url}/metrics", headers=headers).text
        found = re.search(r'^procdeck_sse_clients\{stream="log"\} (\S+)$', text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    before = clients()
    with httpx.stream("GET", url, headers=headers) as answer:
        assert answer.status_code == 200
        wait_until(lambda: clients() == before + 1, 5, "the reader is not counted")
    wait_until(lambda: clients() == before, 5, "the reader is not forgotten")
    shared.post(process, "kill")
