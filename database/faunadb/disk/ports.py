"""What recovery and snapshots ask of whoever keeps the state: LMDB, or the simulator's map.

An engine lives in a directory of its own under the data directory. Its data are one file,
`data.mdb`, so that a snapshot is that file and a state is rebuilt by copying it.

Trap: what an engine committed is not durable; whether it may be opened again after a crash is
decided by the marks in `states.py`, never by looking at its bytes.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec

from faunadb.raft.entries import NOTHING, Configuration, EntryId
from faunadb.store.ports import KeyValue, Reader

DATA_NAME = "data.mdb"


class Description(msgspec.Struct, frozen=True):
    """What a state says of itself; `configuration` is None while nothing was applied."""

    applied: EntryId = NOTHING
    configuration: Configuration | None = None
    configuration_id: EntryId = NOTHING


Describe = Callable[[Reader], Description]


class CopyAborted(Exception):
    """The state grew too much while it was copied (SAFETY 19); try again later."""


class Engine(KeyValue, Protocol):
    """An open state."""

    def data_bytes(self) -> int:
        """Return how large the data are, free pages included."""
        ...

    def written_bytes(self) -> int:
        """Return the bytes put since the state was opened: it only grows."""
        ...

    def copy_to(self, path: str) -> None:
        """Write a consistent copy of the data to the file `path`, not synced.

        Raises `CopyAborted` when the data grow by a quarter meanwhile.
        """
        ...

    def reader_check(self) -> int:
        """Free the slots of readers whose process died; return how many."""
        ...

    def close(self) -> None: ...


class Engines(Protocol):
    """Opens states by the name of their directory."""

    def open(self, path: str) -> Engine:
        """Open the state in a directory, an empty one when there are no data yet."""
        ...

    def describe(self, path: str, describe: Describe) -> Description:
        """Open a copy read-only and let it describe itself. Raises `Corrupt`."""
        ...

    def check(self, path: str) -> int:
        """Walk all pairs of a copy and return how many. Raises `Corrupt`."""
        ...
