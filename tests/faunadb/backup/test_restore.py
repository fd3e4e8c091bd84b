"""A restored directory is an ordinary member's, however often the restore was killed."""

import contextlib
import errno
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from backup_test_helpers import FailingFiles, apply_log, log_of, manifest_of, pairs_of
from disk_test_helpers.member import LIMITS
from faunadb.backup.layout import Manifest
from faunadb.backup.restore import (
    DirectoryTaken,
    Order,
    Restored,
    Restoring,
)
from faunadb.disk.boot import Boot
from faunadb.disk.directory import DataDirectory, Expected, open_data_directory
from faunadb.disk.engine import LmdbEngines
from faunadb.disk.identity import create_identity, read_identity
from faunadb.disk.ports import Description, Engines
from faunadb.errors import Corrupt
from faunadb.machine import CONFIGURATION, Machine, state_hash_of
from faunadb.machine import describe as describe_state
from faunadb.node.ports import Files
from faunadb.raft.entries import (
    EntryId,
    Index,
    MemberId,
    Term,
    decode_configuration,
)
from faunadb.store.bookkeeping import Bookkeeping
from faunadb.store.ports import KeyValue, Reader
from faunadb_sim.disk import PowerLoss, SimDisk, SimEngines
from store_test_helpers import LogEntry, MemoryKeyValue

LOG = log_of(12)
STATE = MemoryKeyValue()
RECORD = apply_log(STATE, LOG)
MANIFEST = manifest_of(RECORD)
PAIRS = pairs_of(STATE)
FLOOR_US = RECORD.ceiling + 7
ORDER = Order(
    from_cluster_id=MANIFEST.cluster_id,
    backup_id=MANIFEST.backup_id,
    cluster_id=b"C" * 16,
    incarnation=4,
    member_id=9,
    name="orders-9",
    floor_us=FLOOR_US,
)


def restoring(files: Files, engines: Engines, order: Order = ORDER, seed: int = 1) -> Restoring:
    return Restoring(
        files,
        engines,
        order,
        draw=Random(seed).randbytes,
        created_us=1,
        pause=lambda: None,
        limits=LIMITS,
    )


def slices() -> list[list[tuple[bytes, bytes]]]:
    return [PAIRS[at : at + 5] for at in range(0, len(PAIRS), 5)]


def restore(files: Files, engines: Engines, seed: int = 1) -> Restored:
    """Do what the command does: find it done, or do it."""
    work = restoring(files, engines, seed=seed)
    return work.find_done() or work.run(MANIFEST, slices())


def describe(reader: Reader) -> Description:
    record = describe_state(reader)
    at = record.configuration_id
    return Description(
        EntryId(Term(record.applied[0]), Index(record.applied[1])),
        decode_configuration(record.configuration) if record.configuration else None,
        EntryId(Term(at[0]), Index(at[1])),
    )


def opened(files: Files, engines: Engines, boot: Boot) -> DataDirectory | None:
    """Open the directory as `faunadb serve` would."""
    expected = Expected(ORDER.cluster_id, MemberId(ORDER.member_id), ORDER.incarnation)
    return open_data_directory(
        files,
        engines,
        expected,
        boot=boot,
        describe=describe,
        draw=Random(7).randbytes,
        pause=lambda: None,
        limits=LIMITS,
    )


def check_member(directory: DataDirectory | None, done: Restored) -> None:
    """The directory holds the backup's state, one voter, and a log that begins behind it."""
    assert directory is not None
    found, at = directory.recovered, EntryId(Term(MANIFEST.term), Index(MANIFEST.index))
    assert (at, (), True) == (found.state_applied, found.entries, found.joined)
    assert (at.term, 0, at.index) == (
        found.hard_state.term,
        found.hard_state.vote,
        found.hard_state.commit,
    )
    assert found.snapshot is not None
    [voter] = found.snapshot.configuration.everyone()
    assert (9, "orders-9", directory.identity.nonce) == (voter.id, voter.name, voter.nonce)
    assert 9 == found.snapshot.configuration.highest_member_id
    assert (at, at) == (found.snapshot.id, found.snapshot.configuration_id)
    assert done.nonce == directory.identity.nonce
    with directory.engine.read() as reader:
        record = describe_state(reader)
        assert RECORD.state_hash == record.state_hash == state_hash_of(reader)
    assert PAIRS == pairs_of(directory.engine)
    assert (FLOOR_US, False, RECORD.last_ts) == (
        record.ceiling,
        record.open_for_clients,
        record.last_ts,
    )


