"""Where the workers of long queries may run."""

import pytest

from faunadb.node.workers import processors_of_workers


@pytest.mark.parametrize(
    ("member", "workers"),
    [({0}, {0}), ({3}, {3}), ({0, 1}, {1}), ({2, 5, 7}, {5, 7})],
)
def test_one_processor_is_never_a_worker_s(member: set[int], workers: set[int]) -> None:
    """All processors of the member but the first are the workers', and its only one too."""
    assert workers == processors_of_workers(member)
