"""How does a packet take longer, where the kernel has no netem?

`python -m kind_test_helpers.relay LISTEN:PORT SECONDS [HOST:PORT]` hands on TCP streams, every
piece delayed by the same time in both directions; what is sent in a burst arrives in a burst, so
that only the delay changes and not the throughput. Without a target it hands on to where the
connection was going before iptables redirected it. The trap: it must not run as a pod's neighbour
in the redirected path of its own connections; redirection in PREROUTING leaves its own alone.
"""

import asyncio
import contextlib
import socket
import struct
import sys
from dataclasses import dataclass

PIECE_BYTES_MAX = 64 * 1024
PIECES_MAX = 4096  # 256 MiB under way in one direction; more waits at the sender
SO_ORIGINAL_DST = 80  # linux/netfilter_ipv4.h
CONNECT_SECONDS_MAX = 10.0


@dataclass(frozen=True, slots=True)
class Relay:
    """Where to, and how late; no target means the redirected connection's own."""

    delay: float  # seconds, one way
    target: tuple[str, int] | None = None

    async def serve(self, host: str, port: int) -> None:
        """Accept connections until cancelled."""
        server = await asyncio.start_server(self.hand_on, host, port)
        async with server:
            await server.serve_forever()

    async def hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hand on one connection until either side ends it."""
        host, port = self.target or original_target(writer.get_extra_info("socket"))
        try:
            async with asyncio.timeout(CONNECT_SECONDS_MAX):
                far_reader, far_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.transport.abort()
            return
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._one_way(reader, far_writer))
                group.create_task(self._one_way(far_reader, writer))
        except* OSError:
            pass
        finally:
            for each in (writer, far_writer):
                each.transport.abort()

    async def _one_way(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(PIECES_MAX)
        now = asyncio.get_running_loop().time

        async def receive() -> None:
            piece = b"-"
            while piece:
                piece = await reader.read(PIECE_BYTES_MAX)
                await pieces.put((now() + self.delay, piece))

        async def send() -> None:
            while True:
                due, piece = await pieces.get()
                await asyncio.sleep(due - now())
                if not piece:
                    with contextlib.suppress(OSError):
                        writer.write_eof()
                    return
                writer.write(piece)
                await writer.drain()

        async with asyncio.TaskGroup() as group:
            group.create_task(receive())
            group.create_task(send())


def original_target(connection: socket.socket) -> tuple[str, int]:
    """Where a redirected connection was going."""
    packed = connection.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
    port, address = struct.unpack("!2xH4s8x", packed)
    return socket.inet_ntoa(address), port


def address_of(text: str) -> tuple[str, int]:
    """Split `host:port`.

    >>> address_of("127.0.0.1:80")
    ('127.0.0.1', 80)
    """
    host, _, port = text.rpartition(":")
    return host, int(port)


def main(listen: str, seconds: str, target: str | None = None) -> None:
    """Relay until killed."""
    host, port = address_of(listen)
    relay = Relay(float(seconds), address_of(target) if target else None)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(relay.serve(host, port))


if __name__ == "__main__":
    main(*sys.argv[1:])
