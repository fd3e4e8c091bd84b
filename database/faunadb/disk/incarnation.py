"""How a lone survivor's log goes on in a later incarnation (SAFETY 25).

IDENTITY names the new incarnation first, that is the commit point (directory.py). A log whose
newest segment is of an earlier one has not heard of it yet: its next segment begins with a frame
that holds, besides what every first frame repeats, the entries with which the incarnation
begins. A segment gets its name when it is synced, so they are all there or not at all, and a
kill at any step is finished by the next start.

Everything in the log is kept, the tail that is not known to be committed too: see
`raft.core.recovered_cluster`.

Trap: entries that only the lost members had are gone, and nobody here can name them.
"""

from collections.abc import Callable, Sequence

import msgspec

from faunadb.disk.frames import Append
from faunadb.disk.scan import LogScan
from faunadb.disk.snapshots import Snapshot
from faunadb.errors import Corrupt
from faunadb.node.ports import Identity
from faunadb.raft.entries import (
    Entry,
    EntryKind,
    HardState,
    Index,
    MemberId,
    decode_configuration,
)

Begin = Callable[[HardState, Index, MemberId], tuple[HardState, tuple[Entry, ...]]]
"""From the hard state, the last index and the highest member id of a log: how it goes on."""


def has_ended(scan: LogScan, identity: Identity) -> bool:
    """Say whether the log ends in an incarnation before the directory's own."""
    return scan.newest is not None and scan.incarnation < identity.incarnation


def begin_incarnation(
    scan: LogScan, kept: Sequence[Snapshot], identity: Identity, begin: Begin | None
) -> tuple[LogScan, str]:
    """Return the log with the entries that begin our incarnation, and a sentence about it.

    Raises `Corrupt` when nobody said how (`begin` is None).
    """
    if begin is None:
        raise Corrupt("identity", f"the log ends in incarnation {scan.incarnation}")
    old = scan.hard_state
    highest = _highest_member_id(scan.entries, kept)
    hard_state, entries = begin(old, Index(scan.last_index), highest)
    opening = msgspec.structs.replace(
        scan.opening,
        hard_state=hard_state,
        joined=True,
        operations=(*scan.opening.operations, Append(entries)),
        last_index=entries[-1].index,
    )
    begun = msgspec.structs.replace(
        scan,
        hard_state=hard_state,
        joined=True,
        entries=(*scan.entries, *entries),
        last_index=entries[-1].index,
        opening=opening,
    )
    return begun, (
        f"incarnation {identity.incarnation} begins at {entries[0].term}/{entries[0].index}:"
        f" everything up to {scan.last_index} is kept,"
        f" of which {scan.last_index - old.commit} entries were not known to be committed"
    )


def _highest_member_id(entries: Sequence[Entry], kept: Sequence[Snapshot]) -> MemberId:
    """Return the highest member id that was ever given out, as far as log and snapshots say."""
    configurations = [snapshot.manifest.configuration for snapshot in kept]
    configurations += [
        decode_configuration(entry.payload)
        for entry in entries
        if entry.kind is EntryKind.CONFIGURATION
    ]
    return max((found.highest_member_id for found in configurations), default=MemberId(0))
