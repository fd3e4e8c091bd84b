"""What the manifest says, and which manifests are not believed."""

import json
from typing import Any

import msgspec
import pytest

from backup_test_helpers import CLUSTER_ID, apply_log, log_of, manifest_of, pairs_of, part_of
from faunadb.backup.layout import (
    Manifest,
    check_backup_id,
    check_cluster_id,
    decode_manifest,
    encode_manifest,
    seal_manifest,
)
from faunadb.errors import Corrupt
from store_test_helpers import MemoryKeyValue

STATE = MemoryKeyValue()
RECORD = apply_log(STATE, log_of(5))
PAIRS = pairs_of(STATE)


def whole() -> Manifest:
    parts = (part_of(PAIRS[:4], 1)[0], part_of(PAIRS[4:], 2)[0])
    return manifest_of(RECORD, parts, len(PAIRS))


def test_a_manifest_comes_back() -> None:
    """It is JSON that a person can read, and says everything again."""
    manifest = whole()
    block = encode_manifest(manifest)

    found = decode_manifest(block, "x")
    assert manifest == msgspec.structs.replace(found, digest="")
    assert block == encode_manifest(found)
    assert [1, CLUSTER_ID] == [json.loads(block)[key] for key in ("format", "cluster_id")]
    assert 10 < block.count(b"\n")


@pytest.mark.parametrize("number", [0, 2, 99])
def test_an_unknown_format_is_refused_with_a_sentence(number: int) -> None:
    """A later version may have changed anything: only its number is read."""
    with pytest.raises(Corrupt, match="this version knows format 1") as caught:
        decode_manifest(json.dumps({"format": number, "parts": "?"}).encode(), "c/b/manifest.json")
    assert "unknown_format" == caught.value.reason
    assert "c/b/manifest.json" in caught.value.detail


def change(path: tuple[Any, ...], value: Any) -> bytes:
    fields = json.loads(encode_manifest(whole()))
    place = fields
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    fields["digest"] = "0" * 64
    return seal_manifest(json.dumps(fields).encode())


def test_one_flipped_bit_anywhere_is_found_and_named() -> None:
    """A wrong ceiling or time would be restored; so the manifest has a digest of its own."""
    block = encode_manifest(whole())
    for offset in range(len(block)):
        damaged = bytearray(block)
        damaged[offset] ^= 1 << offset % 8
        with pytest.raises(Corrupt, match=r"c/b/manifest\.json"):
            decode_manifest(bytes(damaged), "c/b/manifest.json")


def test_fields_of_a_later_version_are_ignored() -> None:
    """The digest is of the object, not of what this version knows of it."""
    block = change(("later",), {"digest": 5})
    assert whole().index == decode_manifest(block, "x").index


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"format": 1}',
        change(("index",), 0),
        change(("term",), 0),
        change(("state_hash",), "zz"),
        change(("pairs",), 1),
        change(("parts", 0, "name"), "../../other"),
        change(("parts", 0, "name"), "data-1.zst"),
        change(("parts", 0, "bytes"), 1 << 40),
        change(("parts", 1, "stored_bytes"), 0),
        change(("parts", 1, "first_key"), "00"),
        change(("parts", 0, "last_key"), "ff"),
        change(("parts", 0, "sha256"), 5),
    ],
)
def test_a_manifest_that_cannot_be_is_refused(block: bytes) -> None:
    """Nothing of it is used: no name, no size."""
    with pytest.raises(Corrupt) as caught:
        decode_manifest(block, "x")
    assert "manifest" == caught.value.reason


@pytest.mark.parametrize("text", ["", ".", "..", "a/b", "log", "-a", "a b", "ä", "x" * 128])
def test_what_may_not_name_a_backup(text: str) -> None:
    """Ids are names of folders, and `log` is taken."""
    with pytest.raises(ValueError, match="no backup id"):
        check_backup_id(text)


def test_ids() -> None:
    """A name of a Kubernetes object names a backup; a cluster id may be written as a UUID."""
    assert "orders-20261123.1" == check_backup_id("orders-20261123.1")
    assert CLUSTER_ID == check_cluster_id("C1C1C1C1-c1c1-c1c1-c1c1-c1c1c1c1c1c1")
    with pytest.raises(ValueError, match="hex"):
        check_cluster_id("c1")
