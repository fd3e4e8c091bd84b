"""A lone survivor goes on as the only voter of a later incarnation (SAFETY 25)."""

import contextlib
import errno
import os
from random import Random

import msgspec
import pytest

from disk_test_helpers.member import CLUSTER, LIMITS, Storage, describe
from faunadb.disk.directory import (
    DataDirectory,
    Expected,
    open_data_directory,
    recover_single,
)
from faunadb.disk.identity import read_identity
from faunadb.disk.incarnation import Begin
from faunadb.disk.snapshots import Manifest, digest_of, encode_manifest
from faunadb.disk.transfers import Receiver
from faunadb.errors import Corrupt, Malformed
from faunadb.node.ports import Identity
from faunadb.raft.core import recovered_cluster, restore
from faunadb.raft.entries import (
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Index,
    MemberId,
    Peer,
    Term,
    decode_configuration,
    encode_configuration,
)
from faunadb.raft.events import Write
from faunadb_sim.disk import PowerLoss, SimDisk, SimEngines

STRIDE = int(os.environ.get("FAULT_STRIDE", "4"))  # 1 fails every operation in every way
ME = Peer(MemberId(1), "a", b"n" * 16)
THREE = Configuration(
    voters=(ME, Peer(MemberId(2), "b", b"o" * 16), Peer(MemberId(6), "c", b"p" * 16)),
    highest_member_id=MemberId(7),
)


def begin(
    hard_state: HardState, last: Index, highest: MemberId
) -> tuple[HardState, tuple[Entry, ...]]:
    return recovered_cluster(ME, hard_state, last, highest, [b"closed"])


def open_as(
    disk: SimDisk, incarnation: int, how: Begin | None = begin, *, draw: Random | None = None
) -> DataDirectory:
    directory = open_data_directory(
        disk,
        SimEngines(disk),
        Expected(CLUSTER, MemberId(1), incarnation),
        boot=disk.boot,
        describe=describe,
        draw=(draw or Random(5)).randbytes,
        pause=lambda: None,
        begin=how,
        limits=LIMITS,
    )
    assert directory is not None
    return directory


def recover(disk: SimDisk, source: int = 1, target: int = 2, *, draw: int = 5) -> DataDirectory:
    """Do what `faunadb serve --recover-single` does."""
    recover_single(
        disk,
        Expected(CLUSTER, MemberId(1), target),
        source,
        open_as=lambda expected: open_as(disk, expected.incarnation),
        draw=Random(draw).randbytes,
        created_us=0,
    )
    return open_as(disk, target)


def survivor(chance: int = 7) -> Storage:
    """Return one of three members, crashed with a tail that it does not know to be committed."""
    storage = Storage(SimDisk(Random(chance)), Random(chance))
    storage.open()
    storage.append(2)
    payload = encode_configuration(THREE)
    at = Entry.make(Term(1), Index(3), EntryKind.CONFIGURATION, payload)
    storage.write(Write(storage.token(), None, None, (at,)))
    storage.append(2)
    storage.commit_and_apply()
    storage.snapshot()
    storage.vote()
    storage.append(4)
    storage.directory = None
    storage.disk.crash_process()
    return storage


def identity_of(disk: SimDisk) -> Identity:
    identity = read_identity(disk)
    assert identity is not None
    return identity


def check_begun(storage: Storage, directory: DataDirectory) -> None:
    """Everything that was in the log is there, and the incarnation begins behind it, once."""
    found, old = directory.recovered, storage.reported
    assert [*old.ids] == [entry.id for entry in found.entries[: len(old.ids)]]
    begun = found.entries[len(old.ids) :]
    assert [EntryKind.CONFIGURATION, EntryKind.DATA] == [entry.kind for entry in begun]
    assert {old.hard_state.term + 1} == {entry.term for entry in begun}
    alone = Configuration(voters=(ME,), highest_member_id=THREE.highest_member_id)
    assert alone == decode_configuration(begun[0].payload)
    state = HardState(Term(old.hard_state.term + 1), ME.id, begun[-1].index)
    assert state == found.hard_state


# ---------------------------------------------------------------- what comes of it


