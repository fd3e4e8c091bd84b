"""Bugs that are planted in a copy of the product, each noticed by its seed (RAFT.md 5)."""

import re
from pathlib import Path

import pytest

from planted import Bug
from sim_test_helpers.planted import BUGS, DATABASE, SEEDS, plant, simulate

pytestmark = pytest.mark.sim


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_seed_kills(bug: Bug, tmp_path: Path) -> None:
    """The simulator fails for the right reason, and names the seed that shows it again.

    Which seed it is changes with the product: any change makes other runs of all seeds.
    """
    code, said = simulate(plant(bug, tmp_path), "--fail-fast", "--seeds", str(SEEDS))
    failures = re.findall(r"seed (\d+) FAILED: (.*)", said)

    assert 1 == code, said
    assert 1 == len(failures), said
    assert any(promise in failures[0][1] for promise in bug.says), said
    assert f"make sim SEED={failures[0][0]} TRACE=1" in said


def test_the_seeds_pass_without_a_bug() -> None:
    """What kills a bug is the bug."""
    code, said = simulate(DATABASE, "--seeds", str(SEEDS))

    assert 0 == code, said


@pytest.mark.parametrize("seed", [3, 5, 8])
def test_two_hash_seeds_give_one_run(seed: int) -> None:
    """Nothing depends on the order of a set: a seed can be replayed anywhere."""
    runs = [
        simulate(DATABASE, "--seed", str(seed), hash_seed=hash_seed)[1] for hash_seed in ("1", "2")
    ]
    digests = [[line for line in run.splitlines() if "digest" in line] for run in runs]

    assert 1 == len(digests[0])
    assert digests[0] == digests[1]
