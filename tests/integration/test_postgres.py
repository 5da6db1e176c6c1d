"""What only PostgreSQL can do to us; the tests of the store and of the migrations run on it too."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy import Connection, text

from app import lifecycle
from app.db.engine import READERS
from app.db.store import Filter, Store, insert_process
from app.errors import RecordUnavailable
from app.lifecycle import Process

if TYPE_CHECKING:
    from tests.postgres import PostgreSQL

pytest_plugins = ["tests.postgres"]
pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

PROCESS = Process("a", 1, "Process-1", "jobs:f", "default", "function", {}, datetime(2026, 11, 22, tzinfo=UTC), "me")


@pytest.fixture
def url(postgresql: "PostgreSQL") -> str:
    return postgresql.new_database()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = Store.open(url)
    yield opened
    opened.close()


@pytest.fixture
def operator(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


END_OTHERS = """
    SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


async def test_reading_and_writing_go_on_after_the_connections_were_ended(
    store: Store, operator: psycopg.Connection
) -> None:
    await store.writer.run(lambda c: insert_process(c, PROCESS, [lifecycle.created(PROCESS)]))
    operator.execute(END_OTHERS)
    assert store.get("a") == PROCESS
    other = replace(PROCESS, id="b", number=2)
    await store.writer.run(lambda c: insert_process(c, other, [lifecycle.created(other)]))
    assert [event.id for event in store.events_after(0, 10)] == [1, 2]


async def test_a_connection_lost_within_a_job_fails_it_and_the_writer_lives_on(
    store: Store, operator: psycopg.Connection
) -> None:
    def lose(connection: Connection) -> None:
        insert_process(connection, PROCESS, [lifecycle.created(PROCESS)])
        operator.execute(END_OTHERS)
        connection.execute(text("SELECT 1"))

    with pytest.raises(RecordUnavailable, match="terminating connection"):
        await store.writer.run(lose)
    assert store.get("a") is None
    await store.writer.run(lambda c: insert_process(c, PROCESS, [lifecycle.created(PROCESS)]))
    assert store.get("a") == PROCESS


async def test_times_are_utc_whatever_the_server_thinks(url: str, operator: psycopg.Connection) -> None:
    operator.execute("ALTER ROLE procdeck SET timezone TO 'Asia/Tokyo'")
    store = Store.open(url)
    await store.writer.run(lambda c: insert_process(c, PROCESS, []))
    found = store.get("a")
    store.close()
    operator.execute("ALTER ROLE procdeck RESET timezone")
    assert found == PROCESS
    assert found is not None
    assert found.created_at.tzinfo is UTC


async def test_many_read_at_once(store: Store) -> None:
    pages = await asyncio.gather(*(asyncio.to_thread(store.page, Filter(), 10) for _ in range(4 * READERS)))
    assert pages == [([], None)] * 4 * READERS
