"""What a member may say before its disk has it, and what it does when the disk hangs."""

import msgspec

from faunadb.raft.entries import (
    EntryId,
    HardState,
    Index,
    MemberId,
    Term,
)
from faunadb.raft.events import (
    EMPTY,
    DiskState,
    Persisted,
    Proposed,
    Received,
    Role,
    Token,
)
from faunadb.raft.messages import (
    Heartbeat,
    VoteRequest,
    VoteResponse,
)
from raft_test_helpers.cluster import CONFIG, Cluster, core, led, nonce_of

ONE, TWO, THREE = MemberId(1), MemberId(2), MemberId(3)


def test_term_and_vote_are_one_write_before_the_answer() -> None:
    """Written apart, a crash between them allows a second vote (hashicorp/raft #661)."""
    cluster = Cluster.of(3)
    request = VoteRequest(TWO, Term(2), EntryId(Term(1), Index(1)), forced=False)

    update = core(cluster, 1).step(Received(request, nonce_of(2)))

    assert update.write is not None
    assert HardState(Term(2), TWO, Index(1)) == update.write.hard_state
    assert not update.messages
    assert VoteResponse(ONE, Term(2), granted=True) == update.messages_after_sync[0].message


def test_a_vote_survives_a_restart() -> None:
    """Not persisted at all, it is given twice (PySyncObj #84, #201)."""
    cluster = Cluster.of(3)
    last = EntryId(Term(1), Index(1))
    two = VoteRequest(TWO, Term(2), last, forced=False)
    cluster.step(1, Received(two, nonce_of(2)))
    cluster.sync(1)
    cluster.crash(1)
    cluster.restart(1)
    cluster.network.clear()

    three = msgspec.structs.replace(two, sender=THREE)
    cluster.step(1, Received(three, nonce_of(3)))
    cluster.step(1, Received(two, nonce_of(2)))

    said = [(flight.to, flight.message) for flight in cluster.network]
    assert [
        (THREE, VoteResponse(ONE, Term(2), granted=False)),
        (TWO, VoteResponse(ONE, Term(2), granted=True)),
    ] == said


def test_all_members_restart_together_a_hundred_times_under_load() -> None:
    """Every time they elect a leader, and nothing that was acknowledged is gone."""
    cluster = led()
    for round_ in range(100):
        for member in (1, 2, 3):
            if core(cluster, member).role is Role.LEADER:
                cluster.step(member, Proposed([b"%d" % round_]))
        for _ in range(round_ % 7):
            if cluster.network:
                cluster.deliver()
            cluster.sync(1 + round_ % 3)
        for member in (1, 2, 3):
            cluster.crash(member, survived_count=round_ % 2)
            cluster.restart(member)
        cluster.network.clear()
        while not any(m.core.role is Role.LEADER for m in cluster.members.values()):
            cluster.tick_all()
            cluster.settle()

    assert len(cluster.chosen) > 100


def test_a_cluster_of_one_commits_after_its_own_sync() -> None:
    """Acknowledging before it loses writes (etcd #14370)."""
    cluster = Cluster()
    cluster.found()
    cluster.tick(1)
    cluster.settle()

    update = cluster.step(1, Proposed([b"x"]))
    assert update.write is not None
    assert not update.committed
    assert core(cluster, 1).commit == 2

    cluster.sync(1)
    assert core(cluster, 1).commit == 3


def test_a_completion_that_nobody_waits_for_is_ignored() -> None:
    """A token of an earlier process, or of another term, names no write of ours."""
    cluster = led()
    cluster.step(1, Proposed([b"x"]))
    token = cluster.members[1].disk.pending[0][0].token

    for stranger in (Token(Term(1), token.sequence), Token(token.term, token.sequence + 9)):
        assert EMPTY is core(cluster, 1).step(Persisted(stranger))

    assert core(cluster, 1).synced == 2


def test_a_leader_whose_disk_hangs_is_replaced() -> None:
    """It heartbeats on otherwise, and nothing commits (hashicorp/raft #503, etcd #13527)."""
    cluster = led()
    cluster.hung.add(1)
    cluster.step(1, Proposed([b"x"]))

    for tick in range(2 * CONFIG.election_ticks):
        cluster.step(1, DiskState(10**9, tick))
        cluster.tick_all()
        cluster.settle()

    assert core(cluster, 1).role is Role.FOLLOWER
    leaders = [m for m in (2, 3) if core(cluster, m).role is Role.LEADER]
    assert len(leaders) == 1
    cluster.step(leaders[0], Proposed([b"y"]))
    cluster.settle()
    assert core(cluster, leaders[0]).commit == core(cluster, leaders[0]).last.index


def test_a_follower_does_not_believe_a_heartbeat_that_tells_of_a_hanging_disk() -> None:
    """Should the leader not go by itself, its followers elect another."""
    cluster = led()
    hanging = Heartbeat(ONE, Term(2), Index(2), 0, CONFIG.election_ticks)
    for _ in range(2 * CONFIG.election_ticks):
        for member in (2, 3):
            cluster.step(member, Received(hanging, nonce_of(1)))
            cluster.tick(member, draw=member / 10)
        cluster.settle()

    assert Role.LEADER in {core(cluster, 2).role, core(cluster, 3).role}


def test_a_sole_voter_leads_on_with_a_hanging_disk() -> None:
    """There is nobody to hand over to."""
    cluster = Cluster()
    cluster.found()
    cluster.tick(1)
    cluster.settle()

    cluster.step(1, DiskState(10**9, 1000))

    assert core(cluster, 1).role is Role.LEADER
