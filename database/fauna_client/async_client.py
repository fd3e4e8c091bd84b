"""The twin of `Client` for event loops: same arguments, errors and rules.

    async with AsyncClient() as client:
        await client.query("Users.all().count()")

Trap: it belongs to the loop on which it was opened, and `open` starts a task there.
"""

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Generator, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from fauna_client.course import course
from fauna_client.directory import Directory
from fauna_client.errors import Unavailable
from fauna_client.exchange import (
    CLOSED,
    happened,
    limits,
    new_call,
    next_page,
    request_of,
    verified,
)
from fauna_client.settings import (
    CONNECT_TIMEOUT_S,
    CONNECTIONS,
    QUERY_TIMEOUT_S,
    positive_s,
    read_settings,
)
from fauna_client.steps import Happened, Step, Wait
from fauna_client.survey import AGAIN_S, EVERY_S, Found, survey
from fauna_client.template import Template
from fauna_client.values import Page, Result

_T = TypeVar("_T")


class AsyncClient:
    """A client for one event loop; connects in `open` or `async with`, not when it is made.

    Arguments and attributes are those of `Client`.
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
        self._settings = read_settings(endpoint, endpoints, secret, connections)
        self.connect_timeout = positive_s("connect_timeout", connect_timeout)
        self.query_timeout = positive_s("query_timeout", query_timeout)
        self.last_txn_ts = 0
        self._directory = Directory(self._settings.endpoints)
        self._http: httpx.AsyncClient | None = None  # None before `open` and after `close`
        self._group: asyncio.TaskGroup | None = None
        self._task: asyncio.Task[None] | None = None
        self._found = Found()

    async def open(self) -> None:
        """Connect. Raises `ConnectionError` when nobody answers within `connect_timeout`."""
        if self._http is not None:
            return
        self._http = httpx.AsyncClient(
            verify=verified(self._settings), trust_env=False, limits=limits(self._settings)
        )
        self._look, self._surveyed = asyncio.Event(), asyncio.Event()
        self._group = await asyncio.TaskGroup().__aenter__()
        self._task = self._group.create_task(self._survey())
        try:
            async with asyncio.timeout(self.connect_timeout):
                await self._surveyed.wait()
        except TimeoutError:
            pass
        except BaseException:
            await self.close()
            raise
        if self._found.refused is not None or self._directory.cluster is None:
            await self.close()
            raise self._found.refused or Unavailable(
                f"not connected within {self.connect_timeout:g} s: {self._found.problem}"
            )

    async def close(self) -> None:
        """Take no more queries, and close the connections; may be called again."""
        http, self._http = self._http, None
        group, self._group = self._group, None
        if self._task is not None:
            self._task.cancel()
        if group is not None:
            await group.__aexit__(None, None, None)
        if http is not None:
            await http.aclose()

    @property
    def is_connected(self) -> bool:
        """Whether a member answered, and has not failed since; asks nobody."""
        return self._http is not None and self._directory.reachable

    async def get_node_count(self) -> int:
        """Ask how many voters and learners the cluster has; 0 when closed."""
        if self._http is None:
            return 0
        steps = survey(self._directory, time.monotonic, self.connect_timeout, first=True)
        found = await self._carry_out(steps)
        if found.cluster is None:
            raise found.refused or Unavailable(found.problem)
        return found.cluster.node_count

    async def query(
        self, query: str | Template, arguments: Mapping[str, Any] | None = None, /, **named: Any
    ) -> Any:
        """Run a query and return its value; see `Client.query`."""
        return (await self.run(query, arguments, **named)).value

    async def run(
        self, query: str | Template, arguments: Mapping[str, Any] | None = None, /, **named: Any
    ) -> Result:
        """Run a query and return its value with all that was said about it."""
        if self._http is None:
            raise SystemError(CLOSED)
        call = new_call(
            query,
            {**(arguments or {}), **named},
            nonce=secrets.token_bytes(16),
            secret=self._settings.secret,
            last_txn_ts=self.last_txn_ts,
            timeout_s=positive_s("query_timeout", self.query_timeout),
            connect_s=positive_s("connect_timeout", self.connect_timeout),
        )
        calm = False
        try:
            steps = course(call, self._directory, time.monotonic, random.random)
            result = await self._carry_out(steps)
            calm = result.attempts == 1
        finally:
            if not calm:
                self._look.set()
        self.last_txn_ts = max(self.last_txn_ts, result.txn_ts)
        return result

    async def pages(
        self, query: str | Template, arguments: Mapping[str, Any] | None = None, /, **named: Any
    ) -> AsyncIterator[Page]:
        """Read a set page by page. Raises `TypeError` when the query returns no set."""
        page = next_page(await self.query(query, arguments, **named))
        yield page
        while page.after is not None:
            page = next_page(await self.query("Set.paginate(after)", after=page.after))
            yield page

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _survey(self) -> None:
        while True:
            self._look.clear()
            first = self._directory.cluster is None
            steps = survey(self._directory, time.monotonic, self.connect_timeout, first=first)
            self._found = await self._carry_out(steps)
            known = self._directory.cluster is not None
            if known or self._found.refused is not None:
                self._surveyed.set()
            if known and first:
                continue
            await asyncio.sleep(AGAIN_S)
            if self._found.cluster is not None:
                try:
                    async with asyncio.timeout(EVERY_S * random.uniform(0.8, 1.2)):  # noqa: S311
                        await self._look.wait()
                except TimeoutError:
                    pass

    async def _carry_out(self, steps: Generator[Step, Happened, _T]) -> _T:
        came: Happened = None
        while True:
            try:
                step = steps.send(came)
            except StopIteration as end:
                result: _T = end.value
                return result
            came = None
            if isinstance(step, Wait):
                await asyncio.sleep(step.seconds)
                continue
            if self._http is None:
                raise SystemError(CLOSED)
            answer: httpx.Response | Exception
            try:
                answer = await self._http.request(**request_of(step, self._settings.secret))
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                answer = error
            came = happened(answer)
