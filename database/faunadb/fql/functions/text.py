"""Strings, by code point (functions.yaml, String#).

Trap: `split("")` alone cuts UTF-16 units; an empty pattern never advances in `replaceAll`.
"""

import unicodedata
from typing import Any

from faunadb.fql.arithmetic import parse_double, parse_integer, parse_number
from faunadb.fql.display import sized, units
from faunadb.fql.failures import invalid_argument, out_of_bounds, too_large
from faunadb.fql.operators import concatenated
from faunadb.fql.registry import getter, method
from faunadb.fql.runtime import STRING_UNITS_MAX, Runtime
from faunadb.values import INT_MAX, INT_MIN, LONG_MAX, LONG_MIN, Long

S = "String#"


def scan(rt: Runtime, text: str) -> None:
    """Pay for looking through a text."""
    if len(text) > 64:
        rt.tick(len(text) >> 6)


@getter(S, "length")
def length(rt: Runtime, this: str) -> int:
    return len(this)


@method(S, "at", "(index: Int)")
def at(rt: Runtime, this: str, index: int) -> str:
    if not 0 <= index < len(this):
        raise out_of_bounds(index, len(this))
    return this[index]


@method(S, "concat", "(other: String)")
def concat(rt: Runtime, this: str, other: str) -> str:
    return concatenated(rt, this, other)


@method(S, "endsWith", "(suffix: String)")
def ends_with(rt: Runtime, this: str, suffix: str) -> bool:
    return this.endswith(suffix)


@method(S, "startsWith", "(prefix: String)")
def starts_with(rt: Runtime, this: str, prefix: str) -> bool:
    return this.startswith(prefix)


@method(S, "includes", "(pattern: String)")
def includes(rt: Runtime, this: str, pattern: str) -> bool:
    scan(rt, this)
    return pattern in this


@method(S, "indexOf", "(pattern: String)", "(pattern: String, start: Int)")
def index_of(rt: Runtime, this: str, pattern: str, start: int | None = None) -> int | None:
    scan(rt, this)
    if start is not None and not 0 <= start < len(this):
        raise out_of_bounds(start, len(this))
    place = this.find(pattern, start or 0)
    return None if place < 0 else place


@method(S, "lastIndexOf", "(pattern: String)", "(pattern: String, end: Int)")
def last_index_of(rt: Runtime, this: str, pattern: str, end: int | None = None) -> int | None:
    scan(rt, this)
    if end is not None and not 0 <= end < len(this):
        raise out_of_bounds(end, len(this))
    place = this.rfind(pattern) if end is None else this.rfind(pattern, 0, end + len(pattern))
    return None if place < 0 else place


@method(S, "insert", "(index: Int, other: String)")
def insert(rt: Runtime, this: str, index: int, other: str) -> str:
    if not 0 <= index <= len(this):
        raise out_of_bounds(index, len(this))
    return sized(rt, this[:index] + other + this[index:])


@method(S, "replace", "(pattern: String, replacement: String)",
        "(pattern: String, replacement: String, amount: Int)")  # fmt: skip
def replace(rt: Runtime, this: str, pattern: str, replacement: str, amount: int = 1) -> str:
    if amount < 1:
        raise invalid_argument("count", "must be greater than or equal to 1")
    scan(rt, this)
    if not pattern:  # matches at the start again and again
        check_growth(rt, len(this), len(replacement), amount)
        return sized(rt, replacement * amount + this)
    check_growth(rt, len(this), len(replacement), min(amount, this.count(pattern)))
    return sized(rt, this.replace(pattern, replacement, amount))


@method(S, "replaceAll", "(pattern: String, replacement: String)")
def replace_all(rt: Runtime, this: str, pattern: str, replacement: str) -> str:
    scan(rt, this)
    if not pattern:
        if not replacement:
            raise invalid_argument("pattern", "an empty pattern never stops matching")
        raise too_large(f"string size {STRING_UNITS_MAX + 1} exceeds limit {STRING_UNITS_MAX}")
    check_growth(rt, len(this), len(replacement), this.count(pattern))
    return sized(rt, this.replace(pattern, replacement))


