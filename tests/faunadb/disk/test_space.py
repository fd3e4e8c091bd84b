"""What a disk must still have room for, as a table."""

import pytest

from faunadb.disk.space import (
    APPLY_RESERVE_BYTES,
    LAST_RESERVE_BYTES,
    MIB,
    SNAPSHOT_LOG_BYTES_MIN,
    Space,
    admit,
)

STATE = 1000 * MIB
NEEDED = 1250 * MIB + 64 * MIB + APPLY_RESERVE_BYTES + LAST_RESERVE_BYTES


@pytest.mark.parametrize(
    ("free", "older", "writes", "reserved", "drop"),
    [
        (NEEDED, STATE, True, True, False),
        (NEEDED - 1, STATE, True, True, True),
        (NEEDED - 1, 0, False, True, False),
        (NEEDED - STATE - 1, STATE, False, True, True),
        (LAST_RESERVE_BYTES, 0, False, True, False),
        (LAST_RESERVE_BYTES - 1, 0, False, False, False),
    ],
)
def test_what_goes_first(free: int, older: int, writes: bool, reserved: bool, drop: bool) -> None:
    """The older snapshot, then ordinary writes, then everything (SAFETY 21)."""
    found = admit(Space(free, STATE, older, 0, 64 * MIB, spare_ready=True))

    assert NEEDED == found.needed
    assert (writes, reserved, drop) == (
        found.ordinary_writes,
        found.reserved_writes,
        found.drop_older_snapshot,
    )


def test_a_missing_spare_costs_another_segment() -> None:
    """The reserve is for two: the present one's successor and the spare."""
    space = Space(NEEDED, STATE, 0, 0, 64 * MIB, spare_ready=False)

    assert NEEDED + 64 * MIB == admit(space).needed


def test_a_copy_that_does_not_fit_is_not_due() -> None:
    """It would fill the disk to the last byte, and be of no use; nothing else may take its room."""
    log, copy = 1 << 40, 1250 * MIB + LAST_RESERVE_BYTES
    fits, too_large = (
        admit(Space(copy - less, STATE, 0, log, 64 * MIB, spare_ready=True)) for less in (0, 1)
    )
    freed = admit(Space(copy - 1, STATE, 1, log, 64 * MIB, spare_ready=True))

    assert [True, False] == [fits.snapshot_due, too_large.snapshot_due]
    assert freed.drop_older_snapshot
    assert freed.snapshot_due


@pytest.mark.parametrize(
    ("log", "state", "due"),
    [
        (SNAPSHOT_LOG_BYTES_MIN, 0, False),
        (SNAPSHOT_LOG_BYTES_MIN + 1, 0, True),
        (1024 * MIB, 2048 * MIB, False),
        (1024 * MIB + 1, 2048 * MIB, True),
    ],
)
def test_when_a_snapshot_is_due(log: int, state: int, due: bool) -> None:
    """When the log since the last one exceeds max(256 MiB, half the state)."""
    assert due == admit(Space(1 << 50, state, 0, log, 64 * MIB, spare_ready=True)).snapshot_due
