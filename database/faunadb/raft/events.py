"""What can happen to the core, and what it decides: `step(event) -> Update`.

Everything that can happen is the union `Event`, matched with `assert_never`.
`Update` lists effects in the order in which they must be done; `node/perform.py` does them.

House rules: no clock, no chance, no I/O. Time is `Tick`; chance comes in as `Tick.draw`.
Trap: a `Persisted` may report a token of a superseded append; tokens carry the term (ABA).
"""

from collections.abc import Sequence
from enum import Enum

import msgspec

from faunadb.raft.entries import (
    Configuration,
    Entry,
    EntryId,
    HardState,
    Index,
    MemberId,
    Peer,
    SnapshotMeta,
    Term,
)
from faunadb.raft.messages import Message

# ---------------------------------------------------------------- events


class Token(msgspec.Struct, frozen=True, gc=False, order=True, array_like=True):
    """Names one write to disk; `sequence` never repeats within a process."""

    term: Term
    sequence: int


class Tick(msgspec.Struct, frozen=True, gc=False):
    """One tick passed. `draw` in [0, 1) is used when an election timeout must be drawn anew."""

    draw: float


class Received(msgspec.Struct, frozen=True, gc=False):
    """A message came from a peer whose id and nonce were verified by the transport's hello."""

    message: Message
    nonce: bytes  # of the sender's directory, from the hello


class Proposed(msgspec.Struct, frozen=True, gc=False):
    """The machine's payloads to append, in order, all of kind DATA. Only a leader accepts them.

    The caller has evaluated them at the tip of exactly this log in this turn: indexes are
    `last + 1 ..`. A core that is not leader (or is transferring) drops them and says so in
    `Update.refused`.
    """

    payloads: Sequence[bytes]


class Persisted(msgspec.Struct, frozen=True, gc=False):
    """The write named by `token` (and all before it) is synced."""

    token: Token


class SnapshotPersisted(msgspec.Struct, frozen=True):
    """The snapshot that `Update.install_snapshot` asked for is durable and swapped in.

    Until then the core neither appends nor commits; it still votes.
    """

    meta: SnapshotMeta


class SnapshotSent(msgspec.Struct, frozen=True, gc=False):
    """A transfer that `Update.send_snapshot` asked for ended, also when it could not begin.

    Every request is answered, or the peer gets no entries any more. Not ok: it is asked for
    again after the peer's next heartbeat.
    """

    to: MemberId
    ok: bool


class Applied(msgspec.Struct, frozen=True, gc=False):
    """The machine holds everything up to `index`."""

    index: Index


class LogCut(msgspec.Struct, frozen=True, gc=False):
    """Entries up to `index` may leave memory: a synced snapshot stands for them."""

    index: Index


class ReadAsked(msgspec.Struct, frozen=True, gc=False):
    """Somebody wants a linearizable read (dissertation 6.4). Answered by `Update.reads_ready`.

    Tokens are the caller's; each gets exactly one answer while the process lives. Without a
    known leader the answer is None, at once: wait for the next `RoleChange` before asking again.
    """

    token: int


class ChangeOp(Enum):
    """The four changes of membership that an operator asks for, one a time."""

    ADD_LEARNER = "add_learner"
    PROMOTE = "promote"
    REMOVE = "remove"
    SWAP = "swap"  # `member` (a learner) in, `outgoing` out, in one joint change


class ChangeAsked(msgspec.Struct, frozen=True):
    """Change the membership if the committed configuration is still the one at `expected`."""

    token: int
    op: ChangeOp
    member: Peer
    expected: EntryId  # of the committed configuration entry
    outgoing: MemberId = MemberId(0)


class TransferAsked(msgspec.Struct, frozen=True, gc=False):
    """Hand leadership to `to`, or to the most caught-up voter when 0.

    Only a leader does, and only to a voter; then proposals are refused until it is deposed, or
    for an election timeout if that does not come. There is no answer but the `RoleChange`.
    """

    to: MemberId = MemberId(0)


class DiskState(msgspec.Struct, frozen=True, gc=False):
    """How the disk does: free bytes, and the age in ticks of the oldest fsync that is running.

    Tell it at least once a heartbeat while a sync runs long, and 0 when it is over: a member
    whose disk hangs for an election timeout stops leading and does not campaign. The bytes are
    not looked at: what may still be written is the caller's decision (SAFETY 21).
    """

    free_bytes: int
    stall_ticks: int


class PeerLost(msgspec.Struct, frozen=True, gc=False):
    """The connection to `member` was reset and a new one refused. `draw` as in `Tick`."""

    member: MemberId
    draw: float


Event = (
    Tick
    | Received
    | Proposed
    | Persisted
    | SnapshotPersisted
    | SnapshotSent
    | Applied
    | LogCut
    | ReadAsked
    | ChangeAsked
    | TransferAsked
    | DiskState
    | PeerLost
)

# ---------------------------------------------------------------- decisions


class Role(Enum):
    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"
    LEARNER = "learner"


class RoleChange(msgspec.Struct, frozen=True, gc=False):
    """Who leads as far as this member knows (0: nobody), and as what it stands itself."""

    role: Role
    term: Term
    leader: MemberId


class ReadReady(msgspec.Struct, frozen=True, gc=False):
    """A confirmed read point, or `index` None: this member cannot say, ask again."""

    token: int
    index: Index | None


class ChangeAnswer(msgspec.Struct, frozen=True):
    """What became of a `ChangeAsked`: `refused` is "" once its entry has committed.

    Else a sentence that says why. `at` and `configuration` are the committed ones now.
    """

    token: int
    refused: str
    at: EntryId
    configuration: Configuration


class Write(msgspec.Struct, frozen=True):
    """One durable write: done in this order, then `Persisted(token)`."""

    token: Token
    hard_state: HardState | None
    truncate_from: Index | None  # a conflict: entries from here on are void (a record, no seek)
    entries: tuple[Entry, ...]


class Outgoing(msgspec.Struct, frozen=True):
    """A message to a peer."""

    to: MemberId
    message: Message


class SendSnapshot(msgspec.Struct, frozen=True, gc=False):
    """Send a snapshot whose index is at least `index_min` to `to`; report `SnapshotSent`."""

    to: MemberId
    index_min: Index


class Update(msgspec.Struct, frozen=True):
    """What to do, in the order of the fields. `EMPTY` when nothing.

    `messages` may leave at once, `messages_after_sync` only after `write` (and every earlier
    write) is synced. Votes, append acknowledgements and whatever carries a term or vote that
    is not durable are always in the second list (SAFETY 20).
    """

    write: Write | None = None
    messages: tuple[Outgoing, ...] = ()
    messages_after_sync: tuple[Outgoing, ...] = ()
    committed: tuple[Entry, ...] = ()  # to apply, in order; only up to min(commit, own synced)
    reads_ready: tuple[ReadReady, ...] = ()
    install_snapshot: SnapshotMeta | None = None
    send_snapshot: tuple[SendSnapshot, ...] = ()
    role: RoleChange | None = None
    configuration: tuple[EntryId, Configuration] | None = None  # in force, committed or not
    changes: tuple[ChangeAnswer, ...] = ()
    refused: bool = False  # a `Proposed` was dropped; nothing of it was appended


EMPTY = Update()
