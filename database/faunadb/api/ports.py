"""What the doors of a member ask of the node behind them.

    Database         queries and pings of clients (port 8443)
    Administration   what operators ask (port 8444, `docs/admin-api.md`)

The node satisfies these by shape: it never imports `api`. Values that travel through them are
`node.query` and `node.report`.

Trap: `Database.submit` is synchronous and may call `reply` before it returns, or much later, but
exactly once and on the event loop; there is no task per request.
"""

from collections.abc import AsyncGenerator
from typing import Literal, Protocol

import msgspec

from faunadb.node.followers import Follower
from faunadb.node.query import Query, Reply
from faunadb.node.report import (
    ClientCluster,
    ClusterReport,
    ConfigurationReport,
    InitAsked,
    InitReport,
    MemberName,
    MembershipAsked,
    OpenAsked,
    TransferAsked,
)
from faunadb.store.changes import Stretch

PingScope = Literal["node", "read", "write", "all"]


class Secret(msgspec.Struct, frozen=True):
    """A bearer secret taken apart: `secret[:db-path][:role]` (FQL.md §2)."""

    key: str
    database: tuple[str, ...] = ()
    role: str | None = None  # admin | server | server-readonly | client | @role/Name | @doc/C/1


class Database(Protocol):
    def submit(self, query: Query, reply: Reply) -> None:
        """Evaluate `query` and call `reply` once; never raises."""
        ...

    def read_here(self, query: Query, reply: Reply) -> None:
        """Answer a query for events from what this member has applied, without a leader."""
        ...

    def applied_ts(self) -> int:
        """Return the time of the last transaction that this member applied, in microseconds."""
        ...

    def watch(self, stretch: Stretch, follower: Follower) -> None:
        """Tell `follower` what each transaction writes there, from the next that is applied."""
        ...

    def unwatch(self, stretch: Stretch, follower: Follower) -> None: ...

    def ping(self, scope: PingScope) -> bool:
        """Return whether this member can serve: node always, read with data, write with leader."""
        ...

    def members(self) -> ClientCluster | None:
        """Return whom clients may ask, as far as this member knows; None while it waits."""
        ...


class SnapshotStream(msgspec.Struct, frozen=True):
    """One snapshot from an offset on: who breaks off calls `chunks.aclose()`."""

    digest: str  # hex SHA-256 of the manifest
    term: int
    index: int
    size_bytes: int  # of the whole
    chunks: AsyncGenerator[bytes, None]


class LogStream(msgspec.Struct, frozen=True):
    """Committed entries from the one that was asked for up to `last`, as records."""

    incarnation: int
    incarnation_salt: str  # 32 hex digits
    last: int  # may lie before the first one asked for: then there are none
    chunks: AsyncGenerator[bytes, None]


class Administration(Protocol):
    """All but `metrics`, `ready` raise `node.report.Refused`."""

    async def cluster(self) -> ClusterReport: ...

    async def init(self, asked: InitAsked) -> InitReport: ...

    async def open(self, asked: OpenAsked) -> None: ...

    async def membership(self, asked: MembershipAsked) -> ConfigurationReport: ...

    async def transfer(self, asked: TransferAsked) -> MemberName: ...

    async def snapshot(self, offset: int, digest: str | None, *, fresh: bool) -> SnapshotStream:
        """Open the newest verified snapshot, or exactly `digest`, at `offset` bytes.

        `fresh` takes one first, that holds everything acknowledged before the question.
        """
        ...

    async def log(self, start: int) -> LogStream:
        """Open the committed log at entry `start`, at most up to what is committed now."""
        ...

    def metrics(self) -> bytes: ...

    def ready(self) -> str:
        """Return "" when ready, else the reason in a word."""
        ...
