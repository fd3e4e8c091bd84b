"""Frames over one connection: cut what comes in, join what goes out.

Everything sent in one turn of the event loop leaves in one write. A queue that grows beyond its
bytes takes no more: losing a message is normal to consensus, growing without end is not.

Trap: a connection that was lost answers no more; `closed` is final.
"""

import asyncio
from typing import Any, Protocol, cast

from faunadb.errors import Malformed
from faunadb.net.frames import FRAME_BYTES_MAX, Frame, FrameReader, Kind, encode_frame

PATIENCE_S = 0.001  # how long a frame that is not urgent waits for one that is
QUEUE_BYTES_MAX = 32 * 1024 * 1024  # two of the largest messages wait


class Owner(Protocol):
    """Whoever uses a channel."""

    def opened(self, channel: "Channel") -> None: ...

    def came(self, channel: "Channel", frame: Frame) -> None:
        """Raises `Malformed` for what cannot be; the connection ends then."""
        ...

    def lost(self, channel: "Channel") -> None: ...


class Channel(asyncio.Protocol):
    """One connection to or from a member."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader = FrameReader()
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._scheduled = self._paused = False
        self._patience: asyncio.TimerHandle | None = None
        self.closed = False
        self.heard_s = self._loop.time()

    @property
    def certificate(self) -> dict[str, Any] | None:
        """Return the verified leaf of the other side."""
        if self._transport is None:
            return None
        found: dict[str, Any] | None = self._transport.get_extra_info("peercert")
        return found

    def trust(self) -> None:
        """The other side is known: frames of full size are welcome from here on."""
        self._reader.body_bytes_max = FRAME_BYTES_MAX

    def send(self, kind: Kind, body: bytes, *, urgent: bool = True) -> bool:
        """Queue a frame; False when it was dropped. Frames leave in the order of the calls.

        One that is not urgent leaves with the next one that is, or after a millisecond.
        """
        if self.closed or self._out_bytes + len(body) > QUEUE_BYTES_MAX:
            return False
        frame = encode_frame(kind, body)
        self._out.append(frame)
        self._out_bytes += len(frame)
        if self._paused or self._scheduled:
            return True
        if urgent:
            self._scheduled = True
            self._loop.call_soon(self._flush)
        elif self._patience is None:
            self._patience = self._loop.call_later(PATIENCE_S, self._flush)
        return True

    def close(self) -> None:
        """Send what is queued, then close."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _flush(self) -> None:
        self._scheduled = False
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if self._transport is None or self.closed or self._paused or not self._out:
            return
        frames, self._out, self._out_bytes = self._out, [], 0
        self._transport.write(b"".join(frames))

    # ------------------------------------------------------------ asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the shape of asyncio.Transport and not its class
        self._transport = cast("asyncio.Transport", transport)
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        self.heard_s = self._loop.time()
        try:
            for frame in self._reader.feed(data):
                if not self.closed:
                    self._owner.came(self, frame)
        except Malformed:
            self.abort()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        self.closed = True
        self._flush()
        self._out.clear()
        self._owner.lost(self)
