"""What a leader does: replicate, commit, confirm reads, change the membership, hand over.

Raft sections 5.3, 5.4.2 and 6, dissertation 3.10, 4 and 6.4. Every function takes the state
that it works on first; those named `on_...` are entries of the table in `core.py`.

Trap: a leader may stand outside its own configuration (it is removing itself). It then counts
nobody's disk as its own: quorums are always asked of the configuration, never of "us and n".
"""

from collections.abc import Sequence

from faunadb.raft.entries import (
    Configuration,
    Entry,
    EntryId,
    EntryKind,
    Index,
    MemberId,
    Peer,
    encode_configuration,
    join_entries,
)
from faunadb.raft.events import ChangeAsked, ChangeOp, Role, SendSnapshot
from faunadb.raft.membership import add_learner, leave_joint, promote, remove, swap
from faunadb.raft.messages import (
    AppendEntries,
    AppendResponse,
    Heartbeat,
    HeartbeatResponse,
    ReadRequest,
    ReadResponse,
    TimeoutNow,
)
from faunadb.raft.progress import Flow, Progress
from faunadb.raft.quorum import joint_value
from faunadb.raft.reads import Waiting
from faunadb.raft.state import NOBODY, State

# ---------------------------------------------------------------- taking office


def become_leader(s: State) -> None:
    """Begin to lead; the NOOP lets entries of earlier terms commit (Raft 5.4.2, 8)."""
    s.drop_reads()
    s.role, s.leader, s.votes = Role.LEADER, s.me, {}
    s.peers = {}
    s.transfer_to = NOBODY
    s.uncommitted_bytes = sum(len(e.raw) for e in s.log.from_(s.log.commit + 1))
    s.own_start = s.log.last.index + 1
    s.heartbeat_at = s.now
    _meet_peers(s)
    _append(s, EntryKind.NOOP, [b""])


def tick(s: State) -> None:
    """Send heartbeats when they are due, and see whether a majority still answers."""
    if s.now - s.heartbeat_at < s.config.heartbeat_ticks:
        return
    s.heartbeat_at = s.now
    if s.now - _last_contact(s) > s.config.election_ticks:
        s.become_follower(s.term, NOBODY)  # CheckQuorum (dissertation 6.2)
        return
    if s.transfer_to != NOBODY:
        _push_transfer(s)
    for read in s.reads.expire(s.now - s.config.election_ticks):
        s.answer_read(read, None)
    _heartbeat(s, s.reads.begin(cover=s.own_term_committed), tuple(s.peers))


def _last_contact(s: State) -> int:
    """Return the tick since when a quorum has not been heard."""
    heard = {member: peer.heard_at for member, peer in s.peers.items()}
    heard[s.me] = s.now
    return joint_value(s.membership.voters, s.membership.outgoing, heard)


def _heartbeat(s: State, round_: int, to: Sequence[MemberId]) -> None:
    for member in to:
        peer = s.peers.get(member)
        if peer is not None:
            commit = min(s.log.commit, peer.match)
            peer.commit_told = max(peer.commit_told, commit)
            s.send(member, Heartbeat(s.me, s.term, commit, round_, s.stall_ticks))


def _meet_peers(s: State) -> None:
    """Keep progress for exactly the others in the configuration, each with its directory."""
    peers: dict[MemberId, Progress] = {}
    for peer in s.membership.current.everyone():
        if peer.id == s.me:
            continue
        known = s.peers.get(peer.id)
        if known is None or peer.nonce not in {b"", known.nonce}:
            known = Progress(peer.id, peer.nonce, last=s.log.last.index, now=s.now)
        peers[peer.id] = known
    s.peers = peers


def admit(s: State, member: MemberId, nonce: bytes) -> None:
    """Key the progress of a learner to the directory that it speaks from (SAFETY 22).

    Only a learner that was added without a nonce may come with a new one; it starts at zero.
    """
    peer = s.peers.get(member)
    if peer is not None and peer.nonce != nonce:
        s.peers[member] = Progress(member, nonce, last=s.log.last.index, now=s.now)


