"""The consensus of one member: `Core.step(event) -> Update`.

Read it in this order: `entries` (what the log is made of), `messages` and `events` (what goes
in and comes out), this module (how an event finds its handler), then `follower`, `election`
and `leader`, which read like the paper, and at last what they stand on: `state`, `log`,
`progress`, `membership`, `reads`, `quorum`.

House rules: no clock, no chance, no I/O, no exceptions but assertions. Time comes in as `Tick`,
chance as a number in it. One handler per (role, message), found in `HANDLERS`.

Trap: the caller does what an `Update` says in the order of its fields, before the next `step`.
It may hand the write to another thread, but reports `Persisted` only after the sync.

Sources: Ongaro and Ousterhout's paper ("Raft 5.3") and Ongaro's dissertation.
"""

from collections.abc import Callable, Sequence
from typing import Any, assert_never

from faunadb.raft import election, follower, leader
from faunadb.raft.entries import (
    NOTHING,
    Configuration,
    Entry,
    EntryId,
    EntryKind,
    HardState,
    Index,
    MemberId,
    Peer,
    SnapshotMeta,
    Term,
    encode_configuration,
)
from faunadb.raft.events import (
    Applied,
    ChangeAsked,
    DiskState,
    Event,
    LogCut,
    PeerLost,
    Persisted,
    Proposed,
    ReadAsked,
    Received,
    Role,
    SnapshotPersisted,
    SnapshotSent,
    Tick,
    TransferAsked,
    Update,
)
from faunadb.raft.membership import NONCE_BYTES
from faunadb.raft.messages import (
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
)
from faunadb.raft.progress import ProgressView
from faunadb.raft.state import NOBODY, CoreConfig, Restored, State

Handler = Callable[[State, Any], None]

_EVERYBODY: dict[type[Message], Handler] = {
    PreVoteRequest: election.on_pre_vote_request,
    VoteRequest: election.on_vote_request,
}
_FOLLOWING: dict[type[Message], Handler] = _EVERYBODY | {
    AppendEntries: follower.on_append_entries,
    Heartbeat: follower.on_heartbeat,
    InstallSnapshot: follower.on_install_snapshot,
    ReadRequest: follower.on_read_request,
    ReadResponse: follower.on_read_response,
    TimeoutNow: follower.on_timeout_now,
}
HANDLERS: dict[Role, dict[type[Message], Handler]] = {
    Role.FOLLOWER: _FOLLOWING,
    Role.LEARNER: _FOLLOWING,
    Role.PRE_CANDIDATE: _FOLLOWING | {PreVoteResponse: election.on_pre_vote_response},
    Role.CANDIDATE: _FOLLOWING | {VoteResponse: election.on_vote_response},
    Role.LEADER: _EVERYBODY
    | {
        AppendEntries: follower.on_append_entries,  # these two assert that nobody else leads
        Heartbeat: follower.on_heartbeat,
        AppendResponse: leader.on_append_response,
        HeartbeatResponse: leader.on_heartbeat_response,
        ReadRequest: leader.on_read_request,
    },
}

_FROM_LEADER = (AppendEntries, Heartbeat)
_REGARDLESS_OF_TERM = (PreVoteRequest, PreVoteResponse, InstallSnapshot)


