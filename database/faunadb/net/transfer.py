"""A snapshot on its way between members: its own connection, one chunk under way.

    caller    BEGIN(digest, manifest)        CHUNK(offset, data) …        END
    receiver          WANT(offset)      WANT(next offset)            DONE(1 | 0)

Stop and wait: the receiver's disk sets the pace, the sender's limit caps it, and a heartbeat
never stands behind more than one chunk of ours. Chunks carry the frame's CRC32C and are checked
against the manifest again by the sink.

Trap: the sink decides from which offset it wants; a sender starts nowhere else.
"""

import asyncio
from typing import Protocol

from faunadb.errors import Malformed
from faunadb.net.channel import Channel
from faunadb.net.frames import (
    Frame,
    Kind,
    decode_begin,
    decode_chunk,
    encode_body,
    encode_chunk,
)
from faunadb.raft.entries import MemberId

STEP_S = 60.0  # a receiver that walks a whole tree before DONE takes long


class Source(Protocol):
    """A snapshot to send; `chunk` may block in a thread of its own."""

    digest: bytes
    manifest_block: bytes
    data_bytes: int

    async def chunk(self, offset: int) -> bytes: ...


class Sink(Protocol):
    """Takes snapshots. Raises `Malformed` (nothing else) for what cannot be."""

    async def begin(self, sender: MemberId, digest: bytes, manifest_block: bytes) -> int:
        """Return the offset from which data are wanted."""
        ...

    async def add(self, offset: int, data: bytes) -> int:
        """Return the offset of the next chunk."""
        ...

    async def finish(self) -> bool:
        """Verify and make it durable; False when the transfer must start again."""
        ...


class Frames:
    """The frames of one channel, awaited one by one; more than a few at once are refused."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Frame | None] = asyncio.Queue(4)

    def put(self, frame: Frame | None) -> None:
        """Queue a frame, or the end (None). Raises `Malformed` when nobody asked for so many."""
        try:
            self._queue.put_nowait(frame)
        except asyncio.QueueFull:
            if frame is not None:
                raise Malformed("more frames than were asked for") from None

    async def next(self, timeout_s: float) -> Frame:
        """Return the next frame. Raises ConnectionError at the end, TimeoutError."""
        async with asyncio.timeout(timeout_s):
            frame = await self._queue.get()
        if frame is None:
            raise ConnectionError("the connection is gone")
        return frame


async def send(channel: Channel, frames: Frames, source: Source, bytes_per_s: float) -> bool:
    """Send all of `source`; whether the receiver has it whole. Raises OSError, TimeoutError."""
    loop = asyncio.get_running_loop()
    channel.send(Kind.SNAPSHOT_BEGIN, encode_body((source.digest, source.manifest_block)))
    offset = await _wanted(frames)
    while offset < source.data_bytes:
        began_s = loop.time()
        data = await source.chunk(offset)
        channel.send(Kind.SNAPSHOT_CHUNK, encode_chunk(offset, data))
        wanted = await _wanted(frames)
        if wanted <= offset:
            return False
        offset = wanted
        await asyncio.sleep(max(0.0, began_s + len(data) / bytes_per_s - loop.time()))
    channel.send(Kind.SNAPSHOT_END, b"")
    done = await frames.next(STEP_S * 10)
    return done.kind is Kind.SNAPSHOT_DONE and done.body == b"\x01"


async def receive(channel: Channel, frames: Frames, sender: MemberId, sink: Sink) -> None:
    """Take one snapshot into `sink`, then close. Whatever goes wrong ends the connection."""
    try:
        whole = await _receive(channel, frames, sender, sink)
    except (Malformed, OSError, TimeoutError):
        channel.abort()
        return
    channel.send(Kind.SNAPSHOT_DONE, b"\x01" if whole else b"\x00")
    channel.close()


async def _receive(channel: Channel, frames: Frames, sender: MemberId, sink: Sink) -> bool:
    begin = await frames.next(STEP_S)
    if begin.kind is not Kind.SNAPSHOT_BEGIN:
        raise Malformed("a snapshot does not begin so")
    wanted = await sink.begin(sender, *decode_begin(begin.body))
    channel.send(Kind.SNAPSHOT_WANT, encode_chunk(wanted))
    while (frame := await frames.next(STEP_S)).kind is Kind.SNAPSHOT_CHUNK:
        wanted = await sink.add(*decode_chunk(frame.body))
        channel.send(Kind.SNAPSHOT_WANT, encode_chunk(wanted))
    if frame.kind is not Kind.SNAPSHOT_END:
        raise Malformed("a snapshot does not end so")
    return await sink.finish()


async def _wanted(frames: Frames) -> int:
    frame = await frames.next(STEP_S)
    if frame.kind is not Kind.SNAPSHOT_WANT:
        raise ConnectionError("the receiver wants nothing of it")
    return decode_chunk(frame.body)[0]
