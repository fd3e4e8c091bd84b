"""Many clients from one process: raw HTTP/1.1 over kept connections, one query at a time each."""

import asyncio
import itertools
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import uvloop

WARM_S = 1.0
LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True)
class Figures:
    """What one run came to; latencies in ms."""

    per_second: float
    p50_ms: float
    p99_ms: float
    failed: int


def request(template: list[object]) -> bytes:
    """Return the bytes of one query."""
    body = json.dumps({"query": {"fql": template}}, separators=(",", ":")).encode()
    head = (
        "POST /query/1 HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer secret\r\n"
        f"x-format: tagged\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Client(asyncio.Protocol):
    """Asks the next query as soon as the last is answered."""

    def __init__(self, requests: Iterator[bytes]) -> None:
        self._requests, self._buffer = requests, b""
        self._began_s = 0.0
        self.times: list[float] = []
        self.failed = 0
        self.stopped = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(HEAD_END)
        if head < 0:
            return
        length = LENGTH.search(self._buffer, 0, head + 2)
        if length is None or len(self._buffer) < head + 4 + int(length[1]):
            return
        self.times.append(time.perf_counter() - self._began_s)
        self.failed += not self._buffer.startswith(b"HTTP/1.1 200")
        self._buffer = b""
        if not self.stopped:
            self._ask()

    def _ask(self) -> None:
        self._began_s = time.perf_counter()
        self.transport.write(next(self._requests))


def run(
    places: Sequence[tuple[str, int]],
    clients_count: int,
    requests: Callable[[], Iterator[bytes]],
    seconds: float,
) -> Figures:
    """Keep `clients_count` queries under way, spread over `places`."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(places, clients_count, requests, seconds))


async def _run(
    places: Sequence[tuple[str, int]],
    clients_count: int,
    requests: Callable[[], Iterator[bytes]],
    seconds: float,
) -> Figures:
    loop = asyncio.get_running_loop()
    clients = []
    for _, (host, port) in zip(range(clients_count), itertools.cycle(places), strict=False):
        _, client = await loop.create_connection(lambda: Client(requests()), host, port)
        clients.append(client)
    await asyncio.sleep(WARM_S)
    for client in clients:
        client.times.clear()
        client.failed = 0
    began_s = time.perf_counter()
    await asyncio.sleep(seconds)
    took_s = time.perf_counter() - began_s
    times = sorted(itertools.chain.from_iterable(client.times for client in clients))
    failed = sum(client.failed for client in clients)
    for client in clients:
        client.stopped = True
    await asyncio.sleep(0.5)  # what is under way ends
    for client in clients:
        client.transport.close()
    return Figures(
        round((len(times) - failed) / took_s, 1),
        round(times[len(times) // 2] * 1e3, 2),
        round(times[int(len(times) * 0.99)] * 1e3, 2),
        failed,
    )
