"""What the node asks of the world. Product and simulator implement the same protocols.

    Files       the file system under one data directory: WAL, snapshots, recovery
    Log         the write-ahead log as the node sees it: submit, be told, cut
    Snapshots   taking, sending and installing copies of the state
    Peers       the other members
    Clock       monotonic and wall time
    Chance      the seeded generator

Nobody below raises anything but OSError for I/O; an OSError from a sync is fatal (crash).
"""

from typing import Protocol

import msgspec

from faunadb.raft.entries import (
    Configuration,
    Entry,
    EntryId,
    HardState,
    Index,
    MemberId,
    SnapshotMeta,
)
from faunadb.raft.events import Token, Write
from faunadb.raft.messages import Message


class File(Protocol):
    """An open file. Offsets and lengths are bytes."""

    def pread(self, length: int, offset: int) -> bytes: ...

    def pwrite(self, data: bytes | memoryview, offset: int) -> None:
        """Write all of `data` (short writes are completed) or raise OSError."""
        ...

    def fdatasync(self) -> None: ...

    def write_out(self, length: int, offset: int) -> None:
        """Wait until a range was handed to the device; paces a later sync and promises nothing."""
        ...

    def allocate(self, length: int) -> None:
        """Fill with zeros up to `length`, really written, so that later syncs are cheap."""
        ...

    def truncate(self, length: int) -> None: ...

    def size(self) -> int: ...

    def close(self) -> None: ...


class Files(Protocol):
    """One data directory; `path` is relative to it, parts joined by "/"."""

    def open(self, path: str, *, create: bool = False) -> File:
        """Open for reading and writing. FileNotFoundError without `create`."""
        ...

    def rename(self, old: str, new: str) -> None: ...

    def remove(self, path: str) -> None:
        """Remove a file, or a directory with everything in it."""
        ...

    def make_directory(self, path: str) -> None: ...

    def list(self, path: str) -> list[str]:
        """Return the names in a directory, sorted; [] when there is none."""
        ...

    def fsync_directory(self, path: str) -> None: ...

    def free_bytes(self) -> int: ...


class LogRestart(msgspec.Struct, frozen=True):
    """Record that a snapshot up to `id` was installed: the log is void and begins after it.

    Submitted when the snapshot's directory is durable; the state is swapped after
    `persisted(token)`, and only then is the core told `SnapshotPersisted`.
    """

    token: Token
    id: EntryId


class Log(Protocol):
    """The write-ahead log. Writes are done in order by one writer; see `disk/wal.py`."""

    def submit(self, write: Write | LogRestart) -> None:
        """Queue a write; `persisted(token)` is reported later, on the event loop, in order.

        Several queued writes may become one frame and one fsync.
        """
        ...

    def cut(self, through: Index) -> None:
        """Recycle segments that hold nothing after `through`."""
        ...

    def oldest_sync_age_s(self) -> float:
        """Return for how long the fsync that is running runs, 0.0 when none."""
        ...

    def close(self) -> None: ...


class Identity(msgspec.Struct, frozen=True):
    """What a data directory is, for its life (SAFETY 22, 25)."""

    cluster_id: bytes  # 16
    member_id: MemberId
    nonce: bytes  # 16
    incarnation: int
    incarnation_salt: bytes  # 16; with the number it is the incarnation


class Recovered(msgspec.Struct, frozen=True):
    """What start-up found, already made durable again (SAFETY 14)."""

    hard_state: HardState
    snapshot: SnapshotMeta | None  # the state starts here
    entries: tuple[Entry, ...]  # after the log's first kept index, consecutive
    joined: bool  # the directory has accepted and synced an append or snapshot (SAFETY 23)
    state_applied: EntryId  # what the engine held when it was opened


class Clock(Protocol):
    def monotonic_s(self) -> float: ...

    def wall_us(self) -> int:
        """Return microseconds since 1970; may jump."""
        ...


class Chance(Protocol):
    def random(self) -> float:
        """Return a float in [0, 1)."""
        ...

    def bytes(self, count: int) -> bytes: ...


class Peers(Protocol):
    """Connections to the other members; loss and disorder between connections are normal."""

    def set_peers(self, configuration: Configuration) -> None:
        """Connect to these, forget the others."""
        ...

    def send(self, to: MemberId, message: Message) -> None:
        """Queue a consensus message; dropped when the peer's queue is full or it is away."""
        ...

    def send_node(self, to: MemberId, kind: int, body: bytes) -> bool:
        """Queue a message of the node itself (`node/wire.py`); False when `to` is not connected."""
        ...


__all__ = [
    "Chance",
    "Clock",
    "Configuration",
    "File",
    "Files",
    "Identity",
    "Log",
    "LogRestart",
    "Peers",
    "Recovered",
]
