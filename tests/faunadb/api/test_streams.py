"""Streams over both HTTPs: what a client gets, and when it gets no more."""

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import httpx
import pytest

from faunadb.api.limits import Limits
from faunadb.codec import Answer
from faunadb.errors import InvalidRequest, TooManyPending
from faunadb.fql.positions import encode_position
from faunadb.store.changes import ORDINAL_MAX
from front_test_helpers import Running, running

HANG_S = 20.0
AUTH = {"authorization": "Bearer secret"}
BODY = b'{"token": "t"}'
REQUEST = (
    b"POST /stream/1 HTTP/1.1\r\nauthorization: Bearer secret\r\ncontent-length: %d\r\n\r\n%s"
    % (
        len(BODY),
        BODY,
    )
)


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + HANG_S
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.002)


class Lines:
    """Events of a stream over HTTP/1.1, read when they are asked for."""

    def __init__(self, server: Running, buffer_bytes: int | None = None) -> None:
        self._sock = socket.socket()
        if buffer_bytes is not None:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        self._sock.settimeout(HANG_S)
        self._sock.connect(("127.0.0.1", server.port))
        self._sock.sendall(REQUEST)
        self._file = self._sock.makefile("rb")
        self.head = b"".join(iter(self._file.readline, b"\r\n")).decode()
        self._rest = b""

    def next(self) -> Any:
        """Return the next event, None at the end; raises EOFError when it was broken off."""
        while b"\r\n" not in self._rest:
            size = self._file.readline()
            if not size:
                raise EOFError
            chunk = self._file.read(int(size, 16) + 2)[:-2]
            if not chunk:
                return None
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\r\n")
        return json.loads(line)

    def close(self) -> None:
        self._file.close()
        self._sock.close()


@contextlib.contextmanager
def listening(server: Running, buffer_bytes: int | None = None) -> Iterator[Lines]:
    lines = Lines(server, buffer_bytes)
    try:
        assert "status" == lines.next()["type"]
        yield lines
    finally:
        lines.close()


def happen(server: Running, ts: int, *doc_ids: int) -> None:
    server.on_loop(lambda: server.database.happens(ts, *doc_ids))


def looked_back(server: Running) -> None:
    """The only stream was opened, asked for its history, and for nothing since."""
    wait_until(lambda: len(server.database.asked) >= 2)
    assert 2 == len(server.database.asked)


def test_a_stream_begins_with_its_place_and_goes_on_with_events(server: Running) -> None:
    """History first, then each transaction in its order; chunks, and a name of its own."""
    server.database.history = [(1001, 0, 5)]
    server.database.applied = 1001
    lines = Lines(server)
    first = lines.next()

    assert "transfer-encoding: chunked" in lines.head
    assert "x-fauna-stream-id: " in lines.head
    assert ("status", 1000, encode_position(1000, ORDINAL_MAX)) == (
        first["type"],
        first["txn_ts"],
        first["cursor"],
    )
    assert {"type": "add", "data": "5", "txn_ts": 1001} == lines.next()
    happen(server, 1002, 7, 6)
    happen(server, 1003, 8)
    assert ["6", "7", "8"] == [lines.next()["data"] for _ in range(3)]
    lines.close()


def test_history_ends_where_what_was_heard_begins(server: Running) -> None:
    """A transaction that is applied between the look back and its answer is told once."""
    with listening(server) as lines:
        held: list[Any] = []

        def hold() -> None:
            server.database.held = held
            server.database.happens(1001, 1)

        server.on_loop(hold)
        wait_until(lambda: len(held) == 1)
        happen(server, 1002, 2)
        server.answer_held()
        assert ["1", "2"] == [lines.next()["data"], lines.next()["data"]]


def test_nobody_is_woken_for_another_collection(server: Running) -> None:
    """Its transactions cost a stream nothing."""
    with listening(server) as lines:
        looked_back(server)
        key = b"d" + bytes(4) + (1025).to_bytes(4, "big") + bytes(16)
        server.on_loop(lambda: server.database.followers.applied(1001, [(key, b"")]))
        looked_back(server)
        happen(server, 1002, 3)
        assert "3" == lines.next()["data"]


def test_a_client_that_leaves_leaves_nothing(server: Running) -> None:
    """Its stream is forgotten, and what it watched with it."""
    with listening(server):
        assert 1 == server.front.hub.streams.count
        looked_back(server)
    wait_until(lambda: server.front.hub.streams.count == 0)
    happen(server, 1001, 1)
    looked_back(server)


