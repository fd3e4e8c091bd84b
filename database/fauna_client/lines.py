"""The sockets of a client that threads share: one line for one request at a time.

A pool of httpx that several threads use at once may look whether an idle connection is still
good just while another thread begins to use it, and close it under its hands (seen with httpcore
1.0.9: `ReadError: Bad file descriptor`). Here a line belongs to who took it.
"""

import queue
from typing import Any

import httpx

from fauna_client.exchange import IDLE_S, verified
from fauna_client.settings import Settings


class Lines:
    """At most `settings.connections` sockets; the one used last is taken first."""

    def __init__(self, settings: Settings) -> None:
        self._free: queue.LifoQueue[httpx.Client] = queue.LifoQueue()
        only = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=IDLE_S)
        verify = httpx.create_ssl_context(verify=verified(settings))
        self._all = [
            httpx.Client(verify=verify, trust_env=False, limits=only)
            for _ in range(settings.connections)
        ]
        for line in self._all:
            self._free.put(line)

    def request(self, wait_s: float, arguments: dict[str, Any]) -> httpx.Response:
        """Make one request on a free line.

        Raises `httpx.PoolTimeout` when none became free within `wait_s`, else as httpx does.
        """
        try:
            line = self._free.get(timeout=max(0.0, wait_s))
        except queue.Empty:
            raise httpx.PoolTimeout("all lines are busy") from None
        try:
            return line.request(**arguments)
        finally:
            self._free.put(line)

    def close(self) -> None:
        """Close all sockets; nobody may be using one."""
        for line in self._all:
            line.close()
