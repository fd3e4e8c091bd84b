"""When a leader may say that it still leads; a follower asks it."""

import pytest

from faunadb.raft.entries import (
    Index,
    MemberId,
    Term,
)
from faunadb.raft.events import (
    ReadAsked,
    ReadReady,
    Received,
    Role,
)
from faunadb.raft.messages import (
    Heartbeat,
    HeartbeatResponse,
    PreVoteResponse,
    ReadRequest,
    ReadResponse,
    VoteResponse,
)
from raft_test_helpers.cluster import CONFIG, Cluster, core, led, nonce_of

ONE, TWO, THREE = MemberId(1), MemberId(2), MemberId(3)


def test_late_and_doubled_answers_confirm_no_later_read() -> None:
    """Every attempt has its own number (etcd #20418)."""
    cluster = led()
    cluster.step(1, ReadAsked(1))
    answer = HeartbeatResponse(TWO, Term(2), 1, 0)
    cluster.step(1, Received(answer, nonce_of(2)))
    assert [ReadReady(1, Index(2))] == cluster.members[1].reads

    cluster.step(1, ReadAsked(2))
    for _ in range(3):
        cluster.step(1, Received(answer, nonce_of(2)))

    assert [ReadReady(1, Index(2))] == cluster.members[1].reads


def test_a_follower_gives_up_asking() -> None:
    """After an election timeout the reader hears that nobody can say."""
    cluster = led()
    cluster.tick(2)
    cluster.step(2, ReadAsked(5))
    heartbeat = Heartbeat(ONE, Term(2), Index(2), 1, 0)
    for _ in range(CONFIG.election_ticks + 2 * CONFIG.heartbeat_ticks):
        cluster.step(2, Received(heartbeat, nonce_of(1)))
        cluster.tick(2)

    assert [ReadReady(5, None)] == cluster.members[2].reads
    attempts = [f.message for f in cluster.network if isinstance(f.message, ReadRequest)]
    rounds = [attempt.round for attempt in attempts]
    assert rounds == sorted(set(rounds)), "each attempt has a fresh number"
    assert len(rounds) > 2


def test_an_answer_to_an_earlier_life_of_the_process_confirms_nothing() -> None:
    """Each life counts its questions from a place drawn by chance."""
    cluster = led()
    heartbeat = Heartbeat(ONE, Term(2), Index(2), 0, 0)
    rounds = []
    for draw in (0.1, 0.2):
        cluster.crash(2)
        cluster.restart(2)
        cluster.tick(2, draw)
        cluster.step(2, Received(heartbeat, nonce_of(1)))
        update = cluster.step(2, ReadAsked(1))
        request = update.messages[0].message
        assert isinstance(request, ReadRequest)
        rounds.append(request.round)

    late = ReadResponse(ONE, Term(2), rounds[0], Index(1))
    cluster.step(2, Received(late, nonce_of(1)))
    assert not cluster.members[2].reads

    answer = ReadResponse(ONE, Term(2), rounds[1], Index(2))
    cluster.step(2, Received(answer, nonce_of(1)))
    assert [ReadReady(1, Index(2))] == cluster.members[2].reads


def test_reads_that_come_while_one_is_asked_are_asked_together() -> None:
    """One question to the leader serves all that waited."""
    cluster = led()
    cluster.tick(2)
    for token in (1, 2, 3):
        cluster.step(2, ReadAsked(token))
    assert len(cluster.network) == 1

    cluster.settle()

    assert [ReadReady(token, Index(2)) for token in (1, 2, 3)] == cluster.members[2].reads


@pytest.mark.parametrize("term", [1, 2])
def test_who_does_not_lead_says_so(term: int) -> None:
    """Also to an asker of an earlier term, who then looks for the leader anew."""
    cluster = led()

    update = cluster.step(3, Received(ReadRequest(TWO, Term(term), 7), nonce_of(2)))

    assert ReadResponse(THREE, Term(2), 7, None) == update.messages[0].message


def test_an_answer_of_another_than_the_leader_is_ignored() -> None:
    """Only the leader knows."""
    cluster = led()
    cluster.tick(2)
    cluster.step(2, ReadAsked(1))

    cluster.step(2, Received(ReadResponse(THREE, Term(2), 1, Index(1)), nonce_of(3)))

    assert not cluster.members[2].reads


def test_a_leader_expires_reads_that_cannot_be_served() -> None:
    """It hears a majority, but its first entry does not commit: the reader may go elsewhere."""
    cluster = Cluster.of(3)
    while core(cluster, 1).role is not Role.PRE_CANDIDATE:
        cluster.tick(1)
    pre_vote = PreVoteResponse(TWO, Term(1), Term(1), granted=True)
    cluster.step(1, Received(pre_vote, nonce_of(2)))
    cluster.sync(1)
    cluster.step(1, Received(VoteResponse(TWO, Term(2), granted=True), nonce_of(2)))
    cluster.step(1, ReadAsked(1))
    for _ in range(2 * CONFIG.election_ticks):
        cluster.network.clear()
        cluster.tick(1)
        for flight in list(cluster.network):
            if isinstance(flight.message, Heartbeat):
                answer = HeartbeatResponse(flight.to, Term(2), flight.message.round, 0)
                cluster.step(1, Received(answer, nonce_of(flight.to)))

    assert core(cluster, 1).role is Role.LEADER
    assert not core(cluster, 1).own_term_committed
    assert [ReadReady(1, None)] == cluster.members[1].reads
