"""What a program did to its folder, and what a loss of power would have left of it.

    recorder = Recorder(compile_recorder(tmp), root, log)
    ... run a program with recorder.environment ...
    platter = Platter(root)
    for event in read_events(log):
        platter.take(event)
        platter.left(chance).write_to(folder)      one of the things that may be left here

Rules of a loss of power: bytes are durable when an fsync of the file that began after their write
has returned; a name is durable when its directory was synced after it. Of the rest any subset may
be there: of bytes by sectors, of names one by one or, as a journal does it, in order up to a point.

Trap: an inode number is given out again when its file is gone, so a creation makes a new node.
"""

import itertools
import struct
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import NamedTuple

import msgspec

SOURCE = Path(__file__).with_name("recorder.c")
SECTOR_BYTES = 512
PAGE_BYTES = 4096
ZERO_SECTOR = bytes(SECTOR_BYTES)
TEARS = 0.05  # of the sectors that survive
MARKER_PREFIX = b"PROOF-"
_HEAD = struct.Struct("<cBHHHQQQQQ")


def compile_recorder(folder: Path) -> Path:
    """Compile the library that records into a folder."""
    library = folder / "recorder.so"
    words = ["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(library)]
    subprocess.run([*words, str(SOURCE), "-ldl", "-lpthread"], check=True, timeout=60)
    return library


class Recorder(NamedTuple):
    """Which folder is recorded, and where to."""

    library: Path
    root: Path
    log: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(self.library),
            "RECORD_ROOT": str(self.root),
            "RECORD_LOG": str(self.log),
        }


class Event(NamedTuple):
    """One record; `recorder.c` says what the kinds are. `zeros` is a length of zeros."""

    kind: str
    at_ns: int
    inode: int
    offset: int
    token: int
    path: str
    other: str
    data: bytes
    zeros: int

    @property
    def marker(self) -> int:
        """The number that left, of an event of kind O."""
        return int(self.data.removeprefix(MARKER_PREFIX))


def read_events(log: Path) -> Iterator[Event]:
    """Yield what was recorded, in order."""
    with log.open("rb") as file:
        while head := file.read(_HEAD.size):
            kind, zeros, path, other, _, at_ns, inode, offset, length, token = _HEAD.unpack(head)
            names = file.read(path).decode(), file.read(other).decode()
            data = b"" if zeros else file.read(length)
            yield Event(
                kind.decode(), at_ns, inode, offset, token, *names, data, length if zeros else 0
            )


# ---------------------------------------------------------------- files


class _Piece(msgspec.Struct, frozen=True):
    """Bytes within one sector."""

    number: int
    sector: int
    start: int
    data: bytes


class _Zeros(msgspec.Struct, frozen=True):
    number: int
    offset: int
    length: int


class _Resize(msgspec.Struct, frozen=True):
    number: int
    length: int


_Change = _Piece | _Zeros | _Resize


