"""Faults of the connections to the service: readers that do not read, peers that vanish, requests that never end."""

import asyncio
import json
import resource
import signal
import socket
import struct
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from app import http_limits
from procdeck import posix
from tests.acceptance.sse import Reader
from tests.faults import invariants
from tests.faults.inject import network
from tests.peers import Answers, serving
from tests.service import HOSTILE, JSON, Service
from tests.waiting import wait_until

SECONDS = 30.0
MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def deck(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service for those who leave it as it was."""
    yield from _running(Service(tmp_path_factory.mktemp("deck"), [HOSTILE], ["--no-watch"]))


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Service]:
    """A service for one test."""
    yield from _running(Service(tmp_path, [HOSTILE], ["--no-watch"]))


def _running(service: Service) -> Iterator[Service]:
    try:
        yield service.start()
    finally:
        service.close()


class Peer:
    """A connection without a client's manners; ``received`` is all that it has read."""

    def __init__(self, service: Service, receive_buffer: int | None = None) -> None:
        url = httpx.URL(service.url)
        self._service = service
        self._address = (url.host, url.port)
        self.received = bytearray()
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.setblocking(False)

    async def connect(self) -> "Peer":
        await asyncio.get_running_loop().sock_connect(self.socket, self._address)
        return self

    async def ask(self, path: str, method: str = "GET", body: bytes = b"", **headers: str) -> "Peer":
        """Send a request; nothing is read yet."""
        await self.connect()
        await self.send(self.request(path, method, body, **headers))
        return self

    def request(self, path: str, method: str = "GET", body: bytes = b"", **headers: str) -> bytes:
        """The bytes of a request."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._address[0]}:{self._address[1]}"]
        lines += [f"Authorization: Bearer {self._service.token}", "Content-Type: application/json"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {len(body)}"] * bool(body)
        return "\r\n".join([*lines, "", ""]).encode() + body

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def read(self) -> bool:
        """Read a piece; False at the end."""
        data = await asyncio.get_running_loop().sock_recv(self.socket, 65536)
        self.received += data
        return bool(data)

    async def read_until(self, text: bytes) -> None:
        """Read until ``text`` came, or the end."""
        async with asyncio.timeout(SECONDS):
            while text not in self.received:
                if not await self.read():
                    return

    async def read_all(self) -> bytes:
        """Read until the end; all of it."""
        async with asyncio.timeout(SECONDS):
            while await self.read():
                pass
        return bytes(self.received)

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Be gone without a goodbye."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


async def in_groups(works: list[Callable[[], Awaitable[object]]], size: int = 100) -> None:
    """Do them all, ``size`` at a time: a backlog is not endless."""
    for start in range(0, len(works), size):
        await asyncio.gather(*(work() for work in works[start : start + size]))


def descriptors(pid: int) -> int:
    """How many files a process has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def rss(pid: int) -> int:
    """Resident memory in bytes."""
    stat = posix.stat(pid)
    assert stat is not None
    return stat.rss_bytes


def launch_body(target: str, *args: object) -> bytes:
    return json.dumps({"target": target, "args": list(args)}).encode()


def events_of(received: bytes | bytearray) -> list[tuple[str, int]]:
    """(id of the process, seq) of each event `process`, in their order; chunks of the transfer are no event's end."""
    lines = bytes(received).replace(b"\r\n", b"\n").split(b"\n")
    told = [json.loads(line.removeprefix(b"data: ")) for line in lines if line.startswith(b'data: {"id"')]
    return [(event["id"], event["seq"]) for event in told]


# --- launches -----------------------------------------------------------------------------------------------------


def test_f59_a_burst_of_launches_is_all_answered_and_what_is_too_much_refused(tmp_path: Path) -> None:
    service = Service(tmp_path, [HOSTILE], ["--no-watch", "--max-processes", "20", "--max-queued", "100"])
    gate = tmp_path / "gate"

    async def burst() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=None)
        headers = {"Authorization": f"Bearer {service.token}"}
        async with httpx.AsyncClient(base_url=service.url, headers=headers, limits=limits, timeout=60) as client:
            body = {"target": "hostile:wait_for_file", "args": [str(gate)]}
            asked = [asyncio.ensure_future(client.post("/api/v1/processes", json=body)) for _ in range(200)]
            await asyncio.wait(asked, timeout=SECONDS, return_when=asyncio.FIRST_EXCEPTION)
            return [await answer for answer in asked]

    try:
        service.start()
        answers = asyncio.run(burst())
        assert Counter(answer.status_code for answer in answers) == {201: 120, 503: 80}
        for refused in (answer for answer in answers if answer.status_code == 503):
            assert int(refused.headers["Retry-After"]) > 0
            assert "100 processes wait" in refused.json()["detail"]
        told = service.client.get("/service").json()
        assert (told["alive"], told["queued"]) == (20, 100)
        gate.touch()
        processes = [answer.json() for answer in answers if answer.status_code == 201]
        assert {service.join(process)["exitcode"] for process in processes} == {0}
        assert {process["id"] for process in invariants.hold(service)} == {process["id"] for process in processes}
        begun = {}
        for process in processes:
            started = [row for row in service.transitions(process) if row["to"] == "starting"]
            begun[process["number"]] = started[0]["at"]
        queued = sorted(begun)[20:]
        assert [begun[number] for number in queued] == sorted(begun[number] for number in queued), "out of order"
        assert service.launch("hostile:say")["state"] != "queued"
    finally:
        service.close()


