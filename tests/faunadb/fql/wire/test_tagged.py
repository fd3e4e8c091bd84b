"""Values on the wire: tagged, simple, decorated."""

import json
import math
import os
from typing import Any

import msgspec
import pytest
from fauna.encoding import FaunaDecoder, FaunaEncoder
from hypothesis import given, settings
from hypothesis import strategies as st

from faunadb.errors import QueryError
from faunadb.fql.result import (
    DocumentResult,
    EventSourceResult,
    IdResult,
    ModuleResult,
    OpaqueResult,
    PageResult,
    ReferenceResult,
    SetTokenResult,
)
from faunadb.fql.tagged import (
    DocumentArgument,
    Format,
    ModuleArgument,
    ValueRefused,
    decode_simple,
    decode_tagged,
    encode_error,
    encode_result,
    fill_transaction_time,
)
from faunadb.fql.times import TIME_MAX, TIME_MIN
from faunadb.values import TRANSACTION_TIME, Date, Long, Time, Uuid

FUZZ = int(os.environ.get("FAUNA_FUZZ", "300"))
NOON = Time(1_676_030_400_123_000_000)
PERSON = DocumentResult("Person", 7, None, 1_676_030_400_000_000, NOON, {"name": "Ada", "data": {}})
UUID = Uuid(bytes(range(16)))

ENCODED: list[tuple[Any, ...]] = [
    (None, None, None, "null"),
    (True, True, True, "true"),
    ('a"b\n#{x}', 'a"b\n#{x}', 'a"b\n#{x}', '"a\\"b\\n\\#{x}"'),
    (42, {"@int": "42"}, 42, "42"),
    (-(2**31), {"@int": "-2147483648"}, -(2**31), "-2147483648"),
    (2**31, {"@long": "2147483648"}, 2**31, "2147483648"),
    (Long(1), {"@long": "1"}, 1, "1"),
    (1.5, {"@double": "1.5"}, 1.5, "1.5"),
    (1e10, {"@double": "1.0E10"}, 1e10, "1.0E10"),
    (math.nan, {"@double": "NaN"}, "NaN", "NaN"),
    (-math.inf, {"@double": "-Infinity"}, "-Infinity", "-Infinity"),
    (b"\x00\xff", {"@bytes": "AP8="}, "AP8=", 'Bytes("AP8=")'),
    (
        NOON,
        {"@time": "2023-02-10T12:00:00.123Z"},
        "2023-02-10T12:00:00.123Z",
        'Time("2023-02-10T12:00:00.123Z")',
    ),
    (Date(1), {"@date": "1970-01-02"}, "1970-01-02", 'Date("1970-01-02")'),
    (
        UUID,
        {"@uuid": "00010203-0405-0607-0809-0a0b0c0d0e0f"},
        "00010203-0405-0607-0809-0a0b0c0d0e0f",
        'UUID("00010203-0405-0607-0809-0a0b0c0d0e0f")',
    ),
    ([], [], [], "[]"),
    ([1], [{"@int": "1"}], [1], "[\n  1\n]"),
    ({}, {}, {}, "{}"),
    ({"a": {"b c": "x"}}, {"a": {"b c": "x"}}, {"a": {"b c": "x"}}, None),
    ({"@a": 1}, {"@object": {"@a": {"@int": "1"}}}, {"@a": 1}, '{\n  "@a": 1\n}'),
    (IdResult(3), "3", "3", 'ID("3")'),
    (ModuleResult("Person"), {"@mod": "Person"}, "Person", "Person"),
    (
        ReferenceResult("Person", 7, None),
        {"@ref": {"id": "7", "coll": {"@mod": "Person"}}},
        {"id": "7", "coll": "Person"},
        'Person("7")',
    ),
    (
        ReferenceResult("Collection", None, "Person"),
        {"@ref": {"name": "Person", "coll": {"@mod": "Collection"}}},
        {"name": "Person", "coll": "Collection"},
        'Collection.byName("Person")',
    ),
    (
        ReferenceResult("Person", 7, None, "not found"),
        {
            "@ref": {
                "id": "7",
                "coll": {"@mod": "Person"},
                "exists": False,
                "cause": "not found",
            }
        },
        None,
        'Person("7") /* not found */',
    ),
    (
        PERSON,
        {
            "@doc": {
                "id": "7",
                "coll": {"@mod": "Person"},
                "ts": {"@time": "2023-02-10T12:00:00Z"},
                "ttl": {"@time": "2023-02-10T12:00:00.123Z"},
                "name": "Ada",
                "data": {},
            }
        },
        {
            "id": "7",
            "coll": "Person",
            "ts": "2023-02-10T12:00:00Z",
            "ttl": "2023-02-10T12:00:00.123Z",
            "name": "Ada",
            "data": {},
        },
        (
            '{\n  id: "7",\n  coll: Person,\n  ts: Time("2023-02-10T12:00:00Z"),\n'
            '  ttl: Time("2023-02-10T12:00:00.123Z"),\n  name: "Ada",\n  data: {}\n}'
        ),
    ),
    (
        PageResult([1], "next"),
        {"@set": {"data": [{"@int": "1"}], "after": "next"}},
        {"data": [1], "after": "next"},
        '{\n  data: [\n    1\n  ],\n  after: "next"\n}',
    ),
    (PageResult([], None), {"@set": {"data": []}}, {"data": []}, "{\n  data: []\n}"),
    (SetTokenResult("abc"), {"@set": "abc"}, "abc", '"abc"'),
    (EventSourceResult("abc"), {"@stream": "abc"}, "abc", '"abc"'),
    (OpaqueResult("[function <lambda>]"), *["[function <lambda>]"] * 3),
]


