"""A world in which a majority can be lost for ever, and members of a former incarnation come back.

On top of `fauna_operator_world`: each incarnation has a configuration of its own, volumes remember
which incarnation they are of, pods can be out of the operator's sight while they serve, or stuck
on a node that is not heard of, and Jobs fill volumes. The truth that must hold stands in `truth`.
"""

import contextlib
import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fauna_operator.database import Address
from fauna_operator.errors import OperatorError, Refused, Stale, Unreachable
from fauna_operator.kube import Object
from fauna_operator.model import Answer, Configuration, ConfigurationId, Peer, Progress
from fauna_operator.model.restores import HANDED_OVER
from fauna_operator.reconcile import Cluster
from fauna_operator.render import names
from fauna_operator.restores.loop import Restore
from fauna_operator_faults import Broken
from fauna_operator_world import NAME, NAMESPACE, World, resource

CLAIM, POD, RESTORE = "PersistentVolumeClaim", "Pod", "FaunaRestore"
RESTORED_LAST = 5
LOOK_SECONDS = 3.0
QUIET_LOOKS = 7  # longer than a missing leader is waited for


@dataclass
class Group:
    """The configuration of one incarnation."""

    voters: dict[int, str] = field(default_factory=dict)
    learners: dict[int, str] = field(default_factory=dict)
    highest: int = 0
    index: int = 0
    term: int = 1
    last: int = 0
    open: bool = False


@dataclass
class Disk:
    """What lies on a volume."""

    nonce: str
    incarnation: int = 0  # 0: nothing
    last: int = 0
    term: int = 0


