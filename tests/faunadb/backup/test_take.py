"""A backup is complete or it is none, wherever it was killed; what is complete stays."""

import json
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from backup_test_helpers import (
    CLUSTER_ID,
    CopyGiver,
    DyingObjects,
    Killed,
    apply_log,
    log_of,
    pairs_of,
)
from faunadb.backup.check import base_pairs, discard, find_manifest, read_back
from faunadb.backup.layout import Manifest
from faunadb.backup.objects import FolderObjects, Objects
from faunadb.backup.progress import Progress
from faunadb.backup.take import BackupOrder, Means, Verify, make_backup
from faunadb.disk.engine import LmdbEngine
from faunadb.errors import Corrupt
from faunadb.store import keys
from faunadb.store.bookkeeping import Bookkeeping
from store_test_helpers import MemoryKeyValue

LOG = log_of(400, value_bytes=1000)
STATE = MemoryKeyValue()
RECORD = apply_log(STATE, LOG)
PAIRS = pairs_of(STATE)
PART_BYTES = 1  # a part for each slice
FOLDER = f"{CLUSTER_ID}/b1"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("state")
    engine = LmdbEngine(folder, ".", map_bytes=1 << 30)
    assert RECORD == apply_log(engine, LOG)
    with engine.write() as writer:  # more than one slice
        writer.put_many([(b"dx%d" % n, b"\x00") for n in range(2)])
        writer.delete_many([b"dx%d" % n for n in range(2)])
    engine.copy_to("copy.mdb")
    engine.close()
    return folder / "copy.mdb"


def silent() -> Progress:
    return Progress(lambda _event, **_facts: None)


def means(objects: Objects) -> Means:
    return Means(objects, silent(), Random(3).randbytes)


def order(copy: Path, scratch: Path, verify: Verify = "checksum", **says: Any) -> BackupOrder:
    return BackupOrder(
        **{
            "cluster_id": CLUSTER_ID,
            "backup_id": "b1",
            "verify": verify,
            "scratch_dir": scratch,
            "mib_s": 0,
            "source": CopyGiver(copy, RECORD),
            "part_bytes": PART_BYTES,
            **says,
        }
    )


def stored(objects: Objects) -> set[str]:
    return {found.key for found in objects.list(CLUSTER_ID)}


@pytest.mark.parametrize("verify", ["none", "checksum", "restore"])
def test_a_backup_holds_the_state(copy: Path, tmp_path: Path, verify: Verify) -> None:
    """All pairs but the bookkeeping come back; manifest and result say what the state says."""
    objects = FolderObjects(tmp_path / "store")
    result = make_backup(order(copy, tmp_path, verify), means(objects))
    manifest = find_manifest(objects, CLUSTER_ID, "b1")

    assert manifest is not None
    assert PAIRS == [p for pairs in base_pairs(objects, manifest, silent()) for p in pairs]
    assert RECORD.state_hash.hex() == manifest.state_hash == result["state_hash"]
    assert (*RECORD.applied, RECORD.last_ts, RECORD.ceiling, RECORD.open_for_clients) == (
        manifest.term,
        manifest.index,
        manifest.last_ts,
        manifest.ceiling,
        manifest.open_for_clients,
    )
    assert {"1024": 399} == manifest.documents  # one of 400 was deleted
    assert (399, verify, len(PAIRS)) == (result["documents"], result["verified"], manifest.pairs)
    assert stored(objects) == {
        f"{FOLDER}/manifest.json",
        *(f"{FOLDER}/{part.name}" for part in manifest.parts),
    }
    assert ["store"] == [path.name for path in tmp_path.iterdir()], "scratch is empty again"


def test_it_ends_in_parts(copy: Path, tmp_path: Path) -> None:
    """A part ends when it is full, and the next one goes on behind it."""
    objects = FolderObjects(tmp_path / "store")
    result = make_backup(order(copy, tmp_path), means(objects))
    assert 2 == result["parts"]  # documents, requests