def test_everything_is_kept_and_the_survivor_is_the_only_voter() -> None:
    """Its whole log counts, the tail too; the ids that were given out are never used again."""
    storage = survivor()
    old = identity_of(storage.disk)
    directory = recover(storage.disk)
    new = identity_of(storage.disk)
    found = directory.recovered

    check_begun(storage, directory)
    assert (2, old.nonce, old.member_id) == (new.incarnation, new.nonce, new.member_id)
    assert old.incarnation_salt != new.incarnation_salt
    assert (
        "incarnation 2 begins at 3/11: everything up to 10 is kept, of which 5 entries"
        in (directory.notes[-1])
    )
    core = restore(
        found.hard_state, found.snapshot, found.entries, applied=found.state_applied.index
    )
    assert core.hard_state.commit == core.entries[-1].index


def test_a_recovered_member_starts_as_any_other() -> None:
    """The options may stay: with them and without, the next start changes nothing."""
    storage = survivor()
    recover(storage.disk).close()
    salt = identity_of(storage.disk).incarnation_salt
    storage.disk.crash_process()
    recover(storage.disk, draw=99).close()
    directory = open_as(storage.disk, 2)

    check_begun(storage, directory)
    assert salt == identity_of(storage.disk).incarnation_salt
    assert () == directory.notes


def test_a_recovered_member_may_be_recovered_again() -> None:
    """Incarnations follow each other in one log, also when the second was never begun."""
    storage = survivor()
    recover(storage.disk).close()
    directory = recover(storage.disk, 2, 4)

    assert 4 == directory.identity.incarnation
    assert 2 * 2 == len(directory.recovered.entries) - len(storage.reported.ids)
    assert [3, 4] == sorted({entry.term for entry in directory.recovered.entries[-4:]})


def refused(disk: SimDisk, source: int, target: int) -> str:
    with pytest.raises(Corrupt) as caught:
        recover(disk, source, target)
    return f"{caught.value.reason}: {caught.value.detail}"


def test_it_acts_only_on_what_it_was_told() -> None:
    """Another incarnation, another member, an empty directory, an empty log: refused, as it was."""
    storage = survivor()
    nobody = SimDisk(Random(1))
    fresh = Storage(SimDisk(Random(2)), Random(2))
    fresh.open()
    fresh.directory = None
    fresh.disk.crash_process()

    assert "identity: the directory is of incarnation 1" == refused(storage.disk, 2, 3)
    assert "identity: the directory is empty: there is nothing to recover" == (
        refused(nobody, 1, 2)
    )
    assert "log: the log is empty: this member never had anything to recover" == (
        refused(fresh.disk, 1, 2)
    )
    assert 1 == identity_of(storage.disk).incarnation == identity_of(fresh.disk).incarnation
    open_as(storage.disk, 1)


def test_a_damaged_survivor_stays_what_it_was() -> None:
    """Proof comes before the commit point: another survivor may be better."""
    storage = survivor()
    segment = next(path for path in storage.disk.list("wal") if path.endswith(".wal"))
    storage.disk.flip_bit(f"wal/{segment}", 514)

    assert refused(storage.disk, 1, 2).startswith("frame: ")
    assert 1 == identity_of(storage.disk).incarnation


def test_the_former_incarnation_is_over() -> None:
    """A start that still says the former incarnation is refused (exit 78)."""
    storage = survivor()
    recover(storage.disk).close()
    with pytest.raises(Corrupt) as caught:
        open_as(storage.disk, 1)

    assert "the directory is of incarnation 2" == caught.value.detail


# ---------------------------------------------------------------- killed at every step


def count_operations() -> int:
    disk = survivor().disk
    before = disk.operations
    recover(disk)
    return disk.operations - before


OPERATIONS = count_operations()


