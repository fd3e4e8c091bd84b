"""The client port: one raw protocol for HTTP/1.1 and cleartext HTTP/2 (prior knowledge).

The first bytes decide: the preface of HTTP/2 goes to h2, everything else to httptools.

Trap: `connection_lost` is the only end of a connection; answers to its requests may come later
and must find nobody.
"""

import asyncio
from typing import cast

from faunadb.api.auth import Authenticator
from faunadb.api.http1 import Http1
from faunadb.api.http2 import Http2
from faunadb.api.hub import Hub
from faunadb.api.limits import Limits
from faunadb.api.ports import Database
from faunadb.api.routes import Routes
from faunadb.api.streams import Streams

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_BACKLOG = 1024
_SWEEP_S = 1.0
_WRITE_BUFFER_BYTES = 256 * 1024  # beyond it a client counts as one that does not read


class Front:
    """The client API of one member. `start`, then `drain` and `close`."""

    def __init__(
        self, database: Database, authenticator: Authenticator, limits: Limits | None = None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        limits = limits or Limits()
        routes = Routes(database, authenticator, Streams(database, limits))
        self.hub = Hub(routes, limits, self._loop.time)
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port (of use when 0 was asked). Raises OSError."""
        self._server = await self._loop.create_server(
            lambda: _Connection(self.hub, self._connections),
            host,
            port,
            backlog=_BACKLOG,
            reuse_address=True,
        )
        self._sweep()
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def drain(self, timeout_s: float) -> bool:
        """Accept nobody, answer what was asked, and say whether all of it was answered."""
        assert self._server is not None
        self._server.close()
        self.hub.draining = True
        self.hub.streams.cut_all()
        self._sweep_once()
        give_up_s = self._loop.time() + timeout_s
        while self.hub.requests_in_flight and self._loop.time() < give_up_s:  # noqa: ASYNC110 - once
            await asyncio.sleep(0.005)
        return not self.hub.requests_in_flight

    async def close(self) -> None:
        """End all connections at once."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.abort()
        while self._connections:  # noqa: ASYNC110 - once in a process
            await asyncio.sleep(0)

    def _sweep(self) -> None:
        self._sweep_once()
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)

    def _sweep_once(self) -> None:
        now_s = self._loop.time()
        self.hub.streams.sweep(now_s)
        for connection in list(self._connections):
            connection.expire(now_s)


class _Connection(asyncio.Protocol):
    """Carries bytes between a socket and whichever protocol they turn out to be."""

    def __init__(self, hub: Hub, connections: "set[_Connection]") -> None:
        self._hub, self._connections = hub, connections
        self._transport: asyncio.Transport | None = None
        self._speaks: Http1 | Http2 | None = None
        self._first = b""
        self._began_s = hub.now_s()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the shape of asyncio.Transport and not its class
        self._transport = transport = cast("asyncio.Transport", transport)
        if len(self._connections) >= self._hub.limits.connections_max or self._hub.draining:
            transport.abort()
            return
        self._connections.add(self)
        self._hub.connections = len(self._connections)
        transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)

    def data_received(self, data: bytes) -> None:
        if self._speaks is not None:
            self._speaks.feed(data)
            return
        assert self._transport is not None
        self._first += data
        if self._first.startswith(_PREFACE):
            self._speaks = Http2(self._hub, self._transport)
        elif self._first.startswith(b"PRI ") and not _PREFACE.startswith(self._first):
            self._speaks = http1 = Http1(self._hub, self._transport)
            http1.refuse()
        elif not _PREFACE.startswith(self._first):
            self._speaks = Http1(self._hub, self._transport)
        else:
            return
        first, self._first = self._first, b""
        self._speaks.feed(first)

    def eof_received(self) -> bool:
        """A client that only half closes still gets its answer."""
        return self._speaks is not None and isinstance(self._speaks, Http1) and self._speaks.eof()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        self._connections.discard(self)
        self._hub.connections = len(self._connections)
        if self._speaks is not None:
            self._speaks.lost()

    def pause_writing(self) -> None:
        if self._speaks is not None:
            self._speaks.pause()

    def resume_writing(self) -> None:
        if self._speaks is not None:
            self._speaks.resume()

    def expire(self, now_s: float) -> None:
        if self._speaks is not None:
            self._speaks.expire(now_s)
        elif now_s - self._began_s > self._hub.limits.request_s or self._hub.draining:
            self.abort()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
