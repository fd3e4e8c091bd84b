"""Who is elected, who votes, and who is not heard."""

import msgspec
import pytest

from faunadb.raft import Core, found_cluster, restore
from faunadb.raft.entries import (
    Entry,
    EntryId,
    EntryKind,
    HardState,
    Index,
    MemberId,
    Term,
)
from faunadb.raft.events import (
    EMPTY,
    PeerLost,
    Proposed,
    ReadAsked,
    ReadReady,
    Received,
    Role,
    Tick,
)
from faunadb.raft.log import READY_ENTRIES_MAX
from faunadb.raft.messages import (
    AppendEntries,
    AppendResponse,
    Heartbeat,
    HeartbeatResponse,
    PreVoteRequest,
    PreVoteResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from raft_test_helpers.cluster import CONFIG, Cluster, core, led, nonce_of, peer

ONE, TWO, THREE = MemberId(1), MemberId(2), MemberId(3)


def test_a_leader_that_hears_no_majority_steps_down() -> None:
    """CheckQuorum: a cut-off leader stops, and its readers are told to ask again."""
    cluster = led()
    cluster.isolate(1)
    cluster.step(1, ReadAsked(7))

    for _ in range(CONFIG.election_ticks + 2 * CONFIG.heartbeat_ticks):
        cluster.tick(1)
        cluster.settle()

    assert core(cluster, 1).role is Role.FOLLOWER
    assert [ReadReady(7, None)] == cluster.members[1].reads


def test_a_sole_voter_with_a_slow_disk_is_elected() -> None:
    """Each sync takes longer than a tick: it waits for its own vote instead of voting anew."""
    alone = Cluster()
    alone.found()
    alone.tick(1)
    for _ in range(5):
        began = len(alone.members[1].disk.pending)  # what the sync that now begins has
        for _ in range(3):
            alone.tick(1)
        alone.sync(1, began)

    assert core(alone, 1).role is Role.LEADER
    assert Term(2) == core(alone, 1).term


def test_a_vote_request_does_not_disturb_who_hears_its_leader() -> None:
    """Not even its term is taken over (dissertation 4.2.3); a forced one is heard."""
    cluster = led()
    request = VoteRequest(THREE, Term(9), EntryId(Term(2), Index(9)), forced=False)
    for member in (1, 2):
        assert EMPTY is cluster.step(member, Received(request, nonce_of(3)))
        assert core(cluster, member).term == 2

    cluster.step(2, Received(msgspec.structs.replace(request, forced=True), nonce_of(3)))
    assert core(cluster, 2).term == 9


@pytest.mark.parametrize(
    ("term", "index", "granted"), [(1, 9, False), (2, 1, False), (2, 2, True), (3, 1, True)]
)
def test_votes_go_to_logs_as_new_as_ours(term: int, index: int, granted: bool) -> None:
    """The higher last term wins, then the higher index (Raft 5.4.1); ours ends at 2/2."""
    cluster = led()
    last = EntryId(Term(term), Index(index))

    update = cluster.step(2, Received(VoteRequest(THREE, Term(5), last, forced=True), nonce_of(3)))

    assert granted == update.messages_after_sync[0].message.granted  # type: ignore[union-attr]


def test_a_pre_vote_changes_nothing() -> None:
    """It is answered, and neither timer nor term nor disk know of it (etcd #8243)."""
    cluster = led()
    request = PreVoteRequest(THREE, Term(8), EntryId(Term(8), Index(9)))

    update = cluster.step(2, Received(request, nonce_of(3)))

    assert update.write is None
    assert [PreVoteResponse(TWO, Term(2), Term(8), granted=False)] == [
        outgoing.message for outgoing in update.messages
    ]
    assert core(cluster, 2).term == 2


def test_an_empty_directory_neither_votes_nor_campaigns() -> None:
    """Until it has synced something of the log (SAFETY 23)."""
    cluster = led()
    cluster.add(4)
    last = EntryId(Term(2), Index(9))
    cluster.step(4, Received(PreVoteRequest(TWO, Term(2), last), nonce_of(2)))
    cluster.step(4, Received(VoteRequest(TWO, Term(3), last, forced=True), nonce_of(2)))
    cluster.step(4, Received(TimeoutNow(TWO, Term(3)), nonce_of(2)))
    cluster.tick_all(5 * CONFIG.election_ticks)
    cluster.sync(4)

    said = [flight.message for flight in cluster.network if flight.sender == 4]
    assert [
        PreVoteResponse(MemberId(4), Term(0), Term(2), granted=False),
        VoteResponse(MemberId(4), Term(3), granted=False),
    ] == said
    assert not core(cluster, 4).joined


def test_a_learner_votes_and_does_not_campaign() -> None:
    """Whatever role it believes anybody has, itself included (SAFETY 23)."""
    cluster = led(2, learners=(3,))
    cluster.step(3, PeerLost(ONE, 0.0))
    cluster.tick_all(CONFIG.election_ticks)
    assert core(cluster, 3).role is Role.LEARNER

    request = VoteRequest(TWO, Term(9), core(cluster, 2).last, forced=False)
    update = cluster.step(3, Received(request, nonce_of(2)))

    assert VoteResponse(THREE, Term(9), granted=True) == update.messages_after_sync[0].message


def test_a_directory_that_the_configuration_does_not_name_does_not_campaign() -> None:
    """A voter's id on another disk has another log (SAFETY 22)."""
    cluster = led()
    disk = cluster.members[3].disk
    wrong = Core(
        CONFIG,
        THREE,
        nonce_of(3, 9),
        restore(disk.hard_state, None, disk.entries, applied=Index(0)),
    )
    for _ in range(5 * CONFIG.election_ticks):
        wrong.step(Tick(0.0))

    assert wrong.role is Role.FOLLOWER


def test_another_directory_under_a_voters_id_is_not_heard() -> None:
    """Its acknowledgements would count for the disk that was lost (SAFETY 22)."""
    cluster = led()
    cluster.step(1, Proposed([b"x"]))
    cluster.sync(1)
    ack = AppendResponse(TWO, Term(2), Index(3))

    assert EMPTY is cluster.step(1, Received(ack, nonce_of(2, 1)))
    assert core(cluster, 1).commit == 2

    core(cluster, 1).step(Received(ack, nonce_of(2)))
    assert core(cluster, 1).commit == 3


def test_nobody_hears_itself() -> None:
    """A message that came back is not an answer."""
    cluster = led()
    ack = AppendResponse(ONE, Term(9), Index(3))

    assert EMPTY is cluster.step(1, Received(ack, nonce_of(1)))


def test_two_leaders_in_one_term_are_a_broken_invariant() -> None:
    """The process stops rather than guess."""
    cluster = led()
    for message in (
        Heartbeat(TWO, Term(2), Index(2), 1, 0),
        AppendEntries(TWO, Term(2), core(cluster, 1).last, Index(2), b""),
    ):
        with pytest.raises(AssertionError, match="both lead term 2"):
            core(cluster, 1).step(Received(message, nonce_of(2)))


def test_a_member_that_was_removed_does_not_depose_the_leader() -> None:
    """What it still answers, in whatever term, is not heard."""
    cluster = led()
    stranger = HeartbeatResponse(MemberId(9), Term(30), 1, 0)

    assert EMPTY is cluster.step(1, Received(stranger, nonce_of(9)))
    assert core(cluster, 1).role is Role.LEADER


def test_who_has_much_to_apply_does_not_campaign() -> None:
    """As leader it would decode and hold all that its state lacks."""
    configuration = found_cluster(peer(1))[1]
    entries = [
        Entry.make(Term(1), Index(n + 2), EntryKind.DATA, b"")
        for n in range(50 * READY_ENTRIES_MAX)
    ]
    last = entries[-1].id
    found = restore(
        HardState(Term(1), ONE, last.index),
        None,
        (*configuration, *entries),
        applied=Index(0),
        joined=True,
    )
    late = Core(CONFIG, ONE, nonce_of(1), found)
    applied = 0
    while late.role is not Role.CANDIDATE:
        update = late.step(Tick(0.0))
        if update.committed:
            applied = update.committed[-1].index

    assert last.index - applied <= READY_ENTRIES_MAX


def test_losing_another_peer_than_the_leader_means_nothing() -> None:
    """Only the leader's host ends the lease (SAFETY 5), and a leader has no lease to end."""
    cluster = led()

    assert EMPTY is cluster.step(2, PeerLost(THREE, 0.0))
    assert EMPTY is cluster.step(1, PeerLost(TWO, 0.0))
