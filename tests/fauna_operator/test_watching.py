"""kopf's own streams, against a small API server: each is heard, and one that dies is noticed."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from fauna_operator import wiring
from fauna_operator.changes import Changes
from fauna_operator.kube import PATHS
from fauna_operator.liveness import STREAM_S, Pulse
from fauna_operator.metrics import Metrics
from fauna_operator.settings import Settings
from fauna_operator.supervise import Supervisor
from fauna_operator.wiring import Bell, Ears

HANG_S = 60.0
NAMESPACE = "shop"
STREAMS = {
    f"{base}/namespaces/{NAMESPACE}/{plural}"
    for base, plural in (PATHS[kind] for kind in wiring.WATCHED)
}


class Server:
    """Discovery, empty lists, and streams that say nothing until they are cut."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.answers = True
        self.unanswered = set[str]()
        self._cut = asyncio.Event()

    def cut(self) -> None:
        """End every stream that is open."""
        self._cut.set()
        self._cut = asyncio.Event()

    async def discover(self, request: web.Request) -> web.Response:
        path = request.path
        groups = {base for base, _ in PATHS.values() if base.startswith("/apis/")}
        if path == "/api":
            return web.json_response({"versions": ["v1"]})
        if path == "/apis":
            found = [base.split("/")[2:] for base in sorted(groups)]
            versions = [(name, {"version": version}) for name, version in found]
            told = [{"name": n, "versions": [v], "preferredVersion": v} for n, v in versions]
            return web.json_response({"groups": told})
        if path in groups | {"/api/v1"}:
            return web.json_response({"resources": [*self._resources(path)]})
        return web.json_response({"message": "no such path"}, status=404)

    def _resources(self, path: str) -> list[dict[str, Any]]:
        verbs = ["get", "list", "watch"]
        return [
            {"name": plural, "kind": kind, "namespaced": True, "verbs": verbs, "singularName": ""}
            for kind, (base, plural) in PATHS.items()
            if base == path
        ]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        if request.path not in STREAMS:
            return await self.discover(request)
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "7"}, "items": []})
        cut = self._cut
        if not self.answers:
            self.unanswered.add(request.path)
            await cut.wait()
        self.opened.append(request.path)
        response = web.StreamResponse()
        await response.prepare(request)
        await cut.wait()
        return response


@asynccontextmanager
async def watching(folder: Path) -> AsyncIterator[tuple[Server, Pulse, Metrics]]:
    """The operator's streams, on a server of this test."""
    server, pulse, metrics = Server(), Pulse(), Metrics()
    application = web.Application()
    application.add_routes([web.get("/{path:.*}", server.serve)])
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    settings = Settings(namespaces=(NAMESPACE,), kubeconfig=str(folder / "kubeconfig"))
    address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    (folder / "kubeconfig").write_text(json.dumps(kubeconfig(address)))
    ears = Ears(pulse, metrics, settings.namespaces)
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(wiring._watch(Bell(Supervisor({}), Changes()), settings, ears))
            try:
                yield server, pulse, metrics
            finally:
                server.cut()
                task.cancel()
    finally:
        await runner.cleanup()


def kubeconfig(address: str) -> dict[str, Any]:
    named = {"name": "it"}
    return {
        "current-context": "it",
        "contexts": [{**named, "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{**named, "cluster": {"server": address}}],
        "users": [{**named, "user": {"token": "t"}}],
    }


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(HANG_S):
        while not holds():  # noqa: ASYNC110 kopf tells nobody
            await asyncio.sleep(0.05)


def test_every_stream_is_heard_and_a_dead_one_is_not(tmp_path: Path) -> None:
    """Each stream speaks when it is opened, and again after it was cut; else it grows silent."""

    async def live() -> None:
        async with watching(tmp_path) as (server, pulse, metrics):
            heard = metrics.stream_times
            await until(lambda: len(heard) == len(STREAMS))
            assert STREAMS == set(server.opened)

            first = dict(heard)
            server.cut()
            await until(lambda: all(heard[key] > first[key] for key in first))

            server.answers, last = False, dict(heard)
            server.cut()
            await until(lambda: server.unanswered == STREAMS)
            assert last == heard
            silent = {line.split()[0] for line in pulse.silent(time.monotonic() + STREAM_S)}
            assert STREAMS == silent

    asyncio.run(live())
