"""C: every byte that a process writes is in its log, whatever it is, and whoever reads it is not drowned."""

import itertools
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from procdeck.log import MAX_TEXT_BYTES
from tests.acceptance.sse import Reader
from tests.faults.invariants import hold, output_is_whole
from tests.reading import on_disk, raw, records
from tests.service import HOSTILE, JSON, Service
from tests.waiting import wait_until

MB = 1_000_000


@pytest.fixture(scope="module", autouse=True)
def _well_afterwards(shared: Service) -> Iterator[None]:
    """All of this is done to one service, which is none the worse for it."""
    pid = shared.pid
    yield
    hold(shared)
    assert shared.pid == pid


def page(service: Service, process: JSON, **params: str) -> httpx.Response:
    """The page of a process as a browser gets it."""
    headers = {"Authorization": f"Bearer {service.token}", "Accept": "text/html"}
    return httpx.get(f"{service.url}/processes/{process['id']}", headers=headers, params=params, timeout=30)


def all_records(service: Service, process: JSON) -> list[JSON]:
    """The records of the log, page by page."""
    items: list[JSON] = []
    after = 0
    while True:
        told = json.loads(raw(service, process, format="json", after=after))
        assert len(json.dumps(told)) < 16 * MB, "a page is too big"
        if not told["items"]:
            return items
        items += told["items"]
        after = told["next"]


# --- F41: long lines ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [MAX_TEXT_BYTES - 1, MAX_TEXT_BYTES, MAX_TEXT_BYTES + 1, 1_000_000])
def test_f41_a_long_line_is_split_and_joined_again(shared: Service, size: int) -> None:
    process = shared.launch("hostile:long_line", size)
    shared.join(process)
    assert raw(shared, process) == b"x" * size + b"\n"
    parts = records(shared, process)
    assert max(len(record["text"]) for record in parts) <= MAX_TEXT_BYTES
    assert [record["partial"] for record in parts] == [True] * (len(parts) - 1) + [False]


def test_f41_a_line_of_100_megabytes_fills_the_memory_of_nobody(tmp_path: Path) -> None:
    size = 1600 * 2**16  # 105 MB
    service = Service(tmp_path, [HOSTILE], ["--log-budget", str(2 * size)])
    try:
        keepers_peak = 0
        process = service.start().launch("hostile:endless_line", size)
        before = psutil.Process(service.pid).memory_info().rss
        keeper = psutil.Process(process["detail"]["keeper_pid"])
        reader = Reader(service, f"/processes/{process['id']}/log/stream?max_lag=2000000")
        while service.get(process)["is_alive"]:
            try:
                keepers_peak = max(keepers_peak, keeper.memory_info().rss)
            except psutil.NoSuchProcess:
                break
        assert service.join(process)["exitcode"] == 0
        assert service.get(process)["detail"].get("log_dropped_bytes") is None
        assert keepers_peak < 60 * MB

        assert sum(len(record["text"]) for record in all_records(service, process)) == size
        shown = page(service, process, lines="20000")
        assert shown.status_code == 200
        assert len(shown.content) < MB
        assert "the download has the whole line" in shown.text
        total = 0
        url = f"/processes/{process['id']}/log"
        with service.client.stream("GET", url) as answer:
            for piece in answer.iter_bytes():
                total += len(piece)
                assert piece.count(b"x") == len(piece)
        assert total == size
        assert reader.join(30)[-1].name == "end"
        assert max(len(json.dumps(event.data)) for event in reader.events) < MB
        assert psutil.Process(service.pid).memory_info().rss - before < 120 * MB
        hold(service)
    finally:
        service.close()


# --- F42: odd bytes -------------------------------------------------------------------------------------------------

ODD = b"\xff\xfe\x00 lone \r carriage\r\n\xf0\x9f\x98 cut emoji\n\x1b[31mred\n\xe2\x80\xaebidi\n\n no end"


def corpus() -> Iterator[bytes]:
    """Bytes that are hard to keep apart, to decode or to show; the same every time."""
    yield ODD
    yield bytes(range(256)) * 3
    yield b"\n\n\n"
    yield b"\r\r\r\n\r"
    yield "\N{PILE OF POO}".encode() * 20_000 + b"\n"  # longer than a record: characters are cut at its border
    yield b"x" * (MAX_TEXT_BYTES - 2) + "\N{PILE OF POO}\n".encode()
    yield b"\0" * 70_000
    yield b"2026-11-22T06:55:26.123456Z stdout F no record of ours\n"
    yield "a\u2028b\u2029c\x85d\x0ce\x1cf\n".encode()  # what str.splitlines takes for ends of lines
    yield b"data: x\n\nevent: end\nid: 1\n\n"  # what a stream of events is made of
    chance = random.Random(42)
    for size in (1, 100, 5000, 100_000):
        yield chance.randbytes(size)
        yield bytes(chance.choices(b"\n\r\x1b\xf0\x9f\x98\x80 a", k=size))