@pytest.mark.parametrize(("result", "tagged", "simple", "text"), ENCODED)
def test_a_result_is_written_in_each_format(
    result: Any, tagged: Any, simple: Any, text: str | None
) -> None:
    """Every kind of result has one encoding per format."""
    assert tagged == json.loads(encode_result(result, Format.TAGGED))
    assert simple == json.loads(encode_result(result, Format.SIMPLE))
    if text is not None:
        assert text == json.loads(encode_result(result, Format.DECORATED))


@pytest.mark.parametrize("form", list(Format))
def test_the_time_of_the_transaction_is_filled_in_later(form: Format) -> None:
    """Every place gets the text of the entry's time; a user's own NULs stay what they are."""
    doc = DocumentResult("P", 1, None, None, None, {"a": TRANSACTION_TIME, "b": "\0ts\0"})
    filled = fill_transaction_time(encode_result([doc], form), 1_676_030_400_000_001)

    assert 2 == filled.count(b"2023-02-10T12:00:00.000001Z")
    assert 1 == filled.count(b"0ts")


def test_abort_travels_in_the_format_of_the_request() -> None:
    """An aborted query shows its value."""
    error = QueryError("abort", "Query aborted.", abort=[1])

    assert {"code": "abort", "message": "Query aborted.", "abort": [{"@int": "1"}]} == json.loads(
        encode_error(error, Format.TAGGED)
    )


def test_constraint_failures_have_paths_and_messages() -> None:
    """A violated constraint names its fields."""
    error = QueryError(
        "constraint_failure",
        "Failed unique constraint.",
        constraint_failures=(((("a",), ("b", 0)), "Failed unique constraint"),),
    )

    assert [{"paths": [["a"], ["b", 0]], "message": "Failed unique constraint"}] == json.loads(
        encode_error(error, Format.TAGGED)
    )["constraint_failures"]


def test_a_result_that_nests_too_deep_is_an_error_of_the_query() -> None:
    """A deep result never ends the program."""
    result: Any = 1
    for _ in range(20_000):
        result = [result]

    for form in Format:
        with pytest.raises(QueryError, match="nests too deep"):
            encode_result(result, form)


@pytest.mark.parametrize(
    ("given_json", "value"),
    [
        ({"@int": "+42"}, 42),
        ({"@long": "42"}, Long(42)),
        ({"@long": "-9223372036854775808"}, -(2**63)),
        ({"@double": "1e3"}, 1000.0),
        ({"@double": "-Infinity"}, -math.inf),
        ({"@time": "2023-02-10T13:00:00.123+01:00"}, NOON),
        ({"@date": "1970-01-02"}, Date(1)),
        ({"@bytes": "AP8"}, b"\x00\xff"),
        ({"@mod": "Math"}, ModuleArgument("Math")),
        ({"@object": {"@int": "x", "b": {"@int": "1"}}}, {"@int": "x", "b": 1}),
        ({"a": [{"@int": "1"}, None, True]}, {"a": [1, None, True]}),
        ({"@doc": "Person:7"}, DocumentArgument("Person", 7, None, "@doc")),
        (
            {"@doc": {"id": "7", "coll": {"@mod": "Person"}, "ts": {"@time": "x"}}},
            DocumentArgument("Person", 7, None, "@doc"),
        ),
        (
            {"@ref": {"name": "P", "coll": {"@mod": "Collection"}}},
            DocumentArgument("Collection", None, "P", "@ref"),
        ),
    ],
)
def test_a_tagged_value_is_decoded(given_json: Any, value: Any) -> None:
    """Each tag gives its value, and the exact type."""
    decoded = decode_tagged(given_json)

    assert value == decoded
    assert type(value) is type(decoded)