def test_killed_at_every_write_it_is_not_complete(copy: Path, tmp_path: Path) -> None:
    """Before the manifest is written there is no backup; the same command then makes it."""
    for number in range(1, 10):
        for after in (False, True):
            root = tmp_path / f"{number}-{after}"
            died = False
            try:
                make_backup(
                    order(copy, tmp_path / "scratch"),
                    means(DyingObjects(root, number, after=after)),
                )
            except Killed:
                died = True
            objects = FolderObjects(root)
            complete = find_manifest(objects, CLUSTER_ID, "b1") is not None
            assert complete == (not died or f"{FOLDER}/manifest.json" in stored(objects))
            again = order(copy, tmp_path / "scratch")
            result = make_backup(again, means(objects))
            assert isinstance(again.source, CopyGiver)
            assert (0 if complete else 1) == again.source.fetches
            manifest = find_manifest(objects, CLUSTER_ID, "b1")
            assert manifest is not None
            read_back(objects, manifest, silent())
            assert RECORD.state_hash.hex() == result["state_hash"]
    assert not died, "the last number is beyond the last write"


def test_parts_of_an_earlier_attempt_are_gone(copy: Path, tmp_path: Path) -> None:
    """What a larger attempt left behind does not stay beside a complete backup."""
    objects = FolderObjects(tmp_path / "store")
    objects.put(f"{FOLDER}/data-00009.zst", b"of a larger attempt")
    result = make_backup(order(copy, tmp_path), means(objects))
    assert 1 + result["parts"] == len(stored(objects))


def test_a_complete_backup_is_never_written_again(copy: Path, tmp_path: Path) -> None:
    """The same command verifies it, and says the same."""
    objects = FolderObjects(tmp_path / "store")
    first = make_backup(order(copy, tmp_path), means(objects))
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "store").rglob("*") if p.is_file()}
    again = order(copy, tmp_path)
    second = make_backup(again, means(objects))

    assert first == second
    assert times == {p: p.stat().st_mtime_ns for p in times}
    assert isinstance(again.source, CopyGiver)
    assert 0 == again.source.fetches


def damaged_objects(tmp_path: Path, objects: Objects) -> list[Path]:
    return sorted(tmp_path / "store" / key for key in stored(objects))


@pytest.mark.parametrize("verify", ["checksum", "restore"])
def test_one_flipped_byte_in_any_object_is_found_and_named(
    copy: Path, tmp_path: Path, verify: Verify
) -> None:
    """Part: its name and both digests. Manifest: its name. By verify as by restore."""
    objects = FolderObjects(tmp_path / "store")
    make_backup(order(copy, tmp_path), means(objects))
    whole = find_manifest(objects, CLUSTER_ID, "b1")
    assert whole is not None
    for path in damaged_objects(tmp_path, objects):
        block = path.read_bytes()
        middle = len(block) // 2
        path.write_bytes(block[:middle] + bytes((block[middle] ^ 4,)) + block[middle + 1 :])
        with pytest.raises(Corrupt) as caught:
            make_backup(order(copy, tmp_path, verify), means(objects))
        assert path.name in caught.value.detail
        for part in whole.parts:
            assert (part.name == path.name) == (part.sha256 in caught.value.detail)
        path.write_bytes(block)


def test_a_missing_part_is_named(copy: Path, tmp_path: Path) -> None:
    """With the digest that it should have had."""
    objects = FolderObjects(tmp_path / "store")
    make_backup(order(copy, tmp_path), means(objects))
    manifest = find_manifest(objects, CLUSTER_ID, "b1")
    assert manifest is not None
    objects.delete(f"{FOLDER}/data-00002.zst")
    with pytest.raises(Corrupt, match=rf"data-00002\.zst is missing.*{manifest.parts[1].sha256}"):
        read_back(objects, manifest, silent())


class _Rotting(FolderObjects):
    """Flips a bit of every part that is put."""

    def put(self, key: str, data: bytes | bytearray) -> None:
        super().put(key, data[:-1] + bytes((data[-1] ^ 1,)))


