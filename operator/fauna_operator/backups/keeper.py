"""What is one pass over what a FaunaCluster keeps for its backups? See `keep.py`."""

import asyncio
import logging
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import assert_never

import msgspec

from fauna_operator import pki
from fauna_operator.backups.keep import ROLE, Action, Around, Done, IssueLeaf, plan, told
from fauna_operator.backups.model import KIND, Record
from fauna_operator.backups.observe import source_of
from fauna_operator.backups.render import tls_secret
from fauna_operator.changes import Changes
from fauna_operator.errors import Stale
from fauna_operator.kube import Kubernetes, Object
from fauna_operator.model import Apply, Blocked, Certificate, Delete, Desired
from fauna_operator.render import names
from fauna_operator.supervise import Key

log = logging.getLogger(__name__)

IDLE_S = 300.0  # events of clusters and backups come earlier
LOOK_S = 6 * 3600.0  # a leaf is renewed a month before its end
ARCHIVING_S = 10.0  # its Deployment wakes nobody


class Keeper:
    """The passes over what one FaunaCluster keeps for its backups."""

    def __init__(
        self,
        kube: Kubernetes,
        key: Key,
        clock: Callable[[], float] = time.time,
        changes: Changes | None = None,
    ) -> None:
        self._changes = changes
        self._rested: tuple[int, float] | None = None  # nothing to do at this count, and when
        self._kube = kube
        self._namespace, self._name = key
        self._clock = clock

    def troubled(self, trouble: Blocked) -> None:
        """Say nothing in status: the cluster's own loop speaks for the cluster."""

    def passed(self, seconds: float, error: str) -> None:
        """Count nothing: a pass is a few reads."""

    async def close(self) -> None:
        """Let go of nothing: all belongs to the operator."""

    async def one_pass(self) -> float | None:
        """Look, decide, report, act. Returns seconds to the next look, None when it is gone."""
        count = self._changes.count((self._namespace, self._name)) if self._changes else None
        if self._rested and count == self._rested[0] and self._clock() < self._rested[1] + LOOK_S:
            return IDLE_S
        self._rested = None
        resource = await self._kube.get("FaunaCluster", self._namespace, self._name)
        if resource is None:
            return None
        desired = Desired.of(resource)
        if desired.deleting or desired.spec.paused:
            return IDLE_S
        now = self._clock()
        around = await self._observe(desired, resource)
        actions = plan(around, now)
        for action in actions:
            log.info("%s/%s: %s", desired.namespace, desired.name, action)
            await self._perform(desired, action, now)
        status = told(around, resource.get("status") or {}, desired.generation, now)
        if status is not None:
            await self._kube.replace_status({**resource, "status": status})
        quiet = not actions and status is None and not around.archives
        if count is not None and quiet:
            self._rested = count, now
        return ARCHIVING_S if around.archives else IDLE_S

    async def _observe(self, desired: Desired, resource: Object) -> Around:
        space, source = desired.namespace, source_of(resource)
        assert source is not None, "one that is deleted was left out"
        try:
            async with asyncio.TaskGroup() as group:
                authority = group.create_task(self._kube.get("Secret", space, f"{desired.name}-ca"))
                leaf = group.create_task(self._kube.get("Secret", space, tls_secret(desired.name)))
                items = group.create_task(self._kube.find(KIND, space))
                archive = group.create_task(
                    self._kube.get("Deployment", space, f"{desired.name}-archive")
                )
        except ExceptionGroup as failed:  # one reason is enough
            raise failed.exceptions[0] from None
        return Around(
            source=source,
            desired=desired,
            authority=_fingerprint(authority.result()),
            leaf=_leaf(leaf.result()),
            archive=_ours(archive.result(), desired),
            backups=tuple(
                _done(item)
                for item in items.result()
                if item["spec"]["clusterRef"]["name"] == desired.name
            ),
        )

    async def _perform(self, desired: Desired, action: Action, now: float) -> None:
        match action:
            case IssueLeaf():
                await self._issue(desired, action, now)
            case Apply():
                await self._kube.patch(action.manifest, apply=True)
            case Delete():
                seen = {"uid": action.uid, "resourceVersion": action.resource_version}
                await self._kube.delete(action.kind, desired.namespace, action.name, seen)
            case _:
                assert_never(action)

    async def _issue(self, desired: Desired, action: IssueLeaf, now: float) -> None:
        stored = await self._kube.get("Secret", desired.namespace, f"{desired.name}-ca")
        if stored is None:
            raise Stale("the CA is gone")
        authority = pki.KeyPair(_plain(stored, "tls.crt"), _plain(stored, "tls.key"))
        leaf = pki.issue(authority, cluster_id=action.cluster_id, names=(), now=now, role=ROLE)
        files = {
            "ca.crt": authority.certificate,
            "tls.crt": leaf.certificate,
            "tls.key": leaf.key,
        }
        manifest = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": action.name,
                "namespace": desired.namespace,
                "labels": {**names.labels(desired), names.COMPONENT: ROLE},
                "ownerReferences": [names.owner(desired)],
            },
            "type": "Opaque",
            "data": {key: b64encode(value).decode() for key, value in files.items()},
        }
        await self._kube.patch(manifest, apply=True)


def _done(item: Object) -> Done:
    record = msgspec.convert(item.get("status") or {}, Record)
    return Done(item["metadata"]["name"], record.phase, record.completed_at, record.verified_at)


def _ours(found: Object | None, desired: Desired) -> Object | None:
    """Return a Deployment only if it is of this very cluster."""
    owners = found["metadata"].get("ownerReferences") or () if found is not None else ()
    return found if any(owner["uid"] == desired.uid for owner in owners) else None


def _fingerprint(secret: Object | None) -> str | None:
    if secret is None:
        return None
    try:
        return pki.fingerprint(_plain(secret, "tls.crt"))
    except (KeyError, ValueError):
        return None


def _leaf(secret: Object | None) -> Certificate | None:
    """Read a stored leaf; one that cannot be read counts as missing."""
    if secret is None:
        return None
    try:
        return pki.inspect(_plain(secret, "tls.crt"), _plain(secret, "ca.crt"))
    except (KeyError, ValueError):
        return None


def _plain(secret: Object, key: str) -> bytes:
    return b64decode(secret["data"][key])
