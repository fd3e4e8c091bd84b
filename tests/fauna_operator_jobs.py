"""A small model of Kubernetes with Jobs and of an object store, for backups to be wrong about.

It implements the operator's port to Kubernetes and keeps the truth: which data lie in the store,
who writes there now, and what every write of the operator was allowed to do.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fauna_operator.backups.model import FINALIZER
from fauna_operator.errors import Refused, Stale
from fauna_operator.kube import Object
from fauna_operator.model.dates import epoch, iso
from fauna_operator.render import names
from fauna_operator_faults import Faulty

SPACE, CLUSTER = "default", "orders"
CLUSTER_ID = "6f1c2b0e9a7d4f53b8e1d2c3a4f5e607"
STORAGE = {"s3": {"bucket": "backups", "credentials": {"secretName": "s3"}}}
PARTS = 3  # a pod writes so many, then the manifest


@dataclass
class World(Faulty):
    """Objects, the store, and what goes wrong next."""

    store: dict[str, int] = field(default_factory=dict)  # backup id -> parts; PARTS + 1: complete
    now: float = 1_800_000_000.0
    ending: bool = False  # the namespace
    exits: list[tuple[int, str]] = field(default_factory=list)  # of the next pods that would work

    # -- the operator's port to Kubernetes ----------------------------------------------------

    async def create(self, manifest: Object) -> Object:
        key = (manifest["kind"], manifest["metadata"]["name"])
        self._write(f"create {key[0]} {key[1]}")
        if key in self.objects:
            raise Stale(f"{key} exists")
        if self.ending:
            raise Refused("the namespace is being terminated", code="403")
        if key[0] == "Job":
            self._check_job(manifest)
        stored = self.put(manifest)
        self._answer()
        return stored

    async def patch(self, manifest: Object, *, apply: bool, status: bool = False) -> Object:
        key = (manifest["kind"], manifest["metadata"]["name"])
        self._write(f"patch {key[0]} {key[1]}")
        live = self.objects.get(key)
        if live is None and apply:
            stored = self.put(manifest)
            self._answer()
            return stored
        if live is None:
            raise Stale(f"{key} is gone")
        self._expect(live, manifest["metadata"])
        live |= {part: manifest[part] for part in ("data", "spec") if part in manifest}
        if "finalizers" in manifest["metadata"]:
            live["metadata"]["finalizers"] = list(manifest["metadata"]["finalizers"])
        self._bump(live)
        stored = copy.deepcopy(live)
        self._collect()
        self._answer()
        return stored

    async def replace_status(self, resource: Object) -> Object:
        self._write(f"status {resource['metadata']['name']}")
        key = (resource["kind"], resource["metadata"]["name"])
        live = self.objects.get(key)
        if live is None:
            raise Stale(f"{key} is gone")
        self._expect(live, resource["metadata"])
        old, new = live.get("status", {}), resource["status"]
        if old.get("completedAt"):
            same = {k: v for k, v in old.items() if k not in ("phase", "conditions")}
            self._hold(same.items() <= new.items(), "an ended backup was changed")
        live["status"] = copy.deepcopy(new)
        self._bump(live)
        self._answer()
        return copy.deepcopy(live)

    async def delete(
        self, kind: str, namespace: str, name: str, preconditions: Object, *, force: bool = False
    ) -> None:
        self._write(f"delete {kind} {name}")
        live = self.objects.get((kind, name))
        if live is None:
            raise Stale(f"{name} is gone")
        self._expect(live, preconditions)
        self.remove(kind, name)
        self._answer()

    # -- what people and the rest of Kubernetes do --------------------------------------------

    def put(self, manifest: Object) -> Object:
        """Store an object as the API server would."""
        stored = copy.deepcopy(manifest)
        stored["metadata"].setdefault("namespace", SPACE)
        stored["metadata"]["uid"] = f"{self._next():08x}-uid"
        stored["metadata"]["generation"] = 1
        stored["metadata"]["creationTimestamp"] = iso(self.now)
        self._bump(stored)
        self.objects[manifest["kind"], manifest["metadata"]["name"]] = stored
        return copy.deepcopy(stored)

    def remove(self, kind: str, name: str) -> None:
        """Delete an object as a person would; finalizers hold it."""
        live = self.objects.get((kind, name))
        if live is None:
            return
        if live["metadata"].get("finalizers"):
            live["metadata"].setdefault("deletionTimestamp", iso(self.now))
            self._bump(live)
        else:
            del self.objects[kind, name]
        self._collect()

    def end_namespace(self) -> None:
        """Delete the namespace: nothing new, and everything in it is deleted."""
        self.ending = True
        self.objects["Namespace", SPACE] = {
            "kind": "Namespace",
            "metadata": {"name": SPACE, "deletionTimestamp": iso(self.now)},
        }
        for kind, name in list(self.objects):
            if kind != "Namespace":
                self.remove(kind, name)

    def step(self) -> None:
        """Let the Job controller and the kubelets do one thing each."""
        for (kind, name), item in list(self.objects.items()):
            if kind == "Job" and (kind, name) in self.objects:
                self._job(name, item)
        for (kind, name), item in list(self.objects.items()):
            if kind == "Pod" and (kind, name) in self.objects:
                self._work(item)
        self._collect()

    def kill_pod(self) -> bool:
        """Kill a pod at work; tell whether there was one."""
        for (kind, _), pod in self.objects.items():
            if kind == "Pod" and pod["status"]["phase"] == "Running":
                _end(pod, 137, "")
                return True
        return False

    def status(self, name: str) -> Object:
        found: Object = self.objects["FaunaBackup", name].get("status", {})
        return found

    # -- inside -------------------------------------------------------------------------------

    def _check_job(self, manifest: Object) -> None:
        """A backup's Job needs its record in the stored status, and no rival at work."""
        backup = manifest["metadata"]["labels"][names.BACKUP]
        status = self.objects.get(("FaunaBackup", backup), {}).get("status", {})
        words = _words(manifest)
        self._hold(words["--backup-id"] == status.get("backupID"), "a Job before its record")
        self._hold(not status.get("completedAt") or words["verb"] == "discard", "made again")
        if words["verb"] == "backup":
            busy = {labels[names.BACKUP] for labels in self._busy()} - {backup}
            self._hold(not busy, f"{backup} and {busy} run together")

    def _busy(self) -> Iterator[Mapping[str, str]]:
        """Yield the labels of what makes a backup, or will: pods at work, Jobs that go on."""
        yield from self._writers()
        for (kind, _), item in self.objects.items():
            labels = item["metadata"].get("labels", {})
            going = kind == "Job" and not item.get("status", {}).get("conditions")
            if going and labels.get(names.COMPONENT) == "backup":
                yield labels

    def _writers(self) -> Iterator[Mapping[str, str]]:
        for (kind, _), item in self.objects.items():
            labels = item["metadata"].get("labels", {})
            running = kind == "Pod" and item["status"]["phase"] == "Running"
            if running and labels.get(names.COMPONENT) == "backup":
                yield labels

    def _job(self, name: str, job: Object) -> None:
        status = job.setdefault("status", {})
        if any(each["type"] in ("Complete", "Failed") for each in status.get("conditions", ())):
            return
        mine = [
            pod
            for (kind, _), pod in self.objects.items()
            if kind == "Pod" and job["metadata"]["uid"] in _owner_uids(pod)
        ]
        phases = [pod["status"]["phase"] for pod in mine]
        status["failed"] = phases.count("Failed")
        late = self.now - epoch(job["metadata"]["creationTimestamp"])
        if late > job["spec"]["activeDeadlineSeconds"]:
            for pod in mine:
                if pod["status"]["phase"] == "Running":
                    _end(pod, 143, "")
            _conclude(status, "Failed", "DeadlineExceeded")
        elif "Succeeded" in phases:
            _conclude(status, "Complete", "")
        elif status["failed"] > job["spec"]["backoffLimit"]:
            _conclude(status, "Failed", "BackoffLimitExceeded")
        elif "Running" not in phases:
            template = job["spec"]["template"]
            owner = {"kind": "Job", "uid": job["metadata"]["uid"], "controller": True}
            self.put(
                {
                    "kind": "Pod",
                    "metadata": {
                        "name": f"{name}-{self._next()}",
                        "labels": template["metadata"]["labels"],
                        "ownerReferences": [owner],
                    },
                    "spec": template["spec"],
                    "status": {"phase": "Running"},
                }
            )
        self._bump(job)

    def _work(self, pod: Object) -> None:
        """Do what `faunadb backup` and `faunadb discard` do, one part at a time."""
        if pod["status"]["phase"] != "Running":
            return
        if self.exits:
            _end(pod, *self.exits.pop(0))
            return
        words = _words({"spec": {"template": {"spec": pod["spec"]}}})
        backup = words["--backup-id"]
        if words["verb"] == "discard":
            self._hold(
                not any(each[names.BACKUP] == words["name"] for each in self._writers()),
                "data are deleted while they are written",
            )
            self.store.pop(backup, None)
            _end(pod, 0, '{"objects_removed": 4}')
        elif not pod.get("begun"):
            pod["begun"] = True
            if self.store.get(backup, 0) <= PARTS:
                self.store[backup] = 0
        elif self.store.get(backup, 0) <= PARTS:
            self.store[backup] = self.store.get(backup, 0) + 1
        else:
            _end(pod, 0, msgspec.json.encode(result(backup, words["--verify"])).decode())

    def _collect(self) -> None:
        """Remove what has no owner left, and what is deleted and held by nobody."""
        changed = True
        while changed:
            changed = False
            uids = {item["metadata"].get("uid") for item in self.objects.values()}
            for key, item in list(self.objects.items()):
                metadata = item["metadata"]
                orphan = _owner_uids(item) and not _owner_uids(item) & uids
                done = "deletionTimestamp" in metadata and not metadata.get("finalizers")
                if key[0] != "Namespace" and (orphan or done):
                    del self.objects[key]
                    changed = True


