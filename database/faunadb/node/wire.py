"""What members say to each other beside consensus: forwarded queries, read points, clocks.

Bodies are MessagePack of the structs below, told apart by `kind` in the peer frame. Decoders
raise only `Malformed`. A link loses and reorders only when it breaks, and then both sides know.
"""

import msgspec

from faunadb.codec import Answer
from faunadb.errors import Malformed
from faunadb.node.query import Query


class Forward(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Evaluate this as leader; `call` names it on this link."""

    call: int
    query: Query


class Forwarded(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The leader's answer to `Forward`: an answer, an error of the query, or `NotLeader`."""

    call: int
    answer: Answer | None = None
    error: bytes = b""  # `node/faults.py` encodes the exception
    not_leader: bool = False  # nothing was proposed: ask again elsewhere


class ReadPointAsked(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Issue `count` read timestamps, all above `last_txn_ts` (SAFETY 8, 10)."""

    call: int
    count: int
    last_txn_ts: int


class ReadPoint(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Timestamps `ts` to `ts + count - 1`, valid once `index` is applied; ts 0: ask elsewhere."""

    call: int
    ts: int
    index: int
    error: bytes = b""


class WallClock(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """A voter's wall clock, said to the leader of `term` once a second (SAFETY 11)."""

    term: int
    wall_us: int


class HashReport(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """The state hash of the sender right after applying `index` (a `HashPoint`)."""

    index: int
    state_hash: bytes


class ClusterTime(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """The leader's answer to `WallClock`: what time the cluster says it is (SAFETY 11)."""

    term: int
    now_us: int


NodeMessage = (
    Forward | Forwarded | ReadPointAsked | ReadPoint | WallClock | HashReport | ClusterTime
)
NODE_MESSAGE_KIND = 1
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[NodeMessage] = msgspec.msgpack.Decoder(NodeMessage)


def encode_node_message(message: NodeMessage) -> bytes:
    return _encoder.encode(message)


def decode_node_message(body: bytes | memoryview) -> NodeMessage:
    """Undo `encode_node_message`; raises `Malformed` for anything else."""
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"not a message of a node: {error}") from error