def test_f98_a_client_that_hangs_up_leaves_a_whole_launch_or_none(own: Service, tmp_path: Path) -> None:
    """The request was sent, and nobody waits for its answer."""
    keys = [f"hung-up-{number}" for number in range(40)]

    def body(key: str) -> bytes:
        return launch_body("hostile:count", str(tmp_path / key))

    async def hang_up(key: str, after: float) -> None:
        peer = Peer(own)
        await peer.ask("/api/v1/processes", "POST", body(key), Idempotency_Key=key)
        await asyncio.sleep(after)
        peer.reset()

    async def all_of_them() -> None:
        await asyncio.gather(*(hang_up(key, number * 0.0005) for number, key in enumerate(keys)))

    asyncio.run(all_of_them())
    processes = []
    for key in keys:
        headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
        answer = own.client.post("/processes", content=body(key), headers=headers)
        assert answer.status_code in (200, 201), answer.text
        processes.append(answer.json())
    assert {own.join(process)["exitcode"] for process in processes} == {0}
    assert len(invariants.hold(own)) == len(keys)
    assert {len((tmp_path / key).read_text().splitlines()) for key in keys} == {1}


# --- many connections ----------------------------------------------------------------------------------------------


def test_f97_idle_connections_and_half_requests_leave_room_for_whole_ones(own: Service) -> None:
    before = rss(own.pid)
    own.launch("hostile:say")

    async def crowd() -> list[Peer]:
        idle = [Peer(own) for _ in range(2000)]
        await in_groups([peer.connect for peer in idle])
        halves = idle[:200]
        await asyncio.gather(*(peer.send(peer.request("/api/v1/processes")[:40]) for peer in halves))
        large = [Peer(own) for _ in range(20)]
        await asyncio.gather(*(_send_large_head(peer) for peer in large))
        return idle + large

    async def _send_large_head(peer: Peer) -> None:
        await peer.connect()
        try:
            await peer.send(b"GET / HTTP/1.1\r\nX-Large: " + b"x" * MEBIBYTE)
            assert (await peer.read_all()).startswith(b"HTTP/1.1 431 ")
        except ConnectionError:
            pass  # refused before all of it was sent

    peers = asyncio.run(crowd())
    try:
        wait_until(lambda: descriptors(own.pid) > 2000, 10, "the connections are not there")
        process = own.launch("hostile:say")
        assert own.join(process)["exitcode"] == 0
        assert httpx.get(f"{own.url}/readyz").status_code == 200
        assert rss(own.pid) - before < 100 * MEBIBYTE
    finally:
        for peer in peers:
            peer.close()
    wait_until(lambda: descriptors(own.pid) < 100, 10, "they are not forgotten")
    assert own.text().count("Traceback") == 0


