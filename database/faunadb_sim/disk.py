"""A disk that forgets: what was not synced may be lost, torn, reordered; and it may fail.

`SimDisk` implements `node.ports.Files`. A process crash keeps everything written (the page cache
outlives it); a loss of power keeps what was synced and, of the rest, a random subset of sectors,
some of them torn, and a random subset of the creations, renames and removals whose directory was
not synced. `SimEngines` keeps states beside it with the same two kinds of crash.

House rules: one `random.Random` decides everything, so a seed replays.
Trap: after a failed fsync the pages are clean and not durable, as in Linux: a later fsync
succeeds and says nothing.
"""

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from random import Random
from types import TracebackType
from typing import Self

import msgspec
from sortedcontainers import SortedDict

from faunadb.disk.boot import Boot
from faunadb.disk.ports import DATA_NAME, Describe, Description
from faunadb.errors import Corrupt

SECTOR_BYTES = 512
GARBAGE = 0.5  # how often a state that was written since its sync is neither old nor new
Names = list[str]


class Odds(msgspec.Struct, frozen=True):
    """How a loss of power treats what was not synced; each is a probability."""

    sector_survives: float = 0.5
    sector_tears: float = 0.1
    name_survives: float = 0.5
    size_survives: float = 0.5


class PowerLoss(BaseException):
    """The planned operation was reached: the machine is gone. Nothing may catch it."""


