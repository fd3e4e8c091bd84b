"""Bytes of peers: what is written is read back, and everything else is `Malformed`."""

import contextlib
import os
import random

import msgspec
import pytest

from faunadb.errors import Malformed
from faunadb.raft.entries import (
    ENTRY_HEADER,
    NOTHING,
    Configuration,
    Entry,
    EntryId,
    EntryKind,
    Index,
    MemberId,
    Peer,
    SnapshotMeta,
    Term,
    decode_configuration,
    encode_configuration,
    join_entries,
    split_entries,
)
from faunadb.raft.messages import (
    MESSAGE_BYTES_MAX,
    AppendEntries,
    AppendResponse,
    Heartbeat,
    HeartbeatResponse,
    InstallSnapshot,
    Message,
    PreVoteRequest,
    PreVoteResponse,
    ReadRequest,
    ReadResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
    decode_message,
    encode_message,
)

FUZZ = int(os.environ.get("FAUNA_FUZZ", "20000"))
ONE, FIVE = MemberId(1), Term(5)


def id_(term: int, index: int) -> EntryId:
    return EntryId(Term(term), Index(index))


def entry(term: int, index: int, payload: bytes = b"x") -> Entry:
    return Entry.make(Term(term), Index(index), EntryKind.DATA, payload)


