"""Starting the child: the pipes, the channel, and multiprocessing's start."""

from __future__ import annotations

import _socket
from typing import Any, NamedTuple

from procdeck.child import MAX_LAUNCH_BYTES, ChildProcess
from procdeck.pristine import os
from procdeck.protocol import dump_json


class Newborn(NamedTuple):
    """A child just started, and the keeper's ends of what leads to it."""

    process: ChildProcess
    channel: _socket.socket
    stdout: int
    stderr: int

    def order(self, launch: dict[str, Any]) -> bool:
        """Tell a child that was forked ahead of time what to be; False when it can't be told."""
        packet = dump_json(launch)
        if launch["start_method"] != "fork" or len(packet) > MAX_LAUNCH_BYTES:
            return False
        try:
            self.channel.send(packet)
        except OSError:
            return False  # somebody killed it
        return True

    def discard(self) -> None:
        """End a child that was told nothing: its channel's end tells it."""
        self.channel.close()
        os.close(self.stdout)
        os.close(self.stderr)
        self.process.join()
        self.process.close()  # the pipes of multiprocessing's: the next child must not inherit them


def bear(keeper_fds: list[int], launch: dict[str, Any] | None = None) -> Newborn:
    """Start a child, with its ends of the pipes on fds 1 and 2 of this process for as long as that takes: so every
    start method passes them on.

    ``keeper_fds`` are the descriptors that a forked child must not keep. Raises OSError when it can't be started.
    """
    out, err = os.pipe(), os.pipe()
    channel, child_channel = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    kept = [os.dup(1), os.dup(2)]
    child = ChildProcess(child_channel, [*keeper_fds, *out, *err, channel.fileno(), *kept], launch)
    os.dup2(out[1], 1)
    os.dup2(err[1], 2)
    try:
        child.start()
    except BaseException:
        os.close(out[0])
        os.close(err[0])
        channel.close()
        raise
    finally:
        os.dup2(kept[0], 1)
        os.dup2(kept[1], 2)
        for fd in (*kept, out[1], err[1]):
            os.close(fd)
        child_channel.close()
    return Newborn(child, channel, out[0], err[0])
