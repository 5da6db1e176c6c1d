from dataclasses import fields, replace
from pathlib import Path

import pytest

from app.errors import BadConfig
from app.settings import (
    KINDS,
    CommandSettings,
    EnvironmentSettings,
    LogLevel,
    OnExit,
    Settings,
    is_loopback,
    settings_table,
)


def load(
    cwd: Path, toml: str | None = None, flags: dict[str, object] | None = None, environ: dict[str, str] | None = None
) -> Settings:
    if toml is not None:
        (cwd / "procdeck.toml").write_text(toml)
    return Settings.load(flags or {}, environ or {}, cwd)


def test_the_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings == Settings(data_dir=tmp_path / "procdeck-data")
    assert settings.record_url == f"sqlite:///{tmp_path}/procdeck-data/procdeck.db"
    assert settings.url == "http://127.0.0.1:8000"


def test_flags_stand_over_environment_over_file_over_default(tmp_path: Path) -> None:
    toml = "[server]\nport = 1\ngrace = 1\nshutdown_timeout = 1\n"
    environ = {"PROCDECK_PORT": "2", "PROCDECK_GRACE": "2"}
    settings = load(tmp_path, toml, {"port": 3, "grace": None, "targets": []}, environ)
    assert (settings.port, settings.grace, settings.shutdown_timeout, settings.start_timeout) == (3, 2.0, 1.0, 10.0)


