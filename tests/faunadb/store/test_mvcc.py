"""A snapshot sees the newest version at or before it, and nothing that is deleted or expired."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faunadb.errors import Malformed
from faunadb.store import keys, mvcc
from faunadb.values import TRANSACTION_TIME, Time, Value
from store_test_helpers import MemoryKeyValue

Write = tuple[int, int, int | None, int | None]  # doc id, ts, content, ttl in microseconds
writes = st.lists(
    st.tuples(
        st.integers(1, 4),
        st.integers(1, 30),
        st.one_of(st.none(), st.integers(0, 9)),
        st.one_of(st.none(), st.integers(1, 40)),
    ),
    unique_by=lambda write: write[:2],
    max_size=25,
)


def stored(history: list[Write]) -> MemoryKeyValue:
    kv = MemoryKeyValue()
    for doc_id, ts, content, ttl in history:
        raw = mvcc.DELETED
        if content is not None:
            raw = mvcc.encode_version(
                {"n": content}, None if ttl is None else Time.from_micros(ttl)
            )
        kv.pairs[keys.document_prefix(0, 1024, doc_id) + keys.suffix(ts)] = raw
    return kv


def model(history: list[Write], doc_id: int, at: int) -> int | None:
    known = [write for write in history if write[0] == doc_id and write[1] <= at]
    if not known:
        return None
    _, _, content, ttl = max(known, key=lambda write: write[1])
    return content if ttl is None or ttl > at else None


@settings(max_examples=200, deadline=None)
@given(writes, st.integers(0, 40))
def test_a_snapshot_is_what_a_list_of_versions_says(history: list[Write], at: int) -> None:
    """Point reads and scans in both directions agree with a list that is searched by hand."""
    wanted = {doc_id: model(history, doc_id, at) for doc_id in range(1, 5)}
    wanted = {doc_id: content for doc_id, content in wanted.items() if content is not None}
    head = keys.collection_prefix(0, 1024)
    with stored(history).read() as reader:
        points = {}
        for doc_id in range(1, 5):
            found = mvcc.newest(reader, keys.document_prefix(0, 1024, doc_id), at)
            if found is not None and found.live_at(at):
                points[doc_id] = mvcc.fields_of(found.raw, found.ts)["n"]
        scans = [
            [
                (keys.entry_doc_id(found.prefix), mvcc.fields_of(found.raw, found.ts)["n"])
                for found in mvcc.scan_newest(
                    reader, head, keys.successor(head), at, reverse=reverse
                )
                if found.live_at(at)
            ]
            for reverse in (False, True)
        ]
    assert wanted == points
    assert sorted(wanted.items()) == scans[0]
    assert scans[0] == scans[1][::-1]


def test_the_time_of_the_transaction_reads_back_as_that_of_the_version() -> None:
    """A placeholder in stored bytes is the version's time, at any depth."""
    raw = mvcc.encode_version({"a": [TRANSACTION_TIME], "b": 1}, None)
    assert {"a": [Time(7000)], "b": 1} == mvcc.fields_of(raw, 7)
    assert {"a": [TRANSACTION_TIME], "b": 1} == mvcc.fields_of(raw, None)


@pytest.mark.parametrize(
    "raw",
    [b"", b"\x00", b"\x07", b"\x01", b"\x02\x00", b"\x01\xc1", b"\x01\x01", b"\x02" + bytes(13)],
)
def test_bytes_that_are_no_document_are_malformed(raw: bytes) -> None:
    """A version that is not one is never half read."""
    with pytest.raises(Malformed):
        mvcc.fields_of(raw, 1)


def test_a_cut_ttl_and_an_entry_that_is_no_array_are_malformed() -> None:
    """Heads and payloads are checked."""
    with pytest.raises(Malformed):
        mvcc.ttl_of(b"\x02\x00")
    with pytest.raises(Malformed):
        mvcc.values_of(mvcc.encode_version({}, None), 1)
    values: tuple[Value, ...] = (1, "a")
    assert values == mvcc.values_of(mvcc.encode_version(list(values), Time(9)), 1)
