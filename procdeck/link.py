"""The keeper's connection to the service."""

from __future__ import annotations

import _socket
from select import POLLOUT, poll
from time import monotonic

from procdeck.pristine import os
from procdeck.protocol import Decoder, Message


class ServiceLink:
    """The connection to the service: never blocks, never raises into the keeper's work, and holds back little when the
    service does not read."""

    MAX_BACKLOG = 1024 * 1024

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket: _socket.socket | None = None
        self._decoder = Decoder()
        self._backlog = bytearray()

    def connect(self) -> bool:
        """Try once; whether it worked."""
        try:
            link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        except OSError:  # no descriptor left
            return False
        link.setblocking(False)
        try:
            connect_unix(link, self._path)
        except OSError:
            link.close()
            return False
        self._socket, self._decoder, self._backlog = link, Decoder(), bytearray()
        return True

    def fileno(self) -> int:
        """The descriptor of the open connection."""
        assert self._socket is not None
        return self._socket.fileno()

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._socket is not None

    @property
    def is_behind(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self._backlog)

    def send(self, frame: bytes) -> None:
        """Send now or as soon as the service reads.

        With a megabyte waiting the connection is given up: the service then reads the journal.
        """
        if self._socket is None:
            return
        self._backlog += frame
        self.flush()
        if len(self._backlog) > self.MAX_BACKLOG:
            self._backlog.clear()
            self._socket.shutdown(_socket.SHUT_RDWR)

    def offer(self, frame: bytes) -> None:
        """Send if the service keeps up; else let it be: the next of its kind tells more."""
        self.flush()
        if not self._backlog:
            self.send(frame)

    def flush(self) -> None:
        """Send what the socket takes."""
        try:
            while self._socket is not None and self._backlog:
                del self._backlog[: self._socket.send(self._backlog)]
        except BlockingIOError:
            return
        except OSError:
            self._backlog.clear()  # the end-of-file that follows is met by `receive`

    def receive(self) -> list[Message] | None:
        """The messages that have come; None at the end of the connection. Raises OSError, ProtocolError."""
        self.flush()
        if self._socket is None:
            return None
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return []
        return self._decoder.feed(data) if data else None

    def drain(self) -> None:
        """Before the keeper ends: give the service up to a second to take what waits; the journal has it in any
        case."""
        if self._socket is None or not self._backlog:
            return
        waiter = poll()
        waiter.register(self._socket, POLLOUT)
        deadline = monotonic() + 1.0
        while self._backlog and monotonic() < deadline:
            waiter.poll(100)
            self.flush()

    def close(self) -> None:
        """Give the connection up, and with it what waits to be sent."""
        self._backlog.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def connect_unix(link: _socket.socket, path: str) -> None:
    """Connect to ``path`` even when it is longer than the 107 bytes that an address holds (unix(7)): through a
    descriptor of its folder."""
    folder, _, name = path.rpartition("/")
    fd = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    try:
        link.connect(f"/proc/self/fd/{fd}/{name}")
    finally:
        os.close(fd)
