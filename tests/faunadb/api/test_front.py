"""The client port over real sockets: both protocols, limits, clients that misbehave."""

import contextlib
import json
import os
import random
import socket
import time
from collections.abc import Callable, Iterator

import h2.config
import h2.connection
import h2.events
import h2.settings
import httpx
import pytest
from fauna import fql
from fauna.client import Client
from fauna.errors import AuthenticationError, QueryCheckError

from faunadb.api.limits import Limits
from front_test_helpers import Running, query_body, running

FUZZ = int(os.environ.get("FAUNA_FUZZ", "150"))
HANG_S = 10.0
AUTH = {"authorization": "Bearer secret"}


@contextlib.contextmanager
def connected(server: Running) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=HANG_S) as sock:
        yield sock


def until_closed(sock: socket.socket) -> bytes:
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := sock.recv(65536):
            received += piece
    return received


def http1_query(text: str = "1", extra: bytes = b"") -> bytes:
    body = query_body(text)
    return (
        b"POST /query/1 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer secret\r\n%s"
        b"content-length: %d\r\n\r\n%s"
    ) % (extra, len(body), body)


def still_answers(server: Running) -> None:
    with httpx.Client() as client:
        assert 200 == client.get(f"{server.url}/ping", timeout=HANG_S).status_code


@pytest.mark.parametrize("http2", [False, True])
def test_a_query_is_answered_over_both_protocols(server: Running, http2: bool) -> None:
    """The same body comes back whatever HTTP the request came by."""
    with httpx.Client(http1=not http2, http2=http2, timeout=HANG_S) as client:
        answer = client.post(f"{server.url}/query/1", headers=AUTH, content=query_body("1 + 1"))

    assert 200 == answer.status_code
    assert ("HTTP/2" if http2 else "HTTP/1.1") == answer.http_version
    body = answer.json()
    assert ["1 + 1"] == body["data"]
    assert 1_700_000_000_000_001 == body["txn_ts"]
    assert 1_600_000_000_000_000 == body["schema_version"]
    assert 0 == body["stats"]["read_ops"]


@pytest.mark.parametrize("http2", [False, True])
def test_the_official_driver_is_answered(server: Running, http2: bool) -> None:
    """Python's driver sends a composed query and reads the answer, over either protocol."""
    from fauna.http.httpx_client import HTTPXClient  # noqa: PLC0415 - only here

    with httpx.Client(http1=not http2, http2=http2, timeout=HANG_S) as transport:
        client = Client(
            endpoint=server.url,
            secret="secret",
            http_client=HTTPXClient(transport),
            query_tags={"app": "test"},
        )
        result = client.query(fql("Person.byId(${id})", id="7"))
        assert ["Person.byId(\0" + "0\0)", "7"] == result.data
        assert {"app": "test"} == result.query_tags
        assert 1_700_000_000_000_001 == client.get_last_txn_ts()
        client.query(fql("1"))

    assert [0, 1_700_000_000_000_001] == [query.last_txn_ts for query in server.database.asked]
    assert {"tagged"} == {query.format for query in server.database.asked}


def test_the_official_driver_understands_refusals(server: Running) -> None:
    """A wrong secret and a wrong value reach the caller as the driver's own errors."""
    with pytest.raises(AuthenticationError):
        Client(endpoint=server.url, secret="wrong").query(fql("1"))
    body = json.dumps({"query": {"fql": [{"value": 1}]}})
    answer = httpx.post(f"{server.url}/query/1", headers=AUTH, content=body)
    assert 400 == answer.status_code
    assert "invalid_query" == answer.json()["error"]["code"]
    assert "numbers must be tagged" in answer.json()["summary"]
    assert issubclass(QueryCheckError, Exception)


def test_a_body_may_come_in_chunks(server: Running) -> None:
    """Chunked transfer encoding is read like any body."""

    def pieces() -> Iterator[bytes]:
        for byte in query_body("1 + 1"):
            yield bytes([byte])

    answer = httpx.post(f"{server.url}/query/1", headers=AUTH, content=pieces())

    assert ["1 + 1"] == answer.json()["data"]


def test_pipelined_requests_are_answered_in_order(server: Running) -> None:
    """A thousand requests in one piece get a thousand answers in order."""
    with connected(server) as sock:
        last = http1_query("999", b"connection: close\r\n")
        sock.sendall(b"".join(http1_query(str(n)) for n in range(999)) + last)
        received = until_closed(sock)

    answers = [part.split(b'"],', 1)[0] for part in received.split(b'{"data":["')[1:]]
    assert [str(n).encode() for n in range(1000)] == answers


