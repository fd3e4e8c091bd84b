"""Who wakes whom? The only module that knows kopf, and it knows `on.event` alone.

Nothing here stores anything on an object: no finalizers, no annotations of the framework, no
daemons, no timers, no handlers that compare old with new. The Lease is taken before anything is
watched; who loses it exits. A watch that dies silently costs at most `RELIST_S`, and ends the
process when `liveness.py` notices it.
"""

import asyncio
import hashlib
import logging
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import kopf
import msgspec

from fauna_operator.backups.farewell import let_go_where_all_ends
from fauna_operator.backups.keeper import Keeper
from fauna_operator.backups.reconcile import BackupReconciler, Turns, at_rest
from fauna_operator.backups.scheduler import Scheduler
from fauna_operator.changes import Changes, Thing
from fauna_operator.database import Door
from fauna_operator.errors import OperatorError, Refused
from fauna_operator.health import served, watch_the_watches
from fauna_operator.kube import PATHS, Kube, Object, connect
from fauna_operator.lease import Lease
from fauna_operator.liveness import RELIST, Pulse
from fauna_operator.metrics import Metrics
from fauna_operator.observe import is_ready
from fauna_operator.reconcile import Cluster
from fauna_operator.render.names import BACKUP, CLUSTER, GROUP, SCHEDULE
from fauna_operator.restores.loop import Restore
from fauna_operator.settings import Settings
from fauna_operator.supervise import Key, Supervisor

log = logging.getLogger(__name__)

RELIST_S = 60.0
LISTED = ("FaunaCluster", "FaunaRestore", "FaunaBackup", "FaunaScheduledBackup")
CHILDREN = ("Pod", "PersistentVolumeClaim", "Job")  # that wake the object which their label names
LABELLED = (*CHILDREN, "Service", "Secret", "ConfigMap", "PodDisruptionBudget")
KEPT = ("FaunaCluster", "FaunaBackup", "Secret")  # what the keeper of a cluster looks at
EVERYBODY = ("", "")  # whom a change of a node concerns
NOBODY = "-"  # no name of an object
WATCHED = (*LISTED, *CHILDREN)  # each is one stream a namespace
WAKES = {  # label -> kind of what it names
    CLUSTER: "FaunaCluster",
    BACKUP: "FaunaBackup",
    SCHEDULE: "FaunaScheduledBackup",
}
KEEPER = "BackupKeeper"  # the second loop of a FaunaCluster, which no member depends on


class Asked(Exception):
    """A signal asked us to stop: the Lease is given back, so that the standby need not wait."""


async def run(settings: Settings) -> None:
    """Serve health, wait for the Lease, then watch and reconcile until something ends it."""
    pulse, metrics = Pulse(), Metrics()
    async with (
        await connect(settings.kubeconfig) as client,
        served(settings.health_port, pulse, metrics),
    ):
        kube = Kube(client)
        turns, changes = Turns(), Changes()
        supervisor = Supervisor(
            {
                "FaunaBackup": lambda key: BackupReconciler(kube, turns, key),
                "FaunaScheduledBackup": lambda key: Scheduler(kube, key),
                KEEPER: lambda key: Keeper(kube, key, changes=changes),
                "FaunaCluster": lambda key: Cluster(kube, Door(), key, metrics, changes=changes),
                "FaunaRestore": lambda key: Restore(kube, key, supervisor.wake),
            },
        )
        lease = Lease(kube, settings.lease_namespace, settings.lease_name, settings.identity)
        await lease.acquire()
        log.info("leading as %s", settings.identity)
        metrics.leads = True
        ears = Ears(pulse, metrics, settings.namespaces or ("",))
        bell = Bell(supervisor, changes)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(lease.hold())
                group.create_task(supervisor.run())
                group.create_task(_relist(kube, bell, settings, ears))
                group.create_task(_watch(bell, settings, ears))
                group.create_task(watch_the_watches(pulse))
        except* Asked:
            await let_go_where_all_ends(kube, settings.namespaces or ("",))
            await lease.release()


