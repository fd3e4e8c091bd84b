"""Is a backup in its store what it should be? Read back, not believed.

    find_manifest   the commit point: without it there is no backup
    read_back       every part again: size and SHA-256
    base_pairs      every part again, unpacked; what restore reads
    discard         the manifest first: a backup that is half removed is none

House rules: the first damage is named with its object, the part, and both digests.
Trap: a folder without a manifest is a backup that did not finish; its parts mean nothing.
"""

from collections.abc import Iterator

from faunadb.backup.layout import (
    MANIFEST,
    MANIFEST_BYTES_MAX,
    STORED_BYTES_MAX,
    Manifest,
    Part,
    decode_manifest,
    folder_of,
)
from faunadb.backup.objects import ObjectMissing, Objects
from faunadb.backup.pairs import Pair, check_part, read_part
from faunadb.backup.progress import Progress
from faunadb.errors import Corrupt


def find_manifest(objects: Objects, cluster_id: str, backup_id: str) -> Manifest | None:
    """Return a complete backup's manifest, None when there is none. Raises `Corrupt`."""
    place = f"{folder_of(cluster_id, backup_id)}/{MANIFEST}"
    try:
        block = objects.get(place, MANIFEST_BYTES_MAX)
    except ObjectMissing:
        return None
    manifest = decode_manifest(block, place)
    if (manifest.cluster_id, manifest.backup_id) != (cluster_id, backup_id):
        raise Corrupt(
            "manifest",
            f"{place} is of backup {manifest.backup_id} of cluster {manifest.cluster_id}",
        )
    return manifest


def read_back(objects: Objects, manifest: Manifest, progress: Progress) -> None:
    """Compare every part with the manifest. Raises `Corrupt` for the first that differs."""
    progress.stage("verify", manifest.stored_bytes(), parts=len(manifest.parts))
    folder = folder_of(manifest.cluster_id, manifest.backup_id)
    for part in manifest.parts:
        check_part(part, _fetch(objects, folder, part), folder)
        progress.advance(part.stored_bytes)


def base_pairs(objects: Objects, manifest: Manifest, progress: Progress) -> Iterator[list[Pair]]:
    """Yield all pairs, sorted, in slices. Raises `Corrupt`, `StoreFailed`."""
    progress.stage("restore", manifest.stored_bytes(), parts=len(manifest.parts))
    folder = folder_of(manifest.cluster_id, manifest.backup_id)
    for part in manifest.parts:
        yield from read_part(part, _fetch(objects, folder, part), folder)
        progress.advance(part.stored_bytes)


def discard(objects: Objects, cluster_id: str, backup_id: str) -> int:
    """Remove a backup, complete or not; return how many objects there were. May be repeated."""
    folder = folder_of(cluster_id, backup_id)
    there = [stored.key for stored in objects.list(folder)]
    objects.delete(f"{folder}/{MANIFEST}")
    for key in there:
        objects.delete(key)
    return len(there)


def _fetch(objects: Objects, folder: str, part: Part) -> memoryview:
    try:
        return objects.get(f"{folder}/{part.name}", STORED_BYTES_MAX)
    except ObjectMissing:
        raise Corrupt(
            "backup",
            f"{folder}/{part.name} is missing: expected {part.stored_bytes} bytes"
            f" with SHA-256 {part.sha256}",
        ) from None
