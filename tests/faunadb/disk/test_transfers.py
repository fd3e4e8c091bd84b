"""A snapshot arrives whole, from where it stopped, or not at all."""

import errno
from hashlib import sha256
from random import Random

import pytest

from disk_test_helpers.member import Logged, Storage, describe
from faunadb.disk.snapshots import CHUNK_BYTES, RECEIVED
from faunadb.disk.transfers import RECEIVING, Receiver, Source
from faunadb.errors import Corrupt, Malformed
from faunadb.node.ports import LogRestart
from faunadb.raft.entries import Index
from faunadb_sim.disk import SimDisk, SimEngines


def member(number: int) -> Storage:
    storage = Storage(SimDisk(Random(number)), Random(number), member_id=number)
    storage.open()
    return storage


@pytest.fixture
def sender() -> Storage:
    """A member with a snapshot of three chunks at entry 3."""
    storage = member(2)
    storage.append(3)
    storage.apply(3)
    with storage.opened.engine.write() as writer:
        writer.put_many([(b"big", Random(1).randbytes(2 * CHUNK_BYTES + 1000))])
    storage.snapshot()
    return storage


@pytest.fixture
def source(sender: Storage) -> Source:
    snapshot = sender.opened.snapshots.find(Index(3))
    assert snapshot is not None
    return Source(sender.disk, snapshot)


def receiver_of(storage: Storage) -> Receiver:
    directory = storage.opened
    return Receiver(
        storage.disk, SimEngines(storage.disk), directory.identity, directory.snapshots, describe
    )


def test_nothing_beyond_the_newest(sender: Storage) -> None:
    """A snapshot that does not reach the wanted index is not offered."""
    assert sender.opened.snapshots.find(Index(4)) is None


def test_a_transfer(source: Source) -> None:
    """Chunk by chunk; a repeated one is ignored; it is marked as received."""
    storage = member(1)
    receiver = receiver_of(storage)
    assert 0 == receiver.begin(source.manifest_block, source.digest)
    at = receiver.add(0, source.chunk(0))
    assert at == receiver.add(0, source.chunk(0))
    while at < source.data_bytes:
        at = receiver.add(at, source.chunk(at))

    snapshot = receiver.finish()

    assert source.digest == snapshot.meta.digest
    assert RECEIVED in storage.disk.list(snapshot.path)
    assert snapshot == storage.opened.snapshots.newest()


def test_an_end_before_the_last_chunk(source: Source) -> None:
    """Two leaders may send to one receiver: the end of the one is not the end of the other."""
    receiver = receiver_of(member(1))
    receiver.begin(source.manifest_block, source.digest)
    receiver.add(0, source.chunk(0))

    with pytest.raises(Malformed, match="chunks are missing"):
        receiver.finish()


def test_a_connection_is_lost(source: Source) -> None:
    """The same digest goes on where it stopped, also in a new process; another starts at 0."""
    storage = member(1)
    receiver = receiver_of(storage)
    receiver.begin(source.manifest_block, source.digest)
    receiver.add(0, source.chunk(0))
    assert CHUNK_BYTES == receiver.begin(source.manifest_block, source.digest)

    storage.disk.crash_process()
    assert CHUNK_BYTES == receiver_of(storage).begin(source.manifest_block, source.digest)

    other = member(3)
    other.append(1)
    other.apply(1)
    other.snapshot()
    newest = other.opened.snapshots.newest()
    assert newest is not None
    second = Source(other.disk, newest)
    assert 0 == receiver_of(storage).begin(second.manifest_block, second.digest)


def test_what_lost_power_is_received_again(source: Source) -> None:
    """Partial data were never synced: what does not verify is asked for again."""
    for seed in range(10):
        storage = member(seed)
        receiver = receiver_of(storage)
        receiver.begin(source.manifest_block, source.digest)
        at = receiver.add(0, source.chunk(0))
        receiver.add(at, source.chunk(at))
        storage.disk.lose_power()
        storage.open()
        receiver = receiver_of(storage)
        at = receiver.begin(source.manifest_block, source.digest)
        while at < source.data_bytes:
            at = receiver.add(at, source.chunk(at))
        assert source.digest == receiver.finish().meta.digest