class Core:
    """One member. `nonce` is that of its data directory; `found` comes from `restore`."""

    def __init__(self, config: CoreConfig, member: MemberId, nonce: bytes, found: Restored) -> None:
        assert len(nonce) == NONCE_BYTES
        assert member > NOBODY
        self._s = State(config, member, nonce, found)

    def step(self, event: Event) -> Update:
        """Take in what happened and return what is to be done about it."""
        s = self._s
        match event:
            case Received():
                _received(s, event.message, event.nonce)
            case Tick():
                _tick(s, event.draw)
            case Persisted():
                s.persisted(event.token)
                _synced(s)
            case Proposed():
                _proposed(s, event)
            case Applied():
                s.applied = event.index
            case LogCut():
                s.log.cut(min(event.index, s.applied))
            case ReadAsked():
                asked = leader if s.role is Role.LEADER else follower
                asked.read_asked(s, event.token)
            case _:
                _rare(s, event)
        return s.take_update()

    # ------------------------------------------------------------ what the shell may ask

    @property
    def member(self) -> MemberId:
        return self._s.me

    @property
    def term(self) -> Term:
        return self._s.term

    @property
    def vote(self) -> MemberId:
        return self._s.vote

    @property
    def role(self) -> Role:
        return self._s.role

    @property
    def leader(self) -> MemberId:
        """Who leads as far as we know, 0 if nobody."""
        return self._s.leader

    @property
    def last(self) -> EntryId:
        return self._s.log.last

    @property
    def base(self) -> EntryId:
        """The newest entry that was cut from memory."""
        return self._s.log.base

    @property
    def commit(self) -> Index:
        return self._s.log.commit

    @property
    def synced(self) -> Index:
        """How far our own disk has the log."""
        return self._s.log.synced

    @property
    def applied(self) -> Index:
        return self._s.applied

    @property
    def own_term_committed(self) -> bool:
        """Whether we lead and have committed an entry of our own term (SAFETY 4, 7)."""
        return self._s.role is Role.LEADER and self._s.own_term_committed

    @property
    def configuration(self) -> tuple[EntryId, Configuration]:
        """The configuration in force, committed or not."""
        return self._s.membership.id, self._s.membership.current

    @property
    def committed_configuration(self) -> tuple[EntryId, Configuration]:
        return self._s.membership.committed

    @property
    def joined(self) -> bool:
        """Whether this directory has synced anything of the log (SAFETY 23)."""
        return self._s.joined

    @property
    def installing(self) -> SnapshotMeta | None:
        return self._s.installing

    @property
    def transferring_to(self) -> MemberId:
        """Who is to lead next, 0 if we are not handing over."""
        return self._s.transfer_to

    @property
    def uncommitted_bytes(self) -> int:
        """Bytes of a leader's entries that have not committed; 0 elsewhere."""
        return self._s.uncommitted_bytes

    def progress(self) -> tuple[ProgressView, ...]:
        """Return what a leader knows of the others, in order of id; () elsewhere."""
        s = self._s
        last, ticks = s.log.last.index, s.config.election_ticks
        return tuple(s.peers[member].view(last, s.now, ticks) for member in sorted(s.peers))

    def committed_after(
        self, index: Index, through: Index, *, entries_max: int, bytes_max: int
    ) -> tuple[Entry, ...]:
        """Return committed entries in (index, through], bounded, but at least one if there is one.

        Assertion: `index` was not cut.
        """
        log = self._s.log
        end = min(through, log.commit, index + entries_max)
        if end <= index:
            return ()
        return tuple(log.between(index, min(end, log.batch_end(index + 1, bytes_max))))

    def entries_after(self, index: Index) -> tuple[Entry, ...]:
        """Return the tail of the log behind `index` (assertion: not cut)."""
        return tuple(self._s.log.between(index, self._s.log.last.index))

    def check(self) -> None:
        """Assert what holds after every step."""
        s = self._s
        s.log.check()
        assert s.applied <= s.log.emitted
        assert s.membership.id.index <= s.log.last.index
        assert s.membership.committed[0].index <= s.log.commit
        assert not s.messages, "the outbox was emptied"
        assert not s.messages_synced
        if s.role is Role.LEADER:
            _check_leader(s)
        else:
            assert s.leader != s.me
            assert not s.peers
            assert s.change_token is None
        if s.role in {Role.PRE_CANDIDATE, Role.CANDIDATE}:
            assert s.leader == NOBODY
            assert s.installing is None


