"""The library that makes a disk slow or broken, preloaded into a small program."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kind_test_helpers.bad_disk import BadDisk, Call, compile_shim, failing, slow

SLOW_S = 0.3
PROGRAM = """
import os, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
for name in ("wal", "state"):
    (folder / name).mkdir(exist_ok=True)
    file = os.open(folder / name / "file", os.O_RDWR | os.O_CREAT)
    for call, act in {
        "write": lambda: os.pwrite(file, b"-", 0),
        "sync": lambda: os.fdatasync(file),
        "read": lambda: os.pread(file, 1, 0),
    }.items():
        began, code = time.monotonic(), 0
        try:
            act()
        except OSError as error:
            code = error.errno
        print(name, call, code, time.monotonic() - began)
"""
WELL = {(name, call): 0 for name in ("wal", "state") for call in ("write", "sync", "read")}


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library, compiled here."""
    return compile_shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def disk(shim: Path, tmp_path: Path) -> BadDisk:
    """A disk for this test, which does as it should."""
    return BadDisk(shim, tmp_path / "order")


def measured(disk: BadDisk, folder: Path) -> dict[tuple[str, str], tuple[int, float]]:
    """Let a program write, sync and read two files; return errno and seconds of each call."""
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    environment = {**os.environ, **disk.environment}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    return {(name, call): (int(code), float(took)) for name, call, code, took in lines}


def codes(disk: BadDisk, folder: Path) -> dict[tuple[str, str], int]:
    return {which: code for which, (code, _) in measured(disk, folder).items()}


@pytest.mark.parametrize("call", ["write", "sync", "read"])
def test_a_call_fails_where_and_while_it_is_ordered(
    disk: BadDisk, tmp_path: Path, call: Call
) -> None:
    """Only the ordered call on the ordered file fails, and only until the order is gone."""
    with disk.obeys(failing(call, "/wal/")):
        hurt = codes(disk, tmp_path)

    assert {**WELL, ("wal", call): errno.EIO} == hurt
    assert codes(disk, tmp_path) == WELL


def test_any_errno_can_be_ordered(disk: BadDisk, tmp_path: Path) -> None:
    """A full disk is an errno like another."""
    with disk.obeys(failing("write", "/state/", errno.ENOSPC)):
        assert {**WELL, ("state", "write"): errno.ENOSPC} == codes(disk, tmp_path)


def test_a_sync_takes_as_long_as_is_ordered(disk: BadDisk, tmp_path: Path) -> None:
    """The ordered time is waited before the sync, and the sync is done."""
    with disk.obeys(slow(SLOW_S, "/wal/")):
        found = measured(disk, tmp_path)

    assert WELL == {which: code for which, (code, _) in found.items()}
    assert found["wal", "sync"][1] >= SLOW_S