@dataclass
class RestoreWorld(World):
    """Kubernetes and members of several incarnations."""

    disks: dict[str, Disk] = field(default_factory=dict)  # by claim uid
    groups: dict[int, Group] = field(default_factory=dict)
    unseen: set[int] = field(default_factory=set)  # serve, and do not answer the operator
    stuck: set[int] = field(default_factory=set)  # their kubelet is not heard of
    accepted: int = 0  # the latest incarnation that acknowledged a write
    seconds: float = 0.0
    job_fails: bool = False

    # -- the port to Kubernetes ---------------------------------------------------------------

    async def find(self, kind: str, namespace: str, selector: str = "") -> list[Object]:
        if kind == POD and selector.startswith("batch.kubernetes.io/job-name="):
            text = msgspec.json.encode({"index": RESTORED_LAST, "txn_ts": 1, "state_hash": "ab"})
            ended = {"terminated": {"exitCode": 0, "message": text.decode(), "finishedAt": "z"}}
            return [{"status": {"containerStatuses": [{"state": ended}]}}]
        return await super().find(kind, namespace, selector)

    async def create(self, manifest: Object) -> Object:
        stored = copy.deepcopy(manifest)
        if stored["kind"] == "FaunaBackup":
            stored["status"] = {"phase": "Pending"}
        return await super().create(stored)

    async def delete(
        self, kind: str, namespace: str, name: str, preconditions: Object, *, force: bool = False
    ) -> None:
        self._write(f"delete {kind} {name}")
        live = self.objects.get((kind, name))
        if live is None:
            raise Stale(f"{name} is gone")
        self._expect(live, preconditions)
        self._hold(kind != CLAIM, f"volume {name} deleted")
        serial = int(live["metadata"]["labels"].get(names.SERIAL, "0"))
        if kind == POD and serial in self.stuck and not force:
            live["metadata"]["deletionTimestamp"] = "now"
            self._bump(live)
        else:
            self._hold(serial not in self.stuck, f"pod {name} forced away while it runs")
            del self.objects[kind, name]
        self._answer()

    async def patch(self, manifest: Object, *, apply: bool, status: bool = False) -> Object:
        if manifest["metadata"].get("labels", {}).get(names.QUARANTINED):
            live = self.objects[manifest["kind"], manifest["metadata"]["name"]]
            serial = int(live["metadata"]["labels"][names.SERIAL])
            now = self.groups.get(self.latched())
            held = now is not None and serial in {**now.voters, **now.learners}
            self._hold(not held, f"volume of configured member {serial} put aside")
        stored = await super().patch(manifest, apply=apply, status=status)
        live = self.objects[manifest["kind"], manifest["metadata"]["name"]]["metadata"]
        for part in ("labels", "annotations"):  # null takes away
            live[part] = {k: v for k, v in live.get(part, {}).items() if v is not None}
        return stored

    # -- the port to members ------------------------------------------------------------------

    async def ask(self, address: Address) -> Answer:
        if address.serial in self.unseen:
            raise Unreachable("no answer within 2 s")
        return self._tells(address.serial)

    async def tell(self, address: Address, path: str, body: Mapping[str, Any]) -> None:
        self._write(f"{path} {msgspec.json.encode(body).decode()}")
        serial, disk = address.serial, self._disk(address.serial)
        if serial in self.unseen:
            raise Unreachable("no answer within 2 s")
        if path == "/cluster/init":
            self._hold(not self.groups, "formed twice")
            self.groups[1] = Group({serial: disk.nonce}, highest=serial, index=1, last=1)
            disk.incarnation, disk.last, disk.term = 1, 1, 1
            self._answer()
            return
        group = self.groups[disk.incarnation]
        if self.led_by(disk.incarnation) != serial:
            raise Stale("not the leader")
        if path == "/cluster/open":
            if len(group.voters) < body["voters"]:
                raise Refused("voters are missing", code="voters_missing")
            group.open = True
        elif path == "/cluster/membership":
            self._alter(group, disk.incarnation, body)
        self._answer()

    # -- the truth ----------------------------------------------------------------------------

    def latched(self) -> int:
        """Return the incarnation that status says."""
        status = self.objects[names.KIND, NAME].get("status") or {}
        return int(status.get("incarnation", 1))

    def running(self, serial: int) -> Disk | None:
        """Return the directory of a member whose process serves it."""
        pod = self.objects.get((POD, f"{NAME}-{serial}"))
        claim = self.objects.get((CLAIM, f"data-{NAME}-{serial}"))
        if pod is None or pod.get("status", {}).get("phase") != "Running" or claim is None:
            return None
        disk = self.disks.get(claim["metadata"]["uid"])
        if disk is None or disk.incarnation not in (0, self._flag(pod, "--incarnation")):
            return None
        return disk

    def alive(self, incarnation: int = 0) -> set[int]:
        """Return the members of an incarnation that run on the directories that it names."""
        group = self.groups.get(incarnation or self.latched())
        found = set()
        for serial, nonce in {**group.learners, **group.voters}.items() if group else ():
            disk = self.running(serial)
            if disk is not None and disk.nonce == nonce and disk.incarnation:
                found.add(serial)
        return found

    def led_by(self, incarnation: int) -> int | None:
        """Return the leader of an incarnation: the living voter with most, if a majority lives."""
        group = self.groups[incarnation]
        living = sorted(self.alive(incarnation) & set(group.voters))
        if 2 * len(living) <= len(group.voters):
            return None
        return max(living, key=lambda serial: (self._has(serial), -serial))

    def truth(self) -> None:
        """Let every incarnation that can write do so; only the latest one ever may."""
        for incarnation in sorted(self.groups):
            leader = self.led_by(incarnation)
            if leader is None:
                continue
            group = self.groups[incarnation]
            group.last += 1
            for serial in self.alive(incarnation):
                disk = self.running(serial)
                assert disk is not None
                disk.last, disk.term = group.last, group.term
            if group.open:
                self._hold(
                    incarnation >= self.accepted,
                    f"incarnation {incarnation} acknowledges after {self.accepted} did",
                )
                self.accepted = incarnation

    def kubelets(self) -> None:
        """Bind claims, run pods and Jobs, let members write."""
        for (kind, name), item in list(self.objects.items()):
            if kind == CLAIM:
                item.setdefault("status", {})["phase"] = "Bound"
                self.disks.setdefault(item["metadata"]["uid"], Disk(f"{self._next():032x}"))
            elif kind == "Job" and not item.get("status"):
                self._fill(item)
            elif kind == "FaunaBackup":
                item["status"] = {**SAVED, "backupID": name}
            elif kind == POD:
                self._run_pod(name, item)
        self._catch_up()
        self.truth()

    def _run_pod(self, name: str, item: Object) -> None:
        serial = int(item["metadata"]["labels"][names.SERIAL])
        if serial in self.stuck:
            return
        if "deletionTimestamp" in item["metadata"]:
            del self.objects[POD, name]
            return
        item["spec"]["nodeName"] = f"n{serial}"
        claim = self.objects.get((CLAIM, f"data-{name}"))
        if claim is None:
            item["status"] = {"phase": "Pending"}
            return
        disk = self.disks[claim["metadata"]["uid"]]
        mine = self._flag(item, "--incarnation")
        if disk.incarnation and disk.incarnation != mine:
            if self._flag(item, "--from-incarnation") != disk.incarnation:
                gone = {"exitCode": 78, "message": '{"reason": "identity", "detail": "other"}'}
                state: Object = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}}
                state["lastState"] = {"terminated": gone}
                item["status"] = {"phase": "Running", "containerStatuses": [state]}
                item["status"]["podIP"] = f"10.0.0.{serial}"
                return
            former = self.groups[disk.incarnation]
            disk.incarnation, disk.term = mine, disk.term + 1
            self.groups[mine] = Group(
                {serial: disk.nonce},
                highest=max(former.highest, serial),
                index=disk.last + 1,
                term=disk.term,
                last=disk.last + 1,
            )
        group = self.groups.get(mine)
        known = group is not None and serial in {**group.voters, **group.learners}
        ready = {"type": "Ready", "status": "True" if known else "False"}
        item["status"] = {
            "phase": "Running",
            "podIP": f"10.0.0.{serial}",
            "conditions": [ready],
        }

    def _fill(self, job: Object) -> None:
        if self.job_fails:
            job["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}
            return
        container = job["spec"]["template"]["spec"]
        name = next(
            v["persistentVolumeClaim"]["claimName"]
            for v in container["volumes"]
            if v["name"] == "data"
        )
        claim = self.objects.get((CLAIM, name))
        if claim is None:
            return
        words = {"spec": container}
        serial, incarnation = self._flag(words, "--member-id"), self._flag(words, "--incarnation")
        disk = self.disks.setdefault(claim["metadata"]["uid"], Disk(f"{self._next():032x}"))
        self._hold(disk.incarnation in (0, incarnation), f"a Job writes over {name}")
        self._hold((POD, f"{NAME}-{serial}") not in self.objects, "a Job beside a pod")
        disk.incarnation, disk.last, disk.term = incarnation, RESTORED_LAST, 1
        self.groups[incarnation] = Group(
            {serial: disk.nonce}, highest=serial, index=RESTORED_LAST, last=RESTORED_LAST
        )
        job["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}

    # -- what people do -----------------------------------------------------------------------

    def ask_for(self, source: Object, name: str, **in_place: Any) -> None:
        """Create a FaunaRestore in place, confirmed."""
        cluster = self.objects[names.KIND, NAME]
        self.put(
            {
                "apiVersion": names.API_VERSION,
                "kind": RESTORE,
                "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": {
                    "source": source,
                    "target": {"inPlace": {"clusterName": NAME, **in_place}},
                    "confirm": {"clusterUID": cluster["metadata"]["uid"], "acceptDataLoss": True},
                },
            }
        )

    def restores(self) -> dict[str, str]:
        """Return the phase of every FaunaRestore."""
        return {
            name: item.get("status", {}).get("phase", "Pending")
            for (kind, name), item in sorted(self.objects.items())
            if kind == RESTORE
        }

    def under_way(self) -> bool:
        return any(phase in HANDED_OVER for phase in self.restores().values())

    def destroy(self, serial: int) -> None:
        """Lose a volume for ever, with its pod."""
        self.objects.pop((CLAIM, f"data-{NAME}-{serial}"), None)
        if serial not in self.stuck:
            self.objects.pop((POD, f"{NAME}-{serial}"), None)

    def copy(self) -> "RestoreWorld":
        return copy.deepcopy(self)

    # -- inside -------------------------------------------------------------------------------

    def _flag(self, pod: Object, flag: str) -> int:
        for word in pod["spec"]["containers"][0]["args"]:
            if word.startswith(f"{flag}="):
                return int(word.partition("=")[2])
        return 0

    def _has(self, serial: int) -> tuple[int, int]:
        disk = self.running(serial)
        return (disk.term, disk.last) if disk else (0, 0)

    def _disk(self, serial: int) -> Disk:
        disk = self.running(serial)
        if disk is None:
            raise Unreachable("connection refused")
        return disk

    def _catch_up(self) -> None:
        for incarnation, group in self.groups.items():
            if self.led_by(incarnation) is None:
                continue
            for serial, nonce in group.learners.items():
                disk = self.running(serial)
                if disk is not None and nonce in ("", disk.nonce):
                    group.learners[serial] = disk.nonce
                    disk.incarnation, disk.last, disk.term = incarnation, group.last, group.term

    def _alter(self, group: Group, incarnation: int, body: Mapping[str, Any]) -> None:
        if body["if"]["index"] != group.index or body["if"]["incarnation"] != incarnation:
            raise Stale(f"the committed configuration is {group.index}")
        serial, op = body["member"]["id"], body["op"]
        if op == "add_learner":
            if serial <= group.highest:
                raise Refused(f"id {serial} was used", code="change_refused")
            group.learners[serial], group.highest = "", serial
        elif op == "remove":
            group.voters.pop(serial, None)
            group.learners.pop(serial, None)
        else:
            if group.learners.get(serial) != body["member"]["nonce"]:
                raise Refused("not caught up", code="change_refused")
            group.voters[serial] = group.learners.pop(serial)
            if op == "swap":
                group.voters.pop(body["outgoing"])
        group.index += 1

    def _tells(self, serial: int) -> Answer:
        pod, disk = self.objects.get((POD, f"{NAME}-{serial}")), self._disk(serial)
        assert pod is not None
        words = dict(w.split("=", 1) for w in pod["spec"]["containers"][0]["args"] if "=" in w)
        answer = Answer(
            "waiting", words["--cluster-id"], int(words["--incarnation"]), serial, last=disk.last
        )
        group = self.groups.get(disk.incarnation)
        if group is None:
            return answer
        members = {**group.voters, **group.learners}
        leader = self.led_by(disk.incarnation)
        seen = leader is not None and serial in self.alive(disk.incarnation)
        answer = msgspec.structs.replace(
            answer,
            state="member" if serial in members or serial > group.highest else "removed",
            nonce=disk.nonce,
            role="leader" if leader == serial else "follower",
            leader=Peer(leader, "") if seen and leader is not None else None,
            last_term=disk.term,
            ts_ceiling=disk.last,
            open=group.open,
        )
        if leader != serial:
            return answer
        return msgspec.structs.replace(
            answer,
            configuration=Configuration(
                ConfigurationId(disk.incarnation, group.term, group.index),
                tuple(Peer(s, "", n) for s, n in sorted(group.voters.items())),
                learners=tuple(Peer(s, "", n or None) for s, n in sorted(group.learners.items())),
                highest_member_id=group.highest,
            ),
            members=tuple(
                Progress(
                    s,
                    nonce=members[s] or None,
                    match=disk.last if s in self.alive(disk.incarnation) else 0,
                    last_contact_ms=1 if s in self.alive(disk.incarnation) else None,
                    caught_up=s in self.alive(disk.incarnation),
                )
                for s in sorted(members)
            ),
        )


SAVED = {
    "clusterID": "ab" * 16,
    "storage": {"pvc": {"claimName": "nas"}},
    "startedAt": "2026-01-01T00:00:00Z",
    "completedAt": "2026-01-01T00:00:00Z",
}
EXTERNAL = {
    "external": {
        "storage": {"pvc": {"claimName": "nas"}},
        "clusterID": "ab" * 16,
        "backupID": "b1",
    }
}
AUTO = {"survivingMember": {"auto": True}}


def begun(**spec: Any) -> RestoreWorld:
    """Return a world with one new FaunaCluster in it."""
    world = RestoreWorld()
    world.put(resource(selfHealing={"maxReplacementsPerHour": 10}, **spec))
    for number in range(1, 16):
        world.put(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": f"n{number}"},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]},
            }
        )
    return world


class Operator:
    """One process of the operator: the loop of the cluster, and those of its restores."""

    def __init__(self, world: RestoreWorld) -> None:
        self.world = world
        self.cluster = Cluster(world, world, (NAMESPACE, NAME), clock=lambda: world.seconds)

    async def look(self) -> None:
        """Let some seconds pass, and every loop look once."""
        self.world.seconds += LOOK_SECONDS
        for name in self.world.restores():
            with contextlib.suppress(OperatorError):
                await Restore(self.world, (NAMESPACE, name), lambda *_: None).one_pass()
        with contextlib.suppress(OperatorError):
            await self.cluster.one_pass()
        self.world.kubelets()


async def settle(world: RestoreWorld, operator: Operator, looks: int = 400) -> int:
    """Look until nothing was written for longer than anything is waited for."""
    quiet = 0
    for count in range(looks):
        before = len(world.log)
        await operator.look()
        quiet = quiet + 1 if len(world.log) == before else 0
        if quiet == QUIET_LOOKS:
            return count
    raise Broken("it does not settle:\n" + "\n".join(world.log[-30:]))


def voters(world: RestoreWorld) -> list[int]:
    """Return who votes in the incarnation that is latched."""
    group = world.groups.get(world.latched())
    return sorted(group.voters) if group else []


def recovery(world: RestoreWorld, name: str) -> Object:
    """Return the status of a FaunaRestore."""
    found: Object = world.objects[RESTORE, name]["status"]
    return found
