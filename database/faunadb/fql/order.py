"""When two values are equal, and which one comes first: four relations, all of the original.

    equal        `==`: numbers across types, a missing document is null, unlike types differ
    same         structural: `includes`, `distinct`; NaN is nothing's equal
    less         `<`: within one type, else None (all four operators then say false)
    sort_key     the total order of `order()`: number < Bytes < String < Array < … < null

Trap: `==` compares doubles totally (NaN == NaN, 0.0 != -0.0), `same` does the opposite.
"""

import math
from typing import Any

from faunadb.fql.documents import read
from faunadb.fql.runtime import (
    BoundMethod,
    Collection,
    Cursor,
    Doc,
    EventSource,
    Id,
    Lambda,
    Module,
    Runtime,
    SetValue,
    UserFunction,
)
from faunadb.values import Date, Long, Time, TransactionTime, Uuid

_INTEGERS = frozenset({int, Long})
_SCALARS = frozenset({str, bytes, bool, Time, Date, Uuid, TransactionTime, Cursor})


def equal(rt: Runtime, left: Any, right: Any) -> bool:
    """`==`."""
    a, b = type(left), type(right)
    if a is b and (a is str or a is int or a is bool):
        return bool(left == right)
    if left is right:
        return True
    if left is None or right is None:
        other = right if left is None else left
        return type(other) is Doc and read(rt, other) is None
    if a is float or b is float:
        return _equal_doubles(left, right)
    if a in _INTEGERS and b in _INTEGERS:
        return bool(left == right)
    if a is Id or b is Id:
        return _id_of(left, numbers=True) == _id_of(right, numbers=True) is not None
    if a is not b:
        return False
    return _equal_containers(rt, left, right)


def _equal_doubles(left: Any, right: Any) -> bool:
    if type(left) is bool or type(right) is bool:
        return False
    if type(left) not in (int, Long, float) or type(right) not in (int, Long, float):
        return False
    a, b = float(left), float(right)
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return a == b and math.copysign(1.0, a) == math.copysign(1.0, b)


def _id_of(value: Any, *, numbers: bool) -> int | None:
    """Return the id that a value spells: an ID, a numeric string, or (for `==`) an integer."""
    kind = type(value)
    if kind is Id:
        return int(value.value)
    if kind is str and len(value) <= 20 and value.lstrip("+-").isdecimal():
        try:
            return int(value)
        except ValueError:
            return None
    return int(value) if numbers and kind in _INTEGERS else None


def _equal_containers(rt: Runtime, left: Any, right: Any) -> bool:
    rt.tick(1)
    match left:
        case list():
            return len(left) == len(right) and all(
                equal(rt, a, b) for a, b in zip(left, right, strict=True)
            )
        case dict():
            return left.keys() == right.keys() and all(
                equal(rt, value, right[key]) for key, value in left.items()
            )
        case Lambda() | BoundMethod():
            return False
    return bool(left == right)


def same(rt: Runtime, left: Any, right: Any) -> bool:
    """Structural equality of `includes`, `indexOf`, `distinct`."""
    a, b = type(left), type(right)
    if a is b and (a is str or a is int or a is bool):
        return bool(left == right)
    if left is None or right is None:
        return left is right
    if a is bool or b is bool:
        return False
    if a in (int, Long, float) and b in (int, Long, float):
        return bool(left == right)
    if a is Id or b is Id:
        return _id_of(left, numbers=False) == _id_of(right, numbers=False) is not None
    if a is not b:
        return False
    rt.tick(1)
    if a is list:
        return len(left) == len(right) and all(
            same(rt, x, y) for x, y in zip(left, right, strict=True)
        )
    if a is dict:
        return bool(left.keys() == right.keys()) and all(
            same(rt, value, right[key]) for key, value in left.items()
        )
    return left is right or bool(left == right)


