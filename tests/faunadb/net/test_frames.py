"""Frames and hellos: pure bytes."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faunadb.errors import Malformed
from faunadb.net import frames
from faunadb.net.frames import Frame, FrameReader, Kind, Reason
from faunadb.node.ports import Identity
from faunadb.raft.entries import Configuration, MemberId, Peer

FUZZ = int(os.environ.get("FAUNA_FUZZ", "300"))
OWN = Identity(b"c" * 16, MemberId(1), b"1" * 16, 1, b"s" * 16)
OTHER = Identity(b"c" * 16, MemberId(2), b"2" * 16, 1, b"s" * 16)
TWO = Configuration(
    voters=(Peer(MemberId(1), "a", b"1" * 16), Peer(MemberId(2), "b", b"2" * 16)),
    highest_member_id=MemberId(3),
)


def hello(**changes: object) -> frames.Hello:
    said = frames.hello_of(OTHER, "b", "0.1", to=1)
    return frames.Hello(**{**{f: getattr(said, f) for f in said.__struct_fields__}, **changes})


@given(st.lists(st.binary(max_size=200), max_size=5), st.integers(1, 50))
def test_frames_survive_any_cutting(bodies: list[bytes], size: int) -> None:
    """However the stream is cut, the same frames come out."""
    sent = b"".join(frames.encode_frame(Kind.NODE, body) for body in bodies)
    reader = FrameReader()

    got = [f for at in range(0, len(sent), size) for f in reader.feed(sent[at : at + size])]

    assert [Frame(Kind.NODE, body) for body in bodies] == got


@given(st.binary(min_size=1, max_size=100), st.data())
def test_a_flipped_bit_is_seen(body: bytes, data: st.DataObject) -> None:
    """No frame comes out of changed bytes."""
    sent = bytearray(frames.encode_frame(Kind.MESSAGE, body))
    at = data.draw(st.integers(0, len(sent) * 8 - 1))
    sent[at // 8] ^= 1 << (at % 8)
    try:
        assert [] == FrameReader().feed(bytes(sent))
    except Malformed:
        return


@settings(max_examples=FUZZ)
@given(st.binary(max_size=300))
def test_random_bytes_are_malformed_or_wait(data: bytes) -> None:
    """Decoders of the peer port raise nothing but `Malformed`."""
    for decode in (
        FrameReader().feed,
        frames.decode_hello,
        frames.decode_refusal,
        frames.decode_begin,
        frames.decode_chunk,
    ):
        try:
            decode(data)
        except Malformed:
            continue


def test_a_stranger_may_send_little() -> None:
    """Before the hello is accepted a frame of a megabyte is refused by its header alone."""
    with pytest.raises(Malformed):
        FrameReader().feed(frames.encode_frame(Kind.HELLO, bytes(1_000_000))[:20])


def test_a_hello_reads_back() -> None:
    """What is said is heard."""
    assert hello() == frames.decode_hello(frames.encode_body(hello()))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"to": 0}, None),
        ({"incarnation_salt": b""}, None),
        ({"member_id": 4}, None),
        ({"wire_version": 2}, Reason.WRONG_VERSION),
        ({"cluster_id": b"x" * 16}, Reason.WRONG_CLUSTER),
        ({"incarnation": 2}, Reason.WRONG_INCARNATION),
        ({"incarnation_salt": b"x" * 16}, Reason.WRONG_INCARNATION),
        ({"nonce": b"x" * 16}, Reason.WRONG_NONCE),
        ({"to": 3}, Reason.WRONG_MEMBER),
        ({"member_id": 1}, Reason.WRONG_MEMBER),
        ({"member_id": 3}, Reason.UNKNOWN),
    ],
)
def test_who_is_welcome(changes: dict[str, object], reason: Reason | None) -> None:
    """Cluster, incarnation, id and nonce must be what the configuration says; later ids may be."""
    refusal = frames.judge(hello(**changes), OWN, TWO, removed=False)

    assert reason == (refusal.reason if refusal else None)


def test_removed_is_said_only_when_told() -> None:
    """Only an applied configuration makes a member say that another was removed."""
    said = frames.judge(hello(), OWN, TWO, removed=True)

    assert said is not None
    assert Reason.REMOVED is said.reason


def test_who_waits_takes_anyone_of_the_cluster() -> None:
    """A member without configuration listens to every directory of its cluster."""
    assert None is frames.judge(hello(nonce=b"x" * 16), OWN, None, removed=False)
