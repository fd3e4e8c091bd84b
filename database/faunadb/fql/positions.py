"""Where a reader of events stands, as text for clients: base64 of CBOR [time, ordinal].

Trap: a position opens nothing by itself; rights come with the secret, the source with its token.
"""

import base64
import binascii

from faunadb.errors import Malformed

_WORD = 0x1B  # CBOR: an unsigned integer in the next eight bytes
_SMALL_MAX = 23
_WIDTHS = {0x18: 1, 0x19: 2, 0x1A: 4, _WORD: 8}
_CHARS_MAX = 64


def encode_position(ts: int, ordinal: int) -> str:
    """Return the cursor behind event `ordinal` of the transaction at `ts` microseconds."""
    return base64.b64encode(b"\x82" + _integer(ts) + _integer(ordinal)).decode()


def decode_position(text: str) -> tuple[int, int]:
    """Return (ts, ordinal); raises `Malformed`."""
    if len(text) > _CHARS_MAX:
        raise Malformed("a cursor of events is short")
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("a cursor of events is base64") from error
    if raw[:1] != b"\x82":
        raise Malformed("a cursor of events is a pair")
    ts, rest = _read(raw[1:])
    ordinal, rest = _read(rest)
    if rest or max(ts, ordinal) >= 2**63:
        raise Malformed("a cursor of events holds two numbers")
    return ts, ordinal


def _integer(value: int) -> bytes:
    if value <= _SMALL_MAX:
        return bytes((value,))
    return bytes((_WORD,)) + value.to_bytes(8, "big")


def _read(raw: bytes) -> tuple[int, bytes]:
    if not raw:
        raise Malformed("a cursor of events ends early")
    if raw[0] <= _SMALL_MAX:
        return raw[0], raw[1:]
    width = _WIDTHS.get(raw[0], 0)
    if not width or len(raw) <= width:
        raise Malformed("a cursor of events holds numbers")
    return int.from_bytes(raw[1 : 1 + width], "big"), raw[1 + width :]
