"""The service looks at its own situation every few seconds and says when something is, or gets, wrong."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from app.health import host, judgements
from app.health.host import Descriptors, Disk
from app.health.troubles import Troubles
from app.supervisor.launchers import Environment
from app.supervisor.supervisor import Supervisor

logger = logging.getLogger("procdeck.self_check")

CHECK_EVERY = 5.0
ANSWER_WITHIN = 5.0
"""Seconds in which a disk has to say how full it is."""


class SelfCheck:
    """Reports and clears what it is responsible for: ``disk.*``, ``descriptors``, ``launcher.NAME``."""

    def __init__(self, data_dir: Path, supervisor: Supervisor, troubles: Troubles) -> None:
        self._data_dir = data_dir
        self._environments = supervisor.engine.environments
        self._troubles = troubles
        # A thread of its own: a disk that does not answer keeps it, and nobody else.
        self._thread = ThreadPoolExecutor(1, "self-check")
        self._asked: asyncio.Future[tuple[Disk, Descriptors]] | None = None

    async def run(self) -> None:
        """Check until cancelled."""
        try:
            while True:
                try:
                    await self.check()
                except Exception:
                    logger.exception("the service could not look at itself; it will try again")
                await asyncio.sleep(CHECK_EVERY)
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def check(self) -> None:
        """Look once."""
        for name, environment in self._environments.items():
            self._say(f"launcher.{name}", launcher_fails(environment))
        if self._asked is None:
            self._asked = asyncio.get_running_loop().run_in_executor(self._thread, self._look)
        done, _ = await asyncio.wait((self._asked,), timeout=ANSWER_WITHIN)
        if not done:
            self._say(
                "disk.answer", "The disk of the data folder does not answer: whatever has to be written waits for it."
            )
            return
        asked, self._asked = self._asked, None
        try:
            disk, descriptors = asked.result()
        except OSError as error:
            self._say("disk.answer", f"The disk of the data folder can't be looked at: {error.strerror}.")
            return
        self._say("disk.answer", None)
        self._say("disk.space", judgements.disk_is_full(disk))
        self._say("disk.inodes", judgements.inodes_are_gone(disk))
        self._say("descriptors", judgements.descriptors_are_gone(descriptors))

    def _look(self) -> tuple[Disk, Descriptors]:
        return host.disk(self._data_dir), host.descriptors()

    def _say(self, key: str, sentence: str | None) -> None:
        if sentence is None:
            if self._troubles.clear(key):
                logger.info("%s: well again", key)
        elif self._troubles.report(key, sentence):
            logger.warning("%s", sentence)


def launcher_fails(environment: Environment) -> str | None:
    """What to say of an environment whose launchers do not come up, or do not live."""
    if not environment.is_failing:
        return None
    why = environment.last_failure or "they end soon after their start"
    return (
        f"The launcher of environment {environment.config.name!r} failed {environment.failures} times in a row, its "
        f"targets can't be launched now: {why}"
    )
