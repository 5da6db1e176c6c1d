"""The migrations on both databases: they make what the models say, all or nothing, and never touch what is newer."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import alembic
import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, make_url, text

from app.db.engine import HEAD, make_engine, migrating, parse_url, upgrade
from app.errors import DatabaseTooNew, StartupError
from app.resources import resource_dir

pytest_plugins = ["tests.postgres"]

ROOT = Path(__file__).resolve().parents[2]
OURS = {"process", "transition", "label", "counter", "session", "view", "preset", "activity"}
BOTH = [pytest.param("sqlite", id="sqlite"), pytest.param("postgresql", id="postgresql", marks=pytest.mark.postgres)]


@pytest.fixture(params=BOTH)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / '100% é' / 'procdeck.db'}"
    new: str = request.getfixturevalue("postgresql").new_database()
    return new


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = make_engine(url, write=True)
    yield engine
    engine.dispose()


def config(url: str | None = None) -> Config:
    made = Config()
    made.set_main_option("script_location", str(resource_dir("alembic")))
    if url is not None:
        made.attributes["url"] = url
    return made


def tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names())


def test_the_library_is_not_shadowed() -> None:
    assert alembic.__file__ is not None
    assert "site-packages" in alembic.__file__
    assert not (resource_dir("alembic") / "__init__.py").exists()


def test_the_newest_revision_is_the_one_that_the_code_names() -> None:
    assert ScriptDirectory.from_config(config()).get_heads() == [HEAD]


def test_migrations_make_what_the_models_say(url: str) -> None:
    upgrade(url)
    command.check(config(url))


def test_each_migration_can_be_taken_back(url: str, engine: Engine) -> None:
    for script in reversed(list(ScriptDirectory.from_config(config()).walk_revisions())):
        command.upgrade(config(url), script.revision)
        command.downgrade(config(url), "-1")
        command.upgrade(config(url), script.revision)
    command.downgrade(config(url), "base")
    assert tables(engine) == {"alembic_version"}
    upgrade(url)
    assert tables(engine) == OURS | {"alembic_version"}


def test_a_database_that_is_up_to_date_costs_no_import_of_alembic(url: str) -> None:
    upgrade(url)
    code = "import sys; from app.db.engine import upgrade; upgrade(sys.argv[1]); assert 'alembic' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, url], cwd=ROOT, check=True)


def test_a_newer_database_is_refused_untouched(url: str, engine: Engine) -> None:
    upgrade(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    before = content(url)
    with pytest.raises(DatabaseTooNew, match=r"newer than this Procdeck: its revision is 9999"):
        upgrade(url)
    assert content(url) == before
    assert tables(engine) == OURS | {"alembic_version"}


def content(url: str) -> bytes:
    parsed = make_url(url)
    return Path(str(parsed.database)).read_bytes() if parsed.get_backend_name() == "sqlite" else b""


def test_a_migration_that_fails_leaves_nothing_behind(url: str, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE session (theirs INTEGER)"))
    with pytest.raises(StartupError, match="session"):
        upgrade(url)
    assert tables(engine) == {"session"}


def test_altering_a_table_deletes_nothing_that_refers_to_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    with migrating(url) as connection:
        connection.execute(text("CREATE TABLE a (id INTEGER PRIMARY KEY)"))
        connection.execute(text("CREATE TABLE b (a INTEGER REFERENCES a ON DELETE CASCADE)"))
        connection.execute(text("INSERT INTO a VALUES (1)"))
        connection.execute(text("INSERT INTO b VALUES (1)"))
        connection.execute(text("DROP TABLE a"))
        assert connection.scalar(text("SELECT count(*) FROM b")) == 1


def test_a_file_that_is_no_database_is_refused_untouched(tmp_path: Path) -> None:
    file = tmp_path / "procdeck.db"
    file.write_bytes(b"not a database" * 1000)
    with pytest.raises(StartupError, match="file is not a database"):
        upgrade(f"sqlite:///{file}")
    assert file.read_bytes() == b"not a database" * 1000


def test_a_folder_in_place_of_the_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="can't be used"):
        upgrade(f"sqlite:///{tmp_path}")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match="can't be created"):
        upgrade(f"sqlite:///{tmp_path / 'file' / 'procdeck.db'}")


def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    with pytest.raises(StartupError) as refused:
        upgrade("postgresql://procdeck:secret@127.0.0.1:1/procdeck")
    assert "127.0.0.1" in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("named", ["by option", "by settings"])
def test_the_alembic_command_works_in_a_checkout(tmp_path: Path, named: str) -> None:
    file = tmp_path / "procdeck.db"
    option = ["-x", f"url=sqlite:///{file}"] if named == "by option" else []
    environ = os.environ | {"PROCDECK_DATA_DIR": str(tmp_path)}
    program = [sys.executable, "-m", "alembic", *option]
    for arguments in (["upgrade", "head"], ["check"]):
        subprocess.run([*program, *arguments], cwd=ROOT, env=environ, check=True, capture_output=True)
    engine = create_engine(parse_url(f"sqlite:///{file}"))
    assert tables(engine) == OURS | {"alembic_version"}
    engine.dispose()