def result(backup_id: str, verified: str, **more: Any) -> Object:
    """Return what `faunadb backup` says last."""
    return {
        "backup_id": backup_id,
        "cluster_id": CLUSTER_ID,
        "incarnation": 1,
        "member": "orders-2.orders-members.default.svc",
        "term": 3,
        "index": 812,
        "txn_ts": 1_800_000_000_000_000,
        "size_bytes": 1_300_000_000,
        "stored_bytes": 400_000_000,
        "parts": PARTS,
        "documents": 3376,
        "state_hash": "ab" * 16,
        "manifest_sha256": "cd" * 32,
        "verified": verified,
        **more,
    }


def backup(name: str = "one", **spec: Any) -> Object:
    """Return a FaunaBackup as a person writes it."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": "FaunaBackup",
        "metadata": {"name": name, "namespace": SPACE},
        "spec": {"clusterRef": {"name": CLUSTER}, **spec},
    }


def fresh() -> World:
    """Return a world with a cluster that can be backed up."""
    world = World()
    world.put(
        {
            "apiVersion": names.API_VERSION,
            "kind": "FaunaCluster",
            "metadata": {"name": CLUSTER},
            "spec": {"storage": {"size": "1Gi"}, "backup": {"storage": STORAGE}},
            "status": {
                "clusterID": CLUSTER_ID,
                "incarnation": 1,
                "members": [{"name": f"orders-{n}", "memberID": str(n)} for n in (1, 2, 3)],
                "conditions": [{"type": "Available", "status": "True"}],
            },
        }
    )
    for secret in ("s3", f"{CLUSTER}-backup-tls"):
        world.put({"kind": "Secret", "metadata": {"name": secret}})
    return world


def held(world: World, name: str = "one") -> bool:
    """Tell whether our finalizer is on a FaunaBackup."""
    found = world.objects.get(("FaunaBackup", name), {"metadata": {}})
    return FINALIZER in found["metadata"].get("finalizers", ())


def _words(manifest: Object) -> dict[str, str]:
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    verb, *flags = container["args"]
    found = dict(flag.split("=", 1) for flag in flags)
    return {**found, "verb": verb, "name": found["--backup-id"].rpartition("-")[0]}


def _owner_uids(item: Object) -> set[str]:
    return {owner["uid"] for owner in item["metadata"].get("ownerReferences") or ()}


def _end(pod: Object, code: int, message: str) -> None:
    ended = {"exitCode": code, "message": message, "reason": "Completed" if code == 0 else "Error"}
    pod["status"] = {
        "phase": "Failed" if code else "Succeeded",
        "containerStatuses": [{"state": {"terminated": ended}}],
    }


def _conclude(status: Object, kind: str, reason: str) -> None:
    status.setdefault("conditions", []).append({"type": kind, "status": "True", "reason": reason})
