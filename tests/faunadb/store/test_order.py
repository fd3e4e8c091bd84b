"""Index keys order values as the documentation says, and tell apart what differs."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from faunadb.store.collation import string_key
from faunadb.store.keys import VALUES_PREFIX_BYTES, encoded_terms, successor, values_key
from faunadb.store.order import array_prefix, order_key, order_keys, resolved, waits_for_time
from faunadb.values import TRANSACTION_TIME, Long, Time, Value
from store_test_helpers.values import compare, texts, values

TYPES_IN_ORDER: list[Value] = [
    float("-inf"),
    -(2**63),
    -1.5,
    -1,
    -0.0,
    0,
    Long(1),
    1.5,
    2**53,
    2**53 + 1,
    2**63 - 1,
    2.0**63,
    float("inf"),
    float("nan"),
    b"",
    b"\x00",
    b"\x00\x00",
    b"\x01",
    b"\xff",
    "",
    "\t",
    " ",
    "_",
    "-",
    "0",
    "9",
    "a",
    "A",
    "ab",
    "Ab",
    "b",
    "é",
    "z",
    "\u03b1",
    [],
    [1],
    [1, 2],
    [2],
    ["a"],
    {},
    {"a": 1},
    {"a": 1, "b": 1},
    {"a": 2},
    {"b": 0},
    Time(-1),
    Time(0),
    False,
    True,
    None,
]


def test_the_order_of_types_and_values() -> None:
    """Numbers, bytes, strings, arrays, objects, times, booleans, null: each in its order."""
    assert TYPES_IN_ORDER == sorted(TYPES_IN_ORDER, key=order_key)
    keys = [order_key(value) for value in TYPES_IN_ORDER]
    assert len(keys) == len(set(keys))


def test_numbers_are_ordered_by_value_across_types() -> None:
    """1 and 1.0 stand at one place; an accent is minor, upper case comes behind lower."""
    assert order_key(1) == order_key(1.0) == order_key(Long(1))
    assert ["cote", "Cote", "coté", "côte", "côté", "coter"] == sorted(
        ["coter", "côté", "coté", "Cote", "côte", "cote"], key=order_key
    )


@settings(max_examples=300, deadline=None)
@given(values, values)
@example("\uff41", "A")
@example("a", "a\x00")
@example(2**53 + 1, 2.0**53)
@example(float("nan"), float("inf"))
def test_keys_compare_like_values(one: Value, other: Value) -> None:
    """Bytes of keys stand as the values do; descending turns that round."""
    wanted = compare(one, other)
    keys = order_key(one), order_key(other)
    assert wanted == (keys[0] > keys[1]) - (keys[0] < keys[1])
    turned = order_key(one, descending=True), order_key(other, descending=True)
    assert -wanted == (turned[0] > turned[1]) - (turned[0] < turned[1])


@settings(max_examples=200, deadline=None)
@given(values, values, st.booleans())
def test_no_key_begins_another(one: Value, other: Value, descending: bool) -> None:
    """Keys can be joined: none is the beginning of a different one."""
    keys = [order_key(value, descending=descending) for value in (one, other)]
    assert keys[0] == keys[1] or not keys[1].startswith(keys[0])


@settings(max_examples=200, deadline=None)
@given(st.lists(values, max_size=3), values)
def test_a_longer_array_has_the_prefix_of_the_shorter(some: list[Value], more: Value) -> None:
    """The prefix of an array begins its own key and that of each longer one."""
    for descending in (False, True):
        prefix = array_prefix(some, descending=descending)
        for array in (some, [*some, more]):
            assert order_key(array, descending=descending).startswith(prefix)


@settings(max_examples=200, deadline=None)
@given(texts, texts)
def test_string_keys_are_equal_only_for_equal_strings(one: str, other: str) -> None:
    """Ties of collation are broken."""
    assert (one == other) == (string_key(one) == string_key(other))


def test_long_strings_keep_order_up_to_the_cut_and_stay_apart() -> None:
    """Cut keys fit, agree on equality, and are ordered by their beginning."""
    one, other = "a" * 300 + "x", "a" * 300 + "y"
    keys = [values_key([text], [False]) for text in (one, other, "b", "A" * 300)]

    assert keys[0] != keys[1]
    assert keys[0][:VALUES_PREFIX_BYTES] == keys[1][:VALUES_PREFIX_BYTES]
    assert max(keys[0], keys[1]) < keys[2]
    assert keys[0] == values_key([one], [False])
    assert all(len(key) <= VALUES_PREFIX_BYTES + 16 for key in keys)


@pytest.mark.parametrize("value", ["é" * 300 + "x", "\x00" * 300, "x" * 100_000, [["a"]] * 2000])
def test_any_length_has_a_key(value: Value) -> None:
    """Length costs a hash, not an error, in the order of values."""
    assert len(values_key([value, None], [True, False])) <= VALUES_PREFIX_BYTES + 16


def test_terms_are_told_apart_by_type_but_not_by_order_of_keys() -> None:
    """1 does not find 1.0; objects are equal whatever order they were written in."""
    assert encoded_terms([1]) != encoded_terms([1.0])
    assert encoded_terms([[{"a": 1, "b": 2}]]) == encoded_terms([[{"b": 2, "a": 1}]])


def test_values_go_in_their_own_directions() -> None:
    """Each position of a tuple has its own direction."""
    tuples = [(2, 1), (2, 2), (1, 1)]
    assert tuples == sorted(sorted(tuples), key=lambda pair: order_keys(pair, (True, False)))


def test_the_time_of_a_transaction_has_no_place_before_it_is_known() -> None:
    """A placeholder is refused until it is resolved, at any depth."""
    value: Value = {"a": [1, TRANSACTION_TIME]}
    with pytest.raises(AssertionError, match="no place"):
        order_key(value)
    assert waits_for_time(value)
    assert {"a": [1, Time(5)]} == resolved(value, Time(5))
    assert not waits_for_time(resolved(value, Time(5)))


def test_a_successor_skips_bytes_that_cannot_grow() -> None:
    """The first key that does not begin with a prefix, whatever that ends in."""
    assert b"b" == successor(b"a\xff\xff")
    assert b"ab" == successor(b"aa")
