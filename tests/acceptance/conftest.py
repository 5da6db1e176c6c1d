"""Services that the tests of one file share: for those that leave them as they were."""

from collections.abc import Iterator

import pytest

from tests.service import HOSTILE, Service


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with the bundled examples."""
    yield from _running(Service(tmp_path_factory.mktemp("examples")))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose targets misbehave."""
    yield from _running(Service(tmp_path_factory.mktemp("shared"), [HOSTILE]))


def _running(service: Service) -> Iterator[Service]:
    try:
        yield service.start()
    finally:
        service.close()
