"""A reader for long work: it never holds one state of the store for long.

One open reader makes LMDB's file grow while others write (SAFETY 19). This one gives it back
every half second and goes on behind the last key. Versions at or before a query's timestamp do
not change, so a read at an applied timestamp sees one state throughout; effects for the leader
are validated anyway.

Trap: a program may compute for minutes between two reads. Another thread has to call
`give_back_if_old` now and then; that, and nothing else here, may be called from there.
"""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager

from faunadb.node.ports import Clock
from faunadb.store.ports import KeyValue, Reader

SLICE_S = 0.5


class SlicedReader:
    """Implements `store.ports.Reader` over readers that live half a second each."""

    def __init__(self, kv: KeyValue, clock: Clock) -> None:
        self._kv, self._clock = kv, clock
        self._lock = threading.Lock()  # around each single use of what is open
        self._context: AbstractContextManager[Reader] | None = None
        self._reader: Reader | None = None
        self._since_s = 0.0

    def get(self, key: bytes) -> bytes | None:
        with self._lock:
            return self._now().get(key)

    def scan(
        self, start: bytes, end: bytes | None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        reader: Reader | None = None
        rows: Iterator[tuple[bytes, bytes]] = iter(())
        while True:
            with self._lock:
                now = self._now()
                if now is not reader:
                    reader = now
                    rows = reader.scan(start, end, reverse=reverse)
                pair = next(rows, None)
            if pair is None:
                return
            yield pair
            if reverse:
                end = pair[0]
            else:
                start = pair[0] + b"\0"

    def give_back_if_old(self) -> None:
        """Give back what is open for too long; safe in any thread."""
        with self._lock:
            if self._is_old():
                self._close()

    def close(self) -> None:
        """Give back what is open."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._context is not None:
            self._context.__exit__(None, None, None)
            self._context = self._reader = None

    def _now(self) -> Reader:
        if self._is_old():
            self._close()
        if self._reader is None:
            self._context = self._kv.read()
            self._reader = self._context.__enter__()
            self._since_s = self._clock.monotonic_s()
        return self._reader

    def _is_old(self) -> bool:
        return self._clock.monotonic_s() - self._since_s >= SLICE_S
