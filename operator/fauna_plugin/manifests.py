"""What is asked of the operator? FaunaBackups and FaunaRestores, as a person writes them; pure."""

from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]

API_VERSION = "fauna.dev/v1alpha1"
NOT_COPIED = ("bootstrap", "deletionProtection", "paused")  # of a spec that another cluster gets


def backup(name: str, cluster: str, verify: str) -> Object:
    """Return a FaunaBackup that goes where the cluster says."""
    spec = {"clusterRef": {"name": cluster}, "verify": verify}
    return _resource("FaunaBackup", name, spec)


@dataclass(frozen=True)
class Source:
    """Where data come from: a backup or a survivor, and up to where."""

    backup: str = ""
    survivor: str = ""  # a member's name, or auto
    time: str = ""
    index: int = 0

    def problems(self) -> list[str]:
        """Return what cannot be meant; [] when all is well."""
        found = []
        if bool(self.backup) == bool(self.survivor):
            found.append("name a backup, or say --survivor, and not both")
        if self.time and self.index:
            found.append("--at-time and --at-index are two ways to say one thing")
        if self.survivor and (self.time or self.index):
            found.append("a survivor keeps all that it has: no --at-time, no --at-index")
        return found

    def as_spec(self) -> Object:
        """Return `spec.source`."""
        if self.survivor:
            chosen = {"auto": True} if self.survivor == "auto" else {"name": self.survivor}
            return {"survivingMember": chosen}
        point: Object = {"targetTime": self.time} if self.time else {}
        point |= {"targetIndex": self.index} if self.index else {}
        return {"backupName": self.backup, **point}


def restore_in_place(name: str, source: Source, cluster: Object, *, accepted: bool) -> Object:
    """Return a FaunaRestore over a cluster; without `accepted` one that only says what is lost."""
    metadata = cluster["metadata"]
    spec: Object = {
        "source": source.as_spec(),
        "target": {"inPlace": {"clusterName": metadata["name"]}},
    }
    if accepted:
        spec["confirm"] = {"clusterUID": metadata["uid"], "acceptDataLoss": True}
    else:
        spec["dryRun"] = True
    return _resource("FaunaRestore", name, spec)


def restore_to_new(name: str, source: Source, cluster: str, like: Object) -> Object:
    """Return a FaunaRestore that makes a new cluster with the spec of another one."""
    spec = {key: value for key, value in like["spec"].items() if key not in NOT_COPIED}
    target = {"newCluster": {"name": cluster, "spec": spec}}
    return _resource("FaunaRestore", name, {"source": source.as_spec(), "target": target})


def _resource(kind: str, name: str, spec: Object) -> Object:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}
