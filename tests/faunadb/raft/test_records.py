"""Entries leave the cluster as records and come back as they were, or not at all."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faunadb.errors import Malformed
from faunadb.raft.entries import Entry, EntryKind, Index, Term
from faunadb.raft.records import RecordReader, decode_records, encode_records


def entry(index: int, term: int = 1, payload: bytes = b"x") -> Entry:
    return Entry.make(Term(term), Index(index), EntryKind.DATA, payload)


@settings(deadline=None)
@given(
    st.integers(1, 2**62),
    st.lists(st.tuples(st.sampled_from(EntryKind), st.binary(max_size=80)), max_size=6),
    st.integers(1, 40),
)
def test_records_come_back_however_they_are_cut(
    first: int, content: list[tuple[EntryKind, bytes]], step: int
) -> None:
    """The pieces of a stream end anywhere."""
    entries = [
        Entry.make(Term(3), Index(first + at), kind, payload)
        for at, (kind, payload) in enumerate(content)
    ]
    block = encode_records(entries)
    reader = RecordReader()
    found = [e for at in range(0, len(block), step) for e in reader.feed(block[at : at + step])]

    assert entries == found == decode_records(block)
    assert reader.is_between_records


def test_a_record_is_what_the_page_says() -> None:
    """The layout of docs/admin-api.md, byte for byte."""
    block = encode_records([entry(5, 2, b"abc")])

    assert "020000000000000005000000000000000103000000616263" == block[:-4].hex()


@settings(deadline=None)
@given(st.data())
def test_no_flipped_bit_passes(data: st.DataObject) -> None:
    """Whatever bit is flipped: another entry is never taken for the one that was sent."""
    block = bytearray(encode_records([entry(1), entry(2, payload=b"abc" * 9), entry(3)]))
    at = data.draw(st.integers(0, len(block) - 1))
    block[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Malformed):
        decode_records(bytes(block))


@pytest.mark.parametrize(
    "entries", [[entry(1), entry(3)], [entry(2), entry(2)], [entry(1, 4), entry(2, 3)]]
)
def test_records_are_consecutive(entries: list[Entry]) -> None:
    """A hole, a repetition and a falling term are refused."""
    with pytest.raises(Malformed):
        decode_records(encode_records(entries))


@given(st.binary(max_size=100))
def test_any_bytes_are_refused_or_read(block: bytes) -> None:
    """The decoder is total."""
    try:
        decode_records(block)
    except Malformed:
        return
    assert b"" == block
