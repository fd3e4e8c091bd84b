"""Every decoder of foreign bytes, fed with whatever comes: a value or its refusal, nothing else.

    make fuzz INPUTS=100000       each decoder with so many inputs (FAUNA_FUZZ)

An input is a good one with some bytes changed, cut, repeated or put in, or noise. What lies
behind a checksum is also fed directly: changed bytes would never get there. The two front
protocols have sockets in the way and are in `api/test_front.py`, random JSON in `fql/wire`.
"""

import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import msgspec
import pytest

from fauna_client import answers as client_answers
from faunadb import codec
from faunadb.codec import RequestId
from faunadb.definitions import EMPTY_SCHEMA
from faunadb.disk import frames as wal
from faunadb.disk.seals import seal, unseal
from faunadb.disk.snapshots import Manifest, decode_manifest, encode_manifest
from faunadb.errors import InvalidRequest, Malformed, OutcomeUnknown, QueryError
from faunadb.fql.compile import compile_query
from faunadb.fql.fsl import parse_schema
from faunadb.fql.tagged import Format
from faunadb.fql.template import decode_request
from faunadb.net import frames as net
from faunadb.node import faults, jobs, wire
from faunadb.node.ports import Identity
from faunadb.node.query import Query
from faunadb.node.report import InitAsked, MembershipAsked
from faunadb.raft import entries, messages, records
from faunadb.raft.entries import (
    Configuration,
    Entry,
    EntryId,
    EntryKind,
    HardState,
    Index,
    MemberId,
    Peer,
    Term,
)
from faunadb.values import Fields, Time

INPUTS = int(os.environ.get("FAUNA_FUZZ", "300"))  # of each decoder
ONE, TERM = MemberId(1), Term(5)
AT = EntryId(Term(4), Index(9))
CONFIGURATION = Configuration(voters=(Peer(ONE, "m1", b"n" * 16),), highest_member_id=ONE)
ENTRY = Entry.make(Term(4), Index(10), EntryKind.DATA, b"payload")
IDENTITY = Identity(b"c" * 16, ONE, b"n" * 16, 1, b"s" * 16)
STATE = HardState(TERM, ONE, Index(9))
REQUEST = RequestId(1_700_000_000_000_000, b"r" * 16)
MANIFEST = Manifest(
    b"c" * 16, 1, b"s" * 16, AT, CONFIGURATION, AT, 2_000_000, b"d" * 32, b"\1\2\3\4\5\6\7\x08"
)
PAYLOADS: list[codec.Payload] = [
    codec.Transaction(
        7, 9, ((b"k", b"v"), (b"l", None)), REQUEST, codec.Answer(200, b"1", "", 7, 0)
    ),
    codec.RaiseCeiling(9),
    codec.LeaseWorker(1, b"p" * 16),
    codec.RemoveVersions(b"a", b"b", 9, 10),
    codec.HashPoint(),
    codec.OpenForClients(),
]
NODE_MESSAGES: list[wire.NodeMessage] = [
    wire.Forward(1, Query(b'{"query":"1"}', request=REQUEST)),
    wire.Forwarded(1, answer=codec.Answer(200, b"1", "", 7, 0)),
    wire.ReadPointAsked(1, 2, 3),
    wire.ReadPoint(1, 2, 3),
    wire.WallClock(1, 2),
    wire.ClusterTime(1, 2),
    wire.HashReport(1, b"h" * 16),
]
RAFT_MESSAGES: list[messages.Message] = [
    messages.PreVoteRequest(ONE, TERM, AT),
    messages.VoteResponse(ONE, TERM, granted=True),
    messages.AppendEntries(ONE, TERM, AT, Index(8), entries.join_entries([ENTRY])),
    messages.AppendResponse(ONE, TERM, Index(9), refused=True, hint=AT),
    messages.Heartbeat(ONE, TERM, Index(8), 2**52, 0),
    messages.InstallSnapshot(ONE, TERM, entries.SnapshotMeta(AT, CONFIGURATION, b"d" * 32, AT)),
    messages.ReadResponse(ONE, TERM, 7, Index(9)),
    messages.TimeoutNow(ONE, TERM),
]
HELLO = net.encode_body(net.hello_of(IDENTITY, "m1", "0.1", to=2))
FIELDS: Fields = {"a": 1, "b": [1.5, "x", None, True], "t": Time(10**18)}
BODY = {
    "query": {"fql": ["let a = ", {"value": {"@int": "1"}}, " a + b"]},
    "arguments": {
        "b": {"@object": {"@x": {"@time": "2020-01-01T00:00:00Z"}}},
        "c": [{"@long": "9"}],
    },
}
TEXTS = [
    'let x = Set.sequence(0, 9).where(i => i > 3 && b.includes("x"))\nx { name, age: .age ?? 0 }',
    'if (1 < 2) "a#{1 + 1}" else { abort({ a: [1, 2.5e3, null] }) }',
    "Set.sequence(0, 10).fold(0, (a, b) => a + b) // comment\n/* more */",
    'Collection.byName("A")!.update({ "a b": 0x1F, c: "d" })',
]
FSL = [
    """collection User {
  name: String
  age: Int?
  index byName {
    terms [.name]
    values [desc(.age)]
  }
  unique [.name]
  history_days 3
}
""",
    """function f(x: Int): Int {
  x + 1
}
""",
]
MEMBERSHIP = json.dumps(
    {
        "op": "promote",
        "member": {"id": 2, "nonce": "aa"},
        "if": {"incarnation": 1, "term": 2, "index": 3},
    }
).encode()
ANSWER = json.dumps(
    {
        "data": {
            "@doc": {"id": "1", "coll": {"@mod": "A"}, "ts": {"@time": "2020-01-01T00:00:00Z"}}
        },
        "txn_ts": 7,
        "summary": "",
    }
).encode()
REFUSAL = json.dumps(
    {"error": {"code": "abort", "message": "m", "abort": {"@int": "1"}}, "txn_ts": 7}
).encode()


