"""The write-ahead log: segments, frames, twins, spares. One frame for each fsync.

`Wal` has no thread and no clock: `write` puts all queued writes into one frame, `sync` makes it
durable. The writer thread calls one after the other; the simulator lets things happen between.

House rules: frame N+1 is written only after the fsync of frame N returned, therefore a valid
frame behind a damaged one proves damage (scan.py). The write position never moves back. A file
gets its name `{seq}.wal` only when its header is synced.
Trap: `cut` and `prepare_spare` may run on another thread than `write` and `sync`; nothing else may.
"""

import threading
from collections.abc import Callable, Sequence

import msgspec

from faunadb.disk.frames import (
    HEADER_BYTES,
    TWIN_BYTES,
    Append,
    FrameFlag,
    FrameKind,
    Operation,
    Restart,
    SegmentHeader,
    Truncate,
    encode_data,
    encode_frame,
    encode_header,
    encode_twin,
    frame_bytes,
    seed_of,
)
from faunadb.node.ports import File, Files, Identity, LogRestart
from faunadb.raft.entries import HardState, Index
from faunadb.raft.events import Write

DIRECTORY = "wal"
SPARE = f"{DIRECTORY}/spare.wal"
SPARE_TMP = f"{DIRECTORY}/spare.tmp"
NEW_TMP = f"{DIRECTORY}/new.tmp"
SEGMENT_BYTES = 64 * 1024 * 1024
START_BYTES = 1024 * 1024  # of a segment that is needed at once: it must not delay a start
FRAME_BYTES_MAX = 8 * 1024 * 1024  # where a batch ends; a single larger write is a frame alone
SPARE_STEP_BYTES = 4 * 1024 * 1024  # a spare is filled and synced in pieces
SALT_BYTES = 8
SEQ_FIRST = 1


class WalLimits(msgspec.Struct, frozen=True):
    """Sizes; tests make them small."""

    segment_bytes: int = SEGMENT_BYTES
    start_bytes: int = START_BYTES


class Sealed(msgspec.Struct, frozen=True):
    """A segment that is not written any more; it holds nothing after `index_max`."""

    seq: int
    index_max: int
    size_bytes: int


class Position(msgspec.Struct, frozen=True):
    """Where the log ends: behind the last frame, whose checksum is `crc`."""

    seq: int
    end: int
    crc: int
    last_index: int


class Opening(msgspec.Struct, frozen=True):
    """What the first segment of this start repeats and continues; made by scan and recovery."""

    hard_state: HardState
    joined: bool
    operations: tuple[Operation, ...]  # of the last valid frame, repeated
    seq: int
    first_index: int  # before `operations`
    previous_end: int
    previous_crc: int
    last_index: int  # after `operations`
    sealed: tuple[Sealed, ...]
    spare: bool
    reopened: bool


def segment_path(seq: int) -> str:
    """Return where a segment lies."""
    return f"{DIRECTORY}/{seq:016x}.wal"


