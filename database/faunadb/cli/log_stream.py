"""The committed log of a running member in pieces: what `GET /log` sends.

A piece is bounded, and others have their turn between two of them, so that an archive that is
far behind delays no heartbeat.

Trap: the log may leave memory while it is sent. The stream then ends early, and the caller, who
asks again from where it is, is told `log_gone`.
"""

import asyncio
from collections.abc import AsyncGenerator

from faunadb.api.ports import LogStream
from faunadb.node.node import Node
from faunadb.node.report import Refused
from faunadb.raft.core import Core
from faunadb.raft.entries import Index
from faunadb.raft.records import encode_records

PIECE_ENTRIES_MAX = 500  # about 1 ms of the event loop
PIECE_BYTES_MAX = 256 * 1024


def open_log(node: Node | None, start: int) -> LogStream:
    """Open the log at entry `start`. Raises `Refused`: the member waits, or the entry is gone."""
    if node is None:
        raise Refused("waiting", "the directory is empty: init it or add it as a learner")
    core, identity = node.member.core, node.member.identity
    first = core.base.index + 1
    if start < first:
        raise Refused("log_gone", f"the log begins at {first} here", first=first)
    return LogStream(
        incarnation=identity.incarnation,
        incarnation_salt=identity.incarnation_salt.hex(),
        last=core.commit,
        chunks=_pieces(core, Index(start - 1), core.commit),
    )


async def _pieces(core: Core, after: Index, through: Index) -> AsyncGenerator[bytes, None]:
    while core.base.index <= after < through:
        entries = core.committed_after(
            after, through, entries_max=PIECE_ENTRIES_MAX, bytes_max=PIECE_BYTES_MAX
        )
        yield encode_records(entries)
        after = entries[-1].index
        await asyncio.sleep(0)
