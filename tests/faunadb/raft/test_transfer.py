"""Leadership is handed over on purpose."""

from faunadb.raft.entries import (
    MemberId,
)
from faunadb.raft.events import (
    EMPTY,
    DiskState,
    Proposed,
    Role,
    TransferAsked,
)
from faunadb.raft.messages import (
    TimeoutNow,
)
from raft_test_helpers.cluster import CONFIG, Cluster, core, led

TWO = MemberId(2)


def test_a_transfer_needs_a_voter() -> None:
    """To a learner, a stranger, itself, or with nobody else there: nothing happens."""
    cluster = led(2, learners=(3,))
    for to in (1, 3, 9):
        assert EMPTY is cluster.step(1, TransferAsked(MemberId(to)))
    assert EMPTY is cluster.step(2, TransferAsked())
    assert core(cluster, 1).transferring_to == 0

    alone = Cluster()
    alone.found()
    alone.tick(1)
    alone.settle()
    assert EMPTY is alone.step(1, TransferAsked())


def test_a_transfer_waits_until_the_successor_has_everything() -> None:
    """Only then it is told to campaign."""
    cluster = led()
    cluster.step(1, Proposed([b"x"]))
    cluster.step(1, TransferAsked(TWO))
    assert not [f for f in cluster.network if isinstance(f.message, TimeoutNow)]

    cluster.settle()

    assert core(cluster, 2).role is Role.LEADER
    assert core(cluster, 2).term == 3


def test_the_successor_is_a_voter_that_is_heard_and_has_most() -> None:
    """One that hangs or is silent is passed over."""
    cluster = led(5)
    cluster.isolate(2)
    cluster.step(3, DiskState(10**9, 99))
    for _ in range(CONFIG.election_ticks):
        cluster.tick(1)
        cluster.settle()

    cluster.step(1, TransferAsked())

    assert core(cluster, 1).transferring_to == 4