def test_a_restored_directory_is_an_ordinary_member() -> None:
    """It opens as any member does: state, configuration, ceiling and log are the backup's."""
    disk = SimDisk(Random(1))
    done = restore(disk, SimEngines(disk))

    assert (MANIFEST.state_hash, MANIFEST.state_hash) == (done.state_hash, done.expected_state_hash)
    assert (MANIFEST.term, MANIFEST.index, RECORD.last_ts) == (done.term, done.index, done.txn_ts)
    check_member(opened(disk, SimEngines(disk), disk.boot), done)
    assert ["IDENTITY", "RESTORED"] == [n for n in disk.list("") if n.isupper()]


def count_operations() -> int:
    disk = SimDisk(Random(1))
    restore(disk, SimEngines(disk))
    return disk.operations


OPERATIONS = count_operations()


@pytest.mark.parametrize("kind", ["power", "eio", "enospc"])
@pytest.mark.parametrize("again", ["process", "power"])
def test_killed_at_every_step_it_ends_the_same(kind: str, again: str) -> None:
    """Whatever operation fails, and however it ends, the same command then restores the backup.

    Meanwhile nobody takes the directory for an empty one in which a cluster may be formed.
    """
    for number in range(1, OPERATIONS + 1):
        chance = Random(f"{kind}-{again}-{number}")

        def plan(count: int, operation: str, path: str, number: int = number) -> None:
            if count == number:
                if kind == "power":
                    raise PowerLoss
                raise OSError(errno.EIO if kind == "eio" else errno.ENOSPC, f"{operation} {path}")

        disk = SimDisk(chance, plan=plan)
        with contextlib.suppress(PowerLoss, OSError):
            restore(disk, SimEngines(disk))
        if kind == "power" or again == "power":
            disk.lose_power()
        else:
            disk.crash_process()
        check_not_empty(disk)
        done = restore(disk, SimEngines(disk), seed=2)
        if again == "power":
            disk.lose_power()
        check_member(opened(disk, SimEngines(disk), disk.boot), done)


def check_not_empty(disk: SimDisk) -> None:
    """A directory without IDENTITY in which the restore has begun is refused."""
    if read_identity(disk) is None and "RESTORING" in disk.list(""):
        with pytest.raises(Corrupt, match="restore"):
            opened(disk, SimEngines(disk), disk.boot)


def test_killed_at_every_step_on_the_real_file_system(tmp_path: Path) -> None:
    """The same with LMDB: the n-th operation on the files fails, and the next attempt finishes."""
    number, finished = 0, False
    while not finished:
        number += 1
        root = tmp_path / f"{number}"
        files = FailingFiles(root, fails_at=number)
        try:
            restore(files, LmdbEngines(root))
            finished = files.operations < number
        except OSError:
            pass
        files.close()
        files = FailingFiles(root)
        done = restore(files, LmdbEngines(root), seed=2)
        directory = opened(files, LmdbEngines(root), Boot("boot", "pod"))
        check_member(directory, done)
        assert directory is not None
        directory.close()
        files.close()
    assert 20 < number


def test_a_second_run_says_what_the_first_restored() -> None:
    """A Job whose answer was lost is told the same again, and nothing is written."""
    disk = SimDisk(Random(1))
    first = restore(disk, SimEngines(disk))
    seen: set[str] = set()
    disk.plan = lambda _number, operation, _path: seen.add(operation)
    second = restoring(disk, SimEngines(disk), seed=5).find_done()

    assert first == second
    assert {"pread"} == seen


@pytest.mark.parametrize(
    "change",
    [{"backup_id": "b2"}, {"member_id": 10}, {"incarnation": 5}, {"cluster_id": b"D" * 16}],
)
def test_a_member_is_never_restored_over(change: dict[str, Any]) -> None:
    """Another backup, id or incarnation into a directory that is a member's is refused."""
    disk = SimDisk(Random(1))
    restore(disk, SimEngines(disk))
    other = msgspec.structs.replace(ORDER, **change)
    with pytest.raises(DirectoryTaken, match="member 9"):
        restoring(disk, SimEngines(disk), other).find_done()


