"""Committed entries that have left memory, from the segments of a log that is being written.

    start      the last segment that began at or before the wanted entry
    replay     its frames and those after it; an entry is handed out when a later or the same
               frame says that it is committed, so nothing that was truncated ever is
    end        the first frame that does not verify: the rest is in memory, or being written

House rules: reads only; a thread of the program calls it. Trap: segments are removed and recycled
meanwhile. What is read from one that was is of another salt and does not verify, so the reading
ends early; it is never wrong.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from faunadb.disk.frames import (
    HEADER_BYTES,
    Append,
    Frame,
    FrameKind,
    Operation,
    Restart,
    SegmentHeader,
    Truncate,
    decode_data,
    decode_frame,
    decode_header,
    seed_of,
)
from faunadb.disk.wal import DIRECTORY, segment_path
from faunadb.errors import Malformed
from faunadb.node.ports import Files
from faunadb.raft.entries import Entry, Index

_NAME = re.compile(r"([0-9a-f]{16})\.wal")


def oldest_index(files: Files) -> Index | None:
    """Return the first entry that the segments may hold, None when there are none."""
    headers = _headers(files)
    return Index(headers[0].first_index) if headers else None


def read_committed(files: Files, start: Index, bytes_max: int) -> Iterator[list[Entry]]:
    """Yield consecutive committed entries from `start` on, about `bytes_max` at once.

    Ends early, or at once, where the segments do not lead on. Raises OSError.
    """
    headers = _headers(files)
    began = [at for at, header in enumerate(headers) if header.first_index <= start]
    if not began:
        return
    replay = _Replay(start)
    for frame in _all_frames(files, headers[began[-1] :]):
        if not replay.data(frame):
            break
        if replay.ready_bytes >= bytes_max:
            yield replay.take()
    if replay.ready_bytes:
        yield replay.take()


def _headers(files: Files) -> list[SegmentHeader]:
    """Return the headers of the newest segments that follow one another without a hole."""
    seqs = [int(match[1], 16) for name in files.list(DIRECTORY) if (match := _NAME.fullmatch(name))]
    found: list[SegmentHeader] = []
    for seq in sorted(seqs):
        block = _read(files, seq, HEADER_BYTES)
        try:
            header = decode_header(block)
        except Malformed:
            found = []
            continue
        if header.seq != seq or (found and seq != found[-1].seq + 1):
            found = []
        if header.seq == seq:
            found.append(header)
    return found


def _read(files: Files, seq: int, length: int | None = None) -> bytes:
    """Return the beginning of a segment, or all of it; nothing when it is gone."""
    try:
        file = files.open(segment_path(seq))
    except FileNotFoundError:
        return b""
    try:
        return file.pread(file.size() if length is None else length, 0)
    finally:
        file.close()


def _all_frames(files: Files, headers: Sequence[SegmentHeader]) -> Iterator[Frame]:
    chain: list[SegmentHeader | None] = [*headers, None]
    for header, successor in pairwise(chain):
        assert header is not None, "only the last one is"
        yield from _frames(files, header, successor)


def _frames(
    files: Files, header: SegmentHeader, successor: SegmentHeader | None
) -> Iterator[Frame]:
    """Yield the DATA frames of a segment, without one that its successor repeats."""
    block = _read(files, header.seq)
    at, number, seed = HEADER_BYTES, 0, seed_of(header.salt)
    while successor is None or at < successor.previous_end:
        try:
            frame = decode_frame(block, at, seed)
        except Malformed:
            return
        if frame.number != number:
            return
        if frame.kind is FrameKind.DATA:
            yield frame
        at, number = frame.end, number + 1


class _Replay:
    """Does again what happened to the log, from entry `expected` on."""

    def __init__(self, start: Index) -> None:
        self._expected: int = start  # the next entry that is handed out
        self._pending: list[Entry] = []  # from there on, not known to be committed yet
        self._ready: list[Entry] = []
        self.ready_bytes = 0

    def data(self, frame: Frame) -> bool:
        """Take in a frame; False when the log does not go on from what was read."""
        try:
            hard_state, operations = decode_data(frame.payload)
        except Malformed:
            return False
        if not all(self._do(operation) for operation in operations):
            return False
        self._commit(hard_state.commit)
        return True

    def take(self) -> list[Entry]:
        ready, self._ready, self.ready_bytes = self._ready, [], 0
        return ready

    def _do(self, operation: Operation) -> bool:
        match operation:
            case Append(entries):
                return self._append(entries)
            case Truncate(start):
                del self._pending[max(0, start - self._expected) :]
                return True
            case Restart(id_):
                self._pending.clear()
                return id_.index < self._expected
        raise AssertionError(operation)

    def _append(self, entries: Sequence[Entry]) -> bool:
        wanted = [entry for entry in entries if entry.index >= self._expected]
        if wanted and wanted[0].index != self._expected + len(self._pending):
            return False
        self._pending += wanted
        return True

    def _commit(self, commit: Index) -> None:
        count = max(0, commit - self._expected + 1)
        committed = self._pending[:count]
        del self._pending[:count]
        self._ready += committed
        self._expected += len(committed)
        self.ready_bytes += sum(len(entry.raw) for entry in committed)
