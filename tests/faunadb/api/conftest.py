"""A running front for tests that need nothing special of it."""

from collections.abc import Iterator

import pytest

from front_test_helpers import Running, running


@pytest.fixture
def server() -> Iterator[Running]:
    with running() as started:
        yield started
