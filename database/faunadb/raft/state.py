"""What a member knows, and what it has decided since the step began.

`State` is the one mutable object of the core. The role modules (`follower`, `election`,
`leader`) are functions over it; they change it and put effects in its outbox, and
`take_update` makes the one `Update` of the step from that.

Trap: a term or vote that is not on disk may not be heard of by anybody (SAFETY 20). No handler
need think of it: while such a write runs, `take_update` moves every message of the step to
`messages_after_sync`.
"""

from collections import deque
from collections.abc import Sequence

import msgspec

from faunadb.raft.entries import (
    NOTHING,
    Configuration,
    Entry,
    EntryId,
    EntryKind,
    HardState,
    Index,
    MemberId,
    SnapshotMeta,
    Term,
    decode_configuration,
)
from faunadb.raft.events import (
    EMPTY,
    ChangeAnswer,
    Outgoing,
    ReadReady,
    Role,
    RoleChange,
    SendSnapshot,
    Token,
    Update,
    Write,
)
from faunadb.raft.log import RaftLog
from faunadb.raft.membership import EMPTY_CONFIGURATION, Membership
from faunadb.raft.messages import APPEND_BYTES_MAX, Message
from faunadb.raft.progress import Progress
from faunadb.raft.reads import ReadQueue, Waiting

NOBODY = MemberId(0)


class CoreConfig(msgspec.Struct, frozen=True):
    """Times in ticks (10 ms in the product), limits in bytes."""

    election_ticks: int = 50  # a timeout is drawn from [this, twice this): 500 to 1000 ms
    heartbeat_ticks: int = 10
    peer_lost_ticks: int = 5  # a pre-vote starts within this after the leader's host said no
    append_bytes_max: int = APPEND_BYTES_MAX
    inflight_messages_max: int = 64  # per peer
    inflight_bytes_max: int = 8 * 1024 * 1024  # per peer: 80 ms of a gigabit link
    uncommitted_bytes_max: int = 64 * 1024 * 1024  # then proposals are refused (429)


class Restored(msgspec.Struct, frozen=True):
    """What a member starts with; `core.restore` makes it from what was found on disk."""

    hard_state: HardState = HardState()
    base: EntryId = NOTHING  # the entry before the first of `entries`
    entries: tuple[Entry, ...] = ()
    configuration: Configuration = EMPTY_CONFIGURATION
    configuration_id: EntryId = NOTHING
    configuration_at: Index = Index(0)  # the snapshot: later CONFIGURATION entries replace it
    applied: Index = Index(0)
    joined: bool = False
    void_from: Index | None = None  # the log on disk from here on contradicts the snapshot


