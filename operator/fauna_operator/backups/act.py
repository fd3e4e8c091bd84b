"""How is an action of a backup done? Each takes effect only if the world is as it was observed."""

from contextlib import suppress
from dataclasses import dataclass
from typing import assert_never

from fauna_operator.backups.model import (
    COMPLETED,
    FAILED,
    FINALIZER,
    KIND,
    Action,
    Backup,
    Hold,
    Release,
    Store,
)
from fauna_operator.backups.status import status
from fauna_operator.errors import OperatorError
from fauna_operator.events import Note, event_about
from fauna_operator.kube import Kubernetes, Object
from fauna_operator.model.actions import Create, Delete
from fauna_operator.render import names


def told(action: Action) -> Note | None:
    """Return what people are told after an action was done; None for what nobody waits for."""
    match action:
        case Store(record=record) if record.phase == COMPLETED:
            how = f"verified: {record.verified}" if record.verified_at else "not verified"
            return Note("BackupSucceeded", f"{record.size} at index {record.snapshot_index}, {how}")
        case Store(record=record) if record.phase == FAILED:
            return Note("BackupFailed", record.error, warning=True)
        case Release(why=why) if "stay" in why:
            return Note("BackupDataStay", why, warning=True)
    return None


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
        note = told(action)
        if note is not None:
            await self._tell(note)

    async def _tell(self, note: Note) -> None:
        """Write an Event; one that cannot be written is forgotten."""
        about = {"kind": KIND, "name": self.backup.name, "uid": self.backup.uid}
        labels = {names.CLUSTER: self.backup.spec.cluster_ref.name}
        event = event_about(about, self.backup.namespace, labels, note, self.now)
        with suppress(OperatorError):
            await self.kube.create(event)

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
