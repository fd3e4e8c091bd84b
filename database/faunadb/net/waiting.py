"""Where an empty member waits for the leader that adds it.

A member that was never told anything knows its cluster id and incarnation number from its
command line, and not the incarnation's random half. The first verified caller of the same
cluster that means this very member brings it; the caller then calls again.

Trap: whoever is adopted must become durable (IDENTITY) before it says its nonce to anybody;
therefore nothing is answered here.
"""

import asyncio

from faunadb.errors import Malformed
from faunadb.net.channel import Channel
from faunadb.net.frames import WIRE_VERSION, Frame, Hello, Kind, decode_hello
from faunadb.net.tls import Credentials, carries_name, clusters_of
from faunadb.raft.entries import MemberId

HANDSHAKE_S = 5.0


class WaitingRoom:
    """Listens on the peer port until somebody brings the incarnation's salt."""

    def __init__(
        self, cluster_id: bytes, incarnation: int, member: MemberId, credentials: Credentials
    ) -> None:
        self._cluster_id, self._incarnation, self._member = cluster_id, incarnation, member
        self._credentials = credentials
        self._loop = asyncio.get_running_loop()
        self.salt = b""  # of the incarnation that this member belongs to, once it is known
        self._visitors: set[Channel] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen and return the port. Raises OSError."""
        self._server = await self._loop.create_server(
            lambda: Channel(self),
            host,
            port,
            ssl=self._credentials.peer_server,
            ssl_handshake_timeout=HANDSHAKE_S,
            reuse_address=True,
        )
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    def close(self) -> None:
        """Leave the port to the member that this one has become."""
        if self._server is not None:
            self._server.close()
        for visitor in list(self._visitors):
            visitor.abort()

    # ------------------------------------------------------------ channel.Owner

    def opened(self, channel: Channel) -> None:
        self._visitors.add(channel)

    def came(self, channel: Channel, frame: Frame) -> None:
        if frame.kind is not Kind.HELLO:
            raise Malformed("a connection begins with a hello")
        hello = decode_hello(frame.body)
        if self._is_ours(hello, channel) and not self.salt:
            self.salt = hello.incarnation_salt
        channel.close()

    def lost(self, channel: Channel) -> None:
        self._visitors.discard(channel)

    def _is_ours(self, hello: Hello, channel: Channel) -> bool:
        leaf = channel.certificate
        return (
            hello.wire_version == WIRE_VERSION
            and hello.cluster_id == self._cluster_id
            and hello.incarnation == self._incarnation
            and hello.to == self._member
            and hello.member_id != self._member
            and bool(hello.incarnation_salt)
            and self._cluster_id.hex() in clusters_of(leaf)
            and carries_name(leaf, hello.name)
        )