@pytest.mark.parametrize("kind", ["power", "eio", "enospc"])
@pytest.mark.parametrize("restart", ["process", "power", "both"])
def test_fail_every_operation(kind: str, restart: str) -> None:
    """Whatever step it dies at, the next start finishes it: nothing is lost, nothing is twofold.

    The second start may come without the options when the first one reached the commit point.
    "both": a start on the page cache, and then the power goes.
    """
    for number in range(1 + len(kind + restart) % STRIDE, OPERATIONS + 1, STRIDE):
        storage = survivor()
        salt = interrupted(storage.disk, kind, number)
        if kind == "power" or restart == "power":
            storage.disk.lose_power()
        else:
            storage.disk.crash_process()
        if restart == "both":
            recover(storage.disk, draw=number)
            storage.disk.lose_power()
        if identity_of(storage.disk).incarnation == 2 and number % 2:
            directory = open_as(storage.disk, 2)
        else:
            directory = recover(storage.disk, draw=number)

        check_begun(storage, directory)
        if salt is not None and kind != "power" and restart != "power":
            assert salt == directory.identity.incarnation_salt


def interrupted(disk: SimDisk, kind: str, number: int) -> bytes | None:
    """Recover until operation `number` fails; return the salt if IDENTITY had it by then."""
    end = disk.operations + number

    def plan(count: int, operation: str, path: str) -> None:
        if count != end:
            return
        if kind == "power":
            raise PowerLoss
        code = errno.EIO if kind == "eio" else errno.ENOSPC
        raise OSError(code, f"{operation} of {path}")

    disk.plan = plan
    with contextlib.suppress(PowerLoss, OSError):
        recover(disk)
    disk.plan = lambda _count, _operation, _path: None
    identity = identity_of(disk)
    return identity.incarnation_salt if identity.incarnation == 2 else None


# ---------------------------------------------------------------- snapshots of the former one


def test_the_state_is_rebuilt_from_a_snapshot_of_the_former_incarnation() -> None:
    """The own log goes on from it, so it is as good as before; nobody else is sent it."""
    storage = survivor()
    directory = recover(storage.disk)
    kept = directory.snapshots.newest()
    assert kept is not None
    assert 1 == kept.manifest.incarnation
    assert directory.snapshots.find(Index(1)) is None
    storage.disk.lose_power()
    rebuilt = open_as(storage.disk, 2)

    assert kept.id == rebuilt.recovered.state_applied
    assert [kept.path] == [found.path for found in rebuilt.snapshots.all()]


def test_a_snapshot_of_another_history_is_not_believed() -> None:
    """The same number with another salt, or a later one: it is named and given up."""
    storage = survivor()
    kept = open_as(storage.disk, 1).snapshots.newest()
    assert kept is not None
    for number, salt in ((1, b"x" * 16), (9, kept.manifest.incarnation_salt)):
        foreign = replaced(kept.manifest, number, salt)
        file = storage.disk.open(f"{kept.path}/MANIFEST")
        file.truncate(0)
        file.pwrite(encode_manifest(foreign), 0)
        directory = open_as(storage.disk, 1)

        assert () == directory.snapshots.all()
        assert kept.path not in storage.disk.list("")
        storage = survivor()


def test_a_snapshot_of_another_incarnation_is_not_received() -> None:
    """Two operators recovered two survivors to one number: the salt tells them apart."""
    directory = recover(survivor().disk)
    kept = directory.snapshots.newest()
    assert kept is not None
    disk = SimDisk(Random(3))
    receiver = Receiver(disk, SimEngines(disk), directory.identity, directory.snapshots, describe)
    for number, salt in ((1, kept.manifest.incarnation_salt), (2, b"x" * 16)):
        block = encode_manifest(replaced(kept.manifest, number, salt))
        with pytest.raises(Malformed, match="another cluster or incarnation"):
            receiver.begin(block, digest_of(block))


def replaced(manifest: Manifest, number: int, salt: bytes) -> Manifest:
    return msgspec.structs.replace(manifest, incarnation=number, incarnation_salt=salt)


def test_a_log_of_an_earlier_incarnation_needs_somebody_who_begins() -> None:
    """Without a way to begin, a directory whose log lags behind its IDENTITY is refused."""
    storage = survivor()
    recover_single(
        storage.disk,
        Expected(CLUSTER, MemberId(1), 2),
        1,
        open_as=lambda expected: open_as(storage.disk, expected.incarnation),
        draw=Random(1).randbytes,
        created_us=0,
    )
    with pytest.raises(Corrupt, match="the log ends in incarnation 1"):
        open_as(storage.disk, 2, None)
    check_begun(storage, open_as(storage.disk, 2))
