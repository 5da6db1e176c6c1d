"""What a peer may make the server wait for: a small application behind the real server, with times made short."""

import asyncio
import os
import socket

import pytest

from app import http_limits
from tests.peers import SECONDS, Answers, ask, serving

pytestmark = pytest.mark.anyio

GET = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every limit a second or less."""
    monkeypatch.setattr(http_limits, "HEAD_WITHIN", 0.5)
    monkeypatch.setattr(http_limits, "BODY_WITHIN", 0.7)
    monkeypatch.setattr(http_limits, "TAKE_WITHIN", 1.0)


@pytest.mark.usefixtures("short")
async def test_a_request_that_does_not_come_is_given_up() -> None:
    async with serving(Answers()) as (port, _):
        post = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + b"x" * 10
        early = b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + b"x" * 10
        silence, stray, head, body, answered, second = await asyncio.gather(
            ask(port, b""),
            ask(port, b"\r\n"),
            ask(port, b"GET / HTTP/1.1\r\nHost: x\r\nX-Half: "),
            ask(port, post),
            ask(port, early),
            ask(port, GET % b"echo" + b"GET / HT"),
        )
    assert silence == stray == b""
    assert head.startswith(b"HTTP/1.1 408 ")
    assert body.startswith(b"HTTP/1.1 408 ")
    assert answered.startswith(b"HTTP/1.1 200 ")
    assert answered.endswith(b"\r\n\r\nno"), "an answer is not followed by another"
    assert second.startswith(b"HTTP/1.1 200 ")
    assert b"\r\n\r\n0HTTP/1.1 408 " in second


@pytest.mark.usefixtures("short")
async def test_what_takes_us_long_is_not_the_peers_fault() -> None:
    async with serving(Answers()) as (port, _):
        answer = await ask(port, GET % b"slow" + b"GET /echo HTTP/1.1\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\n\r\nslow" in answer


@pytest.mark.usefixtures("short")
async def test_a_kept_connection_may_be_idle_for_longer() -> None:
    async with serving(Answers()) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(GET % b"echo")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            assert await reader.readexactly(1) == b"0"
            await asyncio.sleep(2)  # longer than a request may take, and a look at the connections is in it
        writer.close()


async def test_a_large_body_comes_through_and_a_large_head_does_not() -> None:
    size = 3 * 2**20
    async with serving(Answers()) as (port, _):
        length = b"Connection: close\r\nContent-Length: %d" % size
        body = await ask(port, b"POST / HTTP/1.1\r\nHost: x\r\n" + length + b"\r\n\r\n" + b"x" * size)
        heads = await asyncio.gather(
            ask(port, b"GET / HTTP/1.1\r\nHost: x\r\nX-Large: " + b"x" * 2**20),
            ask(port, b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Many: x\r\n" * 2**17),
            ask(port, b"GET /" + b"x" * 2**20),
            return_exceptions=True,
        )
    assert body.endswith(str(size).encode())
    for head in heads:
        # What was still on its way makes the kernel of the server send a reset, which may overtake the answer.
        is_refusal = isinstance(head, bytes) and (head == b"" or head.startswith(b"HTTP/1.1 431 "))
        assert is_refusal or isinstance(head, ConnectionError), head


@pytest.mark.usefixtures("short")
async def test_a_peer_that_takes_nothing_is_hung_up_on() -> None:
    app = Answers()
    async with serving(app) as (port, server):
        with socket.socket() as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.connect(("127.0.0.1", port))
            peer.sendall(GET % b"flood")
            async with asyncio.timeout(SECONDS):
                await app.gone.wait()
            assert not server.server_state.connections
            assert app.sent < 8 * 2**20, "what nobody takes is not made"


@pytest.mark.usefixtures("short")
async def test_a_slow_peer_is_served() -> None:
    app = Answers()
    async with serving(app) as (port, _):
        with socket.socket() as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            peer.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(peer, ("127.0.0.1", port))
            await loop.sock_sendall(peer, GET % b"flood")
            for _ in range(8):  # four times as long as one that takes nothing would be suffered
                taken = 0
                while taken < 2**20:
                    data = await loop.sock_recv(peer, 65536)
                    assert data, "hung up on"
                    taken += len(data)
                await asyncio.sleep(0.5)
            assert not app.gone.is_set()


async def test_there_is_an_end_to_the_number_of_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_limits, "most_connections", lambda: 3)
    async with serving(Answers()) as (port, _):
        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        refused = await ask(port, b"")
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 5\r\n" in refused
        for _, writer in opened:
            writer.close()
            await writer.wait_closed()
        async with asyncio.timeout(SECONDS):
            while not (await ask(port, b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")).startswith(b"HTTP/1.1 200 "):
                await asyncio.sleep(0.01)


async def test_the_kernel_looks_after_every_connection() -> None:
    async with serving(Answers()) as (port, server):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(SECONDS):
            while not server.server_state.connections:
                await asyncio.sleep(0.01)
        connection = next(iter(server.server_state.connections))
        peer = connection.transport.get_extra_info("socket")
        with socket.socket(fileno=os.dup(peer.fileno())) as ours:
            assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000
            timings = [
                ours.getsockopt(socket.IPPROTO_TCP, what) for what in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL)
            ]
            assert timings == [15, 15]
        writer.close()