def test_a_client_may_half_close_after_asking(server: Running) -> None:
    """Who sends no more still gets the answer."""
    with connected(server) as sock:
        sock.sendall(http1_query())
        sock.shutdown(socket.SHUT_WR)
        assert until_closed(sock).startswith(b"HTTP/1.1 200 OK\r\n")


def test_an_upgrade_is_declined_by_answering(server: Running) -> None:
    """Clients that offer h2c by an upgrade (Java does) are answered in HTTP/1.1."""
    upgrade = b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAM\r\n"
    with connected(server) as sock:
        sock.sendall(http1_query("1", upgrade) + http1_query("2", b"connection: close\r\n"))
        assert 2 == until_closed(sock).count(b"HTTP/1.1 200 OK")


def test_expect_is_answered_before_the_body(server: Running) -> None:
    """A client that waits for 100 Continue is told to go on."""
    body = query_body("1")
    with connected(server) as sock:
        sock.sendall(
            b"POST /query/1 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer secret\r\n"
            b"expect: 100-continue\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        )
        assert sock.recv(1000).startswith(b"HTTP/1.1 100")
        sock.sendall(body)
        assert until_closed(sock).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("http2", [False, True])
def test_a_body_over_the_limit_is_413(http2: bool) -> None:
    """The limit is told, the connection to others stays, and nothing is kept."""
    with (
        running(Limits(request_bytes_max=100_000)) as server,
        httpx.Client(http1=not http2, http2=http2, timeout=HANG_S) as client,
    ):
        answer = client.post(f"{server.url}/query/1", headers=AUTH, content=b"x" * 100_001)
        assert 413 == answer.status_code
        assert {
            "error": {
                "code": "request_size_exceeded",
                "message": "Request entity is too large",
            }
        } == answer.json()
        still_answers(server)
        assert 0 == server.front.hub.bodies_bytes
        assert [] == server.database.asked


def test_a_chunked_body_over_the_limit_is_413() -> None:
    """A body whose length nobody announced is bounded too."""
    with running(Limits(request_bytes_max=100_000)) as server, connected(server) as sock:
        sock.sendall(
            b"POST /query/1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
            b"ffff\r\n" + b"x" * 0xFFFF + b"\r\nffff\r\n" + b"x" * 0xFFFF + b"\r\n"
        )
        assert until_closed(sock).startswith(b"HTTP/1.1 413")
        assert 0 == server.front.hub.bodies_bytes


def test_half_read_bodies_share_one_limit() -> None:
    """Many clients that never finish cannot fill the memory: the next one is told to wait."""
    with running(Limits(bodies_bytes_max=100_000)) as server, contextlib.ExitStack() as stack:
        head = b"POST /query/1 HTTP/1.1\r\nhost: x\r\ncontent-length: 60000\r\n\r\n"
        first, second = (stack.enter_context(connected(server)) for _ in range(2))
        first.sendall(head + b"x" * 50_001)
        wait_until(lambda: server.front.hub.bodies_bytes == 50_001)
        second.sendall(head + b"x" * 50_000)
        assert until_closed(second).startswith(b"HTTP/1.1 429")
        first.close()
        wait_until(lambda: server.front.hub.bodies_bytes == 0)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /ping HTTP/1.1\r\nx: " + b"a" * 40_000 + b"\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nx: " + b"a" * 400_000,
        b"GET /" + b"a" * 400_000,
        b"GET /ping HTTP/1.1\r\n" + b"a: b\r\n" * 10_000,
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"POST /query/1 HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"POST /query/1 HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /query/1 HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"garbage" * 100,
        b"PRI * HTTP/1.1\r\n\r\n",
    ],
)
def test_broken_http_ends_the_connection(server: Running, sent: bytes) -> None:
    """Broken bytes get a 400 (or a goodbye) and an end; the next client is served."""
    with connected(server) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(sent)
        received = until_closed(sock)

    assert not received or received.startswith((b"HTTP/1.1 400", b"\x00\x00"))
    still_answers(server)


