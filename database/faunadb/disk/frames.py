"""What the bytes of a log segment mean: header, frames, twins, and the operations in them.

    segment = header (512 bytes) frame*            every frame starts at a multiple of 512
    frame   = length u32, kind u8, flags u8, reserved u16, crc32c u32, number u32, payload, zeros
    payload = term u64, vote u64, commit u64, operation*                  (a DATA frame)
    payload = term u64, vote u64                                          (a TWIN frame)

Every checksum is seeded with the segment's random salt, so neither the remains of a recycled
segment nor a frame that somebody hid in a document ever verifies (SAFETY 20).

House rules: pure; every decoder is total: any bytes give a value or raise `Malformed`.
Trap: `number` counts the frames of one segment from 0; it is not an index of the log.
"""

import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum, IntFlag

import msgspec
from crc32c import crc32c

from faunadb.errors import Malformed
from faunadb.raft.entries import (
    Entry,
    EntryId,
    HardState,
    Index,
    MemberId,
    Term,
    join_entries,
    split_entries,
)

SECTOR_BYTES = 512
HEADER_BYTES = SECTOR_BYTES
MAGIC = b"FaunaWAL"
FORMAT_VERSION = 1
FRAME_PAYLOAD_BYTES_MAX = 1 << 30  # far above one batch (wal.FRAME_BYTES_MAX) and one entry

_HEADER = struct.Struct("<8sHHI16sQI4x16sQQ8sQI")
_HEADER_CRC = struct.Struct("<I")
_FRAME_HEAD = struct.Struct("<IBBH")
_FRAME_CRC = struct.Struct("<I")
_FRAME_NUMBER = struct.Struct("<I")
FRAME_HEADER_BYTES = _FRAME_HEAD.size + _FRAME_CRC.size + _FRAME_NUMBER.size
_HARD_STATE = struct.Struct("<QQQ")
_TWIN = struct.Struct("<QQ")
TWIN_BYTES = _TWIN.size
_OPERATION = struct.Struct("<BI")
_TRUNCATE = struct.Struct("<Q")
_RESTART = struct.Struct("<QQ")
_INTEGER_MAX = (1 << 63) - 1


class SegmentHeader(msgspec.Struct, frozen=True):
    """What a segment says of itself and of the one before it.

    `first_index` is the index that follows the log's last one when the segment began.
    `previous_end` and `previous_crc` say where the valid part of segment `seq - 1` ends and the
    checksum of its last frame; (512, 0) when nothing of it counts. They leave out what
    `reopened` says was copied: the first frame then repeats the last one of the predecessor,
    because what recovery reads is not yet durable (SAFETY 14).
    """

    cluster_id: bytes  # 16
    member_id: MemberId
    incarnation: int
    incarnation_salt: bytes  # 16
    seq: int  # of the segment; never restarts
    first_index: int
    salt: bytes  # 8
    previous_end: int
    previous_crc: int
    reopened: bool


class FrameKind(IntEnum):
    DATA = 1
    TWIN = 2


class FrameFlag(IntFlag):
    """TWIN_FOLLOWS: a twin is written under the same fsync. JOINED: SAFETY 23, never unset."""

    NONE = 0
    TWIN_FOLLOWS = 1
    JOINED = 2


class Frame(msgspec.Struct, frozen=True):
    """A frame that verified; `end` is the multiple of 512 behind it."""

    kind: FrameKind
    flags: FrameFlag
    number: int
    crc: int
    payload: memoryview
    offset: int
    end: int


class Append(msgspec.Struct, frozen=True):
    """These entries follow the log's last one."""

    entries: tuple[Entry, ...]


class Truncate(msgspec.Struct, frozen=True):
    """Entries from `start` on are void: they contradicted the leader's."""

    start: Index


class Restart(msgspec.Struct, frozen=True):
    """A snapshot that includes entry `id` was installed: the log is empty and begins after it."""

    id: EntryId


Operation = Append | Truncate | Restart


class _OperationKind(IntEnum):
    APPEND = 1
    TRUNCATE = 2
    RESTART = 3


# ---------------------------------------------------------------- segment headers


