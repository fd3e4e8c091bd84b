"""How are Kubernetes objects read and written? A dozen kinds, five verbs, three kinds of error.

House rules: reads are never served from a cache (a stale list is how data is lost); a delete
names the uid and the resourceVersion that were seen; every call has a deadline.
Trap: `kubernetes.aio.dynamic` would discover every API of the server at start; its `request`
works without that, and the paths of a dozen kinds are known.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

import aiohttp
import msgspec
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.dynamic import DynamicClient
from kubernetes.aio.dynamic.exceptions import DynamicApiError

from fauna_operator.errors import Refused, Stale, Unreachable

Object = dict[str, Any]

DEADLINE_S = 10.0
FIELD_MANAGER = "fauna-operator"
METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
PATHS = {
    "ConfigMap": ("/api/v1", "configmaps"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "Event": ("/apis/events.k8s.io/v1", "events"),
    "FaunaBackup": ("/apis/fauna.dev/v1alpha1", "faunabackups"),
    "FaunaCluster": ("/apis/fauna.dev/v1alpha1", "faunaclusters"),
    "FaunaRestore": ("/apis/fauna.dev/v1alpha1", "faunarestores"),
    "FaunaScheduledBackup": ("/apis/fauna.dev/v1alpha1", "faunascheduledbackups"),
    "Job": ("/apis/batch/v1", "jobs"),
    "Lease": ("/apis/coordination.k8s.io/v1", "leases"),
    "Namespace": ("/api/v1", "namespaces"),
    "Node": ("/api/v1", "nodes"),
    "PersistentVolume": ("/api/v1", "persistentvolumes"),
    "PersistentVolumeClaim": ("/api/v1", "persistentvolumeclaims"),
    "Pod": ("/api/v1", "pods"),
    "PodDisruptionBudget": ("/apis/policy/v1", "poddisruptionbudgets"),
    "Secret": ("/api/v1", "secrets"),
    "Service": ("/api/v1", "services"),
}


class Kubernetes(Protocol):
    """What the operator asks of an API server; the tests' model of one implements it too."""

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return an object as it is now, or None."""
        ...

    async def find(self, kind: str, namespace: str, selector: str = "") -> list[Object]:
        """Return the objects of a namespace ("" for all, or for kinds without one)."""
        ...

    async def create(self, manifest: Object) -> Object:
        """Create an object. `Stale` when the name is taken."""
        ...

    async def patch(self, manifest: Object, *, apply: bool, status: bool = False) -> Object:
        """Server-side apply, or merge; a `resourceVersion` inside is a precondition."""
        ...

    async def replace_status(self, resource: Object) -> Object:
        """Write the whole status, if the resource is still the one that was read."""
        ...

    async def delete(
        self, kind: str, namespace: str, name: str, preconditions: Object, *, force: bool = False
    ) -> None:
        """Delete the object with these `uid` and `resourceVersion`; gone is fine."""
        ...


class Kube:
    """The real API server."""

    def __init__(self, client: ApiClient) -> None:
        self._client = DynamicClient(client)  # type: ignore[no-untyped-call]

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return an object as it is now, or None."""
        try:
            return await self._call("get", _path(kind, namespace, name))
        except Stale:
            return None

    async def find(self, kind: str, namespace: str, selector: str = "") -> list[Object]:
        """Return all objects; without a resourceVersion the list is never from a cache."""
        query = [("labelSelector", selector)] if selector else []
        found = await self._call("get", _path(kind, namespace), query=query)
        named = {"apiVersion": found["apiVersion"], "kind": kind}  # lists leave it out
        return [{**item, **named} for item in found["items"]]

    async def survey(self, kind: str, namespace: str, selector: str = "") -> list[Object]:
        """Return the `metadata` of all objects, and nothing of what is in them."""
        query = [("labelSelector", selector)] if selector else []
        found = await self._call("get", _path(kind, namespace), query=query, accept=METADATA)
        return [item["metadata"] for item in found["items"] or ()]  # null when there is none

    async def create(self, manifest: Object) -> Object:
        """Create an object. `Stale` when the name is taken."""
        path = _path(manifest["kind"], manifest["metadata"].get("namespace", ""))
        query = [("fieldManager", FIELD_MANAGER)]
        return await self._call("post", path, body=manifest, query=query)

    async def patch(self, manifest: Object, *, apply: bool, status: bool = False) -> Object:
        """Server-side apply, or merge; a `resourceVersion` inside is a precondition."""
        metadata = manifest["metadata"]
        path = _path(manifest["kind"], metadata.get("namespace", ""), metadata["name"])
        query = [("fieldManager", FIELD_MANAGER), *([("force", "true")] if apply else [])]
        content = "apply-patch+yaml" if apply else "merge-patch+json"
        return await self._call(
            "patch",
            path + ("/status" if status else ""),
            body=manifest,
            query=query,
            content_type=f"application/{content}",
        )

    async def replace_status(self, resource: Object) -> Object:
        """Write the whole status, if the resource is still the one that was read."""
        metadata = resource["metadata"]
        path = _path(resource["kind"], metadata["namespace"], metadata["name"])
        return await self._call("put", f"{path}/status", body=resource)

    async def delete(
        self, kind: str, namespace: str, name: str, preconditions: Object, *, force: bool = False
    ) -> None:
        """Delete the object with these `uid` and `resourceVersion`; gone is fine."""
        body: Object = {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "preconditions": preconditions,
            "propagationPolicy": "Background",  # a Job would leave its pods behind, at work
        }
        if force:
            body["gracePeriodSeconds"] = 0
        await self._call("delete", _path(kind, namespace, name), body=body)

    async def _call(
        self,
        verb: str,
        path: str,
        *,
        body: Object | None = None,
        query: list[tuple[str, str]] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Object:
        """Make one call. A 404 is `Stale` too: what was meant is not there any more."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                response = await self._client.request(
                    verb,
                    path,
                    body=body,
                    query_params=list(query or ()),
                    header_params={"Accept": accept},
                    content_type=content_type,
                    serialize=False,
                )
                text = await response.read()
        except DynamicApiError as error:
            raise _translated(error) from None
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"{verb} {path}: {error or type(error).__name__}") from error
        found: Object = msgspec.json.decode(text)
        return found


async def connect(kubeconfig: str | None) -> ApiClient:
    """Return a client by the kubeconfig named on purpose, or by the pod's service account."""
    configuration = Configuration()
    if kubeconfig:
        await config.load_kube_config(  # type: ignore[no-untyped-call]
            kubeconfig, client_configuration=configuration
        )
    else:
        config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
    return ApiClient(configuration)


def _path(kind: str, namespace: str = "", name: str = "") -> str:
    base, plural = PATHS[kind]
    scope = f"/namespaces/{namespace}" if namespace else ""
    return f"{base}{scope}/{plural}" + (f"/{name}" if name else "")


def _translated(error: Any) -> Exception:
    message = _message(error.body) or f"{error.status} {error.reason}"
    if error.status in (404, 409, 410, 412):
        return Stale(message)
    if error.status == 429 or error.status >= 500:
        return Unreachable(message)
    return Refused(message, code=str(error.status))


def _message(body: str | bytes | None) -> str:
    try:
        found = msgspec.json.decode(body or b"null")
    except msgspec.DecodeError:
        return str(body)
    return str(found.get("message", "")) if isinstance(found, Mapping) else ""
