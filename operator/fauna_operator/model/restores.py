"""What does a FaunaRestore ask for, and how far is it?

The defaults stand here and in `crds/faunarestores.yaml`; a test holds the two together.
Trap: up to `Accepted` only the loop of the FaunaRestore writes its status, from then on only the
loop of the FaunaCluster: nobody else makes or stops pods of the cluster.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from fauna_operator.model.stores import BackupStore

Manifest = dict[str, Any]

# in this order; what is not among them has ended
PENDING, TRYING, SAVING, CREATING = "Pending", "Trying", "SafetyBackup", "Creating"
ACCEPTED, FENCING, RESTORING = "Accepted", "Fencing", "Restoring"
STARTING, REGROWING = "Starting", "Regrowing"
COMPLETED, FAILED = "Completed", "Failed"
ENDED = frozenset({COMPLETED, FAILED})
HANDED_OVER = frozenset({ACCEPTED, FENCING, RESTORING, STARTING, REGROWING})


class External(msgspec.Struct, frozen=True, rename="camel"):
    """A backup in an object store or on a volume, known without any object in Kubernetes."""

    storage: BackupStore = BackupStore()
    cluster_id: str = msgspec.field(name="clusterID", default="")
    backup_id: str = msgspec.field(name="backupID", default="")


class SurvivingMember(msgspec.Struct, frozen=True, rename="camel"):
    """The member that keeps its data; `auto` takes whichever has most."""

    name: str = ""
    auto: bool = False


class RestoreSource(msgspec.Struct, frozen=True, rename="camel"):
    """Where the data come from: exactly one of the first three."""

    backup_name: str = ""
    external: External | None = None
    surviving_member: SurvivingMember | None = None
    target_time: str = ""
    target_index: int | None = None


class InPlace(msgspec.Struct, frozen=True, rename="camel"):
    """An existing cluster goes on under the same id with other data."""

    cluster_name: str
    safety_backup: bool = True


class NewCluster(msgspec.Struct, frozen=True, rename="camel"):
    """A FaunaCluster that is made for the data."""

    name: str
    spec: Mapping[str, Any] = {}


class RestoreTarget(msgspec.Struct, frozen=True, rename="camel"):
    """Where the data go: exactly one."""

    in_place: InPlace | None = None
    new_cluster: NewCluster | None = None


class Confirm(msgspec.Struct, frozen=True, rename="camel"):
    """What a person must say before anything of a cluster is given up."""

    cluster_uid: str = msgspec.field(name="clusterUID", default="")
    accept_data_loss: bool = False


class RestoreSpec(msgspec.Struct, frozen=True, rename="camel"):
    """The whole spec; it never changes."""

    source: RestoreSource
    target: RestoreTarget
    confirm: Confirm = Confirm()
    timeout: str = "12h"
    dry_run: bool = False


class Loss(msgspec.Struct, frozen=True, rename="camel"):
    """What is at least lost: entries that another voter was once seen to have, and when."""

    entries: int
    observed_at: str


class RestoreStatus(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """How far a FaunaRestore is. Written whole."""

    phase: str = PENDING
    message: str = ""
    started_at: str = ""
    completed_at: str = ""
    source: External | None = None  # resolved: a FaunaBackup may be deleted meanwhile
    survivor: str = ""  # the member that alone begins the new incarnation
    member: int = 0  # its serial
    old_cluster_id: str = msgspec.field(name="oldClusterID", default="")
    new_cluster_id: str = msgspec.field(name="newClusterID", default="")
    old_incarnation: int = 0
    new_incarnation: int = 0
    floor_ts: int = 0  # µs; timestamps of the new incarnation start above it
    restored_index: int = 0
    restored_time: str = ""
    state_hash: str = ""
    lost_from_index: int = 0
    lost_at_least: Loss | None = None
    safety_backup_name: str = ""
    conditions: tuple[Mapping[str, Any], ...] = ()

    @property
    def plain(self) -> Manifest:
        """Return it as Kubernetes writes it; the phase is there from the first word on."""
        return {"phase": self.phase, **msgspec.to_builtins(self)}


class Request(msgspec.Struct, frozen=True):
    """One FaunaRestore as it was read."""

    name: str
    namespace: str
    uid: str
    created: str
    spec: RestoreSpec
    status: RestoreStatus
    resource: Manifest

    @classmethod
    def of(cls, resource: Manifest) -> "Request":
        """Read a FaunaRestore. Raises `msgspec.ValidationError` for what no CRD let in."""
        metadata = resource["metadata"]
        return cls(
            name=metadata["name"],
            namespace=metadata["namespace"],
            uid=metadata["uid"],
            created=str(metadata.get("creationTimestamp", "")),
            spec=msgspec.convert(resource["spec"], RestoreSpec, strict=True),
            status=msgspec.convert(resource.get("status") or {}, RestoreStatus),
            resource=resource,
        )

    @property
    def recovers(self) -> bool:
        """Tell whether the data come from a member of the cluster itself."""
        return self.spec.source.surviving_member is not None

    @property
    def cluster(self) -> str:
        """Return the name of the FaunaCluster that it is about."""
        if self.spec.target.in_place is not None:
            return self.spec.target.in_place.cluster_name
        assert self.spec.target.new_cluster is not None, "the CRD asks for exactly one"
        return self.spec.target.new_cluster.name


class Job(msgspec.Struct, frozen=True):
    """A Job that we made, and what its last pod said."""

    name: str
    uid: str
    resource_version: str
    claim_uid: str = ""  # of the volume that it fills
    state: str = "Running"  # | Complete | Failed
    message: str = ""
    result: Mapping[str, Any] = {}  # the last line of standard output
