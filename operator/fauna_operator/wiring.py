"""Who wakes whom? The only module that knows kopf, and it knows `on.event` alone.

Nothing here stores anything on an object: no finalizers, no annotations of the framework, no
daemons, no timers, no handlers that compare old with new. The Lease is taken before anything is
watched; who loses it exits. A watch that dies silently costs at most `RELIST_S`.
"""

import asyncio
import logging
import os
from typing import Any

import aiohttp
import kopf
from aiohttp import web
from kubernetes.aio.client import ApiClient
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

from fauna_operator.database import Door
from fauna_operator.errors import OperatorError
from fauna_operator.kube import Kube, connect
from fauna_operator.reconcile import Supervisor
from fauna_operator.render.names import CLUSTER, GROUP
from fauna_operator.settings import Settings

log = logging.getLogger(__name__)

RELIST_S = 60.0
LEASE_S, RENEW_S, RETRY_S = 15, 10, 2  # as kube-controller-manager
LEASE_CALL_S = 2.0


class LeaseLost(Exception):
    """Another operator may lead now: stop at once."""


async def run(settings: Settings) -> None:
    """Serve health, wait for the Lease, then watch and reconcile until something ends it."""
    async with await connect(settings.kubeconfig) as client:
        kube = Kube(client)
        supervisor = Supervisor(kube, Door)
        leading = asyncio.Event()
        await _serve_health(settings.health_port)
        async with asyncio.TaskGroup() as group:
            group.create_task(_lead(settings, client, leading))
            await leading.wait()
            log.info("leading as %s", settings.identity)
            group.create_task(supervisor.run())
            group.create_task(_relist(kube, supervisor, settings))
            group.create_task(_watch(supervisor, settings))


async def _lead(settings: Settings, client: ApiClient, leading: asyncio.Event) -> None:
    """Take the Lease and keep it. Raises `LeaseLost` when that fails."""

    async def started() -> None:
        leading.set()

    async def stopped() -> None:
        raise LeaseLost(f"{settings.identity} could not renew its Lease within {RENEW_S} s")

    lock = PatientLock(settings.lease_name, settings.lease_namespace, settings.identity, client)
    election = LeaderElection(Config(lock, LEASE_S, RENEW_S, RETRY_S, started, stopped))
    await election.run()


class PatientLock(LeaseLock):
    """A Lease lock for which an API server that does not answer is one failed attempt.

    The library's lets connection errors out and waits five minutes for an answer.
    """

    async def get(
        self, name: str, namespace: str
    ) -> tuple[bool, LeaderElectionRecord] | tuple[bool, Exception] | tuple[bool, None]:
        """Read the Lease; no answer is an error without a body, which is tried again."""
        try:
            async with asyncio.timeout(LEASE_CALL_S):
                return await super().get(name, namespace)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            return False, ApiException(status=503, reason=str(error))

    async def create(
        self, name: str, namespace: str, election_record: LeaderElectionRecord
    ) -> bool:
        """Create the Lease; no answer counts as no."""
        try:
            async with asyncio.timeout(LEASE_CALL_S):
                return await super().create(name, namespace, election_record)
        except (TimeoutError, aiohttp.ClientError, OSError):
            return False

    async def update(self, name: str, namespace: str, updated_record: LeaderElectionRecord) -> bool:
        """Renew the Lease; no answer counts as no."""
        try:
            async with asyncio.timeout(LEASE_CALL_S):
                return await super().update(name, namespace, updated_record)
        except (TimeoutError, aiohttp.ClientError, OSError):
            return False


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
    raise LeaseLost("kopf stopped watching")


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
