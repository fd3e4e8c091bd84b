"""A state to back up, a member that gives it, a store that dies, and a disk that fails."""

from collections.abc import Callable, Iterator
from pathlib import Path

from faunadb.backup.layout import Manifest, Part
from faunadb.backup.objects import FolderObjects, Objects, Stored
from faunadb.backup.pairs import Pair, PartWriter
from faunadb.backup.progress import Progress
from faunadb.backup.source import Candidate, Fetched
from faunadb.codec import (
    Answer,
    LeaseWorker,
    OpenForClients,
    Payload,
    RaiseCeiling,
    RequestId,
    Transaction,
    encode_payload,
)
from faunadb.disk.files import DirectoryFile, DirectoryFiles
from faunadb.disk.ports import DATA_NAME
from faunadb.machine import CONFIGURATION, DATA, NOOP, Machine
from faunadb.raft.entries import Configuration, MemberId, Peer, encode_configuration
from faunadb.store import keys
from faunadb.store.bookkeeping import Bookkeeping
from faunadb.store.mvcc import DELETED, encode_version
from faunadb.store.ports import KeyValue
from store_test_helpers import LogEntry

CLUSTER_ID = "c1" * 16
SALT = "5a" * 16
STARTED_US = 1_800_000_000_000_000
COLLECTION = 1024
TERM = 3


def log_of(documents: int, value_bytes: int = 40) -> list[LogEntry]:
    """Return a log that creates `documents`, replaces one, deletes one, and opens for clients."""
    old = Configuration(voters=(Peer(MemberId(1), "a", b"n" * 16),), highest_member_id=MemberId(5))
    payloads: list[Payload] = [LeaseWorker(1, b"process"), OpenForClients()]
    payloads += [_written(number + 1, "x" * value_bytes, number) for number in range(documents)]
    payloads += [_written(1, "again", documents), _written(2, None, documents + 1)]
    payloads.append(RaiseCeiling(STARTED_US + 10_000_000))
    entries = [
        LogEntry(1, 1, NOOP, memoryview(b"")),
        LogEntry(1, 2, CONFIGURATION, memoryview(encode_configuration(old))),
    ]
    for payload in payloads:
        encoded = memoryview(encode_payload(payload))
        entries.append(LogEntry(TERM, len(entries) + 1, DATA, encoded))
    return entries


def _written(doc_id: int, text: str | None, number: int) -> Transaction:
    ts = STARTED_US + number
    raw = DELETED if text is None else encode_version({"text": text, "id": doc_id}, None)
    key = keys.document_prefix(0, COLLECTION, doc_id) + keys.suffix(ts)
    request = RequestId(ts, number.to_bytes(16, "big"))
    return Transaction(ts, ts + 5, ((key, raw),), request, Answer(200, b"1", "", ts, 0))


def apply_log(kv: KeyValue, entries: list[LogEntry]) -> Bookkeeping:
    """Apply a log and return the bookkeeping."""
    machine = Machine(kv)
    machine.apply(entries)
    return machine.record


def pairs_of(kv: KeyValue) -> list[Pair]:
    """Return all pairs but the bookkeeping."""
    with kv.read() as reader:
        return [*reader.scan(b"", keys.META), *reader.scan(keys.REQUESTS, None)]


def manifest_of(record: Bookkeeping, parts: tuple[Part, ...] = (), pairs: int = 0) -> Manifest:
    """Return a manifest of a state."""
    return Manifest(
        cluster_id=CLUSTER_ID,
        incarnation=1,
        incarnation_salt=SALT,
        backup_id="b1",
        member="orders-2",
        created="2026-11-23T23:00:00+00:00",
        term=record.applied[0],
        index=record.applied[1],
        last_ts=record.last_ts,
        ceiling=record.ceiling,
        open_for_clients=record.open_for_clients,
        feature_level=1,
        state_hash=record.state_hash.hex(),
        pairs=pairs,
        documents={"User": 3},
        parts=parts,
    )


def part_of(pairs: list[Pair], number: int = 1) -> tuple[Part, bytes]:
    """Return one part that holds `pairs`, and its object."""
    writer = PartWriter(number)
    writer.add(pairs)
    part, block = writer.finish()
    return part, bytes(block)


class CopyGiver:
    """Gives the copy of a state that lies in `copy`; `take.Giver`."""

    def __init__(self, copy: Path, record: Bookkeeping) -> None:
        self._copy, self._record = copy, record
        self.fetches = 0

    async def fetch(self, folder: Path, progress: Progress) -> Fetched:
        self.fetches += 1
        data = self._copy.read_bytes()
        (folder / DATA_NAME).write_bytes(data)
        report = {
            "incarnation": 1,
            "incarnation_salt": SALT,
            "name": "orders-2",
            "feature_level": 1,
        }
        term, index = self._record.applied
        return Fetched(Candidate("orders-2:8444", report), term, index, len(data))


class Killed(BaseException):
    """The process is gone; nothing may catch it."""


class DyingObjects:
    """A folder whose user dies in its n-th writing operation, before it or right after it."""

    def __init__(self, root: Path, dies_in: int, *, after: bool) -> None:
        self._objects: Objects = FolderObjects(root)
        self._left, self._after = dies_in, after

    def put(self, key: str, data: bytes | bytearray) -> None:
        self._do(lambda: self._objects.put(key, data))

    def put_new(self, key: str, data: bytes | bytearray) -> None:
        self._do(lambda: self._objects.put_new(key, data))

    def delete(self, key: str) -> None:
        self._do(lambda: self._objects.delete(key))

    def get(self, key: str, bytes_max: int) -> memoryview:
        return self._objects.get(key, bytes_max)

    def list(self, prefix: str) -> Iterator[Stored]:
        return self._objects.list(prefix)

    def _do(self, operation: Callable[[], None]) -> None:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise Killed
        operation()
        if self._left == 0:
            raise Killed


class FailingFiles(DirectoryFiles):
    """The real file system; operation number `fails_at` raises OSError."""

    def __init__(self, root: Path, fails_at: int = 0) -> None:
        super().__init__(root)
        self._fails_at = fails_at
        self.operations = 0

    def step(self, what: str) -> None:
        self.operations += 1
        if self.operations == self._fails_at:
            raise OSError(5, what)

    def open(self, path: str, *, create: bool = False) -> DirectoryFile:
        self.step(f"open {path}")
        return _FailingFile(super().open(path, create=create).fd, self, path)

    def rename(self, old: str, new: str) -> None:
        self.step(f"rename {old}")
        super().rename(old, new)

    def remove(self, path: str) -> None:
        self.step(f"remove {path}")
        super().remove(path)

    def make_directory(self, path: str) -> None:
        self.step(f"make {path}")
        super().make_directory(path)

    def fsync_directory(self, path: str) -> None:
        self.step(f"sync {path}")
        super().fsync_directory(path)


class _FailingFile(DirectoryFile):
    def __init__(self, fd: int, files: FailingFiles, path: str) -> None:
        super().__init__(fd)
        self._files, self._path = files, path

    def pwrite(self, data: bytes | memoryview, offset: int) -> None:
        self._files.step(f"write {self._path}")
        super().pwrite(data, offset)

    def fdatasync(self) -> None:
        self._files.step(f"sync {self._path}")
        super().fdatasync()
