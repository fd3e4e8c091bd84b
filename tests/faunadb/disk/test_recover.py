"""What proves that a tail was durable, and what a state is rebuilt from."""

from collections.abc import Callable
from random import Random

import msgspec
import pytest

from disk_test_helpers.member import CLUSTER, LIMITS, Storage, describe, entry
from faunadb.disk.directory import Expected, open_data_directory
from faunadb.disk.identity import write_identity
from faunadb.disk.seals import SEALED_BYTES_MAX, seal, unseal, write_new
from faunadb.disk.snapshots import MANIFEST, encode_manifest
from faunadb.disk.states import Valid
from faunadb.disk.wal import segment_path
from faunadb.errors import Corrupt, Malformed
from faunadb.raft.entries import HardState, Index, MemberId, Term
from faunadb.raft.events import Write
from faunadb_sim.disk import SimDisk, SimEngines


class Opaque(msgspec.Struct):
    """Something else than a mark."""

    what: int


@pytest.fixture
def storage() -> Storage:
    storage = Storage(SimDisk(Random(7)), Random(7))
    storage.open()
    return storage


def lose_tail(storage: Storage, count: int = 1) -> None:
    """Damage the last `count` frames of the newest segment, so that they look torn."""
    end = storage.opened.wal.position().end
    path = segment_path(storage.opened.wal.position().seq)
    for number in range(count):
        storage.disk.flip_bit(path, end - 512 * (number + 1) + 1)


def crash(storage: Storage, *, power: bool = False) -> None:
    storage.directory = None
    if power:
        storage.disk.lose_power()
    else:
        storage.disk.crash_process()


def refused(storage: Storage) -> str:
    """Return the one word with which the directory is refused."""
    with pytest.raises(Corrupt) as caught:
        storage.open()
    return caught.value.reason


# ---------------------------------------------------------------- proofs


def test_a_known_commit_proves_the_tail(storage: Storage) -> None:
    """A commit index in a valid frame beyond the log's end: something committed is missing."""
    state = HardState(Term(1), MemberId(1), Index(9))
    storage.opened.wal.write([Write(storage.token(), state, None, (entry(1),))])
    storage.opened.wal.sync()
    crash(storage)

    assert "tail" == refused(storage)


def test_a_believed_state_proves_the_tail(storage: Storage) -> None:
    """The state applied an entry that the log lost: it had been synced before (SAFETY 15)."""
    storage.append(1)
    storage.append(1)
    storage.apply(2)
    lose_tail(storage)
    crash(storage)

    assert "tail" == refused(storage)


def test_our_own_snapshot_proves_the_tail(storage: Storage) -> None:
    """A snapshot that we took ended at a synced entry."""
    storage.append(1)
    storage.append(1)
    storage.apply(2)
    storage.snapshot()
    lose_tail(storage)
    crash(storage, power=True)

    assert "tail" == refused(storage)


def test_a_clean_stop_proves_the_tail(storage: Storage) -> None:
    """CLEAN says where the log ended, to the byte."""
    storage.append(1)
    storage.append(1)
    lose_tail_of = storage.opened.wal.position()
    storage.stop()
    storage.disk.flip_bit(segment_path(lose_tail_of.seq), lose_tail_of.end - 511)

    assert "tail" == refused(storage)


def test_a_snapshot_that_contradicts_the_log(storage: Storage) -> None:
    """Another term at the same index: one of both is not ours."""
    storage.append(2)
    storage.apply(2)
    storage.snapshot()
    storage.opened.wal.write([Write(storage.token(), None, Index(2), (entry(2, 3),))])
    storage.opened.wal.sync()
    crash(storage)

    assert "snapshot" == refused(storage)


def test_a_state_that_contradicts_the_log(storage: Storage) -> None:
    """A believed state applied another entry than the log holds."""
    storage.append(2)
    storage.apply(2)
    storage.opened.wal.write([Write(storage.token(), None, Index(2), (entry(2, 3),))])
    storage.opened.wal.sync()
    crash(storage)

    assert "state" == refused(storage)


def test_a_state_without_a_log(storage: Storage) -> None:
    """A log never vanishes by itself."""
    crash(storage)
    storage.disk.remove("wal")

    assert "log" == refused(storage)


def test_a_log_that_begins_late_needs_a_snapshot(storage: Storage) -> None:
    """What was cut from the log is in a snapshot, or the directory is damaged."""
    for _ in range(3):
        for _ in range(8):
            storage.append(2)
        storage.commit_and_apply()
        storage.snapshot()
    assert storage.opened.snapshots.cut_index() > 0
    crash(storage)
    for snapshot in [name for name in storage.disk.list("") if name.startswith("snap-")]:
        storage.disk.remove(snapshot)

    assert "snapshot" == refused(storage)