@dataclass(frozen=True)
class Decoder:
    """`decode` raises nothing but `refuses`; `good` are inputs that it takes."""

    name: str
    decode: Callable[[bytes], object]
    good: list[bytes]
    refuses: tuple[type[Exception], ...] = (Malformed,)


def text_of(block: bytes) -> str:
    return block.decode("utf-8", "replace")


def compiled(block: bytes) -> object:
    return compile_query(text_of(block), EMPTY_SCHEMA, ("b",))


def framed(kind: net.Kind, body: bytes) -> bytes:
    return net.encode_frame(kind, body)


DATA = wal.encode_data(STATE, [wal.Append((ENTRY,)), wal.Restart(AT)])
JSON_REFUSALS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)  # what `api/admin` takes
REQUEST_REFUSALS = (InvalidRequest, QueryError)
DECODERS = [
    Decoder(
        "peer: frames",
        lambda block: net.FrameReader().feed(block),
        [framed(net.Kind.HELLO, HELLO), framed(net.Kind.NODE, b"x" * 40)],
    ),
    Decoder("peer: hello", net.decode_hello, [HELLO]),
    Decoder(
        "peer: refusal",
        net.decode_refusal,
        [net.encode_body(net.Refusal(net.Reason.BUSY, "later"))],
    ),
    Decoder("peer: transfer begins", net.decode_begin, [net.encode_body((b"d" * 32, b"m" * 90))]),
    Decoder("peer: transfer chunk", net.decode_chunk, [net.encode_chunk(1 << 20, b"x" * 50)]),
    Decoder(
        "peer: consensus",
        messages.decode_message,
        [messages.encode_message(message) for message in RAFT_MESSAGES],
    ),
    Decoder(
        "peer: entries",
        entries.split_entries,
        [entries.join_entries([ENTRY]), entries.join_entries([])],
    ),
    Decoder(
        "peer: configuration",
        entries.decode_configuration,
        [entries.encode_configuration(CONFIGURATION)],
    ),
    Decoder(
        "peer: node messages",
        wire.decode_node_message,
        [wire.encode_node_message(message) for message in NODE_MESSAGES],
    ),
    Decoder("peer: faults", faults.decode_fault, [faults.encode_fault(OutcomeUnknown("?"))]),
    Decoder(
        "log: records",
        records.decode_records,
        [records.encode_records([ENTRY])],
    ),
    Decoder(
        "codec: payloads",
        codec.decode_payload,
        [codec.encode_payload(payload) for payload in PAYLOADS],
    ),
    Decoder("codec: values", codec.decode_value, [codec.encode_value(FIELDS)]),
    Decoder("codec: fields", codec.decode_fields, [codec.encode_value(FIELDS)]),
    Decoder(
        "wal: frame",
        lambda block: wal.decode_frame(block, 0, 7),
        [
            wal.encode_frame(wal.FrameKind.DATA, wal.FrameFlag.NONE, 0, DATA, 7)[0],
        ],
    ),
    Decoder("wal: data of a frame", wal.decode_data, [DATA]),
    Decoder("wal: twin", wal.decode_twin, [wal.encode_twin(STATE)]),
    Decoder("snapshot: manifest", decode_manifest, [encode_manifest(MANIFEST)]),
    Decoder(
        "seal: without its checksum",
        lambda block: msgspec_of(Manifest, block),
        [msgspec.msgpack.encode(MANIFEST)],
    ),
    Decoder("seal", partial(unseal, b"FaunaSNP", Manifest), [seal(b"FaunaSNP", MANIFEST)]),
    Decoder(
        "worker: jobs",
        jobs.decode_job,
        [jobs.encode_frame(jobs.Job(Query(b"{}"), 1, 2, "s", 3))[4:]],
    ),
    Decoder(
        "worker: outcomes",
        jobs.decode_done,
        [jobs.encode_frame(jobs.JobDone(codec.Answer(200, b"1", "", 7, 0)))[4:]],
    ),
    *(
        Decoder(
            f"query: body, {form.value}",
            lambda block, form=form: decode_request(block, form),  # type: ignore[misc]
            [json.dumps(BODY).encode(), b'{"query":"1"}'],
            REQUEST_REFUSALS,
        )
        for form in (Format.TAGGED, Format.SIMPLE)
    ),
    Decoder("query: FQL text", compiled, [text.encode() for text in TEXTS], (QueryError,)),
    Decoder(
        "schema: FSL text",
        lambda block: parse_schema(text_of(block)),
        [text.encode() for text in FSL],
        (QueryError,),
    ),
    Decoder(
        "admin: init",
        lambda block: msgspec.json.decode(block, type=InitAsked),
        [b'{"cluster_id":"aa","incarnation":1}'],
        JSON_REFUSALS,
    ),
    Decoder(
        "admin: membership",
        lambda block: msgspec.json.decode(block, type=MembershipAsked),
        [MEMBERSHIP],
        JSON_REFUSALS,
    ),
    Decoder("client: results", client_answers.read_result, [ANSWER], (ValueError,)),
    Decoder("client: errors", partial(client_answers.read_error, 400), [REFUSAL], ()),
]


