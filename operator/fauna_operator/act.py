"""How is an action done? The only module that changes anything.

Each action takes effect only if the world is still as it was observed: by resourceVersion, uid,
or the id of the committed configuration. A lost answer is not repeated here; the next pass looks.
"""

import secrets
import time
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, assert_never

import msgspec

from fauna_operator import pki
from fauna_operator.database import Address, Members
from fauna_operator.errors import Stale
from fauna_operator.kube import Kubernetes, Object
from fauna_operator.model import (
    Action,
    Annotate,
    Apply,
    ChangeMembership,
    Create,
    Delete,
    Desired,
    Initialize,
    IssueCertificate,
    MakeAuthority,
    MakeRootSecret,
    Observed,
    Open,
    Remember,
    Report,
    Transfer,
    WriteLatch,
)
from fauna_operator.render import names

ROOT_SECRET_BYTES = 32
FRESH_S_MAX = 2.0  # what takes a member away stands on a word of the leader that is no older


@dataclass
class Actor:
    """Carries out the plan of one pass; `resource` follows our own writes of it."""

    kube: Kubernetes
    members: Members
    desired: Desired
    observed: Observed
    resource: Object
    now: float

    async def perform(self, action: Action) -> None:
        """Do one action. Raises `Stale`, `Refused`, or `Unreachable`."""
        self._insist_on_fresh(action)
        match action:
            case WriteLatch():
                await self._store(msgspec.to_builtins(action.latch))
            case Report():
                told = {**action.request.resource, "status": action.status.plain}
                await self.kube.replace_status(told)
            case Create():
                await self._create(action.manifest)
            case Apply() | Remember():
                await self.kube.patch(action.manifest, apply=True)
            case Annotate():
                await self.kube.patch(_annotation(self.desired, action), apply=False)
            case Delete():
                seen = {"uid": action.uid, "resourceVersion": action.resource_version}
                where = (action.kind, self.desired.namespace, action.name)
                await self.kube.delete(*where, seen, force=action.force)
            case MakeAuthority() | MakeRootSecret() | IssueCertificate():
                await self._make(action)
            case Initialize():
                await self._initialize(action)
            case Open() | ChangeMembership() | Transfer():
                path, body = _request(action)
                await self._tell(action.leader, path, body)
            case _:
                assert_never(action)

    def _insist_on_fresh(self, action: Action) -> None:
        """Refuse to take anything away on an old answer. Raises `Stale`."""
        answered_s = self.observed.answered_s
        if answered_s is None or not isinstance(action, Delete | ChangeMembership | Transfer):
            return
        if time.monotonic() - answered_s > FRESH_S_MAX:
            raise Stale(f"the leader's word is too old for: {action}")

    async def _store(self, fields: Mapping[str, Any]) -> None:
        """Write fields of status, if the resource is still the one that was read."""
        status = {**(self.resource.get("status") or {}), **fields}
        self.resource = await self.kube.replace_status({**self.resource, "status": status})

    async def _create(self, manifest: Object) -> None:
        """Create an object; a pod only if nobody wrote status since it was read.

        A recovery says in status that it stops everybody before it does. Who read the resource
        earlier and comes late must not start a member again; a write that changes nothing tells.
        """
        if manifest["kind"] == "Pod":
            self.resource = await self.kube.replace_status(self.resource)
        await self.kube.create(manifest)

    async def _initialize(self, action: Initialize) -> None:
        """Tell the seed to form the cluster, only if nobody wrote status since it was read.

        The write before the word makes a stale reader of status fail before it can speak.
        """
        tried = int((self.resource.get("status") or {}).get("initAttempts", 0))
        await self._store({"initAttempts": tried + 1})
        body = {"cluster_id": action.cluster_id, "incarnation": action.incarnation}
        await self._tell(action.serial, "/cluster/init", body)

    async def _tell(self, serial: int, path: str, body: Mapping[str, Any]) -> None:
        pod = self.observed.pod(serial)
        if pod is None or not pod.ip:
            raise Stale(f"member {serial} has no address any more")
        address = Address(serial, pod.ip, self.desired.host(serial))
        await self.members.tell(address, path, body)

    async def _make(self, action: MakeAuthority | MakeRootSecret | IssueCertificate) -> None:
        """Make something with a secret in it; a Secret that exists is never replaced by chance."""
        match action:
            case MakeAuthority():
                pair = pki.make_authority(self.desired.name, self.now)
                await self.kube.create(self._secret(action.name, _files(pair)))
            case MakeRootSecret():
                drawn = secrets.token_urlsafe(ROOT_SECRET_BYTES).encode()
                manifest = self._secret(action.name, {action.key: drawn})
                del manifest["metadata"]["ownerReferences"]  # clients keep it longer than we do
                await self.kube.create(manifest)
            case IssueCertificate():
                await self._issue(action)
            case _:
                assert_never(action)

    async def _issue(self, action: IssueCertificate) -> None:
        stored = await self.kube.get("Secret", self.desired.namespace, f"{self.desired.name}-ca")
        if stored is None:
            raise Stale("the CA is gone")
        authority = pki.KeyPair(*(_plain(stored, key) for key in ("tls.crt", "tls.key")))
        hosts = (action.host, f"{action.host}.cluster.local", action.host.partition(".")[0])
        leaf = pki.issue(authority, cluster_id=action.cluster_id, names=hosts, now=self.now)
        files = {**_files(leaf), "ca.crt": authority.certificate}
        await self.kube.patch(self._secret(action.name, files), apply=True)

    def _secret(self, name: str, data: Mapping[str, bytes]) -> Object:
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": name,
                "namespace": self.desired.namespace,
                "labels": names.labels(self.desired),
                "ownerReferences": [names.owner(self.desired)],
            },
            "type": "Opaque",
            "data": {key: b64encode(value).decode() for key, value in data.items()},
        }


def _request(action: Open | ChangeMembership | Transfer) -> tuple[str, Object]:
    """Return path and body of docs/admin-api.md."""
    match action:
        case Open():
            return "/cluster/open", {"voters": action.voters}
        case Transfer():
            return "/cluster/transfer", {"to": action.to}
        case ChangeMembership():
            seen = action.seen
            condition = {
                "incarnation": seen.incarnation,
                "term": seen.term,
                "index": seen.index,
                **({"salt": seen.salt} if seen.salt else {}),
            }
            member: Object = {"id": action.serial}
            if action.host:
                member["name"] = action.host
            if action.nonce:
                member["nonce"] = action.nonce
            body: Object = {"op": action.op, "member": member, "if": condition}
            if action.outgoing:
                body["outgoing"] = action.outgoing
            return "/cluster/membership", body
        case _:
            assert_never(action)


def _annotation(desired: Desired, action: Annotate) -> Object:
    return {
        "apiVersion": "v1",
        "kind": action.kind,
        "metadata": {
            "name": action.name,
            "namespace": desired.namespace,
            "uid": action.uid,
            "resourceVersion": action.resource_version,
            "annotations": action.annotations,
            "labels": action.labels,
        },
    }


def _files(pair: pki.KeyPair) -> dict[str, bytes]:
    return {"tls.crt": pair.certificate, "tls.key": pair.key}


def _plain(stored: Object, key: str) -> bytes:
    return b64decode(stored["data"][key])
