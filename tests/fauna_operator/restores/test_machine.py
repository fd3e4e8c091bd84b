"""Anything in any order: volumes lost for ever, restores, crashes, lost answers, the past.

The invariants stand in the world (`fauna_operator_restore_world`): no incarnation acknowledges a
write after a later one did, no volume is deleted, no volume of a configured member is put aside,
no Job writes over anything. When faults stop, every restore ends and the cluster is whole.
"""

import asyncio
import contextlib
import os
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from fauna_operator.errors import OperatorError
from fauna_operator.model.restores import ENDED
from fauna_operator.render import names
from fauna_operator_faults import Crash
from fauna_operator_restore_world import (
    AUTO,
    EXTERNAL,
    Operator,
    RestoreWorld,
    begun,
    settle,
    voters,
)
from fauna_operator_world import NAME, conditions

EXAMPLES = int(os.environ.get("FAUNA_OPERATOR_EXAMPLES", "25"))
RESTORES_MAX = 3  # that a run may ask for: each costs an incarnation
LOST_MAX = 5


class Machine(RuleBasedStateMachine):
    """The operator and people against the world."""

    world: RestoreWorld
    runner: asyncio.Runner

    @initialize(replicas=st.sampled_from([1, 3]))
    def begin(self, replicas: int) -> None:
        self.runner = asyncio.Runner()
        self.asked = self.lost = 0
        self.world = begun(replicas=replicas)
        self.operator = Operator(self.world)
        self.runner.run(settle(self.world, self.operator))
        self.world.log.clear()

    @rule(looks=st.integers(1, 15))
    def work(self, looks: int) -> None:
        for _ in range(looks):
            self.look()

    def look(self) -> None:
        try:
            self.runner.run(self.operator.look())
        except Crash:
            self.operator = Operator(self.world)
        self.world.faults.stale = False

    @rule()
    def kubelets(self) -> None:
        self.world.kubelets()

    @rule(writes=st.integers(0, 5))
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
    def a_late_operator(self) -> None:
        """Another process saw the past, and acts on it now."""
        self.world.faults.stale = True
        late = Operator(self.world)
        with contextlib.suppress(OperatorError, Crash):
            self.runner.run(late.cluster.one_pass())
        self.world.faults.stale = False
        self.world.kubelets()

    @rule(reads=st.integers(1, 8))
    def api_server_away(self, reads: int) -> None:
        self.world.faults.refuse_reads = reads

    @rule(which=st.integers(0, 6))
    def delete_a_pod(self, which: int) -> None:
        pods = [p for p in self.world.pods() if int(p.rpartition("-")[2]) not in self.world.stuck]
        if pods:
            del self.world.objects["Pod", pods[which % len(pods)]]

    @rule(which=st.integers(0, 6))
    def out_of_sight(self, which: int) -> None:
        """A member serves where the operator does not see it, until it does again."""
        members = voters(self.world)
        if members:
            self.world.unseen ^= {members[which % len(members)]}

    @rule(which=st.integers(0, 6))
    def kubelet_away(self, which: int) -> None:
        members = voters(self.world)
        if members:
            self.world.stuck ^= {members[which % len(members)]}

    @rule(which=st.integers(0, 6))
    def lose_a_volume(self, which: int) -> None:
        """Lose one voter's volume for ever, whatever is left, but never the last one."""
        members = voters(self.world)
        held = [m for m in members if ("PersistentVolumeClaim", f"data-{NAME}-{m}") in self.volumes]
        if len(held) > 1 and self.lost < LOST_MAX:
            self.lost += 1
            self.world.destroy(held[which % len(held)])

    @property
    def volumes(self) -> set[tuple[str, str]]:
        return {key for key in self.world.objects if key[0] == "PersistentVolumeClaim"}

    @rule(source=st.sampled_from([AUTO, EXTERNAL]), saves=st.booleans())
    def ask(self, source: dict[str, Any], saves: bool) -> None:
        if self.asked < RESTORES_MAX:
            self.asked += 1
            self.world.ask_for(source, f"r{self.asked}", safetyBackup=saves)

    @rule(which=st.integers(1, 3))
    def call_off(self, which: int) -> None:
        """A person deletes a request, at whatever step it is."""
        self.world.objects.pop(("FaunaRestore", f"r{which}"), None)
        self.world.objects.pop(("Job", f"r{which}-restore"), None)

    @rule(fails=st.booleans())
    def backups_are_bad(self, fails: bool) -> None:
        self.world.job_fails = fails

    @rule()
    def wipe_status(self) -> None:
        self.world.objects[names.KIND, NAME].pop("status", None)
        self.world._bump(self.world.objects[names.KIND, NAME])

    def teardown(self) -> None:
        if not hasattr(self, "runner"):
            return
        with self.runner:
            self.heal()

    def heal(self) -> None:
        """When faults stop, restores end; with a majority, or another recovery, all is whole."""
        world = self.world
        world.faults, world.job_fails = type(world.faults)(), False
        world.unseen, world.stuck = set(), set()
        self.operator = Operator(world)
        self.runner.run(settle(world, self.operator))
        if ("True", "AllMembersReady") != conditions(world)["Ready"]:
            self.end_pods_without_a_volume()  # as the message of a recovery asks people to
            world.ask_for(AUTO, "last")
            self.runner.run(settle(world, self.operator))
        assert ("True", "AllMembersReady") == conditions(world)["Ready"]
        assert world.objects[names.KIND, NAME]["spec"]["replicas"] == len(voters(world))
        assert set() == set(world.restores().values()) - ENDED

    def end_pods_without_a_volume(self) -> None:
        for name in self.world.pods():
            if ("PersistentVolumeClaim", f"data-{name}") not in self.volumes:
                del self.world.objects["Pod", name]


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=EXAMPLES, stateful_step_count=30, deadline=None)
