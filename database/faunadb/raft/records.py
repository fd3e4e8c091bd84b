"""Entries as they leave the cluster: what `GET /log` streams and the archive keeps.

    record = term u64, index u64, kind u8, length u32, payload, crc32c u32      little endian

The checksum covers all before it. Records follow one another; there is no header and no end.

House rules: the decoder is total. Trap: a stream may end inside a record, because its sender went
away: what is whole counts, the rest is asked for again.
"""

import struct
from collections.abc import Iterable

from crc32c import crc32c

from faunadb.errors import Malformed
from faunadb.raft.entries import ENTRY_BYTES_MAX, Entry, EntryKind, Index, Term

_HEAD = struct.Struct("<QQBI")
_CRC = struct.Struct("<I")
_INTEGER_MAX = (1 << 63) - 1


def encode_records(entries: Iterable[Entry]) -> bytes:
    """Return the records of these entries."""
    parts: list[bytes | memoryview] = []
    for entry in entries:
        payload = entry.payload
        head = _HEAD.pack(entry.term, entry.index, entry.kind, len(payload))
        parts += (head, payload, _CRC.pack(crc32c(payload, crc32c(head))))
    return b"".join(parts)


class RecordReader:
    """Takes records apart that come in pieces; their indexes must be consecutive."""

    def __init__(self) -> None:
        self._held = b""
        self._last: Entry | None = None

    @property
    def is_between_records(self) -> bool:
        """Say whether nothing of a record is held that is not whole yet."""
        return not self._held

    def feed(self, data: bytes | memoryview) -> list[Entry]:
        """Return the entries that `data` completes. Raises `Malformed`."""
        held = self._held + data
        found: list[Entry] = []
        at, size = 0, len(held)
        while at + _HEAD.size <= size:
            term, index, kind, length = _HEAD.unpack_from(held, at)
            if length > ENTRY_BYTES_MAX or max(term, index) > _INTEGER_MAX:
                raise Malformed(f"a record of {length} bytes for entry {index}")
            start = at + _HEAD.size
            end = start + length
            if end + _CRC.size > size:
                break
            (crc,) = _CRC.unpack_from(held, end)
            if kind not in EntryKind._value2member_map_ or crc != crc32c(held[at:end]):
                raise Malformed(f"the record of entry {index} does not match its checksum")
            found.append(self._follow(term, index, kind, held[start:end]))
            at = end + _CRC.size
        self._held = held[at:]
        return found

    def _follow(self, term: int, index: int, kind: int, payload: bytes) -> Entry:
        entry = Entry.make(Term(term), Index(index), EntryKind(kind), payload)
        last = self._last
        if last is not None and (index != last.index + 1 or term < last.term):
            raise Malformed(f"entry {term}/{index} follows {last.term}/{last.index}")
        self._last = entry
        return entry


def decode_records(data: bytes | memoryview) -> list[Entry]:
    """Undo `encode_records`. Raises `Malformed` for anything else."""
    reader = RecordReader()
    entries = reader.feed(data)
    if not reader.is_between_records:
        raise Malformed("the last record is cut off")
    return entries
