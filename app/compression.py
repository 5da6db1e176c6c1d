"""Pages and JSON are sent compressed to who takes that; static files are compressed once, by `app.pages.files`.

Only bodies that are sent in one piece: a stream would be held back by it, and what follows a log must not be.

On BREACH (guessing a secret from the lengths of compressed answers that also hold what the attacker chose): that needs
an attacker who makes the victim's browser ask, with its session, for pages with a secret in them. Our cookie is
SameSite=Strict, so other sites can't ask in anybody's name, and no page holds a secret: forms carry no token, and the
session is in the cookie alone. The one exception is the login page, which may hold a login code: it is not compressed.
"""

import asyncio
import gzip
import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

SMALLEST = 1024
"""Bytes below which a body fits into one packet anyway."""

LARGE = 256 * 1024
"""Bytes from which a thread does it, so that nobody else waits."""

LEVEL = 5

TYPES = frozenset({b"text/html", b"application/json", b"application/problem+json", b"image/svg+xml"})

NEVER = frozenset({"/login"})
"""Paths whose pages may hold a secret."""

_REFUSED = re.compile(r"q\s*=\s*0(\.0*)?")


def takes_gzip(accept_encoding: str) -> bool:
    """Whether a client that sent this `Accept-Encoding` understands gzip."""
    for part in accept_encoding.lower().split(","):
        coding, _, quality = part.partition(";")
        if coding.strip() in ("gzip", "*"):
            return not _REFUSED.fullmatch(quality.strip())
    return False


class Compression:
    """Compresses what the application answers, where that is of use."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in NEVER:
            await self._app(scope, receive, send)
            return
        accepted = b",".join(value for name, value in scope["headers"] if name == b"accept-encoding")
        await self._app(scope, receive, _Answer(send, takes_gzip(accepted.decode("latin-1"))).send)


class _Answer:
    """One answer on its way: its start is held back until it is known whether the body comes in one piece."""

    def __init__(self, send: Send, is_taken: bool) -> None:
        self._send = send
        self._is_taken = is_taken
        self._start: Message | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_of_a_kind(message):
            self._start = message
            return
        if (start := self._start) is not None:
            self._start = None
            body = message.get("body", b"")
            headers = [*start["headers"], (b"vary", b"Accept-Encoding")]
            if self._is_taken and len(body) >= SMALLEST and not message.get("more_body", False):
                body = await _packed(body)
                headers = [pair for pair in headers if pair[0] != b"content-length"]
                headers += [(b"content-encoding", b"gzip"), (b"content-length", b"%d" % len(body))]
                message = {**message, "body": body}
            await self._send({**start, "headers": headers})
        await self._send(message)


def _is_of_a_kind(start: Message) -> bool:
    headers = dict(start["headers"])
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    return kind in TYPES and b"content-encoding" not in headers


async def _packed(body: bytes) -> bytes:
    if len(body) >= LARGE:
        return await asyncio.to_thread(gzip.compress, body, LEVEL, mtime=0)
    return gzip.compress(body, LEVEL, mtime=0)
