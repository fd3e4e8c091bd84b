"""The committed log of a running member in pieces: what `GET /log` sends.

    disk      entries that have left memory, from the segments, on a thread
    memory    the rest, in pieces so small that others have their turn between two of them

An archive that is far behind delays no heartbeat.

Trap: the log may be cut while it is sent. The stream then ends early, and the caller, who asks
again from where it is, is told `log_gone`.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator

from faunadb.api.ports import LogStream
from faunadb.disk.log_reader import oldest_index, read_committed
from faunadb.node.node import Node
from faunadb.node.ports import Files
from faunadb.node.report import Refused
from faunadb.raft.core import Core
from faunadb.raft.entries import Entry, Index
from faunadb.raft.records import encode_records

PIECE_ENTRIES_MAX = 500  # about 1 ms of the event loop
PIECE_BYTES_MAX = 256 * 1024


async def open_log(node: Node | None, files: Files, start: int) -> LogStream:
    """Open the log at entry `start`. Raises `Refused`: the member waits, or the entry is gone."""
    if node is None:
        raise Refused("waiting", "the directory is empty: init it or add it as a learner")
    core, identity = node.member.core, node.member.identity
    through = core.commit
    chunks = _from_memory(core, Index(start - 1), through)
    if start <= core.base.index:
        await chunks.aclose()
        older = read_committed(files, Index(start), PIECE_BYTES_MAX)
        piece = await asyncio.to_thread(next, older, None)
        if piece is None:
            raise await _gone(core, files, start)
        chunks = _from_disk(core, older, piece, through)
    return LogStream(
        incarnation=identity.incarnation,
        incarnation_salt=identity.incarnation_salt.hex(),
        last=through,
        chunks=chunks,
    )


async def _gone(core: Core, files: Files, start: int) -> Refused:
    """Say where the log begins: on disk, or in memory where the segments do not lead on."""
    first = core.base.index + 1
    oldest = await asyncio.to_thread(oldest_index, files)
    if oldest is not None and oldest > start:
        first = min(first, oldest)
    return Refused("log_gone", f"the log begins at {first} here", first=first)


async def _from_disk(
    core: Core, older: Iterator[list[Entry]], piece: list[Entry] | None, through: Index
) -> AsyncGenerator[bytes, None]:
    after = Index(0)
    while piece and piece[0].index <= through:
        wanted = [entry for entry in piece if entry.index <= through]
        yield await asyncio.to_thread(encode_records, wanted)
        after = wanted[-1].index
        if after >= core.base.index:
            break
        piece = await asyncio.to_thread(next, older, None)
    async for chunk in _from_memory(core, after, through):
        yield chunk


async def _from_memory(core: Core, after: Index, through: Index) -> AsyncGenerator[bytes, None]:
    while core.base.index <= after < through:
        entries = core.committed_after(
            after, through, entries_max=PIECE_ENTRIES_MAX, bytes_max=PIECE_BYTES_MAX
        )
        yield encode_records(entries)
        after = entries[-1].index
        await asyncio.sleep(0)
