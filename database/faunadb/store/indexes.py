"""Which entries does a version of a document have in an index? (schema.md, section 3)

Every combination of its terms and values, distinct, except those in which every term is null;
`mva` gives one combination an element. An index without terms holds every document.

A TransactionTime among terms or values has no place before the time is known: such an entry
stands at a provisional place (the snapshot's time) for the query that makes it, and carries
what it takes to compute its real key when the time is issued (`Late`).

Trap: computed fields may be terms. The `Compute` callback is pure and gives None on failure.
"""

from collections.abc import Callable, Sequence
from itertools import product
from math import prod
from typing import NamedTuple

import msgspec

from faunadb.codec import decode_value, encode_value
from faunadb.definitions import CollectionDefinition, Document, IndexDefinition, Path
from faunadb.errors import Malformed, QueryError
from faunadb.store import keys
from faunadb.store.mvcc import encode_version
from faunadb.store.order import resolved, waits_for_time
from faunadb.values import TRANSACTION_TIME, Ref, Time, Value

Compute = Callable[[CollectionDefinition, str, Document], Value]

INDEX_KEY_BYTES_MAX = 64_000
ENTRIES_PER_VERSION_MAX = 10_000  # combinations of one document in one index


class Late(msgspec.Struct, frozen=True, array_like=True):
    """An entry whose key contains the time of its transaction; values are encoded."""

    scope: int
    index: int
    terms: bytes
    values: bytes
    descending: tuple[bool, ...]
    doc_id: int

    def prefix_at(self, ts: int) -> bytes:
        """Return the entry's prefix for a transaction at `ts` microseconds."""
        time = Time.from_micros(ts)
        terms, values = _resolved(self.terms, time), _resolved(self.values, time)
        head = keys.terms_prefix(self.scope, self.index, terms)
        return keys.entry_prefix(head, keys.values_key(values, self.descending), self.doc_id)


class Entry(NamedTuple):
    """What stands in the map for one combination; `late` when its prefix is provisional."""

    raw: bytes
    late: Late | None


def _resolved(encoded: bytes, time: Time) -> list[Value]:
    value = resolved(decode_value(encoded), time)
    if not isinstance(value, list):
        raise Malformed("the values of an entry are an array")
    return value


class Site(NamedTuple):
    """Where entries are computed: database, collection, computed fields, snapshot (µs)."""

    scope: int
    coll: CollectionDefinition
    compute: Compute
    now_us: int


def entries_of(site: Site, index: IndexDefinition, document: Document) -> dict[bytes, Entry]:
    """Return a version's entries by prefix. Refuses keys that are too many or too long."""
    terms = [_column(site, path, document) for path in index.terms]
    values = [_column(site, item.path, document) for item in index.values]
    _check_count(index, document, terms + values)
    descending = tuple([item.descending for item in index.values])
    found: dict[bytes, Entry] = {}
    for term in product(*terms):
        if term and all(item is None for item in term):
            continue
        head = b""
        for value in product(*values):
            raw = encode_version(list(value), document.ttl)
            _check_size(raw)
            late = None
            if waits_for_time([*term, *value]):
                encoded = encode_value(list(term)), encode_value(list(value))
                late = Late(site.scope, index.id, *encoded, descending, document.id)
                prefix = late.prefix_at(site.now_us)
            else:
                head = head or _head(site.scope, index, term)
                prefix = keys.entry_prefix(head, keys.values_key(value, descending), document.id)
            found.setdefault(prefix, Entry(raw, late))
    return found


def _head(scope: int, index: IndexDefinition, term: tuple[Value, ...]) -> bytes:
    if not term:
        return keys.index_prefix(scope, index.id)
    encoded = keys.encoded_terms(term)
    _check_size(encoded)
    return keys.hashed_prefix(scope, index.id, encoded)


def _check_count(
    index: IndexDefinition, document: Document, columns: Sequence[Sequence[Value]]
) -> None:
    count = prod([len(column) for column in columns])
    if count > ENTRIES_PER_VERSION_MAX:
        raise QueryError(
            "invalid_request",
            f"Index entries for doc {document.id} and index {index.name} are {count}, which "
            f"exceeds the limit of {ENTRIES_PER_VERSION_MAX}",
        )


def _check_size(key: bytes) -> None:
    if len(key) > INDEX_KEY_BYTES_MAX:
        raise QueryError(
            "invalid_request", f"Key bytes ({len(key)}) exceeds threshold ({INDEX_KEY_BYTES_MAX})"
        )


def _column(site: Site, path: Path, document: Document) -> list[Value]:
    """Return what stands at `path`: one value, or with `mva` the elements of an array."""
    value = _value_at(site, path.parts, document)
    if path.mva and isinstance(value, list):
        return _distinct(value) or [None]
    return [value]


def _distinct(values: list[Value]) -> list[Value]:
    return list({encode_value(keys.canonical(value)): value for value in values}.values())


def _value_at(site: Site, path: tuple[str | int, ...], document: Document) -> Value:
    first, rest = path[0], path[1:]
    if first in _META:
        return None if rest else _META[first](document)
    if first == "data" and rest:
        return _inside(document.data, rest)
    if any(field.name == first for field in site.coll.computed_fields):
        return _inside(site.compute(site.coll, str(first), document), rest)
    return _inside(document.data, path)


_META: dict[str | int, Callable[[Document], Value]] = {
    "id": lambda document: document.id,
    "ttl": lambda document: document.ttl,
    "ts": lambda document: (
        TRANSACTION_TIME if document.ts is None else Time.from_micros(document.ts)
    ),
}


def _inside(value: Value, path: Sequence[str | int]) -> Value:
    for part in path:
        if isinstance(value, dict):
            value = value.get(str(part))
        elif isinstance(value, list):
            at = part if isinstance(part, int) else -1
            value = value[at] if 0 <= at < len(value) else None
        elif isinstance(value, Ref):
            value = {"id": value.id, "coll": value.coll}.get(str(part))
        else:
            return None
    return value
