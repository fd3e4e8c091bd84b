"""A client of one cluster, for threads.

    with Client() as client:
        client.query("Users.all().count()")

One thread beside the callers looks for members; queries run in their callers' threads. The rules
are in `course` and `survey`; here they meet sockets.

Trap: `close()` lets queries that are under way finish; whoever is last closes the sockets.
"""

import contextlib
import random
import secrets
import threading
import time
import weakref
from collections.abc import Generator, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from fauna_client.course import course
from fauna_client.directory import Directory
from fauna_client.errors import Unavailable
from fauna_client.exchange import (
    CLOSED,
    happened,
    new_call,
    next_page,
    request_of,
)
from fauna_client.lines import Lines
from fauna_client.settings import (
    CONNECT_TIMEOUT_S,
    CONNECTIONS,
    QUERY_TIMEOUT_S,
    Settings,
    positive_s,
    read_settings,
)
from fauna_client.steps import Happened, Step, Wait
from fauna_client.survey import AGAIN_S, EVERY_S, Found, survey
from fauna_client.template import Template
from fauna_client.values import Page, Result

CLOSE_WAIT_S = 1.0
_T = TypeVar("_T")


class Client:
    """A connected client; may be used by many threads at once.

    `endpoint` or `endpoints` are URLs of members or of a service before them (default:
    $FAUNA_ENDPOINT, which may hold several with commas between, or http://localhost:8443).
    `secret` defaults to $FAUNA_SECRET or "secret". Timeouts are in seconds; `connections` bounds
    the sockets. Raises `ConnectionError` when no member answers within `connect_timeout`, of
    which `Unauthorized` is one; `ValueError` for what cannot be meant.
    """

    def __init__(
        self,
        endpoint: str | Iterable[str] | None = None,
        *,
        endpoints: Iterable[str] | None = None,
        secret: str | None = None,
        connect_timeout: float = CONNECT_TIMEOUT_S,
        query_timeout: float = QUERY_TIMEOUT_S,
        connections: int = CONNECTIONS,
    ) -> None:
        settings = read_settings(endpoint, endpoints, secret, connections)
        self._core = _Core(settings, positive_s("connect_timeout", connect_timeout))
        self._query_timeout_s = positive_s("query_timeout", query_timeout)
        self._finalizer = weakref.finalize(self, self._core.close, 0.0)
        try:
            self._core.connect()
        except BaseException:
            self._finalizer()
            raise

    @property
    def connect_timeout(self) -> float:
        """Seconds to wait for a connection; a new value counts from the next one on."""
        return self._core.connect_s

    @connect_timeout.setter
    def connect_timeout(self, seconds: float) -> None:
        self._core.connect_s = positive_s("connect_timeout", seconds)

    @property
    def query_timeout(self) -> float:
        """Seconds for a query with all its attempts; a new value counts from the next one on."""
        return self._query_timeout_s

    @query_timeout.setter
    def query_timeout(self, seconds: float) -> None:
        self._query_timeout_s = positive_s("query_timeout", seconds)

    @property
    def is_connected(self) -> bool:
        """Whether a member answered, and has not failed since; asks nobody."""
        return not self._core.closed and self._core.directory.reachable

    @property
    def last_txn_ts(self) -> int:
        """Microseconds: every query of this client sees at least what was there then."""
        return self._core.last_txn_ts

    def get_node_count(self) -> int:
        """Ask how many voters and learners the cluster has; 0 when closed.

        Raises `Unavailable` when no member answers within `connect_timeout`.
        """
        return 0 if self._core.closed else self._core.count()

    def query(
        self, query: str | Template, arguments: Mapping[str, Any] | None = None, /, **named: Any
    ) -> Any:
        """Run a query and return its value.

        Arguments are variables of the query. Raises `QueryError` when the cluster refuses it,
        `Unavailable` when nobody took it, `OutcomeUnknown` when it may have been applied,
        `SystemError` when the client is closed.
        """
        return self.run(query, arguments, **named).value

    def run(
        self, query: str | Template, arguments: Mapping[str, Any] | None = None, /, **named: Any
    ) -> Result:
        """Run a query and return its value with all that was said about it; raises like `query`."""
        return self._core.run(query, {**(arguments or {}), **named}, self._query_timeout_s)

    def pages(
        self, query: str | Template, arguments: Mapping[str, Any] | None = None, /, **named: Any
    ) -> Iterator[Page]:
        """Read a set page by page. Raises `TypeError` when the query returns no set."""
        page = next_page(self.query(query, arguments, **named))
        yield page
        while page.after is not None:
            page = next_page(self.query("Set.paginate(after)", after=page.after))
            yield page

    def close(self) -> None:
        """Take no more queries, and close the connections; may be called again."""
        self._core.close(CLOSE_WAIT_S)
        self._finalizer.detach()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "connected" if self.is_connected else "closed" if self._core.closed else "away"
        return f"<fauna_client.Client {state} {', '.join(self._core.directory.order())}>"