def hash_key(value: Any) -> Any:
    """Return what `distinct` compares first: kept apart are 1 and 1.0, ID("1") and "1"."""
    kind = type(value)
    if kind is list:
        return (list, tuple(hash_key(item) for item in value))
    if kind is dict:
        return (dict, frozenset((key, hash_key(item)) for key, item in value.items()))
    if kind is Long:
        return (int, int(value))
    if kind is float and value == 0.0:
        return (float, 0.0)
    return (kind, value)


# ---------------------------------------------------------------- order


def utf16(text: str) -> str:
    """Return a string whose order by code point is the order of `text` by UTF-16 unit."""
    if text.isascii() or max(text) < "\ud800":
        return text
    raw = text.encode("utf-16-be", "surrogatepass")
    return "".join(chr(raw[i] << 8 | raw[i + 1]) for i in range(0, len(raw), 2))


def compare(rt: Runtime, left: Any, right: Any) -> int | None:
    """Return -1, 0, 1 for the operators `<` and its kin, None for unlike types."""
    a, b = type(left), type(right)
    if a is b:
        if a is int:
            return _three(left, right)
        if a is str:
            return _three(utf16(left), utf16(right))
    if a in (int, Long, float) and b in (int, Long, float):
        return _three(_number_key(left), _number_key(right))
    if a is Id or b is Id:
        x, y = _id_of(left, numbers=True), _id_of(right, numbers=True)
        return None if x is None or y is None else _three(x, y)
    if left is right:
        return 0
    if a is not b:
        return None
    if a in (list, dict):
        return _three(sort_key(rt, left), sort_key(rt, right)) or -1
    if a is Uuid:
        return _three(_uuid_key(left), _uuid_key(right))
    if a is Doc:
        return _three((left.id, left.name or ""), (right.id, right.name or ""))
    if a in _SCALARS:
        return 0 if left == right else (-1 if left < right else 1)
    return None


def _three(left: Any, right: Any) -> int:
    return int(left > right) - int(left < right)


def _number_key(value: float) -> tuple[bool, float, float]:
    """NaN is the largest, -0.0 below 0.0."""
    if type(value) is float:
        if math.isnan(value):
            return (True, 0, 0)
        return (False, value, math.copysign(1.0, value) if value == 0.0 else 1.0)
    return (False, value, 1.0)


def _uuid_key(value: Uuid) -> tuple[int, int]:
    """Java compares a UUID as two signed longs."""
    high = int.from_bytes(value.raw[:8], "big", signed=True)
    return high, int.from_bytes(value.raw[8:], "big", signed=True)


_RANKS: dict[type, int] = {
    int: 0, Long: 0, float: 0, bytes: 1, str: 2, list: 3, dict: 4, Id: 5, Doc: 6, Time: 7,
    TransactionTime: 8, Date: 9, Uuid: 10, bool: 11, Module: 12, Collection: 12,
    Cursor: 14, Lambda: 15, UserFunction: 16, BoundMethod: 16, EventSource: 17, type(None): 18,
}  # fmt: skip
_SET_RANK = 13


def sort_key(rt: Runtime, value: Any) -> Any:
    """Return a key whose order is the total order; equal containers tie."""
    kind = type(value)
    if kind is str:
        return (2, utf16(value))
    if kind in (int, Long, float):
        return (0, _number_key(value))
    rt.tick(1)
    rank = _SET_RANK if isinstance(value, SetValue) else _RANKS[kind]
    match value:
        case list():
            return (rank, tuple(sort_key(rt, item) for item in value))
        case dict():
            return (rank, tuple((utf16(key), sort_key(rt, value[key])) for key in sorted(value)))
        case bytes() | Time() | Date() | bool():
            return (rank, value)
        case Id():
            return (rank, value.value)
        case Doc():
            return (rank, value.id, value.coll, value.name or "")
        case Uuid():
            return (rank, _uuid_key(value))
        case Module() | Collection():
            return (rank, value.name)
        case Cursor():
            return (rank, value.text)
    return (rank,)