class Ears:
    """Notes that a stream spoke, by the requests that kopf makes."""

    def __init__(self, pulse: Pulse, metrics: Metrics, namespaces: tuple[str, ...]) -> None:
        self._pulse, self._metrics = pulse, metrics
        self._streams = {
            _path(*PATHS[kind], namespace): (namespace, PATHS[kind][1])
            for kind in WATCHED
            for namespace in namespaces
        }
        pulse.expect(self._streams, time.monotonic())

    def listed(self, kind: str, namespace: str, found: list[Any]) -> None:
        """Note that the second client listed a kind."""
        self._metrics.listed(kind, namespace, found)
        self._metrics.relist_time = time.time()
        self._pulse.heard(RELIST, time.monotonic())

    def session(self, info: kopf.ConnectionInfo) -> kopf.AiohttpSession:
        """Return kopf's own kind of session, with an ear at every answer to a watch."""
        prefix = urlsplit(info.server).path.rstrip("/")

        async def answered(
            _: aiohttp.ClientSession, __: SimpleNamespace, end: aiohttp.TraceRequestEndParams
        ) -> None:
            path = end.url.path.removeprefix(prefix)
            if end.response.status == 200 and "watch" in end.url.query and path in self._streams:
                self._pulse.heard(path, time.monotonic())
                self._metrics.stream_times[self._streams[path]] = time.time()

        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(answered)
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
            headers=info.as_http_headers(),
            proxy=info.proxy_url,
            trace_configs=[trace],
        )
        return kopf.AiohttpSession(
            server=info.server,
            default_namespace=info.default_namespace,
            aiohttp_session=session,
        )


class Bell:
    """Wakes whom an object concerns, when it is another than the one we know."""

    def __init__(self, supervisor: Supervisor, changes: Changes) -> None:
        self._supervisor = supervisor
        self.changes = changes

    def ring(self, kind: str, item: Mapping[str, Any], *, gone: bool = False) -> None:
        """Hear of one object, as a watch shows it; a watch also shows again what it has shown."""
        metadata, cluster = item["metadata"], _cluster_of(kind, item)
        version = "" if gone else metadata["resourceVersion"]
        if not self.changes.note(_thing(kind, metadata), version, cluster):
            return
        space = metadata.get("namespace", "")
        if kind in LISTED:
            self._supervisor.wake(kind, space, metadata["name"])
        for label, owner in WAKES.items():
            if label in metadata.get("labels", {}):
                self._supervisor.wake(owner, space, metadata["labels"][label])
        if kind in KEPT and cluster != EVERYBODY:
            self._supervisor.wake(KEEPER, *cluster)

    def listed(self, kind: str, namespace: str, found: Collection[Mapping[str, Any]]) -> None:
        """Hear of all objects of a kind in a namespace ("" for all)."""
        for item in found:
            self.ring(kind, item)
        things = {_thing(kind, item["metadata"]) for item in found}
        for cluster in self.changes.listed(kind, namespace, things) - {EVERYBODY}:
            self._supervisor.wake("FaunaCluster", *cluster)

    def roll_call(self, kind: str, found: Iterable[Object]) -> None:
        """Wake all objects of one of our own kinds that are not at rest."""
        for item in found:
            if kind != "FaunaBackup" or not at_rest(item):
                self._supervisor.wake(kind, item["metadata"]["namespace"], item["metadata"]["name"])


def _thing(kind: str, metadata: Mapping[str, Any]) -> Thing:
    return kind, metadata.get("namespace", ""), metadata["name"]


def _cluster_of(kind: str, item: Mapping[str, Any]) -> Key:
    """Return the FaunaCluster that an object belongs to; `EVERYBODY` for a node."""
    metadata, spec = item["metadata"], item.get("spec", {})
    if kind == "Node":
        return EVERYBODY
    match kind:
        case "FaunaCluster":
            name = metadata["name"]
        case "FaunaBackup":
            name = spec["clusterRef"]["name"]
        case "FaunaScheduledBackup":
            name = spec["template"]["spec"]["clusterRef"]["name"]
        case "FaunaRestore":
            target = spec["target"]
            name = (target.get("inPlace") or {}).get("clusterName") or target["newCluster"]["name"]
        case _:
            name = metadata.get("labels", {}).get(CLUSTER, NOBODY)
    return metadata["namespace"], name