CONFIGURATION = Configuration(
    voters=(Peer(ONE, "m1", b"n" * 16),),
    learners=(Peer(MemberId(2), "m2", b""),),
    highest_member_id=MemberId(2),
)
META = SnapshotMeta(id_(4, 9), CONFIGURATION, b"d" * 32, id_(1, 1))
BLOCK = join_entries([entry(4, 10), entry(5, 11, b"")])
MESSAGES: list[Message] = [
    PreVoteRequest(ONE, FIVE, id_(4, 9)),
    PreVoteResponse(ONE, FIVE, Term(4), granted=True),
    VoteRequest(ONE, FIVE, id_(4, 9), forced=True),
    VoteResponse(ONE, FIVE, granted=False),
    AppendEntries(ONE, FIVE, id_(4, 9), Index(8), BLOCK),
    AppendResponse(ONE, FIVE, Index(9)),
    AppendResponse(ONE, FIVE, Index(9), refused=True, hint=id_(3, 7)),
    Heartbeat(ONE, FIVE, Index(8), 2**52, 0),
    HeartbeatResponse(ONE, FIVE, 7, 3),
    InstallSnapshot(ONE, FIVE, META),
    ReadRequest(ONE, FIVE, 7),
    ReadResponse(ONE, FIVE, 7, None),
    ReadResponse(ONE, FIVE, 7, Index(9)),
    TimeoutNow(ONE, FIVE),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_round_trip(message: Message) -> None:
    """A message comes back as it was, from bytes and from a view of them."""
    encoded = encode_message(message)

    assert message == decode_message(encoded)
    assert message == decode_message(memoryview(encoded))


def test_every_message_of_the_union_is_tried_here() -> None:
    """Nobody adds a message without a sample for the fuzzers."""
    assert set(Message.__args__) == {type(message) for message in MESSAGES}


def test_random_bytes_are_malformed_or_a_message() -> None:
    """No input raises anything but `Malformed`."""
    rng = random.Random(1)
    for _ in range(FUZZ):
        with contextlib.suppress(Malformed):
            decode_message(rng.randbytes(rng.randrange(64)))


def test_damaged_messages_are_malformed_or_a_message() -> None:
    """Neither truncated nor altered bytes get past the decoder with a broken block."""
    rng = random.Random(2)
    samples = [encode_message(message) for message in MESSAGES]
    for _ in range(FUZZ):
        data = bytearray(rng.choice(samples))
        for _ in range(rng.randrange(4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        del data[rng.randrange(len(data) + 1) :]
        with contextlib.suppress(Malformed):
            message = decode_message(bytes(data))
            if isinstance(message, AppendEntries):
                split_entries(message.block)


@pytest.mark.parametrize(
    "block",
    [
        b"\0" * 5,  # half a header
        ENTRY_HEADER.pack(9, 1, 5, 10),  # a payload that is not there
        ENTRY_HEADER.pack(2**32 - 1, 1, 5, 10),
        ENTRY_HEADER.pack(0, 77, 5, 10),  # a kind of the future
        entry(5, 11).raw,  # leaves one out
        entry(5, 10).raw + entry(5, 10).raw,
        entry(3, 10).raw,  # older than the entry before it
        entry(6, 10).raw,  # of a term that the sender has not reached
    ],
)
def test_lying_blocks_are_malformed(block: bytes) -> None:
    """Entries follow `prev` one by one, and their terms lie between its term and the sender's."""
    message = AppendEntries(ONE, FIVE, id_(4, 9), Index(8), block)

    with pytest.raises(Malformed):
        decode_message(msgspec.msgpack.encode(message))


def test_a_block_with_a_broken_configuration_is_malformed() -> None:
    """The core need not fear the configuration in an entry that came through the decoder."""
    broken = Entry.make(FIVE, Index(10), EntryKind.CONFIGURATION, b"\x90")
    message = AppendEntries(ONE, FIVE, id_(4, 9), Index(8), broken.raw)

    with pytest.raises(Malformed):
        decode_message(encode_message(message))


@pytest.mark.parametrize(
    "fields",
    [
        [12, 0, 5],  # no sender
        [12, 1, -1],
        [12, 1, 2**63],
        [7, 1, 5, -1, 0, 0],
        [3, 1, 5, [-1, 2], False],
        [99, 1, 5],
        {"sender": 1},
    ],
)
def test_numbers_out_of_range_are_malformed(fields: object) -> None:
    """Terms, indexes and counts fit 63 bits and are not negative; ids begin at 1."""
    with pytest.raises(Malformed):
        decode_message(msgspec.msgpack.encode(fields))


def test_a_message_over_the_limit_is_malformed() -> None:
    """Nothing is decoded before its size is known to be bearable."""
    with pytest.raises(Malformed):
        decode_message(bytes(MESSAGE_BYTES_MAX + 1))


def test_configurations_round_trip() -> None:
    """The payload of a CONFIGURATION entry gives the configuration back."""
    assert CONFIGURATION == decode_configuration(encode_configuration(CONFIGURATION))


def test_damaged_configurations_are_malformed() -> None:
    """No payload raises anything but `Malformed`, also one that names a member twice."""
    twice = msgspec.msgpack.encode([[[1, "m1", b""], [1, "m1", b""]]])
    with pytest.raises(Malformed):
        decode_configuration(twice)
    rng = random.Random(3)
    sample = encode_configuration(CONFIGURATION)
    for _ in range(FUZZ // 4):
        data = bytearray(sample)
        data[rng.randrange(len(data))] = rng.randrange(256)
        with contextlib.suppress(Malformed):
            decode_configuration(bytes(data[: rng.randrange(len(data) + 1)]))


@pytest.mark.parametrize(
    "block", [b"\0" * 5, ENTRY_HEADER.pack(9, 1, 5, 10), ENTRY_HEADER.pack(0, 9, 5, 10)]
)
def test_split_refuses_what_join_never_wrote(block: bytes) -> None:
    """Cut-off and unknown entries are refused."""
    with pytest.raises(Malformed):
        split_entries(block)


def test_split_undoes_join() -> None:
    """Entries come back with their ids and payloads; a gap between them is refused."""
    entries = (entry(4, 10, b"a"), entry(5, 11, b"bc"))

    assert entries == split_entries(join_entries(entries))
    assert [b"a", b"bc"] == [bytes(e.payload) for e in entries]
    with pytest.raises(Malformed):
        split_entries(entry(4, 10).raw + entry(4, 12).raw)


def test_ids_are_ordered_by_term_first() -> None:
    """A higher term is newer than any index (Raft 5.4.1)."""
    assert NOTHING < id_(1, 9) < id_(2, 1) < id_(2, 2)


def test_a_configuration_names_its_members() -> None:
    """Whoever votes in either group is a voter; everybody is listed once, by id."""
    one, two, three = (Peer(MemberId(n), f"m{n}", b"n" * 16) for n in (1, 2, 3))
    joint = Configuration(voters=(two, three), voters_outgoing=(one, two))

    assert (one, two, three) == joint.everyone()
    assert one == joint.peer(MemberId(1))
    assert joint.peer(MemberId(9)) is None
    assert joint.is_voter(MemberId(1))
    assert not CONFIGURATION.is_voter(MemberId(2))
