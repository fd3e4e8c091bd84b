"""Anything in any order: crashes, lost answers, stale reads, dying pods, impatient people.

The invariants stand in the model (`fauna_operator_jobs`): no Job before its record, never two
backups of one cluster at work, no data deleted while they are written, nothing ended is changed.
When the faults stop, every backup has ended or gone, and what is Completed is whole.
"""

import asyncio
import os

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from fauna_operator.backups.reconcile import BackupReconciler, Turns
from fauna_operator.errors import OperatorError
from fauna_operator_faults import Crash
from fauna_operator_jobs import CLUSTER, PARTS, SPACE, backup, fresh

EXAMPLES = int(os.environ.get("FAUNA_OPERATOR_EXAMPLES", "40"))
NAMES = ("one", "two")
WHICH = st.sampled_from(NAMES)


class Machine(RuleBasedStateMachine):
    """The operator against the world."""

    @initialize(policy=st.sampled_from(["Delete", "Retain"]))
    def begin(self, policy: str) -> None:
        self.runner = asyncio.Runner()
        self.world, self.policy = fresh(), policy
        self.start()

    def start(self) -> None:
        turns = Turns()
        self.loops = {
            name: BackupReconciler(self.world, turns, (SPACE, name), lambda: self.world.now)
            for name in NAMES
        }

    @rule(which=WHICH)
    def one_pass(self, which: str) -> None:
        try:
            self.runner.run(self.loops[which].one_pass())
        except OperatorError:
            pass
        except Crash:
            self.start()
        self.world.faults.stale = False

    @rule(passes=st.integers(1, 12))
    def work(self, passes: int) -> None:
        for _ in range(passes):
            for name in NAMES:
                self.one_pass(name)
            self.world.step()

    @rule()
    def step(self) -> None:
        self.world.step()

    @rule(which=WHICH, tries=st.integers(0, 2))
    def ask(self, which: str, tries: int) -> None:
        if ("FaunaBackup", which) not in self.world.objects:
            spec = {"deletionPolicy": self.policy, "backoffLimit": tries, "timeout": "2h"}
            self.world.put(backup(which, **spec))

    @rule(which=WHICH)
    def delete(self, which: str) -> None:
        self.world.remove("FaunaBackup", which)

    @rule(which=WHICH)
    def delete_its_jobs(self, which: str) -> None:
        for kind in ("backup", "discard"):
            self.world.remove("Job", f"{which}-{kind}")

    @rule()
    def kill_a_pod(self) -> None:
        self.world.kill_pod()

    @rule(code=st.sampled_from([1, 64, 74, 78]))
    def fail_the_next(self, code: int) -> None:
        self.world.exits.append((code, '{"reason": "store", "detail": "full"}'))

    @rule(hours=st.sampled_from([0.1, 1.1, 3.0]))
    def time_passes(self, hours: float) -> None:
        self.world.now += hours * 3600

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
    @rule(which=WHICH)
    def read_the_past(self, which: str) -> None:
        self.world.faults.stale = True
        self.one_pass(which)

    @rule(reads=st.integers(1, 8))
    def api_server_away(self, reads: int) -> None:
        self.world.faults.refuse_reads = reads

    @rule()
    def cluster_gone(self) -> None:
        self.world.remove("FaunaCluster", CLUSTER)

    def teardown(self) -> None:
        """Stop all faults: everything ends, and the truth agrees with what is told."""
        if not hasattr(self, "world"):
            return
        self.world.faults = type(self.world.faults)()
        self.world.exits = []
        for _ in range(6):
            self.work(20)
            self.world.now += 4000
        self.work(20)
        known = set()
        for name in NAMES:
            resource = self.world.objects.get(("FaunaBackup", name))
            if resource is None:
                continue
            assert "deletionTimestamp" not in resource["metadata"]
            status = resource["status"]
            assert status["phase"] in ("Completed", "Failed")
            known.add(status.get("backupID"))
            if status["phase"] == "Completed":
                assert PARTS + 1 == self.world.store[status["backupID"]]
        self.runner.close()


Machine.TestCase.settings = settings(max_examples=EXAMPLES, stateful_step_count=30, deadline=None)
TestMachine = Machine.TestCase
