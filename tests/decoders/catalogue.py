"""Every decoder of foreign bytes: what it takes, and what it may raise.

What lies behind a checksum is also a decoder of its own, without it: changed bytes would never get
there. The two front protocols have sockets in the way and are in `faunadb/api/test_front.py`,
random JSON in `faunadb/fql/wire`.

Trap: a decoder must leave nothing behind that makes the next input another matter.
"""

import hashlib
import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import msgspec
import zstandard

from fauna_client import answers as client_answers
from faunadb import codec
from faunadb.api.feeds import feed_query, stream_query
from faunadb.api.options import Options
from faunadb.backup import layout, segments
from faunadb.backup.layout import Part
from faunadb.backup.pairs import PartWriter, read_part
from faunadb.codec import RequestId
from faunadb.definitions import EMPTY_SCHEMA
from faunadb.disk import frames as wal
from faunadb.disk.scan import scan_log
from faunadb.disk.seals import seal, unseal
from faunadb.disk.snapshots import Manifest, decode_manifest, encode_manifest
from faunadb.disk.wal import DIRECTORY, WalLimits, segment_path
from faunadb.errors import Corrupt, InvalidRequest, Malformed, OutcomeUnknown, QueryError
from faunadb.fql.compile import compile_query
from faunadb.fql.fsl import parse_schema
from faunadb.fql.positions import decode_position, encode_position
from faunadb.fql.tagged import Format
from faunadb.fql.template import decode_request
from faunadb.net import frames as net
from faunadb.node import faults, jobs, wire
from faunadb.node.ports import Identity
from faunadb.node.query import Caller, Query
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
from faunadb_sim.disk import SimDisk

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


WRITER = PartWriter(1)
WRITER.add([(b"a", b"1"), (b"b", b"22" * 30)])
PART, PART_BLOCK = WRITER.finish()
PART_PAIRS = zstandard.decompress(PART_BLOCK, max_output_size=PART.bytes)
BACKUP = layout.Manifest(
    cluster_id="c1" * 16,
    incarnation=1,
    incarnation_salt="5a" * 16,
    backup_id="monday",
    member="m1",
    created="2026-01-01T00:00:00Z",
    term=2,
    index=9,
    last_ts=7,
    ceiling=8,
    open_for_clients=True,
    feature_level=1,
    state_hash="0f" * 16,
    pairs=PART.pairs,
    documents={"A": 2},
    parts=(PART,),
)
SEGMENT, SEGMENT_BLOCK = segments.encode_segment("c1/log/1", [ENTRY])
HEADER = wal.SegmentHeader(
    cluster_id=b"c" * 16,
    member_id=ONE,
    incarnation=1,
    incarnation_salt=b"s" * 16,
    seq=3,
    first_index=Index(9),
    salt=b"saltsalt",
    previous_end=4096,
    previous_crc=99,
    reopened=False,
)


DATA = wal.encode_data(STATE, [wal.Restart(AT), wal.Append((ENTRY,))])
TWIN_FOLLOWS = bytes((wal.FrameFlag.TWIN_FOLLOWS,))


def in_frames(*frames: tuple[int, bytes, bytes]) -> bytes:
    """Say what `framed_whole` makes frames of: kind, flags, length, payload."""
    return b"".join(
        bytes((kind,)) + flags + len(payload).to_bytes(2, "little") + payload
        for kind, flags, payload in frames
    )


def framed_whole(block: bytes) -> bytes:
    """Make frames that verify of bytes: what was written is damaged by us, not by a disk."""
    found, number, at = b"", 0, 0
    while at + 4 <= len(block):
        end = at + 4 + int.from_bytes(block[at + 2 : at + 4], "little")
        kind = wal.FrameKind(1 + block[at] % 2)
        flags = wal.FrameFlag(block[at + 1] % 4)
        seed = wal.seed_of(HEADER.salt)
        found += wal.encode_frame(kind, flags, number, block[at + 4 : end], seed)[0]
        at, number = end, number + 1
    return found


def header_block() -> bytes:
    """Return the header of a first segment."""
    return bytes(wal.encode_header(msgspec.structs.replace(HEADER, previous_end=512)))


