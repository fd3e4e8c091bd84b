"""Strategies for storable values, and the order of an index said once more, in slow words."""

import functools
import struct
from fractions import Fraction
from math import isnan
from typing import Any

from hypothesis import strategies as st
from pyuca.collator import Collator_10_0_0

from faunadb.values import Date, Long, Ref, Time, Uuid, Value

COLLATOR = Collator_10_0_0()

numbers: st.SearchStrategy[Value] = st.one_of(
    st.integers(-3, 3),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([2**53 + delta for delta in range(-3, 4)]),
    st.integers(-(2**31), 2**31 - 1).map(Long),
    st.floats(),
    st.sampled_from([0.0, -0.0, 2.0**53, 2.0**63, 1.5, float("nan")]),
)
texts = st.one_of(st.text("aAbB -_1\x00é", max_size=5), st.text(max_size=8))
scalars: st.SearchStrategy[Value] = st.one_of(
    st.none(),
    st.booleans(),
    numbers,
    texts,
    st.binary(max_size=4),
    st.integers(-(10**15), 10**15).map(Time),
    st.integers(-(10**6), 10**6).map(Date),
    st.binary(min_size=16, max_size=16).map(Uuid),
    st.builds(Ref, st.integers(1024, 1026), st.integers(0, 2**63 - 1)),
)
values: st.SearchStrategy[Value] = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text("abc\x00é", max_size=2), inner, max_size=3),
    ),
    max_leaves=5,
)


def compare(one: Value, other: Value) -> int:
    """Return -1, 0 or 1 as `one` stands before, with or after `other` in an index."""
    ranks = _rank(one), _rank(other)
    if ranks[0] != ranks[1]:
        return _sign(before=ranks[0] < ranks[1])
    if isinstance(one, list):
        assert isinstance(other, list)
        return _compare_many([*one], [*other])
    if isinstance(one, dict):
        assert isinstance(other, dict)
        return _compare_many(_flat(one), _flat(other))
    keys = _scalar_key(one), _scalar_key(other)
    return 0 if keys[0] == keys[1] else _sign(before=keys[0] < keys[1])


in_index_order = functools.cmp_to_key(compare)


def _compare_many(one: list[Value], other: list[Value]) -> int:
    for mine, yours in zip(one, other, strict=False):
        found = compare(mine, yours)
        if found:
            return found
    return 0 if len(one) == len(other) else _sign(before=len(one) < len(other))


def _flat(value: dict[str, Value]) -> list[Value]:
    flat: list[Value] = []
    for name in sorted(value, key=lambda name: name.encode()):
        flat += [name.encode(), value[name]]
    return flat


def _sign(*, before: bool) -> int:
    return -1 if before else 1


def _rank(value: Value) -> int:
    if isinstance(value, bool):
        return 10 + value
    kinds = [int | float, bytes, str, list, dict, Ref, Time, Date, Uuid]
    return next((rank for rank, kind in enumerate(kinds) if isinstance(value, kind)), 12)


def _scalar_key(value: Value) -> Any:
    match value:
        case int():
            return (0, Fraction(value), 1)
        case float():
            return _double_key(value)
        case str():
            return _text_key(value)
        case Ref():
            return (value.coll, value.id)
        case Time() | Date() | Uuid():
            return value._key
    return value if isinstance(value, bytes) else None


def _double_key(value: float) -> Any:
    if isnan(value):
        return (2, 0, 0)
    if value in {float("inf"), float("-inf")}:
        return (1 if value > 0 else -1, 0, 0)
    negative_zero = struct.pack(">d", value)[0] == 0x80 and value == 0
    return (0, Fraction(value), 0 if negative_zero else 1)


def _text_key(text: str) -> Any:
    plain = text.isascii() and all(char.isprintable() or char in "\t\n\v\f\r" for char in text)
    return (COLLATOR.sort_key(text), b"" if plain else text.encode("utf-8", "surrogatepass"))
