"""How pairs become parts and parts become pairs; nothing is held but one part.

    part = zstd( { key length u32, value length u32, key, value } … )      little endian, sorted

House rules: no store, no clock. What comes from outside has a limit before it is unpacked.
Trap: a part may be unpacked only after its SHA-256 agreed; `read_part` does both.
"""

import hashlib
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import zstandard

from faunadb.backup.layout import PART_BYTES_MAX, Part, part_name
from faunadb.disk.ports import Description, Engines
from faunadb.errors import Corrupt
from faunadb.store import keys
from faunadb.store.ports import Reader

Pair = tuple[bytes, bytes]
T = TypeVar("T")
LEVEL = 3
SLICE_BYTES = 1024 * 1024  # of pairs under one opening of a copy; it maps up to 16 times as much
_HEAD = struct.Struct("<II")
_UNPACK_BYTES = 1024 * 1024


class PartWriter:
    """Fills one part. `number` counts from 1."""

    def __init__(self, number: int) -> None:
        self.name = part_name(number)
        self._packer = zstandard.ZstdCompressor(
            level=LEVEL, write_checksum=True, write_content_size=False
        ).compressobj()
        self._packed = bytearray()  # joined at the end it would be there twice
        self._bytes = self._pairs = 0
        self._first_key = self._last_key = b""

    @property
    def bytes_held(self) -> int:
        """Return the bytes of all pairs with their lengths, unpacked."""
        return self._bytes

    @property
    def is_empty(self) -> bool:
        return not self._pairs

    def add(self, pairs: Sequence[Pair]) -> None:
        """Append pairs whose keys follow all earlier ones."""
        if not pairs:
            return
        assert self._last_key < pairs[0][0], "keys are sorted"
        self._first_key = self._first_key or pairs[0][0]
        self._last_key = pairs[-1][0]
        fields: list[bytes] = []
        for key, value in pairs:
            fields += (_HEAD.pack(len(key), len(value)), key, value)
        block = b"".join(fields)
        self._bytes += len(block)
        self._pairs += len(pairs)
        self._packed += self._packer.compress(block)

    def finish(self) -> tuple[Part, bytearray]:
        """Return what the manifest says of the part, and the object."""
        self._packed += self._packer.flush()
        block, self._packed = self._packed, bytearray()
        part = Part(
            name=self.name,
            pairs=self._pairs,
            bytes=self._bytes,
            stored_bytes=len(block),
            sha256=hashlib.sha256(block).hexdigest(),
            first_key=self._first_key.hex(),
            last_key=self._last_key.hex(),
        )
        return part, block


def check_part(part: Part, block: memoryview, place: str) -> None:
    """Compare an object with the manifest. Raises `Corrupt` that names it and both digests."""
    found = hashlib.sha256(block).hexdigest()
    if found != part.sha256 or len(block) != part.stored_bytes:
        raise Corrupt(
            "backup",
            f"{place}/{part.name}: expected {part.stored_bytes} bytes with SHA-256 {part.sha256},"
            f" found {len(block)} bytes with {found}",
        )


def read_part(part: Part, block: memoryview, place: str) -> Iterator[list[Pair]]:
    """Yield an object's pairs in slices. Raises `Corrupt` for whatever the manifest denies."""
    check_part(part, block, place)
    rest, count, unpacked = b"", 0, 0
    last = b""
    for piece in _unpacked(part, block, place):
        unpacked += len(piece)
        pairs, rest = _split(rest + piece)
        if pairs:
            _check_order(last, pairs, place, part)
            last = pairs[-1][0]
            count += len(pairs)
            yield pairs
    found = (count, unpacked, last.hex(), rest)
    if found != (part.pairs, part.bytes, part.last_key, b""):
        raise Corrupt("backup", f"{place}/{part.name} does not hold what the manifest says")


def _unpacked(part: Part, block: memoryview, place: str) -> Iterator[bytes]:
    """Yield the content in pieces, no more of it than the part may have."""
    left = min(part.bytes, PART_BYTES_MAX)
    try:
        with zstandard.ZstdDecompressor().stream_reader(block) as reader:
            while piece := reader.read(_UNPACK_BYTES):
                left -= len(piece)
                if left < 0:
                    raise Corrupt("backup", f"{place}/{part.name} has more than {part.bytes} bytes")
                yield piece
    except zstandard.ZstdError as problem:
        raise Corrupt("backup", f"{place}/{part.name}: {problem}") from problem


def _split(data: bytes) -> tuple[list[Pair], bytes]:
    """Return the whole pairs at the beginning, and the rest."""
    pairs: list[Pair] = []
    at, end = 0, len(data)
    while at + _HEAD.size <= end:
        key_bytes, value_bytes = _HEAD.unpack_from(data, at)
        key_at = at + _HEAD.size
        value_at = key_at + key_bytes
        after = value_at + value_bytes
        if after > end:
            break
        pairs.append((data[key_at:value_at], data[value_at:after]))
        at = after
    return pairs, data[at:]


def _check_order(last: bytes, pairs: Sequence[Pair], place: str, part: Part) -> None:
    for key, _ in pairs:
        if key <= last:
            raise Corrupt("backup", f"{place}/{part.name}: keys are not in order")
        last = key


def examine(engines: Engines, path: str, look: Callable[[Reader], T]) -> T:
    """Return what `look` sees in a copy; it must not keep the reader. Raises `Corrupt`."""
    seen: list[T] = []

    def describe(reader: Reader) -> Description:
        seen.append(look(reader))
        return Description()

    engines.describe(path, describe)
    return seen[0]


def pairs_of_copy(engines: Engines, path: str) -> Iterator[list[Pair]]:
    """Yield all pairs of a copy but the bookkeeping, sorted, in slices. Raises `Corrupt`.

    The copy is opened anew for each slice, because what a mapping has touched stays in memory.
    """
    for start, end in ((b"", keys.META), (keys.REQUESTS, None)):
        after = start
        while pairs := examine(engines, path, partial(_slice, after=after, end=end)):
            yield pairs
            after = pairs[-1][0]


def _slice(reader: Reader, *, after: bytes, end: bytes | None) -> list[Pair]:
    """Return pairs whose keys follow `after`."""
    pairs: list[Pair] = []
    size = 0
    for key, value in reader.scan(after, end):
        if key == after:
            continue
        pairs.append((key, value))
        size += len(key) + len(value)
        if size >= SLICE_BYTES:
            break
    return pairs
