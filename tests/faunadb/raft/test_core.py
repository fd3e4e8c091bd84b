"""Mistakes that others shipped, and promises of the core, one test each.

Stories of several steps are in `scripts/`; what is here is easier said by assertions.
"""

import random

import msgspec
import pytest

from faunadb.raft import Core, CoreConfig, found_cluster, restore
from faunadb.raft.core import recovered_cluster
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
    decode_configuration,
)
from faunadb.raft.events import (
    EMPTY,
    ChangeAsked,
    ChangeOp,
    DiskState,
    LogCut,
    PeerLost,
    Persisted,
    Proposed,
    ReadAsked,
    ReadReady,
    Received,
    Role,
    SnapshotPersisted,
    SnapshotSent,
    Tick,
    Token,
    TransferAsked,
)
from faunadb.raft.log import READY_ENTRIES_MAX
from faunadb.raft.messages import (
    AppendEntries,
    AppendResponse,
    Heartbeat,
    HeartbeatResponse,
    InstallSnapshot,
    PreVoteRequest,
    PreVoteResponse,
    ReadRequest,
    ReadResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from raft_test_helpers.cluster import CONFIG, Cluster, nonce_of, peer

ONE, TWO, THREE = MemberId(1), MemberId(2), MemberId(3)


def led(voters: int = 3, *, config: CoreConfig = CONFIG, learners: tuple[int, ...] = ()) -> Cluster:
    """Return a quiet cluster that member 1 leads in term 2."""
    cluster = Cluster.of(voters, learners=learners, config=config)
    cluster.elect(1)
    cluster.settle()
    return cluster


def core(cluster: Cluster, member: int) -> Core:
    return cluster.members[member].core


# ---------------------------------------------------------------- the disk


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


# ---------------------------------------------------------------- elections


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


# ---------------------------------------------------------------- replication


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


# ---------------------------------------------------------------- reads


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


# ---------------------------------------------------------------- membership


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


# ---------------------------------------------------------------- transfer


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


# ---------------------------------------------------------------- snapshots and beginnings


def meta(term: int, index: int) -> SnapshotMeta:
    _, configuration = core(Cluster.of(3), 1).configuration
    first = EntryId(Term(1), Index(1))
    return SnapshotMeta(EntryId(Term(term), Index(index)), configuration, b"d", first)


def data(term: int, index: int) -> Entry:
    return Entry.make(Term(term), Index(index), EntryKind.DATA, b"x")


HARD = HardState(Term(5), MemberId(0), Index(3))


@pytest.mark.parametrize(
    ("entries", "base", "kept", "void"),
    [
        ([], (4, 10), [], None),
        ([(4, 8), (4, 9)], (4, 10), [], None),  # all before the snapshot
        ([(4, 11), (5, 12)], (4, 10), [11, 12], None),
        ([(4, 9), (4, 10), (5, 11)], (4, 9), [10, 11], None),  # the first is the base
        ([(3, 9), (3, 10), (3, 11)], (4, 10), [], 11),  # contradicts the snapshot
        ([(3, 11)], (4, 10), [], 11),
    ],
)
def test_a_log_that_contradicts_its_snapshot_is_void(
    entries: list[tuple[int, int]], base: tuple[int, int], kept: list[int], void: int | None
) -> None:
    """A crash between installation and truncation leaves such a log behind."""
    found = restore(HARD, meta(4, 10), [data(*e) for e in entries], applied=Index(10))

    assert EntryId(Term(base[0]), Index(base[1])) == found.base
    assert kept == [entry.index for entry in found.entries]
    assert void == found.void_from


def test_the_void_tail_is_written_down_as_void() -> None:
    """With the first write after the restart."""
    found = restore(HARD, meta(4, 10), [data(3, 11)], applied=Index(10))
    restarted = Core(CONFIG, ONE, nonce_of(1), found)

    update = restarted.step(Tick(0.0))

    assert update.write is not None
    assert update.write.truncate_from == 11


def test_a_whole_log_keeps_its_beginning() -> None:
    """Nothing was cut, so nothing stands for it."""
    _, first = found_cluster(peer(1))
    snapshot = msgspec.structs.replace(meta(1, 1), id=first[0].id)
    found = restore(HARD, snapshot, [*first, data(2, 2)], applied=Index(1))

    assert found.base == NOTHING
    assert [1, 2] == [entry.index for entry in found.entries]


def test_missing_entries_are_noticed() -> None:
    """A gap between snapshot and log, a log without a beginning, a state that is too old."""
    with pytest.raises(AssertionError, match="missing"):
        restore(HARD, meta(4, 10), [data(4, 12)], applied=Index(10))
    with pytest.raises(AssertionError, match="no beginning"):
        restore(HARD, None, [data(4, 12)], applied=Index(0))
    found = restore(HARD, meta(4, 10), [], applied=Index(3))
    with pytest.raises(AssertionError, match="older than the log"):
        Core(CONFIG, ONE, nonce_of(1), found)


def test_a_snapshot_that_the_log_contains_only_raises_the_commit_index() -> None:
    """Nothing is installed, and the machine gets the entries."""
    cluster = led()
    cluster.step(1, Proposed([b"x"]))
    cluster.deliver()
    cluster.sync(2)
    assert core(cluster, 2).commit == 2
    snapshot = msgspec.structs.replace(meta(2, 3), id=core(cluster, 1).last)

    update = cluster.step(2, Received(InstallSnapshot(ONE, Term(2), snapshot), nonce_of(1)))

    assert update.install_snapshot is None
    assert [3] == [entry.index for entry in update.committed]


def test_a_candidate_that_gets_a_snapshot_installs_it() -> None:
    """It knows less than what is committed, so it cannot win; the rest of its log is void."""
    cluster = led()
    cluster.isolate(3)
    disk = cluster.members[3].disk
    disk.entries.append(data(2, 3))  # a tail that nobody else has
    disk.entries.append(data(2, 4))
    cluster.crash(3)
    cluster.restart(3)
    for _ in range(2 * CONFIG.election_ticks):
        cluster.tick(3)
    assert core(cluster, 3).role is Role.PRE_CANDIDATE

    snapshot = meta(3, 3)
    message = InstallSnapshot(ONE, Term(3), snapshot)
    update = core(cluster, 3).step(Received(message, nonce_of(1)))

    assert snapshot == update.install_snapshot
    assert core(cluster, 3).installing == snapshot
    assert core(cluster, 3).role is Role.FOLLOWER
    update = core(cluster, 3).step(SnapshotPersisted(snapshot))
    assert update.write is not None
    assert update.write.truncate_from == 4
    assert core(cluster, 3).last == snapshot.id


def test_a_snapshot_takes_the_configuration_with_it() -> None:
    """And the entry that brought it, for compare-and-set."""
    cluster = Cluster.of(3)
    cluster.add(4)
    snapshot = meta(2, 9)
    message = InstallSnapshot(ONE, Term(2), snapshot)

    cluster.step(4, Received(message, nonce_of(1)))
    cluster.install(4)

    assert core(cluster, 4).joined
    assert (snapshot.configuration_id, snapshot.configuration) == core(
        cluster, 4
    ).committed_configuration
    assert core(cluster, 4).base == snapshot.id


def test_a_snapshot_without_the_entry_of_its_configuration_is_refused() -> None:
    """Members would disagree about what compare-and-set compares."""
    cluster = Cluster.of(3)
    snapshot = msgspec.structs.replace(meta(2, 9), configuration_id=NOTHING)

    with pytest.raises(AssertionError, match="names the entry"):
        core(cluster, 2).step(Received(InstallSnapshot(ONE, Term(2), snapshot), nonce_of(1)))


def test_the_log_is_cut_only_behind_what_was_applied() -> None:
    """Whatever the shell asks for."""
    cluster = led()
    cluster.step(1, Proposed([b"x"]))

    core(cluster, 1).step(LogCut(Index(99)))

    assert core(cluster, 1).base.index == core(cluster, 1).applied == 2
    assert [3] == [entry.index for entry in core(cluster, 1).entries_after(Index(2))]


def test_committed_entries_are_handed_out_in_bounded_pieces() -> None:
    """At least one, no more than asked, none that is not committed."""
    cluster = led()
    for payload in (b"a" * 50, b"b" * 50, b"c" * 50):
        cluster.step(1, Proposed([payload]))
    leader = core(cluster, 1)

    def piece(index: int, through: int, entries: int, size: int) -> list[int]:
        found = leader.committed_after(
            Index(index), Index(through), entries_max=entries, bytes_max=size
        )
        return [entry.index for entry in found]

    assert leader.commit < leader.last.index
    commit = leader.commit
    assert [*range(1, commit + 1)] == piece(0, 99, 99, 1 << 20)
    assert [] == piece(commit, 99, 99, 1 << 20)
    assert [1] == piece(0, 99, 1, 1 << 20) == piece(0, 99, 99, 1) == piece(0, 1, 99, 1 << 20)


def test_a_survivor_leads_alone_and_keeps_its_tail() -> None:
    """Everything in its log is committed by the configuration with one voter behind it."""
    tail = tuple(Entry.make(Term(4), Index(at), EntryKind.DATA, b"tail") for at in (1, 2, 3))
    old = HardState(Term(5), MemberId(3), Index(1))
    me = Peer(MemberId(2), "b", nonce_of(2))
    hard_state, begun = recovered_cluster(me, old, Index(3), MemberId(7), [b"closed"])

    assert HardState(Term(6), MemberId(2), Index(5)) == hard_state
    assert [(6, 4), (6, 5)] == [(entry.term, entry.index) for entry in begun]
    alone = Configuration(voters=(me,), highest_member_id=MemberId(7))
    assert alone == decode_configuration(begun[0].payload)
    found = restore(hard_state, None, (*tail, *begun), applied=Index(0), joined=True)
    survivor = Core(CoreConfig(), MemberId(2), nonce_of(2), found)
    assert (5, alone) == (survivor.commit, survivor.configuration[1])
    assert [1, 2, 3, 4, 5] == [e.index for e in survivor.step(Tick(0.5)).committed]


def test_a_cluster_is_founded_with_one_committed_configuration() -> None:
    """Index 1, term 1; its founder leads from the first tick and the first sync on."""
    hard_state, entries = found_cluster(peer(1))

    assert HardState(Term(1), ONE, Index(1)) == hard_state
    assert [(1, 1, EntryKind.CONFIGURATION)] == [(e.term, e.index, e.kind) for e in entries]
    cluster = Cluster()
    cluster.found()
    cluster.tick(1)
    cluster.settle()
    assert core(cluster, 1).role is Role.LEADER
    assert core(cluster, 1).own_term_committed


def test_status_shows_what_a_leader_knows() -> None:
    """Progress by member; nothing elsewhere."""
    cluster = led(2, learners=(3,))

    views = core(cluster, 1).progress()

    assert [(2, 2, nonce_of(2)), (3, 2, nonce_of(3))] == [
        (view.member, view.match, view.nonce) for view in views
    ]
    assert not core(cluster, 2).progress()
    assert core(cluster, 1).member == core(cluster, 2).leader == core(cluster, 2).vote == 1
