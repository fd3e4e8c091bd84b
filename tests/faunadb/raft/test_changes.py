"""Changes of membership, asked of who leads."""

from faunadb.raft.entries import (
    MemberId,
)
from faunadb.raft.events import (
    ChangeAsked,
    ChangeOp,
    PeerLost,
    Proposed,
    Role,
    TransferAsked,
)
from raft_test_helpers.cluster import CONFIG, Cluster, core, led, peer

ONE, TWO = MemberId(1), MemberId(2)


def asked(cluster: Cluster, op: ChangeOp, member: int, outgoing: int = 0) -> ChangeAsked:
    at, _ = core(cluster, 1).committed_configuration
    return ChangeAsked(1, op, peer(member), at, MemberId(outgoing))


def refusal(cluster: Cluster, member: int, event: ChangeAsked) -> str:
    cluster.step(member, event)
    return cluster.members[member].changes[-1].refused


def test_a_new_leader_changes_nothing_before_it_has_committed() -> None:
    """The known bug of single-server changes (Ongaro, raft-dev, July 2015)."""
    cluster = Cluster()
    cluster.found()
    cluster.tick(1)
    cluster.sync(1, 1)

    assert "ask again" in refusal(cluster, 1, asked(cluster, ChangeOp.ADD_LEARNER, 2))


def test_no_change_while_leadership_is_handed_over() -> None:
    """The successor would have to answer for it."""
    cluster = led()
    cluster.step(1, TransferAsked(TWO))

    sentence = "leadership is being handed to member 2"
    assert sentence == refusal(cluster, 1, asked(cluster, ChangeOp.REMOVE, 3))


def test_who_does_not_lead_changes_nothing() -> None:
    """It says who leads, if it knows."""
    cluster = led()
    event = asked(cluster, ChangeOp.REMOVE, 3)
    assert refusal(cluster, 2, event) == "member 1 leads: ask there"

    cluster.step(2, PeerLost(ONE, 0.0))
    assert refusal(cluster, 2, event) == "nobody is known to lead: ask again"


def test_a_learner_that_lags_is_not_swapped_in() -> None:
    """The rule of promotion holds for both ways to a vote (SAFETY 22)."""
    cluster = led(3, learners=(4,))
    cluster.isolate(4)
    cluster.step(1, Proposed([b"x"]))
    cluster.settle()
    for _ in range(CONFIG.election_ticks):
        cluster.tick(1)
        cluster.settle()

    sentence = "member 4 has not caught up: it lacks 1 entries"
    assert sentence == refusal(cluster, 1, asked(cluster, ChangeOp.SWAP, 4, 3))


def test_a_leader_outside_the_configuration_does_not_count_itself() -> None:
    """Two of {2, 3} are needed, and its own disk is none of them."""
    cluster = led()
    cluster.step(1, asked(cluster, ChangeOp.REMOVE, 1))
    cluster.drop(to=3)
    cluster.settle()

    assert core(cluster, 1).role is Role.LEADER
    assert core(cluster, 1).commit == 2


def test_a_joint_configuration_is_left_by_the_next_leader() -> None:
    """Whoever finds it committed leaves it by itself (SAFETY 24)."""
    cluster = led(3, learners=(4,))
    cluster.tick_all(2)
    cluster.settle()
    cluster.step(1, asked(cluster, ChangeOp.SWAP, 4, 3))
    cluster.drop(to=3)
    cluster.deliver()  # to 2: joint
    cluster.sync(2)
    cluster.deliver()  # to 4: joint
    cluster.sync(4)
    cluster.crash(1)
    cluster.crash(3)
    cluster.network.clear()
    cluster.restart(3)
    cluster.elect(2)
    cluster.settle()

    _, configuration = core(cluster, 2).committed_configuration
    assert not configuration.voters_outgoing
    assert (1, 2, 4) == tuple(p.id for p in configuration.everyone())