def test_a_client_that_does_not_read_is_cut_and_slows_nobody() -> None:
    """Its changes wait until there are too many; then it is told, others have all of theirs."""
    with running(Limits(stream_changes_max=10)) as server:
        server.database.padding = 200_000
        with listening(server, 4096) as slow, listening(server) as quick:
            for number in range(60):
                happen(server, 1001 + number, number)
                assert str(number) == quick.next()["data"].strip()
            wait_until(lambda: server.front.hub.streams.count == 1)
            events = list(iter(slow.next, None))
            assert "stream_overflow" == events[-1]["error"]["code"]
            numbers = [int(event["data"]) for event in events[:-1]]
            assert numbers == list(range(len(numbers)))
            assert len(numbers) < 60


def test_rights_that_are_lost_end_the_stream(server: Running) -> None:
    """They are asked for at every event."""
    with listening(server) as lines:
        server.database.outcome = Answer(401, b"{}", "", 0, 0)
        happen(server, 1001, 1)
        event = lines.next()
        assert ("error", "permission_loss") == (event["type"], event["error"]["code"])
        assert lines.next() is None


def test_a_program_that_is_refused_ends_the_stream(server: Running) -> None:
    """As when its collection is deleted."""
    with listening(server) as lines:
        server.database.outcome = InvalidRequest("gone")
        happen(server, 1001, 1)
        assert "gone" == lines.next()["error"]["message"]
        assert lines.next() is None


def test_a_member_that_is_too_busy_breaks_off(server: Running) -> None:
    """The driver comes back by itself; an error it would raise."""
    with listening(server) as lines:
        server.database.outcome = TooManyPending("later")
        happen(server, 1001, 1)
        with pytest.raises(EOFError):
            lines.next()


def test_a_member_without_a_leader_breaks_off_at_once(server: Running) -> None:
    """Neither driver repeats a 429 of a stream, both repeat what was cut."""
    server.database.outcome = TooManyPending("no leader")
    lines = Lines(server)
    with pytest.raises(EOFError):
        lines.next()
    lines.close()
    with flows(server) as client:
        stream = client.ask()
        while stream not in client.ended:
            client.receive()
        assert h2.errors.ErrorCodes.INTERNAL_ERROR == client.ended[stream]


def test_another_state_breaks_streams_off(server: Running) -> None:
    """What happened in between is found by the cursor."""
    with listening(server) as lines:
        server.on_loop(server.database.followers.swapped)
        with pytest.raises(EOFError):
            lines.next()
    assert 0 == server.front.hub.streams.count


def test_a_member_that_stops_breaks_streams_off() -> None:
    """And does not wait for them."""
    with running() as server, listening(server) as lines:
        server.drain()
        with pytest.raises(EOFError):
            lines.next()


def test_a_quiet_stream_says_how_far_it_is() -> None:
    """So that its cursor never gets too old."""
    with running(Limits(stream_status_s=0.1)) as server, listening(server) as lines:
        server.database.applied = 5000
        wait_until(lambda: lines.next()["cursor"] == encode_position(5000, ORDINAL_MAX))


def test_too_many_streams_are_refused() -> None:
    """With a status that drivers retry on; a place becomes free when one ends."""
    with running(Limits(streams_max=1)) as server:
        with listening(server):
            refused = httpx.post(server.url + "/stream/1", content=BODY, headers=AUTH)
            assert (429, "limit_exceeded") == (refused.status_code, refused.json()["error"]["code"])
        wait_until(lambda: server.front.hub.streams.count == 0)
        with listening(server):
            pass


REFUSED = [
    (b"", "No request body provided", "No request body provided"),
    (b"{}", "Invalid request body: Object missing required field `token`", None),
    (
        b'{"token": "t", "x": ' + b"[" * 100_000 + b"}",
        "Invalid request body: maximum recursion depth exceeded while deserializing an object",
        None,
    ),
    (b'{"token": 1}', "Invalid request body: Expected `str`, got `int` - at `$.token`", None),
    (
        b'{"token": "t", "start_ts": 1, "cursor": "x"}',
        "Invalid request body: can not provide both `start_ts` and `cursor`.",
        "Invalid request body: can not provide both `start_ts` and `cursor`",
    ),
    (
        b'{"token": "t", "cursor": "x"}',
        "Invalid request body: invalid event cursor provided.",
        "Invalid request body: invalid event cursor provided",
    ),
    (
        b'{"token": "t", "page_size": 0}',
        "Invalid request body: page size must be greater than zero.",
        "",
    ),
    (
        b'{"token": "t", "page_size": 16001}',
        "Invalid request body: page size can not be greater than 16000.",
        "",
    ),
]