def msgspec_of(type_: type[msgspec.Struct], block: bytes) -> object:
    """Decode what is behind a seal, as `unseal` does."""
    try:
        return msgspec.msgpack.decode(block, type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Malformed(str(error)) from error


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda decoder: decoder.name)
def test_whatever_comes_is_decoded_or_refused(decoder: Decoder) -> None:
    """Nothing else is raised, and the good inputs are taken."""
    for block in decoder.good:
        decoder.decode(block)
    chance = random.Random(decoder.name)
    refused, began_s = 0, time.monotonic()
    for number in range(INPUTS):
        block = changed(chance, chance.choice(decoder.good))
        try:
            decoder.decode(block)
        except decoder.refuses:
            refused += 1
        except Exception as problem:
            raise AssertionError(f"input {number}: {block!r}") from problem
    print(f"{decoder.name}: {INPUTS} inputs, {refused} refused, {time.monotonic() - began_s:.1f} s")


def changed(chance: random.Random, good: bytes) -> bytes:
    """Return noise, or a good input to which something happened."""
    if chance.random() < 0.1:
        return chance.randbytes(chance.randrange(200))
    block = bytearray(good)
    for _ in range(chance.randrange(5)):
        at = chance.randrange(len(block) + 1)
        match chance.randrange(5):
            case 0:
                del block[at : at + chance.randrange(1, 9)]
            case 1:
                block[at:at] = chance.randbytes(chance.randrange(1, 5))
            case 2:
                block[at:at] = block[at : at + chance.randrange(1, 40)]
            case 3:
                block[at : at + 1] = chance.choice(
                    (b"\xff", b"\0", b"(", b'"', b"{", b"@", b"\x7f")
                )
            case _ if at < len(block):
                block[at] ^= 1 << chance.randrange(8)
    return bytes(block[: chance.randrange(len(block) + 1)] if chance.random() < 0.1 else block)
