"""What does the person want? The spec of a FaunaCluster, with every default filled in.

The defaults stand here and in `crds/faunaclusters.yaml`; a test holds the two together.
Trap: a field is added here only together with the code that honours it.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from fauna_operator.model.stores import Backups, BackupStore


def seconds(text: str) -> float:
    """Return what a duration such as `1h30m` is in seconds; "" is 0.

    >>> seconds("1h30m"), seconds("15s")
    (5400.0, 15.0)
    """
    units = {"h": 3_600.0, "m": 60.0, "s": 1.0}
    return sum(int(n) * units[unit] for n, unit in re.findall(r"(\d+)([hms])", text))


class Image(msgspec.Struct, frozen=True, rename="camel"):
    """Which image the members run; `digest` wins over `tag`."""

    repository: str = "faunadb"
    tag: str = "latest"
    digest: str = ""
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()

    @property
    def reference(self) -> str:
        """Return what a container's `image` holds."""
        suffix = f"@{self.digest}" if self.digest else f":{self.tag}"
        return self.repository + suffix


class VolumePolicy(msgspec.Struct, frozen=True, rename="camel"):
    """What becomes of volumes that nobody needs any more."""

    quarantine_for: str = "168h"  # no volume goes at the moment of a decision


class Storage(msgspec.Struct, frozen=True, rename="camel"):
    """The volume of each member. There is no ephemeral mode."""

    size: str
    storage_class_name: str | None = None  # None is the cluster's default class
    volume_policy: VolumePolicy = VolumePolicy()


class Resources(msgspec.Struct, frozen=True, rename="camel"):
    """Requests and limits of a member, as Kubernetes writes them."""

    requests: dict[str, str | int] = msgspec.field(
        default_factory=lambda: {"cpu": "500m", "memory": "1Gi"}
    )
    limits: dict[str, str | int] = msgspec.field(default_factory=lambda: {"memory": "1Gi"})


class Scheduling(msgspec.Struct, frozen=True, rename="camel"):
    """Where members may run."""

    node_anti_affinity: str = "Required"  # | Preferred: two members on one node die together
    zone_spread: str = "Preferred"  # | Required | None
    zone_key: str = "topology.kubernetes.io/zone"
    node_selector: dict[str, str] = {}
    tolerations: tuple[dict[str, Any], ...] = ()
    priority_class_name: str = ""


class SecretKey(msgspec.Struct, frozen=True, rename="camel"):
    """A key in a Secret; an empty `name` means the Secret that the operator makes."""

    name: str = ""
    key: str = "secret"


class Auth(msgspec.Struct, frozen=True, rename="camel"):
    """The secret with which the first client gets in."""

    root_secret: SecretKey = SecretKey()


class SelfHealing(msgspec.Struct, frozen=True, rename="camel"):
    """What the operator may do about a lost member without asking."""

    enabled: bool = True
    max_replacements_per_hour: int = 2
    unreachable_after: str = ""  # a member with its volume; "": never


class UpdateStrategy(msgspec.Struct, frozen=True, rename="camel"):
    """How pods are taken one after the other when what they run changes."""

    member_ready_timeout: str = "15m"  # a member that takes longer stops the rollout
    min_ready_seconds: int = 15  # Ready for so long before the next one is taken


class BootstrapRestore(msgspec.Struct, frozen=True, rename="camel"):
    """The backup with which a new cluster begins; "" as `backup_id` is none."""

    storage: BackupStore = BackupStore()
    cluster_id: str = msgspec.field(name="clusterID", default="")  # that the backup is of
    backup_id: str = msgspec.field(name="backupID", default="")
    target_time: str = ""
    target_index: int | None = None
    timeout: str = "12h"


class Bootstrap(msgspec.Struct, frozen=True, rename="camel"):
    """How a cluster begins. Read once."""

    restore: BootstrapRestore = BootstrapRestore()


class Spec(msgspec.Struct, frozen=True, rename="camel"):
    """The whole spec; unknown fields are ignored, the API server has pruned them."""

    storage: Storage
    replicas: int = 3
    max_voters: int = 5
    image: Image = Image()
    resources: Resources = Resources()
    scheduling: Scheduling = Scheduling()
    auth: Auth = Auth()
    self_healing: SelfHealing = SelfHealing()
    update_strategy: UpdateStrategy = UpdateStrategy()
    bootstrap: Bootstrap = Bootstrap()
    backup: Backups = Backups()
    paused: bool = False
    deletion_protection: bool = False  # kept by the chart's policy, not by the operator

    @property
    def voters(self) -> int:
        """Return how many members vote: odd, because an even one more survives no more."""
        most = min(self.replicas, self.max_voters)
        return most if most % 2 else most - 1

    @property
    def read_replicas(self) -> int:
        """Return how many members get the log and never count."""
        return self.replicas - self.voters


class Desired(msgspec.Struct, frozen=True):
    """One FaunaCluster as its owner wrote it."""

    name: str
    namespace: str
    uid: str
    generation: int
    spec: Spec
    deleting: bool = False

    @classmethod
    def of(cls, resource: Mapping[str, Any]) -> "Desired":
        """Read a FaunaCluster. Raises `msgspec.ValidationError` for a spec that no CRD let in."""
        metadata = resource["metadata"]
        return cls(
            name=metadata["name"],
            namespace=metadata["namespace"],
            uid=metadata["uid"],
            generation=int(metadata.get("generation", 1)),
            spec=msgspec.convert(resource.get("spec", {}), Spec, strict=True),
            deleting="deletionTimestamp" in metadata,
        )

    def member(self, serial: int) -> str:
        """Return a member's name, which is also its pod's."""
        return f"{self.name}-{serial}"

    def claim(self, serial: int) -> str:
        """Return the name of a member's volume claim."""
        return f"data-{self.name}-{serial}"

    def host(self, serial: int) -> str:
        """Return the DNS name by which the Raft configuration knows a member."""
        return f"{self.member(serial)}.{self.name}-members.{self.namespace}.svc"

    @property
    def root_secret(self) -> str:
        """Return the name of the Secret with the root secret."""
        return self.spec.auth.root_secret.name or f"{self.name}-root"


def quorum(voters: int) -> int:
    """Return how many of `voters` are a majority."""
    return voters // 2 + 1
