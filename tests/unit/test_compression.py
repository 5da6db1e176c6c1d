"""What is compressed on its way out, and what must not be."""

import gzip

import anyio
import pytest
from starlette.types import Message, Receive, Scope, Send

from app.compression import LARGE, SMALLEST, Compression, takes_gzip

LONG = b"<p>hello</p>" * 1000


def sent(
    *parts: bytes,
    kind: str = "text/html; charset=utf-8",
    path: str = "/processes",
    accept: str = "gzip, deflate",
    extra: tuple[tuple[bytes, bytes], ...] = (),
) -> tuple[dict[bytes, bytes], list[bytes]]:
    """The headers and the parts of the body that come out where ``parts`` went in."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        length = str(sum(map(len, parts))).encode()
        headers = [(b"content-type", kind.encode()), (b"content-length", length), *extra]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number, part in enumerate(parts, 1):
            await send({"type": "http.response.body", "body": part, "more_body": number < len(parts)})

    messages: list[Message] = []

    async def run() -> None:
        async def receive() -> Message:
            raise AssertionError("nothing is received")

        async def send(message: Message) -> None:
            messages.append(message)

        headers = [(b"accept-encoding", accept.encode())] if accept else []
        await Compression(app)({"type": "http", "path": path, "headers": headers}, receive, send)

    anyio.run(run)
    start, *bodies = messages
    return dict(start["headers"]), [message["body"] for message in bodies]


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/json", "application/problem+json"])
@pytest.mark.parametrize("body", [LONG, LONG * (LARGE // len(LONG) + 1)], ids=["short", "long"])
def test_a_page_is_compressed(kind: str, body: bytes) -> None:
    headers, (packed,) = sent(body, kind=kind)
    assert headers[b"content-encoding"] == b"gzip"
    assert headers[b"content-length"] == str(len(packed)).encode()
    assert headers[b"vary"] == b"Accept-Encoding"
    assert gzip.decompress(packed) == body
    assert len(packed) < len(body) / 10


@pytest.mark.parametrize(
    ("parts", "options"),
    [
        pytest.param([LONG], {"accept": ""}, id="who does not take it"),
        pytest.param([LONG], {"accept": "gzip;q=0, br"}, id="who refuses it"),
        pytest.param([b"x" * (SMALLEST - 1)], {}, id="a tiny body"),
        pytest.param([LONG], {"path": "/login"}, id="the login page"),
        pytest.param([LONG], {"kind": "text/plain"}, id="a log"),
        pytest.param([LONG], {"kind": "application/octet-stream"}, id="a download"),
        pytest.param([LONG, LONG], {"kind": "text/event-stream"}, id="events"),
        pytest.param([LONG, LONG], {}, id="what comes in parts"),
        pytest.param([LONG], {"extra": ((b"content-encoding", b"br"),)}, id="what is compressed"),
    ],
)
def test_the_rest_goes_out_as_it_is(parts: list[bytes], options: dict[str, str]) -> None:
    headers, bodies = sent(*parts, **options)  # type: ignore[arg-type]
    assert bodies == parts
    assert headers.get(b"content-encoding") in (None, b"br")
    assert headers[b"content-length"] == str(sum(map(len, parts))).encode()


def test_caches_are_told_that_it_depends() -> None:
    assert sent(LONG, accept="")[0][b"vary"] == b"Accept-Encoding"


@pytest.mark.parametrize(
    ("header", "is_taken"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("*", True),
        ("gzip; q=1.0", True),
        ("", False),
        ("br", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
    ],
)
def test_who_takes_gzip(header: str, is_taken: bool) -> None:
    assert takes_gzip(header) is is_taken
