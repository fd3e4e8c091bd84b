"""Snapshots between disk and network: neither knows the other.

Disk work happens on a thread of its own, so that a slow disk never delays a heartbeat.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Executor

from faunadb.disk.snapshots import Snapshot
from faunadb.disk.transfers import Receiver, Source
from faunadb.errors import Corrupt
from faunadb.node.ports import Files
from faunadb.raft.entries import MemberId


class OutgoingSnapshot:
    """Implements `net.transfer.Source`."""

    def __init__(self, files: Files, snapshot: Snapshot, threads: Executor) -> None:
        self._source, self._threads = Source(files, snapshot), threads
        self.digest = self._source.digest
        self.manifest_block = self._source.manifest_block
        self.data_bytes = self._source.data_bytes

    async def chunk(self, offset: int) -> bytes:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._source.chunk, offset)

    async def chunks(self, offset: int) -> AsyncGenerator[bytes, None]:
        """Yield all data from `offset` on, and close."""
        try:
            whole, rest = divmod(offset, 1024 * 1024)
            at = whole * 1024 * 1024
            while at < self.data_bytes:
                data = await self.chunk(at)
                yield data[rest:]
                at, rest = at + len(data), 0
        finally:
            self.close()

    def close(self) -> None:
        self._source.close()


class IncomingSnapshots:
    """Implements `net.transfer.Sink`; `received` is told of each that is durable and whole."""

    def __init__(
        self,
        receiver: Receiver,
        threads: Executor,
        received: Callable[[MemberId, Snapshot], None],
    ) -> None:
        self._receiver, self._threads, self._received = receiver, threads, received
        self._sender = MemberId(0)

    async def begin(self, sender: MemberId, digest: bytes, manifest_block: bytes) -> int:
        self._sender = sender
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._threads, self._receiver.begin, manifest_block, digest
        )

    async def add(self, offset: int, data: bytes) -> int:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._receiver.add, offset, data)

    async def finish(self) -> bool:
        loop = asyncio.get_running_loop()
        try:
            snapshot = await loop.run_in_executor(self._threads, self._receiver.finish)
        except Corrupt:
            return False
        self._received(self._sender, snapshot)
        return True