# ---------------------------------------------------------------- replication


def propose(s: State, payloads: Sequence[bytes]) -> None:
    """Append the machine's payloads, or refuse them all."""
    size = sum(len(payload) for payload in payloads)
    full = s.uncommitted_bytes and s.uncommitted_bytes + size > s.config.uncommitted_bytes_max
    if full or s.transfer_to != NOBODY:
        s.refused = True
    elif payloads:
        _append(s, EntryKind.DATA, payloads)


def _append(s: State, kind: EntryKind, payloads: Sequence[bytes]) -> EntryId:
    """Append to our log and send to all; our own disk counts only when it reports back."""
    start = s.log.last.index + 1
    entries = [
        Entry.make(s.term, Index(index), kind, payload)
        for index, payload in enumerate(payloads, start)
    ]
    s.uncommitted_bytes += sum(len(entry.raw) for entry in entries)
    s.append(entries)
    if kind is EntryKind.CONFIGURATION:
        _meet_peers(s)
    for peer in s.peers.values():
        send_entries(s, peer)
    return s.log.last


def send_entries(s: State, peer: Progress) -> bool:
    """Send what the peer lacks, as far as its window allows; say whether anything left."""
    config, sent = s.config, False
    while peer.next <= s.log.last.index or peer.flow is Flow.PROBE:
        if not peer.may_send(config.inflight_messages_max, config.inflight_bytes_max):
            break
        if not _send_append(s, peer, *_block(s, peer.next)):
            break
        sent = True
    return sent


def _send_append(s: State, peer: Progress, block: bytes, last: int) -> bool:
    """Send one message, or ask for a snapshot when its `prev` was cut; say which."""
    prev = peer.next - 1
    term = s.log.term_at(prev)
    if term is None:
        peer.awaits_snapshot(s.log.base.index)
        s.send_snapshot.append(SendSnapshot(peer.member, s.log.base.index))
        return False
    commit = s.log.commit
    peer.commit_told = max(peer.commit_told, min(commit, last))
    s.send(peer.member, AppendEntries(s.me, s.term, EntryId(term, Index(prev)), commit, block))
    if block or peer.flow is Flow.PROBE:
        peer.sent(last, len(block))
    return True


def _block(s: State, start: int) -> tuple[bytes, int]:
    """Return the bytes of the entries from `start` on and the last index in them.

    Made once per step: peers that are equally far get the same bytes.
    """
    if start <= s.log.base.index or start > s.log.last.index:
        return b"", start - 1
    found = s.blocks.get(start)
    if found is None:
        last = s.log.batch_end(start, s.config.append_bytes_max)
        found = s.blocks[start] = (join_entries(s.log.between(start - 1, last)), last)
    return found


def on_append_response(s: State, m: AppendResponse) -> None:
    peer = s.peers.get(m.sender)
    if peer is None:
        return
    peer.heard_at = s.now
    if m.refused:
        if peer.refused(m.index, s.log.newest_fitting(m.hint).index):
            send_entries(s, peer)
        return
    assert m.index <= s.log.last.index, "nobody has more of a term than its leader"
    news = peer.accepted(m.index)
    peer.measure_round(s.log.last.index, s.now)
    if news:
        maybe_commit(s)
        if s.transfer_to == m.sender:
            _push_transfer(s)
    if s.peers.get(m.sender) is peer and not send_entries(s, peer):
        _tell_commit(s, peer)  # it is gone if the commit removed it, or us


def on_heartbeat_response(s: State, m: HeartbeatResponse) -> None:
    peer = s.peers.get(m.sender)
    if peer is None:
        return
    peer.heard_at, peer.stall_ticks, peer.paused = s.now, m.stall_ticks, False
    if m.round > peer.round_acked:
        peer.round_acked = m.round
        if s.reads.running:
            _confirm_reads(s)
    peer.measure_round(s.log.last.index, s.now)
    if peer.match == s.log.last.index or peer.flow is Flow.SNAPSHOT:
        return
    if not send_entries(s, peer) and peer.flow is Flow.REPLICATE:
        # Nothing new to send, yet something is unanswered: an empty append behind the last
        # one sent is either accepted, or refused and so tells that something was lost.
        _send_append(s, peer, b"", peer.next - 1)


