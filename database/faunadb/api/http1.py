"""One client connection that speaks HTTP/1.1: parsed by httptools, answered in order.

Pipelined requests wait in `_queue` and are handled one after the other: each sees what the one
before it did. What is wrong with the connection itself waits there too, as a finished answer.

Trap: httptools hides exceptions of its callbacks. They only collect; the work is done after
`feed_data` has returned, where a broken invariant is seen.
"""

import asyncio
import sys
from collections import deque
from functools import lru_cache

import httptools

from faunadb.api.bodies import JSON, Headers, Response, channel_error
from faunadb.api.hub import Hub
from faunadb.api.routes import Request
from faunadb.api.streams import Flowing, Streaming

_REASONS = {
    200: b"OK",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    409: b"Conflict",
    410: b"Gone",
    413: b"Content Too Large",
    429: b"Too Many Requests",
    440: b"Time Out",
    500: b"Internal Server Error",
    503: b"Service Unavailable",
}
_LINE_BYTES = 32  # what a header line counts for beside its text, as in HTTP/2
_BROKEN = channel_error(400, "bad request")
_SLOW = channel_error(408, "request timeout: Client timed out.")


@lru_cache(64)
def _head(status: int, headers: Headers) -> bytes:
    """Return what a response begins with; nearly all are alike."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return b"HTTP/1.1 %d %s\r\n" % (status, _REASONS.get(status, b"-")) + lines.encode("latin-1")


@lru_cache(256)
def _header_name(name: bytes) -> str:
    return sys.intern(name.decode("latin-1").lower())


class Http1:
    """The state of one connection; `front.Front` carries its bytes."""

    def __init__(self, hub: Hub, transport: asyncio.Transport) -> None:
        self._hub, self._limits, self._transport = hub, hub.limits, transport
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[tuple[Request | Response, bool]] = deque()
        self._answering = False  # one request was handed over and not answered yet
        self._pumping = False
        self._paused = self._waiting = False
        self._finished = False  # nothing more is read
        self._ending = False  # the client sends no more: close after the last answer
        self._request_began_s: float | None = None
        self._quiet_since_s = hub.now_s()
        self._messages = 0
        self._stalled_since_s: float | None = None
        self._stream: Flowing | None = None  # the answer that is under way and does not end
        self._start_message()

    def _start_message(self) -> None:
        self._target = b""
        self._headers: dict[str, str] = {}
        self._chunks: list[bytes] = []
        self._header_bytes = self._body_bytes = self._unfinished_bytes = 0
        self._in_headers = True
        self._wants_continue = False
        self._refusal: Response | None = None

    # ------------------------------------------------------------ bytes in

    def feed(self, data: bytes) -> None:
        """Take bytes of the client."""
        while data and not self._finished:
            data = self._feed(data)
        self._pump()
        self._read_or_wait()

    def refuse(self) -> None:
        """Answer 400 to whatever this is, and close."""
        self._fail(_BROKEN)
        self._pump()

    def _feed(self, data: bytes) -> bytes:
        """Parse; return what is left when a client asked for another protocol in vain."""
        rest = b""
        message = self._messages if self._in_headers else None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = self._decline_upgrade() + data[upgrade.args[0] :]
        except httptools.HttpParserError:
            self._fail(_BROKEN)
            return b""
        if self._in_headers and message == self._messages:
            self._unfinished_bytes += len(data)  # a line that the parser holds back grows, too
        if self._in_headers and self._limits.header_bytes_max < max(
            self._unfinished_bytes, self._header_bytes
        ):
            self._fail(_BROKEN)
        if self._refusal is not None:
            self._fail(self._refusal)
        if self._wants_continue:
            self._wants_continue = False
            if not self._queue:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return rest

    def _decline_upgrade(self) -> bytes:
        """Return the head again without its offer: the parser would not read a body after it."""
        if not self._queue or self._parser.get_method() == b"CONNECT":
            self._fail(_BROKEN)
            return b""
        asked, _ = self._queue.pop()
        assert isinstance(asked, Request)
        self._parser = httptools.HttpRequestParser(self)
        kept = [item for item in asked.headers.items() if item[0] not in {"upgrade", "connection"}]
        lines = [f"{asked.method} {asked.target} HTTP/1.1", *(f"{k}: {v}" for k, v in kept)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _fail(self, response: Response) -> None:
        """Answer after all that was asked before, then hear no more."""
        if not self._finished:
            self._hub.release_body(self._body_bytes)
            self._body_bytes = 0
            self._queue.append((response, False))
            self._finished = True
            self._request_began_s = None

    # ------------------------------------------------------------ callbacks of the parser

    def on_message_begin(self) -> None:
        self._start_message()
        self._messages += 1
        self._request_began_s = self._hub.now_s()

    def on_url(self, url: bytes) -> None:
        self._target += url
        self._header_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value) + _LINE_BYTES
        if self._header_bytes <= self._limits.header_bytes_max:
            self._headers[_header_name(name)] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._in_headers = False
        if self._header_bytes > self._limits.header_bytes_max:
            self._refusal = _BROKEN
            return
        length = self._headers.get("content-length", "0")
        if length.isdecimal() and int(length[:20]) > self._limits.request_bytes_max:
            self._refusal = self._hub.too_large
        elif self._headers.get("expect", "").lower() == "100-continue":
            self._wants_continue = True

    def on_body(self, body: bytes) -> None:
        if self._refusal is not None or self._finished:
            return
        if self._body_bytes + len(body) > self._limits.request_bytes_max:
            self._refusal = self._hub.too_large
        elif not self._hub.reserve_body(len(body)):
            self._refusal = self._hub.too_many
        else:
            self._chunks.append(body)
            self._body_bytes += len(body)

    def on_message_complete(self) -> None:
        self._request_began_s = None
        self._in_headers, self._header_bytes = True, 0
        if self._refusal is not None or self._finished:
            return
        method = self._parser.get_method().decode("latin-1")
        target = self._target.decode("latin-1")
        body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        request = Request(method, target, self._headers, body)
        self._queue.append((request, self._parser.should_keep_alive()))
        self._wants_continue = False
        self._body_bytes, self._chunks = 0, []

    # ------------------------------------------------------------ answers out

    def _pump(self) -> None:
        """Handle queued requests until one must be waited for."""
        if self._pumping:
            return
        self._pumping = True
        while self._queue and not self._answering and not self._paused:
            asked, keep_alive = self._queue.popleft()
            self._answering = True
            if isinstance(asked, Response):
                self._respond(asked, "", keep_alive=False)
            else:
                self._handle(asked, keep_alive=keep_alive)
        self._pumping = False

    def _handle(self, request: Request, *, keep_alive: bool) -> None:
        method, size = request.method, len(request.body)

        def respond(response: Response | Streaming) -> None:
            self._hub.release_body(size)
            if isinstance(response, Streaming):
                self._begin_stream(response)
                return
            self._respond(response, method, keep_alive=keep_alive)

        self._hub.dispatch(request, respond)

    def _begin_stream(self, streaming: Streaming) -> None:
        """Begin an answer in chunks, the last one of this connection."""
        if self._transport.is_closing() or self._ending:
            streaming.stream.lost()
            self._transport.close()
            return
        self._finished = True
        self._drop()
        self._stream = streaming.stream
        named = b"x-fauna-stream-id: %s\r\n" % streaming.stream.id.encode()
        end = b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        self._transport.write(_head(streaming.status, JSON) + named + end)
        streaming.stream.begin(self)

    # ------------------------------------------------------------ streams.Sink

    @property
    def full(self) -> bool:
        return self._paused

    def write(self, data: bytes) -> None:
        """Write a chunk; nothing to a connection that is being closed."""
        if not self._transport.is_closing():
            self._transport.write(b"%x\r\n%s\r\n" % (len(data), data))

    def end(self) -> None:
        """End the answer and, once it is written, the connection."""
        if not self._transport.is_closing():
            self._transport.write(b"0\r\n\r\n")
        self.cut()

    def cut(self) -> None:
        self._stream = None
        self._transport.close()

    # ------------------------------------------------------------ answers that end

    def _respond(self, response: Response, method: str, *, keep_alive: bool) -> None:
        self._answering = False
        if self._transport.is_closing():
            return
        keep = keep_alive and not response.close and not self._hub.draining
        keep = keep and not (self._ending and not self._queue)
        head = _head(response.status, response.headers)
        end = b"content-length: %d\r\n%s\r\n" % (
            len(response.body),
            b"" if keep else b"connection: close\r\n",
        )
        body = b"" if method == "HEAD" else response.body
        self._transport.write(head + end + body)
        self._quiet_since_s = self._hub.now_s()
        if not keep:
            self._close()
        else:
            self._pump()
            self._read_or_wait()

    def _close(self) -> None:
        """Close once everything is written; what a refused upload still sends is thrown away."""
        lingering = self._finished and not self._ending
        self._finished = True
        self._drop()
        if lingering and self._transport.can_write_eof():
            self._transport.write_eof()
            self._quiet_since_s = self._hub.now_s() - self._limits.idle_s + self._limits.linger_s
        else:
            self._transport.close()

    def _drop(self) -> None:
        """Forget what was asked and not begun."""
        held = sum(len(one.body) for one, _ in self._queue if isinstance(one, Request))
        self._hub.release_body(held)
        self._queue.clear()

    # ------------------------------------------------------------ back-pressure, time, end

    def pause(self) -> None:
        """The client reads too slowly: take no more of it."""
        self._paused = True
        self._stalled_since_s = self._hub.now_s()
        self._read_or_wait()

    def resume(self) -> None:
        self._paused = False
        self._stalled_since_s = None
        if self._stream is not None:
            self._stream.drained()
        self._pump()
        self._read_or_wait()

    def _read_or_wait(self) -> None:
        if self._transport.is_closing():
            return
        wait = self._paused or len(self._queue) >= self._limits.requests_per_connection_max
        if wait == self._waiting:
            return
        self._waiting = wait
        if wait:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def eof(self) -> bool:
        """The client sends no more; return whether to keep the connection for its answers."""
        waiting = self._stream is None and (self._answering or bool(self._queue))
        self._hub.release_body(self._body_bytes)
        self._body_bytes = 0
        self._finished = self._ending = True
        self._request_began_s = None
        return waiting

    def expire(self, now_s: float) -> None:
        """Called once a second: end what takes too long."""
        began, limits = self._request_began_s, self._limits
        if self._stalled_since_s is not None and now_s - self._stalled_since_s > limits.write_s:
            self._transport.abort()
        elif began is not None and now_s - began > limits.request_s:
            self._fail(_SLOW)
            self._pump()
        elif not self._answering and (
            now_s - self._quiet_since_s > limits.idle_s or self._hub.draining
        ):
            self._transport.close()

    def lost(self) -> None:
        """The connection is gone; answers that still come go nowhere."""
        if self._stream is not None:
            self._stream.lost()
        self._hub.release_body(self._body_bytes)
        self._body_bytes = 0
        self._finished = True
        self._drop()
