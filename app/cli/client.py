"""The REST API as the command line uses it: JSON in and out, problems as `Failure`, streams line by line.

The standard library's client: it is imported in a fifth of the time that httpx takes, which is most of what a short
command lasts. One connection a call.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from app.cli import codes
from app.cli.failure import Failure, Refused, Unreachable

PREFIX = "/api/v1"
PATIENCE = 60.0
"""Seconds that an answer, or the next piece of one, may take. Streams have a ping every 15 s."""

JSON = dict[str, Any]


@dataclass(frozen=True)
class Service:
    """A running service.

    Every call raises `Unreachable` when it can't be spoken to, and `Refused` when it answers with a problem.
    """

    url: str
    token: str | None

    def get(self, path: str, **query: Any) -> Any:
        """The JSON at `path`; what is None in `query` is left out."""
        return self._call("GET", path, query)

    def post(self, path: str, body: JSON | None = None, *, patience: float = PATIENCE, **query: Any) -> Any:
        """The JSON that is answered; `patience` is how many seconds that may take."""
        return self._call("POST", path, query, body, patience)

    def delete(self, path: str) -> None:
        """Remove what is at `path`."""
        self._call("DELETE", path, {})

    def _call(self, method: str, path: str, query: JSON, body: JSON | None = None, patience: float = PATIENCE) -> Any:
        with self._answer(method, path, query, body, patience=patience) as answer, self._reaching():
            content = answer.read()
        return _decoded(content) if content else None

    @contextmanager
    def lines(self, path: str, headers: Mapping[str, str] | None = None, **query: Any) -> Iterator[Iterator[bytes]]:
        """The lines of an answer as they come, each with its newline."""
        with self._answer("GET", path, query, headers=headers) as answer:
            yield self._lines(answer)

    @contextmanager
    def events(self, path: str, last_event_id: int | None, **query: Any) -> Iterator[Iterator["Event"]]:
        """The server-sent events of a stream, from behind `last_event_id` on."""
        headers = {} if last_event_id is None else {"Last-Event-ID": str(last_event_id)}
        with self.lines(path, headers, **query) as lines:
            yield parse_events(lines)

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        query: JSON,
        body: JSON | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        patience: float = PATIENCE,
    ) -> Iterator[HTTPResponse]:
        connection, prefix = self._connect(patience)
        try:
            given = {name: value for name, value in query.items() if value is not None}
            where = f"{prefix}{PREFIX}{path}" + (f"?{urlencode(given, doseq=True)}" if given else "")
            content = None if body is None else json.dumps(body).encode()
            with self._reaching():
                connection.request(method, where, content, self._headers(content is not None) | dict(headers or {}))
                answer = connection.getresponse()
                if answer.status >= 300:
                    raise Refused(answer.status, _problem(answer))
            yield answer
        finally:
            connection.close()

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Around each exchange with the service and nothing else: what goes wrong elsewhere is no fault of the line."""
        try:
            yield
        except (OSError, HTTPException) as error:
            raise Unreachable(f"no service answers at {self.url}: {_reason(error)}") from error

    def _lines(self, answer: HTTPResponse) -> Iterator[bytes]:
        """By `read1`, which gives what there is: `readline` of a chunked answer may ask for more than there is yet."""
        rest = b""
        while data := self._read(answer):
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                yield line + b"\n"
        if rest:
            yield rest

    def _read(self, answer: HTTPResponse) -> bytes:
        with self._reaching():
            return answer.read1(64 * 1024)

    def _connect(self, patience: float) -> tuple[HTTPConnection, str]:
        try:
            address = urlsplit(self.url)
            host, port = address.hostname, address.port
        except ValueError as error:
            raise Failure(f"{self.url!r} is not the URL of a service: {error}", codes.USAGE) from None
        if address.scheme not in ("http", "https") or not host:
            raise Failure(f"{self.url!r} is not the URL of a service, such as http://127.0.0.1:8000", codes.USAGE)
        kind = HTTPSConnection if address.scheme == "https" else HTTPConnection
        return kind(host, port, timeout=patience), address.path.rstrip("/")

    def _headers(self, has_body: bool) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": "procdeck-cli"}
        if has_body:
            headers["Content-Type"] = "application/json"
        if self.token:
            if not (self.token.isascii() and self.token.isprintable()):
                raise Failure("the token has characters that no token has", codes.NOT_ALLOWED)
            headers["Authorization"] = f"Bearer {self.token}"
        return headers


def path_of(process_id: str, *below: str) -> str:
    """The path of a process, or of something below it."""
    return "/".join(["/processes", quote(process_id, safe=""), *below])


def _problem(answer: HTTPResponse) -> JSON:
    """What the service says is wrong; what is not a problem document is not from a service of ours."""
    try:
        problem = json.loads(answer.read(1024 * 1024))
    except ValueError:
        problem = None
    if isinstance(problem, dict) and "title" in problem:
        return problem
    return {"title": f"HTTP {answer.status}", "detail": f"{answer.reason}; is that a Procdeck service?"}


def _decoded(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        raise Failure("the answer is not JSON; is that a Procdeck service?", codes.SERVICE_FAILED) from None


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


class Event(NamedTuple):
    """A server-sent event; `id` is None when it has none."""

    name: str
    id: int | None
    data: Any


def parse_events(lines: Iterator[bytes]) -> Iterator[Event]:
    """The events in the lines of a stream: each has one line of data, which is JSON; comments are skipped."""
    fields: dict[str, str] = {}
    for line in lines:
        text = line.decode().rstrip("\n")
        if text:
            name, _, value = text.partition(": ")
            fields[name] = value
        elif "event" in fields:
            number = fields.get("id")
            yield Event(fields["event"], int(number) if number else None, _decoded(fields.get("data", "null").encode()))
            fields = {}
