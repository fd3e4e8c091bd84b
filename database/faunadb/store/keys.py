"""Where does everything lie? The layout of keys, in an order that scans can use.

    m name                                              bookkeeping of the machine
    r birth time (u64) nonce (16)                       requests, oldest first
    s scope  ~ts                                        the schema changed at ts
    d scope coll  doc id (u64)  ~ts                     a version of a document
    i scope index [terms (16)] values  doc id (u64) ~ts an entry of an index

Numbers are big endian; scope, coll and index have four bytes. `~ts` is the complement of the
transaction time, so the newest version of a thing comes first. What stands before `~ts` is
the *prefix*: the name of the thing, which read sets and conflicts are about.

`terms` is a 128-bit BLAKE2b of the terms by value and type: exact matches need no order.
`values` are `order.order_keys`. Keys have at most 511 bytes (LMDB), so values that need more
than `VALUES_PREFIX_BYTES` are cut there and followed by a hash of all of them: entries stay
in order up to the cut, equal ones stay equal, unequal ones stay apart. The values themselves
stand in full in the value part.

Trap: no prefix is the beginning of another, hence `after(prefix)` may use FF bytes.
"""

import hashlib
import struct
from collections.abc import Sequence

from faunadb.codec import encode_value
from faunadb.store.order import order_keys
from faunadb.store.ports import KEY_BYTES_MAX
from faunadb.values import Value

SUFFIX_BYTES = 8
ID_BYTES = 8
HASH_BYTES = 16
TS_MAX = 2**64 - 1
DOC_ID_MAX = 2**63 - 1
HEAD_BYTES = 9  # space, scope, collection or index
TERMS_HEAD_BYTES = 25  # head and hash of the terms
# 511 less head 9, terms 16, hash 16, doc id 8, ts 8
VALUES_PREFIX_BYTES = KEY_BYTES_MAX - HEAD_BYTES - HASH_BYTES - HASH_BYTES - ID_BYTES - SUFFIX_BYTES

META = b"m"
REQUESTS, REQUESTS_END = b"r", b"s"
SCHEMA, DOCUMENTS, INDEXES = b"s", b"d", b"i"

_SCHEMA = struct.Struct(">cI")
_COLL = struct.Struct(">cII")
_DOC = struct.Struct(">cIIQ")
_U64 = struct.Struct(">Q")
_AFTER = b"\xff" * (SUFFIX_BYTES + 1)


def suffix(ts: int) -> bytes:
    """Return `~ts`: later transactions come first."""
    return _U64.pack(TS_MAX - ts)


def ts_of(key: bytes) -> int:
    """Return the transaction time in a versioned key."""
    return TS_MAX - int.from_bytes(key[-SUFFIX_BYTES:], "big")


def schema_prefix(scope: int) -> bytes:
    return _SCHEMA.pack(SCHEMA, scope)


def collection_prefix(scope: int, coll: int) -> bytes:
    return _COLL.pack(b"d", scope, coll)


def document_prefix(scope: int, coll: int, doc_id: int) -> bytes:
    return _DOC.pack(b"d", scope, coll, doc_id)


def document_of(prefix: bytes) -> tuple[int, int, int]:
    """Return (scope, coll, doc id) of a document's prefix."""
    _, scope, coll, doc_id = _DOC.unpack(prefix)
    return scope, coll, doc_id


def index_prefix(scope: int, index: int) -> bytes:
    return _COLL.pack(b"i", scope, index)


def owner_of(key: bytes) -> tuple[int, int]:
    """Return (scope, number of the collection or index) of a `d` or `i` key."""
    _, scope, number = _COLL.unpack_from(key)
    return scope, number


def terms_prefix(scope: int, index: int, terms: Sequence[Value]) -> bytes:
    """Return what all entries with exactly these terms begin with."""
    if not terms:
        return index_prefix(scope, index)
    return hashed_prefix(scope, index, encoded_terms(terms))


def encoded_terms(terms: Sequence[Value]) -> bytes:
    """Return terms by value and type: 1, 1.0 and "1" differ, the order of keys does not."""
    return encode_value([canonical(term) for term in terms])


def hashed_prefix(scope: int, index: int, encoded: bytes) -> bytes:
    return _COLL.pack(b"i", scope, index) + _digest(encoded)


def canonical(value: Value) -> Value:
    """Return `value` with the keys of its objects sorted."""
    if isinstance(value, dict):
        return {key: canonical(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [canonical(item) for item in value]
    return value


def values_key(values: Sequence[Value], descending: Sequence[bool]) -> bytes:
    """Return the position of the values, cut and hashed when it is too long."""
    key = order_keys(values, descending)
    if len(key) <= VALUES_PREFIX_BYTES:
        return key
    full = encode_value([canonical(value) for value in values])
    return key[:VALUES_PREFIX_BYTES] + _digest(full)


def entry_prefix(head: bytes, position: bytes, doc_id: int) -> bytes:
    """Return the prefix of an entry: `head` of its terms, position of its values, document."""
    return head + position + _U64.pack(doc_id)


def entry_doc_id(prefix: bytes) -> int:
    return int.from_bytes(prefix[-ID_BYTES:], "big")


def after(prefix: bytes) -> bytes:
    """Return a key behind every version of `prefix` and before everything that follows."""
    return prefix + _AFTER


def successor(start: bytes) -> bytes:
    """Return the first key that does not begin with `start`."""
    stripped = start.rstrip(b"\xff")
    assert stripped, "every space begins with a letter"
    return stripped[:-1] + bytes((stripped[-1] + 1,))


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=HASH_BYTES).digest()
