"""Fixtures of the process tests: clusters that several tests of one module share."""

from collections.abc import Iterator

import pytest

from kind_test_helpers.debian import install_missing
from process.cluster import Cluster, cluster


@pytest.fixture(scope="session", autouse=True)
def debian_packages() -> None:
    """gcc for the durability proof, curl for the pages; nothing is asked when all are there."""
    install_missing()


@pytest.fixture(scope="module")
def three() -> Iterator[Cluster]:
    """Three voters, open for clients; a test leaves them running and agreed."""
    with cluster(3) as made:
        yield made