# ---------------------------------------------------------------- the state


def cut_log(storage: Storage) -> None:
    for _ in range(3):
        for _ in range(8):
            storage.append(2)
        storage.commit_and_apply()
        storage.snapshot()


def test_a_kill_keeps_the_state(storage: Storage) -> None:
    """VALID of this boot: what was committed is in the page cache."""
    storage.append(4)
    storage.apply(4)
    crash(storage)

    storage.open()

    assert 4 == storage.opened.recovered.state_applied.index
    assert () == storage.opened.notes


def test_a_loss_of_power_discards_the_state(storage: Storage) -> None:
    """VALID of another boot says nothing: the state is built anew from the log."""
    storage.append(4)
    storage.apply(4)
    crash(storage, power=True)

    storage.open()

    assert 0 == storage.opened.recovered.state_applied.index
    assert 4 == storage.opened.recovered.entries[-1].index
    assert ["state-2"] == [n for n in storage.disk.list("") if n.startswith("state")]


def test_a_clean_stop_keeps_the_state_over_a_loss_of_power(storage: Storage) -> None:
    """CLEAN stands after a forced sync; it goes before the first write after it."""
    storage.append(4)
    storage.apply(4)
    storage.stop()
    storage.disk.lose_power()

    storage.open()

    assert 4 == storage.opened.recovered.state_applied.index
    assert ["VALID"] == [n for n in storage.disk.list("state-1") if n in {"VALID", "CLEAN"}]


def test_a_disowned_state_is_rebuilt(storage: Storage) -> None:
    """After a failed sync the page cache is not believed either."""
    storage.append(4)
    storage.apply(4)
    storage.opened.disown_state()
    crash(storage)

    storage.open()

    assert 0 == storage.opened.recovered.state_applied.index


@pytest.mark.parametrize("part", ["MANIFEST", "data.mdb"])
def test_the_older_snapshot_serves_when_the_newest_is_damaged(storage: Storage, part: str) -> None:
    """The log is cut only behind the older of two (SAFETY 17)."""
    cut_log(storage)
    older, newest = storage.opened.snapshots.all()
    storage.disk.flip_bit(f"{newest.path}/{part}", 40)
    crash(storage, power=True)

    storage.open()

    assert older.id == storage.opened.recovered.state_applied
    assert newest.path not in storage.disk.list("")
    assert storage.opened.notes


def test_two_damaged_snapshots_and_a_cut_log(storage: Storage) -> None:
    """Nothing is guessed: the member says that it must be replaced."""
    cut_log(storage)
    for snapshot in storage.opened.snapshots.all():
        storage.disk.flip_bit(f"{snapshot.path}/data.mdb", 40)
    crash(storage, power=True)

    assert "snapshot" == refused(storage)


def test_verification_gives_a_damaged_snapshot_up(storage: Storage) -> None:
    """After a start nothing is cut before both snapshots were read again."""
    cut_log(storage)
    crash(storage)
    storage.open()
    snapshots = storage.opened.snapshots
    assert 0 == snapshots.cut_index()
    assert [] == snapshots.verify_all()
    assert snapshots.all()[0].id.index == snapshots.cut_index()
    crash(storage)
    storage.open()
    snapshots = storage.opened.snapshots
    newest = snapshots.all()[-1]
    storage.disk.flip_bit(f"{newest.path}/data.mdb", 1)

    assert 1 == len(snapshots.verify_all())
    assert 0 == snapshots.cut_index()
    assert [newest.path] != [s.path for s in snapshots.all()]


# ---------------------------------------------------------------- who the directory is


def test_an_empty_directory_is_nobody() -> None:
    """It waits to be told."""
    disk = SimDisk(Random(1))

    assert open_at(disk, None) is None


def open_at(disk: SimDisk, expected: Expected | None) -> object:
    return open_data_directory(
        disk,
        SimEngines(disk),
        expected,
        boot=disk.boot,
        describe=describe,
        draw=Random(1).randbytes,
        pause=lambda: None,
        limits=LIMITS,
    )


@pytest.mark.parametrize(
    "expected",
    [
        Expected(b"x" * 16, MemberId(1), 1),
        Expected(CLUSTER, MemberId(2), 1),
        Expected(CLUSTER, MemberId(1), 2),
    ],
)
def test_another_members_directory(storage: Storage, expected: Expected) -> None:
    """Cluster, member and incarnation must be what the caller was told."""
    crash(storage)
    with pytest.raises(Corrupt) as caught:
        open_at(storage.disk, expected)

    assert "identity" == caught.value.reason
    assert open_at(storage.disk, Expected(CLUSTER, MemberId(1), 1)) is not None


