"""Which old versions may go? Those that no snapshot at or after the horizon can see.

Of each prefix the newest version at or before the horizon stays, unless it is a deletion or
had expired by then; everything before it goes. A deletion goes only in the command that takes
all that it hides, else a slice that ends there would bring the hidden back. Removal is a logged
command with explicit keys and time, so that every replica removes the same (SAFETY 12).

Trap: an index entry carries the ttl of its document, so both expire by the same rule.
"""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import NamedTuple

from faunadb.codec import RemoveVersions
from faunadb.definitions import USER_COLLECTION_MIN, CollectionDefinition, Schema
from faunadb.store import keys, mvcc
from faunadb.store.horizon import HISTORY_MIN_US, horizon_of, system_horizon
from faunadb.store.ports import Reader

VISITED_AT_ONCE_MAX = 1000  # keys that one command may look at: under 5 ms of apply

SchemaOf = Callable[[int], Schema]


def removed_pairs(reader: Reader, command: RemoveVersions) -> list[tuple[bytes, bytes]]:
    """Return the pairs that the command removes; it looks at `keys_max` keys at most."""
    return _judge(reader, command).go


class _Judgement(NamedTuple):
    go: list[tuple[bytes, bytes]]
    visited: int
    last_key: bytes


def _judge(reader: Reader, command: RemoveVersions) -> _Judgement:
    """Look at a slice. A deletion goes only together with everything that it hides."""
    go: list[tuple[bytes, bytes]] = []
    hiding: tuple[bytes, bytes] | None = None
    visited, kept, last_key = 0, b"", command.start
    for key, raw in islice(reader.scan(command.start, command.end), command.keys_max):
        visited, last_key = visited + 1, key
        prefix = key[: -keys.SUFFIX_BYTES]
        if hiding is not None and prefix != kept:
            go.append(hiding)
            hiding = None
        if keys.ts_of(key) > command.horizon_us:
            continue
        if command.everything or prefix == kept:
            go.append((key, raw))
            continue
        kept = prefix
        if not mvcc.is_live(raw, command.horizon_us):
            hiding = (key, raw)
    if hiding is not None and visited < command.keys_max and not command.end.startswith(kept):
        go.append(hiding)
    return _Judgement(go, visited, last_key)


class _Stretch(NamedTuple):
    """Keys of one collection or index, and what may go of them."""

    start: bytes
    end: bytes
    horizon_us: int
    everything: bool


class RemovalPlanner:
    """Walks the state round and round, a slice a call, and says what to remove (leader only).

    The place is kept in memory: a new leader begins at the beginning, which costs time only.
    """

    def __init__(self, schema_of: SchemaOf) -> None:
        self._schema_of = schema_of
        self._place = keys.DOCUMENTS

    def next(self, reader: Reader, now_us: int) -> RemoveVersions | None:
        """Return a command for the next slice, `None` when nothing in it may go."""
        first = next(iter(reader.scan(self._place, keys.successor(keys.INDEXES))), None)
        if first is None:
            self._place = keys.DOCUMENTS
            return None
        stretch = self._stretch(first[0], now_us)
        command = RemoveVersions(
            max(self._place, stretch.start),
            stretch.end,
            stretch.horizon_us,
            VISITED_AT_ONCE_MAX,
            everything=stretch.everything,
        )
        judged = _judge(reader, command)
        if judged.visited < VISITED_AT_ONCE_MAX:
            self._place = stretch.end
        else:
            # begin again at the thing whose versions were cut apart, if that is progress
            prefix = judged.last_key[: -keys.SUFFIX_BYTES]
            self._place = prefix if prefix > command.start else judged.last_key
        return command if judged.go else None

    def _stretch(self, key: bytes, now_us: int) -> _Stretch:
        scope, number = keys.owner_of(key)
        collections = self._schema_of(scope).collections
        if key.startswith(keys.INDEXES):
            owner = _collection_with(collections.values(), number)
        else:
            owner = collections.get(number)
        if owner is not None:
            horizon, everything = horizon_of(owner, now_us), False
        elif number < USER_COLLECTION_MIN:  # the index of a system collection has its number
            horizon, everything = system_horizon(number, now_us), False
        else:
            horizon, everything = max(now_us - HISTORY_MIN_US, 0), True
        start = key[: keys.HEAD_BYTES]
        return _Stretch(start, keys.successor(start), horizon, everything)


def _collection_with(
    collections: Iterable[CollectionDefinition], index: int
) -> CollectionDefinition | None:
    for coll in collections:
        if any(known.id == index for known in coll.indexes):
            return coll
    return None
