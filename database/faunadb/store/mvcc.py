"""Which version does a snapshot see? The newest one at or before it, if that is not a deletion.

A version's bytes are a head and MessagePack (`codec.encode_value`):

    00                      deleted
    01 payload              live
    02 ttl payload          live until ttl: i64 seconds, u32 nanoseconds

The payload of a document is its fields, that of an index entry its covered values. A
TransactionTime inside is read back as the time of the version.

Trap: a version that expired is still a version; only `Version.live_at` says what is visible.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from faunadb.codec import decode_value, encode_value
from faunadb.errors import Malformed, QueryError
from faunadb.store.keys import SUFFIX_BYTES, TS_MAX, after, suffix
from faunadb.store.order import resolved
from faunadb.store.ports import Reader
from faunadb.values import Fields, Time, Value

DELETED = b"\x00"
_LIVE, _LIVE_UNTIL = 1, 2
_TTL = struct.Struct("<qI")
_NANOS = 1_000_000_000
_TTL_END = 1 + _TTL.size
_PLACEHOLDER = b"\xc7\x00\x05"  # extension 5 without content


class Version(NamedTuple):
    """One version as it lies in the map; `ts` in microseconds, `None` before the commit."""

    prefix: bytes
    ts: int | None
    raw: bytes

    @property
    def deleted(self) -> bool:
        return self.raw == DELETED

    @property
    def ttl(self) -> Time | None:
        return ttl_of(self.raw)

    def live_at(self, ts: int) -> bool:
        """Return whether a snapshot at `ts` microseconds sees it: neither deleted nor expired."""
        return is_live(self.raw, ts)


def ttl_of(raw: bytes) -> Time | None:
    """Return until when a version is visible, `None` for ever; raises `Malformed`."""
    if not raw or raw[0] != _LIVE_UNTIL:
        return None
    try:
        seconds, nanos = _TTL.unpack_from(raw, 1)
    except struct.error as error:
        raise Malformed("a version ends in its ttl") from error
    return Time(seconds * _NANOS + nanos)


def is_live(raw: bytes, ts: int) -> bool:
    """Return whether a version is visible to a snapshot at `ts` microseconds."""
    if raw == DELETED:
        return False
    ttl = ttl_of(raw)
    return ttl is None or ttl.nanos > ts * 1000


def encode_version(payload: Value, ttl: Time | None) -> bytes:
    """Return the bytes of a live version."""
    if ttl is None:
        return b"\x01" + encode_value(payload)
    return b"\x02" + _TTL.pack(*divmod(ttl.nanos, _NANOS)) + encode_value(payload)


def payload_of(raw: bytes, ts: int | None) -> Value:
    """Decode a live version, with `ts` as its time if it is known; raises `Malformed`."""
    if not raw or raw[0] not in (_LIVE, _LIVE_UNTIL):
        raise Malformed("not a live version")
    start = 1 if raw[0] == _LIVE else _TTL_END
    try:
        value = decode_value(memoryview(raw)[start:])
    except Malformed as error:
        if isinstance(error.__cause__, RecursionError):  # the program is deep, not the bytes bad
            raise QueryError(
                "stack_overflow", "A document was read too deep in a program."
            ) from error
        raise
    if ts is not None and _PLACEHOLDER in raw:
        return resolved(value, Time.from_micros(ts))
    return value


def fields_of(raw: bytes, ts: int | None) -> Fields:
    """Decode a document's fields; raises `Malformed`."""
    value = payload_of(raw, ts)
    if not isinstance(value, dict):
        raise Malformed("a document is an object")
    return value


def values_of(raw: bytes, ts: int | None) -> tuple[Value, ...]:
    """Decode an index entry's covered values; raises `Malformed`."""
    value = payload_of(raw, ts)
    if not isinstance(value, list):
        raise Malformed("an index entry is an array")
    return tuple(value)


def newest(reader: Reader, prefix: bytes, ts: int) -> Version | None:
    """Return the version of `prefix` in force at `ts`, also if it is a deletion or expired."""
    for key, raw in reader.scan(prefix + suffix(ts), after(prefix)):
        return Version(prefix, TS_MAX - int.from_bytes(key[-SUFFIX_BYTES:], "big"), raw)
    return None


def scan_newest(
    reader: Reader, start: bytes, end: bytes, ts: int, *, reverse: bool = False
) -> Iterator[Version]:
    """Yield the version in force of each prefix in [start, end), deletions included."""
    return _backward(reader, start, end, ts) if reverse else _forward(reader, start, end, ts)


def _forward(reader: Reader, start: bytes, end: bytes, ts: int) -> Iterator[Version]:
    first = suffix(ts)
    done = b""
    for key, raw in reader.scan(start, end):
        tail = key[-SUFFIX_BYTES:]
        if tail < first:
            continue
        prefix = key[:-SUFFIX_BYTES]
        if prefix != done:
            done = prefix
            yield Version(prefix, TS_MAX - int.from_bytes(tail, "big"), raw)


def _backward(reader: Reader, start: bytes, end: bytes, ts: int) -> Iterator[Version]:
    first = suffix(ts)
    found: Version | None = None
    for key, raw in reader.scan(start, end, reverse=True):
        prefix, tail = key[:-SUFFIX_BYTES], key[-SUFFIX_BYTES:]
        if found is not None and found.prefix != prefix:
            yield found
            found = None
        if tail >= first:
            found = Version(prefix, TS_MAX - int.from_bytes(tail, "big"), raw)
    if found is not None:
        yield found
