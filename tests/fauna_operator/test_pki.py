"""Certificates, and the admin API's door over real mutual TLS."""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from fauna_operator import pki
from fauna_operator.database import Address, Door
from fauna_operator.errors import OperatorError, Refused, Stale, Unreachable

NOW = 1_800_000_000.0  # 2027
ID = "6f1c2b0e9a7d4f53b8e1d2c3a4f5e607"
Check = Callable[[Door, Address], Awaitable[None]]
HOST = "orders-1.orders-members.default.svc"


def test_a_leaf_says_who_it_is() -> None:
    """A leaf names member and cluster, lasts 90 days, and is read back."""
    authority = pki.make_authority("orders", NOW)
    leaf = pki.issue(authority, cluster_id=ID, names=(HOST,), now=NOW)

    seen = pki.inspect(leaf.certificate, authority.certificate)

    assert (ID, HOST, NOW + 90 * 86_400) == (seen.cluster_id, seen.host, seen.not_after)
    assert pki.fingerprint(authority.certificate) == seen.authority


def test_what_is_no_certificate_is_refused() -> None:
    """Bytes that are not PEM raise ValueError; the observer counts them as missing."""
    with pytest.raises(ValueError, match="PEM"):
        pki.inspect(b"nonsense", b"nonsense")


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (409, "configuration_changed", Stale),
        (409, "not_leader", Stale),
        (409, "change_refused", Refused),
        (409, "already_initialized", Refused),
        (503, "outcome_unknown", Unreachable),
    ],
)
def test_answers_of_a_member(
    status: int, code: str, expected: type[OperatorError], tmp_path: Path
) -> None:
    """Each code of the admin API becomes what the loop does next."""

    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"error": {"code": code, "message": "why"}}, status=status)

    async def tell(door: Door, address: Address) -> None:
        with pytest.raises(expected, match="why"):
            await door.tell(address, "/cluster/init", {})

    asyncio.run(_with_member(tmp_path, [web.post("/cluster/init", refuse)], tell))


def test_a_member_is_verified_by_its_name(tmp_path: Path) -> None:
    """The right name is believed, another member's is not, nor is another authority."""

    async def cluster(request: web.Request) -> web.Response:
        assert request.transport is not None
        assert request.transport.get_extra_info("peercert"), "the operator shows its own leaf"
        body = {"state": "waiting", "cluster_id": ID, "incarnation": 1, "member_id": 1}
        return web.json_response({**body, "unknown_to_us": True})

    async def ask(door: Door, address: Address) -> None:
        assert "waiting" == (await door.ask(address)).state
        with pytest.raises(Unreachable):
            await door.ask(Address(2, address.ip, HOST.replace("-1.", "-2."), address.port))
        door.trust(pki.make_authority("other", time.time()), ID, time.time())
        with pytest.raises(Unreachable):
            await door.ask(address)

    asyncio.run(_with_member(tmp_path, [web.get("/cluster", cluster)], ask))


async def _with_member(folder: Path, routes: list[web.RouteDef], check: Check) -> None:
    authority = pki.make_authority("orders", time.time())
    leaf = pki.issue(authority, cluster_id=ID, names=(HOST,), now=time.time())
    (folder / "leaf.pem").write_bytes(leaf.certificate + leaf.key)
    context = ssl.create_default_context(
        ssl.Purpose.CLIENT_AUTH, cadata=authority.certificate.decode()
    )
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(folder / "leaf.pem")
    application = web.Application()
    application.add_routes(routes)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = int(runner.addresses[0][1])
    door = Door()
    try:
        door.trust(authority, ID, time.time())
        await check(door, Address(1, "127.0.0.1", HOST, port))
    finally:
        await door.close()
        await runner.cleanup()