def encode_header(header: SegmentHeader) -> bytes:
    """Return the first 512 bytes of a segment."""
    packed = _HEADER.pack(
        MAGIC,
        FORMAT_VERSION,
        int(header.reopened),
        0,
        header.cluster_id,
        header.member_id,
        header.incarnation,
        header.incarnation_salt,
        header.seq,
        header.first_index,
        header.salt,
        header.previous_end,
        header.previous_crc,
    )
    return (packed + _HEADER_CRC.pack(crc32c(packed))).ljust(HEADER_BYTES, b"\0")


def decode_header(block: bytes) -> SegmentHeader:
    """Undo `encode_header`. Raises `Malformed` for anything else, unknown versions included."""
    if len(block) < HEADER_BYTES:
        raise Malformed("segment header is cut off")
    (
        magic,
        version,
        reopened,
        reserved,
        cluster_id,
        member_id,
        incarnation,
        incarnation_salt,
        seq,
        first_index,
        salt,
        previous_end,
        previous_crc,
    ) = _HEADER.unpack_from(block)
    if magic != MAGIC:
        raise Malformed("not a log segment")
    if version != FORMAT_VERSION:
        raise Malformed(f"log format {version} is not known to this version")
    (crc,) = _HEADER_CRC.unpack_from(block, _HEADER.size)
    if crc != crc32c(block[: _HEADER.size]):
        raise Malformed("segment header does not match its checksum")
    if reserved or reopened > 1 or max(member_id, seq, first_index, previous_end) > _INTEGER_MAX:
        raise Malformed("segment header has impossible values")
    return SegmentHeader(
        cluster_id=cluster_id,
        member_id=MemberId(member_id),
        incarnation=incarnation,
        incarnation_salt=incarnation_salt,
        seq=seq,
        first_index=first_index,
        salt=salt,
        previous_end=previous_end,
        previous_crc=previous_crc,
        reopened=bool(reopened),
    )


# ---------------------------------------------------------------- frames


def seed_of(salt: bytes) -> int:
    """Return what a segment's checksums start from."""
    return crc32c(salt)


def frame_bytes(payload_bytes: int) -> int:
    """Return how much space a frame takes."""
    return padded(FRAME_HEADER_BYTES + payload_bytes)


