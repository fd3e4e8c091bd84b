"""What the decoders of the log accept: exactly what the encoders make."""

import os
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disk_test_helpers.member import CLUSTER, SALT, entry
from faunadb.disk.frames import (
    FRAME_HEADER_BYTES,
    HEADER_BYTES,
    SECTOR_BYTES,
    Append,
    FrameFlag,
    FrameKind,
    Restart,
    SegmentHeader,
    Truncate,
    decode_data,
    decode_frame,
    decode_header,
    decode_twin,
    encode_data,
    encode_frame,
    encode_header,
    encode_twin,
    find_frames,
    frame_bytes,
    seed_of,
)
from faunadb.disk.seals import unseal
from faunadb.disk.snapshots import Manifest, decode_manifest
from faunadb.disk.states import Clean, Valid
from faunadb.errors import Malformed
from faunadb.raft.entries import EntryId, HardState, Index, MemberId, Term

FUZZ = int(os.environ.get("FAUNA_FUZZ", "2000"))  # inputs of each decoder
HEADER = SegmentHeader(
    cluster_id=CLUSTER,
    member_id=MemberId(7),
    incarnation=2,
    incarnation_salt=SALT,
    seq=5,
    first_index=100,
    salt=b"12345678",
    previous_end=1536,
    previous_crc=0xDEADBEEF,
    reopened=True,
)
SEED = seed_of(HEADER.salt)
STATE = HardState(Term(3), MemberId(2), Index(9))
OPERATIONS = (Truncate(Index(4)), Append((entry(4), entry(5))), Restart(EntryId(Term(3), Index(9))))


def test_header_round_trip() -> None:
    """A header is one sector and comes back as it was."""
    assert HEADER_BYTES == len(encode_header(HEADER)) == SECTOR_BYTES
    assert HEADER == decode_header(encode_header(HEADER))


@pytest.mark.parametrize("at", range(0, 104, 3))
def test_a_header_with_a_flipped_bit_is_refused(at: int) -> None:
    """No bit of a header may change; what follows the checksum is padding."""
    block = bytearray(encode_header(HEADER))
    block[at] ^= 1

    with pytest.raises(Malformed):
        decode_header(bytes(block))


@pytest.mark.parametrize("length", [0, 1, 511])
def test_a_short_header_is_refused(length: int) -> None:
    """A header that is cut off is none."""
    with pytest.raises(Malformed):
        decode_header(encode_header(HEADER)[:length])


def test_data_round_trip() -> None:
    """Hard state and operations come back in order."""
    assert (STATE, OPERATIONS) == decode_data(encode_data(STATE, OPERATIONS))
    assert (STATE, ()) == decode_data(encode_data(STATE, ()))


def test_twin_round_trip() -> None:
    """A twin holds term and vote, not the commit index: its entries may be torn away."""
    assert (STATE.term, STATE.vote) == decode_twin(encode_twin(STATE))


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=3000), st.integers(0, 1000))
def test_frame_round_trip(payload: bytes, number: int) -> None:
    """Any payload fits a frame, which takes whole sectors."""
    block, crc = encode_frame(FrameKind.DATA, FrameFlag.JOINED, number, payload, SEED)
    frame = decode_frame(b"x" * SECTOR_BYTES + block, SECTOR_BYTES, SEED)

    assert (payload, number, crc) == (bytes(frame.payload), frame.number, frame.crc)
    assert frame_bytes(len(payload)) == len(block) == frame.end - SECTOR_BYTES


@pytest.mark.parametrize("at", range(0, FRAME_HEADER_BYTES + 40, 2))
def test_a_frame_with_a_flipped_bit_is_refused(at: int) -> None:
    """No bit of header or payload may change."""
    block = bytearray(encode_frame(FrameKind.TWIN, FrameFlag.NONE, 3, b"p" * 40, SEED)[0])
    block[at] ^= 0x10

    with pytest.raises(Malformed):
        decode_frame(bytes(block), 0, SEED)