@pytest.mark.parametrize(
    ("given_json", "text"),
    [
        (1, "numbers must be tagged"),
        ([1.5], "numbers must be tagged"),
        ({"@int": "1", "a": None}, "too many keys in tagged value"),
        ({"@int": "x"}, "invalid integer"),
        ({"@int": "1_0"}, "invalid integer"),
        ({"@int": "2147483648"}, "invalid integer"),
        ({"@int": "9" * 10_000}, "invalid integer"),
        ({"@long": "9223372036854775808"}, "invalid long"),
        ({"@double": " 1"}, "invalid double"),
        ({"@double": "inf"}, "invalid double"),
        ({"@time": "yesterday"}, "invalid time"),
        ({"@date": "2023-02-30"}, "invalid date"),
        ({"@bytes": "a-_"}, "invalid bytes"),
        ({"@bytes": "ä"}, "invalid bytes"),
        ({"@int": 1}, "@int requires a string value"),
        ({"@mod": None}, "@mod requires a string value"),
        ({"@object": []}, "@object requires an object value"),
        ({"@set": "x"}, "invalid tag '@set'"),
        ({"@uuid": "x"}, "invalid tag '@uuid'"),
        ({"@": "x"}, "invalid tag '@'"),
        ({"@doc": "Person"}, "doc id must be in the format <coll>:<id>"),
        ({"@doc": "Person:x"}, "invalid document id 'x'"),
        ({"@ref": "Person:1"}, "@ref requires an object value"),
        ({"@ref": {"id": "1"}}, "@ref field 'coll' is required"),
        ({"@doc": {"coll": {"@mod": "P"}}}, "@doc field 'id' is required"),
        ({"@doc": {"coll": "P", "id": "1"}}, "@doc field 'coll' requires a module value"),
        ({"@ref": {"coll": {"@mod": "P"}, "id": 1}}, "@ref field 'id' requires a string value"),
        ({"@ref": {"coll": {"@mod": "P"}, "id": "x"}}, "@ref field 'id' must be an integer"),
    ],
)
def test_a_wrong_tag_is_refused_with_its_text(given_json: Any, text: str) -> None:
    """Each refusal says what is wrong, in the words of the original."""
    with pytest.raises(ValueRefused) as refused:
        decode_tagged(given_json)
    assert text == str(refused.value)


def test_plain_numbers_keep_their_size() -> None:
    """In simple format the size of a number is its type, and beyond 64 bits it is a double."""
    assert [1, 2**40, 1e30, 1.0] == decode_simple([1, 2**40, 10**30, 1.0])
    assert float is type(decode_simple(10**30))


def test_deep_values_are_refused() -> None:
    """Nesting ends before Python's stack does."""
    value: Any = None
    for _ in range(400):
        value = [value]

    for decode in (decode_tagged, decode_simple):
        with pytest.raises(ValueRefused, match="nesting limit"):
            decode(value)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
    | st.integers(TIME_MIN.nanos, TIME_MAX.nanos).map(Time)
    | st.integers(-(10**6), 10**6).map(Date),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("@ab"), inner),
    max_leaves=20,
)


@settings(max_examples=FUZZ)
@given(VALUES)
def test_what_is_encoded_decodes_to_itself(value: Any) -> None:
    """Tagged values survive the round trip, keys with @ included."""
    assert value == decode_tagged(json.loads(encode_result(value, Format.TAGGED)))


@settings(max_examples=FUZZ)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_categories=["Cs"])),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["@int", "@doc", "a", "b"]), inner)
        ),
        max_leaves=20,
    )
)
def test_the_official_driver_reads_what_we_write(value: Any) -> None:
    """Python's driver decodes our values and encodes what we decode."""
    ours = json.loads(encode_result(value, Format.TAGGED))

    assert value == FaunaDecoder.decode(ours)
    assert value == decode_tagged(FaunaEncoder.encode(value))


TAGS = [
    "@int",
    "@long",
    "@double",
    "@time",
    "@date",
    "@bytes",
    "@mod",
    "@doc",
    "@ref",
    "@object",
    "@set",
    "coll",
    "id",
    "name",
    "@x",
    "",
]


@settings(max_examples=FUZZ)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(TAGS), inner, max_size=2),
        max_leaves=10,
    )
)
def test_lying_tags_are_refused_and_nothing_worse(value: Any) -> None:
    """Whatever JSON says, decoding gives a value or a refusal."""
    try:
        decode_tagged(value)
    except ValueRefused:
        return


def test_a_raw_marker_never_survives_a_string() -> None:
    """msgspec escapes NUL, which the sentinel of transaction time stands on."""
    assert b"\x00" not in msgspec.json.encode("\0ts\0")
