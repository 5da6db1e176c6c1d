"""What launchers are started with."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from app.settings import EnvironmentSettings, Settings
from app.startup_errors import BadConfig
from app.supervisor import launchers
from app.supervisor.launchers import Environment, LauncherConfig, configs, make_runtime, split_target


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def made(**settings: Any) -> dict[str, LauncherConfig]:
    return {config.name: config for config in configs(Settings(**settings), ("examples",), open_files=100)}


def test_targets_may_be_modules_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    for name in ("b.py", "a.py", "_private.py", "notes.txt"):
        (tmp_path / "jobs" / name).touch()
    here = str(tmp_path)
    assert split_target("jobs.resize") == [(None, "jobs.resize")]
    assert split_target("jobs/a.py") == [(f"{here}/jobs", "a")]
    assert split_target("a.py") == [(here, "a")]
    assert split_target("jobs") == [(f"{here}/jobs", "a"), (f"{here}/jobs", "b")]
    assert split_target("no/such") == [(f"{here}/no", "such")]


def test_without_targets_the_default_is_served() -> None:
    assert [config.modules for config in made().values()] == [("examples",)]
    default = made(targets=("jobs",))["default"]
    assert (default.modules, default.python, default.preload) == (("jobs",), sys.executable, True)
    assert default.open_files == 100


def test_each_environment_has_its_launcher(tmp_path: Path) -> None:
    science = EnvironmentSettings(
        python="/opt/python", path=("/srv/lib",), targets=("jobs.py", "other"), env={"A": "1"}, preload=False
    )
    found = made(targets=("mine",), environments={"science": science}, import_timeout=7.0)
    assert set(found) == {"default", "science"}
    config = found["science"]
    assert (config.python, config.modules, config.preload) == ("/opt/python", ("jobs", "other"), False)
    assert config.path == (str(tmp_path), "/srv/lib", str(tmp_path))
    assert (config.env, config.import_timeout) == ({"A": "1"}, 7.0)


def test_the_default_environment_can_be_given_targets_too() -> None:
    both = made(targets=("mine",), environments={"default": EnvironmentSettings(targets=("theirs",))})
    assert both["default"].modules == ("mine", "theirs")
    assert made(environments={"default": EnvironmentSettings(targets=("theirs",))})["default"].modules == ("theirs",)
    assert made(environments={"default": EnvironmentSettings(python="py")})["default"].modules == ("examples",)


def test_a_module_is_imported_once(tmp_path: Path) -> None:
    assert made(targets=("a.py", "a", "a.py"))["default"].modules == ("a",)
    assert made(targets=("a.py", "b.py"))["default"].path == (str(tmp_path), str(tmp_path))


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    here = str(tmp_path)
    with pytest.raises(BadConfig, match=r"a/jobs and .*b/jobs have the same module name") as caught:
        made(targets=("a/jobs.py", "b/jobs.py"))
    assert f"{here}/a/jobs and {here}/b/jobs" in str(caught.value)
    other = EnvironmentSettings(targets=("b/jobs.py",))
    assert set(made(targets=("a/jobs.py",), environments={"other": other})) == {"default", "other"}


def test_a_package_here_is_a_module_unless_written_as_a_folder(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    for name in ("__init__.py", "resize.py"):
        (tmp_path / "jobs" / name).touch()
    assert split_target("jobs") == [(str(tmp_path), "jobs")]
    assert split_target("jobs/") == [(str(tmp_path / "jobs"), "resize")]
    assert split_target(str(tmp_path / "jobs")) == [(str(tmp_path / "jobs"), "resize")]


def environ(monkeypatch: pytest.MonkeyPatch, env: dict[str, str], **own: str) -> dict[str, str]:
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    [config] = configs(Settings(environments={"default": EnvironmentSettings(env=env)}), (), 100)
    return launchers._environ(config, Path("/runtime"))


def test_targets_get_the_service_s_variables_but_not_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    given = environ(monkeypatch, {"A": "theirs"}, A="ours", B="ours", PROCDECK_DATABASE_URL="secret")
    assert (given["A"], given["B"]) == ("theirs", "ours")
    assert not any("secret" in value for value in given.values())


def test_the_runtime_comes_first_and_their_own_path_comes_back_in_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert environ(monkeypatch, {})["PYTHONPATH"] == "/runtime"
    assert "PROCDECK_PYTHONPATH" not in environ(monkeypatch, {})
    given = environ(monkeypatch, {}, PYTHONPATH="/mine")
    assert (given["PYTHONPATH"], given["PROCDECK_PYTHONPATH"]) == (f"/runtime{os.pathsep}/mine", "/mine")


def test_the_runtime_folder_holds_our_package_and_nothing_else(tmp_path: Path) -> None:
    folder = make_runtime(tmp_path)
    assert [path.name for path in folder.iterdir()] == ["procdeck"]
    assert (folder / "procdeck" / "launcher.py").is_file()
    assert not (folder / "app").exists()
    (folder / "procdeck").unlink()
    (folder / "procdeck").symlink_to("/somewhere/else")
    assert (make_runtime(tmp_path) / "procdeck" / "launcher.py").is_file()


class Brief:
    """A launcher that has ended already."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.gone.set()


@pytest.mark.anyio
@pytest.mark.parametrize(("long_life", "delays"), [(10.0, [0.2, 0.4, 0.8, 1.6]), (0.0, [])])
async def test_a_launcher_that_dies_as_soon_as_it_is_ready_is_started_less_and_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long_life: float, delays: list[float]
) -> None:
    waited: list[float] = []
    environment = Environment(made()["default"], tmp_path, lambda *_: None, lambda _: None)
    rounds = iter(range(4))

    async def reload() -> bool:
        environment.current = Brief()  # type: ignore[assignment]
        environment.closed = next(rounds) == 3
        return True

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(environment, "reload", reload)
    monkeypatch.setattr("app.supervisor.launchers.asyncio.sleep", sleep)
    monkeypatch.setattr(launchers, "LONG_LIFE", long_life)
    await environment.keep_alive()
    assert waited == delays


@pytest.mark.anyio
async def test_a_change_during_the_imports_reloads_at_once_and_one_that_each_import_makes_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "jobs.py"
    environment = Environment(made()["default"], tmp_path, lambda *_: None, lambda _: None)
    happened: list[str] = []

    def use_next_launcher(began: float) -> None:
        fresh = launchers.LauncherProcess(environment.config, lambda _: None)
        fresh.files, fresh.began = [str(file), str(tmp_path / "gone.py")], began
        environment.current = fresh

    async def reload() -> bool:
        happened.append("reload")
        use_next_launcher(file.stat().st_ctime - 1)  # it is changed during each import
        return True

    async def changed(*_: object) -> bool:
        happened.append("wait")
        environment.closed = True
        return False

    monkeypatch.setattr(environment, "reload", reload)
    monkeypatch.setattr(launchers, "_changed", changed)
    file.touch()
    use_next_launcher(file.stat().st_ctime + 1)
    await environment.reload_on_change()
    assert happened == ["wait"]
    happened.clear()
    environment.closed = False
    await reload()
    await environment.reload_on_change()
    assert happened == ["reload"] + ["reload"] * launchers.AT_ONCE + ["wait"]
