"""A small application behind the real server, in this process, and what talks to it without a client's manners."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.types import Receive, Scope, Send

from app.http_limits import LimitedProtocol
from app.server import Server, _listen
from app.settings import Settings

SECONDS = 10.0


class Answers:
    """An application: tells the size of a body, answers early without reading it, late, without end or with nothing;
    ``sent`` are the bytes of its flood."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.gone = asyncio.Event()
        self.sent = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.began.set()
        paths = {"/early": self._early, "/flood": self._flood, "/silence": self._silence, "/slow": self._slow}
        await paths.get(scope["path"], self._echo)(receive, send)

    async def _echo(self, receive: Receive, send: Send) -> None:
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gone.set()
                return
            size, more = size + len(message["body"]), message["more_body"]
        await self._answer(send, str(size).encode())

    async def _early(self, receive: Receive, send: Send) -> None:
        await self._answer(send, b"no")

    async def _slow(self, receive: Receive, send: Send) -> None:
        await asyncio.sleep(2.5)
        await self._answer(send, b"slow")

    async def _flood(self, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        reading = asyncio.ensure_future(self._until_gone(receive))
        while not reading.done():
            await send({"type": "http.response.body", "body": b"x" * 16384, "more_body": True})
            self.sent += 16384
            await asyncio.sleep(0)

    async def _silence(self, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await self._until_gone(receive)

    async def _until_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.gone.set()

    async def _answer(self, send: Send, body: bytes) -> None:
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(app: Answers, host: str = "127.0.0.1") -> AsyncIterator[tuple[int, Server]]:
    """The port of a server, and the server."""
    listener = _listen(Settings(host=host, port=0))
    port = listener.getsockname()[1]
    server = Server(uvicorn.Config(app, http=LimitedProtocol, ws="none", lifespan="off", log_config=None))
    task = asyncio.ensure_future(server.serve([listener]))
    try:
        yield port, server
    finally:
        server.should_exit = server.force_exit = True
        await task


async def ask(port: int, request: bytes) -> bytes:
    """All that is answered until the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(SECONDS):
            return await reader.read()
    finally:
        writer.close()