def test_f90_of_a_thousand_readers_half_never_read(own: Service) -> None:
    """Those who read get everything; those who do not cost no more than what the kernel holds for them."""
    gate = own.folder / "gate"

    async def crowd() -> None:
        readers = [Peer(own) for _ in range(500)]
        sleepers = [Peer(own, receive_buffer=2048) for _ in range(500)]
        await in_groups([lambda peer=peer: peer.ask("/api/v1/events") for peer in readers + sleepers])  # type: ignore[misc]
        await in_groups([lambda peer=peer: peer.read_until(b": hello") for peer in readers])  # type: ignore[misc]
        await until_clients(own, 1000)
        before = rss(own.pid)
        # And some who ask for far more than any buffer holds.
        flood = await launched("hostile:long_line", 30 * MEBIBYTE)
        path = f"/api/v1/processes/{flood['id']}/log/stream"
        stuck = [Peer(own, receive_buffer=2048) for _ in range(100)]
        await in_groups([lambda peer=peer: peer.ask(path) for peer in stuck])  # type: ignore[misc]
        processes = [await launched("hostile:wait_for_file", str(gate)) for _ in range(5)]
        gate.touch()
        await asyncio.gather(*(joined(process) for process in [flood, *processes]))
        history = await asyncio.to_thread(own.transitions, processes[-1])
        last = f'"id":"{processes[-1]["id"]}"'.encode()
        expected = {(process["id"], seq) for process in processes for seq in range(1, len(history) + 1)}

        async def read_events(peer: Peer) -> None:
            while not expected <= set(events_of(peer.received)):
                assert await peer.read(), "hung up on"

        async with asyncio.timeout(60):
            await asyncio.gather(*(read_events(peer) for peer in readers))
        assert last in readers[0].received
        for peer in readers:
            told = events_of(peer.received)
            assert len(told) == len(set(told)), "an event came twice"
        assert rss(own.pid) - before < 150 * MEBIBYTE
        for peer in readers + sleepers + stuck:
            peer.close()
        await until_clients(own, 0)

    async def launched(target: str, *args: object) -> JSON:
        return await asyncio.to_thread(own.launch, target, *args)

    async def joined(process: JSON) -> None:
        assert (await asyncio.to_thread(own.join, process))["outcome"] == "succeeded"

    asyncio.run(crowd())
    invariants.hold(own)


async def until_clients(service: Service, count: int) -> None:
    """Wait until the service counts so many open streams."""

    def clients() -> int:
        text = httpx.get(f"{service.url}/metrics", headers={"Authorization": f"Bearer {service.token}"}).text
        lines = [line for line in text.splitlines() if line.startswith("procdeck_sse_clients{")]
        return round(sum(float(line.rpartition(" ")[2]) for line in lines))

    await asyncio.to_thread(
        wait_until, lambda: clients() == count, SECONDS, lambda: f"{clients()} are open, not {count}"
    )


