"""The port `KeyValue` in memory: commits are atomic, and one may be made to fail."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from sortedcontainers import SortedDict


class Crash(Exception):
    """The process died in the middle of a write transaction."""


class MemoryTransaction:
    """One state; a writer works on a copy of its own."""

    def __init__(self, pairs: "SortedDict[bytes, bytes]") -> None:
        self.pairs = pairs

    def get(self, key: bytes) -> bytes | None:
        found: bytes | None = self.pairs.get(key)
        return found

    def scan(
        self, start: bytes, end: bytes | None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        for key in self.pairs.irange(start, end, (True, False), reverse):
            yield key, self.pairs[key]

    def put_many(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        for key, value in pairs:
            assert len(key) <= 511
            assert isinstance(value, bytes)
            self.pairs[key] = value

    def delete_many(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            self.pairs.pop(key, None)


class MemoryKeyValue:
    """`commits_left` counts down to a `Crash` that comes before the commit."""

    def __init__(self) -> None:
        self.pairs: SortedDict[bytes, bytes] = SortedDict()
        self.commits_left: int | None = None

    @contextmanager
    def read(self) -> Iterator[MemoryTransaction]:
        yield MemoryTransaction(self.pairs)

    @contextmanager
    def write(self) -> Iterator[MemoryTransaction]:
        transaction = MemoryTransaction(self.pairs.copy())
        yield transaction
        if self.commits_left is not None:
            if self.commits_left == 0:
                raise Crash
            self.commits_left -= 1
        self.pairs = transaction.pairs

    def force_sync(self) -> None:
        """Memory has nothing to sync."""
