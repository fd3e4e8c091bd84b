"""Members that are only their admin API, over real TLS, for an operator process to talk to.

The truth about each cluster is the small model of `fauna_operator_world`, with its invariants;
this module carries it to loopback addresses and to a real API server: it binds claims, "runs" pods
and answers for them. One FaunaCluster `orders` a namespace. The trap: pods are never scheduled, so
that deleting one ends it at once, as no kubelet is there to confirm it.
"""

import asyncio
import copy
import secrets
import ssl
import tempfile
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from aiohttp import web

from fauna_operator.database import Address
from fauna_operator.errors import OperatorError, Refused, Stale, Unreachable
from fauna_operator.kube import Kube, Object, connect
from fauna_operator.render import names
from fauna_operator_faults import Broken
from fauna_operator_world import NAME, World

KINDS = (names.KIND, "Pod", "PersistentVolumeClaim")
MEMBERS = f"{names.COMPONENT}=member"
OCTETS = range(16, 240)  # 127.16/16 …: another test may run beside us


@dataclass
class FakeClusters:
    """Every FaunaCluster of an API server, run by nobody; `every_s` is how often it looks."""

    kube: Kube
    runner: web.AppRunner
    every_s: float = 0.5
    network: int = field(default_factory=lambda: OCTETS[secrets.randbelow(len(OCTETS))])
    worlds: dict[str, World] = field(default_factory=dict)  # by namespace
    listening: dict[str, tuple[str, int]] = field(default_factory=dict)  # ip -> member
    broken: list[str] = field(default_factory=list)  # invariants that did not hold

    async def run(self) -> None:
        """Be the kubelets and the members until cancelled."""
        while True:
            try:
                await self.look()
            except OperatorError as error:
                if not isinstance(error, Stale | Unreachable):
                    raise
            await asyncio.sleep(self.every_s)

    async def look(self) -> None:
        """Bring what was asked for about."""
        found: dict[str, dict[tuple[str, str], Object]] = {}
        for kind in KINDS:
            for item in await self.kube.find(kind, "", "" if kind == names.KIND else MEMBERS):
                metadata = item["metadata"]
                found.setdefault(metadata["namespace"], {})[kind, metadata["name"]] = item
        for namespace, objects in found.items():
            world = self.worlds.setdefault(namespace, World())
            said = {key: item.get("status") for key, item in objects.items()}
            world.objects = copy.deepcopy(objects)
            world.kubelets()
            for key, item in world.objects.items():
                if key[0] == "Pod":
                    item["status"] = await self._running(namespace, item)
                if item.get("status") != said[key] and key[0] != names.KIND:
                    await self._tell(item)

    def settled(self) -> int:
        """Return of how many clusters the last look said that all is as asked."""
        ready = [
            entry["status"]
            for world in self.worlds.values()
            for entry in world.objects[names.KIND, NAME].get("status", {}).get("conditions", ())
            if entry["type"] == "Ready"
        ]
        return ready.count("True")

    async def _running(self, namespace: str, pod: Object) -> Object:
        """Return the status of a pod; who runs listens."""
        status: Object = pod["status"]
        if "podIP" not in status:
            return status
        serial = int(pod["metadata"]["labels"][names.SERIAL])
        order = list(self.worlds).index(namespace)
        ip = f"127.{self.network + order // 250}.{order % 250}.{serial}"
        if ip not in self.listening:
            leaf = await self.kube.get("Secret", namespace, f"{NAME}-member-tls-{serial}")
            if leaf is None:
                return {"phase": "Pending"}
            site = web.TCPSite(self.runner, ip, names.ADMIN_PORT, ssl_context=_context(leaf))
            await site.start()
            self.listening[ip] = namespace, serial
        return {**status, "podIP": ip, "podIPs": [{"ip": ip}]}

    async def _tell(self, item: Object) -> None:
        metadata = item["metadata"]
        known = {key: metadata[key] for key in ("namespace", "name")}
        kept = {key: item[key] for key in ("apiVersion", "kind", "status")}
        await self.kube.patch({**kept, "metadata": known}, apply=False, status=True)

    async def answer(self, request: web.Request) -> web.Response:
        """Answer for the member whose address was called."""
        assert request.transport is not None
        ip = request.transport.get_extra_info("sockname")[0]
        namespace, serial = self.listening[ip]
        world, where = self.worlds[namespace], Address(serial, ip, "")
        try:
            if request.method == "GET":
                return web.Response(body=msgspec.json.encode(await world.ask(where)))
            await world.tell(where, request.path, await request.json())
        except Stale as error:
            return _refusal("configuration_changed", error)
        except Refused as error:
            return _refusal(error.code, error)
        except Unreachable:
            request.transport.abort()
        except Broken as error:
            self.broken.append(str(error))
        return web.Response(body=b"{}")


@asynccontextmanager
async def fake_clusters(kubeconfig: Path) -> AsyncIterator[FakeClusters]:
    """Run the members of every FaunaCluster while the block runs."""

    async def answer(request: web.Request) -> web.Response:
        return await fakes.answer(request)

    application = web.Application()
    application.add_routes([web.route("*", "/{path:.*}", answer)])
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        async with await connect(str(kubeconfig)) as client:
            fakes = FakeClusters(Kube(client), runner)
            async with asyncio.TaskGroup() as group:
                task = group.create_task(fakes.run())
                yield fakes
                task.cancel()
    finally:
        await runner.cleanup()


def _refusal(code: str, error: Exception) -> web.Response:
    body = {"error": {"code": code, "message": str(error)}}
    return web.Response(status=409, body=msgspec.json.encode(body))


def _context(leaf: Object) -> ssl.SSLContext:
    files = {key: b64decode(value) for key, value in leaf["data"].items()}
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=files["ca.crt"].decode())
    context.verify_mode = ssl.CERT_REQUIRED
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "leaf.pem"
        path.write_bytes(files["tls.crt"] + files["tls.key"])
        context.load_cert_chain(path)
    return context
