"""F13: anything is killed at any moment. The long form is ``make chaos``."""

from pathlib import Path

import pytest

from tests.faults import chaos

SECONDS = 30.0


@pytest.mark.timeout(240)
def test_f13_nothing_is_lost_whatever_is_killed(tmp_path: Path) -> None:
    done = chaos.run(tmp_path, SECONDS, seed=13)
    for kind in ("launch", "kill_child", "kill_keeper", "kill_launcher", "kill_service", "checks"):
        assert done.counts[kind], f"the dice never said {kind}"
