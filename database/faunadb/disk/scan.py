"""What the segments of the log say, and whether all of it is believed.

The end of the newest segment may be torn: a crash interrupted a write that nobody was told of.
Anything else that does not verify was once synced, and then the log is `Corrupt`: forgetting a
synced entry or vote can cost the cluster committed data.

    bad frame, no valid frame behind it          the tail is torn: the log ends before it
    bad frame, only its own twin behind it       the same, but the twin's term and vote count
    bad frame, any other valid frame behind it   `Corrupt`: that one was written after its fsync
    bad frame in a sealed segment                `Corrupt`

House rules: reads only. Trap: the last frame read may be in the page cache and not on the disk
(SAFETY 14); `LogScan.opening` repeats it in a new segment, whose header leaves it out.
"""

import itertools
import re

import msgspec

from faunadb.disk.frames import (
    HEADER_BYTES,
    Append,
    Frame,
    FrameFlag,
    FrameKind,
    Operation,
    Restart,
    SegmentHeader,
    Truncate,
    decode_data,
    decode_frame,
    decode_header,
    decode_twin,
    find_frames,
    seed_of,
)
from faunadb.disk.wal import DIRECTORY, SEQ_FIRST, SPARE, Opening, Sealed, WalLimits, segment_path
from faunadb.errors import Corrupt, Malformed
from faunadb.node.ports import Files, Identity
from faunadb.raft.entries import Entry, EntryId, HardState, Index

_NAME = re.compile(r"([0-9a-f]{16})\.wal")


class LogScan(msgspec.Struct, frozen=True):
    """The log as it was read. `entries` end at `last_index`."""

    hard_state: HardState
    joined: bool
    entries: tuple[Entry, ...]
    last_index: int
    opening: Opening
    newest: tuple[int, int, int] | None  # seq, end and last checksum of the newest segment
    incarnation: int  # of the newest segment; 0 without one


def scan_log(files: Files, identity: Identity, limits: WalLimits) -> LogScan:
    """Read all segments. Raises `Corrupt` when something that was synced is missing or damaged."""
    seqs = sorted(
        int(match[1], 16) for name in files.list(DIRECTORY) if (match := _NAME.fullmatch(name))
    )
    headers = [_read_header(files, seq, identity) for seq in seqs]
    for before, after in itertools.pairwise(headers):
        _check_chain(before, after)
    replay = _Replay(headers[0].first_index - 1 if headers else 0)
    for at, header in enumerate(headers):
        successor = headers[at + 1] if at + 1 < len(headers) else None
        _read_segment(files, replay, header, successor)
    if replay.hard_state.commit > replay.last_index:
        raise Corrupt(
            "tail",
            f"entries up to {replay.hard_state.commit} were committed,"
            f" but the log ends at {replay.last_index}",
        )
    return replay.result(_has_spare(files, limits))


def _read_header(files: Files, seq: int, identity: Identity) -> SegmentHeader:
    path = segment_path(seq)
    file = files.open(path)
    try:
        header = decode_header(file.pread(HEADER_BYTES, 0))
    except Malformed as problem:
        raise Corrupt("header", f"{path}: {problem}") from problem
    finally:
        file.close()
    if header.seq != seq:
        raise Corrupt("header", f"{path} says that it is segment {header.seq}")
    if (header.cluster_id, header.member_id) != (identity.cluster_id, identity.member_id):
        raise Corrupt("identity", f"{path} belongs to another member")
    ours = (identity.incarnation, identity.incarnation_salt)
    theirs = (header.incarnation, header.incarnation_salt)
    if theirs != ours and header.incarnation >= identity.incarnation:
        raise Corrupt("identity", f"{path} belongs to incarnation {header.incarnation}")
    return header


def _check_chain(before: SegmentHeader, after: SegmentHeader) -> None:
    if after.seq != before.seq + 1:
        raise Corrupt("chain", f"segment {before.seq + 1} is missing before {after.seq}")
    if after.incarnation < before.incarnation:
        raise Corrupt("chain", f"segment {after.seq} is of an earlier incarnation")


def _has_spare(files: Files, limits: WalLimits) -> bool:
    if SPARE.rpartition("/")[2] not in files.list(DIRECTORY):
        return False
    file = files.open(SPARE)
    try:
        return file.size() == limits.segment_bytes
    finally:
        file.close()


