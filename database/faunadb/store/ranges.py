"""Which stretch of keys does a range of a set mean? (schema.md, section 3, "Range")

Both ends are inclusive, in index direction, and a prefix of the values is enough: positions
that are missing are open. An array as the upper end of an index with one value is a prefix of
arrays. Bounds beyond `keys.VALUES_PREFIX_BYTES` compare up to there, unless they name a
document: such a bound (a cursor) is exact.
"""

from faunadb.definitions import Bound, IndexDefinition
from faunadb.store import keys
from faunadb.store.order import array_prefix, order_keys


def collection_range(
    scope: int, coll: int, lower: Bound | None, upper: Bound | None
) -> tuple[bytes, bytes]:
    """Return [start, end) of a collection's documents between ids."""
    head = keys.collection_prefix(scope, coll)
    start, end = head, keys.successor(head)
    if lower is not None and lower.id is not None:
        first = keys.document_prefix(scope, coll, lower.id)
        start = keys.after(first) if lower.exclusive else first
    if upper is not None and upper.id is not None:
        last = keys.document_prefix(scope, coll, upper.id)
        end = last if upper.exclusive else keys.after(last)
    return start, end


def index_range(
    head: bytes, index: IndexDefinition, lower: Bound | None, upper: Bound | None
) -> tuple[bytes, bytes]:
    """Return [start, end) of the entries behind `head` (index and terms)."""
    start, end = head, keys.successor(head)
    if lower is not None:
        exact = _exact(head, index, lower)
        if exact is not None:
            start = keys.after(exact) if lower.exclusive else exact
        elif lower.values:
            first = _prefix(head, index, lower, upper=False)
            start = keys.successor(first) if lower.exclusive else first
    if upper is not None:
        exact = _exact(head, index, upper)
        if exact is not None:
            end = exact if upper.exclusive else keys.after(exact)
        elif upper.values:
            last = _prefix(head, index, upper, upper=True)
            end = last if upper.exclusive else keys.successor(last)
    return start, end


def _exact(head: bytes, index: IndexDefinition, bound: Bound) -> bytes | None:
    if bound.id is None or len(bound.values) != len(index.values):
        return None
    position = keys.values_key(bound.values, [item.descending for item in index.values])
    return keys.entry_prefix(head, position, bound.id)


def _prefix(head: bytes, index: IndexDefinition, bound: Bound, *, upper: bool) -> bytes:
    assert len(bound.values) <= len(index.values), "a bound has at most as many as values"
    descending = [item.descending for item in index.values]
    only = bound.values[0]
    if upper and not bound.exclusive and len(index.values) == 1 and isinstance(only, list):
        key = array_prefix(only, descending=descending[0])
    else:
        key = order_keys(bound.values, descending)
    return head + key[: keys.VALUES_PREFIX_BYTES]
