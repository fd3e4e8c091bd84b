"""How fast the disk part is here: `python bench/disk.py [directory]`; one line for each figure.

The yardstick of the machine comes first, because every other figure depends on it. The directory
must be on the file system that will hold the data; tmpfs would measure nothing.
"""

import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from faunadb.disk.boot import this_boot
from faunadb.disk.directory import DataDirectory, open_data_directory
from faunadb.disk.engine import LmdbEngines
from faunadb.disk.files import DirectoryFiles
from faunadb.disk.identity import create_identity
from faunadb.disk.ports import Description
from faunadb.disk.wal_thread import WalThread
from faunadb.raft.entries import (
    Configuration,
    Entry,
    EntryId,
    EntryKind,
    Index,
    MemberId,
    Peer,
    Term,
)
from faunadb.raft.events import Token, Write
from faunadb.store.ports import Reader

VALUE = os.urandom(256)
SYNCS = 2_000
WRITES = 40_000
PAIRS = 400_000
STATE_KEY = b"\x00state"


def describe(reader: Reader) -> Description:
    block = reader.get(STATE_KEY)
    return Description() if block is None else msgspec.msgpack.decode(block, type=Description)


def open_directory(files: DirectoryFiles) -> DataDirectory:
    directory = open_data_directory(
        files,
        LmdbEngines(files.root),
        None,
        boot=this_boot(None),
        describe=describe,
        draw=os.urandom,
        pause=lambda: time.sleep(0.002),
    )
    assert directory is not None
    return directory


def yardstick(root: Path) -> None:
    """Print what one 4 KiB fdatasync over written space costs."""
    fd = os.open(root / "yardstick", os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, bytes(16 << 20), 0)
    os.fdatasync(fd)
    took: list[float] = []
    for number in range(500):
        start = time.perf_counter()
        os.pwrite(fd, bytes(4096), number * 4096)
        os.fdatasync(fd)
        took.append(time.perf_counter() - start)
    os.close(fd)
    print(f"yardstick: fdatasync of 4 KiB     {statistics.median(took) * 1e6:10.0f} us (median)")


def entry(index: int) -> Write:
    made = Entry.make(Term(1), Index(index), EntryKind.DATA, VALUE)
    return Write(Token(Term(1), index), None, None, (made,))


def log_alone(directory: DataDirectory) -> int:
    """Print what a frame of one small entry costs, written and synced one after the other."""
    took: list[float] = []
    for index in range(1, SYNCS + 1):
        start = time.perf_counter()
        directory.wal.write([entry(index)])
        directory.wal.sync()
        took.append(time.perf_counter() - start)
    print(f"log: one frame, one fsync         {statistics.median(took) * 1e6:10.0f} us (median)")
    print(f"log: frames                       {SYNCS / sum(took):10.0f} /s")
    return SYNCS


def log_batched(directory: DataDirectory, first: int) -> None:
    """Print how many entries a busy disk takes, with 512 in flight."""
    done = threading.Semaphore(512)

    def persisted(tokens: Sequence[Token]) -> None:
        done.release(len(tokens))

    log = WalThread(directory.wal, lambda callback: callback(), persisted, _end)
    start = time.perf_counter()
    for index in range(first, first + WRITES):
        done.acquire()
        log.submit(entry(index))
    log.close()
    rate = WRITES / (time.perf_counter() - start)
    print(f"log: entries of 256 B, 512 waiting{rate:10.0f} /s")


def _end(problem: BaseException) -> None:
    print(f"log failed: {problem}")
    os._exit(1)


def state(directory: DataDirectory) -> None:
    """Print puts, gets, and what a copy costs."""
    engine = directory.engine
    pairs = [(b"k%012d" % (i * 7919 % 1_000_003), VALUE) for i in range(PAIRS)]
    start = time.perf_counter()
    for at in range(0, PAIRS, 100):
        with engine.write() as writer:
            writer.put_many(pairs[at : at + 100])
    print(f"state: puts in batches of 100     {PAIRS / (time.perf_counter() - start):10.0f} /s")
    start = time.perf_counter()
    for key, _ in pairs[:50_000]:
        with engine.read() as reader:
            reader.get(key)
    print(f"state: reader and get             {(time.perf_counter() - start) / 0.05:10.2f} us")
    start = time.perf_counter()
    with engine.read() as reader:
        count = sum(1 for _ in reader.scan(b"", None))
    print(f"state: pairs scanned              {count / (time.perf_counter() - start):10.0f} /s")
    at_entry = EntryId(Term(1), Index(1))
    peers = Configuration(voters=(Peer(MemberId(1), "a", bytes(16)),))
    with engine.write() as writer:
        block = msgspec.msgpack.encode(Description(at_entry, peers, at_entry))
        writer.put_many([(STATE_KEY, block)])
    start = time.perf_counter()
    engine.force_sync()
    print(f"state: forced sync                {time.perf_counter() - start:10.3f} s")
    size = engine.data_bytes()
    start = time.perf_counter()
    engine.copy_to("copy.mdb")
    rate = size / (time.perf_counter() - start) / 1e6
    print(f"snapshot: copy of {size / 1e6:5.0f} MB         {rate:10.0f} MB/s")
    start = time.perf_counter()
    taken = directory.snapshots.take(engine)
    assert taken is not None
    print(f"snapshot: copy, sync, walk, digest{time.perf_counter() - start:10.3f} s")


def main(root: Path) -> None:
    yardstick(root)
    files = DirectoryFiles(root)
    create_identity(
        files,
        cluster_id=bytes(16),
        member_id=MemberId(1),
        incarnation=1,
        incarnation_salt=bytes(16),
        created_us=0,
        draw=os.urandom,
    )
    directory = open_directory(files)
    directory.wal.prepare_spare()
    log_batched(directory, log_alone(directory) + 1)
    state(directory)
    directory.close()
    start = time.perf_counter()
    directory = open_directory(files)
    print(f"start: after kill -9              {time.perf_counter() - start:10.3f} s")
    directory.disown_state()
    directory.close()
    start = time.perf_counter()
    directory = open_directory(files)
    print(f"start: state rebuilt by copy      {time.perf_counter() - start:10.3f} s")
    directory.close()


if __name__ == "__main__":
    where = Path(
        tempfile.mkdtemp(prefix="faunadb-bench-", dir=sys.argv[1] if sys.argv[1:] else ".")
    )
    try:
        main(where)
    finally:
        shutil.rmtree(where)
