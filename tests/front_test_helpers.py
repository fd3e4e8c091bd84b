"""A database that answers at once, and a front on a loopback port, in a thread of its own."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator

import msgspec
import uvloop

from faunadb.api.auth import Authenticator
from faunadb.api.front import Front
from faunadb.api.limits import Limits
from faunadb.api.ports import PingScope
from faunadb.codec import Answer
from faunadb.errors import InvalidRequest, QueryError
from faunadb.fql.positions import encode_position
from faunadb.fql.tagged import Format, encode_result
from faunadb.fql.template import decode_request
from faunadb.node.asked import FeedAsked, Opened
from faunadb.node.followers import Follower, Followers
from faunadb.node.query import Outcome, Query, Reply
from faunadb.node.report import ClientCluster, ClientMember
from faunadb.store.changes import ORDINAL_MAX, Stretch, stretch_of_collection
from faunadb.store.keys import document_prefix, suffix

WATCHED = stretch_of_collection(0, 1024)


class FakeDatabase:
    """Answers with the query's text and values; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Query] = []
        self.held: list[Reply] | None = None
        self.outcome: Outcome | None = None
        self.followers = Followers()
        self.history: list[tuple[int, int, int]] = []
        self.applied = 1000
        self.padding = 0
        self.scopes = {"node", "read", "write", "all"}
        self.cluster: ClientCluster | None = ClientCluster(
            "ab" * 16, 1, 0, (ClientMember(1, "dev", "http://dev:8443", "voter", leader=True),)
        )

    def submit(self, query: Query, reply: Reply) -> None:
        self.asked.append(query)
        if self.held is not None:
            self.held.append(reply)
        else:
            reply(self.outcome if self.outcome is not None else self.answer(query))

    def answer(self, query: Query) -> Outcome:
        if query.feed is not None:
            return self.feed(query.feed)
        form = Format(query.format)
        try:
            program = decode_request(query.body, form)
        except (InvalidRequest, QueryError) as error:
            return error
        data = encode_result([program.text, *program.values], form)
        return Answer(200, data, "", 1_700_000_000_000_001, 1_600_000_000_000_000)

    def feed(self, asked: FeedAsked) -> Outcome:
        """Every change is an event that shows its document's number, `padding` wide."""
        if not asked.page_size:
            opened = Opened(WATCHED.start, WATCHED.end, asked.start or (1000, ORDINAL_MAX))
            return self._answer(msgspec.msgpack.encode(opened))
        events = [
            {"type": "add", "data": f"{doc_id:{self.padding}}", "txn_ts": ts}
            for ts, _, doc_id in asked.changes or self.history
        ]
        last = asked.changes[-1][:2] if asked.changes else (self.applied_ts(), ORDINAL_MAX)
        page = {"events": events, "cursor": encode_position(*last), "has_next": False, "stats": {}}
        return self._answer(msgspec.json.encode(page))

    @staticmethod
    def _answer(data: bytes) -> Answer:
        return Answer(200, data, "", 1_700_000_000_000_001, 1_600_000_000_000_000)

    def happens(self, ts: int, *doc_ids: int) -> None:
        """Apply a transaction that writes what streams watch."""
        keys = [document_prefix(0, 1024, doc_id) + suffix(ts) for doc_id in doc_ids]
        self.applied = ts
        self.followers.applied(ts, [(key, b"") for key in keys])

    def read_here(self, query: Query, reply: Reply) -> None:
        self.submit(query, reply)

    def applied_ts(self) -> int:
        return self.applied

    def watch(self, stretch: Stretch, follower: Follower) -> None:
        self.followers.add(stretch, follower)

    def unwatch(self, stretch: Stretch, follower: Follower) -> None:
        self.followers.remove(stretch, follower)

    def ping(self, scope: PingScope) -> bool:
        return scope in self.scopes

    def members(self) -> ClientCluster | None:
        return self.cluster


class Running:
    """A front that listens on 127.0.0.1; `call` runs a function on its loop."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.database = FakeDatabase()
        self.port = 0
        self.front: Front
        self._limits = limits
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _run(self) -> None:
        """Run on the loop of the product."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self.front = Front(self.database, Authenticator("secret"), self._limits)
        self.port = await self.front.start("127.0.0.1", 0)
        self._ready.set()
        await self._stop.wait()
        await self.front.close()

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def answer_held(self) -> None:
        """Answer everything that was held back."""

        def answer() -> None:
            held, self.database.held = self.database.held or [], None
            for query, reply in zip(self.database.asked[-len(held) :], held, strict=True):
                reply(self.database.answer(query))

        self._loop.call_soon_threadsafe(answer)

    def on_loop(self, happens: Callable[[], object]) -> None:
        """Let something happen on the loop, and wait until it has."""
        done = threading.Event()

        def run() -> None:
            happens()
            done.set()

        self._loop.call_soon_threadsafe(run)
        assert done.wait(10)

    def drain(self) -> None:
        asyncio.run_coroutine_threadsafe(self.front.drain(5), self._loop)


@contextlib.contextmanager
def running(limits: Limits | None = None) -> Iterator[Running]:
    server = Running(limits)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def query_body(text: str) -> bytes:
    return msgspec.json.encode({"query": text})