class _Inode:
    """A file: what readers see, what is on the platter, and where the two differ."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self.synced = bytearray()
        self.dirty: set[int] = set()
        self.size_dirty = False

    def write(self, data: bytes | memoryview, offset: int) -> None:
        end = offset + len(data)
        if end > len(self.seen):
            self.dirty.update(range(len(self.seen) // SECTOR_BYTES, offset // SECTOR_BYTES + 1))
            self.seen.extend(bytes(end - len(self.seen)))
            self.size_dirty = True
        self.seen[offset:end] = data
        self.dirty.update(range(offset // SECTOR_BYTES, -(-end // SECTOR_BYTES)))

    def resize(self, length: int) -> None:
        if length < len(self.seen):
            del self.seen[length:]
        else:
            self.write(b"", length)
            self.seen.extend(bytes(length - len(self.seen)))
        self.size_dirty = True

    def sync(self) -> None:
        self.synced[len(self.seen) :] = b""
        self.synced.extend(bytes(len(self.seen) - len(self.synced)))
        for sector in self.dirty:
            at = sector * SECTOR_BYTES
            self.synced[at : at + SECTOR_BYTES] = self.seen[at : at + SECTOR_BYTES]
        self.forget()

    def forget(self) -> None:
        """Count everything as clean, durable or not."""
        self.dirty.clear()
        self.size_dirty = False

    def lose_power(self, chance: Random, odds: Odds) -> None:
        size = len(self.synced)
        if self.size_dirty and chance.random() < odds.size_survives:
            size = len(self.seen)
        kept = self.synced[:size] + bytes(max(0, size - len(self.synced)))
        for sector in sorted(self.dirty):
            at = sector * SECTOR_BYTES
            new = self.seen[at : min(at + SECTOR_BYTES, size)]
            if not new or chance.random() >= odds.sector_survives:
                continue
            if chance.random() < odds.sector_tears:
                new = new[: chance.randrange(len(new) + 1)]
            kept[at : at + len(new)] = new
        self.seen, self.synced = bytearray(kept), kept
        self.forget()


class _NameChange(msgspec.Struct, frozen=True):
    """One step on directories: these names now mean these files (None: nothing)."""

    names: tuple[tuple[str, _Inode | None], ...]
    directories: frozenset[str]


class SimFile:
    """An open file of a `SimDisk`."""

    def __init__(self, disk: "SimDisk", inode: _Inode, path: str) -> None:
        self._disk, self._inode, self._path = disk, inode, path

    def pread(self, length: int, offset: int) -> bytes:
        self._disk.step("pread", self._path)
        return bytes(self._inode.seen[offset : offset + length])

    def pwrite(self, data: bytes | memoryview, offset: int) -> None:
        self._disk.step("pwrite", self._path)
        self._disk.take_space(offset + len(data) - len(self._inode.seen))
        self._inode.write(data, offset)

    def fdatasync(self) -> None:
        try:
            self._disk.step("fdatasync", self._path)
        except OSError:
            self._inode.forget()
            raise
        self._inode.sync()

    def write_out(self, length: int, offset: int) -> None:
        """Promise nothing."""

    def allocate(self, length: int) -> None:
        if length > len(self._inode.seen):
            self.pwrite(bytes(length - len(self._inode.seen)), len(self._inode.seen))

    def truncate(self, length: int) -> None:
        self._disk.step("truncate", self._path)
        self._inode.resize(length)

    def size(self) -> int:
        return len(self._inode.seen)

    def close(self) -> None:
        pass


class SimDisk:
    """One data directory on a disk that forgets.

    `plan(number, operation, path)` is called before each operation, which are numbered from 1;
    it may raise OSError or `PowerLoss`.
    """

    def __init__(
        self,
        chance: Random,
        *,
        capacity_bytes: int = 1 << 40,
        odds: Odds = Odds(),  # noqa: B008 - frozen
        plan: Callable[[int, str, str], None] | None = None,
    ) -> None:
        self.chance, self.odds, self.plan = chance, odds, plan
        self.capacity_bytes = capacity_bytes
        self.operations = 0
        self.boots = 1
        self._names: dict[str, _Inode | None] = {}  # a directory is a name without an inode
        self._durable: dict[str, _Inode | None] = {}
        self._directories: set[str] = {""}
        self._changes: list[_NameChange] = []
        self.states: dict[str, SimState] = {}

    # ------------------------------------------------------------ Files

    def open(self, path: str, *, create: bool = False) -> SimFile:
        inode = self._names.get(path)
        if inode is None:
            if path in self._directories:
                raise IsADirectoryError(errno.EISDIR, path)
            if not create:
                raise FileNotFoundError(errno.ENOENT, path)
            self._check_parent(path)
            self.step("create", path)
            inode = _Inode()
            self._change((path, inode))
        return SimFile(self, inode, path)

    def rename(self, old: str, new: str) -> None:
        self.step("rename", old)
        if old in self._directories:
            self._rename_directory(old, new)
            return
        inode = self._names.get(old)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, old)
        self._change((old, None), (new, inode))

    def _rename_directory(self, old: str, new: str) -> None:
        """Move all names; one that its own directory does not know durably stays pending."""
        assert new not in self._directories, "a directory never replaces another"
        self._directories -= {old}
        self._directories |= {new}
        known: list[tuple[str, _Inode | None]] = [(old, None), (new, _DIRECTORY)]
        pending: list[tuple[str, _Inode | None]] = []
        for path in self._below(old):
            group = known if path in self._durable else pending
            group += [(path, None), (new + path[len(old) :], self._names[path])]
        self._change(*known, directories=frozenset((_parent(old), _parent(new))))
        if pending:
            self._change(*pending, directories=frozenset((new,)))

    def remove(self, path: str) -> None:
        self.step("remove", path)
        if path in self._directories:
            gone_with = frozenset((_parent(path),))  # its removal is that of all below it
            for below in self._below(path):
                self._change((below, None), directories=gone_with | {_parent(below)})
            self._directories -= {path}
            self.states.pop(path, None)
            self._change((path, None))
        elif self._names.get(path) is not None:
            self._change((path, None))
        else:
            raise FileNotFoundError(errno.ENOENT, path)

    def make_directory(self, path: str) -> None:
        if path not in self._directories:
            self._check_parent(path)
            self.step("make_directory", path)
            self._directories.add(path)
            self._change((path, _DIRECTORY))

    def list(self, path: str) -> Names:
        names = [name for name, inode in self._names.items() if inode is not None]
        return sorted(name.rpartition("/")[2] for name in names if _parent(name) == path)

    def fsync_directory(self, path: str) -> None:
        self.step("fsync_directory", path)
        kept: list[_NameChange] = []
        for change in self._changes:
            if path in change.directories:
                self._durable.update(change.names)
            else:
                kept.append(change)
        self._changes = kept

    def free_bytes(self) -> int:
        used = sum(len(inode.seen) for inode in self._names.values() if inode is not None)
        return max(0, self.capacity_bytes - used)

    # ------------------------------------------------------------ what happens to a disk

    @property
    def boot(self) -> Boot:
        """The present life of the machine."""
        return Boot(f"boot-{self.boots}", "pod")

    def step(self, operation: str, path: str) -> None:
        """Count an operation, and let the plan fail it."""
        self.operations += 1
        if self.plan is not None:
            self.plan(self.operations, operation, path)

    def take_space(self, count: int) -> None:
        if count > 0 and count > self.free_bytes():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def crash_process(self) -> None:
        """Kill the process: what it wrote is still there."""
        self.plan = None

    def lose_power(self) -> None:
        """Stop the machine; see the module's docstring."""
        self.plan = None
        self.boots += 1
        for change in self._changes:
            if self.chance.random() < self.odds.name_survives:
                self._durable.update(change.names)
        self._changes.clear()
        self._drop_orphans()
        self._names = dict(self._durable)
        self._directories = {""} | {p for p, inode in self._names.items() if inode is _DIRECTORY}
        for inode in {id(i): i for i in self._names.values() if i is not None}.values():
            inode.lose_power(self.chance, self.odds)
        self.states = {path: s for path, s in self.states.items() if path in self._directories}
        for state in self.states.values():
            state.lose_power(self.chance)

    def flip_bit(self, path: str, offset: int, bit: int = 0) -> None:
        """Let the medium rot."""
        inode = self._names[path]
        assert inode is not None
        for copy in (inode.seen, inode.synced):
            if offset < len(copy):
                copy[offset] ^= 1 << bit

    def is_durable(self, path: str) -> bool:
        """Say whether a file under this name, as it is, would outlive a loss of power."""
        inode = self._names.get(path)
        return (
            inode is not None and self._durable.get(path) is inode and (inode.seen == inode.synced)
        )

    def synced_bytes(self, path: str) -> bytes:
        """Return what of a file is on the platter."""
        inode = self._names[path]
        assert inode is not None
        return bytes(inode.synced)

    def _drop_orphans(self) -> None:
        """Forget names in directories that do not exist."""
        alive = {path: inode for path, inode in self._durable.items() if inode is not None}
        for path in sorted(alive):
            parent = _parent(path)
            if parent and alive.get(parent) is not _DIRECTORY:
                del alive[path]
        self._durable = dict(alive)

    def _change(
        self, *names: tuple[str, _Inode | None], directories: frozenset[str] | None = None
    ) -> None:
        for name, inode in names:
            if inode is None:
                self._names.pop(name, None)
            else:
                self._names[name] = inode
        touched = directories or frozenset(_parent(name) for name, _ in names)
        self._changes.append(_NameChange(names, touched))

    def _below(self, path: str) -> Names:
        return [name for name in self._names if name.startswith(f"{path}/")]

    def _check_parent(self, path: str) -> None:
        if _parent(path) not in self._directories:
            raise FileNotFoundError(errno.ENOENT, path)