class State:
    """Everything that `step` reads and changes."""

    def __init__(self, config: CoreConfig, member: MemberId, nonce: bytes, found: Restored) -> None:
        self.config = config
        self.me = member
        self.nonce = nonce
        self.term = found.hard_state.term
        self.vote = found.hard_state.vote
        self.leader = NOBODY
        commit = max(found.hard_state.commit, found.applied, found.configuration_at)
        self.log = RaftLog(found.base, found.entries, commit=commit)
        assert found.applied >= found.base.index, "the state is older than the log"
        self.log.emitted = self.applied = found.applied
        self.membership = Membership(found.configuration_id, found.configuration)
        self._learn_configurations([e for e in found.entries if e.index > found.configuration_at])
        self.membership.commit(commit)
        self.joined = found.joined or self.log.last.index > 0  # SAFETY 23
        self.role = self.resting_role()

        self.now = 0  # ticks since the start
        self.contact_at = 0  # when a leader was last heard
        self.elapsed_at = 0  # when the election timer was last set back
        self.timeout = 0  # ticks; 0: to be drawn at the next tick
        self.votes: dict[MemberId, bool] = {}
        self.stall_ticks = 0  # of our own disk
        self.installing: SnapshotMeta | None = None
        self.reads = ReadQueue()

        # of a leader only
        self.peers: dict[MemberId, Progress] = {}
        self.own_start = 0  # index of the NOOP of this term
        self.heartbeat_at = 0
        self.uncommitted_bytes = 0
        self.transfer_to = NOBODY
        self.transfer_until = 0
        self.change_token: int | None = None  # the `ChangeAsked` that is being carried out
        self.blocks: dict[int, tuple[bytes, int]] = {}  # by first index, for one step

        # writes: what was handed to the disk, and what came back
        self._sequence = 0
        self._written = found.hard_state
        self._tokens: deque[Token] = deque()
        self._hard_sequence = 0  # the newest write that changed term or vote
        self._persisted_sequence = 0

        # outbox
        self.messages: list[Outgoing] = []
        self.messages_synced: list[Outgoing] = []
        self.reads_ready: list[ReadReady] = []
        self.send_snapshot: list[SendSnapshot] = []
        self.changes: list[ChangeAnswer] = []
        self.install_snapshot: SnapshotMeta | None = None
        self.refused = False
        self._new_entries: list[Entry] = []
        self._truncate_from: Index | None = found.void_from
        self._role_told: tuple[Role, Term, MemberId] | None = None
        self._configuration_changed = bool(self.membership.current.voters)

    # ------------------------------------------------------------ questions

    def resting_role(self) -> Role:
        """Return what this member is when it neither leads nor asks for votes."""
        return Role.FOLLOWER if self.membership.is_voter(self.me) else Role.LEARNER

    @property
    def durable(self) -> bool:
        """Say whether the present term and vote are on disk."""
        return (
            self._persisted_sequence >= self._hard_sequence
            and self.term == self._written.term
            and self.vote == self._written.vote
        )

    @property
    def own_term_committed(self) -> bool:
        """Say whether a leader knows all that was committed before it (Raft 5.4.2, 8)."""
        return self.log.commit >= self.own_start

    def lease_holds(self) -> bool:
        """Say whether there is reason to believe that the leader still leads.

        Only a reason to refuse votes (dissertation 4.2.3), never one to read.
        """
        if self.role is Role.LEADER:
            return True
        return self.leader != NOBODY and self.now - self.contact_at < self.config.election_ticks

    # ------------------------------------------------------------ effects

    def send(self, to: MemberId, message: Message) -> None:
        """Let a message leave at once, or after the sync of the term that it carries."""
        self.messages.append(Outgoing(to, message))

    def send_synced(self, to: MemberId, message: Message) -> None:
        """Let a message leave when everything that was written so far is synced."""
        self.messages_synced.append(Outgoing(to, message))

    def append(self, entries: Sequence[Entry]) -> None:
        """Put entries at the end of the log; configurations among them are in force at once."""
        self.log.append(entries)
        self._new_entries.extend(entries)
        if self._learn_configurations(entries):
            self.membership_changed()

    def truncate(self, from_index: Index) -> None:
        """Throw away a tail that contradicts the leader, and the configurations in it."""
        self.log.truncate(from_index)
        assert not self._new_entries, "a step truncates before it appends"
        self._truncate_from = from_index
        if self.membership.truncate(from_index):
            self.membership_changed()

    def commit_to(self, index: Index) -> None:
        """Raise the commit index; it never falls."""
        if index > self.log.commit:
            assert index <= self.log.last.index, "the log lost entries that it had acknowledged"
            self.log.commit = index
            self.membership.commit(index)

    def become_follower(self, term: Term, leader: MemberId) -> None:
        """Follow `leader` (0: nobody known) in `term`; what a leader promised is withdrawn."""
        self.enter_term(term)
        if self.role is Role.LEADER:
            self._stop_leading()
        if self.leader != leader:
            self.drop_reads()
        self.leader = leader
        self.role = self.resting_role()
        self.votes = {}
        self.restart_timer()

    def enter_term(self, term: Term) -> None:
        """Forget the vote and the leader of an earlier term."""
        assert term >= self.term, "terms never fall"
        if term > self.term:
            self.term, self.vote = term, NOBODY
            self.drop_reads()

    def restart_timer(self) -> None:
        """Wait a whole election timeout again, drawn anew at the next tick."""
        self.elapsed_at, self.timeout = self.now, 0

    def answer_read(self, read: Waiting, index: Index | None) -> None:
        """Answer a read of our own."""
        if read.origin == NOBODY:
            self.reads_ready.append(ReadReady(read.token, index))

    def drop_reads(self) -> None:
        """Tell our own readers to ask again; other members notice the new term themselves."""
        for read in self.reads.drop():
            self.answer_read(read, None)

    def answer_change(self, token: int, refused: str) -> None:
        self.changes.append(ChangeAnswer(token, refused, *self.membership.committed))

    def membership_changed(self) -> None:
        """Take the role that the configuration in force gives us, and report it."""
        self._configuration_changed = True
        if self.role in {Role.FOLLOWER, Role.LEARNER}:
            self.role = self.resting_role()

    def _stop_leading(self) -> None:
        self.drop_reads()
        self.peers = {}
        self.uncommitted_bytes = 0
        self.transfer_to = NOBODY
        if self.change_token is not None:
            sentence = "leadership was lost before the change committed: it may or may not happen"
            self.answer_change(self.change_token, sentence)
            self.change_token = None

    def _learn_configurations(self, entries: Sequence[Entry]) -> bool:
        found = [entry for entry in entries if entry.kind is EntryKind.CONFIGURATION]
        for entry in found:
            self.membership.append(entry.id, decode_configuration(entry.payload))
        return bool(found)

    # ------------------------------------------------------------ the disk

    def persisted(self, token: Token) -> None:
        """Count a finished write and all before it; one that nobody waits for is ignored."""
        if token not in self._tokens:
            return
        while self._tokens.popleft() != token:
            pass
        self._persisted_sequence = token.sequence
        self.log.wrote(token.sequence)
        self.joined = self.joined or self.log.synced > 0

    def start_over(self, meta: SnapshotMeta) -> None:
        """Let an installed snapshot replace a log that does not contain it."""
        if self.log.last.index > meta.id.index:
            self._truncate_from = Index(meta.id.index + 1)
        self.log.reset(meta.id)
        self.applied = meta.id.index
        self.membership.reset(meta.configuration_id, meta.configuration)
        self.joined = True
        self.membership_changed()

    # ------------------------------------------------------------ the end of a step

    def take_update(self) -> Update:
        """Return what the step decided and empty the outbox."""
        write = self._take_write()
        ready = () if self.installing is not None else self.log.take_ready()
        role = (self.role, self.term, self.leader)
        if role == self._role_told:
            if not (
                write
                or self.messages
                or self.messages_synced
                or ready
                or self.reads_ready
                or self._rest()
            ):
                return EMPTY
            told = None
        else:
            self._role_told = role
            told = RoleChange(*role)
        return self._make_update(write, tuple(ready), told)

    def _rest(self) -> bool:
        """Say whether one of the rare effects was decided."""
        return bool(
            self.install_snapshot
            or self.send_snapshot
            or self._configuration_changed
            or self.changes
            or self.refused
        )

    def _make_update(
        self, write: Write | None, ready: tuple[Entry, ...], role: RoleChange | None
    ) -> Update:
        now, later = self.messages, self.messages_synced
        if now and not self.durable:
            now, later = [], now + later
        changed = self._configuration_changed
        update = Update(
            write=write,
            messages=tuple(now),
            messages_after_sync=tuple(later),
            committed=ready,
            reads_ready=tuple(self.reads_ready),
            install_snapshot=self.install_snapshot,
            send_snapshot=tuple(self.send_snapshot),
            role=role,
            configuration=(self.membership.id, self.membership.current) if changed else None,
            changes=tuple(self.changes),
            refused=self.refused,
        )
        self.messages, self.messages_synced, self.reads_ready = [], [], []
        self.send_snapshot, self.changes = [], []
        self.install_snapshot, self.refused, self._configuration_changed = None, False, False
        self.blocks.clear()
        return update

    def _take_write(self) -> Write | None:
        written = self._written
        moved = self.term != written.term or self.vote != written.vote
        if not moved and not self._new_entries and self._truncate_from is None:
            return None
        self._sequence += 1
        hard_state = HardState(self.term, self.vote, self.log.commit)
        token = Token(self.term, self._sequence)
        write = Write(
            token=token,
            hard_state=hard_state if hard_state != written else None,
            truncate_from=self._truncate_from,
            entries=tuple(self._new_entries),
        )
        if moved:
            self._hard_sequence = self._sequence
        self._written = hard_state
        self._tokens.append(token)
        self.log.writing(self._sequence)
        self._new_entries, self._truncate_from = [], None
        return write