class _Replay:
    """Does again to a log in memory what the frames say was done to the log."""

    def __init__(self, last_index: int) -> None:
        self.last_index = last_index
        self.entries: list[Entry] = []
        self.hard_state = HardState()
        self.joined = False
        self.sealed: list[Sealed] = []
        self.newest: tuple[int, int, int] | None = None
        self.incarnation = 0
        self._operations: tuple[Operation, ...] = ()  # of the last DATA frame
        self._first_index = last_index + 1  # before that frame
        self._start = (HEADER_BYTES, 0)  # where that frame starts, and the checksum before it
        self._index_max = 0

    def begin(self, header: SegmentHeader) -> None:
        if header.first_index != self.last_index + 1:
            raise Corrupt(
                "gap",
                f"segment {header.seq} goes on at {header.first_index},"
                f" but the log before it ends at {self.last_index}",
            )
        self._operations, self._first_index = (), header.first_index
        self._start = (HEADER_BYTES, 0)
        self._index_max = 0

    def data(self, frame: Frame, crc_before: int) -> None:
        hard_state, operations = decode_data(frame.payload)
        self._operations, self._first_index = operations, self.last_index + 1
        self._start = (frame.offset, crc_before)
        self.hard_state = hard_state
        self.joined = self.joined or FrameFlag.JOINED in frame.flags
        for operation in operations:
            self._do(operation, frame)

    def twin(self, frame: Frame, *, alone: bool) -> None:
        """Take over term and vote; `alone`: the frame that it repeats is torn."""
        term, vote = decode_twin(frame.payload)
        if not alone and (term, vote) != (self.hard_state.term, self.hard_state.vote):
            raise Malformed("a twin contradicts its frame")
        self.hard_state = HardState(term, vote, self.hard_state.commit)

    def end(self, header: SegmentHeader, end: int, crc: int, size_bytes: int) -> None:
        self.sealed.append(Sealed(header.seq, self._index_max, size_bytes))
        self.newest = (header.seq, end, crc)
        self.incarnation = header.incarnation

    def result(self, spare: bool) -> LogScan:  # noqa: FBT001 - one caller
        seq = self.sealed[-1].seq + 1 if self.sealed else SEQ_FIRST
        opening = Opening(
            hard_state=self.hard_state,
            joined=self.joined,
            operations=self._operations,
            seq=seq,
            first_index=self._first_index,
            previous_end=self._start[0] if self.sealed else 0,
            previous_crc=self._start[1],
            last_index=self.last_index,
            sealed=tuple(self.sealed),
            spare=spare,
            reopened=bool(self.sealed),
        )
        return LogScan(
            hard_state=self.hard_state,
            joined=self.joined,
            entries=tuple(self.entries),
            last_index=self.last_index,
            opening=opening,
            newest=self.newest,
            incarnation=self.incarnation,
        )

    def _do(self, operation: Operation, frame: Frame) -> None:
        match operation:
            case Append(entries):
                if entries[0].index != self.last_index + 1:
                    raise Corrupt(
                        "gap",
                        f"frame {frame.number} appends {entries[0].index}"
                        f" to a log that ends at {self.last_index}",
                    )
                self.entries += entries
                self.last_index = entries[-1].index
                self._index_max = max(self._index_max, self.last_index)
            case Truncate(start):
                kept = len(self.entries) - max(0, self.last_index - start + 1)
                del self.entries[max(0, kept) :]
                self.last_index = min(self.last_index, start - 1)
            case Restart(id_):
                self.entries.clear()
                self.last_index = id_.index
                self._index_max = max(self._index_max, id_.index)


def _read_segment(
    files: Files, replay: _Replay, header: SegmentHeader, successor: SegmentHeader | None
) -> None:
    """Replay a segment up to where its successor says that it ends, or to its torn tail."""
    file = files.open(segment_path(header.seq))
    try:
        block = file.pread(file.size(), 0)
    finally:
        file.close()
    replay.begin(header)
    walk = _Walk(replay, header, block)
    if successor is None:
        walk.to_tail()
    else:
        walk.to(successor)
    replay.end(header, walk.at, walk.crc, len(block))


class _Walk:
    """Goes through the frames of one segment."""

    def __init__(self, replay: _Replay, header: SegmentHeader, block: bytes) -> None:
        self.at, self.crc = HEADER_BYTES, 0
        self._number = 0
        self._twin_expected = False
        self._replay, self._header, self._block = replay, header, block
        self._seed = seed_of(header.salt)

    def to(self, successor: SegmentHeader) -> None:
        """Read a sealed segment; every frame of it was synced."""
        while self.at < successor.previous_end:
            try:
                self._next()
            except Malformed as problem:
                raise Corrupt("frame", f"{self._place()}: {problem}") from problem
        if (self.at, self.crc) != (successor.previous_end, successor.previous_crc):
            raise Corrupt("chain", f"segment {self._header.seq} does not end as its successor says")

    def to_tail(self) -> None:
        """Read the newest segment up to the last frame that verifies."""
        while self.at < len(self._block):
            try:
                self._next()
            except Malformed as problem:
                self._torn(problem)
                break
        if self._header.reopened and self._number == 0:
            raise Corrupt("frame", f"{self._place()}: the first frame was synced and is gone")

    def _next(self) -> None:
        """Replay the frame here. Raises `Malformed` when none verifies, `Corrupt` when it lies."""
        frame = decode_frame(self._block, self.at, self._seed)
        if frame.number > self._number:
            raise Malformed(f"frame {frame.number} stands in the place of {self._number}")
        if frame.number != self._number or (frame.kind is FrameKind.TWIN) != self._twin_expected:
            raise Corrupt("frame", f"{self._place()} is whole, but not the one that belongs here")
        try:
            if frame.kind is FrameKind.DATA:
                self._replay.data(frame, self.crc)
            else:
                self._replay.twin(frame, alone=False)
        except Malformed as problem:
            raise Corrupt("frame", f"{self._place()} is whole, but {problem}") from problem
        self._twin_expected = FrameFlag.TWIN_FOLLOWS in frame.flags
        self.at, self.crc, self._number = frame.end, frame.crc, self._number + 1

    def _torn(self, problem: Malformed) -> None:
        """Decide whether the frame here was never synced. Raises `Corrupt` when it was."""
        later = list(find_frames(self._block, self.at, self._seed, self._number + 1))
        if not later:
            return
        twin = later[0]
        only_twin = len(later) == 1 and twin.kind is FrameKind.TWIN
        if only_twin and twin.number == self._number + 1 and not self._twin_expected:
            self._replay.twin(twin, alone=True)
            return
        raise Corrupt(
            "frame",
            f"{self._place()}: {problem}, but frame {later[-1].number} behind it is whole",
        ) from problem

    def _place(self) -> str:
        return f"frame {self._number} at byte {self.at} of segment {self._header.seq}"


def entry_id_at(scan: LogScan, index: Index) -> EntryId | None:
    """Return the id of the entry at `index`, None when the log does not hold it."""
    if not scan.entries or not scan.entries[0].index <= index <= scan.last_index:
        return None
    return scan.entries[index - scan.entries[0].index].id
