"""A reader for long work: it never holds one state of the store for long.

One open reader makes LMDB's file grow while others write (SAFETY 19). This one gives it back
every half second and goes on behind the last key. Versions at or before a query's timestamp do
not change, so a read at an applied timestamp sees one state throughout; effects for the leader
are validated anyway.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager

from faunadb.node.ports import Clock
from faunadb.store.ports import KeyValue, Reader

SLICE_S = 0.5
ROWS_BETWEEN_LOOKS = 256


class SlicedReader:
    """Implements `store.ports.Reader` over readers that live half a second each."""

    def __init__(self, kv: KeyValue, clock: Clock) -> None:
        self._kv, self._clock = kv, clock
        self._context: AbstractContextManager[Reader] | None = None
        self._reader: Reader | None = None
        self._since_s = 0.0
        self._calls = 0

    def get(self, key: bytes) -> bytes | None:
        self._calls += 1
        if self._calls % ROWS_BETWEEN_LOOKS == 0:
            self._look()
        return self._now().get(key)

    def scan(
        self, start: bytes, end: bytes | None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        while True:
            reader, rows = self._now(), 0
            last: bytes | None = None
            for pair in reader.scan(start, end, reverse=reverse):
                yield pair
                last, rows = pair[0], rows + 1
                if self._reader is not reader or (rows % ROWS_BETWEEN_LOOKS == 0 and self._look()):
                    break
            else:
                return
            assert last is not None
            if reverse:
                end = last
            else:
                start = last + b"\0"

    def close(self) -> None:
        """Give back what is open."""
        if self._context is not None:
            self._context.__exit__(None, None, None)
            self._context = self._reader = None

    def _now(self) -> Reader:
        if self._reader is None:
            self._context = self._kv.read()
            self._reader = self._context.__enter__()
            self._since_s = self._clock.monotonic_s()
        return self._reader

    def _look(self) -> bool:
        """Give the reader back when it is old; return whether."""
        if self._clock.monotonic_s() - self._since_s < SLICE_S:
            return False
        self.close()
        return True