@pytest.mark.parametrize(("body", "feed", "stream"), REFUSED)
def test_what_is_wrong_with_a_request_is_said(
    server: Running, body: bytes, feed: str, stream: str | None
) -> None:
    """In the words of Fauna v10; a stream knows no page size."""
    for path, text in (("/feed/1", feed), ("/stream/1", feed if stream is None else stream)):
        if text:
            answer = httpx.post(server.url + path, content=body, headers=AUTH)
            said = {"error": {"code": "invalid_request", "message": text}}
            assert (400, said) == (answer.status_code, answer.json())


# ---------------------------------------------------------------- HTTP/2


class Flows:
    """A client of HTTP/2 whose windows open only as far as it says."""

    def __init__(self, sock: socket.socket, window: int = 65535) -> None:
        self.sock = sock
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        code = h2.settings.SettingCodes.INITIAL_WINDOW_SIZE
        self.h2.local_settings = h2.settings.Settings(client=True, initial_values={code: window})
        self.h2.initiate_connection()
        self.data: dict[int, bytes] = {}
        self.ended: dict[int, Any] = {}

    def ask(self) -> int:
        stream = int(self.h2.get_next_available_stream_id())
        names = (":method", ":path", ":scheme", ":authority", "authorization")
        values = ("POST", "/stream/1", "http", "x", "Bearer secret")
        self.h2.send_headers(stream, list(zip(names, values, strict=True)))
        self.h2.send_data(stream, BODY, end_stream=True)
        self.data[stream] = b""
        self.flush()
        return stream

    def flush(self) -> None:
        self.sock.sendall(self.h2.data_to_send())

    def receive(self, *, take: bool = True) -> None:
        for event in self.h2.receive_data(self.sock.recv(65536)):
            match event:
                case h2.events.DataReceived(data=data, stream_id=stream):
                    self.data[stream] += data or b""
                    if take:
                        count = event.flow_controlled_length or 0
                        self.h2.acknowledge_received_data(count, stream)
                case h2.events.StreamEnded(stream_id=stream):
                    self.ended[stream] = "ended"
                case h2.events.StreamReset(stream_id=stream, error_code=code):
                    self.ended[stream] = code
        self.flush()

    def events(self, stream: int, count: int) -> list[Any]:
        """Return the first `count` events of a stream, once they are there."""
        while self.data[stream].count(b"\r\n") < count:
            self.receive()
        return [json.loads(line) for line in self.data[stream].split(b"\r\n")[:count]]


@contextlib.contextmanager
def flows(server: Running, window: int = 65535) -> Iterator[Flows]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=HANG_S) as sock:
        yield Flows(sock, window)


def test_streams_share_a_connection(server: Running) -> None:
    """Both hear everything; one that is cancelled is forgotten, the other goes on."""
    with flows(server) as client:
        one, other = client.ask(), client.ask()
        client.events(one, 1)
        client.events(other, 1)
        happen(server, 1001, 1)
        assert ["1", "1"] == [client.events(each, 2)[1]["data"] for each in (one, other)]
        client.h2.reset_stream(one)
        client.flush()
        wait_until(lambda: server.front.hub.streams.count == 1)
        happen(server, 1002, 2)
        assert "2" == client.events(other, 3)[2]["data"]


def test_a_window_that_stays_shut_holds_one_stream_only() -> None:
    """Its changes wait, are too many, and it ends with an error when the window opens."""
    with running(Limits(stream_changes_max=5)) as server, flows(server, 300) as client:
        server.database.padding = 200
        shut = client.ask()
        while not client.data[shut].endswith(b"\r\n"):
            client.receive(take=False)
        for number in range(10):
            happen(server, 1001 + number, number)
        wait_until(lambda: server.front.hub.streams.count == 0)
        client.h2.increment_flow_control_window(100_000, shut)
        client.flush()
        while shut not in client.ended:
            client.receive()
        assert b"stream_overflow" in client.data[shut]
        assert "ended" == client.ended[shut]


def test_an_answer_is_broken_off_by_a_reset(server: Running) -> None:
    """An error of ours, not a clean end: drivers come back."""
    with flows(server) as client:
        stream = client.ask()
        client.events(stream, 1)
        server.on_loop(server.database.followers.swapped)
        while stream not in client.ended:
            client.receive()
        assert h2.errors.ErrorCodes.INTERNAL_ERROR == client.ended[stream]


def test_an_error_is_the_last_line_of_a_complete_answer(server: Running) -> None:
    """Drivers read it before they see the end."""
    with flows(server) as client:
        stream = client.ask()
        client.events(stream, 1)
        server.database.outcome = InvalidRequest("gone")
        happen(server, 1001, 1)
        assert "gone" == client.events(stream, 2)[1]["error"]["message"]
        while stream not in client.ended:
            client.receive()
        assert "ended" == client.ended[stream]