def test_lies_are_refused(source: Source) -> None:
    """Wrong digests, manifests, offsets, lengths and bytes: `Malformed`, and nothing is kept."""
    storage = member(1)
    receiver = receiver_of(storage)
    for offset, data in ((0, b""), (0, source.chunk(0))):
        with pytest.raises(Malformed):
            receiver.add(offset, data)
    with pytest.raises(Malformed):
        receiver.begin(source.manifest_block, b"x" * 32)
    with pytest.raises(Malformed):
        receiver.begin(b"nonsense", sha256(b"nonsense").digest())
    receiver.begin(source.manifest_block, source.digest)
    good = source.chunk(0)
    for offset, data in (
        (1, good),
        (CHUNK_BYTES, source.chunk(CHUNK_BYTES)),
        (0, good[:-1]),
        (0, good[:-1] + bytes([good[-1] ^ 1])),
        (1 << 40, good),
    ):
        with pytest.raises(Malformed):
            receiver.add(offset, data)
    assert len(good) == receiver.add(0, good)


def test_a_snapshot_of_another_cluster(sender: Storage) -> None:
    """Its manifest says so."""
    snapshot = sender.opened.snapshots.newest()
    assert snapshot is not None
    storage = member(1)
    directory = storage.opened
    foreign = type(directory.identity)(
        cluster_id=b"x" * 16,
        member_id=directory.identity.member_id,
        nonce=directory.identity.nonce,
        incarnation=1,
        incarnation_salt=b"s" * 16,
    )
    receiver = Receiver(
        storage.disk, SimEngines(storage.disk), foreign, directory.snapshots, describe
    )
    with pytest.raises(Malformed):
        receiver.begin(snapshot.manifest_block, snapshot.meta.digest)


def test_data_that_rot_before_they_are_kept(source: Source) -> None:
    """The whole is read again at the end; a difference starts the transfer over."""
    storage = member(1)
    receiver = receiver_of(storage)
    at = receiver.begin(source.manifest_block, source.digest)
    while at < source.data_bytes:
        at = receiver.add(at, source.chunk(at))
    storage.disk.flip_bit(f"{RECEIVING}/data.mdb", 100)

    with pytest.raises(Corrupt):
        receiver.finish()

    assert 0 == receiver.begin(source.manifest_block, source.digest)


def test_a_sender_whose_disk_lies(sender: Storage, source: Source) -> None:
    """A damaged chunk never leaves."""
    snapshot = sender.opened.snapshots.newest()
    assert snapshot is not None
    sender.disk.flip_bit(snapshot.data_path, CHUNK_BYTES + 5)

    with pytest.raises(Corrupt):
        source.chunk(CHUNK_BYTES)


@pytest.mark.parametrize("recorded", [False, True])
def test_an_interrupted_installation_is_finished(source: Source, recorded: bool) -> None:
    """A crash before the log's record, or between record and swap: recovery goes on (SAFETY 16)."""
    storage = member(1)
    storage.vote()
    storage.append(1)
    receiver = receiver_of(storage)
    at = receiver.begin(source.manifest_block, source.digest)
    while at < source.data_bytes:
        at = receiver.add(at, source.chunk(at))
    received = receiver.finish()
    installed = Logged(received.id, (), storage.reported.hard_state)
    storage.pending = (installed,)
    if recorded:
        storage.write(LogRestart(storage.token(), received.id))
    storage.disk.lose_power()

    storage.open()

    assert received.id == storage.opened.recovered.state_applied
    assert () == storage.opened.recovered.entries


def test_what_a_failed_sync_left_is_written_again(source: Source) -> None:
    """After EIO the pages are clean and not on the disk: a later fsync alone would lie."""
    storage = member(1)
    storage.vote()
    receiver = receiver_of(storage)
    receive(receiver, source)

    def plan(_number: int, operation: str, path: str) -> None:
        if (operation, path) == ("fdatasync", f"{RECEIVING}/data.mdb"):
            raise OSError(errno.EIO, "no")

    storage.disk.plan = plan
    with pytest.raises(OSError, match="no"):
        receiver.finish()
    storage.disk.crash_process()
    storage.open()
    receiver = receiver_of(storage)
    receive(receiver, source)
    received = receiver.finish()
    storage.write(LogRestart(storage.token(), received.id))
    storage.disk.lose_power()

    storage.open()

    assert received.id == storage.opened.recovered.state_applied


def receive(receiver: Receiver, source: Source) -> None:
    at = receiver.begin(source.manifest_block, source.digest)
    while at < source.data_bytes:
        at = receiver.add(at, source.chunk(at))