class Wal:
    """The open log. Every OSError is fatal to the member: what was written is then unknown."""

    def __init__(
        self,
        files: Files,
        identity: Identity,
        opening: Opening,
        draw: Callable[[int], bytes],
        limits: WalLimits,
    ) -> None:
        """Open a new segment that repeats `opening.operations`; durable on return."""
        self._files, self._identity, self._draw, self._limits = files, identity, draw, limits
        self._lock = threading.Lock()
        self._sealed = list(opening.sealed)
        self._spare = opening.spare
        self._hard_state, self._joined = opening.hard_state, opening.joined
        self._last_index = opening.last_index
        self._seq = opening.seq
        self._index_max = 0
        self._unsynced = False
        self._file = self._open_with_first_frame(opening)
        self._synced_seq = self._seq

    def _open_with_first_frame(self, opening: Opening) -> File:
        """Make header and first frame durable together, then give the segment its name.

        The frame stands for one that may not be on the disk, so it must never be missing.
        """
        payload = encode_data(opening.hard_state, opening.operations)
        size = max(self._limits.start_bytes, HEADER_BYTES + _length(payload, twin=True))
        file = self._create(NEW_TMP, size)
        header = self._start_segment(
            opening.first_index,
            previous=(opening.previous_end, opening.previous_crc),
            size=size,
            reopened=opening.reopened,
        )
        block = self._encode(payload, twin=True)
        file.pwrite(encode_header(header) + block, 0)
        file.fdatasync()
        self._files.rename(NEW_TMP, segment_path(self._seq))
        self._files.fsync_directory(DIRECTORY)
        self._offset += len(block)
        self._index_max = max(_indexes(opening.operations))
        return file

    # ------------------------------------------------------------ writing

    @property
    def hard_state(self) -> HardState:
        """The newest one written."""
        return self._hard_state

    @property
    def joined(self) -> bool:
        """Say whether an append or snapshot was ever accepted here (SAFETY 23)."""
        return self._joined

    def write(self, writes: Sequence[Write | LogRestart]) -> None:
        """Write one frame that holds all of `writes`, in order; not durable before `sync`."""
        assert not self._unsynced, "one frame for each fsync"
        voted = (self._hard_state.term, self._hard_state.vote)
        first_index = self._last_index + 1
        operations = self._take(writes)
        payload = encode_data(self._hard_state, operations)
        twin = voted != (self._hard_state.term, self._hard_state.vote)
        length = _length(payload, twin=twin)
        if self._offset + length > self._size:
            self._roll(first_index, length)
        self._unsynced = True
        self._index_max = max(self._index_max, *_indexes(operations))
        self._file.pwrite(self._encode(payload, twin=twin), self._offset)
        self._offset += length

    def sync(self) -> None:
        """Make the frame durable. Raises OSError: the caller must crash, never try again."""
        self._file.fdatasync()
        self._unsynced = False
        self._synced_seq = self._seq

    def position(self) -> Position:
        """Return where the log ends. Asserts that all of it is synced."""
        assert not self._unsynced
        return Position(self._seq, self._offset, self._crc, self._last_index)

    def close(self) -> None:
        """Give the file back. What is not synced stays so."""
        self._file.close()

    def _take(self, writes: Sequence[Write | LogRestart]) -> tuple[Operation, ...]:
        """Turn writes into operations and move the log's end and hard state accordingly."""
        operations: list[Operation] = []
        for write in writes:
            if isinstance(write, LogRestart):
                operations.append(Restart(write.id))
                self._last_index, self._joined = write.id.index, True
                continue
            if write.truncate_from is not None:
                operations.append(Truncate(write.truncate_from))
                self._last_index = min(self._last_index, write.truncate_from - 1)
            if write.entries:
                first = write.entries[0].index
                assert first == self._last_index + 1, f"{first} follows {self._last_index}"
                operations.append(Append(write.entries))
                self._last_index, self._joined = write.entries[-1].index, True
            if write.hard_state is not None:
                self._hard_state = write.hard_state
        return tuple(operations)

    def _encode(self, payload: bytes, *, twin: bool) -> bytes:
        """Return the next frame of this segment, with its twin when there must be one."""
        flags = FrameFlag.JOINED if self._joined else FrameFlag.NONE
        if not twin:
            block, self._crc = encode_frame(
                FrameKind.DATA, flags, self._number, payload, self._seed
            )
            self._number += 1
            return block
        data, _ = encode_frame(
            FrameKind.DATA, flags | FrameFlag.TWIN_FOLLOWS, self._number, payload, self._seed
        )
        second, self._crc = encode_frame(
            FrameKind.TWIN, flags, self._number + 1, encode_twin(self._hard_state), self._seed
        )
        self._number += 2
        return data + second

    # ------------------------------------------------------------ segments

    def _roll(self, first_index: int, length: int) -> None:
        """Go on in the next segment: the spare one, or a small new one when there is none."""
        end, crc = self._offset, self._crc
        with self._lock:
            take_spare = self._spare and HEADER_BYTES + length <= self._limits.segment_bytes
            self._spare = self._spare and not take_spare
        size = self._limits.segment_bytes
        if not take_spare:
            size = max(self._limits.start_bytes, HEADER_BYTES + length)
        path = SPARE if take_spare else NEW_TMP
        file = self._files.open(SPARE) if take_spare else self._create(NEW_TMP, size)
        sealed = Sealed(self._seq, self._index_max, self._size)
        self._seq += 1
        header = self._start_segment(first_index, previous=(end, crc), size=size, reopened=False)
        file.pwrite(encode_header(header), 0)
        file.fdatasync()
        self._files.rename(path, segment_path(self._seq))
        self._files.fsync_directory(DIRECTORY)
        self._file.close()
        self._file = file
        with self._lock:
            self._sealed.append(sealed)
            self._index_max = 0

    def _start_segment(
        self, first_index: int, *, previous: tuple[int, int], size: int, reopened: bool
    ) -> SegmentHeader:
        """Draw a salt and return the header of segment `_seq`; its frames are numbered from 0."""
        salt = self._draw(SALT_BYTES)
        self._seed = seed_of(salt)
        self._number, self._crc = 0, 0
        self._offset, self._size = HEADER_BYTES, size
        return SegmentHeader(
            cluster_id=self._identity.cluster_id,
            member_id=self._identity.member_id,
            incarnation=self._identity.incarnation,
            incarnation_salt=self._identity.incarnation_salt,
            seq=self._seq,
            first_index=first_index,
            salt=salt,
            previous_end=previous[0],
            previous_crc=previous[1],
            reopened=reopened,
        )

    def _create(self, path: str, size: int) -> File:
        file = self._files.open(path, create=True)
        file.truncate(0)
        file.allocate(size)
        return file

    # ------------------------------------------------------------ housekeeping, any thread

    def needs_spare(self) -> bool:
        """Say whether `prepare_spare` has something to do."""
        return not self._spare

    def prepare_spare(self) -> None:
        """Fill a file with zeros, so that the next segment costs no allocation. Takes a while."""
        if self._spare:
            return
        file = self._files.open(SPARE_TMP, create=True)
        try:
            file.truncate(0)
            for length in range(0, self._limits.segment_bytes, SPARE_STEP_BYTES):
                file.allocate(min(length + SPARE_STEP_BYTES, self._limits.segment_bytes))
                file.fdatasync()
        finally:
            file.close()
        self._files.rename(SPARE_TMP, SPARE)
        self._files.fsync_directory(DIRECTORY)
        with self._lock:
            self._spare = True

    def cut(self, through: Index) -> None:
        """Give up the oldest segments that hold nothing after `through`.

        One at a time, each durable before the next, so that the chain never has a hole. The
        segment with the newest synced frame stays, because it holds the hard state.
        """
        while True:
            with self._lock:
                if not self._sealed:
                    return
                oldest = self._sealed[0]
                if oldest.index_max > through or oldest.seq >= self._synced_seq:
                    return
                del self._sealed[0]
                recycle = not self._spare and oldest.size_bytes == self._limits.segment_bytes
            if recycle:
                self._files.rename(segment_path(oldest.seq), SPARE)
            else:
                self._files.remove(segment_path(oldest.seq))
            self._files.fsync_directory(DIRECTORY)
            if recycle:
                with self._lock:
                    self._spare = True

    def bytes_kept(self) -> int:
        """Return how much space the segments take, the spare one included."""
        with self._lock:
            spare = self._limits.segment_bytes if self._spare else 0
            return sum(sealed.size_bytes for sealed in self._sealed) + self._size + spare


def _length(payload: bytes, *, twin: bool) -> int:
    return frame_bytes(len(payload)) + (frame_bytes(TWIN_BYTES) if twin else 0)


def _indexes(operations: Sequence[Operation]) -> tuple[int, ...]:
    """Return the highest index that each operation speaks of, and 0."""
    found = [0]
    for operation in operations:
        match operation:
            case Append(entries):
                found.append(entries[-1].index)
            case Restart(id_):
                found.append(id_.index)
            case Truncate():
                pass
    return tuple(found)
