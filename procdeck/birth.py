"""Starting the child: the pipes, the channel, and multiprocessing's start."""

from __future__ import annotations

import _socket
from contextlib import ExitStack
from typing import Any, NamedTuple

from procdeck.child import MAX_LAUNCH_BYTES, ChildProcess
from procdeck.pristine import os, signal
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
        """End a child that was told nothing.

        Its channel's end would tell it, but for one that is stopped, or that hangs in a fork hook of the user's.
        """
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGKILL)  # not reaped yet, so the number is its own
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
    with ExitStack() as on_failure, ExitStack() as at_end:
        out, out_end = _pipe(on_failure, at_end)
        err, err_end = _pipe(on_failure, at_end)
        channel, child_channel = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        on_failure.callback(channel.close)
        at_end.callback(child_channel.close)
        own = [_set_aside(fd, at_end) for fd in (1, 2)]
        foreign = [*keeper_fds, out, out_end, err, err_end, channel.fileno(), *own]
        child = ChildProcess(child_channel, foreign, launch)
        os.dup2(out_end, 1)
        os.dup2(err_end, 2)
        child.start()
        on_failure.pop_all()
    return Newborn(child, channel, out, err)


def _pipe(on_failure: ExitStack, at_end: ExitStack) -> tuple[int, int]:
    read, write = os.pipe()
    on_failure.callback(os.close, read)
    at_end.callback(os.close, write)
    return read, write


def _set_aside(fd: int, at_end: ExitStack) -> int:
    """A copy of ``fd``, from which it is restored at the end."""
    copy = os.dup(fd)
    at_end.callback(os.close, copy)
    at_end.callback(os.dup2, copy, fd)
    return copy
