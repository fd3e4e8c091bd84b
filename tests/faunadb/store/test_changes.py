"""What transactions wrote, in order: from history, from their own keys, from memory."""

import random

from faunadb.store import changes as subject
from faunadb.store.changes import (
    BEGINNING,
    ORDINAL_MAX,
    Change,
    Place,
    changes_in,
    changes_since,
    stretch_of_collection,
    stretch_of_document,
)
from faunadb.store.keys import document_prefix, suffix
from faunadb.store.recent import KEYS_MAX, UNASKED_MAX, Recent
from store_test_helpers.memory import MemoryKeyValue

STRETCH = stretch_of_collection(0, 1024)
LAST = 100


def key(ts: int, doc_id: int, coll: int = 1024) -> bytes:
    return document_prefix(0, coll, doc_id) + suffix(ts)


def history(seed: int) -> dict[int, list[bytes]]:
    """Transactions that write some documents of two collections."""
    chance = random.Random(seed)
    return {
        ts: [
            key(ts, doc_id, coll)
            for coll in (1024, 1025)
            for doc_id in chance.sample(range(9), chance.randrange(6))
        ]
        for ts in range(1, LAST + 1)
    }


def since(written: dict[int, list[bytes]], after: Place, through: int) -> list[Change]:
    kv = MemoryKeyValue()
    with kv.write() as writer:
        writer.put_many((each, b"\0") for keys in written.values() for each in keys)
    found: list[Change] = []
    with kv.read() as reader:
        while True:
            some, complete = changes_since(reader, STRETCH, after, through, lambda _: None)
            found += some
            if complete:
                return found
            after = some[-1].place


def test_history_hearing_and_memory_agree() -> None:
    """For every place to begin at: the same changes with the same places."""
    written = history(1)
    recent = Recent()
    assert recent.changes(STRETCH, BEGINNING, 0, LAST, lambda _: None) is None
    for ts, keys in written.items():
        recent.applied(ts, [(each, b"\0") for each in keys])
    for after in (Place(0, ORDINAL_MAX), Place(7, 1), Place(50, 0), Place(99, ORDINAL_MAX)):
        heard = [
            change
            for ts, keys in written.items()
            if after.ts <= ts <= 90
            for change in changes_in(ts, keys, STRETCH, after)
        ]
        assert heard == since(written, after, 90)
        assert heard == recent.changes(STRETCH, after, LAST, 90, lambda _: None)


def test_a_document_has_the_place_of_its_first_key() -> None:
    """Keys are counted, documents told once."""
    one = [(5, b"i" + bytes(8) + position + (doc_id).to_bytes(8, "big") + suffix(5))
           for position, doc_id in ((b"a", 1), (b"b", 2), (b"c", 1), (b"d", 3))]  # fmt: skip

    assert [Change(5, 0, 1), Change(5, 1, 2), Change(5, 3, 3)] == (subject.numbered(one, BEGINNING))


def test_a_long_history_comes_in_pieces_that_miss_nothing() -> None:
    """A transaction is never cut, also one that is longer than a piece."""
    count = subject.CHANGES_AT_ONCE_MAX
    written = {
        1: [key(1, 7)],
        2: [key(2, doc_id) for doc_id in range(count + 5)],
        3: [key(3, doc_id) for doc_id in range(10)],
    }
    found = since(written, BEGINNING, 3)

    assert 1 + count + 5 + 10 == len(found)
    assert found == sorted(set(found))


def test_a_document_is_watched_alone() -> None:
    """Its neighbours are not in its stretch."""
    written = [key(9, doc_id) for doc_id in (6, 7, 8)]

    assert [Change(9, 0, 7)] == changes_in(9, written, stretch_of_document(0, 1024, 7))


def test_memory_is_bounded() -> None:
    """What had to go is not known any more; what came later is."""
    recent = Recent()
    recent.changes(STRETCH, BEGINNING, 0, 0, lambda _: None)
    many = [(key(1, doc_id), b"\0") for doc_id in range(KEYS_MAX)]
    recent.applied(1, many)
    assert recent.changes(STRETCH, Place(0, ORDINAL_MAX), 1, 1, lambda _: None) is not None
    recent.applied(2, [(key(2, 5), b"\0")])

    assert recent.changes(STRETCH, Place(0, ORDINAL_MAX), 2, 2, lambda _: None) is None
    assert [Change(2, 0, 5)] == (
        recent.changes(STRETCH, Place(1, ORDINAL_MAX), 2, 2, lambda _: None)
    )


def test_nobody_who_asks_means_nothing_is_kept() -> None:
    """Before the first question, and long after the last one."""
    recent = Recent()
    recent.applied(1, [(key(1, 1), b"\0")])
    assert recent.changes(STRETCH, Place(0, ORDINAL_MAX), 1, 1, lambda _: None) is None
    for ts in range(2, UNASKED_MAX + 3):
        recent.applied(ts, [])
    assert recent.changes(STRETCH, Place(1, ORDINAL_MAX), ts, ts, lambda _: None) is None