@pytest.mark.parametrize("verify", ["checksum", "restore"])
def test_what_the_store_changed_never_becomes_a_backup(
    copy: Path, tmp_path: Path, verify: Verify
) -> None:
    """Read back before the manifest is written: a store that lies is found out in time."""
    objects = _Rotting(tmp_path / "store")
    with pytest.raises(Corrupt, match=r"data-00001\.zst"):
        make_backup(order(copy, tmp_path, verify), means(objects))
    assert find_manifest(objects, CLUSTER_ID, "b1") is None


def test_a_state_that_lies_about_its_hash_is_refused(copy: Path, tmp_path: Path) -> None:
    """The state hash of the member's own bookkeeping is computed anew from what came."""
    engine = LmdbEngine(tmp_path, ".", map_bytes=1 << 30)
    apply_log(engine, LOG)
    with engine.write() as writer:
        writer.put_many([(keys.document_prefix(0, 1024, 7) + b"12345678", b"\x00")])
    engine.copy_to("bad.mdb")
    engine.close()
    objects = FolderObjects(tmp_path / "store")
    with pytest.raises(Corrupt) as caught:
        make_backup(order(tmp_path / "bad.mdb", tmp_path), means(objects))
    assert "state_hash" == caught.value.reason
    assert find_manifest(objects, CLUSTER_ID, "b1") is None


def test_a_copy_of_another_entry_is_refused(copy: Path, tmp_path: Path) -> None:
    """What the headers said and what came must be one state."""
    other: Bookkeeping = msgspec.structs.replace(RECORD, applied=(3, 5))
    objects = FolderObjects(tmp_path / "store")
    with pytest.raises(Corrupt, match="gave the state at"):
        make_backup(order(copy, tmp_path, source=CopyGiver(copy, other)), means(objects))


def test_a_manifest_of_another_backup_is_refused(copy: Path, tmp_path: Path) -> None:
    """Objects that were copied to another place are not the backup of that name."""
    objects = FolderObjects(tmp_path / "store")
    make_backup(order(copy, tmp_path), means(objects))
    objects.put(
        f"{CLUSTER_ID}/b2/manifest.json", bytes(objects.get(f"{FOLDER}/manifest.json", 99999))
    )
    with pytest.raises(Corrupt, match="is of backup b1"):
        find_manifest(objects, CLUSTER_ID, "b2")


def test_discard_takes_the_manifest_first(copy: Path, tmp_path: Path) -> None:
    """Killed after any step the backup is whole, or there is none; said again, all is gone."""
    for number in range(1, 6):
        root = tmp_path / f"{number}"
        make_backup(order(copy, tmp_path / "scratch"), means(FolderObjects(root)))
        try:
            discard(DyingObjects(root, number, after=True), CLUSTER_ID, "b1")
        except Killed:
            assert find_manifest(FolderObjects(root), CLUSTER_ID, "b1") is None
        discard(FolderObjects(root), CLUSTER_ID, "b1")
        assert [] == list(root.rglob("*"))
        assert 0 == discard(FolderObjects(root), CLUSTER_ID, "b1")


def test_other_backups_stay(copy: Path, tmp_path: Path) -> None:
    """Discarding b1 does not touch b10, nor the archive of the log."""
    objects = FolderObjects(tmp_path / "store")
    for backup_id in ("b1", "b10"):
        make_backup(order(copy, tmp_path, backup_id=backup_id), means(objects))
    objects.put(f"{CLUSTER_ID}/log/x.zst", b"entries")
    discard(objects, CLUSTER_ID, "b1")

    assert {"b10", "log"} == {key.split("/")[1] for key in stored(objects)}


def test_the_manifest_is_json_for_people(copy: Path, tmp_path: Path) -> None:
    """SHA-256 of each object can be checked with coreutils."""
    objects = FolderObjects(tmp_path / "store")
    make_backup(order(copy, tmp_path), means(objects))
    fields = json.loads((tmp_path / "store" / FOLDER / "manifest.json").read_text())
    assert isinstance(msgspec.convert(fields, Manifest), Manifest)
