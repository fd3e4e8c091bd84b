"""With what a core begins: a log, a snapshot, or both; and how it ends its log."""

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
    LogCut,
    Proposed,
    Received,
    Role,
    SnapshotPersisted,
    Tick,
)
from faunadb.raft.messages import (
    InstallSnapshot,
)
from raft_test_helpers.cluster import CONFIG, Cluster, core, led, nonce_of, peer

ONE = MemberId(1)


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
