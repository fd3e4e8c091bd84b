"""Streams: events of a source as they happen, each a line of one answer that does not end.

    open      the source is opened at a read point like a query's; what is wrong is a 400
    replay    what happened since its start, looked up in the state of this member
    follow    the changes of each transaction that this member applies, looked at one after
              the other, a few at a time, whenever the client took what was sent
    end       an error event and the end; or a cut, after which drivers come back with their cursor

A stream holds no events: while its client does not read, only the places of changes wait, and
more than `stream_changes_max` of them are one too many. All streams share the loop in slices.

Trap: the first status says where the stream begins, not where the member is: a driver keeps the
cursor of every event, and one that breaks off before the replay must not skip it.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Protocol

import msgspec

from faunadb.api.bodies import JSON_TYPE, Headers, Response, refusal
from faunadb.api.feeds import feed_response
from faunadb.api.limits import Limits
from faunadb.api.ports import Database
from faunadb.codec import Answer
from faunadb.errors import FaunaError, TooManyPending, Unavailable
from faunadb.fql.positions import decode_position, encode_position
from faunadb.node.asked import Opened
from faunadb.node.query import Outcome, Query
from faunadb.store.changes import ORDINAL_MAX, Change, Place, Stretch

REPLAYED_MAX = 128  # schema.md §9
CHANGES_AT_ONCE = 16
SLICE_S = 0.002
SHARED_MAX = 64  # pages that are kept while nothing new is applied
READ_MS = 60_000
_NO_STATS = (
    b'{"read_ops":0,"storage_bytes_read":0,"compute_ops":0,"processing_time_ms":0,'
    b'"rate_limits_hit":[]}'
)
_encode = msgspec.json.Encoder().encode


class Sink(Protocol):
    """Where the bytes of one stream go, whatever HTTP it came by."""

    @property
    def full(self) -> bool:
        """Return whether the client has not taken what was written; `drained` comes later."""
        ...

    def write(self, data: bytes) -> None: ...

    def end(self) -> None:
        """End the answer as one that is complete."""
        ...

    def cut(self) -> None:
        """Break the answer off."""
        ...


class Flowing(Protocol):
    """What a connection tells of the stream whose answer it carries."""

    @property
    def id(self) -> str: ...

    def begin(self, sink: Sink) -> None:
        """The answer has begun: its bytes go to `sink`."""
        ...

    def drained(self) -> None:
        """The client took what was written."""
        ...

    def lost(self) -> None:
        """Nobody listens any more."""
        ...


class _Page(msgspec.Struct):
    events: list[msgspec.Raw]
    cursor: str
    has_next: bool


class Streams:
    """All streams of one member."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self.database, self.limits = database, limits
        self._loop = asyncio.get_running_loop()
        self._open: dict[Stream, None] = {}
        self._opening = 0
        self._ready: dict[Stream, None] = {}
        self._scheduled = self._stopping = False
        self._shared: dict[object, Answer] = {}
        self._shared_ts = 0

    @property
    def count(self) -> int:
        return len(self._open)

    def start(self, query: Query, respond: "Callable[[Response | Streaming], None]") -> None:
        """Open the source that `query` asks for, and answer with a stream of its events."""
        if len(self._open) + self._opening >= self.limits.streams_max:
            respond(refusal(TooManyPending("Too many streams are open.", retry_after_s=1)))
            return
        self._opening += 1

        def opened(outcome: Outcome) -> None:
            self._opening -= 1
            if self._stopping or isinstance(outcome, Unavailable):
                respond(Streaming(_Broken()))
                return
            if not isinstance(outcome, Answer) or outcome.http_status != HTTPStatus.OK:
                respond(feed_response(outcome))
                return
            stream = Stream(self, query, msgspec.msgpack.decode(outcome.data, type=Opened))
            self._open[stream] = None
            self.database.watch(stream.stretch, stream)
            respond(Streaming(stream))

        self.database.submit(query, opened)

    def ready(self, stream: "Stream") -> None:
        """Let `stream` go on in one of the next slices."""
        self._ready[stream] = None
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._run)

    def forget(self, stream: "Stream") -> None:
        self._open.pop(stream, None)
        self._ready.pop(stream, None)
        self.database.unwatch(stream.stretch, stream)

    def sweep(self, now_s: float) -> None:
        """Called once a second: say on quiet streams how far this member is."""
        for stream in list(self._open):
            stream.say_status(now_s)

    def cut_all(self) -> None:
        """The member stops: drivers go on elsewhere with their cursors."""
        self._stopping = True
        for stream in list(self._open):
            stream.broken()

    def now_s(self) -> float:
        return self._loop.time()

    def read(self, query: Query, done: Callable[[Outcome], None]) -> None:
        """Evaluate here and now; who asks the same of the same state gets the same answer."""
        ts = self.database.applied_ts()
        if ts != self._shared_ts or len(self._shared) >= SHARED_MAX:
            self._shared, self._shared_ts = {}, ts
        key = (query.caller, query.feed) if query.feed and query.feed.changes else None
        known = self._shared.get(key)
        if known is not None:
            done(known)
            return

        def came(outcome: Outcome) -> None:
            if key is not None and isinstance(outcome, Answer) and ts == self._shared_ts:
                self._shared[key] = outcome
            done(outcome)

        self.database.read_here(query, came)

    def _run(self) -> None:
        """Advance streams for one slice, then let others have the loop."""
        self._scheduled = False
        until_s = self._loop.time() + SLICE_S
        while self._ready and self._loop.time() < until_s:
            stream = next(iter(self._ready))
            del self._ready[stream]
            stream.advance()
        if self._ready and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._run)


