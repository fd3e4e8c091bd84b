"""Which documents did transactions write, in which order? From the versions themselves.

A source of events watches a stretch of keys: the versions of a collection, of one document, or
the entries of an index under some terms. What a transaction wrote there is told by its time in
the keys, from a scan of history or from the pairs of the transaction itself, with the same
result: ordered by time, then by key, each document once a transaction.

A place is (time, ordinal): the ordinal counts the keys that the transaction wrote in the
stretch, from 0; a document keeps that of its first (schema.md §9).

Trap: a key only says that something was written. Filling an index writes entries of documents
that did not change; whether there is an event is decided by the versions before and after.
"""

from collections.abc import Callable, Iterable
from heapq import nsmallest
from typing import NamedTuple

import msgspec

from faunadb.store import keys
from faunadb.store.ports import Reader

CHANGES_AT_ONCE_MAX = 20_000  # keys that one look into history keeps in memory


class Place(NamedTuple):
    """How far a reader of events has come: `ts` in microseconds, and in that transaction."""

    ts: int
    ordinal: int


ORDINAL_MAX = 2**63 - 1
BEGINNING = Place(0, 0)


class Change(NamedTuple):
    """A document that a transaction wrote."""

    ts: int
    ordinal: int
    doc_id: int

    @property
    def place(self) -> Place:
        return Place(self.ts, self.ordinal)


class Stretch(msgspec.Struct, frozen=True):
    """The keys from `start` to `end` that a source watches, all in one collection or index."""

    start: bytes
    end: bytes

    @property
    def head(self) -> bytes:
        """Return what names the collection or index."""
        return self.start[: keys.HEAD_BYTES]


def stretch_of_collection(scope: int, coll: int) -> Stretch:
    start = keys.collection_prefix(scope, coll)
    return Stretch(start, keys.successor(start))


def stretch_of_document(scope: int, coll: int, doc_id: int) -> Stretch:
    start = keys.document_prefix(scope, coll, doc_id)
    return Stretch(start, keys.after(start))


def stretch_of_terms(head: bytes) -> Stretch:
    """Return the entries of an index that begin with `head` (`keys.terms_prefix`)."""
    return Stretch(head, keys.successor(head))


def changes_since(
    reader: Reader, stretch: Stretch, after: Place, through_ts: int, tick: Callable[[int], None]
) -> tuple[list[Change], bool]:
    """Return what was written behind `after` up to `through_ts`, and whether that is all of it.

    Looks at every version of the stretch: `tick` pays one step for each.
    """
    done = after.ordinal == ORDINAL_MAX  # with its own transaction
    first, last = keys.suffix(through_ts), keys.suffix(after.ts + 1 if done else after.ts)

    def written() -> Iterable[tuple[int, bytes]]:
        for key, _ in reader.scan(stretch.start, stretch.end):
            tick(1)
            if first <= key[-keys.SUFFIX_BYTES :] <= last:
                yield keys.ts_of(key), key

    found = nsmallest(CHANGES_AT_ONCE_MAX + 1, written())
    if len(found) <= CHANGES_AT_ONCE_MAX:
        return numbered(found, after), True
    ts = found[-1][0]  # all of a transaction or nothing: its ordinals are counted together
    changes = numbered([pair for pair in found if pair[0] < ts], after)
    changes = changes or numbered(sorted(pair for pair in written() if pair[0] == ts), after)
    if changes:
        return changes, False
    return changes_since(reader, stretch, Place(ts, ORDINAL_MAX), through_ts, tick)


def changes_in(
    ts: int, written: Iterable[bytes], stretch: Stretch, after: Place = BEGINNING
) -> list[Change]:
    """Return what the transaction at `ts` wrote in the stretch, of all the keys that it wrote."""
    inside = [(ts, key) for key in written if stretch.start <= key < stretch.end]
    inside.sort()
    return numbered(inside, after)


def numbered(found: Iterable[tuple[int, bytes]], after: Place) -> list[Change]:
    """Number the keys of each transaction; they come in order of time and key."""
    changes: list[Change] = []
    now, ordinal = -1, 0
    seen: set[int] = set()
    for ts, key in found:
        if ts != now:
            now, ordinal, seen = ts, 0, set()
        doc_id = keys.entry_doc_id(key[: -keys.SUFFIX_BYTES])
        if doc_id not in seen:
            seen.add(doc_id)
            if (ts, ordinal) > after:
                changes.append(Change(ts, ordinal, doc_id))
        ordinal += 1
    return changes