def test_every_row_can_be_given_as_text_and_has_a_help(tmp_path: Path) -> None:
    for row in settings_table():
        assert row.type in KINDS
        assert row.about.help.endswith(".")
        assert row.flag == "--" + row.name.replace("_", "-")
        assert row.variable == "PROCDECK_" + row.name.upper()
    named = {row.name for row in settings_table()}
    assert {field.name for field in fields(Settings)} - named == {"environments", "commands"}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("HOST", "::1", "::1"),
        ("PORT", "0", 0),
        ("DATABASE_URL", "postgresql+psycopg://u:p@db/x", "postgresql+psycopg://u:p@db/x"),
        ("ALLOWED_HOSTS", "deck.example.com, deck:8443", ("deck.example.com", "deck:8443")),
        ("ON_EXIT", "Terminate", OnExit.TERMINATE),
        ("LOG_LEVEL", "DEBUG", LogLevel.DEBUG),
        ("NO_AUTH", "on", True),
        ("WATCH", "0", False),
        ("GRACE", "2.5", 2.5),
        ("PORT", "", 8000),
    ],
)
def test_variables(tmp_path: Path, name: str, text: str, value: object) -> None:
    assert getattr(load(tmp_path, environ={f"PROCDECK_{name}": text}), name.lower()) == value


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("PORT", "tcp://10.0.0.1:8000", "PROCDECK_PORT: must be a whole number, not 'tcp://10.0.0.1:8000'"),
        ("PORT", "65536", "PROCDECK_PORT: must be at most 65535"),
        ("PORT", "1_0", "whole number"),
        ("GRACE", "-1", "at least 0"),
        ("GRACE", "nan", "a number"),
        ("GRACE", "inf", "a number"),
        ("WATCH", "maybe", "true or false"),
        ("ON_EXIT", "explode", "one of wait, leave, terminate"),
        ("PROT", "80", "did you mean PROCDECK_PORT?"),
        ("DATADIR", "x", "did you mean PROCDECK_DATA_DIR?"),
        ("ALLOWED_HOSTS", "*.example.com", "no patterns"),
        ("ALLOWED_HOSTS", "http://deck", "no URLs"),
        ("CONFIG", "missing.toml", "missing.toml: No such file"),
        ("DATABASE_URL_FILE", "missing", "PROCDECK_DATABASE_URL_FILE: can't read"),
    ],
)
def test_wrong_variables_are_refused_by_name(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(BadConfig) as refusal:
        load(tmp_path, environ={f"PROCDECK_{name}": text})
    assert said in str(refusal.value)


def test_the_prefix_may_be_used_by_others(tmp_path: Path) -> None:
    others = {
        "PROCDECK_FAILPOINT": "keeper.exit:kill:1",
        "PROCDECK_SERVICE_HOST": "10.0.0.1",
        "PROCDECK_SERVICE_PORT": "80",
        "PROCDECK_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "PROCDECK_TOKEN": "x",
        "PROCDECK_URL": "x",
    }
    assert load(tmp_path, environ=others) == load(tmp_path)


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("postgresql://u:hush@db/x\n")
    settings = load(tmp_path, environ={"PROCDECK_DATABASE_URL_FILE": "secret"})
    assert settings.record_url == "postgresql://u:hush@db/x"
    assert "hush" not in repr(settings)
    with pytest.raises(BadConfig, match="both given"):
        load(tmp_path, environ={"PROCDECK_DATABASE_URL_FILE": "secret", "PROCDECK_DATABASE_URL": "sqlite://"})


def test_a_wrong_secret_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(BadConfig) as refusal:
        load(tmp_path, flags={"database_url": "hush\0"})
    assert "hush" not in str(refusal.value)


def test_paths_stand_relative_to_where_they_are_written(tmp_path: Path) -> None:
    conf, cwd = tmp_path / "conf", tmp_path / "cwd"
    conf.mkdir()
    cwd.mkdir()
    (conf / "deck.toml").write_text(
        """
        [server]
        data_dir = "data"
        targets = ["jobs.py", "package.jobs"]

        [environments.science]
        python = "venv/bin/python"
        path = ["src", "/opt/lib"]
        targets = ["science", "more/jobs.py"]
        env = { MODE = "fast" }
        preload = false

        [environments.other]
        python = "python3.12"

        [commands.backup]
        run = ["./backup.sh", "--all"]
        doc = "Copies everything."
        cwd = "work"
        """
    )
    settings = load(cwd, flags={"config": Path("../conf/deck.toml")})
    base = f"{cwd}/../conf"
    assert settings.data_dir == Path(base) / "data"
    assert settings.targets == (f"{base}/jobs.py", "package.jobs")
    assert settings.environments["science"] == EnvironmentSettings(
        python=f"{base}/venv/bin/python",
        path=(f"{base}/src", "/opt/lib"),
        targets=("science", f"{base}/more/jobs.py"),
        env={"MODE": "fast"},
        preload=False,
    )
    assert settings.environments["other"] == EnvironmentSettings(python="python3.12")
    assert settings.commands["backup"] == CommandSettings(
        run=("./backup.sh", "--all"), doc="Copies everything.", cwd=Path(base) / "work"
    )
    elsewhere = load(cwd, flags={"data_dir": Path("d"), "targets": ["a.py", "b"]}, environ={"PROCDECK_TARGETS": "c.py"})
    assert (elsewhere.data_dir, elsewhere.targets) == (cwd / "d", (f"{cwd}/a.py", "b"))


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("port = 1", "there is no key 'port'"),
        ("[server]\nprot = 1", "[server]: there is no key 'prot'; did you mean port?"),
        ("[server]\nconfig = 'x'", "no key 'config'"),
        ("[server]\nport = '8000'", "[server] port: must be a whole number, not text, not '8000'"),
        ("[server]\nport = true", "[server] port: must be a whole number, not True"),
        ("[server]\nport = 1.5", "[server] port: must be a whole number"),
        ("[server]\nhost = 1", "[server] host: must be a text, not 1"),
        ("[server]\nwatch = 1", "[server] watch: must be true or false"),
        ("[server]\ntargets = 'jobs'", "[server] targets: must be a list"),
        ("[server]\ntargets = [1]", "[server] targets: must be a list of texts"),
        ("[server]\nport = ", "not valid TOML"),
        ("server = 1", "server must be a table"),
        ("environments = 1", "environments must be a table"),
        ("[environments]\nx = 1", "[environments]: x must be a table"),
        ("[environments.x]\npyton = 'p'", "[environments.x]: there is no key 'pyton'; did you mean python?"),
        ("[environments.'a:b']", "a name has letters"),
        ("[environments.x.env]\nA = 1", "[environments.x] env.A: must be a text"),
        ("[environments.x.env]\n'A=B' = 'x'", "can't be the name of a variable"),
        ("[commands.x]", "[commands.x] run: must be a list of texts"),
        ("[commands.x]\nrun = 'ls -l'", "[commands.x] run: must be a list"),
    ],
)
def test_a_wrong_file_is_refused_by_file_table_and_key(tmp_path: Path, toml: str, said: str) -> None:
    with pytest.raises(BadConfig) as refusal:
        load(tmp_path, toml)
    assert str(tmp_path / "procdeck.toml") in str(refusal.value)
    assert said in str(refusal.value)


def test_a_file_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "procdeck.toml").mkdir()
    with pytest.raises(BadConfig, match="can't read"):
        load(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"# \xff")
    with pytest.raises(BadConfig, match="not UTF-8"):
        load(tmp_path, flags={"config": "latin.toml"})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.5", "deck.example.com"])
def test_other_machines_get_in_by_name_and_with_auth_only(tmp_path: Path, host: str) -> None:
    with pytest.raises(BadConfig, match="allowed-hosts"):
        load(tmp_path, flags={"host": host})
    with pytest.raises(BadConfig, match="no_auth"):
        load(tmp_path, flags={"host": host, "no_auth": True, "allowed_hosts": ["deck"]})
    assert not load(tmp_path, flags={"host": host, "allowed_hosts": ["deck"]}).listens_on_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "localhost", "::1", "[::1]"])
def test_loopback_may_go_without(tmp_path: Path, host: str) -> None:
    assert is_loopback(host)
    assert load(tmp_path, flags={"host": host, "no_auth": True}).no_auth


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", "http://127.0.0.1:8000"), ("::1", "http://[::1]:8000"), ("localhost", "http://localhost:8000")],
)
def test_the_url_for_a_browser_here(host: str, url: str) -> None:
    assert replace(Settings(), host=host).url == url
