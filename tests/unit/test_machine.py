"""What machines ask outside of the API, while the record is in trouble."""

from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI

from app.api import machine
from app.errors import RecordUnavailable, install_error_handlers
from app.health.troubles import Troubles
from app.metrics import Metrics
from procdeck.states import Outcome, State

pytestmark = pytest.mark.anyio

WORDS = 'connection to server at "db.internal" failed: no password for user "deck"'


class Service:
    """The parts that are asked."""

    def __init__(self) -> None:
        self.is_readable = True
        self.stopping = False
        self.engine = SimpleNamespace(environments_not_ready=list, connected_count=lambda: 3)
        self.troubles = Troubles()
        self._app = FastAPI()
        self._app.include_router(machine.router)
        install_error_handlers(self._app)
        self._app.state.parts = SimpleNamespace(store=self, supervisor=self, metrics=Metrics(), troubles=self.troubles)

    def last_event_id(self) -> int:
        self._read()
        return 1

    def counts_by_state_and_outcome(self) -> tuple[dict[State, int], dict[Outcome, int]]:
        self._read()
        return {State.RUNNING: 2}, {}

    def _read(self) -> None:
        if not self.is_readable:
            raise RecordUnavailable(f"The database can't be used: {WORDS}.")

    async def get(self, path: str) -> httpx.Response:
        transport = httpx.ASGITransport(self._app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(path)


async def test_metrics_are_told_without_a_record() -> None:
    service = Service()
    assert 'procdeck_processes{state="running"} 2.0' in (await service.get("/metrics")).text
    service.is_readable = False
    service.troubles.report("database", "The database is gone.")
    answer = await service.get("/metrics")
    assert answer.status_code == 200
    assert 'procdeck_troubles{key="database"} 1.0' in answer.text
    assert "procdeck_processes{" not in answer.text


@pytest.mark.parametrize("key", ["database", "database-writes"])
async def test_it_is_not_ready_while_no_launch_would_work(key: str) -> None:
    service = Service()
    service.troubles.report("disk.space", "The disk is nearly full.")
    assert (await service.get("/readyz")).text == "ready\ntrouble: disk.space\n"
    service.troubles.report(key, WORDS)
    answer = await service.get("/readyz")
    assert answer.status_code == 503
    assert WORDS not in answer.text
    service.troubles.clear(key)
    assert (await service.get("/readyz")).status_code == 200


async def test_who_may_ask_without_a_token_is_told_nothing_of_the_database() -> None:
    service = Service()
    service.is_readable = False
    answer = await service.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["detail"] == "The record can't be read."
    assert "deck" not in answer.text
