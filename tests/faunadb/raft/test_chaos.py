"""A seeded storm over a whole cluster; `Cluster` checks every step of it.

RAFT_SEEDS=N tries more seeds, RAFT_SEED=S only one; a failing seed names itself.
"""

import os

import pytest

from raft_test_helpers.chaos import Chaos

FIRST = int(os.environ.get("RAFT_SEED", "0"))
COUNT = 1 if "RAFT_SEED" in os.environ else int(os.environ.get("RAFT_SEEDS", "24"))
STEPS = 3000


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_storm(seed: int) -> None:
    """Nothing that was promised is lost, and when the faults stop the cluster lives."""
    Chaos(seed).run(STEPS)


def test_the_same_seed_gives_the_same_run() -> None:
    """A seed that failed can be looked at again."""
    runs = [Chaos(3), Chaos(3)]
    for run in runs:
        run.run(STEPS)

    assert runs[0].cluster.chosen == runs[1].cluster.chosen


@pytest.mark.parametrize(
    "seed",
    [
        68,  # the only member with the newest entries had removed itself
        164,  # the same, in a joint configuration
    ],
)
def test_seeds_that_failed(seed: int) -> None:
    """What was found once stays found."""
    Chaos(seed).run(STEPS)