def _check_leader(s: State) -> None:
    assert s.leader == s.me == s.vote
    assert s.durable, "nobody leads in a term that it could forget"
    assert set(s.peers) == {peer.id for peer in s.membership.current.everyone()} - {s.me}
    unsettled = s.log.between(s.log.commit, s.log.last.index)
    assert s.uncommitted_bytes == sum(len(entry.raw) for entry in unsettled)
    own = [e for e in unsettled if e.kind is EntryKind.CONFIGURATION and e.term == s.term]
    assert len(own) <= 1, "two changes of membership at once"
    for peer in s.peers.values():
        assert peer.match < peer.next
        assert peer.match <= s.log.last.index


# ---------------------------------------------------------------- events


def _tick(s: State, draw: float) -> None:
    s.now += 1
    if s.role is Role.LEADER:
        leader.tick(s)
    else:
        follower.tick(s, draw)


def _synced(s: State) -> None:
    """Count our own disk, as a leader's or as a candidate's."""
    if s.role is Role.LEADER:
        leader.maybe_commit(s)
    elif s.role is Role.CANDIDATE:
        election.own_vote_synced(s)


def _rare(
    s: State,
    event: SnapshotPersisted | SnapshotSent | ChangeAsked | TransferAsked | DiskState | PeerLost,
) -> None:
    match event:
        case SnapshotPersisted():
            follower.snapshot_persisted(s, event.meta)
        case SnapshotSent():
            leader.snapshot_sent(s, event.to, ok=event.ok)
        case ChangeAsked():
            _change_asked(s, event)
        case TransferAsked():
            if s.role is Role.LEADER:
                leader.transfer_asked(s, event.to)
        case DiskState():
            s.stall_ticks = event.stall_ticks  # space is the shell's to ration (SAFETY 21)
            if s.role is Role.LEADER:
                leader.disk_stalled(s)
        case PeerLost():
            if s.role is not Role.LEADER:
                follower.peer_lost(s, event.member, event.draw)
        case _:
            assert_never(event)


def _proposed(s: State, event: Proposed) -> None:
    if s.role is Role.LEADER:
        leader.propose(s, event.payloads)
    else:
        s.refused = True


def _change_asked(s: State, event: ChangeAsked) -> None:
    if s.role is Role.LEADER:
        leader.change_asked(s, event)
    elif s.leader == NOBODY:
        s.answer_change(event.token, "nobody is known to lead: ask again")
    else:
        s.answer_change(event.token, f"member {s.leader} leads: ask there")


# ---------------------------------------------------------------- messages


def _received(s: State, m: Message, nonce: bytes) -> None:
    """Settle whose message it is and which term, then call the handler of (role, message)."""
    if not _known_directory(s, m.sender, nonce):
        return
    if m.term > s.term and not isinstance(m, PreVoteRequest):
        if _may_be_ignored(s, m):
            return
        s.become_follower(m.term, m.sender if isinstance(m, _FROM_LEADER) else NOBODY)
    elif m.term < s.term and not isinstance(m, _REGARDLESS_OF_TERM):
        _answer_stale(s, m)
        return
    handler = HANDLERS[s.role].get(type(m))
    if handler is not None:
        handler(s, m)


def _known_directory(s: State, sender: MemberId, nonce: bytes) -> bool:
    """Refuse who speaks from another directory than the configuration names (SAFETY 22)."""
    expected = s.membership.nonces.get(sender)
    if sender == s.me:
        return False
    if expected == b"":
        leader.admit(s, sender, nonce)
        return True
    return expected is None or expected == nonce


def _may_be_ignored(s: State, m: Message) -> bool:
    """Say whether a higher term is no reason to leave ours.

    A vote that is asked for while the leader is heard (dissertation 4.2.3), and what a member
    that is no longer in the configuration still answers.
    """
    if isinstance(m, VoteRequest):
        return not m.forced and s.lease_holds()
    return isinstance(m, AppendResponse | HeartbeatResponse) and m.sender not in s.peers