class _Core:
    """All but the face of a client, so that its thread does not keep a forgotten one alive."""

    def __init__(self, settings: Settings, connect_s: float) -> None:
        self.connect_s = connect_s
        self.directory = Directory(settings.endpoints)
        self.last_txn_ts = 0
        self.closed = False
        self._secret = settings.secret
        self._lines = Lines(settings)
        self._changed = threading.Condition()
        self._under_way = 0
        self._found = Found()
        self._surveyed = threading.Event()  # the first time, with success or a refusal
        self._look = threading.Event()  # somebody failed: look at once
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._survey, name="fauna_client", daemon=True)

    def connect(self) -> None:
        began = time.monotonic()
        self._thread.start()
        self._surveyed.wait(self.connect_s)
        if self._found.refused is not None:
            raise self._found.refused
        if self.directory.cluster is None:
            seconds = time.monotonic() - began
            raise Unavailable(f"not connected within {seconds:.1f} s: {self._found.problem}")

    def run(self, query: str | Template, arguments: dict[str, Any], timeout_s: float) -> Result:
        call = new_call(
            query,
            arguments,
            nonce=secrets.token_bytes(16),
            secret=self._secret,
            last_txn_ts=self.last_txn_ts,
            timeout_s=timeout_s,
            connect_s=self.connect_s,
        )
        with self._in_flight():
            steps = course(call, self.directory, time.monotonic, random.random)
            calm = False
            try:
                result = self._carry_out(steps)
                calm = result.attempts == 1
            finally:
                if not calm:
                    self._look.set()
        with self._changed:
            self.last_txn_ts = max(self.last_txn_ts, result.txn_ts)
        return result

    def count(self) -> int:
        with self._in_flight():
            found = self._carry_out(
                survey(self.directory, time.monotonic, self.connect_s, first=True)
            )
        if found.cluster is None:
            raise found.refused or Unavailable(found.problem)
        return found.cluster.node_count

    def close(self, wait_s: float) -> None:
        with self._changed:
            self.closed = True
            self._stop.set()
            self._look.set()
            self._changed.wait_for(lambda: not self._under_way, wait_s)
            last = not self._under_way
        if last:
            self._lines.close()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(wait_s)

    def _survey(self) -> None:
        """Look for members until closed: soon after a failure, else now and then."""
        with contextlib.suppress(SystemError):
            while True:
                self._look.clear()
                first = self.directory.cluster is None
                with self._in_flight():
                    steps = survey(self.directory, time.monotonic, self.connect_s, first=first)
                    self._found = self._carry_out(steps)
                known = self.directory.cluster is not None
                if known or self._found.refused is not None:
                    self._surveyed.set()
                if (known and first) or self._stop.wait(AGAIN_S):
                    continue
                if self._found.cluster is not None:
                    self._look.wait(EVERY_S * random.uniform(0.8, 1.2))  # noqa: S311

    def _carry_out(self, steps: Generator[Step, Happened, _T]) -> _T:
        came: Happened = None
        while True:
            try:
                step = steps.send(came)
            except StopIteration as end:
                result: _T = end.value
                return result
            came = None
            if isinstance(step, Wait):
                time.sleep(step.seconds)
            else:
                answer: httpx.Response | Exception
                try:
                    answer = self._lines.request(step.pool_s, request_of(step, self._secret))
                except (httpx.HTTPError, httpx.InvalidURL) as error:
                    answer = error
                came = happened(answer)

    @contextlib.contextmanager
    def _in_flight(self) -> Iterator[None]:
        with self._changed:
            if self.closed:
                raise SystemError(CLOSED)
            self._under_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                last = self.closed and not self._under_way
                self._changed.notify_all()
            if last:
                self._lines.close()
