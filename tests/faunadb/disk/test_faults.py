"""The n-th operation fails, for every n; then the member always finds what it promised.

SQLite's two loops: fail each I/O in turn, then crash with a random part of what was not synced.
"""

import errno
import os
from random import Random

import pytest

from disk_test_helpers.life import far_ahead, life
from disk_test_helpers.member import Storage
from faunadb_sim.disk import PowerLoss, SimDisk

STRIDE = int(os.environ.get("FAULT_STRIDE", "4"))  # 1 fails every operation in every way


LEADER = far_ahead(Storage(SimDisk(Random(99)), Random(99), member_id=2))


def count_operations() -> int:
    storage = Storage(SimDisk(Random(1)), Random(1))
    life(storage, LEADER)
    return storage.disk.operations


OPERATIONS = count_operations()


def run_with(kind: str, number: int, chance: Random) -> Storage:
    """Live until operation `number` fails in this way."""

    def plan(count: int, operation: str, path: str) -> None:
        if count != number:
            return
        if kind == "power":
            raise PowerLoss
        code = errno.EIO if kind == "eio" else errno.ENOSPC
        raise OSError(code, f"{operation} of {path}")

    storage = Storage(SimDisk(chance, plan=plan), Random(1))
    try:
        life(storage, LEADER)
    except (PowerLoss, OSError):
        storage.directory = None
    return storage


def go_on(storage: Storage, chance: Random) -> None:
    """Start, work, lose power at once, start again: twice over."""
    for _ in range(2):
        storage.open()
        storage.vote()
        storage.append(2)
        storage.commit_and_apply()
        storage.directory = None
        storage.disk.lose_power()
        if chance.random() < 0.5:
            storage.open()
            storage.directory = None
            storage.disk.crash_process()


@pytest.mark.parametrize("kind", ["power", "eio", "enospc"])
@pytest.mark.parametrize("restart", ["process", "power", "both"])
def test_fail_every_operation(kind: str, restart: str) -> None:
    """Whatever operation fails, and however it ends, nothing that was promised is missing.

    "both": the process is started again on its page cache, reads what the disk never got, and
    then power is lost (SAFETY 14).
    """
    for number in range(1 + len(kind + restart) % STRIDE, OPERATIONS + 1, STRIDE):
        chance = Random(f"{kind}-{restart}-{number}")
        storage = run_with(kind, number, chance)
        if kind == "power" or restart == "power":
            storage.disk.lose_power()
        else:
            storage.disk.crash_process()
        if restart == "both":
            storage.open()
            storage.directory = None
            storage.disk.lose_power()
        go_on(storage, chance)


def test_the_life_covers_what_it_should() -> None:
    """The story above rolls, recycles, cuts and installs; else it would prove little."""
    seen: set[str] = set()
    disk = SimDisk(Random(1), plan=lambda _n, operation, path: seen.add(f"{operation} {path}"))
    life(Storage(disk, Random(1)), LEADER)

    assert "rename wal/spare.wal" in seen
    assert any(step.startswith("remove wal/") for step in seen)
    assert any(step.startswith("rename snap.receiving") for step in seen)
    assert any(step.startswith("remove state-1") for step in seen)
    assert any(step.startswith("remove snap-") for step in seen)
