"""A kept HTTP/1.1 connection on a bare socket, so that what is measured is the server and not the client."""

import json
import socket
from types import TracebackType
from typing import Any, Self

from benchmarks.managers.base import BenchError


class Connection:
    """One connection to a server on loopback; send() and receive() are apart, so that many can be in flight."""

    def __init__(self, port: int, token: str, timeout: float = 120.0) -> None:
        self._head = f"HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
        self._socket = socket.create_connection(("127.0.0.1", port), timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def fileno(self) -> int:
        """For selectors."""
        return self._socket.fileno()

    def send(self, method: str, path: str, body: object = None) -> None:
        """Send a request whole."""
        data = b"" if body is None else json.dumps(body).encode()
        fields = f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        self._socket.sendall(f"{method} {path} {self._head}{fields}".encode() + data)

    def receive(self) -> Any:
        """The JSON of the next answer. Raises BenchError when it is not a success."""
        body = self.receive_body()
        return json.loads(body) if body else None

    def receive_body(self) -> bytes:
        """The next answer as it came. Raises BenchError when it is not a success."""
        head = self._take_until(b"\r\n\r\n").decode("latin-1")
        length = _content_length(head)
        while len(self._received) < length:
            self._fill()
        body, self._received = self._received[:length], self._received[length:]
        if not head.startswith("HTTP/1.1 2"):
            raise BenchError(f"{head.splitlines()[0]}: {body.decode(errors='replace')}")
        return body

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Send a request and wait for the JSON of its answer."""
        self.send(method, path, body)
        return self.receive()

    def get_page(self, path: str) -> bytes:
        """A page as a browser asks for it, but uncompressed."""
        self._socket.sendall(f"GET {path} {self._head}Accept: text/html\r\n\r\n".encode())
        return self.receive_body()

    def open_stream(self, path: str) -> None:
        """Ask for a stream of server-sent events; what comes is read by read_data()."""
        self._socket.sendall(f"GET {path} {self._head}Accept: text/event-stream\r\n\r\n".encode())
        head = self._take_until(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise BenchError(f"{path}: {head.decode('latin-1').splitlines()[0]}")

    def read_data(self) -> list[Any]:
        """The data of the events that have come in since, at least one read's worth.

        The frames of the chunked encoding stand on lines of their own, since a server sends an event as one chunk.
        """
        self._fill()
        complete, newline, self._received = self._received.rpartition(b"\n")
        lines = (complete + newline).splitlines()
        return [json.loads(line.removeprefix(b"data:")) for line in lines if line.startswith(b"data:")]

    def _take_until(self, end: bytes) -> bytes:
        while end not in self._received:
            self._fill()
        taken, _, self._received = self._received.partition(end)
        return taken

    def _fill(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise BenchError("the server closed the connection")
        self._received += data


def _content_length(head: str) -> int:
    for line in head.splitlines():
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            return int(value)
    raise BenchError(f"an answer without Content-Length: {head.splitlines()[0]}")
