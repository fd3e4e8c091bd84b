"""The operator's loop moves real members: Kubernetes is a model, Raft and disks are not.

What only real members know is judged here: when a learner has caught up, what becomes of a leader
that is swapped out, whether a read replica answers. Pods are processes, volumes are directories.
"""

import asyncio
import contextlib
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
import pytest

from fauna_operator.database import Address
from fauna_operator.errors import OperatorError, Refused, Stale, Unreachable
from fauna_operator.model import Answer
from fauna_operator.reconcile import Cluster as Operator
from fauna_operator.render import names
from fauna_operator_world import NAME, NAMESPACE, World, conditions, resource
from faunadb_sim.linearizable import check
from process.cluster import NO_ANSWER, Cluster, MemberProcess, cluster
from process.load import load

pytestmark = pytest.mark.process
MEMBERS = 9  # serials that a test may use up
HANG_S = 240.0  # each process takes a second of a CPU to start


class Machines(World):
    """The model of Kubernetes, with real members behind its pods."""

    def __init__(self, members: Cluster, replicas: int) -> None:
        super().__init__()
        self.members = members
        self.running: dict[int, str] = {}  # serial -> uid of the pod that its process stands for
        wanted = resource(replicas=replicas, selfHealing={"maxReplacementsPerHour": 10})
        drawn = {"clusterID": members.cluster_id, "incarnation": 1, "bootstrapped": False}
        wanted["status"] = {**drawn, "seed": 1, "nextMemberSerial": replicas + 1}
        self.put(wanted)

    async def ask(self, address: Address) -> Answer:
        told = await asyncio.to_thread(self.members[address.serial].status)
        if not told or address.serial not in self.running:
            raise Unreachable("no answer")
        return msgspec.convert(told, Answer)

    async def tell(self, address: Address, path: str, body: Mapping[str, Any]) -> None:
        self._write(f"{path} {msgspec.json.encode(body).decode()}")
        member, sent = self.members[address.serial], dict(body)
        if "name" in sent.get("member", {}):  # there is no DNS here
            sent["member"] = {**sent["member"], "name": self.place(sent["member"]["id"])}
        try:
            answer = await asyncio.to_thread(member.admin, path, sent)
        except NO_ANSWER as error:
            raise Unreachable(str(error)) from error
        if answer.status == 200:
            return
        fault = answer.body["error"]
        if fault["code"] in ("configuration_changed", "not_leader"):
            raise Stale(fault["message"])
        raise (Unreachable if answer.status >= 500 else Refused)(fault["message"])

    def place(self, serial: int) -> str:
        return self.members[serial].place.name

    def alive(self) -> set[int]:
        return {s for s in (*self.voters, *self.learners) if s in self.running}

    def kubelets(self) -> None:
        """Bind claims; start, stop and start again what pods stand for; look at the truth."""
        self._bind()
        pods = {int(name.rpartition("-")[2]): name for name in self.pods()}
        uids = {s: self.objects["Pod", name]["metadata"]["uid"] for s, name in pods.items()}
        for serial in [s for s, uid in self.running.items() if uids.get(s) != uid]:
            self.stop(serial)
        for serial, uid in uids.items():
            status = self.objects["Pod", pods[serial]].setdefault("status", {})
            status |= self._run(self.members[serial], fresh=self.running.get(serial) != uid)
            self.running[serial] = uid
        self._look()

    def _run(self, member: MemberProcess, *, fresh: bool) -> dict[str, Any]:
        """Start a member that does not run, and return what a kubelet says of it."""
        found: dict[str, Any] = {"phase": "Running", "podIP": member.place.host}
        code = member.process.poll() if member.process is not None else 0
        if member.process is None or code is not None:
            if not fresh and code:
                ended = {"exitCode": code, "message": member.log.read_text().strip()}
                found["containerStatuses"] = [{"lastState": {"terminated": ended}}]
            member.start()
        ready = False
        with contextlib.suppress(*NO_ANSWER):
            ready = member.admin("/readyz").status == 200
        found["conditions"] = [{"type": "Ready", "status": "True" if ready else "False"}]
        return found

    def stop(self, serial: int) -> None:
        """End a member as a kubelet does, and wait for it."""
        member = self.members[serial]
        if member.process is not None and member.process.poll() is None:
            member.signal(signal.SIGTERM)
            member.exit_code()
        self.running.pop(serial, None)

    def _bind(self) -> None:
        for (kind, name), item in list(self.objects.items()):
            if kind == "PersistentVolumeClaim":
                item.setdefault("status", {})["phase"] = "Bound"
                if (
                    "deletionTimestamp" in item["metadata"]
                    and name.removeprefix("data-") not in self.pods()
                ):
                    del self.objects[kind, name]

    def _look(self) -> None:
        for serial in self.running:
            known = self.members[serial].status().get("configuration")
            if known:
                self.voters = {peer["id"]: peer["nonce"] for peer in known["voters"]}
                self.learners = {peer["id"]: "" for peer in known["learners"]}
                self.highest = known["highest_member_id"]

    def leading(self) -> MemberProcess:
        return self.members.leader()


