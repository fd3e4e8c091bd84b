"""Pairs become parts and come back; whatever was changed on the way is found and named."""

import hashlib
from random import Random

import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from backup_test_helpers import part_of
from faunadb.backup.layout import Part
from faunadb.backup.pairs import Pair, PartWriter, pairs_of_copy, read_part
from faunadb.errors import Corrupt
from faunadb_sim.disk import SimDisk, SimEngines

PAIRS: list[Pair] = [(b"d%04d" % number, b"value %d" % number * 30) for number in range(300)]
PLACE = "cluster/backup"


def unpack(part: Part, block: bytes) -> list[Pair]:
    return [pair for pairs in read_part(part, memoryview(block), PLACE) for pair in pairs]


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.binary(min_size=1, max_size=20), st.binary(max_size=3000), min_size=1))
def test_pairs_come_back(found: dict[bytes, bytes]) -> None:
    """What was packed is unpacked, in the same order; the part says how much it is."""
    pairs = sorted(found.items())
    part, block = part_of(pairs)

    assert pairs == unpack(part, block)
    assert (len(pairs), pairs[0][0].hex(), pairs[-1][0].hex()) == (
        part.pairs,
        part.first_key,
        part.last_key,
    )
    assert sum(8 + len(key) + len(value) for key, value in pairs) == part.bytes
    assert (len(block), hashlib.sha256(block).hexdigest()) == (part.stored_bytes, part.sha256)


def test_a_part_may_be_filled_in_slices() -> None:
    """The slices in which pairs come leave no trace in the content."""
    writer = PartWriter(7)
    for at in range(0, len(PAIRS), 17):
        writer.add(PAIRS[at : at + 17])
    writer.add([])
    part, block = writer.finish()

    assert "data-00007.zst" == part.name
    assert PAIRS == unpack(part, bytes(block))


def test_one_flipped_bit_anywhere_is_found_and_named() -> None:
    """The object, the part and both digests are in the message; nothing is unpacked before."""
    part, block = part_of(PAIRS)
    for offset in range(0, len(block), 7):
        damaged = bytearray(block)
        damaged[offset] ^= 1 << offset % 8
        found = hashlib.sha256(damaged).hexdigest()
        with pytest.raises(Corrupt) as caught:
            unpack(part, bytes(damaged))
        for word in (f"{PLACE}/{part.name}", part.sha256, found):
            assert word in caught.value.detail


@pytest.mark.parametrize("cut", [0, 1, 100])
def test_a_part_that_is_cut_off_or_longer_is_found(cut: int) -> None:
    """Size counts as well as content."""
    part, block = part_of(PAIRS)
    with pytest.raises(Corrupt, match=part.name):
        unpack(part, block[:-1] if cut == 1 else block[:cut])
    with pytest.raises(Corrupt, match=part.name):
        unpack(part, block + b"x")


def sealed(content: bytes, **says: int | str) -> tuple[Part, bytes]:
    """Return an object of any content, and a part that vouches for it."""
    block = zstandard.ZstdCompressor().compress(content)
    part = Part(
        name="data-00001.zst",
        pairs=1,
        bytes=max(1, len(content)),
        stored_bytes=len(block),
        sha256=hashlib.sha256(block).hexdigest(),
        first_key="61",
        last_key="61",
    )
    return msgspec.structs.replace(part, **says), block


def raw(key: bytes, value: bytes) -> bytes:
    return len(key).to_bytes(4, "little") + len(value).to_bytes(4, "little") + key + value


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (raw(b"b", b"1") + raw(b"a", b"1"), {"pairs": 2}),
        (raw(b"a", b"1") + raw(b"a", b"2"), {"pairs": 2}),
        (raw(b"a", b"1"), {"pairs": 2}),
        (raw(b"a", b"1"), {"last_key": "62"}),
        (raw(b"a", b"1") + b"rest", {}),
        (raw(b"a", b"1")[:-1], {}),
        (b"\xff" * 100, {}),
        (bytes(10_000_000), {"bytes": 1000}),
    ],
)
def test_a_part_that_contradicts_its_manifest_is_refused(
    content: bytes, says: dict[str, int | str]
) -> None:
    """Order, counts, keys and size must agree, and no more is unpacked than was promised."""
    part, block = sealed(content, **says)
    with pytest.raises(Corrupt):
        unpack(part, block)


def test_random_bytes_are_refused_and_nothing_else_happens() -> None:
    """Whoever can forge digests still only gets `Corrupt`."""
    chance = Random(5)
    _, good = part_of(PAIRS)
    for number in range(3000):
        if number % 2:
            block = chance.randbytes(chance.randrange(1, 200))
        else:
            damaged = bytearray(good)
            for _ in range(3):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            block = bytes(damaged)
        part, _ = sealed(b"x", stored_bytes=len(block), sha256=hashlib.sha256(block).hexdigest())
        with pytest.raises(Corrupt):
            unpack(part, block)


def test_a_copy_is_read_whole_in_slices_without_the_bookkeeping() -> None:
    """Values larger than a slice, and keys around the bookkeeping, are all there once."""
    disk = SimDisk(Random(1))
    engines = SimEngines(disk)
    pairs = [(b"d%02d" % n, b"x" * (3_000_000 if n % 3 else 6_000_000)) for n in range(6)]
    pairs += [
        (b"i1", b"y"),
        (b"m\x00", b"never"),
        (b"mstate", b"never"),
        (b"r1", b"z"),
        (b"s", b""),
    ]
    disk.make_directory("from")
    disk.make_directory("copy")
    engine = engines.open("from")
    with engine.write() as writer:
        writer.put_many(pairs)
    engine.copy_to("copy/data.mdb")
    found = list(pairs_of_copy(engines, "copy"))

    assert [pair for pair in pairs if not pair[0].startswith(b"m")] == [p for s in found for p in s]
    assert 5 <= len(found)
