"""LMDB behind the port `KeyValue`: the state of a member, atomic but not durable by itself.

Durability is the log's. LMDB runs without fsync and writes through `pwrite`, so that a crash of
the process leaves whole transactions and an I/O error is heard by `force_sync`. Every stored
value begins with the CRC32C of key and value; a mismatch is `Corrupt`, never an answer.

House rules: only this directory imports lmdb. Readers are opened for one piece of work: LMDB
keeps a spare one, so opening costs a microsecond.
Trap: one open reader stops the reuse of pages, and the file grows (SAFETY 19); `set_mapsize`
would kill readers of other processes, therefore the map is 1 TiB from the first day.
"""

import errno
import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import lmdb
from crc32c import crc32c

from faunadb.disk.ports import DATA_NAME, CopyAborted, Describe, Description
from faunadb.errors import Corrupt
from faunadb.store.ports import Reader

MAP_BYTES = 1 << 40
READERS_MAX = 512
SPARE_READERS = 16
PIPE_BYTES = 1 << 20  # what an unprivileged process may ask for
GROWTH_BYTES_MIN = 64 << 20  # a small state may grow by this while it is copied
CHECK_HERE_BYTES_MAX = 16 << 20  # larger copies are walked by a process of their own
CHECK_TIMEOUT_S = 3600
WALK_SLICE_BYTES = 4 << 20  # maps up to 16 times as much
SCRUB_BYTES_MAX = 1 << 20  # of values, in one slice
CRC_BYTES = 4

_BROKEN = (
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
    lmdb.PanicError,
)


