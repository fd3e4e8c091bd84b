"""What is a FaunaBackup: what is asked, what is latched, what was seen, what can be done?

The defaults stand here and in `crds/faunabackups.yaml`; a test holds the two together.
Trap: a `Record` is the only memory. A fact is used (a Job is made, data are deleted) only after
it was stored there, and `Completed` and `Failed` are for ever.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from fauna_operator.model.actions import Blocked, Create, Delete
from fauna_operator.model.dates import epoch
from fauna_operator.model.stores import BackupStore

Manifest = dict[str, Any]

FINALIZER = "fauna.dev/backup-data"
KIND = "FaunaBackup"

PENDING, RUNNING, COMPLETED, FAILED = "Pending", "Running", "Completed", "Failed"
ENDED = frozenset({COMPLETED, FAILED})
DELETING = "Deleting"  # shown while the data are deleted; what was latched stays latched

Verify = Literal["None", "Checksum", "Restore"]
VERIFIES: Mapping[str, int] = {"None": 0, "Checksum": 1, "Restore": 2}  # each does the one before


class ClusterRef(msgspec.Struct, frozen=True, rename="camel"):
    """A FaunaCluster of the same namespace."""

    name: str


class BackupSpec(msgspec.Struct, frozen=True, rename="camel"):
    """The whole spec; it never changes."""

    cluster_ref: ClusterRef
    storage: BackupStore | None = None  # None: the cluster's
    target: Literal["PreferReplica", "Leader"] = "PreferReplica"
    verify: Verify = "Checksum"
    timeout: str = "6h"
    backoff_limit: int = 3
    bandwidth_mib_per_second: int = msgspec.field(name="bandwidthMiBPerSecond", default=0)
    deletion_policy: Literal["Delete", "Retain"] = "Delete"
    allow_unhealthy_cluster: bool = False


class Record(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What is latched in status. Up to `started_at` stored before the Job, the rest after it.

    Image and storage are copied, so that the data can be deleted when the cluster is gone.
    """

    backup_id: str = msgspec.field(name="backupID", default="")
    cluster_id: str = msgspec.field(name="clusterID", default="")
    incarnation: int = 0
    image: str = ""
    image_pull_policy: str = ""
    image_pull_secrets: tuple[str, ...] = ()
    storage: BackupStore | None = None
    uri: str = ""
    started_at: str = ""
    attempts: int = 0
    completed_at: str = ""
    member: str = ""
    snapshot_index: int = 0
    snapshot_term: int = 0
    snapshot_time: str = ""
    size_bytes: int = 0
    stored_bytes: int = 0
    size: str = ""
    parts: int = 0
    document_count: int = 0
    state_hash: str = ""
    manifest_sha256: str = msgspec.field(name="manifestSHA256", default="")
    verified: str = ""
    verified_at: str = ""
    error: str = ""

    @property
    def phase(self) -> str:
        """Return how far it is; what was begun and what ended stays so."""
        if self.completed_at:
            return FAILED if self.error else COMPLETED
        return RUNNING if self.started_at else PENDING


class Backup(msgspec.Struct, frozen=True):
    """One FaunaBackup as it was read."""

    name: str
    namespace: str
    uid: str
    resource_version: str
    generation: int
    created: float  # seconds since 1970
    spec: BackupSpec
    record: Record = Record()
    deleted: float | None = None  # since when it is being deleted
    finalizers: tuple[str, ...] = ()

    @classmethod
    def of(cls, resource: Mapping[str, Any]) -> "Backup":
        """Read a FaunaBackup. Raises `msgspec.ValidationError` for what no CRD let in."""
        metadata = resource["metadata"]
        gone = metadata.get("deletionTimestamp")
        return cls(
            name=metadata["name"],
            namespace=metadata["namespace"],
            uid=metadata["uid"],
            resource_version=metadata["resourceVersion"],
            generation=int(metadata.get("generation", 1)),
            created=epoch(metadata["creationTimestamp"]),
            spec=msgspec.convert(resource["spec"], BackupSpec, strict=True),
            record=msgspec.convert(resource.get("status") or {}, Record),
            deleted=epoch(gone) if gone else None,
            finalizers=tuple(metadata.get("finalizers", ())),
        )

    @property
    def held(self) -> bool:
        """Tell whether the resource stays until we let go of it."""
        return FINALIZER in self.finalizers

    @property
    def backup_id(self) -> str:
        """Return the id of its data: the name, and what tells it from others of this name."""
        return f"{self.name}-{self.uid.replace('-', '')[:8]}"

    @property
    def job(self) -> str:
        """Return the name of the Job that makes it."""
        return f"{self.name}-backup"

    @property
    def discard_job(self) -> str:
        """Return the name of the Job that deletes its data."""
        return f"{self.name}-discard"


class Source(msgspec.Struct, frozen=True):
    """What of a FaunaCluster concerns its backups."""

    name: str
    cluster_id: str = ""  # "": it has no identity yet
    incarnation: int = 0
    available: bool = False
    hosts: tuple[str, ...] = ()  # of its members, by DNS name
    storage: BackupStore | None = None
    image: str = ""
    image_pull_policy: str = ""
    image_pull_secrets: tuple[str, ...] = ()
    node_selector: Mapping[str, str] = {}
    tolerations: tuple[Mapping[str, Any], ...] = ()


class Run(msgspec.Struct, frozen=True):
    """A Job that we made, and what its last pod said."""

    name: str
    uid: str
    resource_version: str
    state: Literal["Running", "Complete", "Failed"] = "Running"
    reason: str = ""  # of the failure, in the words of the Job or of the command
    message: str = ""
    failed: int = 0  # pods
    deleting: bool = False
    waiting: str = ""  # why its pod does not run
    result: Mapping[str, Any] | None = None  # the last line of the command; None: not heard


class Seen(msgspec.Struct, frozen=True):
    """Everything that one pass knows besides the resource itself."""

    cluster: Source | None = None  # None: there is none of this name
    run: Run | None = None
    discard: Run | None = None
    pods: int = 0  # of the Job that makes the backup, whether or not there still is a Job
    running: tuple[str, ...] = ()  # other FaunaBackups of this cluster that have begun
    readers: tuple[str, ...] = ()  # FaunaRestores that are reading the data
    missing: str = ""  # a Secret or claim without which no Job can start, in words
    namespace_ending: bool = False


class Hold(msgspec.Struct, frozen=True, tag=True):
    """Keep the resource, once deleted, until its data are dealt with."""

    def __str__(self) -> str:
        return "hold"


class Release(msgspec.Struct, frozen=True, tag=True):
    """Let the resource go."""

    why: str

    def __str__(self) -> str:
        return f"release ({self.why})"


class Store(msgspec.Struct, frozen=True, tag=True):
    """Latch facts in status; compare-and-set on the resource as it was observed."""

    record: Record
    why: str

    def __str__(self) -> str:
        return self.why


Action = Hold | Release | Store | Create | Delete


class Decision(msgspec.Struct, frozen=True):
    """What one pass does, by which rule, and what it waits for."""

    actions: tuple[Action, ...] = ()
    rule: str = ""
    blocked: Blocked | None = None

    def __str__(self) -> str:
        lines = [f"{self.rule}: {action}" for action in self.actions]
        lines += [f"{self.rule}: waits: {self.blocked}"] if self.blocked else []
        return "\n".join(lines) or "nothing to do"