def test_f04_the_end_of_the_service_is_told_to_a_thousand_streams(own: Service) -> None:
    process = own.launch("hostile:nap", daemon=True)
    log = f"/api/v1/processes/{process['id']}/log/stream"

    async def crowd() -> tuple[int, list[bytes]]:
        peers = [Peer(own) for _ in range(1000)]
        paths = ["/api/v1/events", log]
        await in_groups([lambda n=n, peer=peer: peer.ask(paths[n % 2]) for n, peer in enumerate(peers)])  # type: ignore[misc]
        await in_groups([lambda peer=peer: peer.read_until(b": hello") for peer in peers])  # type: ignore[misc]
        reading = [asyncio.ensure_future(peer.read_all()) for peer in peers]
        code = await asyncio.to_thread(own.stop, signal.SIGTERM)
        received = list(await asyncio.gather(*reading))
        for peer in peers:
            peer.close()
        return code, received

    code, received = asyncio.run(crowd())
    assert code == 0, own.text()
    restart = b"event: restart\ndata: {}\n\n\r\n0\r\n\r\n"
    cut_off = [text[-200:] for text in received if not text.endswith(restart)]
    assert not cut_off, f"{len(cut_off)} streams were cut off, one after {cut_off[0]!r}"
    assert "timeout graceful shutdown exceeded" not in own.text()
    assert "Traceback" not in own.text()
    own.start()
    assert own.get(process)["outcome"] == "stopped"
    invariants.hold(own)


