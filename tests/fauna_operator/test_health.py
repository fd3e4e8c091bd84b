"""What the operator says of itself on its health port is true."""

import asyncio
import time

import aiohttp
import kopf
import pytest
from aiohttp import web

from fauna_operator.health import served, watch_the_watches
from fauna_operator.liveness import RELIST, RELIST_S, STREAM_S, Pulse, WatchDied
from fauna_operator.metrics import Metrics
from fauna_operator.wiring import Ears

PODS = "/api/v1/namespaces/shop/pods"
HANG_S = 20.0


def test_a_stream_is_held_to_its_limit() -> None:
    """A stream that is not heard for three minutes is named; one that is heard starts again."""
    pulse = Pulse()
    pulse.expect([PODS], 100.0)
    assert [] == pulse.silent(100.0 + STREAM_S)

    assert [f"{PODS} was not heard for 181 s"] == pulse.silent(100.0 + STREAM_S + 1)

    pulse.heard(PODS, 280.0)
    assert [] == pulse.silent(280.0 + STREAM_S)


def test_the_list_is_held_to_its_own_limit() -> None:
    """Lists may fail for a quarter of an hour, while the streams speak."""
    pulse = Pulse()
    pulse.expect([PODS], 0.0)
    pulse.heard(PODS, RELIST_S)
    assert [] == pulse.silent(RELIST_S)

    assert [f"{RELIST} was not heard for 901 s"] == pulse.silent(RELIST_S + 1)


def test_a_standby_expects_nothing() -> None:
    """Who watches nothing is alive, whatever speaks."""
    pulse = Pulse()
    pulse.heard(PODS, 5.0)

    assert ([], {}) == (pulse.silent(1e9), pulse.ages(1e9))


def test_the_ports_answers_follow_the_pulse() -> None:
    """`/livez` fails with the silent stream's name, `/readyz` tells leader from standby."""
    pulse, metrics = Pulse(), Metrics()

    async def ask() -> list[tuple[int, str]]:
        async with served(0, pulse, metrics) as port, aiohttp.ClientSession() as session:

            async def get(path: str) -> tuple[int, str]:
                async with session.get(f"http://127.0.0.1:{port}{path}") as answer:
                    return answer.status, await answer.text()

            standby = [await get("/livez"), await get("/readyz")]
            metrics.leads = True
            pulse.expect([PODS], time.monotonic() - STREAM_S - 60)
            return [*standby, await get("/livez"), await get("/readyz")]

    assert [
        (200, "ok"),
        (200, "standby"),
        (503, f"{PODS} was not heard for 240 s"),
        (200, "leader"),
    ] == asyncio.run(ask())


def test_a_dead_stream_ends_the_process() -> None:
    """The check raises, and what runs beside it ends."""
    pulse = Pulse()
    pulse.expect([PODS], time.monotonic() - STREAM_S - 60)

    with pytest.raises(WatchDied, match="pods was not heard for 240 s"):
        asyncio.run(watch_the_watches(pulse))


@pytest.mark.parametrize(
    ("asked", "status", "heard"),
    [
        (f"/k8s{PODS}?watch=true", 200, True),
        (f"/k8s{PODS}", 200, False),
        (f"/k8s{PODS}?watch=true", 429, False),
        ("/k8s/api/v1/namespaces/other/pods?watch=true", 200, False),
    ],
)
def test_only_an_answered_watch_is_heard(asked: str, status: int, heard: bool) -> None:
    """A stream speaks when the API server begins to answer it: no list, no refusal, no other."""
    pulse, metrics = Pulse(), Metrics()

    async def ask() -> None:
        async def answer(_: web.Request) -> web.Response:
            return web.Response(status=status)

        application = web.Application()
        application.add_routes([web.get("/{path:.*}", answer)])
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server = f"http://127.0.0.1:{runner.addresses[0][1]}/k8s"
        ears = Ears(pulse, metrics, ("shop",))
        session = ears.session(kopf.ConnectionInfo(server=server)).aiohttp_session
        url = server.removesuffix("/k8s") + asked
        async with asyncio.timeout(HANG_S), session, session.get(url) as answered:
            await answered.read()
        await runner.cleanup()

    asyncio.run(ask())
    assert heard == (("shop", "pods") in metrics.stream_times)
