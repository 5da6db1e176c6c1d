"""Fail points: which there are, and what an armed one does."""

import ast
import errno
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from procdeck import failpoints

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.arm("", None)


def reached_in_code() -> Counter[str]:
    """The names in all calls of `reach`."""
    found: Counter[str] = Counter()
    for folder in ("procdeck", "app"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("failpoints.reach"):
                    assert isinstance(node.args[0], ast.Constant), f"{path}: a name that can't be looked up"
                    found[str(node.args[0].value)] += 1
    return found


def test_each_fail_point_stands_at_one_place() -> None:
    assert reached_in_code() == Counter(dict.fromkeys(failpoints.POINTS, 1))


def test_nothing_happens_at_a_point_that_is_not_armed() -> None:
    failpoints.arm("log.rotate.before:error:1", None)
    failpoints.reach("log.write.before")


def test_an_error_is_that_of_a_disk_that_fails_and_comes_at_its_hit_only() -> None:
    failpoints.arm("log.write.before:error:2", None)
    failpoints.reach("log.write.before")
    with pytest.raises(OSError, match=r"log\.write\.before") as caught:
        failpoints.reach("log.write.before")
    assert caught.value.errno == errno.EIO
    failpoints.reach("log.write.before")


def test_several_can_be_armed() -> None:
    failpoints.arm("log.write.before:error:1,log.rotate.before:error:1", None)
    for name in ("log.write.before", "log.rotate.before"):
        with pytest.raises(OSError, match=name):
            failpoints.reach(name)


def test_hits_are_counted_over_all_processes_in_a_folder(tmp_path: Path) -> None:
    failpoints.arm("log.write.before:error:2", str(tmp_path))
    failpoints.reach("log.write.before")
    failpoints.arm("log.write.before:error:2", str(tmp_path))  # as another process would
    with pytest.raises(OSError, match="fail point"):
        failpoints.reach("log.write.before")
    assert (tmp_path / "log.write.before").stat().st_size == 2


@pytest.mark.parametrize(
    "text",
    [
        "nowhere:kill:1",
        "log.write.before",
        "log.write.before:explode:1",
        "log.write.before:kill:0",
        "log.write.before:kill:x",
    ],
)
def test_what_is_not_a_fail_point_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"NAME:ACTION:HIT"):
        failpoints.arm(text, None)