def _path(base: str, plural: str, namespace: str) -> str:
    return f"{base}/namespaces/{namespace}/{plural}" if namespace else f"{base}/{plural}"


async def _watch(bell: Bell, settings: Settings, ears: Ears) -> None:
    """Let kopf watch, and wake the cluster that an event is about."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**known: Any) -> kopf.AiohttpSession | None:
        if settings.kubeconfig:
            os.environ["KUBECONFIG"] = settings.kubeconfig
            info = kopf.login_with_kubeconfig(**known)
        else:
            info = kopf.login_with_service_account(**known)
        return ears.session(info) if info is not None else None

    _listen(registry, bell)
    await kopf.operator(
        registry=registry,
        settings=kopf_settings(),
        standalone=True,
        namespaces=settings.namespaces,
        clusterwide=not settings.namespaces,
    )
    raise Asked


def _listen(registry: kopf.OperatorRegistry, bell: Bell) -> None:
    """Hear of our own kinds, and of the objects that are labelled with one of ours."""
    kinds = {PATHS[kind][1]: kind for kind in WATCHED}

    def heard(resource: kopf.Resource, body: kopf.Body, type: str | None, **_: Any) -> None:  # noqa: A002
        bell.ring(kinds[resource.plural], body, gone=type == "DELETED")

    for kind in LISTED:
        kopf.on.event(GROUP, "v1alpha1", PATHS[kind][1], registry=registry)(heard)
    for kind in CHILDREN:
        group, version = _group(kind)
        for label in WAKES:
            present = {label: kopf.PRESENT}
            kopf.on.event(group, version, PATHS[kind][1], labels=present, registry=registry)(heard)


def _group(kind: str) -> tuple[str, str]:
    """Return the API group and the version of a kind.

    >>> _group("Pod"), _group("FaunaCluster")
    (('', 'v1'), ('fauna.dev', 'v1alpha1'))
    """
    *_, group, version = ("", *PATHS[kind][0].split("/"))
    return ("" if group == "api" else group), version


def kopf_settings() -> kopf.OperatorSettings:
    """Return settings under which kopf notices a dead stream and writes nothing anywhere."""
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False
    chosen.scanning.disabled = True  # it would watch all CRDs; ours are there before we are
    chosen.networking.request_timeout = 30
    chosen.networking.connect_timeout = 10
    chosen.watching.server_timeout = 120  # below liveness.STREAM_S: every stream speaks in time
    chosen.watching.client_timeout = 130
    chosen.watching.connect_timeout = 10
    return chosen


async def _relist(kube: Kube, bell: Bell, settings: Settings, ears: Ears) -> None:
    """Look at the whole from time to time, whatever the watches say, and wake what is ours."""
    namespaces = settings.namespaces or ("",)
    bell.changes.expect((kind, space) for kind in (*LISTED, *LABELLED) for space in namespaces)
    while True:
        for namespace in namespaces:
            for kind in LISTED:
                with _said(kind):
                    found = await kube.find(kind, namespace)
                    ears.listed(kind, namespace, found)
                    bell.listed(kind, namespace, found)
                    bell.roll_call(kind, found)
            for kind in LABELLED:
                with _said(kind):
                    children = await kube.survey(kind, namespace, CLUSTER)
                    bell.listed(kind, namespace, [{"metadata": child} for child in children])
        with _said("Node"):
            bell.listed("Node", "", await _nodes(kube))
        await asyncio.sleep(RELIST_S)


async def _nodes(kube: Kube) -> list[Any]:
    """Return the nodes, [] where we may not; without what every heartbeat of a kubelet moves."""
    try:
        found = await kube.find("Node", "")
    except Refused:
        return []
    for node in found:
        told = (node["metadata"].get("labels"), node.get("spec"), is_ready(node))
        version = hashlib.sha256(msgspec.json.encode(told)).hexdigest()
        node["metadata"] = {**node["metadata"], "namespace": "", "resourceVersion": version}
    return found


@contextmanager
def _said(kind: str) -> Iterator[None]:
    """Log what cannot be listed; a kind that stays so is looked at by every pass, as before."""
    try:
        yield
    except OperatorError as error:
        log.warning("cannot list kind %s: %s", kind, error)