def scanned(segment: bytes) -> object:
    """Read a log of one segment, as a member does that starts."""
    disk = SimDisk(random.Random(1))
    disk.make_directory(DIRECTORY)
    file = disk.open(segment_path(HEADER.seq), create=True)
    file.pwrite(segment, 0)
    return scan_log(disk, IDENTITY, WalLimits())


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
    Decoder("wal: header", wal.decode_header, [bytes(wal.encode_header(HEADER))]),
    Decoder(
        "wal: a segment of whole frames",
        lambda block: scanned(header_block() + framed_whole(block)),
        [in_frames((0, TWIN_FOLLOWS, DATA), (1, b"\0", wal.encode_twin(STATE)))],
        (Corrupt,),
    ),
    Decoder(
        "wal: a segment of any bytes",
        lambda block: scanned(header_block() + block),
        [framed_whole(in_frames((0, b"\0", DATA)))],
        (Corrupt,),
    ),
    Decoder("snapshot: manifest", decode_manifest, [encode_manifest(MANIFEST)]),
    Decoder(
        "seal: without its checksum",
        lambda block: unseal(b"FaunaSNP", Manifest, seal(b"FaunaSNP", msgspec.Raw(block))),  # type: ignore[arg-type]
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
    Decoder(
        "backup: manifest",
        lambda block: layout.decode_manifest(block, "place"),
        [layout.encode_manifest(BACKUP)],
        (Corrupt,),
    ),
    Decoder(
        "backup: manifest with its digest",
        lambda block: layout.decode_manifest(with_digest(block), "place"),
        [layout.encode_manifest(BACKUP)],
        (Corrupt,),
    ),
    Decoder(
        "backup: part",
        lambda block: list(read_part(part_of(block), memoryview(block), "place")),
        [bytes(PART_BLOCK)],
        (Corrupt,),
    ),
    Decoder(
        "backup: pairs of a part",
        lambda block: list(
            read_part(part_of(packed := zstandard.compress(block)), memoryview(packed), "place")
        ),
        [PART_PAIRS],
        (Corrupt,),
    ),
    Decoder(
        "archive: segment",
        lambda block: segments.decode_segment(segment_of(block), block),
        [SEGMENT_BLOCK],
        (Corrupt,),
    ),
    Decoder(
        "archive: entries of a segment",
        lambda block: segments.decode_segment(
            segment_of(packed := zstandard.compress(block)), packed
        ),
        [zstandard.decompress(SEGMENT_BLOCK)],
        (Corrupt,),
    ),
    Decoder(
        "archive: names",
        lambda block: (
            segments.held([text_of(block)]),
            segments.incarnation_of(text_of(block), ""),
        ),
        [SEGMENT.key.encode(), b"c1/log/0000000007-" + b"5a" * 16 + b"/gap-1-2.json"],
        (),
    ),
    Decoder(
        "query: positions of events",
        lambda block: decode_position(text_of(block)),
        [encode_position(10**15, 3).encode()],
    ),
    Decoder(
        "query: what is asked of a source",
        lambda block: (
            feed_query(block, Options(), Caller()),
            stream_query(block, Options(), Caller()),
        ),
        [
            b'{"token":"t","page_size":16,"start_ts":7}',
            json.dumps({"token": "t", "cursor": encode_position(10**15, 3)}).encode(),
        ],
        (InvalidRequest,),
    ),
    Decoder("client: results", client_answers.read_result, [ANSWER], (ValueError,)),
    Decoder("client: errors", partial(client_answers.read_error, 400), [REFUSAL], ()),
]


def with_digest(block: bytes) -> bytes:
    """Put the right digest into a manifest that has a place for it."""
    zeros, times = re.subn(rb'"digest": "[^"]*"', b'"digest": "%s"' % (b"0" * 64), block)
    return layout.seal_manifest(zeros) if times == 1 else block


def part_of(block: bytes) -> Part:
    """Describe bytes as a manifest would that believes them."""
    digest = hashlib.sha256(block).hexdigest()
    return msgspec.structs.replace(PART, stored_bytes=len(block), sha256=digest)


def segment_of(block: bytes) -> segments.Segment:
    """Name bytes as an archive would that wrote them."""
    return SEGMENT._replace(sha256=hashlib.sha256(block).hexdigest())
