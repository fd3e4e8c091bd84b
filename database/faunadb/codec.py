"""Bytes that stay: stored values, and what a DATA entry of the log holds.

Values are MessagePack with extensions (table below); field order is kept, so equal values
written in the same order are equal bytes. Decoders are total: a value or `Malformed`.

    ext 1  Time      i64 seconds + u32 nanoseconds, little endian
    ext 2  Date      i64 days
    ext 3  Uuid      16 bytes
    ext 4  Ref       u32 collection, i64 id
    ext 5  TransactionTime  empty; read back as the Time of the version that holds it

Trap: a new kind of payload is a new struct in `Payload` and needs a higher feature level.
"""

import struct
from typing import Any

import msgspec

from faunadb.errors import Malformed
from faunadb.values import Date, Fields, Long, Ref, Time, TransactionTime, Uuid, Value

FORMAT_VERSION = 1
FEATURE_LEVEL = 1
_TIME, _DATE, _REF = struct.Struct("<qI"), struct.Struct("<q"), struct.Struct("<Iq")
_NANOS = 1_000_000_000


def _to_ext(value: Any) -> Any:
    match value:
        case Long():
            return int(value)
        case Time():
            return msgspec.msgpack.Ext(1, _TIME.pack(*divmod(value.nanos, _NANOS)))
        case Date():
            return msgspec.msgpack.Ext(2, _DATE.pack(value.days))
        case Uuid():
            return msgspec.msgpack.Ext(3, value.raw)
        case Ref():
            return msgspec.msgpack.Ext(4, _REF.pack(value.coll, value.id))
        case TransactionTime():
            return msgspec.msgpack.Ext(5, b"")
    raise AssertionError(f"{type(value).__name__} is not storable")


def _from_ext(code: int, data: memoryview) -> Any:
    try:
        match code:
            case 1:
                seconds, nanos = _TIME.unpack(data)
                return Time(seconds * _NANOS + nanos)
            case 2:
                return Date(_DATE.unpack(data)[0])
            case 3 if len(data) == 16:
                return Uuid(bytes(data))
            case 4:
                return Ref(*_REF.unpack(data))
            case 5 if not data:
                return TransactionTime()
    except struct.error as error:
        raise Malformed(f"extension {code} has {len(data)} bytes") from error
    raise Malformed(f"extension {code} of {len(data)} bytes")


_value_encoder = msgspec.msgpack.Encoder(enc_hook=_to_ext)
_value_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(ext_hook=_from_ext)


def encode_value(value: Value) -> bytes:
    """Return the bytes of a storable value."""
    return _value_encoder.encode(value)


def decode_value(data: bytes | memoryview) -> Value:
    """Undo `encode_value`; raises `Malformed`, also for nesting too deep to be ours."""
    try:
        value: Value = _value_decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, ValueError, TypeError) as error:
        raise Malformed(f"not a value: {error}") from error
    return value


def decode_fields(data: bytes | memoryview) -> Fields:
    """Decode an object; raises `Malformed` for other values."""
    value = decode_value(data)
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise Malformed("not an object")
    return value


# ---------------------------------------------------------------- payloads of DATA entries


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """What a client is told: fragments of the response body, already JSON.

    `data` is the value under "data" (or, with `http_status` other than 200, the whole "error"
    object). `txn_ts` and `schema_version` are microseconds. `stats` is a JSON object.
    """

    http_status: int
    data: bytes
    summary: str
    txn_ts: int
    schema_version: int
    stats: bytes = b"{}"


class RequestId(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A client's name for one write, with the time it was drawn (SAFETY 5)."""

    born_us: int
    nonce: bytes  # 16 bytes


class Transaction(msgspec.Struct, frozen=True, tag=1, array_like=True):
    """One committed query: physical pairs to put (or, with None, to delete), all versioned.

    `answer` is the whole answer up to 4 KiB, else None with its SHA-256 in `answer_digest`.
    """

    ts: int
    ceiling: int
    writes: tuple[tuple[bytes, bytes | None], ...]
    request: RequestId | None = None
    answer: Answer | None = None
    answer_digest: bytes = b""


class RaiseCeiling(msgspec.Struct, frozen=True, tag=2, array_like=True):
    """Timestamps of reads may be issued up to `ceiling` (SAFETY 9)."""

    ceiling: int


class RemoveVersions(msgspec.Struct, frozen=True, tag=3, array_like=True):
    """History before `horizon_us` within [start, end) goes; looks at `keys_max` keys at most.

    `everything`: what is in force at the horizon goes too, because its collection is dropped.
    """

    start: bytes
    end: bytes
    horizon_us: int
    keys_max: int
    everything: bool = False


class HashPoint(msgspec.Struct, frozen=True, tag=4, array_like=True):
    """Compare the state hash here: every member reports what it has at this entry."""


class OpenForClients(msgspec.Struct, frozen=True, tag=5, array_like=True):
    """Client writes are welcome from here on (SAFETY 26): all voters are there."""


class LeaseWorker(msgspec.Struct, frozen=True, tag=6, array_like=True):
    """Worker number (< 1024) for document ids goes to (member, process) (SAFETY 27)."""

    member: int
    process: bytes


class CloseForClients(msgspec.Struct, frozen=True, tag=7, array_like=True):
    """Client writes wait for the next `OpenForClients`: one disk holds everything again."""


Payload = (
    Transaction
    | RaiseCeiling
    | RemoveVersions
    | HashPoint
    | OpenForClients
    | LeaseWorker
    | CloseForClients
)
_payload_encoder = msgspec.msgpack.Encoder()
_payload_decoder: msgspec.msgpack.Decoder[Payload] = msgspec.msgpack.Decoder(Payload)


def encode_payload(payload: Payload) -> bytes:
    """Return the bytes of a DATA entry: a format version, then MessagePack."""
    return bytes((FORMAT_VERSION,)) + _payload_encoder.encode(payload)


def decode_payload(data: bytes | memoryview) -> Payload:
    """Undo `encode_payload`; raises `Malformed`, for later format versions too."""
    if not data or data[0] != FORMAT_VERSION:
        raise Malformed("payload of an unknown format version")
    try:
        return _payload_decoder.decode(memoryview(data)[1:])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"not a payload: {error}") from error