def snapshot_sent(s: State, to: MemberId, *, ok: bool) -> None:
    """Go on with entries after a transfer, or try again after the next heartbeat."""
    peer = s.peers.get(to)
    if peer is not None:
        peer.snapshot_ended(ok=ok)


# ---------------------------------------------------------------- commit


def maybe_commit(s: State) -> None:
    """Commit what a quorum has on disk, if it ends in our own term (Raft 5.4.2)."""
    reached: dict[MemberId, int] = {member: peer.match for member, peer in s.peers.items()}
    reached[s.me] = s.log.synced
    index = joint_value(s.membership.voters, s.membership.outgoing, reached)
    before = s.log.commit
    if index <= before or s.log.term_at(index) != s.term:
        return
    s.uncommitted_bytes -= sum(len(entry.raw) for entry in s.log.between(before, index))
    pending = s.membership.pending
    s.commit_to(Index(index))
    for peer in s.peers.values():
        _tell_commit(s, peer)
    if s.reads.waiting and not s.reads.running:
        _begin_round(s)
    if (pending and not s.membership.pending) or before < s.own_start:
        _configuration_committed(s)


def _tell_commit(s: State, peer: Progress) -> None:
    """Tell a peer that has everything and gets nothing more that it may commit."""
    if peer.match == s.log.last.index and peer.commit_told < s.log.commit:
        peer.commit_told = s.log.commit
        s.send(peer.member, Heartbeat(s.me, s.term, s.log.commit, 0, s.stall_ticks))


def _configuration_committed(s: State) -> None:
    """Answer who asked for a change; leave a joint configuration; go if we are out of it."""
    configuration = s.membership.current
    if s.membership.pending:
        return
    if configuration.voters_outgoing:
        _append_configuration(s, leave_joint(configuration))
        return
    if s.change_token is not None:
        s.answer_change(s.change_token, "")
        s.change_token = None
    if not s.membership.is_voter(s.me):
        abdicate(s)


# ---------------------------------------------------------------- reads


def read_asked(s: State, token: int) -> None:
    """Queue a read of our own."""
    _queue_read(s, Waiting(NOBODY, token, s.now))


def on_read_request(s: State, m: ReadRequest) -> None:
    _queue_read(s, Waiting(m.sender, m.round, s.now))


def _queue_read(s: State, read: Waiting) -> None:
    s.reads.ask(read)
    if not s.reads.running and s.own_term_committed:
        _begin_round(s)


def _begin_round(s: State) -> None:
    """Ask the voters whether we still lead, on behalf of all reads that wait."""
    if not s.own_term_committed:
        return
    round_ = s.reads.begin()
    _heartbeat(s, round_, sorted(s.membership.voters | s.membership.outgoing))
    _confirm_reads(s)


def _confirm_reads(s: State) -> None:
    """Answer the reads whose round a quorum has confirmed, then begin the next round."""
    reached = {member: peer.round_acked for member, peer in s.peers.items()}
    reached[s.me] = s.reads.round
    round_ = joint_value(s.membership.voters, s.membership.outgoing, reached)
    for read in s.reads.confirm(round_):
        if read.origin == NOBODY:
            s.answer_read(read, s.log.commit)
        else:
            answer = ReadResponse(s.me, s.term, read.token, s.log.commit)
            s.send(read.origin, answer)
    if s.reads.waiting and not s.reads.running:
        _begin_round(s)


# ---------------------------------------------------------------- membership


def change_asked(s: State, asked: ChangeAsked) -> None:
    """Append the next configuration, or refuse with a sentence."""
    planned = _not_now(s, asked) or _plan(s, asked)
    if isinstance(planned, str):
        s.answer_change(asked.token, planned)
    else:
        s.change_token = asked.token
        _append_configuration(s, planned)


