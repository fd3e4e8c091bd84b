"""May we write? What a disk must still have room for (SAFETY 21). Pure arithmetic.

A member that fills its disk cannot take the snapshot that would let it cut its log. So room for
the next copy, a spare segment and the entries that still must be applied is kept free at all
times; when it is short the older snapshot goes first, then ordinary writes are refused, and
deletes, removals, configurations and snapshots live on the last reserve.
"""

import msgspec

MIB = 1024 * 1024
APPLY_RESERVE_BYTES = 128 * MIB  # uncommitted bytes that the core lets in, and page splits
LAST_RESERVE_BYTES = 32 * MIB  # what deletes and configurations may use when writes are refused
SNAPSHOT_LOG_BYTES_MIN = 256 * MIB
COPY_GROWTH = 5, 4  # a copy is aborted when the state grows by a quarter meanwhile


class Space(msgspec.Struct, frozen=True):
    """What is, in bytes. `log_since_snapshot`: what a restart would have to apply again."""

    free: int
    state: int
    older_snapshot: int
    log_since_snapshot: int
    segment: int
    spare_ready: bool


class Admission(msgspec.Struct, frozen=True):
    """What follows. `needed` is what should be free."""

    needed: int
    ordinary_writes: bool
    reserved_writes: bool
    drop_older_snapshot: bool
    snapshot_due: bool


def admit(space: Space) -> Admission:
    """Decide what may be written.

    >>> admit(Space(free=10**10, state=10**9, older_snapshot=10**9, log_since_snapshot=0,
    ...             segment=64 * MIB, spare_ready=True)).ordinary_writes
    True
    """
    next_copy = space.state * COPY_GROWTH[0] // COPY_GROWTH[1]
    spares = space.segment if space.spare_ready else 2 * space.segment
    needed = next_copy + spares + APPLY_RESERVE_BYTES + LAST_RESERVE_BYTES
    short = space.free < needed
    freed = space.free + space.older_snapshot
    log_bytes_max = max(SNAPSHOT_LOG_BYTES_MIN, space.state // 2)
    return Admission(
        needed=needed,
        ordinary_writes=freed >= needed,
        reserved_writes=space.free >= LAST_RESERVE_BYTES,
        drop_older_snapshot=short and space.older_snapshot > 0,
        snapshot_due=space.log_since_snapshot > log_bytes_max
        and freed >= next_copy + LAST_RESERVE_BYTES,
    )
