"""The keeper's connection to the service."""

import socket
from pathlib import Path

from procdeck.link import ServiceLink


def test_what_waits_goes_with_the_connection(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        link = ServiceLink(path)
        assert link.connect()
        link.send(bytes(link.MAX_BACKLOG))
        assert link.is_behind
        link.close()
        assert not link.is_behind
        link.send(b"too late")
        assert not link.is_behind
        assert link.receive() is None