class LmdbEngine:
    """One LMDB environment in the directory `path`. Raises `Corrupt` or OSError."""

    def __init__(self, root: Path, path: str, *, map_bytes: int = MAP_BYTES) -> None:
        self._root, self.path = root, path
        self._written = 0
        try:
            self._env: Any = lmdb.open(
                str(root / path),
                map_size=map_bytes,
                max_readers=READERS_MAX,
                max_spare_txns=SPARE_READERS,
                sync=False,
                metasync=False,
                writemap=False,
                readahead=False,  # the state may be larger than memory
                meminit=True,  # what was in memory never reaches the disk
                mode=0o600,
            )
        except _BROKEN as problem:
            raise Corrupt("state", f"{path} is not a state: {problem}") from problem
        except lmdb.Error as problem:
            raise _as_oserror(problem) from problem
        self._env.reader_check()

    def read(self) -> "LmdbReader":
        return LmdbReader(self._env)

    def write(self) -> "LmdbWriter":
        return LmdbWriter(self, self._env)

    def force_sync(self) -> None:
        try:
            self._env.sync(True)  # noqa: FBT003 - lmdb takes it by position
        except lmdb.Error as problem:
            raise _as_oserror(problem) from problem

    def data_bytes(self) -> int:
        info = self._env.info()
        return int(info["last_pgno"] + 1) * int(self._env.stat()["psize"])

    def written_bytes(self) -> int:
        return self._written

    def reader_check(self) -> int:
        """Free the slots of readers whose process died; return how many."""
        return int(self._env.reader_check())

    def stats(self) -> dict[str, int]:
        """Return sizes and counts for metrics: bytes, pairs, pages, readers."""
        stat, info = self._env.stat(), self._env.info()
        return {
            "data_bytes": self.data_bytes(),
            "pairs": int(stat["entries"]),
            "depth": int(stat["depth"]),
            "pages": int(stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]),
            "readers": int(info["num_readers"]),
            "last_transaction": int(info["last_txnid"]),
        }

    def copy_to(self, path: str) -> None:
        limit = max(self.data_bytes() * 5 // 4, self.data_bytes() + GROWTH_BYTES_MIN)
        source, sink = os.pipe()
        fcntl.fcntl(sink, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        failed: list[Exception] = []
        copier = threading.Thread(target=self._copy, args=(sink, failed), name="state-copy")
        target = os.open(
            self._root / path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
        )
        copier.start()
        try:
            while os.splice(source, target, PIPE_BYTES):
                if self.data_bytes() > limit:
                    raise CopyAborted("the state grew by a quarter while it was copied")
        finally:
            os.close(source)  # an unfinished copy fails with EPIPE
            copier.join()
            os.close(target)
        if failed:
            raise _as_oserror(failed[0]) from failed[0]

    def _copy(self, sink: int, failed: list[Exception]) -> None:
        try:
            self._env.copyfd(sink)
        except lmdb.Error as problem:
            failed.append(problem)
        finally:
            os.close(sink)

    def close(self) -> None:
        self._env.close()

    def wrote(self, byte_count: int) -> None:
        """Count what a transaction put."""
        self._written += byte_count


class LmdbReader:
    """One consistent state; a context manager, and the `Reader` that it gives."""

    __slots__ = ("_env", "_txn")

    def __init__(self, env: Any) -> None:
        self._env = env

    def __enter__(self) -> Self:
        self._txn = self._env.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._txn.abort()

    def get(self, key: bytes) -> bytes | None:
        try:
            stored = self._txn.get(key)
        except _BROKEN as problem:
            raise _as_corrupt(problem) from problem
        return None if stored is None else _open_value(key, stored)

    def scan(
        self, start: bytes, end: bytes | None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        return _scan(self._txn, start, end, reverse=reverse)


class LmdbWriter(LmdbReader):
    """A write transaction; leaving the context with an exception undoes it."""

    __slots__ = ("_byte_count", "_engine")

    def __init__(self, engine: LmdbEngine, env: Any) -> None:
        super().__init__(env)
        self._engine = engine
        self._byte_count = 0

    def __enter__(self) -> Self:
        self._txn = self._env.begin(write=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._txn.abort()
            return
        try:
            self._txn.commit()
        except _BROKEN as error:
            raise _as_corrupt(error) from error
        except lmdb.Error as error:
            raise _as_oserror(error) from error
        self._engine.wrote(self._byte_count)

    def put_many(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        stored = [(key, _close_value(key, value)) for key, value in pairs]
        try:
            self._txn.cursor().putmulti(stored)
        except _BROKEN as problem:
            raise _as_corrupt(problem) from problem
        except lmdb.Error as problem:
            raise _as_oserror(problem) from problem
        self._byte_count += sum(len(key) + len(value) for key, value in stored)

    def delete_many(self, keys: Iterable[bytes]) -> None:
        try:
            for key in keys:
                self._txn.delete(key)
        except _BROKEN as problem:
            raise _as_corrupt(problem) from problem
        except lmdb.Error as problem:
            raise _as_oserror(problem) from problem


class LmdbEngines:
    """Opens LMDB states under the data directory `root`."""

    def __init__(self, root: Path, *, map_bytes: int = MAP_BYTES) -> None:
        self._root, self._map_bytes = root, map_bytes

    def open(self, path: str) -> LmdbEngine:
        return LmdbEngine(self._root, path, map_bytes=self._map_bytes)

    def describe(self, path: str, describe: Describe) -> Description:
        env = _open_copy(self._root / path)
        try:
            with LmdbReader(env) as reader:
                return describe(reader)
        except lmdb.Error as problem:
            raise Corrupt("snapshot", f"{path}: {problem}") from problem
        finally:
            env.close()

    def check(self, path: str) -> int:
        if (self._root / path / DATA_NAME).stat().st_size <= CHECK_HERE_BYTES_MAX:
            return walk(self._root / path)
        return check_apart(self._root / path)


def walk(path: Path) -> int:
    """Read every pair of the copy in a directory and return how many. Raises `Corrupt`.

    It is opened anew for each slice: what a mapping has touched stays in the process's memory.
    """
    count, after = 0, b""
    while True:
        env = _open_copy(path)
        try:
            with env.begin() as txn:
                entries = int(txn.stat()["entries"])
                read, last = _read_slice(txn, after)
        except lmdb.Error as problem:
            raise Corrupt("snapshot", f"{path.name}: {problem}") from problem
        finally:
            env.close()
        count += read
        if last == after:
            break
        after = last
    if count != entries:
        raise Corrupt("snapshot", f"{path.name} holds {count} pairs, not {entries}")
    return count


def _read_slice(txn: Any, after: bytes) -> tuple[int, bytes]:
    """Check pairs behind the key `after`; return how many, and the last key."""
    count, size, last = 0, 0, after
    for key, value in _walk_pairs(txn, after, None, reverse=False):
        if key == after:
            continue
        count, size, last = count + 1, size + len(value), key
        if size >= WALK_SLICE_BYTES:
            break
    return count, last


def check_apart(path: Path) -> int:
    """Walk a copy in a process of its own: a broken tree may kill it, and it holds no lock of ours.

    Raises `Corrupt`.
    """
    done = subprocess.run(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-P", "-m", "faunadb.disk.walk", str(path), str(os.getpid())],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=CHECK_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise Corrupt("snapshot", f"walking {path.name} ended with {done.returncode}: {last}")
    return int(done.stdout)


def scrub(reader: Reader, start: bytes, pairs_max: int) -> bytes | None:
    """Check up to `pairs_max` pairs from `start` on; return where to go on, None at the end.

    Raises `Corrupt` for a value that does not match its checksum, and a broken tree (SAFETY 18).
    """
    size = 0
    try:
        for count, (key, value) in enumerate(reader.scan(start, None)):
            if count == pairs_max or size > SCRUB_BYTES_MAX:
                return key
            size += len(value)
    except lmdb.Error as problem:
        raise Corrupt("state", f"a scrub met a broken page: {problem}") from problem
    return None


def _open_copy(path: Path) -> Any:
    try:
        return lmdb.open(str(path), readonly=True, lock=False, create=False, readahead=False)
    except lmdb.Error as problem:
        raise Corrupt("snapshot", f"{path.name} is not a state: {problem}") from problem


def _scan(
    txn: Any, start: bytes, end: bytes | None, *, reverse: bool
) -> Iterator[tuple[bytes, bytes]]:
    try:
        yield from _walk_pairs(txn, start, end, reverse=reverse)
    except _BROKEN as problem:
        raise _as_corrupt(problem) from problem


def _walk_pairs(
    txn: Any, start: bytes, end: bytes | None, *, reverse: bool
) -> Iterator[tuple[bytes, bytes]]:
    cursor = txn.cursor()
    if reverse:
        found = cursor.set_range(end) if end is not None else False
        at_last = cursor.prev() if found else cursor.last()
        if not at_last:
            return
        for key, stored in cursor.iterprev(keys=True, values=True):
            if key < start:
                return
            yield key, _open_value(key, stored)
        return
    if not (cursor.set_range(start) if start else cursor.first()):
        return
    for key, stored in cursor.iternext(keys=True, values=True):
        if end is not None and key >= end:
            return
        yield key, _open_value(key, stored)


def _close_value(key: bytes, value: bytes) -> bytes:
    return crc32c(value, crc32c(key)).to_bytes(CRC_BYTES, "little") + value


def _open_value(key: bytes, stored: bytes) -> bytes:
    value = stored[CRC_BYTES:]
    if crc32c(value, crc32c(key)) != int.from_bytes(stored[:CRC_BYTES], "little"):
        raise Corrupt("state", f"the value of key {key.hex()} does not match its checksum")
    return value


def _as_corrupt(problem: Exception) -> Corrupt:
    return Corrupt("state", f"a page of the state is broken: {problem}")


def _as_oserror(problem: Exception) -> OSError:
    full = isinstance(problem, lmdb.DiskError | lmdb.MapFullError) or "No space" in str(problem)
    return OSError(errno.ENOSPC if full else errno.EIO, f"state: {problem}")