def check_growth(rt: Runtime, length: int, part: int, times: int) -> None:
    """Refuse a result that is too long before it is built."""
    if part * times > STRING_UNITS_MAX:
        raise too_large(f"string size {part * times} exceeds limit {STRING_UNITS_MAX}")
    rt.tick((length + part * times) >> 6)


@method(S, "slice", "(start: Int)", "(start: Int, end: Int)")
def slice_(rt: Runtime, this: str, start: int, end: int | None = None) -> str:
    start = max(0, start)
    return this[start:] if end is None else this[start : max(start, end)]


@method(S, "split", "(separator: String)")
def split(rt: Runtime, this: str, separator: str) -> list[str]:
    scan(rt, this)
    if separator:
        parts = this.split(separator)
        rt.tick(len(parts))
        return parts
    rt.tick(len(this))
    if units(this) == 1:
        return [this, ""]
    return cut_units(this) if this else [""]


def cut_units(text: str) -> list[str]:
    """Return every UTF-16 unit as a string of its own."""
    raw = text.encode("utf-16-be", "surrogatepass")
    return [chr(raw[i] << 8 | raw[i + 1]) for i in range(0, len(raw), 2)]


@method(S, "splitAt", "(index: Int)")
def split_at(rt: Runtime, this: str, index: int) -> list[str]:
    if not 0 <= index <= len(this):
        raise out_of_bounds(index, len(this))
    return [this[:index], this[index:]]


@method(S, "toLowerCase")
def to_lower_case(rt: Runtime, this: str) -> str:
    return sized(rt, this.lower())


@method(S, "toUpperCase")
def to_upper_case(rt: Runtime, this: str) -> str:
    return sized(rt, this.upper())


IGNORABLE = frozenset(
    [0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810),
     *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0x3164,
     *range(0xFE00, 0xFE10), 0xFEFF, 0xFFA0, *range(0xFFF0, 0xFFF9), *range(0x1BCA0, 0x1BCA4),
     *range(0x1D173, 0x1D17B), *range(0xE0000, 0xE1000)]
)  # fmt: skip


@method(S, "casefold", "()", "(format: String)")
def casefold(rt: Runtime, this: str, form: str = "NFKCCaseFold") -> str:
    scan(rt, this)
    match form:
        case "NFKCCaseFold":
            if this.isascii():
                return this.lower()
            return sized(rt, _nfkc_casefold(this))
        case "NFC" | "NFD" | "NFKC" | "NFKD":
            return sized(rt, unicodedata.normalize(form, this))
    raise invalid_argument(
        "format", "expected a casefold format (one of NFKCCaseFold, NFC, NFD, NFKC, or NFKD)"
    )


def _nfkc_casefold(text: str) -> str:
    """NFKC_Casefold of Unicode 3.13: fold, normalise, drop ignorable code points, until stable."""
    while True:
        kept = "".join(char for char in text if ord(char) not in IGNORABLE)
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", kept).casefold())
        folded = "".join(char for char in folded if ord(char) not in IGNORABLE)
        if folded == text:
            return text
        text = folded


def _radix(radix: int) -> int:
    if not 2 <= radix <= 36:
        raise invalid_argument("format", "invalid radix, expected a number from 2-36")
    return radix


@method(S, "parseInt", "()", "(radix: Int)")
def parse_int(rt: Runtime, this: str, radix: int = 10) -> int | None:
    return parse_integer(this, _radix(radix), INT_MIN, INT_MAX)


@method(S, "parseLong", "()", "(radix: Int)")
def parse_long(rt: Runtime, this: str, radix: int = 10) -> int | None:
    value = parse_integer(this, _radix(radix), LONG_MIN, LONG_MAX)
    return None if value is None else Long(value)


@method(S, "parseDouble")
def parse_double_(rt: Runtime, this: str) -> float | None:
    return parse_double(this)


@method(S, "parseNumber")
def parse_number_(rt: Runtime, this: str) -> Any:
    return parse_number(this)


@method(S, "toString")
def to_string(rt: Runtime, this: str) -> str:
    return this
