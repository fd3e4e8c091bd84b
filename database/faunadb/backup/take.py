"""How does a member's state become a complete backup? One step after the other, manifest last.

    fetch     a fresh snapshot into scratch                                    source.py
    encode    its pairs into parts of 64 MiB, each put as it is full           pairs.py
    compare   the state hash of what was encoded with what the state says of itself
    verify    every part is read back; with `restore` it is restored in scratch
    commit    manifest.json

A backup whose manifest is there is complete and is never written again: the same command then
only verifies it. One without is removed and begins anew, because nobody can tell what of it
belongs together.

House rules: one part is held at a time. Nothing here is in a member.
Trap: two runs of one id at a time would mix their parts; the manifest says whose are meant, and
the other run is found out when it reads back.
"""

import asyncio
import datetime as dt
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, Protocol

from faunadb.backup.census import Census
from faunadb.backup.check import base_pairs, discard, find_manifest, read_back
from faunadb.backup.layout import (
    MANIFEST,
    MANIFEST_BYTES_MAX,
    PART_BYTES,
    Manifest,
    Part,
    encode_manifest,
    folder_of,
)
from faunadb.backup.objects import ObjectExists, Objects
from faunadb.backup.pairs import PartWriter, examine, pairs_of_copy
from faunadb.backup.progress import Pace, Progress
from faunadb.backup.restore import Order, Restoring
from faunadb.backup.source import Fetched
from faunadb.disk.engine import LmdbEngines
from faunadb.disk.files import DirectoryFiles
from faunadb.errors import Corrupt
from faunadb.machine import StateHash
from faunadb.machine import describe as describe_state
from faunadb.store.bookkeeping import Bookkeeping

Verify = Literal["none", "checksum", "restore"]


class Giver(Protocol):
    """Who gives a cluster's state: `source.Source`."""

    async def fetch(self, folder: Path, progress: Progress) -> Fetched:
        """Fetch a fresh snapshot into `folder`. Raises `NoMember`, `MemberRefused`, OSError."""
        ...


@dataclass(frozen=True)
class BackupOrder:
    """What is to be backed up. `scratch_dir` None: the system's folder for temporary files."""

    cluster_id: str
    backup_id: str
    verify: Verify
    scratch_dir: Path | None
    mib_s: float
    source: Giver
    part_bytes: int = PART_BYTES


@dataclass(frozen=True)
class Means:
    """With what it is done. `draw` gives random bytes."""

    objects: Objects
    progress: Progress
    draw: Callable[[int], bytes]


def make_backup(order: BackupOrder, means: Means) -> dict[str, Any]:
    """Make a backup, or verify the one that is there; return the result that is printed.

    Raises `Corrupt`, `NoMember`, `MemberRefused`, `StoreFailed`, OSError.
    """
    manifest = find_manifest(means.objects, order.cluster_id, order.backup_id)
    if manifest is None:
        manifest = _make(order, means)
    else:
        means.progress.stage("exists", backup_id=order.backup_id, created=manifest.created)
        verify_backup(manifest, order.verify, order.scratch_dir, means)
    return result_of(manifest, order.verify)


def verify_backup(
    manifest: Manifest, verify: Verify, scratch_dir: Path | None, means: Means
) -> None:
    """Read a backup back, or restore it into scratch. Raises `Corrupt` for any difference."""
    if verify == "checksum":
        read_back(means.objects, manifest, means.progress)
    elif verify == "restore":
        with _scratch(scratch_dir) as folder:
            _restore_in(folder, manifest, means)


def result_of(manifest: Manifest, verified: Verify) -> dict[str, Any]:
    """Return what is printed and put into the termination message."""
    return {
        "backup_id": manifest.backup_id,
        "cluster_id": manifest.cluster_id,
        "incarnation": manifest.incarnation,
        "member": manifest.member,
        "term": manifest.term,
        "index": manifest.index,
        "txn_ts": manifest.last_ts,
        "size_bytes": manifest.size_bytes(),
        "stored_bytes": manifest.stored_bytes(),
        "parts": len(manifest.parts),
        "documents": sum(manifest.documents.values()),
        "state_hash": manifest.state_hash,
        "manifest_sha256": sha256(encode_manifest(manifest)).hexdigest(),
        "verified": verified,
    }


# ---------------------------------------------------------------- steps


def _make(order: BackupOrder, means: Means) -> Manifest:
    objects, progress = means.objects, means.progress
    if lost := discard(objects, order.cluster_id, order.backup_id):
        progress.stage("begin-again", objects_removed=lost)
    with _scratch(order.scratch_dir) as folder:
        (folder / "snapshot").mkdir()
        fetched = asyncio.run(order.source.fetch(folder / "snapshot", progress))
        manifest = _upload(order, folder, fetched, objects, progress)
        (folder / "snapshot" / "data.mdb").unlink()
        if order.verify == "checksum":
            read_back(objects, manifest, progress)
        elif order.verify == "restore":
            _restore_in(folder, manifest, means)
    _commit(manifest, objects)
    return manifest


