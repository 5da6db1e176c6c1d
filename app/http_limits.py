"""What a peer may make the server wait for: uvicorn itself limits only how long a kept connection is idle.

A connection ends when its request does not arrive in time or is too large, when its peer takes nothing of an answer,
and, by the kernel, when its peer is gone without a goodbye. There are no timers: the server looks at all connections
once a second, which costs a request nothing.
"""

import asyncio
import resource
import socket
import struct
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

HEAD_WITHIN = 20.0
"""Seconds from the first moment of a connection, or the first byte of a later request, to the end of its headers."""
BODY_WITHIN = 60.0
"""Seconds from there to the end of the body, which has a mebibyte at most."""
HEAD_BYTES = 64 * 1024
"""Bytes of a request line with its headers; up to twice as many, when they come in one piece."""
TAKE_WITHIN = 30.0
"""Seconds in which a peer has to take something of what waits for it. A stream that nobody reads would be held open
for ever."""
PEER_ANSWERS_WITHIN = 60
"""Seconds after which the kernel ends a connection whose peer acknowledges nothing: of what was sent, or of its own
questions while nothing is sent."""


class LimitedProtocol(HttpToolsProtocol):
    """One connection, within the limits above."""

    _due: float | None = None
    """When the request that is arriving has to be complete; None while none is."""
    _in_head = False
    _head_bytes = 0
    """Bytes received of a head that is not complete."""
    _taken = 0
    """Bytes that the peer had taken when we looked last."""
    _stuck_since: float | None = None
    """Since when it took no more though there was more; None while there is not."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by the loop."""
        super().connection_made(transport)
        self._due = self.loop.time() + HEAD_WITHIN
        if len(self.connections) > most_connections():
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "retry-after: 5\r\n")

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        if self._due is None:
            self._due = self.loop.time() + HEAD_WITHIN
        for start in range(0, len(data), HEAD_BYTES):  # in pieces, so that not all of it is one head
            if self.transport.is_closing():
                return
            piece = data[start : start + HEAD_BYTES]
            super().data_received(piece)
            self._count_head(len(piece))

    def _count_head(self, size: int) -> None:
        if self._in_head:
            self._head_bytes += size
            if self._head_bytes > HEAD_BYTES:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        """Called by the parser."""
        self._in_head, self._head_bytes = True, 0
        if self._due is None:  # the second one of a piece
            self._due = self.loop.time() + HEAD_WITHIN
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self._in_head = False
        self._due = self.loop.time() + BODY_WITHIN
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._due = None
        super().on_message_complete()

    def look(self, now: float) -> None:
        """End the connection if its peer has been waited for long enough; ``now`` is the loop's time."""
        if self._takes_nothing(now):
            self.transport.abort()
        elif self._due is not None and now > self._due and not self._waits_for_us():
            self._give_up_request()

    def _waits_for_us(self) -> bool:
        """Whether what is late can't come sooner: we do not read on, or have not answered the request before it."""
        cycle = self._last_cycle()
        is_answering = cycle is not None and not cycle.response_complete
        return self.flow.read_paused or (self._in_head and is_answering)

    def _last_cycle(self) -> RequestResponseCycle | None:
        return self.cycle  # declared as if there always were one

    def _takes_nothing(self, now: float) -> bool:
        if self.transport.get_write_buffer_size() == 0:
            self._stuck_since = None
            return False
        taken = bytes_taken(self.transport.get_extra_info("socket"))
        if self._stuck_since is None or taken != self._taken:
            self._stuck_since, self._taken = now, taken
        return now - self._stuck_since > TAKE_WITHIN

    def _give_up_request(self) -> None:
        cycle = self._last_cycle()
        is_unanswered = cycle is not None and not cycle.response_started
        if self._in_head or is_unanswered:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.transport.close()  # nothing was asked, or it was answered already

    def _refuse(self, status: HTTPStatus, header: str = "") -> None:
        """Say why, and hang up. Without the application: it was never asked, or waits for the rest of the request."""
        text = f"{status.phrase}\n"
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: text/plain; charset=utf-8\r\n{header}"
        self.transport.write(f"{head}content-length: {len(text)}\r\nconnection: close\r\n\r\n{text}".encode())
        self.transport.close()


def look_at_all(connections: Iterable[Any], now: float) -> None:
    """Let each connection of the server end itself if it has to."""
    for connection in list(connections):
        cast(LimitedProtocol, connection).look(now)


def notice_lost_peers(listener: socket.socket) -> None:
    """Let the kernel end each connection that ``listener`` takes, which inherits this, about `PEER_ANSWERS_WITHIN`
    seconds after its peer vanished."""
    quarter = max(1, PEER_ANSWERS_WITHIN // 4)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, quarter)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, quarter)
    # Stands over the number of keepalive probes, and holds for what was sent and never acknowledged, too (tcp(7)).
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, PEER_ANSWERS_WITHIN * 1000)


_TAKEN = struct.Struct("120xQ")
"""tcpi_bytes_acked of struct tcp_info (linux/tcp.h), since Linux 4.1."""


def bytes_taken(peer: socket.socket) -> int:
    """How many bytes the peer has ever acknowledged: while its window is closed that is how many it has read, give or
    take its buffer. What waits in ours says nothing, for we fill it up again."""
    info = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TAKEN.size)
    return int(_TAKEN.unpack(info)[0])


def most_connections() -> int:
    """How many connections there may be: half of the descriptors, for processes need the others."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, soft // 2)
