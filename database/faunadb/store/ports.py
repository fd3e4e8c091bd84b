"""What the store asks of whoever keeps the bytes: an ordered map with transactions.

LMDB implements it in the product (`disk/engine.py`), a map that can crash to its last sync in
the simulator. Keys are at most `KEY_BYTES_MAX`; longer ones are hashed by `store.keys`.

Trap: a reader pins pages. None may live longer than 1 s (SAFETY 19): slice long work, and
open a new reader at the same snapshot timestamp.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

KEY_BYTES_MAX = 511  # LMDB's compiled-in limit


class Reader(Protocol):
    """One consistent state. `None` as `end` means to the last key."""

    def get(self, key: bytes) -> bytes | None: ...

    def scan(
        self, start: bytes, end: bytes | None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield pairs with start <= key < end in order of key bytes, descending if `reverse`."""
        ...


class Writer(Reader, Protocol):
    """A write transaction: sees its own writes; leaving the context normally commits."""

    def put_many(self, pairs: Iterable[tuple[bytes, bytes]]) -> None: ...

    def delete_many(self, keys: Iterable[bytes]) -> None: ...


class KeyValue(Protocol):
    """One writer at a time; readers never wait for it. Commits are atomic, not durable."""

    def read(self) -> AbstractContextManager[Reader]: ...

    def write(self) -> AbstractContextManager[Writer]: ...

    def force_sync(self) -> None:
        """Make everything committed durable. Raises OSError: the caller must crash."""
        ...
