"""Requests a second of the client port alone: a database that answers at once, loopback.

    python bench/front.py [--connections 64] [--seconds 3] [--pipeline 1]

The load comes from a process of its own over raw sockets, so that on two cores the figure is the
server's. Prints one JSON line per protocol.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import sys
import time
from pathlib import Path
from typing import cast

import h2.config
import h2.connection
import h2.events
import uvloop

from faunadb.api.auth import Authenticator
from faunadb.api.front import Front
from faunadb.api.ports import PingScope
from faunadb.codec import Answer
from faunadb.node.query import Query, Reply

BODY = b'{"query":{"fql":["Person.byId(",{"value":"101"},")"]},"arguments":{}}'
ANSWER = Answer(200, b'{"@int":"42"}', "", 1_700_000_000_000_000, 1)
HEAD = (
    b"POST /query/1 HTTP/1.1\r\nhost: localhost:8443\r\nauthorization: Bearer secret\r\n"
    b"accept-encoding: gzip\r\ncontent-type: application/json;charset=utf-8\r\n"
    b"x-format: tagged\r\nx-last-txn-ts: 1700000000000000\r\nx-driver: python\r\n"
    b"content-length: %d\r\n\r\n"
)


class NoDatabase:
    def submit(self, query: Query, reply: Reply) -> None:  # noqa: ARG002 - a port
        reply(ANSWER)

    def ping(self, scope: PingScope) -> bool:
        return scope != "all"


async def serve(port: "multiprocessing.Queue[int]") -> None:
    front = Front(NoDatabase(), Authenticator("secret"))
    port.put(await front.start("127.0.0.1", 0))
    await asyncio.Event().wait()


def run_server(port: "multiprocessing.Queue[int]") -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(port))


class Http1Load(asyncio.Protocol):
    """Keeps `pipeline` requests under way on one connection."""

    answered = 0

    def __init__(self, pipeline: int) -> None:
        self._request = HEAD % len(BODY) + BODY
        self._pipeline = pipeline

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance
        self._transport = transport
        transport.write(self._request * self._pipeline)

    def data_received(self, data: bytes) -> None:
        count = data.count(b"HTTP/1.1 200")
        self.answered += count
        self._transport.write(self._request * count)


class Http2Load(asyncio.Protocol):
    """Keeps `pipeline` streams under way on one connection."""

    answered = 0

    def __init__(self, pipeline: int) -> None:
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self._pipeline = pipeline

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance
        self._transport = transport
        self._h2.initiate_connection()
        for _ in range(self._pipeline):
            self._ask()
        transport.write(self._h2.data_to_send())

    def _ask(self) -> None:
        stream = self._h2.get_next_available_stream_id()
        headers = [
            (":method", "POST"),
            (":path", "/query/1"),
            (":scheme", "http"),
            (":authority", "localhost"),
            ("authorization", "Bearer secret"),
            ("x-format", "tagged"),
        ]
        self._h2.send_headers(stream, headers)
        self._h2.send_data(stream, BODY, end_stream=True)

    def data_received(self, data: bytes) -> None:
        for event in self._h2.receive_data(data):
            if isinstance(event, h2.events.DataReceived):
                self._h2.acknowledge_received_data(
                    event.flow_controlled_length or 0, event.stream_id or 0
                )
            elif isinstance(event, h2.events.StreamEnded):
                self.answered += 1
                self._ask()
        self._transport.write(self._h2.data_to_send())


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def load(
    kind: type[Http1Load | Http2Load], port: int, pid: int, options: argparse.Namespace
) -> tuple[float, float]:
    """Return requests a second, and the server's processor time for each in µs."""
    loop = asyncio.get_running_loop()
    clients = []
    for _ in range(options.connections):
        _, client = await loop.create_connection(lambda: kind(options.pipeline), "127.0.0.1", port)
        clients.append(client)
    await asyncio.sleep(0.5)
    before, began, used_s = sum(c.answered for c in clients), time.monotonic(), cpu_s(pid)
    await asyncio.sleep(options.seconds)
    answered = sum(c.answered for c in clients) - before
    spent_us = (cpu_s(pid) - used_s) * 1e6 / max(1, answered)
    return answered / (time.monotonic() - began), spent_us


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--pipeline", type=int, default=1)
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    ports: multiprocessing.Queue[int] = spawn.Queue()
    server = spawn.Process(target=run_server, args=(ports,), daemon=True)
    server.start()
    port = ports.get(timeout=20)
    try:
        for name, kind in (("http1", Http1Load), ("h2c", Http2Load)):
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                assert server.pid is not None
                figure, cpu_us = runner.run(load(kind, port, server.pid, options))
            line = {
                "bench": "front",
                "protocol": name,
                "connections": options.connections,
                "pipeline": options.pipeline,
                "requests_per_s": round(figure),
                "server_cpu_us_per_request": round(cpu_us, 1),
            }
            sys.stdout.write(json.dumps(line) + "\n")
    finally:
        server.kill()


if __name__ == "__main__":
    main()
