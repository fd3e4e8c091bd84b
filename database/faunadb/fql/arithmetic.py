"""Arithmetic of Int, Long and Double: 64-bit integers that overflow into doubles.

An integer result is an Int when it fits 32 bits, whatever it came from (functions.yaml,
operators). Java shows: `/` and `%` truncate toward zero.
Trap: `Long` is a subclass of `int` whose results are plain `int`; `bool` is none of ours.
"""

import math
import re
from typing import Any

from faunadb.errors import QueryError
from faunadb.fql.decorated import java_double
from faunadb.values import INT_MAX, INT_MIN, LONG_MAX, LONG_MIN, Long

POWER_BITS_MAX = 1100  # beyond a double's range anyway
Number = int | float
NUMBERS = frozenset({int, Long, float})
_INTEGER = re.compile(r"[+-]?\d+\Z")
_DOUBLE = re.compile(r"[+-]?(NaN|Infinity|((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?)[fFdD]?)\Z", re.ASCII)
_HEX_DOUBLE = re.compile(
    r"[+-]?0[xX]([0-9a-fA-F]+\.?|[0-9a-fA-F]*\.[0-9a-fA-F]+)[pP][+-]?\d+[fFdD]?\Z", re.ASCII
)


def is_number(value: Any) -> bool:
    return type(value) in NUMBERS


def narrow(value: int) -> Number:
    """Return an exact integer result as Int, Long, or (beyond 64 bits) Double."""
    if LONG_MIN <= value <= LONG_MAX:
        return int(value)
    return to_double(value)


def to_double(value: Number) -> float:
    """Round to a double; integers beyond its range become infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def divide(left: Number, right: Number) -> Number:
    if type(left) is float or type(right) is float:
        a, b = float(left), float(right)
        if b != 0.0:
            return a / b
        if a == 0.0 or math.isnan(a) or math.isnan(b):
            return math.nan
        return math.copysign(math.inf, a) * math.copysign(1.0, b)
    if right == 0:
        raise divided_by_zero()
    quotient = abs(left) // abs(right)
    return narrow(int(quotient if (left < 0) == (right < 0) else -quotient))


def remainder(left: Number, right: Number) -> Number:
    if type(left) is float or type(right) is float:
        a, b = float(left), float(right)
        if b == 0.0 or math.isinf(a) or math.isnan(a) or math.isnan(b):
            return math.nan
        return math.fmod(a, b)
    if right == 0:
        raise divided_by_zero()
    rest = int(abs(left) % abs(right))
    return -rest if left < 0 else rest


def divided_by_zero() -> QueryError:
    return QueryError("divide_by_zero", "Attempted integer division by zero.")


def power(left: Number, right: Number) -> Number:
    """`**`: exact for integers as long as the result fits, then a Double."""
    if type(left) is float or type(right) is float or right < 0:
        return float_power(to_double(left), to_double(right))
    exponent = int(right)
    if exponent == 0:
        return 1
    if left in (0, 1):
        return int(left)
    if left == -1:
        return -1 if exponent % 2 else 1
    if int(left).bit_length() * exponent > POWER_BITS_MAX * 2:
        return -math.inf if left < 0 and exponent % 2 else math.inf
    return narrow(int(left) ** exponent)


def float_power(base: float, exponent: float) -> float:
    """Java's Math.pow: IEEE where Python raises."""
    if exponent == 0.0:
        return 1.0
    if math.isnan(exponent) or (abs(base) == 1.0 and math.isinf(exponent)):
        return math.nan
    odd = exponent.is_integer() and exponent % 2 == 1
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return -math.inf if base < 0 and odd else math.inf
    except ValueError:
        if base == 0.0:
            return math.copysign(math.inf, base) if odd else math.inf
        return math.nan


def negate(value: Number) -> Number:
    """Keep the type; the smallest Int and Long wrap to themselves."""
    if type(value) is float:
        return -value
    if value in (INT_MIN, LONG_MIN):
        return value
    return Long(-value) if type(value) is Long else -value


def absolute(value: Number) -> Number:
    return (
        negate(value)
        if value < 0 or ((value == 0 and type(value) is float) and (math.copysign(1.0, value) < 0))
        else value
    )


def to_long(value: Number) -> int:
    """Truncate like a Java cast: saturating, NaN is 0."""
    if type(value) is float:
        if math.isnan(value):
            return 0
        if math.isinf(value):
            return LONG_MAX if value > 0 else LONG_MIN
        return max(LONG_MIN, min(LONG_MAX, int(value)))
    return int(value)


def wrap(value: int) -> int:
    """Keep the low 64 bits, signed."""
    return (value + 2**63) % 2**64 - 2**63


def display_double(value: float) -> str:
    """Spell a double for people: whole ones without a fraction."""
    if math.isfinite(value) and value.is_integer():
        return f"{value:.0f}"
    return java_double(value)


def parse_integer(text: str, radix: int, low: int, high: int) -> int | None:
    """Read an integer as Java does: sign, digits of any script, nothing else."""
    if len(text) > 200 or "_" in text:
        return None
    if radix == 10 and not _INTEGER.match(text):
        return None
    body = text[1:] if text[:1] in ("+", "-") else text
    if not body or not all(
        char.isdecimal() or (char.isascii() and char.isalpha()) for char in body
    ):
        return None
    if not all(int(char, 36) < radix for char in body):
        return None  # Python also reads prefixes such as 0x
    value = int(body, radix)
    value = -value if text[0] == "-" else value
    return value if low <= value <= high else None


def parse_double(text: str) -> float | None:
    """Read a double as Java does."""
    text = text.strip("".join(map(chr, range(33))))
    if len(text) > 10_000:
        return None
    if _HEX_DOUBLE.match(text):
        return float.fromhex(text.rstrip("fFdD"))
    if not _DOUBLE.match(text):
        return None
    if text.endswith(("NaN", "Infinity")):
        return float(text)
    return float(text.rstrip("fFdD"))


def parse_number(text: str) -> Number | None:
    """Try Int, Long, then Double."""
    small = parse_integer(text, 10, INT_MIN, INT_MAX)
    if small is not None:
        return small
    large = parse_integer(text, 10, LONG_MIN, LONG_MAX)
    return large if large is not None else parse_double(text)
