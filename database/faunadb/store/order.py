"""What bytes make a value stand at its place in an index? (schema.md, "Order")

    numbers by value < bytes < strings < arrays < objects < references < times < dates
    < UUIDs < false < true < null

Numbers compare by value across Int, Long and Double; -0.0 stands just before 0, NaN behind
everything else that is a number. Arrays compare element by element, objects key by key (keys
in order of their bytes), strings by collation. `desc` inverts every byte of one value.

House rules: no key of a value is the beginning of another value's key, so that keys may be
joined; every first byte is above 01, which ends arrays and objects.
Trap: these keys decide positions only. 1 and 1.0 have the same one; what a value *is* stands
in the entry's value part, and terms are compared by `keys.encoded_terms`.
"""

import struct
from collections.abc import Callable, Iterable
from typing import Any

from faunadb.store.collation import escaped, string_key
from faunadb.values import Date, Long, Ref, Time, TransactionTime, Uuid, Value

_NUMBER, _BYTES, _STRING, _ARRAY, _OBJECT = b"\x10", b"\x18", b"\x20", b"\x28", b"\x30"
_REF, _TIME, _DATE, _UUID = b"\x38", b"\x40", b"\x48", b"\x50"
_FALSE, _TRUE, NULL = b"\x58", b"\x59", b"\xf0"
_NAN = _NUMBER + b"\xff" * 10
END = b"\x01"

_DOUBLE, _BITS, _REST = struct.Struct(">d"), struct.Struct(">Q"), struct.Struct(">H")
_REF_KEY, _TIME_KEY = struct.Struct(">IQ"), struct.Struct(">QI")
_SIGN, _ALL = 1 << 63, (1 << 64) - 1
_REST_ZERO = 0x8000
_NANOS = 1_000_000_000
_INVERT = bytes(255 - byte for byte in range(256))


def order_key(value: Value, *, descending: bool = False) -> bytes:
    """Return the bytes that place `value`; refuses (assertion) a TransactionTime."""
    encode = _ENCODERS.get(type(value))
    assert encode is not None, f"{type(value).__name__} has no place before its time is known"
    key = encode(value)
    return key.translate(_INVERT) if descending else key


def order_keys(values: Iterable[Value], descending: Iterable[bool]) -> bytes:
    """Return the joined bytes of a tuple of values, each in its own direction."""
    return b"".join(
        [order_key(value, descending=down) for value, down in zip(values, descending, strict=False)]
    )


def array_prefix(value: list[Value], *, descending: bool) -> bytes:
    """Return what begins the key of every array that begins with `value`."""
    key = _array(value)[:-1]
    return key.translate(_INVERT) if descending else key


def resolved(value: Value, time: Time) -> Value:
    """Return `value` with `time` in the place of every TransactionTime."""
    if isinstance(value, TransactionTime):
        return time
    if isinstance(value, dict):
        return {key: resolved(item, time) for key, item in value.items()}
    if isinstance(value, list):
        return [resolved(item, time) for item in value]
    return value


def waits_for_time(value: Value) -> bool:
    """Return whether a TransactionTime is anywhere in it."""
    if isinstance(value, dict):
        return any(waits_for_time(item) for item in value.values())
    if isinstance(value, list):
        return any(waits_for_time(item) for item in value)
    return isinstance(value, TransactionTime)


def depth_of(value: Value) -> int:
    """Return how deep arrays and objects are nested, 0 for a scalar."""
    if isinstance(value, dict):
        return 1 + max([depth_of(item) for item in value.values()], default=0)
    if isinstance(value, list):
        return 1 + max([depth_of(item) for item in value], default=0)
    return 0


def _double_bits(value: float) -> bytes:
    (bits,) = _BITS.unpack(_DOUBLE.pack(value))
    return _BITS.pack(_ALL ^ bits if bits & _SIGN else bits | _SIGN)


def _integer(value: int) -> bytes:
    near = float(value)
    # A double is at most 512 away from the 64-bit number that it stands for.
    return _NUMBER + _double_bits(near) + _REST.pack(_REST_ZERO + value - int(near))


def _float(value: float) -> bytes:
    if value != value:  # noqa: PLR0124 - NaN, the only value unlike itself
        return _NAN
    return _NUMBER + _double_bits(value) + _REST.pack(_REST_ZERO)


def _array(value: list[Value]) -> bytes:
    return _ARRAY + b"".join([order_key(item) for item in value]) + END


def _object(value: dict[str, Value]) -> bytes:
    parts = [_OBJECT]
    for name in sorted(value, key=lambda name: name.encode("utf-8", "surrogatepass")):
        # 03 before each name: a name may begin with any byte, the end is 01
        parts.append(b"\x03" + escaped(name.encode("utf-8", "surrogatepass")))
        parts.append(order_key(value[name]))
    parts.append(END)
    return b"".join(parts)


def _time(value: Time) -> bytes:
    seconds, nanos = divmod(value.nanos, _NANOS)
    return _TIME + _TIME_KEY.pack(seconds + _SIGN, nanos)


_ENCODERS: dict[type, Callable[[Any], bytes]] = {
    int: _integer,
    Long: _integer,
    float: _float,
    bytes: lambda value: _BYTES + escaped(value),
    str: lambda value: _STRING + string_key(value),
    list: _array,
    dict: _object,
    Ref: lambda value: _REF + _REF_KEY.pack(value.coll, value.id),
    Time: _time,
    Date: lambda value: _DATE + _BITS.pack(value.days + _SIGN),
    Uuid: lambda value: _UUID + value.raw,
    bool: lambda value: _TRUE if value else _FALSE,
    type(None): lambda _: NULL,
}
