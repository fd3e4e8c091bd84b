"""Sending and receiving a snapshot: 1 MiB chunks with checksums, resumable by offset.

The manifest goes first; its SHA-256 names the transfer. The receiver answers with the offset
from which it wants data: 0 for a manifest that it does not know, else what it already verified.

    sender                         receiver
    Source(snapshot)               Receiver.begin(manifest, digest) -> offset
    chunk(offset) -> data          Receiver.add(offset, data)
    ...                            Receiver.finish() -> Snapshot, durable and walked

House rules: everything blocks; a thread of the node calls it. What a peer sent is never trusted:
each chunk is checked against the manifest, the manifest against its digest.
Trap: a snapshot that was received says nothing about our own log; it is marked so.
"""

from crc32c import crc32c

from faunadb.disk.ports import DATA_NAME, Describe, Description, Engines
from faunadb.disk.seals import read_whole, write_new
from faunadb.disk.snapshots import (
    CHUNK_BYTES,
    MANIFEST,
    Manifest,
    Snapshot,
    Snapshots,
    decode_manifest,
    digest_of,
    is_of,
    verified_chunks,
)
from faunadb.errors import Corrupt, Malformed
from faunadb.node.ports import File, Files, Identity

RECEIVING = "snap.receiving.tmp"


class Source:
    """Reads the chunks of one snapshot; it may be removed meanwhile."""

    def __init__(self, files: Files, snapshot: Snapshot) -> None:
        self._file = files.open(snapshot.data_path)
        self._manifest = snapshot.manifest
        self.path = snapshot.path
        self.manifest_block = snapshot.manifest_block
        self.digest = digest_of(snapshot.manifest_block)
        self.data_bytes = snapshot.manifest.data_bytes

    def chunk(self, offset: int) -> bytes:
        """Return the chunk at a multiple of 1 MiB. Raises `Corrupt` when the disk lies."""
        number, rest = divmod(offset, CHUNK_BYTES)
        assert rest == 0
        data = self._file.pread(CHUNK_BYTES, offset)
        if crc32c(data) != self._manifest.chunk_crc(number):
            raise Corrupt("snapshot", f"{self.path}: chunk {number} does not match")
        return data

    def close(self) -> None:
        self._file.close()


class Receiver:
    """Takes one snapshot at a time; what was verified survives a lost connection and a restart."""

    def __init__(
        self,
        files: Files,
        engines: Engines,
        identity: Identity,
        snapshots: Snapshots,
        describe: Describe,
    ) -> None:
        self._files, self._engines, self._identity = files, engines, identity
        self._snapshots, self._describe = snapshots, describe
        self._manifest: Manifest | None = None
        self._block = b""
        self._digest = b""
        self._file: File | None = None
        self._offset = 0

    def begin(self, manifest_block: bytes, digest: bytes) -> int:
        """Start or go on with the transfer named `digest`; return from where data are wanted.

        Raises `Malformed` when the manifest is not what it says, or not of our cluster.
        """
        if digest_of(manifest_block) != digest:
            raise Malformed("the manifest does not match its digest")
        manifest = decode_manifest(manifest_block)
        if not is_of(manifest, self._identity):
            raise Malformed("the snapshot belongs to another cluster or incarnation")
        if self._manifest is None or digest != self._digest:
            self._close()
            self._manifest, self._digest, self._block = manifest, digest, manifest_block
            self._offset = self._resume(manifest, manifest_block)
        return self._offset

    def add(self, offset: int, data: bytes) -> int:
        """Write a chunk; return the offset of the next. One that we have already is ignored.

        Raises `Malformed` when it does not match the manifest.
        """
        manifest, file = self._manifest, self._file
        if manifest is None or file is None:
            raise Malformed("a chunk without a manifest")
        number, rest = divmod(offset, CHUNK_BYTES)
        length = min(CHUNK_BYTES, manifest.data_bytes - offset)
        if rest or offset > self._offset or len(data) != length or not length:
            raise Malformed(f"{len(data)} bytes at {offset}: that is not a chunk that we wait for")
        if crc32c(data) != manifest.chunk_crc(number):
            raise Malformed(f"chunk {number} does not match the manifest")
        if offset == self._offset:
            file.pwrite(data, offset)
            self._offset += length
        return self._offset

    def finish(self) -> Snapshot:
        """Verify everything, walk the trees, make it durable and keep it.

        The caller then records it in the log and swaps the state. Raises `Corrupt` when the data
        are not what the manifest says, and the transfer starts at 0; OSError.
        """
        manifest, block = self._manifest, self._block
        if manifest is None or self._offset != manifest.data_bytes:
            raise Malformed("the end of a snapshot whose chunks are missing")
        self._close()
        try:
            self._verify(manifest)
        except Corrupt:
            self._files.remove(RECEIVING)
            raise
        self._snapshots.sync_paced(f"{RECEIVING}/{DATA_NAME}")
        return self._snapshots.keep(RECEIVING, manifest, block, received=True)

    def _verify(self, manifest: Manifest) -> None:
        partial = Snapshot(RECEIVING, manifest, b"", received=True)
        for _ in verified_chunks(self._files, partial):
            pass
        said = Description(manifest.id, manifest.configuration, manifest.configuration_id)
        found = self._engines.describe(RECEIVING, self._describe)
        if found != said:
            raise Corrupt("snapshot", f"the data hold {found.applied}, not {manifest.id}")
        self._engines.check(RECEIVING)

    def _resume(self, manifest: Manifest, manifest_block: bytes) -> int:
        """Open the partial data; return how much of them verifies, and was written again."""
        kept = self._manifest_block() == manifest_block
        if not kept:
            if RECEIVING in self._files.list(""):
                self._files.remove(RECEIVING)
            self._files.make_directory(RECEIVING)
            write_new(self._files, f"{RECEIVING}/{MANIFEST}", manifest_block)
        self._file = self._files.open(f"{RECEIVING}/{DATA_NAME}", create=True)
        for number in range(manifest.chunk_count()):
            at = number * CHUNK_BYTES
            length = min(CHUNK_BYTES, manifest.data_bytes - at)
            data = self._file.pread(length, at)
            if len(data) != length or crc32c(data) != manifest.chunk_crc(number):
                self._file.truncate(at)
                return at
            self._file.pwrite(data, at)  # the kernel may believe that it is on the disk
        return manifest.data_bytes

    def _manifest_block(self) -> bytes:
        try:
            return read_whole(self._files, f"{RECEIVING}/{MANIFEST}")
        except (FileNotFoundError, Malformed):
            return b""

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._manifest, self._digest, self._offset = None, None, b"", 0
