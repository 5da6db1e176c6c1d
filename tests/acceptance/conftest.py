"""A service that the tests of one file share: for those that leave it as it was."""

from collections.abc import Iterator

import pytest

from tests.service import Service


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with the bundled examples."""
    yield from _running(Service(tmp_path_factory.mktemp("examples")))


def _running(service: Service) -> Iterator[Service]:
    try:
        yield service.start()
    finally:
        service.close()
