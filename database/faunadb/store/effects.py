"""What does a query leave behind when it is done? A value: what it read, what it would write.

Effects do nothing until the leader seals them with a timestamp and appends them. Computed at
the tip in the turn of the append they conflict with nothing; computed elsewhere they are
validated against what was written since their base (SAFETY 2, 3).

Trap: prefixes, not keys, conflict: the key of a version contains its time.
"""

from collections.abc import Iterable, Iterator

import msgspec

from faunadb.store.indexes import Late
from faunadb.store.keys import SCHEMA, SUFFIX_BYTES, suffix
from faunadb.store.mvcc import DELETED


class ReadSet(msgspec.Struct, frozen=True, array_like=True):
    """Everything that was looked at: prefixes (absent ones too), and ranges [start, end).

    The schema version is the point `keys.schema_prefix`. Ranges end behind the last prefix
    that was consumed.
    """

    points: frozenset[bytes] = frozenset()
    ranges: tuple[tuple[bytes, bytes], ...] = ()


class Effects(msgspec.Struct, frozen=True, array_like=True):
    """One evaluated query. Times in microseconds.

    `base` is (term, index) of the last entry in the view, `leader_term` the term in which it
    was evaluated: another term means evaluate again. `writes` are (prefix, version);
    `late` ones get their prefix from the timestamp, which must lie below `valid_before`.
    """

    base: tuple[int, int]
    leader_term: int
    snapshot_ts: int
    reads: ReadSet
    writes: tuple[tuple[bytes, bytes], ...] = ()
    late: tuple[tuple[Late, bytes], ...] = ()
    schema_changed: bool = False
    valid_before: int | None = None

    @property
    def read_only(self) -> bool:
        return not self.writes and not self.late

    @property
    def only_deletes(self) -> bool:
        """Return whether nothing but the history grows by it (SAFETY 21)."""
        return all(raw == DELETED for _, raw in (*self.writes, *self.late))


def seal(effects: Effects, ts: int) -> tuple[tuple[bytes, bytes | None], ...]:
    """Return the physical pairs of a transaction at `ts`; each key once."""
    assert effects.valid_before is None or ts < effects.valid_before, "something seen has expired"
    end = suffix(ts)
    if not effects.late:
        return tuple([(prefix + end, raw) for prefix, raw in effects.writes])
    pairs = {prefix + end: raw for prefix, raw in effects.writes}
    for late, raw in effects.late:
        pairs[late.prefix_at(ts) + end] = raw
    return tuple(pairs.items())


def written_prefixes(writes: Iterable[tuple[bytes, bytes | None]]) -> Iterator[bytes]:
    """Yield what sealed writes conflict with; removals of old versions change nothing seen."""
    for key, raw in writes:
        if raw is not None:
            yield key[:-SUFFIX_BYTES]


def changes_schema(writes: Iterable[tuple[bytes, bytes | None]]) -> bool:
    """Return whether sealed writes hold a new version of a schema."""
    return any(key.startswith(SCHEMA) for key, _ in writes)


def conflicts(reads: ReadSet, written: Iterable[bytes]) -> bool:
    """Return whether any written prefix was read."""
    return any(
        prefix in reads.points or any(start <= prefix < end for start, end in reads.ranges)
        for prefix in written
    )
