"""Bugs that are planted in a copy of the product, each noticed by its seed (RAFT.md 5)."""

from pathlib import Path

import pytest

from sim_test_helpers.planted import BUGS, DATABASE, Bug, plant, simulate

pytestmark = pytest.mark.sim


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_its_seed_kills(bug: Bug, tmp_path: Path) -> None:
    """The simulator fails for the right reason, and says how to see it again."""
    code, said = simulate(plant(bug, tmp_path), "--seed", str(bug.seed))

    assert 1 == code, said
    assert bug.says in said
    assert f"make sim SEED={bug.seed} TRACE=1" in said


@pytest.mark.parametrize("seed", sorted({bug.seed for bug in BUGS}))
def test_the_same_seed_passes_without_a_bug(seed: int) -> None:
    """What kills a bug is the bug."""
    code, said = simulate(DATABASE, "--seed", str(seed))

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
