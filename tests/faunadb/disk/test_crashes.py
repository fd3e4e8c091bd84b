"""States that kill whoever reads them, or cannot be opened: they are built anew, not fatal."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from disk_test_helpers.member import StoredMember
from faunadb.disk.boot import Boot
from faunadb.disk.crashes import CRASHED
from faunadb.disk.engine import LmdbEngine, LmdbEngines
from faunadb.disk.files import DirectoryFiles
from faunadb.errors import Corrupt

BOOT = Boot("one boot", "pod")
DIE = """
import os, pathlib, signal, sys
from faunadb.disk.crashes import report_crashes
report_crashes(pathlib.Path(sys.argv[1]))
os.kill(os.getpid(), getattr(signal, sys.argv[2]))
"""


@pytest.fixture
def member(tmp_path: Path) -> Iterator[StoredMember]:
    """A member on real files that has applied something and was killed."""
    files = DirectoryFiles(tmp_path)
    member = StoredMember(files, LmdbEngines(tmp_path), lambda: BOOT, Random(1))
    member.open()
    member.vote()
    member.append(5)
    member.commit_and_apply()
    member.snapshot()
    member.append(5)
    member.commit_and_apply()
    member.crash()
    yield member
    files.close()


@pytest.mark.parametrize(
    ("name", "rebuilt"), [("SIGBUS", True), ("SIGABRT", True), ("SIGKILL", False)]
)
def test_a_state_that_kills_is_built_anew(
    member: StoredMember, tmp_path: Path, name: str, *, rebuilt: bool
) -> None:
    """After a signal like SIGBUS its marks are not believed, once; kill -9 says nothing of it."""
    done = subprocess.run(
        [sys.executable, "-c", DIE, str(tmp_path), name],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode < 0
    notes = member.open().notes
    member.crash()
    again = member.open().notes
    member.crash()

    assert rebuilt == ("a process died of a signal while it used the state: rebuilding" in notes)
    assert () == again
    assert 0 == (tmp_path / CRASHED).stat().st_size


def test_a_state_that_cannot_be_opened_is_built_anew(member: StoredMember, tmp_path: Path) -> None:
    """Log and snapshot have everything: it is no reason to refuse."""
    data = next(tmp_path.glob("state-*/data.mdb"))
    data.write_bytes(bytes(8192) + data.read_bytes()[8192:])

    notes = member.open().notes
    member.crash()

    assert ["rebuilding"] == [note.rpartition(": ")[2] for note in notes]


def test_a_broken_page_is_corruption(member: StoredMember, tmp_path: Path) -> None:
    """What LMDB notices by itself is told as `Corrupt`, by readers of any kind."""
    path = next(tmp_path.glob("state-*"))
    engine = LmdbEngine(tmp_path, path.name)
    with engine.write() as writer:
        writer.put_many((b"k%06d" % n, bytes(100)) for n in range(10_000))
    engine.close()
    data = path / "data.mdb"
    block = bytearray(data.read_bytes())
    for at in range(3 * 4096, len(block), 4096):
        block[at + 10] = 0x40  # no kind of page
    data.write_bytes(block)
    engine = LmdbEngine(tmp_path, path.name)

    with engine.read() as reader, pytest.raises(Corrupt, match="state: a page"):
        reader.get(b"k005000")
    with engine.read() as reader, pytest.raises(Corrupt, match="state: a page"):
        list(reader.scan(b"", None))
    engine.close()
