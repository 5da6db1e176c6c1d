"""The catalogue of what can be launched."""

from pathlib import Path
from typing import Any

import pytest

from app.settings import CommandSettings
from app.supervisor.catalogue import Catalogue


def entry(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "kind": "function", "error": None, "parameters": {}} | more


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue({"backup": CommandSettings(run=("rsync", "-a"), doc="Copies.", cwd=Path("/srv"), env={"A": "1"})})


def names(catalogue: Catalogue) -> list[str]:
    return [item["name"] for item in catalogue.items()]


def test_commands_are_targets(catalogue: Catalogue) -> None:
    backup = catalogue.get("backup")
    assert backup is not None
    assert (backup["kind"], backup["run"], backup["cwd"], backup["env"]) == (
        "command",
        ["rsync", "-a"],
        "/srv",
        {"A": "1"},
    )
    assert backup["parameters"]["properties"]["args"]["x-kind"] == "var_positional"


def test_entries_know_their_environment_and_stand_in_order(catalogue: Catalogue) -> None:
    catalogue.replace("default", [entry("jobs:b"), entry("jobs:a")])
    catalogue.replace("science", [entry("other:a")])
    assert names(catalogue) == ["backup", "jobs:a", "jobs:b", "other:a"]
    found = catalogue.get("other:a")
    assert found is not None
    assert found["environment"] == "science"
    assert catalogue.get("jobs:c") is None


def test_a_reload_replaces_all_of_its_environment_and_nothing_else(catalogue: Catalogue) -> None:
    catalogue.replace("default", [entry("jobs:a")])
    catalogue.replace("science", [entry("other:a")])
    catalogue.replace("default", [entry("jobs:b")])
    assert names(catalogue) == ["backup", "jobs:b", "other:a"]
    catalogue.replace("default", [])
    assert names(catalogue) == ["backup", "other:a"]


def test_of_two_with_the_same_name_the_second_is_shown_with_the_reason(catalogue: Catalogue) -> None:
    catalogue.replace("default", [entry("jobs:a")])
    catalogue.replace("science", [entry("jobs:a"), entry("backup")])
    first, second = catalogue.get("jobs:a"), catalogue.get("jobs:a (science)")
    assert first is not None
    assert first["environment"] == "default"
    assert second is not None
    assert "'default'" in second["error"]
    command = catalogue.get("backup (science)")
    assert command is not None
    assert command["error"]


def test_a_name_is_the_first_environment_s_in_the_order_of_the_settings() -> None:
    catalogue = Catalogue({}, ["default", "science"])
    catalogue.replace("science", [entry("jobs:a")])
    assert names(catalogue) == ["jobs:a"]
    catalogue.replace("default", [entry("jobs:a")])
    owner = catalogue.get("jobs:a")
    assert owner is not None
    assert owner["environment"] == "default"
    assert names(catalogue) == ["jobs:a", "jobs:a (science)"]


def test_a_second_of_a_name_is_shown_also_when_the_first_can_t_be_used(catalogue: Catalogue) -> None:
    catalogue.replace("default", [entry("jobs:a", error="not callable")])
    catalogue.replace("science", [entry("jobs:a")])
    first, second = catalogue.get("jobs:a"), catalogue.get("jobs:a (science)")
    assert first is not None
    assert first["error"] == "not callable"
    assert second is not None
    assert "'default'" in second["error"]


def test_a_module_that_fails_in_two_environments_is_shown_with_the_error_of_each(catalogue: Catalogue) -> None:
    catalogue.replace("default", [entry("jobs", kind="module", error="no numpy")])
    catalogue.replace("science", [entry("jobs", kind="module", error="no pandas")])
    assert names(catalogue) == ["backup", "jobs", "jobs (science)"]
    assert [item["error"] for item in catalogue.items()[1:]] == ["no numpy", "no pandas"]