class Content(msgspec.Struct):
    """A file's bytes; sectors that are not there are zeros."""

    sectors: dict[int, bytes]
    size: int = 0

    def apply(self, change: _Change) -> None:
        match change:
            case _Piece(_, sector, start, data):
                old = self.sectors.get(sector, ZERO_SECTOR)
                self._put(sector, old[:start] + data + old[start + len(data) :])
                self.size = max(self.size, sector * SECTOR_BYTES + start + len(data))
            case _Zeros(_, offset, length):
                self._clear(offset, offset + length)
                self.size = max(self.size, offset + length)
            case _Resize(_, length):
                self._clear(length, self.size)
                self.size = length

    def copy(self) -> "Content":
        return Content(dict(self.sectors), self.size)

    def write_to(self, path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(self.size)
            for sector in sorted(self.sectors):
                at = sector * SECTOR_BYTES
                file.seek(at)
                file.write(self.sectors[sector][: max(0, self.size - at)])

    def _put(self, sector: int, data: bytes) -> None:
        if data == ZERO_SECTOR:
            self.sectors.pop(sector, None)
        else:
            self.sectors[sector] = data

    def _clear(self, start: int, end: int) -> None:
        if end <= start:
            return
        first, last = start // SECTOR_BYTES, (end - 1) // SECTOR_BYTES
        for sector in [s for s in self.sectors if first <= s <= last]:
            at, old = sector * SECTOR_BYTES, self.sectors[sector]
            a, b = max(0, start - at), min(SECTOR_BYTES, end - at)
            self._put(sector, old[:a] + bytes(b - a) + old[b:])


class FileNode:
    """A file: what is durable, and what was done since, in order."""

    def __init__(self) -> None:
        self.durable = Content({})
        self.changes: list[_Change] = []

    def sync(self, before: int) -> None:
        """Make durable what was done before number `before`."""
        for change in self.changes:
            if change.number < before:
                self.durable.apply(change)
        self.changes = [change for change in self.changes if change.number >= before]

    def left(self, chance: Random, odds: float, unit: int) -> Content:
        """Draw what is left; sectors of one `unit` of bytes survive together."""
        found = self.durable.copy()
        fates: dict[tuple[int, int], bool] = {}
        grown = 0
        for change in self.changes:
            where = change.sector * SECTOR_BYTES // unit if isinstance(change, _Piece) else -1
            survives = fates.setdefault((change.number, where), chance.random() < odds)
            if isinstance(change, _Piece):
                grown = max(grown, change.sector * SECTOR_BYTES + change.start + len(change.data))
            if not survives:
                continue
            found.apply(_torn(change, chance))
        if grown > found.size and chance.random() < odds:
            found.size = grown  # the length reached the disk, the bytes did not
        return found


def _torn(change: _Change, chance: Random) -> _Change:
    """Return the change, or some of its first bytes."""
    if not isinstance(change, _Piece) or chance.random() >= TEARS:
        return change
    kept = chance.randrange(len(change.data) + 1)
    return msgspec.structs.replace(change, data=change.data[:kept])


# ---------------------------------------------------------------- names


class _NameChange(msgspec.Struct, frozen=True):
    """`old` is no more (None: it was not), `new` is `node` (None: nothing)."""

    number: int
    old: str | None
    new: str | None
    node: "FileNode | DirectoryNode | None"

    def apply(self, names: "dict[str, Node]") -> None:
        if self.old is not None and names.pop(self.old, None) is None:
            return  # what it moves or removes did not survive
        if self.new is not None and self.node is not None:
            names[self.new] = self.node


class DirectoryNode:
    """A directory: its names now, its durable names, and what was done since."""

    def __init__(self) -> None:
        self.names: dict[str, Node] = {}
        self.durable: dict[str, Node] = {}
        self.changes: list[_NameChange] = []

    def change(self, change: _NameChange) -> None:
        change.apply(self.names)
        self.changes.append(change)

    def sync(self, before: int) -> None:
        for change in self.changes:
            if change.number < before:
                change.apply(self.durable)
        self.changes = [change for change in self.changes if change.number >= before]


Node = FileNode | DirectoryNode


class Tree(msgspec.Struct, frozen=True):
    """What a folder holds, ready to be written out."""

    entries: "dict[str, Content | Tree]"

    def write_to(self, folder: Path) -> None:
        folder.mkdir()
        for name, found in self.entries.items():
            found.write_to(folder / name)


# ---------------------------------------------------------------- the folder


class Platter:
    """Follows the events of one folder, made before they happen: what it holds then is durable."""

    def __init__(self, root: Path) -> None:
        self._nodes: dict[int, Node] = {}
        self.root = self._load(root)
        self._numbers = itertools.count(1)
        self._syncs: dict[int, tuple[Node, int]] = {}
        self.counts: dict[str, int] = {}

    def take(self, event: Event) -> None:
        """Let an event happen."""
        self.counts[event.kind] = self.counts.get(event.kind, 0) + 1
        acts: Mapping[str, Callable[[Event], None]] = {
            "C": self._make,
            "M": self._make,
            "U": self._remove,
            "D": self._remove,
            "R": self._rename,
            "W": self._write,
            "T": self._resize,
            "B": self._begin_sync,
            "E": self._end_sync,
            "O": lambda _: None,
        }
        acts[event.kind](event)

    def is_file(self, inode: int) -> bool:
        """Say whether an inode is a file's now."""
        return isinstance(self._nodes.get(inode), FileNode)

    def left(self, chance: Random) -> Tree:
        """Draw one of the things that a loss of power may leave."""
        odds = chance.choice((0.0, 0.1, 0.5, 0.5, 0.9, 1.0))
        unit = chance.choice((SECTOR_BYTES, PAGE_BYTES))
        reached = self._next_number()
        journal = chance.randrange(reached + 1) if chance.random() < 0.5 else None

        def survives(number: int) -> bool:
            return chance.random() < odds if journal is None else number < journal

        return _draw(self.root, survives, lambda file: file.left(chance, odds, unit))

    def seen(self) -> Tree:
        """Return what a crash of the process alone leaves: everything."""
        return _draw(self.root, lambda _: True, _all_of)

    def _load(self, folder: Path) -> DirectoryNode:
        node = DirectoryNode()
        self._nodes[folder.stat().st_ino] = node
        for found in folder.iterdir():
            if found.is_dir():
                node.durable[found.name] = self._load(found)
                continue
            file = FileNode()
            file.durable.apply(_Resize(0, found.stat().st_size))
            for piece in _pieces(0, 0, found.read_bytes()):
                file.durable.apply(piece)
            node.durable[found.name] = self._nodes[found.stat().st_ino] = file
        node.names = dict(node.durable)
        return node

    def _next_number(self) -> int:
        return next(self._numbers)

    def _place(self, path: str) -> tuple[DirectoryNode, str]:
        folder: Node = self.root
        *above, name = path.split("/")
        for part in above:
            assert isinstance(folder, DirectoryNode)
            folder = folder.names[part]
        assert isinstance(folder, DirectoryNode)
        return folder, name

    def _make(self, event: Event) -> None:
        node: Node = FileNode() if event.kind == "C" else DirectoryNode()
        self._nodes[event.inode] = node
        folder, name = self._place(event.path)
        folder.change(_NameChange(self._next_number(), None, name, node))

    def _remove(self, event: Event) -> None:
        folder, name = self._place(event.path)
        folder.change(_NameChange(self._next_number(), name, None, None))

    def _rename(self, event: Event) -> None:
        folder, name = self._place(event.path)
        target, fresh = self._place(event.other)
        assert folder is target, "no file goes from one directory to another"
        node = folder.names[name]
        folder.change(_NameChange(self._next_number(), name, fresh, node))

    def _write(self, event: Event) -> None:
        file = self._nodes[event.inode]
        assert isinstance(file, FileNode)
        number = self._next_number()
        if event.zeros:
            file.changes.append(_Zeros(number, event.offset, event.zeros))
            return
        file.changes.extend(_pieces(number, event.offset, event.data))

    def _resize(self, event: Event) -> None:
        file = self._nodes[event.inode]
        assert isinstance(file, FileNode)
        file.changes.append(_Resize(self._next_number(), event.offset))

    def _begin_sync(self, event: Event) -> None:
        self._syncs[event.token] = (self._nodes[event.inode], self._next_number())

    def _end_sync(self, event: Event) -> None:
        node, before = self._syncs.pop(event.token)
        node.sync(before)


def _pieces(number: int, at: int, data: bytes) -> Iterator[_Piece]:
    """Cut a write into sectors."""
    left = memoryview(data)
    while left:
        sector, start = divmod(at, SECTOR_BYTES)
        part = left[: SECTOR_BYTES - start]
        yield _Piece(number, sector, start, bytes(part))
        at, left = at + len(part), left[len(part) :]


def _draw(
    folder: DirectoryNode, survives: Callable[[int], bool], left: Callable[[FileNode], Content]
) -> Tree:
    names = dict(folder.durable)
    for change in folder.changes:
        if survives(change.number):
            change.apply(names)
    return Tree(
        {
            name: left(node) if isinstance(node, FileNode) else _draw(node, survives, left)
            for name, node in names.items()
        }
    )


def _all_of(file: FileNode) -> Content:
    found = file.durable.copy()
    for change in file.changes:
        found.apply(change)
    return found
