"""What members say to each other about consensus, and the bytes of it.

A message is an array on the wire: its tag, the sender, the sender's term, then the rest, in
msgpack. The connection's hello carries `FORMAT_VERSION`, cluster, incarnation and nonce, so
that no message repeats them.

`term` is always the term in which the sender really is, also in a pre-vote: a pre-vote asks
about `term + 1` without going there, and so never disturbs anybody's term.

Trap: bytes of a peer are not to be trusted. `decode_message` raises `Malformed` and nothing
else, and what it returns has consecutive entries, terms that do not fall, configurations that
can be read, and no number outside 0 .. 2**63 - 1.
"""

from typing import Annotated

import msgspec

from faunadb.errors import Malformed
from faunadb.raft.entries import (
    ENTRY_BYTES_MAX,
    ENTRY_HEADER,
    KINDS,
    EntryId,
    EntryKind,
    Index,
    MemberId,
    SnapshotMeta,
    Term,
    decode_configuration,
)

FORMAT_VERSION = 1

APPEND_BYTES_MAX = 1024 * 1024  # entries in one message; a single larger entry travels alone
MESSAGE_BYTES_MAX = ENTRY_BYTES_MAX + APPEND_BYTES_MAX

COUNT_MAX = 2**63 - 1
_Sender = Annotated[MemberId, msgspec.Meta(ge=1, le=COUNT_MAX)]
_Term = Annotated[Term, msgspec.Meta(ge=0, le=COUNT_MAX)]
_Index = Annotated[Index, msgspec.Meta(ge=0, le=COUNT_MAX)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)]


class PreVoteRequest(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=1):
    """Would you vote for me in `term + 1`? (Dissertation 9.6.) Changes nothing anywhere."""

    sender: _Sender
    term: _Term
    last: EntryId


class PreVoteResponse(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=2):
    """The answer to a pre-vote of `asked_term`; a refusal tells the asker a higher term."""

    sender: _Sender
    term: _Term
    asked_term: _Term
    granted: bool


class VoteRequest(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=3):
    """Vote for me in `term`. `forced` asks to disregard the lease: the leader wants it so."""

    sender: _Sender
    term: _Term
    last: EntryId
    forced: bool


class VoteResponse(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=4):
    sender: _Sender
    term: _Term
    granted: bool


class AppendEntries(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=5):
    """Entries that follow `prev`, as one block of `join_entries`: the same bytes for all peers."""

    sender: _Sender
    term: _Term
    prev: EntryId
    commit: _Index
    block: bytes


class AppendResponse(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=6):
    """Accepted: everything up to `index` is on disk and equal to the leader's log.

    Refused: `index` is the `prev.index` that did not fit, and `hint` the newest entry of the
    sender, at or before it, that may fit.
    """

    sender: _Sender
    term: _Term
    index: _Index
    refused: bool = False
    hint: EntryId = EntryId(Term(0), Index(0))


class Heartbeat(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=7):
    """I lead `term`, and you may commit up to `commit`.

    `round` names the read round that an answer confirms; 0 is a mere note of the commit index,
    which nobody answers. `stall_ticks` is the age of the leader's oldest pending fsync.
    """

    sender: _Sender
    term: _Term
    commit: _Index
    round: _Count
    stall_ticks: _Count


class HeartbeatResponse(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=8):
    """The sender still followed in `term` when `round` reached it."""

    sender: _Sender
    term: _Term
    round: _Count
    stall_ticks: _Count


class InstallSnapshot(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """A verified snapshot lies ready at the receiver; its data came over its own connection."""

    sender: _Sender
    term: _Term
    meta: SnapshotMeta


class ReadRequest(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=10):
    """Which index must I have applied to read? `round` is of the asker, never used twice."""

    sender: _Sender
    term: _Term
    round: _Count


class ReadResponse(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=11):
    """A read index that was confirmed after `round` arrived, or None: I do not lead."""

    sender: _Sender
    term: _Term
    round: _Count
    index: _Index | None


class TimeoutNow(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=12):
    """Campaign at once: the leader hands over to you (dissertation 3.10)."""

    sender: _Sender
    term: _Term


Message = (
    PreVoteRequest
    | PreVoteResponse
    | VoteRequest
    | VoteResponse
    | AppendEntries
    | AppendResponse
    | Heartbeat
    | HeartbeatResponse
    | InstallSnapshot
    | ReadRequest
    | ReadResponse
    | TimeoutNow
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode_message(message: Message) -> bytes:
    """Return the bytes of `message`. The caller bounds the block (assertion)."""
    encoded = _encoder.encode(message)
    assert len(encoded) <= MESSAGE_BYTES_MAX, "the core bounds what one message carries"
    return encoded


def decode_message(data: bytes | memoryview) -> Message:
    """Undo `encode_message`. Raises `Malformed` for anything that it cannot have written."""
    if len(data) > MESSAGE_BYTES_MAX:
        raise Malformed(f"a message of {len(data)} bytes")
    try:
        message = _decoder.decode(data)
    except (msgspec.MsgspecError, AssertionError, RecursionError, UnicodeDecodeError) as problem:
        raise Malformed(f"not a message: {problem}") from problem
    if isinstance(message, AppendEntries):
        _check_block(message)
    return message


def _check_block(message: AppendEntries) -> None:
    """Walk the headers only; `split_entries` will not refuse what passed here."""
    block = memoryview(message.block)
    term, index = message.prev.term, message.prev.index
    at, size = 0, len(block)
    while at < size:
        if at + ENTRY_HEADER.size > size:
            raise Malformed("entry header is cut off")
        length, kind, entry_term, entry_index = ENTRY_HEADER.unpack_from(block, at)
        at += ENTRY_HEADER.size + length
        if length > ENTRY_BYTES_MAX or at > size:
            raise Malformed(f"entry {entry_index} is cut off or too long")
        if kind not in KINDS:
            raise Malformed(f"entry {entry_index} is of unknown kind {kind}")
        if entry_index != index + 1 or not term <= entry_term <= message.term:
            raise Malformed(f"entry {entry_term}/{entry_index} cannot follow {term}/{index}")
        if kind == EntryKind.CONFIGURATION:
            decode_configuration(block[at - length : at])
        term, index = entry_term, entry_index
