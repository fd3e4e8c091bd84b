"""Anything in any order: crashes, lost answers, stale reads, people, and a small model of both.

The invariants stand in the model itself (`fauna_operator_world`): one cluster is formed, one
change at a time, no pod is taken that a majority needs, no volume of a configured member is
touched. When the faults stop, the loop must arrive at what was asked.
"""

import asyncio
import os

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from fauna_operator.errors import OperatorError
from fauna_operator.reconcile import Cluster
from fauna_operator.render import names
from fauna_operator_faults import Crash
from fauna_operator_world import NAME, NAMESPACE, World, conditions, fresh, settle

EXAMPLES = int(os.environ.get("FAUNA_OPERATOR_EXAMPLES", "40"))
LOST_MAX = 3  # volumes that a run may lose: each costs a replacement


class Machine(RuleBasedStateMachine):
    """The operator against the world."""

    world: World
    runner: asyncio.Runner

    @initialize(replicas=st.sampled_from([1, 3, 4, 5]))
    def begin(self, replicas: int) -> None:
        self.runner = asyncio.Runner()
        self.lost = 0
        self.world = fresh(
            replicas=replicas,
            selfHealing={"maxReplacementsPerHour": 100},
            updateStrategy={"minReadySeconds": 0, "memberReadyTimeout": "0s"},
        )
        self.start()

    def start(self) -> None:
        self.cluster = Cluster(self.world, self.world, (NAMESPACE, NAME))

    @rule(passes=st.integers(1, 12))
    def work(self, passes: int) -> None:
        for _ in range(passes):
            self.one_pass()
            self.world.kubelets()

    @rule()
    def one_pass(self) -> None:
        try:
            self.runner.run(self.cluster.one_pass())
        except OperatorError:
            pass
        except Crash:
            self.start()
        self.world.faults.stale = False

    @rule()
    def kubelets(self) -> None:
        self.world.kubelets()

    @rule(writes=st.integers(0, 4))
    def crash_soon(self, writes: int) -> None:
        self.world.faults.crash_after = writes

    @rule()
    def lose_an_answer(self) -> None:
        self.world.faults.lose_answer = True

    @rule()
    def remember(self) -> None:
        self.world.remember()

    @precondition(lambda self: self.world.past)
    @rule()
    def read_the_past(self) -> None:
        self.world.faults.stale = True
        self.one_pass()

    @rule(reads=st.integers(1, 8))
    def api_server_away(self, reads: int) -> None:
        self.world.faults.refuse_reads = reads

    @rule(which=st.integers(0, 4))
    def delete_a_pod(self, which: int) -> None:
        pods = self.world.pods()
        if pods:
            del self.world.objects["Pod", pods[which % len(pods)]]

    @rule()
    def delete_all_pods(self) -> None:
        for name in self.world.pods():
            del self.world.objects["Pod", name]

    @rule(which=st.integers(0, 4))
    def fail_a_pod(self, which: int) -> None:
        pods = self.world.pods()
        if pods:
            self.world.objects["Pod", pods[which % len(pods)]]["status"] = {"phase": "Failed"}

    @rule()
    def wipe_status(self) -> None:
        self.world.objects[names.KIND, NAME].pop("status", None)
        self.world._bump(self.world.objects[names.KIND, NAME])

    @rule()
    def wipe_the_map(self) -> None:
        self.world.objects.pop(("ConfigMap", f"{NAME}-identity"), None)

    @rule(which=st.integers(0, 4), emptied=st.booleans())
    def lose_a_volume(self, which: int, emptied: bool) -> None:
        """Lose one voter's volume, if a majority of volumes is left."""
        voters = sorted(self.world.voters)
        if not voters or self.lost == LOST_MAX:
            return
        victim = voters[which % len(voters)]
        left = [s for s in voters if s != victim and self.intact(s)]
        if 2 * len(left) <= len(voters):
            return
        self.lost += 1
        key = ("PersistentVolumeClaim", f"data-{NAME}-{victim}")
        claim = self.world.objects.get(key)
        if emptied and claim is not None:
            self.world.directories.pop(claim["metadata"]["uid"], None)
        else:
            self.world.objects.pop(key, None)
            self.world.objects.pop(("Pod", f"{NAME}-{victim}"), None)

    @rule(
        replicas=st.sampled_from([1, 3, 4, 5, 6]),
        tag=st.sampled_from(["one", "two", "broken"]),
        most=st.sampled_from([3, 5]),
    )
    def edit(self, replicas: int, tag: str, most: int) -> None:
        resource = self.world.objects[names.KIND, NAME]
        image = {"tag": tag}
        resource["spec"] |= {"replicas": replicas, "image": image, "maxVoters": most}
        resource["metadata"]["generation"] += 1
        self.world._bump(resource)

    def edit_image(self, tag: str) -> None:
        resource = self.world.objects[names.KIND, NAME]
        resource["spec"]["image"] = {"tag": tag}
        self.world._bump(resource)

    def intact(self, serial: int) -> bool:
        claim = self.world.objects.get(("PersistentVolumeClaim", f"data-{NAME}-{serial}"))
        directory = self.world.directories.get(claim["metadata"]["uid"]) if claim else None
        return directory is not None and directory.nonce == self.world.voters[serial]

    def teardown(self) -> None:
        """When faults stop, the asked number of voters is reached, Ready is true, all is quiet."""
        if not hasattr(self, "runner"):
            return
        self.world.faults = type(self.world.faults)()
        spec = self.world.objects[names.KIND, NAME]["spec"]
        if spec.get("image") == {"tag": "broken"}:
            self.edit_image("one")
        self.start()
        self.runner.run(settle(self.world, self.cluster, passes=400))
        most = min(spec["replicas"], spec.get("maxVoters", 5))
        voters = most if most % 2 else most - 1
        assert voters == len(self.world.voters)
        assert spec["replicas"] - voters == len(self.world.learners)
        assert ("True", "AllMembersReady") == conditions(self.world)["Ready"]
        assert 1 == self.world.formed
        self.runner.close()


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=EXAMPLES, stateful_step_count=30, deadline=None)
