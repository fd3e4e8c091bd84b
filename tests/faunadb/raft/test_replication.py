"""How entries reach the others, and what a leader refuses."""

import random

import msgspec
import pytest

from faunadb.raft.entries import (
    EntryId,
    Index,
    MemberId,
    Term,
)
from faunadb.raft.events import (
    EMPTY,
    Proposed,
    Received,
    SnapshotSent,
    Tick,
)
from faunadb.raft.messages import (
    AppendEntries,
    AppendResponse,
    Heartbeat,
    HeartbeatResponse,
    VoteResponse,
)
from raft_test_helpers.cluster import CONFIG, core, led, nonce_of

ONE, TWO, THREE = MemberId(1), MemberId(2), MemberId(3)


def test_learners_do_not_count() -> None:
    """Three disks of five have it, and it is not committed: two of them are learners'."""
    cluster = led(3, learners=(4, 5))
    cluster.step(1, Proposed([b"x"]))
    cluster.drop(to=2)
    cluster.drop(to=3)
    cluster.settle()

    assert core(cluster, 5).last.index == 3
    assert core(cluster, 1).commit == 2


def test_replayed_appends_never_shorten_a_log() -> None:
    """Stale, doubled and disordered (PySyncObj 0.3.17: 38 to 60 applied entries lost per run)."""
    rng = random.Random(5)
    cluster = led(config=msgspec.structs.replace(CONFIG, append_bytes_max=60))
    sent: list[AppendEntries] = []
    for n in range(60):
        cluster.step(1, Proposed([b"%d" % n] * rng.randrange(1, 4)))
        sent += [f.message for f in cluster.network if isinstance(f.message, AppendEntries)]
        if n % 3 == 0:
            cluster.settle()
    cluster.settle()
    last = core(cluster, 2).last

    for message in rng.choices(sent, k=2000):
        cluster.step(2, Received(message, nonce_of(1)))
        assert last == core(cluster, 2).last


def test_an_empty_append_commits_no_more_than_it_proves() -> None:
    """What lies behind its `prev` may be of another history (Raft 5.3)."""
    cluster = led()
    cluster.step(1, Proposed([b"stale", b"stale"]))
    cluster.deliver()
    cluster.sync(2)
    assert core(cluster, 2).last.index == 4
    prev = EntryId(Term(2), Index(2))

    message = AppendEntries(THREE, Term(3), prev, Index(4), b"")
    cluster.step(2, Received(message, nonce_of(3)))

    assert core(cluster, 2).commit == 2


def test_all_peers_get_the_same_bytes() -> None:
    """Entries are joined once per step, whoever is equally far shares them."""
    cluster = led()

    cluster.step(1, Proposed([b"x", b"y"]))

    blocks = [f.message.block for f in cluster.network if isinstance(f.message, AppendEntries)]
    assert len(blocks) == 2
    assert blocks[0] is blocks[1]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [({"inflight_messages_max": 3}, 3), ({"inflight_bytes_max": 200}, 2)],
)
def test_a_slow_peer_is_sent_only_so_much(limits: dict[str, int], expected: int) -> None:
    """The window closes by messages or by bytes, and opens with acknowledgements."""
    config = msgspec.structs.replace(CONFIG, **limits)
    cluster = led(config=config)
    for _ in range(10):
        cluster.step(1, Proposed([b"x" * 100]))

    waiting = [f for f in cluster.network if f.to == 2 and isinstance(f.message, AppendEntries)]
    assert expected == len(waiting)

    cluster.settle()
    assert core(cluster, 2).commit == core(cluster, 1).last.index


def test_uncommitted_bytes_are_bounded() -> None:
    """Beyond the limit proposals are refused whole; what is alone may be larger than it."""
    cluster = led(config=msgspec.structs.replace(CONFIG, uncommitted_bytes_max=100))
    cluster.step(1, Proposed([b"x" * 500]))
    assert core(cluster, 1).last.index == 3
    assert core(cluster, 1).uncommitted_bytes > 500

    cluster.step(1, Proposed([b"y"]))
    assert cluster.members[1].refused_count == 1

    cluster.settle()
    assert core(cluster, 1).uncommitted_bytes == 0
    cluster.step(1, Proposed([b"y"]))
    assert core(cluster, 1).last.index == 4


def test_only_a_leader_takes_proposals() -> None:
    """Others say that they dropped them; no proposal is no event."""
    cluster = led()

    assert cluster.step(2, Proposed([b"x"])).refused
    assert EMPTY is cluster.step(1, Proposed([]))


def test_a_lost_log_is_noticed() -> None:
    """A commit index beyond the log means that the disk forgot what it had acknowledged."""
    cluster = led()
    heartbeat = Heartbeat(ONE, Term(2), Index(99), 1, 0)

    with pytest.raises(AssertionError, match="lost entries"):
        core(cluster, 2).step(Received(heartbeat, nonce_of(1)))


def test_nothing_costs_nothing() -> None:
    """An event without consequence returns the one empty update."""
    cluster = led()

    assert EMPTY is cluster.step(2, Tick(0.5))
    assert EMPTY is cluster.step(1, Received(VoteResponse(TWO, Term(1), granted=True), nonce_of(2)))
    assert EMPTY is cluster.step(2, Received(HeartbeatResponse(ONE, Term(2), 1, 0), nonce_of(1)))


def test_answers_of_strangers_of_this_term_are_ignored() -> None:
    """Only peers of the configuration have progress."""
    cluster = led()
    for message in (
        AppendResponse(MemberId(9), Term(2), Index(2)),
        HeartbeatResponse(MemberId(9), Term(2), 1, 0),
    ):
        assert EMPTY is cluster.step(1, Received(message, nonce_of(9)))
    assert EMPTY is cluster.step(1, SnapshotSent(MemberId(9), ok=True))