def test_a_frame_of_another_salt_is_refused() -> None:
    """What a recycled segment still holds, or a document hides, never verifies."""
    block, _ = encode_frame(FrameKind.DATA, FrameFlag.NONE, 0, b"forged", seed_of(b"\0" * 8))

    with pytest.raises(Malformed):
        decode_frame(block, 0, SEED)


@pytest.mark.parametrize("offset", [-512, 1, 100, 512, 1 << 40])
def test_a_frame_starts_at_a_sector_of_its_segment(offset: int) -> None:
    """Elsewhere there is none."""
    block, _ = encode_frame(FrameKind.DATA, FrameFlag.NONE, 0, b"x", SEED)

    with pytest.raises(Malformed):
        decode_frame(block, offset, SEED)


def test_look_ahead_finds_later_frames_only_at_sectors() -> None:
    """A frame inside a payload that is not at a multiple of 512 is not found, others are."""
    inner, _ = encode_frame(FrameKind.DATA, FrameFlag.NONE, 5, b"inner", SEED)
    outer, _ = encode_frame(FrameKind.DATA, FrameFlag.NONE, 1, inner, SEED)
    later, _ = encode_frame(FrameKind.DATA, FrameFlag.NONE, 2, b"later", SEED)
    segment = bytes(SECTOR_BYTES) + outer + later

    assert [1, 2] == [frame.number for frame in find_frames(segment, 0, SEED, 1)]
    assert [2] == [frame.number for frame in find_frames(segment, 0, SEED, 2)]
    assert [] == list(find_frames(segment, 0, SEED, 6))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        bytes(23),
        b"\xff" * 24,
        bytes(24) + b"\x01",
        bytes(24) + b"\x01\0\0\0\0",
        bytes(24) + b"\x01\xff\0\0\0",
        bytes(24) + b"\x02\x01\0\0\0\0",
        bytes(24) + b"\x09\0\0\0\0",
        bytes(24) + b"\x02\x08\0\0\0" + b"\xff" * 8,
    ],
)
def test_broken_payloads_are_refused(payload: bytes) -> None:
    """Cut off, empty, unknown, beyond 2**63: all `Malformed`."""
    with pytest.raises(Malformed):
        decode_data(payload)


@pytest.mark.parametrize("payload", [b"", bytes(15), bytes(17), b"\xff" * 16])
def test_broken_twins_are_refused(payload: bytes) -> None:
    """A twin is sixteen bytes with two sane numbers."""
    with pytest.raises(Malformed):
        decode_twin(payload)


def test_every_decoder_is_total() -> None:
    """Random, truncated and bit-flipped bytes give a value or `Malformed`, nothing else."""
    chance = Random(3)
    good = [
        encode_header(HEADER),
        encode_frame(FrameKind.DATA, FrameFlag.NONE, 0, encode_data(STATE, OPERATIONS), SEED)[0],
        encode_data(STATE, OPERATIONS),
        encode_twin(STATE),
    ]
    decoders: list[Callable[[bytes], object]] = [
        decode_header,
        lambda block: decode_frame(block, 0, SEED),
        decode_data,
        decode_twin,
        decode_manifest,
        lambda block: unseal(b"FaunaVAL", Valid, block),
        lambda block: unseal(b"FaunaCLN", Clean, block),
        lambda block: unseal(b"FaunaSNP", Manifest, block),
        lambda block: list(find_frames(block, 0, SEED, 0)),
    ]
    for _ in range(FUZZ):
        block = bytearray(chance.choice([*good, chance.randbytes(chance.randrange(700))]))
        for _ in range(chance.randrange(4)):
            if block:
                block[chance.randrange(len(block))] = chance.randrange(256)
        cut = bytes(block[: chance.randrange(len(block) + 1)] if chance.random() < 0.3 else block)
        for decode in decoders:
            try:
                decode(cut)
            except Malformed:
                continue