def test_f65_out_of_descriptors_streams_go_on_and_new_connections_wait(own: Service, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    process = own.launch("hostile:tick_until", str(tmp_path / "truth"), str(gate))
    log, events = Reader(own, f"/processes/{process['id']}/log/stream"), Reader(own, "/events")
    log.wait_for("lines")
    _, hard = resource.prlimit(own.pid, resource.RLIMIT_NOFILE)
    said = len(own.text())
    resource.prlimit(own.pid, resource.RLIMIT_NOFILE, (descriptors(own.pid), hard))
    crowd = [Peer(own) for _ in range(60)]
    try:
        asyncio.run(in_groups([peer.connect for peer in crowd]))
        assert not _answers(own), "there is no room for one more"
        seen = len(log.events)
        time.sleep(3)  # what a loop that tries again at once would write meanwhile is what this is about
    finally:
        resource.prlimit(own.pid, resource.RLIMIT_NOFILE, (hard, hard))
        for peer in crowd:
            peer.close()
    assert len(own.text()) - said < 20_000, own.text()[-2000:]
    wait_until(lambda: len(log.events) > seen, 10, "the stream of the log stands still")
    wait_until(lambda: _answers(own), 10, "no connection is taken any more")
    gate.touch()
    assert own.join(process)["exitcode"] == 0
    assert log.join()[-1].name == "end"
    assert not log.broken
    assert log.log_text == (tmp_path / "truth").read_text()
    events.wait_for("process")
    assert not events.broken
    assert own.join(own.launch("hostile:say"))["exitcode"] == 0
    invariants.hold(own)


def _answers(service: Service) -> bool:
    try:
        return httpx.get(f"{service.url}/readyz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


# --- streams --------------------------------------------------------------------------------------------------------


@pytest.mark.root
@pytest.mark.usefixtures("needs_root")
def test_f91_a_peer_that_vanishes_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The line is cut: no FIN, no RST, no answer. In this process, for the time that is given to a peer is a minute in
    life; at once for one who is being sent something, and for one to whom nothing is sent."""
    monkeypatch.setattr(http_limits, "PEER_ANSWERS_WITHIN", 2)

    async def vanish() -> None:
        with network() as line:
            flood, quiet = Answers(), Answers()
            async with serving(flood, line.near) as (noisy_port, noisy), serving(quiet, line.near) as (port, silent):
                peers = [
                    line.far_client(noisy_port, b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n"),
                    line.far_client(port, b"GET /silence HTTP/1.1\r\nHost: x\r\n\r\n"),
                ]
                try:
                    async with asyncio.timeout(SECONDS):
                        await flood.began.wait()
                        await quiet.began.wait()
                        line.cut()
                        await flood.gone.wait()
                        await quiet.gone.wait()
                    assert not noisy.server_state.connections
                    assert not silent.server_state.connections
                finally:
                    for peer in peers:
                        peer.kill()
                        peer.wait()

    asyncio.run(vanish())


def is_at(reader: Reader, number: int) -> bool:
    """Whether a reader of events has come to this one."""
    return int(reader.last_id) >= number


def test_f92_any_last_event_id_is_answered(deck: Service) -> None:
    over = deck.launch("hostile:tick", str(deck.folder / "truth"), 0.0, 50)
    assert deck.join(over)["exitcode"] == 0
    other = deck.launch("hostile:nap")
    whole = Reader(deck, "/events", "0")
    whole.wait_for("process", 5)
    now = int(whole.last_id)
    for id_ in (
        "0",
        "1",
        str(now),
        str(now + 1000),
        "9" * 18,
        "9" * 40,
        "-1",
        "garbage",
        "1.5",
        "x" * 4000,
        over["id"],
    ):
        reader = Reader(deck, "/events", id_)
        deck.post(other, "signal", signal="SIGCONT")
        reader.wait_for("process")
        numbers = [int(event.id) for event in reader.events if event.name == "process"]
        # Numbers are given to notes of the activity as well: who read everything tells which are events.
        wait_until(partial(is_at, whole, numbers[-1]), 10, "who reads all is behind")
        every = [int(event.id) for event in whole.events if event.name == "process"]
        assert numbers == [number for number in every if numbers[0] <= number <= numbers[-1]], "with a gap, or a repeat"
        is_ours = id_.isascii() and id_.isdigit() and int(id_) <= now
        assert (reader.events[0].name == "reset") != is_ours, (id_, reader.events[0])
        if is_ours:
            assert numbers[0] == min(number for number in every if number > int(id_))
        now = numbers[-1]
    for process in (over, other):
        deck.post(other, "kill") if process is other else None
        size = (deck.folder / "data" / "runs" / over["id"] / "log" / f"{0:020d}.log").stat().st_size
        for id_ in ("0", "7", str(size - 1), str(size), str(size + 100), "9" * 18, "9" * 40, "-1", "garbage"):
            events = Reader(deck, f"/processes/{process['id']}/log/stream", id_).join()
            assert events[-1].name == "end", (id_, events)
    whole = Reader(deck, f"/processes/{over['id']}/log/stream", "0")
    whole.join()
    assert whole.log_text == (deck.folder / "truth").read_text()


def test_f94_nothing_invites_a_proxy_to_hold_a_stream_back(deck: Service) -> None:
    process = deck.launch("hostile:nap")
    headers = {"Authorization": f"Bearer {deck.token}", "Accept-Encoding": "gzip, deflate, br, zstd"}
    for path in ("/events", f"/processes/{process['id']}/log/stream", f"/processes/{process['id']}/log?follow=true"):
        with httpx.stream("GET", f"{deck.url}/api/v1{path}", headers=headers, timeout=10) as answer:
            assert answer.status_code == 200
            assert answer.headers["X-Accel-Buffering"] == "no"
            assert answer.headers["Cache-Control"] == "no-store"
            assert "Content-Encoding" not in answer.headers
            assert "Content-Length" not in answer.headers
            if not path.endswith("follow=true"):
                assert answer.headers["Content-Type"].startswith("text/event-stream")
                assert next(answer.iter_raw()) == b": hello\n\n", "at once, with nothing to tell yet"
    deck.post(process, "kill")


def test_f96_a_session_that_ends_takes_its_streams_along(deck: Service, tmp_path: Path) -> None:
    """Also one that is never silent."""
    gate = tmp_path / "gate"
    process = deck.launch("hostile:tick_until", str(tmp_path / "truth"), str(gate))
    with httpx.Client(base_url=deck.url, headers={"Origin": deck.url}, timeout=30) as browser:
        assert browser.post("/login", data={"token": deck.token}).status_code == 303
        with (
            browser.stream("GET", "/api/v1/events") as quiet,
            browser.stream("GET", f"/api/v1/processes/{process['id']}/log/stream") as busy,
        ):
            assert (quiet.status_code, busy.status_code) == (200, 200)
            assert browser.post("/logout").status_code == 303
            for answer in (quiet, busy):
                assert answer.read().endswith(b'event: auth\ndata: "the session has ended"\n\n')
    gate.touch()
    assert deck.join(process)["exitcode"] == 0