def test_random_bytes_never_hurt(server: Running) -> None:
    """Whatever comes first, others are served, and nothing stays behind."""
    chance = random.Random(1)
    starts = [
        b"",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000"),
        b"POST /query/1 HTTP/1.1\r\n",
        http1_query(),
    ]
    for nth in range(FUZZ):
        with connected(server) as sock:
            start = starts[nth % len(starts)]
            sock.sendall(mutated(start, chance) + chance.randbytes(chance.randrange(200)))
    still_answers(server)
    wait_until(lambda: server.front.hub.connections == 0)
    assert (0, 0) == (server.front.hub.bodies_bytes, server.front.hub.requests_in_flight)


def mutated(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    if changed and chance.randrange(2):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize(
    "drip",
    [b"", b"P", b"PRI * HTTP/2.0\r\n", b"POST /query/1 HTTP/1.1\r\nx: y\r\n"],
)
def test_a_slow_loris_is_dropped(drip: bytes) -> None:
    """A request that never ends ends with 408 or a closed connection."""
    with running(Limits(request_s=0.2, idle_s=0.2)) as server, connected(server) as sock:
        sock.sendall(drip)
        received = until_closed(sock)
        assert not received or received.startswith(b"HTTP/1.1 408")


def test_an_idle_connection_is_closed() -> None:
    """Keep-alive has an end, over both protocols."""
    with running(Limits(idle_s=0.2)) as server:
        with connected(server) as sock:
            sock.sendall(b"GET /ping HTTP/1.1\r\nhost: x\r\n\r\n")
            assert until_closed(sock).startswith(b"HTTP/1.1 200")
        with connected(server) as sock:
            sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000"))
            until_closed(sock)


def test_a_client_that_does_not_read_is_dropped() -> None:
    """Answers that nobody takes are not collected for ever; the client is cut off."""
    with running(Limits(write_s=0.3)) as server, connected(server) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        big = http1_query("x" * 1_000_000)
        with contextlib.suppress(ConnectionError, TimeoutError):
            for _ in range(100):
                sock.sendall(big)
        wait_until(lambda: server.front.hub.connections == 0)
        assert len(server.database.asked) < 100
        assert 0 == server.front.hub.bodies_bytes


def test_too_many_connections_are_refused() -> None:
    """One connection over the limit is closed at once; the others go on."""
    with running(Limits(connections_max=2)) as server, contextlib.ExitStack() as stack:
        kept = [stack.enter_context(connected(server)) for _ in range(2)]
        wait_until(lambda: server.front.hub.connections == 2)
        assert b"" == until_closed(stack.enter_context(connected(server)))
        for sock in kept:
            sock.sendall(http1_query("1", b"connection: close\r\n"))
            assert until_closed(sock).startswith(b"HTTP/1.1 200")


def test_too_many_requests_in_flight_are_429() -> None:
    """What is over the limit of all requests is refused while the others wait."""
    with running(Limits(requests_in_flight_max=1)) as server, contextlib.ExitStack() as stack:
        server.database.held = []
        first, second = (stack.enter_context(connected(server)) for _ in range(2))
        first.sendall(http1_query("1", b"connection: close\r\n"))
        wait_until(lambda: server.front.hub.requests_in_flight == 1)
        second.sendall(http1_query("2", b"connection: close\r\n"))
        refused = until_closed(second)
        assert refused.startswith(b"HTTP/1.1 429")
        assert b"retry-after: 1\r\n" in refused
        server.answer_held()
        assert until_closed(first).startswith(b"HTTP/1.1 200")


def test_an_answer_to_nobody_is_harmless(server: Running) -> None:
    """A client that left does not disturb the answer to its own query."""
    server.database.held = []
    with connected(server) as sock:
        sock.sendall(http1_query() * 3)
        wait_until(lambda: server.front.hub.requests_in_flight == 1)
    server.answer_held()
    wait_until(lambda: server.front.hub.requests_in_flight == 0)
    wait_until(lambda: server.front.hub.connections == 0)
    assert 0 == server.front.hub.bodies_bytes
    still_answers(server)


def test_drain_answers_what_was_asked_and_closes() -> None:
    """A member that stops answers the requests that it has, and accepts nobody."""
    with running() as server, contextlib.ExitStack() as stack:
        server.database.held = []
        busy, idle = (stack.enter_context(connected(server)) for _ in range(2))
        busy.sendall(http1_query())
        wait_until(lambda: server.front.hub.requests_in_flight == 1)
        wait_until(lambda: server.front.hub.connections == 2)
        server.drain()
        assert b"" == until_closed(idle)
        server.answer_held()
        answer = until_closed(busy)
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in answer


# ---------------------------------------------------------------- HTTP/2


class H2Client:
    """A client of one connection, by h2, for what httpx does not do."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.events: list[h2.events.Event] = []

    def begin(self, window: int | None = None) -> None:
        if window is not None:
            code = h2.settings.SettingCodes.INITIAL_WINDOW_SIZE
            self.h2.local_settings = h2.settings.Settings(
                client=True, initial_values={code: window}
            )
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self.sock.sendall(self.h2.data_to_send())

    def ask(self, text: str = "1") -> int:
        stream = self.h2.get_next_available_stream_id()
        headers = [
            (":method", "POST"),
            (":path", "/query/1"),
            (":scheme", "http"),
            (":authority", "x"),
            ("authorization", "Bearer secret"),
        ]
        self.h2.send_headers(stream, headers)
        self.h2.send_data(stream, query_body(text), end_stream=True)
        return int(stream)

    def receive(self) -> list[h2.events.Event]:
        data = self.sock.recv(65536)
        events = self.h2.receive_data(data) if data else []
        self.events += events
        return events

    def receive_until(self, kind: type[h2.events.Event], count: int = 1) -> None:
        give_up = time.monotonic() + HANG_S
        while sum(isinstance(event, kind) for event in self.events) < count:
            assert time.monotonic() < give_up
            self.receive()
            self.flush()


def test_streams_run_side_by_side(server: Running) -> None:
    """A hundred streams of one connection are under way together, and all are answered."""
    server.database.held = []
    with connected(server) as sock:
        client = H2Client(sock)
        client.begin()
        for n in range(100):
            client.ask(str(n))
        client.flush()
        wait_until(lambda: server.front.hub.requests_in_flight == 100)
        server.answer_held()
        client.receive_until(h2.events.StreamEnded, 100)


def test_a_small_window_gets_the_answer_in_pieces(server: Running) -> None:
    """An answer larger than the client's window is sent as the window opens."""
    with connected(server) as sock:
        client = H2Client(sock)
        client.begin(window=10)
        stream = client.ask("x" * 100)
        client.flush()
        data = b""
        while not any(isinstance(event, h2.events.StreamEnded) for event in client.events):
            for event in client.receive():
                if isinstance(event, h2.events.DataReceived):
                    data += event.data or b""
                    if event.stream_ended is None:
                        client.h2.acknowledge_received_data(
                            event.flow_controlled_length or 0, stream
                        )
            client.flush()
    assert ["x" * 100] == json.loads(data)["data"]


def test_a_window_that_never_opens_is_cut_off() -> None:
    """Who asks and never takes is dropped, and nothing of it stays."""
    with running(Limits(write_s=0.2)) as server, connected(server) as sock:
        client = H2Client(sock)
        client.begin(window=0)
        client.ask("x" * 100)
        client.flush()
        until_closed(sock)
        wait_until(lambda: server.front.hub.connections == 0)


def test_an_unfinished_stream_is_reset() -> None:
    """A request over HTTP/2 that never ends is cancelled."""
    with running(Limits(request_s=0.2)) as server, connected(server) as sock:
        client = H2Client(sock)
        client.begin()
        stream = client.h2.get_next_available_stream_id()
        client.h2.send_headers(
            stream,
            [(":method", "POST"), (":path", "/query/1"), (":scheme", "http"), (":authority", "x")],
        )
        client.h2.send_data(stream, b"{")
        client.flush()
        client.receive_until(h2.events.StreamReset)
        wait_until(lambda: server.front.hub.bodies_bytes == 0)


def test_rapid_resets_end_the_connection() -> None:
    """Opening and cancelling without end is answered with a goodbye, not with work."""
    with running(Limits(resets_max=20, requests_per_connection_max=10)) as server:
        server.database.held = []
        with connected(server) as sock:
            client = H2Client(sock)
            client.begin()
            with contextlib.suppress(ConnectionError):
                for _ in range(50):
                    stream = client.ask()
                    client.h2.reset_stream(stream)
                    client.flush()
            until_closed(sock)
        assert len(server.database.asked) <= 10
        server.answer_held()
        wait_until(lambda: server.front.hub.requests_in_flight == 0)
        still_answers(server)


def wait_until(holds: Callable[[], bool]) -> None:
    give_up = time.monotonic() + HANG_S
    while not holds():
        assert time.monotonic() < give_up, "it never came true"
        time.sleep(0.005)
