"""Snapshot directories `snap-{index}-{term}`: taken, received, verified, kept in pairs.

    MANIFEST   what the data are: entry, configuration, size, SHA-256, a CRC32C for each MiB
    data.mdb   a copy of the state
    RECEIVED   present when another member made it: it says nothing about our own log

MANIFEST is derived by opening the copy, never from what the live state says; its SHA-256 is the
snapshot's name on the wire (SAFETY 17). A directory gets its name when all of it is synced.

House rules: everything here blocks; a thread of the node calls it. One `take` at a time.
Trap: the log is cut only behind the older of two snapshots whose data were read and verified.
"""

import hashlib
import re
import threading
from collections.abc import Callable, Iterator

import msgspec
from crc32c import crc32c

from faunadb.disk.ports import DATA_NAME, Describe, Engine, Engines
from faunadb.disk.seals import read_whole, seal, unseal, write_new
from faunadb.errors import Corrupt, Malformed
from faunadb.node.ports import Files, Identity
from faunadb.raft.entries import Configuration, EntryId, Index, SnapshotMeta

CHUNK_BYTES = 1024 * 1024
KEPT = 2
MANIFEST, RECEIVED = "MANIFEST", "RECEIVED"
TAKING = "snap.taking.tmp"
_MAGIC = b"FaunaSNP"
_NAME = re.compile(r"snap-([0-9]{1,19})-([0-9]{1,19})")
_CRC_BYTES = 4
_PACE_BYTES = 8 * 1024 * 1024


