"""Databases for the tests of what is read and written: each test on SQLite, and once more on PostgreSQL.

A test module that wants them says ``pytest_plugins = ["tests.databases"]`` and asks for the fixture ``store``, or for
the ``url``.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlmodel import SQLModel

from app.db.engine import upgrade
from app.db.store import Store

if TYPE_CHECKING:
    from tests.postgres import PostgreSQL

pytest_plugins = ["tests.postgres"]

BOTH = [pytest.param("sqlite", id="sqlite"), pytest.param("postgresql", id="postgresql", marks=pytest.mark.postgres)]


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database to copy: migrating is tested elsewhere, and takes longer than most tests."""
    file = tmp_path_factory.mktemp("migrated") / "procdeck.db"
    upgrade(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def migrated_url(postgresql: "PostgreSQL") -> str:
    """A PostgreSQL database to share, for the same reason."""
    url = postgresql.new_database()
    upgrade(url)
    return url


@pytest.fixture(params=BOTH)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database with its tables."""
    if request.param == "sqlite":
        return f"sqlite:///{shutil.copy(request.getfixturevalue('migrated_file'), tmp_path)}"
    shared: str = request.getfixturevalue("migrated_url")
    tables = ", ".join(f'"{name}"' for name in SQLModel.metadata.tables if name != "counter")
    with psycopg.connect(shared, autocommit=True) as connection:
        connection.execute(f"TRUNCATE {tables}".encode())
        connection.execute("UPDATE counter SET value = 0")
    return shared


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """A store on an empty database."""
    opened = Store.open(url)
    yield opened
    opened.close()
