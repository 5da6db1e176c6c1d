"""A service of one module of targets, `jobs`, that is edited while it runs."""

from pathlib import Path

from tests.service import HOSTILE, JSON, Service

SOURCE = '''
import time
from pathlib import Path

VERSION = "{version}"


def tell() -> str:
    """The version of this file."""
    return VERSION


def tell_later(gate: str) -> str:
    """The same, when the file `gate` is there."""
    while not Path(gate).exists():
        time.sleep(0.005)
    return VERSION
'''


def write(path: Path, text: str) -> None:
    """Put a new file in the place of the old one, as editors do."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(path)


def served(folder: Path, source: str, **server: object) -> Service:
    """A service of one module, `jobs`."""
    (folder / "jobs.py").write_text(source)
    lines = [f"{name} = {str(value).lower()}" for name, value in server.items()]
    (folder / "procdeck.toml").write_text("\n".join(["[server]", *lines]) + "\n")
    return Service(folder, [folder / "jobs.py", HOSTILE])


def told(service: Service, target: str = "jobs:tell") -> object:
    """What a launch returns now."""
    return service.join(service.launch(target))["result"]


def names(service: Service) -> set[str]:
    """The targets of `jobs`."""
    items = service.client.get("/targets").json()["items"]
    return {item["name"] for item in items if item["module"] == "jobs"}


def reload(service: Service) -> dict[str, JSON]:
    """Ask for a reload; the catalogue after it."""
    answer = service.client.post("/targets/reload")
    assert answer.status_code == 200
    return {item["name"]: item for item in answer.json()["items"]}