def padded(length: int) -> int:
    """Round up to a multiple of 512."""
    return -(-length // SECTOR_BYTES) * SECTOR_BYTES


def encode_frame(
    kind: FrameKind, flags: FrameFlag, number: int, payload: bytes, seed: int
) -> tuple[bytes, int]:
    """Return the frame, padded to a multiple of 512, and its checksum."""
    assert len(payload) <= FRAME_PAYLOAD_BYTES_MAX
    head = _FRAME_HEAD.pack(len(payload), kind, flags, 0)
    tail = _FRAME_NUMBER.pack(number)
    crc = crc32c(payload, crc32c(head + tail, seed))
    length = FRAME_HEADER_BYTES + len(payload)
    padding = bytes(padded(length) - length)
    return b"".join((head, _FRAME_CRC.pack(crc), tail, payload, padding)), crc


def decode_frame(segment: bytes | memoryview, offset: int, seed: int) -> Frame:
    """Return the frame at `offset`. Raises `Malformed` when none verifies there."""
    size = len(segment)
    start = offset + FRAME_HEADER_BYTES
    if offset < 0 or offset % SECTOR_BYTES or start > size:
        raise Malformed("no frame can start here")
    length, kind, flags, reserved = _FRAME_HEAD.unpack_from(segment, offset)
    if reserved or kind not in FrameKind._value2member_map_ or flags > FrameFlag(3):
        raise Malformed("not a frame header")
    if length > size - start:
        raise Malformed("frame is longer than its segment")
    (crc,) = _FRAME_CRC.unpack_from(segment, offset + _FRAME_HEAD.size)
    (number,) = _FRAME_NUMBER.unpack_from(segment, offset + _FRAME_HEAD.size + 4)
    payload = memoryview(segment)[start : start + length]
    head = _FRAME_HEAD.pack(length, kind, flags, 0) + _FRAME_NUMBER.pack(number)
    if crc != crc32c(payload, crc32c(head, seed)):
        raise Malformed("frame does not match its checksum")
    return Frame(
        FrameKind(kind), FrameFlag(flags), number, crc, payload, offset, padded(start + length)
    )


def find_frames(
    segment: bytes | memoryview, offset: int, seed: int, number_min: int
) -> Iterator[Frame]:
    """Yield every frame at a multiple of 512 from `offset` on whose number is at least that.

    Numbers grow by one a frame and a frame takes 512 bytes, so most places are dismissed
    without a checksum.
    """
    number_at = _FRAME_HEAD.size + _FRAME_CRC.size
    last = number_min + len(segment) // SECTOR_BYTES
    for at in range(padded(offset), len(segment) - FRAME_HEADER_BYTES + 1, SECTOR_BYTES):
        if segment[at + 4] not in FrameKind._value2member_map_:
            continue
        (number,) = _FRAME_NUMBER.unpack_from(segment, at + number_at)
        if not number_min <= number <= last:
            continue
        try:
            yield decode_frame(segment, at, seed)
        except Malformed:
            continue


# ---------------------------------------------------------------- payloads


def encode_data(hard_state: HardState, operations: Iterable[Operation]) -> bytes:
    """Return the payload of a DATA frame: the whole hard state, then what happened to the log."""
    parts = [_HARD_STATE.pack(hard_state.term, hard_state.vote, hard_state.commit)]
    for operation in operations:
        match operation:
            case Append(entries):
                block = join_entries(entries)
                parts += (_OPERATION.pack(_OperationKind.APPEND, len(block)), block)
            case Truncate(start):
                parts += (
                    _OPERATION.pack(_OperationKind.TRUNCATE, _TRUNCATE.size),
                    _TRUNCATE.pack(start),
                )
            case Restart(id_):
                parts += (
                    _OPERATION.pack(_OperationKind.RESTART, _RESTART.size),
                    _RESTART.pack(id_.term, id_.index),
                )
    return b"".join(parts)


def decode_data(payload: bytes | memoryview) -> tuple[HardState, tuple[Operation, ...]]:
    """Undo `encode_data`. Raises `Malformed` for anything else."""
    if len(payload) < _HARD_STATE.size:
        raise Malformed("hard state is cut off")
    term, vote, commit = _HARD_STATE.unpack_from(payload)
    _bounded(term, vote, commit)
    view = memoryview(payload)
    operations: list[Operation] = []
    at = _HARD_STATE.size
    while at < len(view):
        if at + _OPERATION.size > len(view):
            raise Malformed("operation is cut off")
        kind, length = _OPERATION.unpack_from(view, at)
        at += _OPERATION.size
        if length > len(view) - at:
            raise Malformed("operation is longer than its frame")
        operations.append(_decode_operation(kind, view[at : at + length]))
        at += length
    return HardState(Term(term), MemberId(vote), Index(commit)), tuple(operations)


def _decode_operation(kind: int, body: memoryview) -> Operation:
    if kind == _OperationKind.APPEND:
        entries = split_entries(body)
        if not entries:
            raise Malformed("an append appends nothing")
        _bounded(*(entry.index for entry in entries), *(entry.term for entry in entries))
        return Append(entries)
    if kind == _OperationKind.TRUNCATE and len(body) == _TRUNCATE.size:
        (start,) = _TRUNCATE.unpack(body)
        _bounded(start)
        return Truncate(Index(start))
    if kind == _OperationKind.RESTART and len(body) == _RESTART.size:
        term, index = _RESTART.unpack(body)
        _bounded(term, index)
        return Restart(EntryId(Term(term), Index(index)))
    raise Malformed(f"operation of unknown kind {kind} or wrong length")


def encode_twin(hard_state: HardState) -> bytes:
    """Return the payload of a TWIN frame: term and vote once more, and nothing else."""
    return _TWIN.pack(hard_state.term, hard_state.vote)


def decode_twin(payload: bytes | memoryview) -> tuple[Term, MemberId]:
    """Undo `encode_twin`. Raises `Malformed` for anything else."""
    if len(payload) != _TWIN.size:
        raise Malformed("a twin holds term and vote")
    term, vote = _TWIN.unpack(payload)
    _bounded(term, vote)
    return Term(term), MemberId(vote)


def _bounded(*values: int) -> None:
    if max(values) > _INTEGER_MAX:
        raise Malformed("a number is beyond 2**63")
