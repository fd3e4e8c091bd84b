"""Fixtures of the process tests: clusters that several tests of one module share."""

from collections.abc import Iterator

import pytest

from process.cluster import Cluster, cluster


@pytest.fixture(scope="module")
def three() -> Iterator[Cluster]:
    """Three voters, open for clients; a test leaves them running and agreed."""
    with cluster(3) as made:
        yield made