def _answer_stale(s: State, m: Message) -> None:
    """Tell a leader or candidate of an earlier term that its time is over."""
    match m:
        case AppendEntries() | Heartbeat():
            s.send(m.sender, HeartbeatResponse(s.me, s.term, 0, s.stall_ticks))
        case VoteRequest():
            s.send(m.sender, VoteResponse(s.me, s.term, granted=False))
        case ReadRequest():
            s.send(m.sender, ReadResponse(s.me, s.term, m.round, None))
        case _:
            pass  # an answer to a question that nobody asks any more


# ---------------------------------------------------------------- beginnings


def found_cluster(peer: Peer) -> tuple[HardState, tuple[Entry, ...]]:
    """Return what `init` writes: a cluster of one voter, committed by definition."""
    assert len(peer.nonce) == NONCE_BYTES
    configuration = Configuration(voters=(peer,), highest_member_id=peer.id)
    payload = encode_configuration(configuration)
    entry = Entry.make(Term(1), Index(1), EntryKind.CONFIGURATION, payload)
    return HardState(Term(1), peer.id, Index(1)), (entry,)


def recovered_cluster(
    peer: Peer,
    hard_state: HardState,
    last: Index,
    highest_member_id: MemberId,
    payloads: Sequence[bytes],
) -> tuple[HardState, tuple[Entry, ...]]:
    """Return what a lone survivor appends to its log up to `last`: it is the only voter now.

    All of its log is committed by that, the tail too. What was acknowledged to a client is on a
    majority, but a member hears of the commitment later: whoever cut the tail at the commit
    index that it knows would lose acknowledged writes. An entry of the tail that never committed
    was answered "outcome unknown" and may become true.
    """
    assert len(peer.nonce) == NONCE_BYTES
    highest = max(highest_member_id, peer.id)
    configuration = Configuration(voters=(peer,), highest_member_id=highest)
    term, first = Term(hard_state.term + 1), last + 1
    kinds = [EntryKind.CONFIGURATION, *(EntryKind.DATA for _ in payloads)]
    blocks = [encode_configuration(configuration), *payloads]
    entries = tuple(
        Entry.make(term, Index(first + number), kind, block)
        for number, (kind, block) in enumerate(zip(kinds, blocks, strict=True))
    )
    return HardState(term, peer.id, entries[-1].index), entries


def restore(
    hard_state: HardState,
    snapshot: SnapshotMeta | None,
    entries: Sequence[Entry],
    *,
    applied: Index,
    joined: bool = False,
) -> Restored:
    """Put together what recovery found; all of it is durable (SAFETY 14).

    `entries` are consecutive; they may begin before the snapshot, and are void if they
    contradict it (a crash between its installation and the truncation of the log).
    """
    if snapshot is None:
        assert not entries or entries[0].index == 1, "the log has no beginning"
        return Restored(
            hard_state=hard_state, entries=tuple(entries), applied=applied, joined=joined
        )
    assert snapshot.configuration_id.index > 0, "a snapshot names the entry of its configuration"
    base, kept = _behind_snapshot(snapshot.id, entries)
    stale = entries and not kept and entries[-1].index > snapshot.id.index
    return Restored(
        hard_state=hard_state,
        base=base,
        entries=kept,
        configuration=snapshot.configuration,
        configuration_id=snapshot.configuration_id,
        configuration_at=snapshot.id.index,
        applied=applied,
        joined=True,
        void_from=Index(snapshot.id.index + 1) if stale else None,
    )


def _behind_snapshot(
    snapshot: EntryId, entries: Sequence[Entry]
) -> tuple[EntryId, tuple[Entry, ...]]:
    """Return the base and the entries after it that agree with the snapshot."""
    if not entries or entries[-1].index < snapshot.index:
        return snapshot, ()
    first = entries[0]
    assert first.index <= snapshot.index + 1, "entries between snapshot and log are missing"
    if first.index == snapshot.index + 1:
        return snapshot, tuple(entries) if first.term >= snapshot.term else ()
    if entries[snapshot.index - first.index].id != snapshot:
        return snapshot, ()
    if first.index == 1:
        return NOTHING, tuple(entries)
    return first.id, tuple(entries[1:])
