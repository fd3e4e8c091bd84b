"""Stores by their URLs, and a folder that behaves like one. S3 is in `tests/process`."""

from pathlib import Path

import pytest

from faunadb.backup.objects import (
    FolderObjects,
    ObjectExists,
    ObjectMissing,
    StoreFailed,
    StoreMisnamed,
    StoreUrl,
    open_store,
    parse_store_url,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("file:///var/backups", StoreUrl("file", "", "/var/backups")),
        ("file:///a%20b/c", StoreUrl("file", "", "/a b/c")),
        ("s3://bucket", StoreUrl("s3", "bucket", "")),
        ("s3://bucket/a/b/", StoreUrl("s3", "bucket", "a/b")),
        (
            "s3://b/p?region=eu-west-1&endpoint=http://host:9000&path_style=false",
            StoreUrl(
                "s3",
                "b",
                "p",
                {"region": "eu-west-1", "endpoint": "http://host:9000", "path_style": "false"},
            ),
        ),
    ],
)
def test_urls(text: str, expected: StoreUrl) -> None:
    """What a URL says."""
    assert expected == parse_store_url(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/var/backups",
        "file://host/folder",
        "file://folder",
        "file:///",
        "file:///x?region=1",
        "gs://bucket/x",
        "az://bucket/x",
        "s3:///x",
        "s3://b?secret=x",
        "s3://b?region",
        "s3://b?path_style=yes",
    ],
)
def test_what_is_no_store(text: str) -> None:
    """Refused with a sentence; what we do not support is not tried."""
    with pytest.raises(StoreMisnamed) as caught:
        parse_store_url(text)
    assert repr(text) in str(caught.value)


def test_credentials_are_files(tmp_path: Path) -> None:
    """A folder without a key is refused before anything is asked."""
    with pytest.raises(StoreMisnamed, match="access-key-id"):
        open_store("s3://bucket/x", tmp_path)
    (tmp_path / "access-key-id").write_text("a\n")
    with pytest.raises(StoreMisnamed, match="secret-access-key"):
        open_store("s3://bucket/x", tmp_path)
    (tmp_path / "secret-access-key").write_text("b\n")
    open_store("s3://bucket/x", tmp_path)


def test_a_folder_keeps_objects(tmp_path: Path) -> None:
    """Put, replace, get, list, delete; folders that are empty go with their last object."""
    objects = FolderObjects(tmp_path / "root")
    objects.put("a/b/one", b"1")
    objects.put("a/b/one", bytearray(b"one"))
    objects.put_new("a/two", b"two")
    objects.put("ab/three", b"3")

    assert b"one" == bytes(objects.get("a/b/one", 3))
    assert [("a/b/one", 3), ("a/two", 3)] == sorted(objects.list("a"))
    objects.delete("a/b/one")
    objects.delete("a/b/one")
    objects.delete("a/two")
    assert ["ab"] == [path.name for path in (tmp_path / "root").iterdir()]
    assert [] == list(objects.list("nothing"))


def test_what_a_folder_refuses(tmp_path: Path) -> None:
    """Missing, too large, there already: each has its own error."""
    objects = FolderObjects(tmp_path)
    objects.put("x", b"12")
    with pytest.raises(ObjectMissing):
        objects.get("y", 10)
    with pytest.raises(StoreFailed, match="more than 1 bytes"):
        objects.get("x", 1)
    with pytest.raises(ObjectExists):
        objects.put_new("x", b"34")
    assert b"12" == bytes(objects.get("x", 2))
    (tmp_path / "file").touch()
    with pytest.raises(StoreFailed):
        objects.put("file/below", b"1")


def test_what_a_killed_put_left_is_no_object_of_that_name(tmp_path: Path) -> None:
    """The bytes lie under another name until they are synced; a listing shows them for removal."""
    objects = FolderObjects(tmp_path)
    (tmp_path / ".x.tmp").write_bytes(b"half")
    with pytest.raises(ObjectMissing):
        objects.get("x", 10)
    assert [".x.tmp"] == [found.key for found in objects.list("")]
    objects.put("x", b"whole")
    assert [("x", 5)] == list(objects.list(""))
