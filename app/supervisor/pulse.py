"""Waiting for the next change of something."""

import asyncio


class Pulse:
    """Wakes all who wait. It carries nothing: what changed they look up themselves.

    ``count`` grows with each beat. Who must wait elsewhere between looking and waiting here takes the count first and
    gives it to `wait`.
    """

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()
        self.count = 0

    def fire(self) -> None:
        """Wake everybody who waits."""
        self.count += 1
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, timeout: float | None = None, since: int | None = None) -> bool:
        """Whether it fired within ``timeout`` seconds (None: however long it takes), or since the count was
        ``since``."""
        if since is not None and since != self.count:
            return True
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            done, _ = await asyncio.wait((waiter,), timeout=timeout)
            return bool(done)
        finally:
            self._waiters.discard(waiter)
