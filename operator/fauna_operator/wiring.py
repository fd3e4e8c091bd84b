"""Who wakes whom? The only module that knows kopf, and it knows `on.event` alone.

Nothing here stores anything on an object: no finalizers, no annotations of the framework, no
daemons, no timers, no handlers that compare old with new. The Lease is taken before anything is
watched; who loses it exits. A watch that dies silently costs at most `RELIST_S`.
"""

import asyncio
import logging
import os
from typing import Any

import kopf
from aiohttp import web

from fauna_operator.database import Door
from fauna_operator.errors import OperatorError
from fauna_operator.kube import Kube, connect
from fauna_operator.lease import Lease
from fauna_operator.reconcile import Supervisor
from fauna_operator.render.names import CLUSTER, GROUP
from fauna_operator.settings import Settings

log = logging.getLogger(__name__)

RELIST_S = 60.0


class Asked(Exception):
    """A signal asked us to stop: the Lease is given back, so that the standby need not wait."""


async def run(settings: Settings) -> None:
    """Serve health, wait for the Lease, then watch and reconcile until something ends it."""
    async with await connect(settings.kubeconfig) as client:
        kube = Kube(client)
        supervisor = Supervisor(kube, Door)
        lease = Lease(kube, settings.lease_namespace, settings.lease_name, settings.identity)
        await _serve_health(settings.health_port)
        await lease.acquire()
        log.info("leading as %s", settings.identity)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(lease.hold())
                group.create_task(supervisor.run())
                group.create_task(_relist(kube, supervisor, settings))
                group.create_task(_watch(supervisor, settings))
        except* Asked:
            await lease.release()


async def _watch(supervisor: Supervisor, settings: Settings) -> None:
    """Let kopf watch, and wake the cluster that an event is about."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def login(**known: Any) -> kopf.ConnectionInfo | None:
        if settings.kubeconfig:
            os.environ["KUBECONFIG"] = settings.kubeconfig
            return kopf.login_with_kubeconfig(**known)
        return kopf.login_with_service_account(**known)

    @kopf.on.event(GROUP, "v1alpha1", "faunaclusters", registry=registry)
    def on_cluster(namespace: str | None, name: str, **_: Any) -> None:
        supervisor.wake(namespace or "", name)

    def on_child(namespace: str | None, labels: kopf.Labels, **_: Any) -> None:
        supervisor.wake(namespace or "", labels[CLUSTER])

    for kind in ("pods", "persistentvolumeclaims"):
        kopf.on.event("", "v1", kind, labels={CLUSTER: kopf.PRESENT}, registry=registry)(on_child)

    await kopf.operator(
        registry=registry,
        settings=kopf_settings(settings),
        standalone=True,
        namespaces=settings.namespaces,
        clusterwide=not settings.namespaces,
    )
    raise Asked


def kopf_settings(settings: Settings) -> kopf.OperatorSettings:
    """Return settings under which kopf notices a dead stream and writes nothing anywhere."""
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False
    chosen.scanning.disabled = bool(settings.namespaces)
    chosen.networking.request_timeout = 30
    chosen.networking.connect_timeout = 10
    chosen.watching.server_timeout = 240
    chosen.watching.client_timeout = 250
    chosen.watching.connect_timeout = 10
    return chosen


async def _relist(kube: Kube, supervisor: Supervisor, settings: Settings) -> None:
    """Wake every cluster from time to time, whatever the watches say."""
    while True:
        for namespace in settings.namespaces or ("",):
            try:
                for found in await kube.find("FaunaCluster", namespace):
                    metadata = found["metadata"]
                    supervisor.wake(metadata["namespace"], metadata["name"])
            except OperatorError as error:
                log.warning("cannot list FaunaClusters: %s", error)
        await asyncio.sleep(RELIST_S)


async def _serve_health(port: int) -> None:
    """Answer `/livez` and `/readyz` as long as the event loop runs; the standby is ready too."""

    async def fine(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    application = web.Application()
    application.add_routes([web.get("/livez", fine), web.get("/readyz", fine)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
