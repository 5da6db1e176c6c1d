"""What all tests share."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.service import HOSTILE, Service

# How long an example takes says more about what else the machine does than about us.
hypothesis.settings.register_profile("procdeck", deadline=None)
hypothesis.settings.load_profile("procdeck")


@pytest.fixture
def anyio_backend() -> str:
    """asyncio is what the service runs on."""
    return "asyncio"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service with the bundled examples, just started."""
    yield from _running(Service(tmp_path))


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[Service]:
    """A service whose targets misbehave."""
    yield from _running(Service(tmp_path, [HOSTILE]))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose targets misbehave, for the tests of one file that leave it as it was."""
    yield from _running(Service(tmp_path_factory.mktemp("shared"), [HOSTILE]))


def _running(service: Service) -> Iterator[Service]:
    try:
        yield service.start()
    finally:
        service.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """In CI a skipped test fails: there everything that a test can ask for is installed."""
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report
