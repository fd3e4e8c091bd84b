"""Bytes that change on the disk of a stopped member, and what its recovery says to them.

`KINDS` names every kind of file in a data directory; `damage` tears, flips or misplaces bytes of
one. `Probe` opens a directory as a member's start does, in a process of its own: broken trees may
kill a process.

Trap: the last frame of a log that ended with kill -9 cannot be told from one that was never
synced; only there something may be missing.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from faunadb.cli.opening import describe
from faunadb.disk.boot import Boot
from faunadb.disk.directory import open_data_directory
from faunadb.disk.engine import LmdbEngines
from faunadb.disk.files import DirectoryFiles
from faunadb.errors import Corrupt, FaunaError

KINDS = {
    "identity": "IDENTITY",
    "newest segment": "wal/0*.wal",
    "older segment": "wal/0*.wal",
    "spare segment": "wal/spare.wal",
    "state": "state-*/data.mdb",
    "lock of the state": "state-*/lock.mdb",
    "VALID": "state-*/VALID",
    "CLEAN": "state-*/CLEAN",
    "manifest": "snap-*/MANIFEST",
    "snapshot": "snap-*/data.mdb",
}
WAYS = ("flip", "tear", "zero", "misplace", "append")
SECTOR_BYTES, PAGE_BYTES = 512, 4096
MARKER = re.compile(rb"PROOF-([0-9]{8})")


class Found(msgspec.Struct, frozen=True):
    """What a probe found: markers that are there, or why it refused, or how it died."""

    markers: frozenset[int] = frozenset()
    refused: str = ""
    died: str = ""


def file_of(folder: Path, kind: str, chance: Random) -> Path | None:
    """Return a file of a kind; None when there is none."""
    found = sorted(folder.glob(KINDS[kind]))
    if kind == "newest segment":
        found = found[-1:]
    elif kind == "older segment":
        found = found[:-1]
    return chance.choice(found) if found else None


def damage(path: Path, chance: Random) -> str:
    """Change a file; return in words how. Mostly where there is something to change."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        at = _offset(file, size, chance)
        way = chance.choice(WAYS)
        unit = chance.choice((SECTOR_BYTES, PAGE_BYTES))
        start = at - at % unit
        file.seek(at)
        if way == "flip" and size:
            byte = file.read(1)[0] ^ (1 << chance.randrange(8))
            file.seek(at)
            file.write(bytes([byte]))
        elif way == "tear":
            file.truncate(at)
        elif way == "append":
            file.seek(size)
            file.write(chance.randbytes(unit))
        elif size:
            file.seek(chance.randrange(size) // unit * unit)
            block = file.read(min(unit, size - start)) if way == "misplace" else b""
            file.seek(start)
            file.write(block.ljust(min(unit, size - start), b"\0"))
    return f"{way} of {path.name} at {at} of {size}"


def _offset(file: Any, size: int, chance: Random) -> int:
    """Return an offset, where the bytes are not zero if a few tries find one."""
    at = 0
    for _ in range(20):
        at = chance.randrange(size) if size else 0
        if chance.random() < 0.2:
            at = min(at, chance.randrange(2 * PAGE_BYTES))  # heads
        file.seek(at)
        if file.read(1) not in {b"", b"\0"}:
            break
    return at


class Probe:
    """A process that opens directories, each in a fork of its own."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def open(self, folder: Path, boot: Boot) -> Found:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        job = {"folder": str(folder), "boot_id": boot.boot_id, "pod": boot.pod}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return msgspec.json.decode(self._process.stdout.readline(), type=Found)


@contextlib.contextmanager
def probe() -> Iterator[Probe]:
    """Run a probe until the context ends."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-m", "process.damage"]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield Probe(process)
        assert process.stdin is not None
        process.stdin.close()


def main() -> None:
    for line in sys.stdin:
        job = json.loads(line)
        source, sink = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(sink, msgspec.json.encode(opened(Path(job["folder"]), job)))
            os._exit(0)
        os.close(sink)
        with open(source, "rb") as answer:  # noqa: PTH123 - a descriptor
            block = answer.read()
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status) or not block:
            name = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "exit"
            block = msgspec.json.encode(Found(died=name))
        sys.stdout.write(block.decode() + "\n")
        sys.stdout.flush()


def opened(folder: Path, job: dict[str, str]) -> Found:
    """Open as a start does and read everything, as the scrub does."""
    signal.alarm(60)
    files = DirectoryFiles(folder)
    try:
        directory = open_data_directory(
            files,
            LmdbEngines(folder),
            None,
            boot=Boot(job["boot_id"], job["pod"]),
            describe=describe,
            draw=os.urandom,
            pause=lambda: None,
        )
        if directory is None:
            return Found(refused="empty")
        found = {int(m) for e in directory.recovered.entries for m in MARKER.findall(e.raw)}
        with directory.engine.read() as reader:
            for _, value in reader.scan(b"", None):
                found.update(map(int, MARKER.findall(value)))
        directory.close()
    except Corrupt as problem:
        return Found(refused=f"{problem.reason}: {problem.detail}")
    except (FaunaError, OSError) as problem:
        return Found(refused=f"{type(problem).__name__}: {problem}")
    except Exception as problem:  # noqa: BLE001 - told to the caller
        return Found(died=f"{type(problem).__name__}: {problem}")
    return Found(markers=frozenset(found))


if __name__ == "__main__":
    main()
