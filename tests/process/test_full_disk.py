"""A volume that fills up: what is refused first, what never is, and how it ends."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from faunadb.disk.space import APPLY_RESERVE_BYTES, LAST_RESERVE_BYTES, MIB
from faunadb.disk.wal import SEGMENT_BYTES
from process.cluster import NO_ANSWER, SECRET, Answer, MemberProcess, find_places, wait_until

pytestmark = pytest.mark.process
VOLUME_BYTES = 640 * MIB
DOCUMENTS = 1000
NEEDED_BYTES = SEGMENT_BYTES + APPLY_RESERVE_BYTES + LAST_RESERVE_BYTES  # of an empty state


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A small ext4 of its own."""
    image, volume = tmp_path / "image", tmp_path / "volume"
    volume.mkdir()
    with image.open("wb") as file:
        file.truncate(VOLUME_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True, timeout=60)
    subprocess.run(["mount", "-o", "loop", str(image), str(volume)], check=True, timeout=60)
    try:
        yield volume
    finally:
        subprocess.run(["umount", "--lazy", str(volume)], check=True, timeout=60)


@pytest.fixture
def member(volume: Path, tmp_path: Path) -> Iterator[MemberProcess]:
    """One member, alone, on that volume."""
    (place,) = find_places(1)
    listen = f"{place.host}:{place.client_port}"
    words = ["dev", "--data", str(volume / "data"), "--listen", listen, "--secret", SECRET]
    member = MemberProcess(
        place=place,
        data_dir=volume / "data",
        arguments=words,
        operator_tls=tmp_path,
        log=tmp_path / "log",
    )
    member.start()
    try:
        wait_until(lambda: _asked(member, "1").status == 200, "it answers")
        yield member
    finally:
        member.kill()


def test_a_volume_that_fills_up(member: MemberProcess, volume: Path) -> None:
    """Writes are refused with a reason, then deletes; reads go on; space makes it well again."""
    _asked(member, 'Collection.create({name: "A"})')
    _asked(member, f"Set.sequence(0, {DOCUMENTS}).forEach(n => A.create({{id: n + 1}}))")
    _leave(volume, NEEDED_BYTES - 16 * MIB)
    refused = wait_until(
        lambda: _refused(member, "A.byId(2)!.update({n: 1})"), "writes are refused"
    )
    deleted = _asked(member, "A.byId(1)!.delete()")
    read = _asked(member, "A.all().count()")
    _leave(volume, LAST_RESERVE_BYTES - 8 * MIB)
    at_last = wait_until(lambda: _refused(member, "A.all().first()!.delete()"), "so are deletes")
    still_read = _asked(member, f"A.byId({DOCUMENTS})!.id == ID('{DOCUMENTS}')")
    (volume / "ballast").unlink()
    wait_until(lambda: _asked(member, "A.create({})").status == 200, "writes are taken again")
    member.kill()
    member.start()
    wait_until(lambda: _asked(member, "1").status == 200, "it comes back")

    assert "only deletes are accepted" in refused
    assert "not even a delete" in at_last
    assert (200, DOCUMENTS - 1, True) == (deleted.status, read.data, still_read.data)
    assert 1 < _asked(member, "A.all().count()").data < DOCUMENTS


def _asked(member: MemberProcess, text: str) -> Answer:
    try:
        return member.query(text)
    except NO_ANSWER as problem:
        return Answer(0, str(problem))


def _refused(member: MemberProcess, text: str) -> str:
    answer = _asked(member, text)
    return answer.body["error"]["message"] if answer.status == 429 else ""


def _leave(volume: Path, free_bytes: int) -> None:
    """Fill the volume up to `free_bytes`."""
    found = os.statvfs(volume)
    ballast = volume / "ballast"
    had = ballast.stat().st_size if ballast.exists() else 0
    with ballast.open("ab") as file:
        os.posix_fallocate(file.fileno(), 0, had + found.f_bavail * found.f_frsize - free_bytes)