class Stream:
    """One stream; implements `node.followers.Follower`."""

    def __init__(self, streams: Streams, query: Query, opened: Opened) -> None:
        assert query.feed is not None
        self._streams, self._query, self._asked = streams, query, query.feed
        self.id = secrets.token_hex(8)
        self.stretch = Stretch(opened.start, opened.end)
        self._place = Place(*opened.place)
        self._changes: deque[Change] = deque()
        self._behind = True
        self._replayed = 0
        self._busy = self._ended = self._asking_status = False
        self._sink: Sink | None = None
        self._said_s = streams.now_s()

    # ------------------------------------------------------------ of the connection

    def begin(self, sink: Sink) -> None:
        """The answer has begun: its bytes go to `sink`."""
        self._sink = sink
        self._status()
        self._streams.ready(self)

    def drained(self) -> None:
        """The client took what was written."""
        if not self._ended:
            self._streams.ready(self)

    def lost(self) -> None:
        """Nobody listens any more."""
        if not self._ended:
            self._ended = True
            self._streams.forget(self)

    # ------------------------------------------------------------ of the member

    def touched(self, changes: Sequence[Change]) -> None:
        if not self._ended:
            self._changes.extend(changes)
            self._streams.ready(self)

    def broken(self) -> None:
        sink = self._sink
        self.lost()
        if sink is not None:
            sink.cut()

    # ------------------------------------------------------------ going on

    def advance(self) -> None:
        """Do the next small thing that there is to do, if the client is ready for it."""
        sink = self._sink
        if self._ended or sink is None:
            return
        if len(self._changes) > self._streams.limits.stream_changes_max:
            self._fail("stream_overflow", "Too many events to process.")
            return
        if self._busy or sink.full:
            return
        while self._changes and self._changes[0].place <= self._place:
            self._changes.popleft()
        if self._behind:
            self._read(REPLAYED_MAX + 1 - self._replayed, None)
        elif self._changes:
            count = min(CHANGES_AT_ONCE, len(self._changes))
            changes = tuple([self._changes[n] for n in range(count)])
            self._read(CHANGES_AT_ONCE, changes)
        elif self._asking_status:
            self._read(1, ())

    def say_status(self, now_s: float) -> None:
        """Say how far we are when nothing was said for long."""
        if now_s - self._said_s >= self._streams.limits.stream_status_s:
            self._asking_status = True
            self._streams.ready(self)

    def _read(self, size: int, changes: tuple[Change, ...] | None) -> None:
        self._busy = True
        start = None if changes else tuple(self._place)
        asked = msgspec.structs.replace(self._asked, page_size=size, start=start, changes=changes)
        query = msgspec.structs.replace(self._query, feed=asked, timeout_ms=READ_MS)
        self._streams.read(query, self._came)

    def _came(self, outcome: Outcome) -> None:
        self._busy = False
        if self._ended:
            return
        match outcome:
            case Answer(http_status=HTTPStatus.OK):
                self._send(msgspec.json.decode(outcome.data, type=_Page))
            case Unavailable():
                self.broken()
            case FaunaError():
                self._fail(outcome.code, str(outcome))
            case _:
                self._fail("permission_loss", "Stream authentication is no longer valid.")

    def _send(self, page: _Page) -> None:
        events = [bytes(event) for event in page.events]
        failed = bool(events) and events[-1].startswith(b'{"type":"error"')
        if self._behind:
            self._replayed += len(events) - failed
            if self._replayed > REPLAYED_MAX:
                text = "Too many events to replay. Recreate the stream and try again."
                self._fail("stream_replay_volume_exceeded", text)
                return
        self._write(b"".join([event + b"\r\n" for event in events]))
        if failed:
            self._end()
            return
        self._place = max(self._place, Place(*decode_position(page.cursor)))
        self._behind = self._behind and page.has_next
        if self._asking_status and not self._behind and not self._changes:
            self._place = max(self._place, Place(self._streams.database.applied_ts(), ORDINAL_MAX))
            self._status()
        if self._behind or self._changes:
            self._streams.ready(self)

    def _status(self) -> None:
        self._asking_status = False
        cursor = _encode(encode_position(*self._place))
        self._write(
            b'{"type":"status","txn_ts":%d,"cursor":%s,"stats":%s}\r\n'
            % (self._place.ts, cursor, _NO_STATS)
        )

    def _write(self, data: bytes) -> None:
        assert self._sink is not None
        if data:
            self._said_s = self._streams.now_s()
            self._sink.write(data)

    def _fail(self, code: str, message: str) -> None:
        """Say why, and end."""
        said = _encode({"code": code, "message": message})
        self._write(b'{"type":"error","error":%s,"stats":%s}\r\n' % (said, _NO_STATS))
        self._end()

    def _end(self) -> None:
        sink = self._sink
        self.lost()
        if sink is not None:
            sink.end()


class _Broken:
    """A stream that cannot be opened now: drivers ask again after a break, not after a 429."""

    id = ""

    def begin(self, sink: Sink) -> None:
        sink.cut()

    def drained(self) -> None:
        """Nothing waits."""

    def lost(self) -> None:
        """Nothing is held."""


class Streaming(msgspec.Struct, frozen=True):
    """An answer that goes on: the connection writes its head and begins `stream`."""

    stream: Flowing
    status: int = 200

    @property
    def headers(self) -> Headers:
        return (JSON_TYPE, ("x-fauna-stream-id", self.stream.id))
