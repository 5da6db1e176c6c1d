"""The connections of keepers, on the service's Unix socket."""

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, cast

from procdeck.protocol import Decoder, Message, ProtocolError, encode, understands

BACKLOG = 1024
"""Connections that may wait to be accepted: after a restart of the service all keepers come at once."""

_UCRED = struct.Struct("3i")
"""struct ucred of unix(7): pid, uid, gid."""


class KeeperListener(Protocol):
    """Who is told what keepers say."""

    def keeper_connected(self, connection: "KeeperConnection", hello: Message) -> None:
        """A keeper has said whose it is; ``connection.process_id`` and ``connection.version`` are set."""

    def keeper_said(self, process_id: str, message: Message) -> None:
        """A message of the keeper of this process."""

    def keeper_gone(self, connection: "KeeperConnection") -> None:
        """The connection is at its end; the keeper may still live."""


class KeeperConnection(asyncio.Protocol):
    """One keeper over its socket. A peer that is of another user, or talks nonsense, is hung up on."""

    def __init__(self, listener: KeeperListener) -> None:
        self._listener = listener
        self._decoder = Decoder()
        self._transport: asyncio.Transport | None = None
        self.process_id: str | None = None
        self.version: object = None

    @property
    def is_understood(self) -> bool:
        """Whether the keeper's release is near enough to ours; what one says that is not is not listened to."""
        return understands(self.version)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast(asyncio.Transport, transport)
        if _peer_uid(transport.get_extra_info("socket")) != os.geteuid():
            transport.close()

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        try:
            for message in self._decoder.feed(data):
                self._take(message)
        except ProtocolError:
            self.close()

    def _take(self, message: Message) -> None:
        if self.process_id is not None:
            if self.is_understood:
                self._listener.keeper_said(self.process_id, message)
        elif message["type"] == "hello" and isinstance(message.get("id"), str):
            self.process_id, self.version = message["id"], message.get("version")
            self._listener.keeper_connected(self, message)
        else:
            raise ProtocolError("the first message of a keeper must be hello")

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self._transport = None
        if self.process_id is not None:
            self._listener.keeper_gone(self)

    def send(self, type_: str, **fields: Any) -> None:
        """Send a message; nothing happens when the connection is gone."""
        if self._transport is not None:
            self._transport.write(encode(type_, **fields))

    def close(self) -> None:
        """Hang up; the keeper will call again."""
        if self._transport is not None:
            self._transport.close()


def _peer_uid(peer: socket.socket) -> int:
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return int(_UCRED.unpack(credentials)[1])


def listen(path: Path) -> socket.socket:
    """A socket at ``path``, for this user only, in place of what a service that was killed left there.

    The address is given through a descriptor of the folder, for a path may be longer than the 107 bytes that fit
    (unix(7)).
    """
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    folder = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)
    path.chmod(0o600)
    listener.listen(BACKLOG)
    return listener


async def accept(listener: socket.socket, make: Callable[[], KeeperConnection]) -> None:
    """Take connections until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            peer, _ = await loop.sock_accept(listener)
        except OSError:
            # Out of descriptors: the keepers wait in the backlog, and are no worse off for it.
            await asyncio.sleep(0.1)
            continue
        peer.setblocking(False)
        await loop.connect_accepted_socket(make, peer)
