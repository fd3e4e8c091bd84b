"""What is written is read back, equal bytes for equal values, and nothing else is accepted."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faunadb.codec import (
    FORMAT_VERSION,
    Answer,
    CloseForClients,
    HashPoint,
    LeaseWorker,
    OpenForClients,
    Payload,
    RaiseCeiling,
    RemoveVersions,
    RequestId,
    Transaction,
    decode_fields,
    decode_payload,
    decode_value,
    encode_payload,
    encode_value,
)
from faunadb.errors import Malformed
from faunadb.values import (
    TRANSACTION_TIME,
    Date,
    Fields,
    Long,
    Ref,
    Time,
    TransactionTime,
    Uuid,
    Value,
)
from store_test_helpers.values import values

FUZZED = 2000  # random inputs a decoder; the long run is `pytest --hypothesis-seed` with more
SAMPLES: list[tuple[Value, str]] = [
    (None, "c0"),
    (True, "c3"),
    (1, "01"),
    (Long(1), "01"),
    (1.0, "cb3ff0000000000000"),
    ("a", "a161"),
    (b"a", "c40161"),
    ([1], "9101"),
    ({"a": 1}, "81a16101"),
    (Time(1_000_000_001), "c70c01" + "0100000000000000" + "01000000"),
    (Date(-1), "d702" + "ff" * 8),
    (Uuid(bytes(16)), "d803" + "00" * 16),
    (Ref(1024, 5), "c70c04" + "00040000" + "0500000000000000"),
    (TRANSACTION_TIME, "c70005"),
]
requests = st.builds(RequestId, st.integers(0, 2**62), st.binary(min_size=16, max_size=16))
pairs = st.tuples(st.binary(max_size=20), st.one_of(st.none(), st.binary(max_size=20)))
answers = st.builds(
    Answer, st.integers(200, 599), st.binary(), st.text(), st.integers(0, 2**62), st.just(0)
)
payloads: st.SearchStrategy[Payload] = st.one_of(
    st.builds(
        Transaction,
        st.integers(0, 2**62),
        st.integers(0, 2**62),
        st.lists(pairs, max_size=4).map(tuple),
        st.one_of(st.none(), requests),
        st.one_of(st.none(), answers),
        st.binary(max_size=32),
    ),
    st.builds(RaiseCeiling, st.integers(0, 2**62)),
    st.builds(
        RemoveVersions, st.binary(), st.binary(), st.integers(0), st.integers(1), st.booleans()
    ),
    st.builds(HashPoint),
    st.builds(OpenForClients),
    st.builds(CloseForClients),
    st.builds(LeaseWorker, st.integers(0, 2**62), st.binary()),
).filter(lambda payload: all(abs(v) < 2**63 for v in _integers(payload)))


def _integers(payload: Payload) -> list[int]:
    return [
        item
        for item in (getattr(payload, name) for name in payload.__struct_fields__)
        if isinstance(item, int)
    ]


@pytest.mark.parametrize(("value", "encoded"), SAMPLES)
def test_the_bytes_of_values_stay(value: Value, encoded: str) -> None:
    """The format does not change by accident."""
    assert encoded == encode_value(value).hex()
    assert type(value) is Long or type(value) is type(decode_value(bytes.fromhex(encoded)))


@settings(max_examples=300, deadline=None)
@given(values)
def test_a_value_is_read_back(value: Value) -> None:
    """Encoding twice gives the same bytes, so nothing is lost (NaN is unlike itself)."""
    encoded = encode_value(value)
    assert encoded == encode_value(decode_value(encoded))
    assert encoded == encode_value(decode_value(memoryview(encoded)))


@settings(max_examples=200, deadline=None)
@given(payloads)
def test_a_payload_is_read_back(payload: Payload) -> None:
    """Every kind of payload survives the log."""
    encoded = encode_payload(payload)
    assert FORMAT_VERSION == encoded[0]
    assert payload == decode_payload(encoded)


@settings(max_examples=FUZZED, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_are_a_value_or_malformed(data: bytes) -> None:
    """Decoders are total: a result or `Malformed`, never another exception."""
    for decode in (decode_value, decode_fields, decode_payload):
        try:
            decode(data)
        except Malformed:
            continue


@settings(max_examples=300, deadline=None)
@given(payloads, st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_is_another_payload_or_malformed(
    payload: Payload, place: int, change: int
) -> None:
    """Damage is never another exception."""
    encoded = bytearray(encode_payload(payload))
    encoded[place % len(encoded)] ^= change
    for damaged in (bytes(encoded), bytes(encoded[: place % len(encoded)])):
        try:
            decode_payload(damaged)
        except Malformed:
            continue


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x91" * 100_000,
        b"\x81" * 5000,
        b"\x81\x01\x01",
        bytes.fromhex("c70101"),
        bytes.fromhex("c7020300"),
        bytes.fromhex("c7010900"),
        bytes.fromhex("d40501"),
        bytes.fromhex("0101"),
    ],
)
def test_what_is_no_object_is_malformed(data: bytes) -> None:
    """Empty, reserved, nested too deep, keys that are no text, extensions of a wrong length."""
    with pytest.raises(Malformed):
        decode_fields(data)


def test_a_later_format_is_malformed() -> None:
    """A member that does not know a format says so; it never skips."""
    encoded = encode_payload(HashPoint())
    for data in (b"", bytes((FORMAT_VERSION + 1,)) + encoded[1:], encoded + b"\x00"):
        with pytest.raises(Malformed):
            decode_payload(data)


def test_what_cannot_be_stored_is_a_crash() -> None:
    """The language converts before; the codec does not guess."""
    with pytest.raises(AssertionError, match="not storable"):
        encode_value([object()])  # type: ignore[list-item]
    fields: Fields = {"a": [TransactionTime()]}
    assert fields == decode_fields(encode_value(fields))