class Manifest(msgspec.Struct, frozen=True):
    """What a snapshot's data are."""

    cluster_id: bytes
    incarnation: int
    incarnation_salt: bytes
    id: EntryId
    configuration: Configuration
    configuration_id: EntryId
    data_bytes: int
    data_sha256: bytes
    chunk_crcs: bytes  # a little-endian u32 for each `CHUNK_BYTES` of data

    def chunk_count(self) -> int:
        return -(-self.data_bytes // CHUNK_BYTES)

    def chunk_crc(self, number: int) -> int:
        at = number * _CRC_BYTES
        return int.from_bytes(self.chunk_crcs[at : at + _CRC_BYTES], "little")


class Snapshot(msgspec.Struct, frozen=True):
    """A snapshot directory whose manifest is whole; its data may not have been read yet."""

    path: str
    manifest: Manifest
    manifest_block: bytes
    received: bool

    @property
    def id(self) -> EntryId:
        return self.manifest.id

    @property
    def meta(self) -> SnapshotMeta:
        return SnapshotMeta(
            id=self.manifest.id,
            configuration=self.manifest.configuration,
            digest=digest_of(self.manifest_block),
            configuration_id=self.manifest.configuration_id,
        )

    @property
    def data_path(self) -> str:
        return f"{self.path}/{DATA_NAME}"


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the bytes of the file MANIFEST."""
    return seal(_MAGIC, manifest)


def decode_manifest(block: bytes) -> Manifest:
    """Undo `encode_manifest`. Raises `Malformed` for anything else."""
    manifest = unseal(_MAGIC, Manifest, block)
    if manifest.data_bytes < 0 or manifest.id.index < 1:
        raise Malformed("a snapshot of nothing")
    if len(manifest.chunk_crcs) != manifest.chunk_count() * _CRC_BYTES:
        raise Malformed("a manifest has one checksum for each chunk")
    return manifest


def digest_of(manifest_block: bytes) -> bytes:
    """Return the name of a snapshot on the wire."""
    return hashlib.sha256(manifest_block).digest()


def is_of(manifest: Manifest, identity: Identity) -> bool:
    """Say whether a snapshot was made in this very incarnation of the cluster."""
    ours = (identity.cluster_id, identity.incarnation, identity.incarnation_salt)
    return (manifest.cluster_id, manifest.incarnation, manifest.incarnation_salt) == ours


def snapshot_path(id_: EntryId) -> str:
    """Return where a snapshot lies."""
    return f"snap-{id_.index}-{id_.term}"


def is_snapshot_name(name: str) -> bool:
    """Say whether a name in the data directory is that of a snapshot."""
    return _NAME.fullmatch(name) is not None


def list_snapshots(files: Files, identity: Identity) -> tuple[list[Snapshot], list[str]]:
    """Return the snapshots in order of index, and sentences about those that are broken."""
    found: list[Snapshot] = []
    broken: list[str] = []
    for name in files.list(""):
        if not is_snapshot_name(name):
            continue
        try:
            block = read_whole(files, f"{name}/{MANIFEST}")
            manifest = decode_manifest(block)
        except (FileNotFoundError, Malformed) as problem:
            broken.append(f"{name}: {problem}")
            continue
        if manifest.cluster_id != identity.cluster_id or snapshot_path(manifest.id) != name:
            broken.append(f"{name}: belongs to another cluster or place")
            continue
        if not is_of(manifest, identity) and manifest.incarnation >= identity.incarnation:
            broken.append(f"{name}: belongs to incarnation {manifest.incarnation}")
            continue
        found.append(Snapshot(name, manifest, block, RECEIVED in files.list(name)))
    return sorted(found, key=lambda snapshot: snapshot.id.index), broken


def copy_verified(files: Files, snapshot: Snapshot, target: str) -> None:
    """Copy a snapshot's data to a new file, not synced. Raises `Corrupt` when they do not match."""
    file = files.open(target, create=True)
    try:
        file.truncate(0)
        at = 0
        for chunk in verified_chunks(files, snapshot):
            file.pwrite(chunk, at)
            at += len(chunk)
    finally:
        file.close()


def verified_chunks(files: Files, snapshot: Snapshot) -> Iterator[bytes]:
    """Yield the data; raises `Corrupt` at the first chunk, or at the end, that does not match."""
    try:
        file = files.open(snapshot.data_path)
    except FileNotFoundError:
        raise Corrupt("snapshot", f"{snapshot.path} has no data") from None
    hasher = hashlib.sha256()
    manifest = snapshot.manifest
    try:
        if file.size() != manifest.data_bytes:
            raise Corrupt("snapshot", f"{snapshot.path} has {file.size()} bytes of data")
        for number in range(manifest.chunk_count()):
            chunk = file.pread(CHUNK_BYTES, number * CHUNK_BYTES)
            if crc32c(chunk) != manifest.chunk_crc(number):
                raise Corrupt("snapshot", f"{snapshot.path}: chunk {number} does not match")
            hasher.update(chunk)
            yield chunk
    finally:
        file.close()
    if hasher.digest() != manifest.data_sha256:
        raise Corrupt("snapshot", f"{snapshot.path} does not match its digest")


class Snapshots:
    """The snapshots of one data directory. `pause` is called between pieces of a sync."""

    def __init__(
        self,
        files: Files,
        engines: Engines,
        identity: Identity,
        *,
        describe: Describe,
        kept: list[Snapshot],
        pause: Callable[[], None],
    ) -> None:
        self._files, self._engines, self._identity = files, engines, identity
        self._describe, self._pause = describe, pause
        self._kept = tuple(kept)
        self._verified: set[str] = set()
        self._lock = threading.Lock()

    def all(self) -> tuple[Snapshot, ...]:
        """Return what is kept, in order of index."""
        return self._kept

    def newest(self) -> Snapshot | None:
        return self._kept[-1] if self._kept else None

    def bytes_kept(self) -> int:
        return sum(snapshot.manifest.data_bytes for snapshot in self._kept)

    def find(self, index_min: Index) -> Snapshot | None:
        """Return the newest snapshot if it reaches `index_min` and may be sent to a member.

        One of an earlier incarnation may not: this directory can be rebuilt from it, because
        its own log goes on from there, but nobody else would know that.
        """
        newest = self.newest()
        if newest is None or newest.id.index < index_min:
            return None
        return newest if is_of(newest.manifest, self._identity) else None

    def cut_index(self) -> Index:
        """Return up to where the log may be cut: the older of two verified snapshots, else 0."""
        kept = self._kept
        if len(kept) < KEPT or any(s.path not in self._verified for s in kept[-KEPT:]):
            return Index(0)
        return kept[-KEPT].id.index

    def verify_all(self) -> list[str]:
        """Read what was not read since the start; return sentences about what is broken.

        A broken snapshot is given up, so that it never counts; another one will be taken.
        """
        problems: list[str] = []
        for snapshot in self._kept:
            if snapshot.path in self._verified:
                continue
            try:
                for _ in verified_chunks(self._files, snapshot):
                    self._pause()
            except Corrupt as problem:
                problems.append(str(problem))
                self._forget(snapshot)
            else:
                self._verified.add(snapshot.path)
        return problems

    def take(self, engine: Engine) -> Snapshot | None:
        """Copy, sync, walk and keep the present state; None when nothing new was applied.

        Raises `CopyAborted`, `Corrupt` when the copy does not verify, OSError.
        """
        self.discard_partial()
        self._files.make_directory(TAKING)
        data = f"{TAKING}/{DATA_NAME}"
        engine.copy_to(data)
        description = self._engines.describe(TAKING, self._describe)
        newest = self.newest()
        if description.configuration is None or (
            newest is not None and newest.id.index >= description.applied.index
        ):
            self._files.remove(TAKING)
            return None
        self.sync_paced(data)
        self._engines.check(TAKING)
        size, sha256, crcs = self._digest(data)
        manifest = Manifest(
            cluster_id=self._identity.cluster_id,
            incarnation=self._identity.incarnation,
            incarnation_salt=self._identity.incarnation_salt,
            id=description.applied,
            configuration=description.configuration,
            configuration_id=description.configuration_id,
            data_bytes=size,
            data_sha256=sha256,
            chunk_crcs=crcs,
        )
        snapshot = self.keep(TAKING, manifest, encode_manifest(manifest), received=False)
        self.prune()
        return snapshot

    def keep(self, path: str, manifest: Manifest, block: bytes, *, received: bool) -> Snapshot:
        """Give verified and synced data their place among the snapshots; durable on return.

        Returns the snapshot of the same entry that is there already, if it was verified.
        """
        target = snapshot_path(manifest.id)
        for kept in self._kept:
            if kept.path == target and target in self._verified:
                self._files.remove(path)
                return kept
        write_new(self._files, f"{path}/{MANIFEST}", block)
        if received:
            write_new(self._files, f"{path}/{RECEIVED}", b"")
        self._files.fsync_directory(path)
        if target in self._files.list(""):
            self._files.remove(target)
            self._files.fsync_directory("")
        self._files.rename(path, target)
        self._files.fsync_directory("")
        snapshot = Snapshot(target, manifest, block, received)
        with self._lock:
            others = [kept for kept in self._kept if kept.path != target]
            self._kept = tuple(sorted([*others, snapshot], key=lambda kept: kept.id.index))
            self._verified.add(target)
        return snapshot

    def prune(self) -> None:
        """Remove all but the two newest."""
        for snapshot in self._kept[:-KEPT]:
            self._forget(snapshot)

    def drop_older(self) -> bool:
        """Give up the older of two, because space is short; say whether there was one."""
        if len(self._kept) < KEPT:
            return False
        for snapshot in self._kept[:-1]:
            self._forget(snapshot)
        return True

    def discard_partial(self) -> None:
        """Remove what an interrupted `take` left."""
        if TAKING in self._files.list(""):
            self._files.remove(TAKING)

    def sync_paced(self, path: str) -> None:
        """Make a large file durable in pieces: one big fsync would look like a hanging disk."""
        file = self._files.open(path)
        try:
            for at in range(0, file.size(), _PACE_BYTES):
                file.write_out(_PACE_BYTES, at)
                self._pause()
            file.fdatasync()
        finally:
            file.close()

    def _digest(self, path: str) -> tuple[int, bytes, bytes]:
        file = self._files.open(path)
        hasher = hashlib.sha256()
        crcs: list[bytes] = []
        try:
            size = file.size()
            for at in range(0, size, CHUNK_BYTES):
                chunk = file.pread(CHUNK_BYTES, at)
                hasher.update(chunk)
                crcs.append(crc32c(chunk).to_bytes(_CRC_BYTES, "little"))
        finally:
            file.close()
        return size, hasher.digest(), b"".join(crcs)

    def _forget(self, snapshot: Snapshot) -> None:
        with self._lock:
            self._kept = tuple(kept for kept in self._kept if kept.path != snapshot.path)
            self._verified.discard(snapshot.path)
        self._files.remove(snapshot.path)
        self._files.fsync_directory("")
