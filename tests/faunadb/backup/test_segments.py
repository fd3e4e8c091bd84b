"""The archive's names and bytes: what is missing is named, what is damaged is refused."""

import hashlib

import pytest
import zstandard

from faunadb.backup.segments import (
    Gap,
    Held,
    Incarnation,
    PointRefused,
    Range,
    Segment,
    decode_segment,
    encode_gap,
    encode_segment,
    folder_of_log,
    gap_key,
    held,
    incarnation_of,
    path_through,
)
from faunadb.errors import Corrupt
from faunadb.raft.entries import Entry, EntryKind, Index, Term
from faunadb.raft.records import encode_records

CLUSTER, SALT, SHA = "c1" * 16, "5a" * 16, "0" * 64
FOLDER = f"{CLUSTER}/log/0000000007-{SALT}"


def entries(first: int, last: int) -> list[Entry]:
    return [
        Entry.make(Term(2), Index(at), EntryKind.DATA, b"payload") for at in range(first, last + 1)
    ]


def key(first: int, last: int) -> str:
    return f"{FOLDER}/{first:020d}-{last:020d}-{SHA}.zst"


def holding(*ranges: tuple[int, int], gaps: tuple[tuple[int, int], ...] = ()) -> Held:
    keys = [key(*each) for each in ranges]
    return held([*keys, *(gap_key(FOLDER, Range(*each)) for each in gaps)])


def path(found: Held, after: int, through: int | None) -> list[tuple[int, int]]:
    return [(each.first, each.last) for each in path_through(found, after, through)]


def refusal(found: Held, after: int, through: int) -> tuple[str, str]:
    with pytest.raises(PointRefused) as caught:
        path_through(found, after, through)
    return caught.value.reason, caught.value.detail


def test_names_are_what_the_page_says() -> None:
    """A folder for each incarnation; first, last and digest in the name."""
    incarnation = Incarnation(7, SALT)
    segment, block = encode_segment(FOLDER, entries(3, 5))

    assert FOLDER == folder_of_log(CLUSTER, incarnation)
    assert f"{FOLDER}/{3:020d}-{5:020d}-{hashlib.sha256(block).hexdigest()}.zst" == segment.key
    assert encode_records(entries(3, 5)) == zstandard.ZstdDecompressor().decompress(block)
    assert incarnation == incarnation_of(segment.key, CLUSTER)
    assert incarnation_of(f"{CLUSTER}/log/x", CLUSTER) is None
    assert incarnation_of(f"{CLUSTER}/b1/manifest.json", CLUSTER) is None
    assert f"{FOLDER}/gap-{6:020d}-{9:020d}.json" == gap_key(FOLDER, Range(6, 9))
    assert b'"from": 6' in encode_gap(Gap(6, 9, "why", "2026-11-24T00:00:00Z"))


def test_a_segment_comes_back() -> None:
    """As it was."""
    segment, block = encode_segment(FOLDER, entries(3, 5))

    assert entries(3, 5) == decode_segment(segment, block)
    assert Held((segment,), ()) == held([segment.key, f"{FOLDER}/.x.tmp", f"{FOLDER}/else"])


def damaged(segment: Segment, block: bytes) -> str:
    with pytest.raises(Corrupt) as caught:
        decode_segment(segment, block)
    return caught.value.detail


def renamed(segment: Segment, block: bytes, first: int = 3, last: int = 5) -> Segment:
    return segment._replace(first=first, last=last, sha256=hashlib.sha256(block).hexdigest())


def test_a_damaged_segment_is_refused() -> None:
    """A flipped bit, another content, records that are none, and what unpacks to too much."""
    segment, block = encode_segment(FOLDER, entries(3, 5))
    flipped = block[:-3] + bytes((block[-3] ^ 1,)) + block[-2:]
    nonsense = zstandard.ZstdCompressor().compress(b"nonsense" * 9)
    huge = zstandard.ZstdCompressor().compress(bytes(200 << 20))
    unsaid = zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 100)

    assert "does not match its digest" in damaged(segment, flipped)
    assert "does not hold what its name says" in damaged(renamed(segment, block, last=6), block)
    assert "record" in damaged(renamed(segment, nonsense), nonsense)
    assert "bytes of records" in damaged(renamed(segment, huge), huge)
    assert "bytes of records" in damaged(renamed(segment, unsaid), unsaid)
    assert segment.key in damaged(renamed(segment, b"no zstd"), b"no zstd")


def test_holes_are_found() -> None:
    """What neither a segment nor a named gap covers; what comes before the first is none."""
    found = holding((5, 9), (8, 12), (20, 25), (30, 31), gaps=((13, 15), (26, 29)))

    assert [Range(16, 19)] == found.holes()
    assert 31 == found.last
    assert 40 == holding((5, 9), gaps=((10, 40),)).last
    assert ([], 0) == (holding().holes(), holding().last)


def test_a_path_leads_over_overlapping_segments() -> None:
    """Two archives may have run at once: what is there twice is taken once."""
    found = holding((1, 4), (1, 9), (3, 9), (10, 12), (11, 20), (30, 40))

    assert [(1, 4), (1, 9), (10, 12)] == path(found, 0, 11)
    assert [(10, 12), (11, 20)] == path(found, 9, 20)
    assert [(1, 9), (10, 12), (11, 20)] == path(found, 5, None)
    assert [] == path(found, 11, 11)
    assert [] == path(found, 25, None)


def test_what_is_missing_is_named() -> None:
    """A gap, named or not, and the end of the archive are different refusals."""
    found = holding((1, 9), (20, 25), gaps=((10, 19),))

    assert refusal(found, 5, 22)[0] == "archive_gap"
    assert "entries 10 to 19 are missing in the archive (a named gap)" in refusal(found, 5, 22)[1]
    assert "(it begins later)" in refusal(holding((8, 9), (10, 25)), 5, 22)[1]
    assert "segments that were removed" in refusal(holding((1, 9), (20, 25)), 5, 22)[1]
    assert ("beyond_archive", "the archive ends at entry 25, before the wanted entry 26") == (
        refusal(found, 19, 26)
    )
    assert "beyond_archive" == refusal(holding(), 5, 6)[0]
