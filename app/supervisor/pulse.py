"""Waiting for the next change of something."""

import asyncio


class Pulse:
    """Wakes all who wait. It carries nothing: what changed they look up themselves.

    ``count`` grows with each beat. Who must wait elsewhere between looking and waiting here takes the count first and
    gives it to `wait`.
    """

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[bool]] = set()
        self.count = 0

    def fire(self) -> None:
        """Wake everybody who waits."""
        self.count += 1
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(True)

    async def wait(self, timeout: float | None = None, since: int | None = None) -> bool:
        """Whether it fired within ``timeout`` seconds (None: however long it takes), or since the count was
        ``since``."""
        if since is not None and since != self.count:
            return True
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiters.add(waiter)
        expiry = loop.call_later(timeout, _expire, waiter) if timeout is not None else None
        try:
            return await waiter
        finally:
            self._waiters.discard(waiter)
            if expiry is not None:
                expiry.cancel()


def _expire(waiter: asyncio.Future[bool]) -> None:
    if not waiter.done():
        waiter.set_result(False)
