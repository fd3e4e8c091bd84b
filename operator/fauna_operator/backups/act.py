"""How is an action of a backup done? Each takes effect only if the world is as it was observed."""

from dataclasses import dataclass
from typing import assert_never

from fauna_operator.backups.model import FINALIZER, Action, Backup, Hold, Release, Store
from fauna_operator.backups.status import status
from fauna_operator.kube import Kubernetes, Object
from fauna_operator.model.actions import Create, Delete


@dataclass
class Actor:
    """Carries out the plan of one pass; `resource` follows our own writes of it."""

    kube: Kubernetes
    backup: Backup
    resource: Object
    now: float

    async def perform(self, action: Action) -> None:
        """Do one action. Raises `Stale`, `Refused`, or `Unreachable`."""
        match action:
            case Hold():
                await self._finalizers([*self.backup.finalizers, FINALIZER])
            case Release():
                await self._finalizers([f for f in self.backup.finalizers if f != FINALIZER])
            case Store():
                before = self.resource.get("status") or {}
                wanted = status(self.backup, action.record, None, before=before, now=self.now)
                self.resource = await self.kube.replace_status({**self.resource, "status": wanted})
            case Create():
                await self.kube.create(action.manifest)
            case Delete():
                seen = {"uid": action.uid, "resourceVersion": action.resource_version}
                await self.kube.delete(action.kind, self.backup.namespace, action.name, seen)
            case _:
                assert_never(action)

    async def _finalizers(self, wanted: list[str]) -> None:
        """Replace the finalizers of the very resource that was read."""
        metadata = self.resource["metadata"]
        manifest = {
            "apiVersion": self.resource["apiVersion"],
            "kind": self.resource["kind"],
            "metadata": {
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
                "finalizers": wanted,
            },
        }
        self.resource = await self.kube.patch(manifest, apply=False)
