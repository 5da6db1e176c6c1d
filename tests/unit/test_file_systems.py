"""File systems of other machines are told by their type."""

from pathlib import Path

import pytest

from app.health import file_systems
from app.health.file_systems import NETWORK, network_name, refuse_network
from app.startup_errors import DataFolderUnusable


def test_a_disk_of_this_machine_is_none(tmp_path: Path) -> None:
    assert network_name(tmp_path) is None
    assert network_name(tmp_path / "not" / "there" / "yet") is None
    refuse_network("the data folder", tmp_path)


def test_the_kernel_is_asked() -> None:
    assert file_systems._type_of(Path("/proc")) == 0x9FA0
    with pytest.raises(OSError, match="No such file"):
        file_systems._type_of(Path("/no/such/file"))


@pytest.mark.parametrize("kind", NETWORK)
def test_f79_a_network_file_system_is_refused_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: int
) -> None:
    monkeypatch.setattr(file_systems, "_type_of", lambda _: kind)
    with pytest.raises(
        DataFolderUnusable, match=r"the database .*new/procdeck.db is on a network file system"
    ) as refused:
        refuse_network("the database", tmp_path / "new" / "procdeck.db")
    assert NETWORK[kind] in str(refused.value)
    assert "--data-dir" in str(refused.value)


def test_one_that_can_t_be_asked_is_left_to_whoever_opens_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(path: Path) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(file_systems, "_type_of", failing)
    refuse_network("the data folder", Path("/"))