def test_f42_bytes_that_are_no_text_are_kept_as_they_are(shared: Service) -> None:
    process = shared.launch("hostile:raw", ODD.hex())
    shared.join(process)
    assert raw(shared, process) == ODD
    texts = [record["text"] for record in records(shared, process)]
    assert texts == ODD.decode(errors="replace").split("\n")


def test_f42_the_same_bytes_come_out_by_every_way(shared: Service, tmp_path: Path) -> None:
    for number, written in enumerate(corpus()):
        source = tmp_path / f"{number}"
        source.write_bytes(written)
        process = shared.launch("hostile:pour", str(source))
        assert shared.join(process)["exitcode"] == 0
        assert raw(shared, process) == written
        assert raw(shared, process, format="cri") == on_disk(shared, process)
        items = all_records(shared, process)
        assert [item["offset"] for item in items] == sorted({item["offset"] for item in items})
        for item in items[:: max(1, len(items) // 10)]:
            assert records(shared, process, after=item["offset"])[0] == item, "an offset is one of bytes"
        reader = Reader(shared, f"/processes/{process['id']}/log/stream")
        reader.join()
        streamed = [record for event in reader.events if event.name == "lines" for record in event.data]
        assert streamed == items
        assert page(shared, process).status_code == 200


# --- F43 to F45: in time and in order -------------------------------------------------------------------------------


def test_f43_a_prompt_is_seen_before_its_line_ends_and_is_joined_with_the_rest(shared: Service, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    process = shared.launch("hostile:prompt", str(gate))
    reader = Reader(shared, f"/processes/{process['id']}/log/stream")
    reader.wait_for("lines")
    assert reader.log_text == shared.log(process) == "name? "
    (record,) = records(shared, process)
    assert (record["partial"], record["text"]) == (True, "name? ")
    gate.touch()
    shared.join(process)
    reader.join()
    assert reader.log_text == shared.log(process) == "name? nobody\n"
    assert [record["partial"] for record in records(shared, process)] == [True, False]


def test_f44_each_stream_keeps_its_order(shared: Service) -> None:
    process = shared.launch("hostile:both", 500)
    shared.join(process)
    out, err = ([f"{name} {number}" for number in range(500)] for name in ("out", "err"))
    assert shared.log(process, stream="stdout").splitlines() == out
    assert shared.log(process, stream="stderr").splitlines() == err
    both = shared.log(process).splitlines()
    assert ([line for line in both if line.startswith("out")], sorted(both)) == (out, sorted(out + err))
    assert {record["stream"] for record in records(shared, process, stream="stderr")} == {"stderr"}
    stamped = raw(shared, process, format="cri", stream="stdout").splitlines()
    assert len(stamped) == 500
    assert all(b" stdout F out " in line for line in stamped)


@pytest.mark.parametrize("action", ["kill", "terminate"])
def test_f45_the_log_of_a_killed_process_is_complete(shared: Service, tmp_path: Path, action: str) -> None:
    truth = tmp_path / "truth"
    process = shared.launch("hostile:tick", str(truth), 0)
    shared.wait_for_log(process, "1000\n")
    shared.post(process, action)
    shared.join(process)
    output_is_whole(shared, process, truth)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_f45_a_line_is_not_in_a_buffer_when_the_process_is_killed(shared: Service, method: str) -> None:
    process = shared.launch("hostile:say_and_die", start_method=method)
    assert shared.join(process)["exitcode"] == -9
    assert shared.log(process) == "last words\n"


# --- F46, F47: faster than a reader ---------------------------------------------------------------------------------


def test_f46_two_hundred_thousand_lines_are_all_kept_and_a_reader_is_not_drowned(
    shared: Service, tmp_path: Path
) -> None:
    count, gate = 200_000, tmp_path / "gate"
    process = shared.launch("hostile:many_lines", count, str(gate))
    path = f"/processes/{process['id']}/log/stream"
    whole = Reader(shared, path)
    wait_until(lambda: f"\n{count - 1}\n" in whole.log_text[-20:], 60, "the log does not come to its end")
    late = Reader(shared, f"{path}?max_lag=100000")
    late.wait_for("lines")
    gate.touch()
    shared.join(process)
    expected = "".join(f"{number}\n" for number in range(count)) + "end\n"
    whole.join(30)
    assert whole.log_text == shared.log(process) == expected
    assert {event.name for event in whole.events} == {"lines", "end"}
    assert max(len(json.dumps(event.data)) for event in whole.events) < 2 * MB, "the batches are bounded"

    late.join(30)
    skip = late.events[0]
    assert (skip.name, skip.data["from"]) == ("skip", 0)
    assert late.events[1].data[0]["offset"] == skip.data["to"]
    assert expected.endswith(late.log_text)
    assert late.log_text.endswith("\nend\n")


def test_f46_a_flood_is_told_in_few_events(shared: Service, tmp_path: Path) -> None:
    """Not one for each line, however fast a reader is."""
    gate = tmp_path / "gate"
    began = time.monotonic()
    process = shared.launch("hostile:many_short_writes", str(gate))
    reader = Reader(shared, f"/processes/{process['id']}/log/stream")
    reader.wait_for("lines", 20)
    gate.touch()
    shared.join(process)
    reader.join(30)
    passed = time.monotonic() - began
    full = len(on_disk(shared, process)) / 100_000
    assert sum(event.name == "lines" for event in reader.events) <= 21 * passed + full + 2


def test_f47_a_reader_goes_on_through_the_ends_of_segments(tmp_path: Path) -> None:
    """At each of its offsets the log is another file by then, and the oldest ones are gone in the end."""
    budget, count = 8 * 2**20, 130_000  # in segments of a quarter
    service = Service(tmp_path, [HOSTILE], ["--log-budget", str(budget)])
    try:
        gate = tmp_path / "gate"
        process = service.start().launch("hostile:many_lines", count, str(gate))
        wait_until(lambda: service.log(process, tail="1") == f"{count - 1}\n", 30, "it does not write")
        folder = service.data_dir / "runs" / process["id"] / "log"
        assert len(list(folder.glob("*.log"))) > 2
        path = f"/processes/{process['id']}/log/stream"
        readers = [Reader(service, path), *(Reader(service, f"{path}?after={o}") for o in offsets(service, process))]
        gate.touch()
        service.join(process)
        expected = service.log(process)
        assert expected == "".join(f"{number}\n" for number in range(count)) + "end\n"
        for reader in readers:
            reader.join(30)
            assert {event.name for event in reader.events} == {"lines", "end"}
            assert expected.endswith(reader.log_text)
            seen = [record["offset"] for event in reader.events[:-1] for record in event.data]
            assert seen == sorted(set(seen))
        # Each event's id is where the next connection goes on, on whichever side of a segment's end it is.
        for first, second in itertools.pairwise(readers[0].events[:-1]):
            assert second.data[0]["offset"] == int(first.id)
    finally:
        service.close()


def offsets(service: Service, process: JSON) -> list[int]:
    """The first record of each segment, and the one before it."""
    folder = service.data_dir / "runs" / process["id"] / "log"
    firsts = sorted(int(file.stem) for file in folder.glob("*.log"))[1:]
    text = on_disk(service, process)
    return [offset for first in firsts for offset in (text.rfind(b"\n", 0, first - 1) + 1, first)]


def test_f47_old_segments_go_and_offsets_stay(tmp_path: Path) -> None:
    budget = 262_144
    service = Service(tmp_path, [HOSTILE], ["--log-budget", str(budget)])
    try:
        truth = tmp_path / "truth"
        process = service.start().launch("hostile:tick", str(truth), 0, 30_000)
        reader = Reader(service, f"/processes/{process['id']}/log/stream")
        service.join(process)

        folder = service.data_dir / "runs" / process["id"] / "log"
        segments = sorted(folder.glob("*.log"))
        sizes = [segment.stat().st_size for segment in segments]
        firsts = [int(segment.stem) for segment in segments]
        assert len(segments) > 1
        assert sum(sizes) <= budget + MAX_TEXT_BYTES
        assert firsts[0] > 0
        assert [first + size for first, size in zip(firsts, sizes, strict=True)][:-1] == firsts[1:]

        kept = service.log(process)
        assert truth.read_text().endswith(kept)
        items = records(service, process)
        assert items[0]["offset"] == firsts[0]

        # A reader that was further back is told what it missed, and goes on with the oldest that there is.
        late = Reader(service, f"/processes/{process['id']}/log/stream", "100").join()
        assert (late[0].name, late[0].data) == ("gap", {"from": 100, "to": firsts[0]})
        assert late[1].data[0]["offset"] == firsts[0]
        assert reader.join()[-1].name == "end"
    finally:
        service.close()
