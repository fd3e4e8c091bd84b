"""What the log is made of: ids, entries, configurations, hard state.

An entry exists once as bytes, `raw`, and these bytes are used three times: as payload of the
write-ahead log, on the wire, and as input of the machine. Followers never encode one again.

Trap: an `Index` belongs to a `Term`; compare entries by `EntryId`, never by index alone.
"""

import struct
from collections.abc import Iterable
from enum import IntEnum
from typing import Annotated, NewType

import msgspec

from faunadb.errors import Malformed

Term = NewType("Term", int)
Index = NewType("Index", int)
MemberId = NewType("MemberId", int)

ENTRY_HEADER = struct.Struct("<IBQQ")  # payload bytes, kind, term, index
ENTRY_BYTES_MAX = 17 * 1024 * 1024  # a transaction of 16 MiB and its answer


class EntryKind(IntEnum):
    """What an entry means to the machine; a new kind needs a higher feature level."""

    NOOP = 0  # the first entry of a term
    DATA = 1  # bytes of `faunadb.codec.Transaction` and its like: the machine decodes them
    CONFIGURATION = 2  # msgpack of `Configuration`


KINDS = {int(kind): kind for kind in EntryKind}


class EntryId(msgspec.Struct, frozen=True, gc=False, order=True, array_like=True):
    """Names one entry of one history: (term, index), ordered as "at least as new" (Raft 5.4.1)."""

    term: Annotated[Term, msgspec.Meta(ge=0, le=2**63 - 1)]
    index: Annotated[Index, msgspec.Meta(ge=0, le=2**63 - 1)]


NOTHING = EntryId(Term(0), Index(0))


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One log entry; `raw` is header and payload together, made once by `Entry.make`."""

    term: Term
    index: Index
    kind: EntryKind
    raw: bytes

    @classmethod
    def make(cls, term: Term, index: Index, kind: EntryKind, payload: bytes) -> "Entry":
        """Encode an entry. Refuses (assertion) payloads over `ENTRY_BYTES_MAX`."""
        assert len(payload) <= ENTRY_BYTES_MAX, "admission bounds a transaction"
        return cls(term, index, kind, ENTRY_HEADER.pack(len(payload), kind, term, index) + payload)

    @property
    def id(self) -> EntryId:
        return EntryId(self.term, self.index)

    @property
    def payload(self) -> memoryview:
        """The bytes after the header, without a copy."""
        return memoryview(self.raw)[ENTRY_HEADER.size :]


def join_entries(entries: Iterable[Entry]) -> bytes:
    """Return the bytes that a disk and a peer get."""
    return b"".join([entry.raw for entry in entries])


def split_entries(block: bytes | memoryview) -> tuple[Entry, ...]:
    """Undo `join_entries`. Raises `Malformed` for anything else; indexes must be consecutive."""
    view = memoryview(block)
    found: list[Entry] = []
    at, size, header, before = 0, len(view), ENTRY_HEADER.size, None
    while at < size:
        if at + header > size:
            raise Malformed("entry header is cut off")
        length, kind, term, index = ENTRY_HEADER.unpack_from(view, at)
        end = at + header + length
        if length > ENTRY_BYTES_MAX or end > size:
            raise Malformed(f"entry {index} is cut off or too long")
        known = KINDS.get(kind)
        if known is None:
            raise Malformed(f"entry {index} is of unknown kind {kind}")
        if before is not None and index != before + 1:
            raise Malformed(f"entry {index} follows {before}")
        found.append(Entry(term, index, known, bytes(view[at:end])))
        at, before = end, index
    return tuple(found)


class Peer(msgspec.Struct, frozen=True, order=True, array_like=True):
    """A member as the configuration names it: id, DNS name, nonce of its data directory."""

    id: MemberId
    name: str  # a DNS name, never an IP
    nonce: bytes  # 16 bytes; b"" only for a learner whose directory has not said it yet


class Configuration(msgspec.Struct, frozen=True, array_like=True):
    """Who counts. Joint from the first commit: `voters_outgoing` is empty outside a joint change.

    Quorums need a majority of `voters` and, if not empty, one of `voters_outgoing`
    (Ongaro's dissertation, section 4.3). `highest_member_id` never falls: ids are not reused.
    """

    voters: tuple[Peer, ...]
    voters_outgoing: tuple[Peer, ...] = ()
    learners: tuple[Peer, ...] = ()
    highest_member_id: MemberId = MemberId(0)

    def __post_init__(self) -> None:
        for group in (self.voters, self.voters_outgoing, self.learners):
            assert len({peer.id for peer in group}) == len(group), "an id stands twice"
        learning = {peer.id for peer in self.learners}
        assert not learning & {peer.id for peer in self.voters}, "voter and learner at once"

    def peer(self, member: MemberId) -> Peer | None:
        """Return how the configuration names `member`, `None` when it does not."""
        for group in (self.voters, self.learners, self.voters_outgoing):
            for peer in group:
                if peer.id == member:
                    return peer
        return None

    def is_voter(self, member: MemberId) -> bool:
        return any(p.id == member for p in self.voters + self.voters_outgoing)

    def everyone(self) -> tuple[Peer, ...]:
        """Return all peers once, in order of id."""
        by_id = {p.id: p for p in self.voters_outgoing + self.learners + self.voters}
        return tuple(by_id[i] for i in sorted(by_id))


def encode_configuration(configuration: Configuration) -> bytes:
    """Return the payload of a CONFIGURATION entry."""
    return msgspec.msgpack.encode(configuration)


def decode_configuration(payload: bytes | memoryview) -> Configuration:
    """Undo `encode_configuration`. Raises `Malformed` for anything else."""
    try:
        return msgspec.msgpack.decode(payload, type=Configuration)
    except (msgspec.MsgspecError, AssertionError, UnicodeDecodeError, RecursionError) as problem:
        raise Malformed(f"not a configuration: {problem}") from problem


class HardState(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What a member must not forget: written with entries in one frame (Raft, figure 2)."""

    term: Term = Term(0)
    vote: MemberId = MemberId(0)  # 0: nobody
    commit: Index = Index(0)


class SnapshotMeta(msgspec.Struct, frozen=True, array_like=True):
    """What a snapshot stands for: the entry it includes up to, and the configuration there.

    `configuration_id` is the entry that brought `configuration`: compare-and-set needs it, so
    the machine keeps it beside the configuration, in the transaction of that entry.
    """

    id: EntryId
    configuration: Configuration
    digest: bytes  # SHA-256 of the manifest; names the transfer
    configuration_id: EntryId = NOTHING  # the core refuses (assertion) a snapshot without it
