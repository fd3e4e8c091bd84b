"""In which order do strings stand in an index? By the Unicode Collation Algorithm.

The weights are those of the default table (DUCET 10.0.0, variable elements not ignored), which
is nearly what ICU calls its root locale. A key has three levels and a tie-breaker:

    primary weights (2 bytes each) 01  secondary (2) 01  tertiary (1) 01  tie 01

Common weights at the end of a level are left out; every weight byte is above 01, so that a
shorter level stands first and no key is the beginning of another. The tie is empty for
printable ASCII, whose weights say everything, else the string itself.

House rules: only the first `COLLATED_CHARS_MAX` characters have weights, because an index key
has no room for more; the collator costs quadratic time on long strings.
Trap: the bytes are stored. Another table is another `COLLATION_VERSION` and a new build of
every index (SAFETY 13).
"""

from functools import cache
from typing import Protocol

from pyuca.collator import Collator_10_0_0

COLLATION_VERSION = 1
COLLATED_CHARS_MAX = 256

_END = b"\x01"
_SECONDARY_SHIFT = 0x0200  # common secondary 0x20 becomes two bytes above the separator
_COMMON_SECONDARY, _COMMON_TERTIARY = b"\x02\x20", b"\x02"
_IGNORED = [chr(code) for code in (*range(9), *range(14, 32), 127)]


class _Collator(Protocol):
    def collation_elements(self, normalized_string: str) -> list[list[int]]: ...

    def sort_key(self, string: str) -> tuple[int, ...]: ...


@cache
def _collator() -> _Collator:
    """Load the table (0.1 s, 10 MB) when the first string needs it."""
    collator: _Collator = Collator_10_0_0()
    return collator


@cache
def _ascii_tables() -> tuple[dict[int, str], dict[int, str]]:
    primary, tertiary = {}, {}
    for code in range(128):
        ((first, _, third),) = _collator().collation_elements(chr(code))
        primary[code] = first.to_bytes(2, "big").decode("latin-1") if first else ""
        tertiary[code] = chr(third) if third else ""
    return primary, tertiary


def string_key(text: str) -> bytes:
    """Return bytes that order strings; equal only for equal strings (of <= 256 characters)."""
    if len(text) > COLLATED_CHARS_MAX:
        return _levels(text[:COLLATED_CHARS_MAX]) + escaped(text.encode("utf-8", "surrogatepass"))
    if text.isascii() and (text.isprintable() or not any(char in text for char in _IGNORED)):
        return _levels(text) + _END
    return _levels(text) + escaped(text.encode("utf-8", "surrogatepass"))


def _levels(text: str) -> bytes:
    if text.isascii():
        to_primary, to_tertiary = _ascii_tables()
        primary = text.translate(to_primary).encode("latin-1")
        tertiary = text.translate(to_tertiary).encode("latin-1").rstrip(_COMMON_TERTIARY)
        return primary + b"\x01\x01" + tertiary + _END
    levels: list[bytearray] = [bytearray(), bytearray(), bytearray()]
    level = 0
    for weight in _collator().sort_key(text):
        if weight == 0:
            level += 1
        elif level == 0:
            levels[0] += weight.to_bytes(2, "big")
        elif level == 1:
            levels[1] += (weight + _SECONDARY_SHIFT).to_bytes(2, "big")
        else:
            levels[2].append(weight)
    while levels[1].endswith(_COMMON_SECONDARY):
        del levels[1][-2:]
    return b"".join(
        (bytes(levels[0]), _END, bytes(levels[1]), _END, levels[2].rstrip(_COMMON_TERTIARY), _END)
    )


def escaped(raw: bytes) -> bytes:
    """Return `raw` in order-preserving form: bytes up to 02 get a 02 before them, 01 ends."""
    if raw.translate(None, b"\x00\x01\x02") != raw:
        raw = b"".join(
            bytes((2, byte)) if byte <= 2 else bytes((byte,))  # one byte a step: rare
            for byte in raw
        )
    return raw + _END
