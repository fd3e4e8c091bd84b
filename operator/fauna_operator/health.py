"""What does the operator answer on its health port? `/livez`, `/readyz`, and `/metrics`.

House rule: `/livez` says what is true, so that a kubelet restarts an operator that only looks
alive. The trap: a standby is ready too, or the second replica would never be rolled out.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from fauna_operator.liveness import Pulse, WatchDied
from fauna_operator.metrics import Metrics

CHECK_S = 5.0


@asynccontextmanager
async def served(port: int, pulse: Pulse, metrics: Metrics) -> AsyncIterator[int]:
    """Answer on a port, 0 for any free one, until the context ends; gives the port."""

    async def live(_: web.Request) -> web.Response:
        silent = pulse.silent(time.monotonic())
        return web.Response(text="; ".join(silent) or "ok", status=503 if silent else 200)

    async def ready(_: web.Request) -> web.Response:
        return web.Response(text="leader" if metrics.leads else "standby")

    async def scrape(_: web.Request) -> web.Response:
        kind = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        return web.Response(body=metrics.text(), headers=kind)

    application = web.Application()
    application.add_routes(
        [web.get("/livez", live), web.get("/readyz", ready), web.get("/metrics", scrape)]
    )
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=port).start()
        yield max(runner.addresses, key=_is_ipv4)[1]  # any free port is another one for IPv6
    finally:
        await runner.cleanup()


async def watch_the_watches(pulse: Pulse, check_s: float = CHECK_S) -> None:
    """Return never. Raises `WatchDied` when a stream was not heard in time."""
    while not (silent := pulse.silent(time.monotonic())):  # noqa: ASYNC110 silence tells nobody
        await asyncio.sleep(check_s)
    raise WatchDied("; ".join(silent))


def _is_ipv4(address: tuple[object, ...]) -> bool:
    return len(address) == 2
