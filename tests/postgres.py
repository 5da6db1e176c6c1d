"""A real PostgreSQL for the tests: a cluster of its own on a free port of 127.0.0.1, gone when the tests are over.

A test module that wants it says ``pytest_plugins = ["tests.postgres"]`` and asks for the fixture ``postgresql``; it
imports from here for the type checker only, since a plugin that is imported already can't have its asserts rewritten.
"""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from signal import SIGQUIT

import psycopg
import pytest

from tests.waiting import wait_until

START_SECONDS = 30
STOP_SECONDS = 10

# Only speed: a test cluster need not survive a power failure.
SERVER_OPTIONS = ("-cfsync=off", "-csynchronous_commit=off", "-cfull_page_writes=off")


class PostgreSQL:
    """A running cluster."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._names = count(1)

    def url(self, database: str) -> str:
        return f"postgresql://procdeck@127.0.0.1:{self._port}/{database}"

    def is_ready(self) -> bool:
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=1).close()
        except psycopg.OperationalError:
            return False
        return True

    def new_database(self) -> str:
        """The URL of an empty database. It takes 8 MB on disk: tests that change rows only had better share one."""
        name = f"test_{next(self._names)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.url(name)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A cluster for the whole run; where PostgreSQL is not installed the test is skipped."""
    programs = find_programs()
    if programs is None:
        pytest.skip("the server programs of PostgreSQL (initdb, postgres) are not installed")
    with running(programs) as server:
        yield server


def find_programs() -> Path | None:
    """The folder of initdb and postgres: from PATH, else Debian's newest."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(folders, key=lambda folder: int(folder.parent.name), default=None)


@contextmanager
def running(programs: Path) -> Iterator[PostgreSQL]:
    """A new cluster, made and run by the programs in this folder."""
    # Not pytest's own folder: that is closed to the user who runs the server.
    with tempfile.TemporaryDirectory(prefix="procdeck-postgresql-") as folder:
        prefix: list[str | Path] = [*_as_other_user(Path(folder))]
        data = Path(folder) / "data"
        initdb: list[str | Path] = [
            programs / "initdb",
            "-D",
            data,
            "-U",
            "procdeck",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        ]
        subprocess.run([*prefix, *initdb], check=True, stdout=subprocess.DEVNULL, cwd=folder)
        port = _free_port()
        listen = ("-p", str(port), "-h", "127.0.0.1", "-k", folder)
        log = Path(folder) / "log"
        with log.open("wb") as output:
            command = [*prefix, programs / "postgres", "-D", data, *listen, *SERVER_OPTIONS]
            process = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder)
        try:
            server = PostgreSQL(port)
            wait_until(server.is_ready, START_SECONDS, lambda: f"PostgreSQL does not answer:\n{log.read_text()}")
            yield server
        finally:
            process.send_signal(SIGQUIT)  # PostgreSQL's "immediate" shutdown
            process.wait(STOP_SECONDS)


def _as_other_user(folder: Path) -> list[str]:
    """What a command begins with to run as a user whom PostgreSQL accepts (never root), and to end when we do."""
    prefix = ["setpriv", "--pdeathsig", "QUIT"]
    if os.geteuid() != 0:
        return prefix
    users = {user.pw_name for user in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in users else "nobody")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return [*prefix, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
