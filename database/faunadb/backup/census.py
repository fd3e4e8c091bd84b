"""How many documents are in which collection? Counted while pairs go by in order.

House rule: what a snapshot at the state's last transaction sees is counted, nothing else.
Trap: versions of one document may be in two slices; the last prefix is kept between them.
"""

from collections import Counter
from collections.abc import Iterable

from faunadb.definitions import USER_COLLECTION_MIN, CollectionDefinition
from faunadb.store import keys, mvcc
from faunadb.store.ports import Reader
from faunadb.store.schema import load_schema, schema_version

ROOT = 0  # the database whose collections are named by name


class Census:
    """Counts live documents of users' collections at `ts` (microseconds)."""

    def __init__(self, reader: Reader, ts: int) -> None:
        self._ts = ts
        schema = load_schema(reader, ROOT, schema_version(reader, ROOT, ts))
        self._names = {
            definition.id: definition.name
            for definition in schema.collections.values()
            if isinstance(definition, CollectionDefinition)
        }
        self._found: Counter[tuple[int, int]] = Counter()
        self._last = b""

    def add(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Count pairs that follow all earlier ones."""
        for key, raw in pairs:
            if key[:1] != keys.DOCUMENTS:
                continue
            prefix = key[: -keys.SUFFIX_BYTES]
            if prefix == self._last:
                continue
            self._last = prefix
            owner = keys.owner_of(key)
            if owner[1] >= USER_COLLECTION_MIN and mvcc.is_live(raw, self._ts):
                self._found[owner] += 1

    def documents(self) -> dict[str, int]:
        """Return the counts by name; `database/collection` by number outside the root database."""
        return {
            self._names.get(coll, str(coll)) if scope == ROOT else f"{scope}/{coll}": count
            for (scope, coll), count in sorted(self._found.items())
        }
