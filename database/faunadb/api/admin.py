"""The admin port: what operators ask of a member, over mutual TLS (`docs/admin-api.md`).

`/livez`, `/readyz` and `/metrics` answer without a client certificate, because a kubelet and a
Prometheus have none; all else needs a leaf of this cluster.

Trap: the TLS handshake only *asks* for a certificate here. `_demand` is what refuses, on every
path but those three; unknown paths included.
"""

import ssl
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from faunadb.api.ports import Administration, SnapshotStream
from faunadb.net.tls import clusters_of, roles_of
from faunadb.node.report import (
    InitAsked,
    MembershipAsked,
    OpenAsked,
    Refused,
    TransferAsked,
)

BODY_BYTES_MAX = 64 * 1024
_ANONYMOUS = frozenset({"/livez", "/readyz", "/metrics"})
_ALLOWED = {"backup": frozenset({"/cluster", "/snapshot", "/log"})}  # by role: what it may GET
_STATUS: dict[str, int] = {
    "invalid_request": 400,
    "certificate_required": 403,
    "role_forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "not_leader": 409,
    "configuration_changed": 409,
    "change_refused": 409,
    "already_initialized": 409,
    "voters_missing": 409,
    "log_gone": 410,
    "snapshot_gone": 412,
    "request_size_exceeded": 413,
    "waiting": 503,
    "unavailable": 503,
    "outcome_unknown": 503,
}
_encode = msgspec.json.Encoder().encode
_Asked = TypeVar("_Asked")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class AdminServer:
    """Serves `administration` to whoever shows a leaf of `cluster_id` (32 hex digits)."""

    def __init__(self, administration: Administration, cluster_id: str) -> None:
        self._administration, self._cluster_id = administration, cluster_id
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int, context: ssl.SSLContext) -> int:
        """Listen and return the port. Raises OSError."""
        app = web.Application(middlewares=[self._guard], client_max_size=BODY_BYTES_MAX)
        app.router.add_get("/cluster", self._cluster, allow_head=False)
        app.router.add_post("/cluster/init", self._init)
        app.router.add_post("/cluster/open", self._open)
        app.router.add_post("/cluster/membership", self._membership)
        app.router.add_post("/cluster/transfer", self._transfer)
        app.router.add_get("/snapshot", self._snapshot, allow_head=False)
        app.router.add_get("/log", self._log, allow_head=False)
        app.router.add_get("/metrics", self._metrics, allow_head=False)
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, ssl_context=context, reuse_address=True)
        await site.start()
        bound: int = self._runner.addresses[0][1]
        return bound

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    # ------------------------------------------------------------ around every request

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Demand a certificate, and turn refusals into bodies."""
        try:
            self._demand(request)
            return await handler(request)
        except Refused as refused:
            return _refusal(refused)
        except web.HTTPRequestEntityTooLarge:
            return _error("request_size_exceeded", "the body is too large")
        except web.HTTPMethodNotAllowed:
            return _error("method_not_allowed", "method not allowed")
        except web.HTTPNotFound:
            return _error("not_found", "not found")

    def _demand(self, request: web.Request) -> None:
        if request.path in _ANONYMOUS:
            return
        transport = request.transport
        leaf = transport.get_extra_info("peercert") if transport is not None else None
        if self._cluster_id not in clusters_of(leaf):
            raise _Anonymous
        for role in roles_of(leaf):
            if request.method != "GET" or request.path not in _ALLOWED.get(role, ()):
                raise _RoleForbidden(role)

    # ------------------------------------------------------------ the paths

    async def _cluster(self, _: web.Request) -> web.Response:
        return _answer(await self._administration.cluster())

    async def _init(self, request: web.Request) -> web.Response:
        return _answer(await self._administration.init(await _read(request, InitAsked)))

    async def _open(self, request: web.Request) -> web.Response:
        await self._administration.open(await _read(request, OpenAsked))
        return _answer({"open": True})

    async def _membership(self, request: web.Request) -> web.Response:
        asked = await _read(request, MembershipAsked)
        _check_membership(asked)
        return _answer({"configuration": await self._administration.membership(asked)})

    async def _transfer(self, request: web.Request) -> web.Response:
        asked = await _read(request, TransferAsked)
        return _answer({"leader": await self._administration.transfer(asked)})

    async def _snapshot(self, request: web.Request) -> web.StreamResponse:
        offset, digest = _range(request)
        fresh = _fresh(request)
        if fresh and digest is not None:
            raise Refused("invalid_request", "a fresh snapshot has no If-Match")
        stream = await self._administration.snapshot(offset, digest, fresh=fresh)
        response = web.StreamResponse(
            status=206 if offset else 200, headers=_snapshot_headers(stream, offset)
        )
        response.content_length = stream.size_bytes - offset
        async with aclosing(stream.chunks) as chunks:
            await response.prepare(request)
            async for chunk in chunks:
                await response.write(chunk)
        await response.write_eof()
        return response

    async def _log(self, request: web.Request) -> web.StreamResponse:
        stream = await self._administration.log(_from(request))
        headers = {
            "content-type": "application/octet-stream",
            "x-fauna-incarnation": str(stream.incarnation),
            "x-fauna-incarnation-salt": stream.incarnation_salt,
            "x-fauna-log-last": str(stream.last),
        }
        response = web.StreamResponse(headers=headers)
        async with aclosing(stream.chunks) as chunks:
            await response.prepare(request)
            async for chunk in chunks:
                await response.write(chunk)
        await response.write_eof()
        return response

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(
            body=self._administration.metrics(),
            headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    async def _livez(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        reason = self._administration.ready()
        return web.Response(status=503 if reason else 200, text=f"{reason or 'ready'}\n")


class _Anonymous(Refused):
    """No leaf of this cluster. Raised as a class: it always says the same."""

    def __init__(self) -> None:
        super().__init__("invalid_request", "a client certificate of this cluster is required")


class _RoleForbidden(Refused):
    """The leaf is limited to a role that may not do this."""

    def __init__(self, role: str) -> None:
        super().__init__("invalid_request", f"a certificate of role {role} may not do this")


async def _read(request: web.Request, kind: type[_Asked]) -> _Asked:
    """Decode a body; raises `Refused`."""
    try:
        return msgspec.json.decode(await request.read() or b"{}", type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refused("invalid_request", f"the body is not what it should be: {error}") from None


def _check_membership(asked: MembershipAsked) -> None:
    """Each op needs its own fields, and no others."""
    needed = {
        "add_learner": (True, False, False),
        "promote": (False, True, False),
        "remove": (False, False, False),
        "swap": (False, True, True),
    }[asked.op]
    member = asked.member
    given = (member.name is not None, member.nonce is not None, asked.outgoing is not None)
    if given != needed:
        raise Refused("invalid_request", f"{asked.op} with the wrong fields")
    if member.nonce is not None and (
        len(member.nonce) != 32 or set(member.nonce) - set("0123456789abcdef")
    ):
        raise Refused("invalid_request", "a nonce is 32 lower-case hex digits")


def _range(request: web.Request) -> tuple[int, str | None]:
    """Return offset and digest of a download that goes on."""
    begin = request.headers.get("range", "bytes=0-")
    digest = request.headers.get("if-match", "").strip('"') or None
    number = begin.removeprefix("bytes=").removesuffix("-")
    if not begin.startswith("bytes=") or not number.isdecimal() or len(number) > 18:
        raise Refused("invalid_request", "Range is bytes=N-")
    if int(number) and digest is None:
        raise Refused("invalid_request", "Range needs If-Match")
    return int(number), digest


def _from(request: web.Request) -> int:
    """Return the entry from which the log is wanted."""
    asked = request.query.get("from", "")
    if not asked.isdecimal() or not 1 <= len(asked) <= 18 or request.query.keys() - {"from"}:
        raise Refused("invalid_request", "the query string is from=INDEX")
    if int(asked) < 1:
        raise Refused("invalid_request", "the log begins at 1")
    return int(asked)


def _fresh(request: web.Request) -> bool:
    """Return whether a snapshot of now is asked for; no other word is understood."""
    asked = request.query.get("fresh", "false")
    if asked not in {"true", "false"} or request.query.keys() - {"fresh"}:
        raise Refused("invalid_request", "the query string is fresh=true or nothing")
    return asked == "true"


def _snapshot_headers(stream: SnapshotStream, offset: int) -> dict[str, str]:
    headers = {
        "content-type": "application/octet-stream",
        "etag": f'"{stream.digest}"',
        "accept-ranges": "bytes",
        "x-fauna-snapshot-index": str(stream.index),
        "x-fauna-snapshot-term": str(stream.term),
    }
    if offset:
        last = stream.size_bytes - 1
        headers["content-range"] = f"bytes {offset}-{last}/{stream.size_bytes}"
    return headers


def _answer(body: Any) -> web.Response:
    return web.Response(body=_encode(body), content_type="application/json")


def _refusal(refused: Refused) -> web.Response:
    code: str = refused.code
    if isinstance(refused, _Anonymous):
        code = "certificate_required"
    elif isinstance(refused, _RoleForbidden):
        code = "role_forbidden"
    return _error(code, refused.message, refused)


def _error(code: str, message: str, refused: Refused | None = None) -> web.Response:
    body: dict[str, Any] = {
        "error": {"code": code, "message": message},
        "leader": refused.leader if refused else None,
        "configuration": refused.configuration if refused else None,
    }
    if refused is not None and refused.first is not None:
        body["first"] = refused.first
    return web.Response(status=_STATUS[code], body=_encode(body), content_type="application/json")
