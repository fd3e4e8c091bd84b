"""A small model of Kubernetes, kubelets and members, for the operator to be wrong about.

It implements the operator's two ports and keeps the truth: which directory lies on which volume,
which configuration is committed, what each write was allowed to do. Faults are asked for by the
test: a crash at a write, a lost answer, a stale read.
"""

import copy
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from fauna_operator.database import Address
from fauna_operator.errors import OperatorError, Refused, Stale, Unreachable
from fauna_operator.kube import Object
from fauna_operator.model import Answer, Configuration, ConfigurationId, Peer, Progress
from fauna_operator.pki import KeyPair
from fauna_operator.reconcile import Cluster
from fauna_operator.render import names
from fauna_operator_faults import Broken, Faulty

NAMESPACE, NAME = "default", "orders"


@dataclass
class Directory:
    """What lies on a volume."""

    nonce: str
    member: bool = False  # accepted an append, or formed the cluster


@dataclass
class World(Faulty):
    """Kubernetes and the members, with the truth about both."""

    directories: dict[str, Directory] = field(default_factory=dict)  # by claim uid
    voters: dict[int, str] = field(default_factory=dict)  # serial -> nonce
    learners: dict[int, str] = field(default_factory=dict)
    highest: int = 0
    index: int = 0
    formed: int = 0
    open: bool = False
    spare_max: int = 0  # learners that may stand beside one that is on its way to a vote
    shuffle: random.Random | None = None  # the order of listings, and of members
    bad_tag: str = "broken"  # an image that no kubelet finds
    preferred: int = 0  # who leads after a transfer
    events: list[tuple[str, str]] = field(default_factory=list)  # reason and note, as told

    # -- the operator's port to Kubernetes ----------------------------------------------------

    async def find(self, kind: str, namespace: str, selector: str = "") -> list[Object]:
        found = await super().find(kind, namespace, selector)
        if self.shuffle is not None:
            self.shuffle.shuffle(found)
        return found

    async def create(self, manifest: Object) -> Object:
        key = (manifest["kind"], manifest["metadata"]["name"])
        if key[0] == "Event":  # a courtesy, no write that anything stands on
            self.events.append((manifest["reason"], manifest["note"]))
            return manifest
        self._write(f"create {key}")
        if key in self.objects:
            raise Stale(f"{key} exists")
        if key[0] == "PersistentVolumeClaim":
            serial = int(manifest["metadata"]["labels"][names.SERIAL])
            self._hold(serial not in self.voters, f"new volume for voter {serial}")
        stored = self.put(manifest)
        self._answer()
        return stored

    async def patch(self, manifest: Object, *, apply: bool, status: bool = False) -> Object:
        key = (manifest["kind"], manifest["metadata"]["name"])
        self._write(f"patch {key}")
        live = self.objects.get(key)
        if live is None:
            if not apply or "resourceVersion" in manifest["metadata"]:
                raise Stale(f"{key} is gone")
            stored = self.put(manifest)
        else:
            self._expect(live, manifest["metadata"])
            labels = manifest["metadata"].get("labels", {})
            if labels.get(names.QUARANTINED):
                serial = int(live["metadata"]["labels"][names.SERIAL])
                held = serial in self.voters or serial in self.learners
                self._hold(not held, f"volume of configured member {serial} put aside")
            stored = self._bump(_merged(live, manifest))
        self._answer()
        return copy.deepcopy(stored)

    async def replace_status(self, resource: Object) -> Object:
        self._write("status")
        live = self.objects[resource["kind"], resource["metadata"]["name"]]
        self._expect(live, resource["metadata"])
        live["status"] = copy.deepcopy(resource["status"])
        stored = copy.deepcopy(self._bump(live))
        self._answer()
        return stored

    async def delete(
        self, kind: str, namespace: str, name: str, preconditions: Object, *, force: bool = False
    ) -> None:
        self._write(f"delete {kind} {name}")
        live = self.objects.get((kind, name))
        if live is None:
            raise Stale(f"{name} is gone")
        self._expect(live, preconditions)
        serial = int(live["metadata"]["labels"][names.SERIAL])
        if kind == "PersistentVolumeClaim":
            self._hold(serial not in self.voters, f"volume of voter {serial} deleted")
        elif serial in self.alive():
            left = [s for s in self.voters if s in self.alive() and s != serial]
            single = len(self.voters) == 1
            enough = serial not in self.voters or 2 * len(left) > len(self.voters) or single
            self._hold(enough, f"majority lost by deleting pod {serial}")
        del self.objects[kind, name]
        self._answer()

    # -- the operator's port to members -------------------------------------------------------

    async def ask(self, address: Address) -> Answer:
        directory = self._running(address.serial)
        return self._say(address.serial, directory)

    async def tell(self, address: Address, path: str, body: Mapping[str, Any]) -> None:
        self._write(f"{path} {msgspec.json.encode(body).decode()}")
        directory = self._running(address.serial)
        if path == "/cluster/init":
            if not directory.member:
                self.formed += 1
                self._hold(self.formed == 1, "the cluster was formed twice")
                directory.member = True
                self.voters = {address.serial: directory.nonce}
                self.highest, self.index = address.serial, 1
        elif address.serial != self.leader():
            raise Stale("not the leader")
        elif path == "/cluster/open":
            if len(self.voters) < body["voters"]:
                raise Refused("voters are missing", code="voters_missing")
            self.open = True
        elif path == "/cluster/transfer":
            self.preferred = body["to"]
        elif path == "/cluster/membership":
            self._change(body)
        self._answer()

    def trust(self, authority: KeyPair, cluster_id: str, now: float) -> None:
        pass

    async def close(self) -> None:
        pass

    # -- the truth ----------------------------------------------------------------------------

    def alive(self) -> set[int]:
        """Return the members whose process runs on the directory that the configuration names."""
        found = set()
        for serial, nonce in {**self.learners, **self.voters}.items():
            try:
                if self._running(serial).nonce == nonce:
                    found.add(serial)
            except Unreachable:
                continue
        return found

    def leader(self) -> int | None:
        """Return who leads: the preferred or lowest living voter, if a majority lives."""
        living = sorted(self.alive() & set(self.voters), key=lambda s: (s != self.preferred, s))
        return living[0] if 2 * len(living) > len(self.voters) else None

    def put(self, manifest: Object) -> Object:
        """Store an object as the API server would."""
        stored = copy.deepcopy(manifest)
        stored["metadata"]["uid"] = f"uid-{self._next()}"
        stored["metadata"]["generation"] = 1
        stored["metadata"]["creationTimestamp"] = datetime.fromtimestamp(
            time.time(), UTC
        ).isoformat()
        self.objects[manifest["kind"], manifest["metadata"]["name"]] = stored
        return copy.deepcopy(self._bump(stored))

    def kubelets(self) -> None:
        """Bind claims, run pods, make them ready; deleting claims go when no pod uses them."""
        for (kind, name), item in list(self.objects.items()):
            if kind == "PersistentVolumeClaim":
                item.setdefault("status", {})["phase"] = "Bound"
                serial = item["metadata"]["labels"][names.SERIAL]
                used = ("Pod", f"{NAME}-{serial}") in self.objects
                if "deletionTimestamp" in item["metadata"] and not used:
                    del self.objects[kind, name]
            if kind == "Pod" and item.get("status", {}).get("phase") != "Failed":
                if "deletionTimestamp" in item["metadata"]:
                    del self.objects[kind, name]
                    continue
                serial = int(item["metadata"]["labels"][names.SERIAL])
                claim = self.objects.get(("PersistentVolumeClaim", f"data-{name}"))
                if item["spec"]["containers"][0]["image"].endswith(f":{self.bad_tag}"):
                    waiting = {"waiting": {"reason": "ImagePullBackOff"}}
                    item["status"] = {"phase": "Pending", "containerStatuses": [{"state": waiting}]}
                elif claim is not None:
                    uid = claim["metadata"]["uid"]
                    nonce = f"{self._next():032x}"
                    self.directories.setdefault(uid, Directory(nonce))
                    known = serial in self.voters or serial in self.learners
                    ready = {"type": "Ready", "status": "True" if known else "False"}
                    item["status"] = {
                        "phase": "Running",
                        "podIP": f"10.0.0.{serial}",
                        "conditions": [ready],
                    }
        self._catch_up()

    def copy(self) -> "World":
        """Return a world like this one that goes on by itself."""
        return copy.deepcopy(self)

    def pods(self) -> list[str]:
        return [name for kind, name in sorted(self.objects) if kind == "Pod"]

    # -- inside -------------------------------------------------------------------------------

    def _catch_up(self) -> None:
        """Let living learners get the log; the leader hears their nonce."""
        for serial in self.learners:
            try:
                directory = self._running(serial)
            except Unreachable:
                continue
            if self.learners[serial] in ("", directory.nonce):
                self.learners[serial] = directory.nonce
                directory.member = True

    def _change(self, body: Mapping[str, Any]) -> None:
        if body["if"]["index"] != self.index:
            raise Stale(f"the committed configuration is {self.index}")
        serial, op = body["member"]["id"], body["op"]
        if op == "add_learner":
            if serial <= self.highest:
                raise Refused(f"id {serial} was used", code="change_refused")
            spec = self.objects[names.KIND, NAME]["spec"]
            most = min(spec.get("replicas", 3), spec.get("maxVoters", 5))
            spare = spec.get("replicas", 3) - (most if most % 2 else most - 1)
            self.spare_max = max(self.spare_max, spare)
            self._hold(len(self.learners) <= self.spare_max, "too many learners at once")
            self.learners[serial], self.highest = "", serial
        elif op == "remove":
            left = [s for s in self.voters if s != serial and s in self.alive()]
            after = len([s for s in self.voters if s != serial])
            self._hold(serial in self.learners or 2 * len(left) > after, "majority removed")
            self.voters.pop(serial, None)
            self.learners.pop(serial, None)
        else:
            if serial not in self.alive() or self.learners[serial] != body["member"]["nonce"]:
                raise Refused("not caught up", code="change_refused")
            self.voters[serial] = self.learners.pop(serial)
            if op == "swap":
                self.voters.pop(body["outgoing"])
        self.index += 1

    def _say(self, serial: int, directory: Directory) -> Answer:
        latch = self.objects["Pod", f"{NAME}-{serial}"]["spec"]["containers"][0]["args"]
        flags = dict(arg.split("=", 1) for arg in latch[1:])
        common = {
            "cluster_id": flags["--cluster-id"],
            "incarnation": int(flags["--incarnation"]),
            "member_id": serial,
        }
        if not directory.member:
            return Answer(state="waiting", **common)
        mine = {**self.voters, **self.learners}.get(serial)
        answer = Answer(
            state="removed" if mine is None and serial <= self.highest else "member",
            nonce=directory.nonce,
            role="follower",
            term=1,
            open=self.open,
            **common,
        )
        if self.leader() != serial:
            return answer
        peers = [*self.voters, *self.learners]
        if self.shuffle is not None:
            self.shuffle.shuffle(peers)
        return msgspec.structs.replace(
            answer,
            role="leader",
            configuration=Configuration(
                id=ConfigurationId(1, 1, self.index),
                voters=tuple(Peer(s, "", n) for s, n in self.voters.items()),
                learners=tuple(Peer(s, "", n or None) for s, n in self.learners.items()),
                highest_member_id=self.highest,
            ),
            members=tuple(
                Progress(
                    s,
                    nonce={**self.voters, **self.learners}[s] or None,
                    match=self.index if {**self.voters, **self.learners}[s] else 0,
                    last_contact_ms=1 if s in self.alive() else None,
                    caught_up=s in self.alive(),
                )
                for s in peers
            ),
        )

    def _running(self, serial: int) -> Directory:
        pod = self.objects.get(("Pod", f"{NAME}-{serial}"), {})
        claim = self.objects.get(("PersistentVolumeClaim", f"data-{NAME}-{serial}"))
        uid = claim["metadata"]["uid"] if claim else ""
        if pod.get("status", {}).get("phase") != "Running" or uid not in self.directories:
            raise Unreachable("connection refused")
        return self.directories[uid]


