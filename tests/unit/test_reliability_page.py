"""docs/reliability.md is the catalogue of faults: each row is a test, and each test with a number is a row."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text()
RUN, _, NOT_RUN = PAGE.partition("## Not run")


def rows(text: str) -> set[str]:
    return set(re.findall(r"^\| (F\d+) \|", text, re.MULTILINE))


def with_a_test() -> set[str]:
    """The numbers in the names of tests: test_f73_f74_… is a test of both; test_e2e is none."""
    names: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for found in re.findall(r"def test((?:_f\d+)+)_", path.read_text()):
            names |= {number.upper() for number in found.split("_") if number}
    return names


def test_every_fault_of_the_page_has_a_test_and_every_test_a_row() -> None:
    assert rows(RUN) == with_a_test()


def test_what_is_not_run_is_not_among_what_is() -> None:
    assert rows(NOT_RUN)
    assert not rows(NOT_RUN) & rows(RUN)


def test_no_number_is_given_twice() -> None:
    numbers = re.findall(r"^\| (F\d+) \|", PAGE, re.MULTILINE)
    assert len(numbers) == len(set(numbers))
