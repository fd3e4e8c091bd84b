"""What everybody else does: follow a leader's log, notice that it is gone, ask it for reads.

Raft 5.3; the handlers serve followers, learners and candidates alike, since a candidate that
hears the leader of its term becomes its follower.

Trap: an append that is late, doubled or out of order proves no conflict. The log is shortened
only where an entry of another term stands in its way, and never at or below the commit index
(PySyncObj shortened it to fit every message, and lost what had been applied).
"""

from faunadb.raft import election
from faunadb.raft.entries import Entry, Index, MemberId, SnapshotMeta, split_entries
from faunadb.raft.events import Role
from faunadb.raft.messages import (
    AppendEntries,
    AppendResponse,
    Heartbeat,
    HeartbeatResponse,
    InstallSnapshot,
    ReadRequest,
    ReadResponse,
    TimeoutNow,
)
from faunadb.raft.reads import Waiting
from faunadb.raft.state import NOBODY, State


def tick(s: State, draw: float) -> None:
    """Campaign when no leader was heard for a whole timeout; repeat unanswered questions."""
    if s.now == 1:
        s.reads.count_from(draw)
    if s.timeout == 0:
        s.timeout = _draw_timeout(s, draw)
    if s.now - s.elapsed_at >= s.timeout:
        if election.may_campaign(s):
            election.pre_campaign(s)
        else:
            _lose_leader(s)
    if s.now % s.config.heartbeat_ticks == 0 and (s.reads.running or s.reads.waiting):
        for read in s.reads.expire(s.now - s.config.election_ticks):
            s.answer_read(read, None)
        _ask_leader(s)


def _draw_timeout(s: State, draw: float) -> int:
    """Return election_ticks .. 2 * election_ticks - 1; a sole voter waits for its disk only."""
    sole = s.membership.voters == {s.me} and not s.membership.outgoing
    if sole and s.role is not Role.CANDIDATE:
        return 1
    return s.config.election_ticks + int(draw * s.config.election_ticks)


def _lose_leader(s: State) -> None:
    """Stop believing in a leader that is silent, without a right to succeed it."""
    s.become_follower(s.term, NOBODY)


def peer_lost(s: State, member: MemberId, draw: float) -> None:
    """End the lease of a leader whose host refuses connections; ask for votes soon (SAFETY 5)."""
    if member == s.leader:
        s.become_follower(s.term, NOBODY)
        s.timeout = 1 + int(draw * s.config.peer_lost_ticks)


def _follow(s: State, leader: MemberId) -> None:
    """Note that the leader of our term was heard."""
    if s.leader != leader or s.role not in {Role.FOLLOWER, Role.LEARNER}:
        assert s.role is not Role.LEADER, f"{leader} and {s.me} both lead term {s.term}"
        s.become_follower(s.term, leader)
    s.contact_at = s.elapsed_at = s.now


def on_heartbeat(s: State, m: Heartbeat) -> None:
    """Answer; a leader whose disk hangs does not count as heard (etcd #13527)."""
    assert s.role is not Role.LEADER, f"{m.sender} and {s.me} both lead term {s.term}"
    if m.stall_ticks < s.config.election_ticks:
        _follow(s, m.sender)
    if m.commit > s.log.commit and s.joined and s.installing is None:
        s.commit_to(m.commit)  # an empty directory is not meant: it replaced one that had this
    if m.round:
        s.send(m.sender, HeartbeatResponse(s.me, s.term, m.round, s.stall_ticks))


# ---------------------------------------------------------------- the log


def on_append_entries(s: State, m: AppendEntries) -> None:
    """Take over what follows an entry that we have, and acknowledge it when it is on disk."""
    _follow(s, m.sender)
    if s.installing is not None:
        return  # the log is about to be replaced; the leader will ask again
    entries = split_entries(m.block)
    if m.prev.index < s.log.commit:
        _skip_committed(s, m, entries)
    elif s.log.has(m.prev):
        _accept(s, m, entries)
    else:
        hint = s.log.newest_fitting(m.prev)
        s.send(m.sender, AppendResponse(s.me, s.term, m.prev.index, refused=True, hint=hint))


def _skip_committed(s: State, m: AppendEntries, entries: tuple[Entry, ...]) -> None:
    """Look only at what lies behind the commit index: up to there the logs are equal."""
    _accept(s, m, tuple(entry for entry in entries if entry.index > s.log.commit))


def _accept(s: State, m: AppendEntries, entries: tuple[Entry, ...]) -> None:
    """Append what is new. `entries` follow an entry that we share with the leader."""
    through = entries[-1].index if entries else max(m.prev.index, s.log.commit)
    fresh = _drop_known(s, entries)
    if fresh:
        if fresh[0].index <= s.log.last.index:
            s.truncate(fresh[0].index)
        s.append(fresh)
    if m.commit > s.log.commit:
        s.commit_to(Index(min(m.commit, through)))
    s.send_synced(m.sender, AppendResponse(s.me, s.term, through))


def _drop_known(s: State, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    for at, entry in enumerate(entries):
        if s.log.term_at(entry.index) != entry.term:
            return entries[at:]
    return ()


# ---------------------------------------------------------------- snapshots


def on_install_snapshot(s: State, m: InstallSnapshot) -> None:
    """Ask for a snapshot to be installed if it holds something that we do not know committed.

    A snapshot of an earlier term is as good: what it holds was committed. It took long to
    come, so it says nothing about who leads now.
    """
    wanted = m.meta.id
    assert m.meta.configuration_id.index > 0, "a snapshot names the entry of its configuration"
    if s.installing is not None:
        return
    if s.log.has(wanted):
        s.commit_to(wanted.index)
    if wanted.index > s.log.commit:
        if s.role in {Role.PRE_CANDIDATE, Role.CANDIDATE}:
            s.become_follower(s.term, NOBODY)
        s.installing = s.install_snapshot = m.meta
    elif s.leader != NOBODY:
        s.send_synced(s.leader, AppendResponse(s.me, s.term, s.log.commit))


def snapshot_persisted(s: State, meta: SnapshotMeta) -> None:
    """Go on from a snapshot that is durable and swapped in."""
    assert s.installing == meta, "only what was asked for is installed"
    s.installing = None
    s.start_over(meta)
    if s.leader != NOBODY:
        s.send_synced(s.leader, AppendResponse(s.me, s.term, meta.id.index))


# ---------------------------------------------------------------- reads and transfer


def read_asked(s: State, token: int) -> None:
    """Ask the leader for a read index, or say at once that nobody is known to lead."""
    read = Waiting(NOBODY, token, s.now)
    if s.leader == NOBODY:
        s.answer_read(read, None)
        return
    s.reads.ask(read)
    if not s.reads.running:
        _ask_leader(s)


def _ask_leader(s: State) -> None:
    if s.now and s.leader != NOBODY and (s.reads.running or s.reads.waiting):
        s.send(s.leader, ReadRequest(s.me, s.term, s.reads.begin()))


def on_read_request(s: State, m: ReadRequest) -> None:
    s.send(m.sender, ReadResponse(s.me, s.term, m.round, None))


def on_read_response(s: State, m: ReadResponse) -> None:
    if m.sender != s.leader:
        return
    for read in s.reads.confirm(m.round):
        s.answer_read(read, m.index)
    if s.reads.waiting and not s.reads.running:
        _ask_leader(s)


def on_timeout_now(s: State, m: TimeoutNow) -> None:
    """Campaign without a pre-vote: the leader itself hands over."""
    del m
    if election.may_campaign(s):
        election.campaign(s, forced=True)