def _not_now(s: State, asked: ChangeAsked) -> str:
    """Say why no change may be made now; "" if one may."""
    at, configuration = s.membership.committed
    if not s.own_term_committed:  # the known single-server bug: Ongaro, raft-dev, July 2015
        return "the leader is new and has not committed anything in its term yet: ask again"
    if s.membership.pending or configuration.voters_outgoing:
        return "another change has not committed yet: one at a time"
    if s.transfer_to != NOBODY:
        return f"leadership is being handed to member {s.transfer_to}"
    if asked.expected != at:
        return (
            f"the configuration is not the expected one {_name(asked.expected)}: "
            f"it is {_name(at)} now"
        )
    return ""


def _plan(s: State, asked: ChangeAsked) -> Configuration | str:
    now = s.membership.current
    match asked.op:
        case ChangeOp.ADD_LEARNER:
            return add_learner(now, asked.member)
        case ChangeOp.REMOVE:
            return remove(now, asked.member.id)
        case ChangeOp.PROMOTE:
            planned = promote(now, asked.member)
        case ChangeOp.SWAP:
            planned = swap(now, asked.member, asked.outgoing)
    return planned if isinstance(planned, str) else _not_ready(s, asked.member) or planned


def _not_ready(s: State, learner: Peer) -> str:
    """Say why the named directory is not within one round of our log now (SAFETY 22)."""
    peer = s.peers[learner.id]
    if peer.nonce != learner.nonce:
        return f"member {peer.member} does not speak from the data directory that was named"
    if not peer.caught_up(s.log.last.index, s.now, s.config.election_ticks):
        missing_count = s.log.last.index - peer.match
        return f"member {peer.member} has not caught up: it lacks {missing_count} entries"
    return ""


def _append_configuration(s: State, configuration: Configuration) -> None:
    _append(s, EntryKind.CONFIGURATION, [encode_configuration(configuration)])


def _name(id_: EntryId) -> str:
    return f"({id_.term}, {id_.index})"


# ---------------------------------------------------------------- handing over


def transfer_asked(s: State, to: MemberId) -> None:
    """Begin to hand leadership to `to` (0: the most caught-up voter); no voter, no transfer.

    Proposals are refused meanwhile; after an election timeout we lead on.
    """
    target = to if to != NOBODY else _successor(s)
    if target in s.peers and target in s.membership.voters:
        s.transfer_to = target
        s.transfer_until = s.now + s.config.election_ticks
        _push_transfer(s)


def _push_transfer(s: State) -> None:
    """Tell the successor to campaign once it has everything; give up in the end."""
    peer = s.peers.get(s.transfer_to)
    if peer is None or s.now >= s.transfer_until:
        s.transfer_to = NOBODY
    elif peer.match == s.log.last.index:
        s.send(peer.member, TimeoutNow(s.me, s.term))


def _successor(s: State) -> MemberId:
    """Return the voter that was heard and has most of the log, 0 if there is none."""
    limit = s.config.election_ticks
    able = [
        peer
        for member, peer in s.peers.items()
        if member in s.membership.voters
        and s.now - peer.heard_at < limit
        and peer.stall_ticks < limit
    ]
    best = max(able, key=lambda peer: (peer.match, -peer.stall_ticks, -peer.member), default=None)
    return best.member if best else NOBODY


def abdicate(s: State) -> None:
    """Stop leading at once: our disk hangs, or we are no member any more."""
    successor = _successor(s)
    if successor != NOBODY:
        s.send(successor, TimeoutNow(s.me, s.term))
    s.become_follower(s.term, NOBODY)


def disk_stalled(s: State) -> None:
    """Abdicate if our disk hangs for an election timeout and somebody else could lead."""
    if s.stall_ticks >= s.config.election_ticks and (s.membership.voters - {s.me}):
        abdicate(s)
