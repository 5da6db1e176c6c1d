"""What the fault tests share."""

import os

import pytest


@pytest.fixture
def needs_root() -> None:
    """Mounts, control groups and namespaces are root's."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