def test_a_member_that_was_founded_is_refused() -> None:
    """So is a directory that was never restored, even if all ids agree."""
    disk = SimDisk(Random(1))
    create_identity(
        disk,
        cluster_id=ORDER.cluster_id,
        member_id=MemberId(9),
        incarnation=4,
        incarnation_salt=b"s" * 16,
        created_us=0,
        draw=Random(1).randbytes,
    )
    with pytest.raises(DirectoryTaken):
        restoring(disk, SimEngines(disk)).find_done()


@pytest.mark.parametrize("name", ["wal", "state-1", "snap-5-1"])
def test_data_that_no_restore_has_left_are_not_removed(name: str) -> None:
    """A directory that lost its IDENTITY holds data that a person may still want."""
    disk = SimDisk(Random(1))
    disk.make_directory(name)
    with pytest.raises(Corrupt, match="no IDENTITY"):
        restoring(disk, SimEngines(disk)).find_done()


def test_an_unfinished_restore_may_become_another() -> None:
    """Without IDENTITY nothing was promised: another order begins anew."""
    disk = SimDisk(Random(1))
    work = restoring(disk, SimEngines(disk), msgspec.structs.replace(ORDER, backup_id="b0"))
    with pytest.raises(Corrupt):
        work.run(MANIFEST, slices()[:-1])
    assert "IDENTITY" not in disk.list("")
    done = restore(disk, SimEngines(disk), seed=3)
    check_member(opened(disk, SimEngines(disk), disk.boot), done)


def test_a_state_that_hashes_differently_is_refused() -> None:
    """One pair more or less than the backup's is found by the hash of all pairs."""
    disk = SimDisk(Random(1))
    with pytest.raises(Corrupt, match=MANIFEST.state_hash):
        restoring(disk, SimEngines(disk)).run(MANIFEST, [*slices(), [(b"z", b"more")]])
    assert read_identity(disk) is None


def test_archived_entries_go_on_top() -> None:
    """`replay` applies entries behind the base: the whole log and base plus rest agree."""
    cut = len(LOG) - 4
    base_state = MemoryKeyValue()
    base_record = apply_log(base_state, LOG[:cut])
    base = manifest_of(base_record)

    def replay(kv: KeyValue) -> None:
        Machine(kv).apply(LOG[cut:])

    disk = SimDisk(Random(1))
    done = restoring(disk, SimEngines(disk)).run(base, [pairs_of(base_state)], replay)

    assert (MANIFEST.state_hash, MANIFEST.index) == (done.state_hash, done.index)
    check_member(opened(disk, SimEngines(disk), disk.boot), done)


def test_a_configuration_in_the_archive_does_not_count() -> None:
    """Members of the former cluster that an archived entry names are not members here."""
    foreign = LogEntry(MANIFEST.term, MANIFEST.index + 1, CONFIGURATION, LOG[1].payload)

    def replay(kv: KeyValue) -> None:
        Machine(kv).apply([foreign])

    disk = SimDisk(Random(1))
    restoring(disk, SimEngines(disk)).run(MANIFEST, slices(), replay)
    directory = opened(disk, SimEngines(disk), disk.boot)

    assert directory is not None
    assert directory.recovered.snapshot is not None
    assert [9] == [p.id for p in directory.recovered.snapshot.configuration.everyone()]


def test_ceilings_of_the_backup_are_kept_when_they_are_higher() -> None:
    """Without a floor the new incarnation starts above the backup's own ceiling and time."""
    disk = SimDisk(Random(1))
    order = msgspec.structs.replace(ORDER, floor_us=0)
    done = restoring(disk, SimEngines(disk), order).run(MANIFEST, slices())

    assert RECORD.ceiling == done.ceiling
    low: Manifest = msgspec.structs.replace(MANIFEST, ceiling=0)
    disk = SimDisk(Random(1))
    done = restoring(disk, SimEngines(disk), order).run(low, slices())
    assert RECORD.last_ts == done.ceiling


def test_the_record_is_of_this_state() -> None:
    """What the tests above compare with is not empty."""
    assert isinstance(RECORD, Bookkeeping)
    assert RECORD.open_for_clients
    assert RECORD.leases
    assert 20 < len(PAIRS)