def _upload(
    order: BackupOrder, scratch: Path, fetched: Fetched, objects: Objects, progress: Progress
) -> Manifest:
    """Put all parts; return the manifest that makes them a backup, not yet written."""
    engines, path = LmdbEngines(scratch), "snapshot"
    record = examine(engines, path, describe_state)
    if record.applied != (fetched.term, fetched.index):
        raise Corrupt(
            "snapshot",
            f"{fetched.candidate.address} gave the state at {record.applied},"
            f" but said {(fetched.term, fetched.index)}",
        )
    census = examine(engines, path, lambda reader: Census(reader, record.last_ts))
    progress.stage("upload", fetched.size_bytes, term=fetched.term, index=fetched.index)
    found, parts = StateHash(), _Parts(order, objects)
    for pairs in pairs_of_copy(engines, path):
        found.add(pairs)
        census.add(pairs)
        parts.add(pairs)
        progress.advance(sum(len(key) + len(value) for key, value in pairs))
    parts.end()
    if found.digest() != record.state_hash:
        raise Corrupt(
            "state_hash",
            f"the state of {fetched.candidate.address} hashes to {found.digest().hex()},"
            f" but says {record.state_hash.hex()}",
        )
    return _manifest_of(order, fetched, record, parts.done, census.documents())


def _manifest_of(
    order: BackupOrder,
    fetched: Fetched,
    record: Bookkeeping,
    parts: list[Part],
    documents: dict[str, int],
) -> Manifest:
    report = fetched.candidate.report
    return Manifest(
        cluster_id=order.cluster_id,
        incarnation=report["incarnation"],
        incarnation_salt=report["incarnation_salt"],
        backup_id=order.backup_id,
        member=report["name"],
        created=dt.datetime.fromtimestamp(time.time(), dt.UTC).isoformat(timespec="seconds"),
        term=fetched.term,
        index=fetched.index,
        last_ts=record.last_ts,
        ceiling=record.ceiling,
        open_for_clients=record.open_for_clients,
        feature_level=report["feature_level"],
        state_hash=record.state_hash.hex(),
        pairs=sum(part.pairs for part in parts),
        documents=documents,
        parts=tuple(parts),
    )


class _Parts:
    """Fills parts and puts each when it is full, no faster than allowed."""

    def __init__(self, order: BackupOrder, objects: Objects) -> None:
        self._objects, self._pace = objects, Pace(order.mib_s)
        self._folder = folder_of(order.cluster_id, order.backup_id)
        self._part_bytes = order.part_bytes
        self._writer = PartWriter(1)
        self.done: list[Part] = []

    def add(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self._writer.add(pairs)
        if self._writer.bytes_held >= self._part_bytes:
            self.end()

    def end(self) -> None:
        """Put the part that is being filled, unless nothing is in it."""
        if self._writer.is_empty:
            return
        part, block = self._writer.finish()
        self._objects.put(f"{self._folder}/{part.name}", block)
        self.done.append(part)
        self._writer = PartWriter(len(self.done) + 1)
        time.sleep(self._pace.pause_s(part.stored_bytes))


def _commit(manifest: Manifest, objects: Objects) -> None:
    """Write the manifest and read it back. Raises `Corrupt` when another run has written one."""
    place = f"{folder_of(manifest.cluster_id, manifest.backup_id)}/{MANIFEST}"
    block = encode_manifest(manifest)
    with suppress(ObjectExists):  # our own, sent twice, or another run's: what is there decides
        objects.put_new(place, block)
    if objects.get(place, MANIFEST_BYTES_MAX) != block:
        raise Corrupt("manifest", f"{place} was written by another run of this backup")


def _restore_in(folder: Path, manifest: Manifest, means: Means) -> None:
    """Restore into scratch, where nothing serves it; what differs raises `Corrupt`."""
    files = DirectoryFiles(folder / "restored")
    order = Order(
        from_cluster_id=manifest.cluster_id,
        backup_id=manifest.backup_id,
        cluster_id=means.draw(16),
        incarnation=1,
        member_id=1,
        name="scratch",
    )
    restoring = Restoring(
        files,
        LmdbEngines(files.root),
        order,
        draw=means.draw,
        created_us=manifest.last_ts,
        pause=lambda: None,
    )
    try:
        restoring.run(manifest, base_pairs(means.objects, manifest, means.progress))
    finally:
        files.close()


@contextmanager
def _scratch(parent: Path | None) -> Iterator[Path]:
    """Yield an empty folder that is gone afterwards."""
    if parent is not None:
        parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="faunadb-", dir=parent) as folder:
        yield Path(folder)
