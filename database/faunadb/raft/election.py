"""How a leader is chosen: pre-vote, vote, and who may ask for either.

Raft 5.2 and 5.4.1, dissertation 9.6 (pre-vote) and 4.2.3 (a leader that is heard protects
its followers from votes). Votes are granted by term and log alone, whatever role we believe
anybody has, ourselves included; only an empty directory grants none (SAFETY 23).

Trap: our own vote counts only when it is on disk, as everybody else's.
"""

from faunadb.raft.entries import MemberId, Term
from faunadb.raft.events import Role
from faunadb.raft.leader import become_leader
from faunadb.raft.messages import (
    PreVoteRequest,
    PreVoteResponse,
    VoteRequest,
    VoteResponse,
)
from faunadb.raft.quorum import Tally, joint_tally
from faunadb.raft.state import NOBODY, State


def may_campaign(s: State) -> bool:
    """Say whether this member could lead: a voter with a log and a disk that works.

    Who has much to apply applies it first: a leader answers from its state.
    """
    return (
        s.membership.may_lead(s.me)
        and s.membership.nonces.get(s.me, s.nonce) == s.nonce
        and s.joined
        and s.log.last.index > 0
        and s.installing is None
        and not s.log.is_far_behind
        and s.stall_ticks < s.config.election_ticks
    )


def pre_campaign(s: State) -> None:
    """Ask whether an election could be won, without disturbing anybody's term."""
    s.drop_reads()
    s.role, s.leader = Role.PRE_CANDIDATE, NOBODY
    s.votes = {s.me: True}
    s.restart_timer()
    for member in _others(s):
        s.send(member, PreVoteRequest(s.me, s.term, s.log.last))
    _count_pre_votes(s)


def campaign(s: State, *, forced: bool = False) -> None:
    """Ask for votes in the next term; `forced` when the leader itself wants it."""
    s.enter_term(Term(s.term + 1))
    s.role, s.leader, s.vote = Role.CANDIDATE, NOBODY, s.me
    s.votes = {}
    s.restart_timer()
    for member in _others(s):
        s.send(member, VoteRequest(s.me, s.term, s.log.last, forced))


def own_vote_synced(s: State) -> None:
    """Count our own vote, now that it cannot be forgotten."""
    if s.me not in s.votes and s.durable:
        s.votes[s.me] = True
        _count_votes(s)


def on_pre_vote_request(s: State, m: PreVoteRequest) -> None:
    """Answer what we would do; a refusal tells our term, so that a late member catches up.

    Who asks has stopped protecting the leader. If it may have refused us before, and we have
    the newer log, we ask it again at once: nobody else could win now.
    """
    granted = s.joined and m.term >= s.term and m.last >= s.log.last and not s.lease_holds()
    s.send(m.sender, PreVoteResponse(s.me, s.term, m.term, granted))
    if s.role is Role.PRE_CANDIDATE and m.last < s.log.last:
        s.send(m.sender, PreVoteRequest(s.me, s.term, s.log.last))


def on_pre_vote_response(s: State, m: PreVoteResponse) -> None:
    if m.asked_term == s.term:
        s.votes[m.sender] = m.granted
        _count_pre_votes(s)


def on_vote_request(s: State, m: VoteRequest) -> None:
    """Vote at most once a term, for a log at least as new as ours."""
    free = s.vote == m.sender or (s.vote == NOBODY and s.leader == NOBODY)
    granted = free and s.joined and m.last >= s.log.last
    if granted:
        s.vote = m.sender
        s.restart_timer()
    s.send_synced(m.sender, VoteResponse(s.me, s.term, granted))


def on_vote_response(s: State, m: VoteResponse) -> None:
    s.votes[m.sender] = m.granted
    _count_votes(s)


def _count_pre_votes(s: State) -> None:
    tally = joint_tally(s.membership.voters, s.membership.outgoing, s.votes)
    if tally is Tally.WON:
        campaign(s)
    elif tally is Tally.LOST:
        s.become_follower(s.term, NOBODY)


def _count_votes(s: State) -> None:
    tally = joint_tally(s.membership.voters, s.membership.outgoing, s.votes)
    if tally is Tally.WON:
        become_leader(s)
    elif tally is Tally.LOST:
        s.become_follower(s.term, NOBODY)


def _others(s: State) -> list[MemberId]:
    return sorted((s.membership.voters | s.membership.outgoing) - {s.me})