@contextlib.contextmanager
def operated(replicas: int = 3) -> Iterator[tuple[Machines, Callable[[], None]]]:
    """Form a cluster by the operator; gives its world, and how to let everything settle."""
    with cluster(MEMBERS, formed=False) as members, asyncio.Runner() as runner:
        members.end()
        world = Machines(members, replicas)
        operator = Operator(world, world, (NAMESPACE, NAME))

        def settle() -> None:
            quiet, give_up_s = 0, time.monotonic() + HANG_S
            while quiet < 2 or conditions(world)["Ready"] != ("True", "AllMembersReady"):
                assert time.monotonic() < give_up_s, "\n".join(world.log[-20:])
                before = len(world.log)
                with contextlib.suppress(OperatorError):
                    runner.run(operator.one_pass())
                world.kubelets()
                quiet = quiet + 1 if len(world.log) == before else 0

        settle()
        yield world, settle


def ask(world: Machines, **spec: object) -> None:
    found = world.objects[names.KIND, NAME]
    found["spec"] |= spec
    found["metadata"]["generation"] += 1
    world._bump(found)


def test_scaled_under_load() -> None:
    """3 to 5, 3, 1, 3, 4: every answer fits one order, and a read replica answers, too."""
    shapes = {1: (1, 0), 3: (3, 0), 4: (3, 1), 5: (5, 0)}
    with operated() as (world, settle):
        with load(world.members) as running:
            for count in (5, 3, 1, 3, 4):
                running.wait_for_writes(30)
                ask(world, replicas=count)
                settle()
                assert shapes[count] == (len(world.voters), len(world.learners))
            running.wait_for_writes(100)
        [replica] = world.learners
        assert 2 == world.members[replica].query("1 + 1").data
        assert "Late" == world.members[replica].query('Collection.create({name: "Late"}).name').data
        assert check(running.history) is None


def test_volumes_lost_under_load() -> None:
    """A follower's directory emptied, a claim deleted under its pod, also the leader's: swapped."""
    with operated() as (world, settle), load(world.members) as running:
        running.wait_for_writes(100)
        leader = world.leading().place.id
        emptied = min(set(world.voters) - {leader})
        world.members[emptied].kill()
        shutil.rmtree(world.members[emptied].data_dir)
        settle()
        assert emptied not in world.voters
        for _ in range(2):
            victim = world.leading().place.id
            claim = world.objects["PersistentVolumeClaim", f"data-{NAME}-{victim}"]
            claim["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            settle()
            assert victim not in world.voters
            running.wait_for_writes(30)
        assert 3 == len(world.voters)
        assert 3 == sum('"op":"swap"' in line for line in world.log)
    assert check(running.history) is None


def test_a_single_member_whose_claim_is_deleted() -> None:
    """Its data moves to a new member while it lives: the only voter is swapped out."""
    with operated(replicas=1) as (world, settle), load(world.members) as running:
        running.wait_for_writes(50)
        claim = world.objects["PersistentVolumeClaim", f"data-{NAME}-1"]
        claim["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        settle()
        running.wait_for_writes(50)
        assert [2] == list(world.voters)
    assert check(running.history) is None


def test_rolled_out_under_load() -> None:
    """Every process is another one afterwards, the leader's was the last, and nothing is lost."""
    with operated() as (world, settle), load(world.members) as running:
        running.wait_for_writes(100)
        leader = world.leading().place.id
        before = {serial: world.members[serial].pid for serial in world.voters}
        ask(world, image={"tag": "next"})
        settle()
        gone = [line for line in world.log if line.startswith("delete Pod")]
        assert before.keys() == world.voters.keys()
        assert all(before[serial] != world.members[serial].pid for serial in before)
        assert f"delete Pod {NAME}-{leader}" == gone[-1]
        running.wait_for_writes(50)
    assert check(running.history) is None
