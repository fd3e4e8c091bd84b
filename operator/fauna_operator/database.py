"""What do the members themselves say? The admin API of docs/admin-api.md, over mutual TLS.

Members are called by pod IP and verified by DNS name; all are asked in parallel, each with its
own deadline. Trap: no answer is not an answer; it never means "there is none".
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

import aiohttp
import msgspec

from fauna_operator.errors import OperatorError, Refused, Stale, Unreachable
from fauna_operator.model import Answer
from fauna_operator.pki import KeyPair, client_context, issue
from fauna_operator.render.names import ADMIN_PORT

ASK_DEADLINE_S = 2.0
CHANGE_DEADLINE_S = 10.0  # a change answers when it is committed
LEAF_RENEW_S = 30 * 86_400.0  # of its 90 days
ANSWER_BYTES_MAX = 4 * 1024 * 1024  # 31 members need some 20 KiB


class Address(msgspec.Struct, frozen=True):
    """Where a member is, and by which name it is verified."""

    serial: int
    ip: str
    host: str
    port: int = ADMIN_PORT


class Members(Protocol):
    """What the operator asks of members; the tests' model of a cluster implements it too."""

    async def ask(self, address: Address) -> Answer:
        """`GET /cluster`. Raises `Unreachable` or `Refused`."""
        ...

    async def tell(self, address: Address, path: str, body: Mapping[str, Any]) -> None:
        """`POST` a change. Raises `Stale`, `Refused`, or `Unreachable` (it may have happened)."""
        ...

    def trust(self, authority: KeyPair, cluster_id: str, now: float) -> None:
        """Believe this CA, and show a leaf of it that names this cluster."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class Door:
    """The members of one cluster, over the network."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._trusted: tuple[bytes, str] | None = None
        self._trusted_at = 0.0
        self._context: Any = None

    def trust(self, authority: KeyPair, cluster_id: str, now: float) -> None:
        """Believe this CA, and show a leaf of it that names this cluster."""
        known = (authority.certificate, cluster_id)
        if known != self._trusted or now - self._trusted_at > LEAF_RENEW_S:
            leaf = issue(authority, cluster_id=cluster_id, names=(), now=now)
            self._context = client_context(authority.certificate, leaf)
            self._trusted, self._trusted_at = known, now

    async def ask(self, address: Address) -> Answer:
        """`GET /cluster`. Raises `Unreachable` or `Refused`."""
        text = await self._call("GET", address, "/cluster", None, ASK_DEADLINE_S)
        try:
            return msgspec.json.decode(text, type=Answer)
        except msgspec.DecodeError as error:
            raise Refused(f"its answer is not of the admin API: {error}") from error

    async def tell(self, address: Address, path: str, body: Mapping[str, Any]) -> None:
        """`POST` a change. Raises `Stale`, `Refused`, or `Unreachable` (it may have happened)."""
        await self._call("POST", address, path, body, CHANGE_DEADLINE_S)

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def _call(
        self,
        method: str,
        address: Address,
        path: str,
        body: Mapping[str, Any] | None,
        deadline_s: float,
    ) -> bytes:
        if self._context is None:
            raise Unreachable("there is no CA yet")
        if self._session is None:
            # a new connection each time: pod IPs are used again by other pods
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(force_close=True), trust_env=False
            )
        try:
            async with asyncio.timeout(deadline_s):
                async with self._session.request(
                    method,
                    f"https://{_bracketed(address.ip)}:{address.port}{path}",
                    data=msgspec.json.encode(body) if body is not None else None,
                    headers={"Content-Type": "application/json"},
                    ssl=self._context,
                    server_hostname=address.host,
                ) as response:
                    text = await response.content.read(ANSWER_BYTES_MAX)
                    if response.status == 200:
                        return text
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Unreachable(str(error) or f"no answer within {deadline_s:g} s") from error
        raise _translated(response.status, text)


class _Fault(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Envelope(msgspec.Struct):
    error: _Fault = msgspec.field(default_factory=_Fault)


def _translated(status: int, text: bytes) -> OperatorError:
    try:
        fault = msgspec.json.decode(text, type=_Envelope).error
    except msgspec.DecodeError:
        fault = _Fault(str(status), text[:200].decode(errors="replace"))
    if fault.code in ("configuration_changed", "not_leader"):
        return Stale(fault.message)
    if status >= 500:
        return Unreachable(fault.message)
    return Refused(fault.message, code=fault.code)


def _bracketed(ip: str) -> str:
    return f"[{ip}]" if ":" in ip else ip