def _later_incarnation(storage: Storage) -> None:
    identity = msgspec.structs.replace(storage.identity(), incarnation=0)
    write_identity(storage.disk, identity, 0)


def _other_member(storage: Storage) -> None:
    identity = msgspec.structs.replace(storage.identity(), member_id=MemberId(9))
    write_identity(storage.disk, identity, 0)


@pytest.mark.parametrize(
    "damage",
    [
        lambda storage: storage.disk.flip_bit("IDENTITY", 30),
        lambda storage: storage.disk.remove("IDENTITY"),
        _later_incarnation,
        _other_member,
    ],
)
def test_an_identity_that_does_not_fit_the_data(
    storage: Storage, damage: Callable[[Storage], None]
) -> None:
    """Damaged, missing beside data, or of another life: refused."""
    damage(storage)
    crash(storage)
    with pytest.raises(Corrupt) as caught:
        open_at(storage.disk, None)

    assert "identity" == caught.value.reason


# ---------------------------------------------------------------- snapshots, one by one


def test_space_is_made_by_giving_up_the_older_snapshot(storage: Storage) -> None:
    """The newest stays; with one alone there is nothing to give up."""
    cut_log(storage)
    snapshots = storage.opened.snapshots
    kept = snapshots.bytes_kept()
    newest = snapshots.newest()

    assert snapshots.drop_older()
    assert not snapshots.drop_older()
    assert (newest,) == snapshots.all()
    assert 0 < snapshots.bytes_kept() < kept
    assert 0 == snapshots.cut_index()


@pytest.mark.parametrize(
    "change",
    [{"data_bytes": -1}, {"chunk_crcs": b"12345"}, {"cluster_id": b"x" * 16}],
)
def test_a_manifest_that_cannot_be_is_not_used(storage: Storage, change: dict[str, object]) -> None:
    """Impossible sizes, missing checksums, another cluster: the snapshot does not count."""
    cut_log(storage)
    newest = storage.opened.snapshots.all()[-1]
    block = encode_manifest(msgspec.structs.replace(newest.manifest, **change))
    write_new(storage.disk, f"{newest.path}/{MANIFEST}", block)
    crash(storage)

    storage.open()

    assert newest.path not in [s.path for s in storage.opened.snapshots.all()]


@pytest.mark.parametrize(
    "change", [{"data_bytes": 7}, {"data_sha256": b"x" * 32}], ids=["size", "digest"]
)
def test_data_that_are_not_the_manifests(storage: Storage, change: dict[str, object]) -> None:
    """Each chunk, the size and the whole are compared."""
    cut_log(storage)
    newest = storage.opened.snapshots.all()[-1]
    block = encode_manifest(msgspec.structs.replace(newest.manifest, **change))
    write_new(storage.disk, f"{newest.path}/{MANIFEST}", block)
    crash(storage)
    storage.open()

    problems = storage.opened.snapshots.verify_all()

    assert 1 == len(problems)
    assert newest.path in problems[0]


def test_a_snapshot_without_data(storage: Storage) -> None:
    """It is given up like any other that does not verify."""
    cut_log(storage)
    newest = storage.opened.snapshots.all()[-1]
    storage.disk.remove(newest.data_path)
    crash(storage)
    storage.open()

    assert 1 == len(storage.opened.snapshots.verify_all())


def test_a_mark_that_is_too_large_is_not_read(storage: Storage) -> None:
    """Nobody makes a start read a gigabyte into memory."""
    storage.append(1)
    storage.apply(1)
    file = storage.disk.open("state-1/VALID")
    file.truncate(SEALED_BYTES_MAX + 1)
    crash(storage)

    storage.open()

    assert 0 == storage.opened.recovered.state_applied.index


@pytest.mark.parametrize(
    "block",
    [
        seal(b"FaunaVAL", Opaque(1))[:-1],
        seal(b"FaunaCLN", Opaque(1)),
        seal(b"FaunaVAL", Opaque(1)),
        b"FaunaVAL\x02\x00" + bytes(20),
        b"",
    ],
)
def test_sealed_files_are_what_they_say(block: bytes) -> None:
    """Cut off, of another kind, of another content, of another version: `Malformed`."""
    with pytest.raises(Malformed):
        unseal(b"FaunaVAL", Valid, block)