_DIRECTORY = _Inode()


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


# ---------------------------------------------------------------- states


class SimState:
    """What outlives an engine: the committed pairs, and those of the last forced sync."""

    def __init__(self, pairs: "SortedDict[bytes, bytes]") -> None:
        self.pairs = pairs
        self.synced: SortedDict[bytes, bytes] | None = None
        self.is_garbage = False

    def lose_power(self, chance: Random) -> None:
        """Fall back to the last forced sync, or to something that nobody may open."""
        if self.synced is None or (self.pairs != self.synced and chance.random() < GARBAGE):
            self.is_garbage = True
        else:
            self.pairs = self.synced.copy()


class SimReader:
    """One consistent state; the writer copies before it changes what a reader holds."""

    def __init__(self, engine: "SimEngine") -> None:
        self._engine = engine

    def __enter__(self) -> Self:
        self._pairs = self._engine.begin_read()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._engine.end_read(self._pairs)

    def get(self, key: bytes) -> bytes | None:
        found: bytes | None = self._pairs.get(key)
        return found

    def scan(
        self, start: bytes, end: bytes | None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        pairs = self._pairs
        for key in pairs.irange(start, end, (True, False), reverse):
            yield key, pairs[key]


class SimWriter(SimReader):
    """A write transaction on a copy-on-write overlay: nothing is seen before it commits."""

    def __enter__(self) -> Self:
        self._pairs = self._engine.begin_write()
        self._undo: dict[bytes, bytes | None] = {}
        self._byte_count = 0
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            for key, value in self._undo.items():
                if value is None:
                    self._pairs.pop(key, None)
                else:
                    self._pairs[key] = value
        self._engine.end_write(self._byte_count)

    def put_many(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        for key, value in pairs:
            self._undo.setdefault(key, self._pairs.get(key))
            self._pairs[key] = bytes(value)
            self._byte_count += len(key) + len(value)

    def delete_many(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            if key in self._pairs:
                self._undo.setdefault(key, self._pairs[key])
                del self._pairs[key]


class SimEngine:
    """An open state; `disk.ports.Engine`. Readers opened before a commit do not see it."""

    def __init__(self, disk: SimDisk, path: str, state: SimState) -> None:
        self._disk, self._path, self._state = disk, path, state
        self._readers: dict[int, int] = {}  # open readers by the map that they hold
        self._writing = False
        self._written = 0

    def read(self) -> SimReader:
        return SimReader(self)

    def write(self) -> SimWriter:
        return SimWriter(self)

    def force_sync(self) -> None:
        self._disk.step("force_sync", self._path)
        self._state.synced = self._state.pairs.copy()

    def data_bytes(self) -> int:
        return sum(len(key) + len(value) for key, value in self._state.pairs.items())

    def written_bytes(self) -> int:
        return self._written

    def reader_check(self) -> int:
        """Return 0: no reader is of another process."""
        return 0

    def copy_to(self, path: str) -> None:
        assert not self._writing
        block = msgspec.msgpack.encode(list(self._state.pairs.items()))
        file = self._disk.open(path, create=True)
        file.truncate(0)
        file.pwrite(block, 0)

    def close(self) -> None:
        assert not self._readers, "a reader outlives its state"

    def begin_read(self) -> "SortedDict[bytes, bytes]":
        pairs = self._state.pairs
        assert not self._writing, "one thread writes and reads: commit first"
        self._readers[id(pairs)] = self._readers.get(id(pairs), 0) + 1
        return pairs

    def end_read(self, pairs: "SortedDict[bytes, bytes]") -> None:
        self._readers[id(pairs)] -= 1
        if not self._readers[id(pairs)]:
            del self._readers[id(pairs)]

    def begin_write(self) -> "SortedDict[bytes, bytes]":
        assert not self._writing, "one writer at a time"
        self._writing = True
        if id(self._state.pairs) in self._readers:
            self._state.pairs = self._state.pairs.copy()
        return self._state.pairs

    def end_write(self, byte_count: int) -> None:
        self._writing = False
        self._written += byte_count


class SimEngines:
    """Opens states of a `SimDisk`; refuses (assertion) one whose bytes mean nothing."""

    def __init__(self, disk: SimDisk) -> None:
        self._disk = disk

    def open(self, path: str) -> SimEngine:
        state = self._disk.states.get(path)
        if state is None:
            state = self._disk.states[path] = SimState(self._load(path))
        assert not state.is_garbage, f"{path} was not synced and must not be believed"
        return SimEngine(self._disk, path, state)

    def describe(self, path: str, describe: Describe) -> Description:
        with SimEngine(self._disk, path, SimState(self._load(path))).read() as reader:
            return describe(reader)

    def check(self, path: str) -> int:
        return len(self._load(path))

    def _load(self, path: str) -> "SortedDict[bytes, bytes]":
        try:
            file = self._disk.open(f"{path}/{DATA_NAME}")
        except FileNotFoundError:
            return SortedDict()
        try:
            pairs = msgspec.msgpack.decode(
                file.pread(file.size(), 0), type=list[tuple[bytes, bytes]]
            )
        except msgspec.MsgspecError as problem:
            raise Corrupt("snapshot", f"{path}: {problem}") from problem
        return SortedDict(pairs)