def _merged(live: Object, manifest: Object) -> Object:
    for key, value in manifest.items():
        if key == "metadata":
            for part in ("labels", "annotations"):
                live["metadata"].setdefault(part, {}).update(value.get(part, {}))
            if "ownerReferences" in value:
                live["metadata"]["ownerReferences"] = copy.deepcopy(value["ownerReferences"])
        elif isinstance(value, dict):
            live.setdefault(key, {}).update(copy.deepcopy(value))
        else:
            live[key] = value
    if manifest["kind"] == "ConfigMap":  # what one manager does not apply any more goes
        live["data"] = copy.deepcopy(manifest["data"])
    return live


def resource(**spec: Any) -> Object:
    """Return a FaunaCluster as a person writes it."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {
            "storage": {"size": "1Gi"},
            "updateStrategy": {"minReadySeconds": 0},
            **spec,
        },
    }


async def settle(world: World, cluster: Cluster, *, passes: int = 200) -> int:
    """Run passes and kubelets until two in a row change nothing; return how many it took."""
    quiet = 0
    for count in range(passes):
        before = len(world.log)
        try:
            await cluster.one_pass()
        except OperatorError:
            continue
        world.kubelets()
        quiet = quiet + 1 if len(world.log) == before else 0
        if quiet == 2:
            return count
    raise Broken("it does not settle:\n" + "\n".join(world.log[-30:]))


def fresh(**spec: Any) -> World:
    """Return a world with one new FaunaCluster in it."""
    world = World()
    world.put(resource(**spec))
    return world


def conditions(world: World) -> dict[str, tuple[str, str]]:
    """Return the conditions: type -> (status, reason)."""
    found = world.objects[names.KIND, NAME]["status"]["conditions"]
    return {entry["type"]: (entry["status"], entry["reason"]) for entry in found}
