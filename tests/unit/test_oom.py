"""What the kernel says of its out-of-memory killer."""

from pathlib import Path

import pytest

from procdeck import oom, posix


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n", 2),  # memory.events of version 2
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n", 7),  # memory.oom_control of version 1
        ("oom_kill_disable 0\nunder_oom 0\n", None),  # of an old kernel
        ("", None),
    ],
)
def test_the_count_is_read_from_either_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, count: int | None
) -> None:
    counter = tmp_path / "counter"
    counter.write_text(text)
    monkeypatch.setattr(oom, "_COUNTER", str(counter))
    assert oom.kills() == count


def test_without_a_counter_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oom, "_COUNTER", None)
    assert oom.kills() is None
    monkeypatch.setattr(oom, "_COUNTER", str(tmp_path / "none"))
    assert oom.kills() is None


def test_what_may_not_be_set_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oom, "_SCORE", str(tmp_path / "none"))
    assert oom.protect() == 0
    oom.set_score(5)
    score = tmp_path / "score"
    score.write_text("-950\n")
    monkeypatch.setattr(oom, "_SCORE", str(score))
    assert oom.protect() == -950  # who is better off stays so
    assert score.read_text() == "-950\n"


def test_the_group_that_is_shown_is_one_that_counts() -> None:
    assert oom._COUNTER is None or posix.read_file(oom._COUNTER)
