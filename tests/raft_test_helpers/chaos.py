"""A seeded storm over a cluster: loss, copies, disorder, cuts, crashes, changes, snapshots.

Every step is checked by `Cluster`. Reads are checked here: an index that is handed out is not
below anything that was known committed when the read was asked. At the end faults stop, and
the cluster must come to life again: that is the second half of the test.
"""

import random
from collections.abc import Callable

from faunadb.raft.entries import MemberId
from faunadb.raft.events import (
    ChangeAsked,
    ChangeOp,
    DiskState,
    PeerLost,
    Proposed,
    ReadAsked,
    Role,
    Tick,
    TransferAsked,
)
from raft_test_helpers.cluster import Cluster, Member, peer

MEMBERS_MAX = 7


class Chaos:
    """One run; the same seed gives the same run."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.cluster = Cluster.of(self.rng.choice([1, 2, 3, 3, 3, 4, 5]))
        self.cluster.through_bytes = seed % 4 == 0
        self.token = 0
        self.asked: dict[tuple[int, int], int] = {}  # (member, token) -> committed at the time
        self.served_count = 0
        self.payloads = 0
        self.next_id = max(self.cluster.members) + 1
        loss, crashes, changes = (self.rng.random() for _ in range(3))
        self.actions: list[tuple[Callable[[], None], float]] = [
            (self.deliver, 30),
            (self.tick, 18),
            (self.sync, 14),
            (self.propose, 5),
            (self.read, 3),
            (self.deliver_copy, 2 * loss),
            (self.drop, 3 * loss),
            (self.crash, 0.3 * crashes),
            (self.restart, 1),
            (self.cut, 0.2 * loss),
            (self.heal, 0.3),
            (self.change, 0.8 * changes),
            (self.transfer, 0.1),
            (self.take_snapshot, 0.3),
            (self.move_snapshot, 2),
            (self.peer_lost, 0.1),
            (self.disk_state, 0.1),
        ]

    def run(self, steps: int) -> None:
        """Do `steps` random things, then heal and demand life."""
        calls = [call for call, _ in self.actions]
        weights = [weight for _, weight in self.actions]
        for call in self.rng.choices(calls, weights, k=steps):
            call()
            self._check_reads()
        self._recover()

    # ------------------------------------------------------------ what happens

    def _up(self) -> list[Member]:
        return [m for m in self.cluster.members.values() if m.up]

    def _some(self) -> Member | None:
        return self.rng.choice(up) if (up := self._up()) else None

    def _leader(self) -> Member | None:
        leaders = [m for m in self._up() if m.core.role is Role.LEADER]
        return self.rng.choice(leaders) if leaders else None

    def deliver(self) -> None:
        for _ in range(min(4, len(self.cluster.network))):
            reach = min(len(self.cluster.network), self.rng.choice([1, 1, 1, 4, 40]))
            if reach:
                self.cluster.deliver(self.rng.randrange(reach))

    def deliver_copy(self) -> None:
        if self.cluster.network:
            self.cluster.deliver(self.rng.randrange(len(self.cluster.network)), keep=True)

    def drop(self) -> None:
        if self.cluster.network:
            del self.cluster.network[self.rng.randrange(len(self.cluster.network))]

    def tick(self) -> None:
        for member in self._up():
            if self.rng.random() < 0.8:
                self.cluster.step(member.id, Tick(self.rng.random()))

    def sync(self) -> None:
        if member := self._some():
            self.cluster.sync(member.id, self.rng.choice([None, 1, 2]))

    def propose(self) -> None:
        if member := self._leader():
            count = self.rng.randrange(1, 4)
            self.payloads += count
            payloads = [b"%d" % (self.payloads + n) for n in range(count)]
            self.cluster.step(member.id, Proposed(payloads))

    def read(self) -> None:
        if member := self._some():
            self.token += 1
            known = max(m.core.commit for m in self._up())
            self.asked[member.id, self.token] = known
            self.cluster.step(member.id, ReadAsked(self.token))

    def crash(self) -> None:
        if member := self._some():
            writes = len(member.disk.pending)
            self.cluster.crash(member.id, self.rng.randrange(writes + 1))

    def restart(self) -> None:
        down = [m for m in self.cluster.members.values() if not m.up]
        if down:
            self.cluster.restart(self.rng.choice(down).id)

    def cut(self) -> None:
        if member := self._some():
            if self.rng.random() < 0.5:
                self.cluster.isolate(member.id)
            elif other := self._some():
                self.cluster.cut.add((member.id, other.id))

    def heal(self) -> None:
        self.cluster.heal()

    def change(self) -> None:
        leader = self._leader()
        if leader is None:
            return
        at, configuration = leader.core.committed_configuration
        op = self.rng.choice(list(ChangeOp))
        learners = [p.id for p in configuration.learners]
        voters = [p.id for p in configuration.voters]
        outgoing = self.rng.choice(voters)
        if op is ChangeOp.ADD_LEARNER:
            if self.next_id > MEMBERS_MAX:
                return
            target = self.next_id
            self.next_id += 1
            self.cluster.add(target)
        elif op is ChangeOp.REMOVE:
            target = self.rng.choice(voters + learners)
        elif learners:
            target = self.rng.choice(learners)
        else:
            return
        self.token += 1
        asked = ChangeAsked(self.token, op, peer(target), at, outgoing)
        self.cluster.step(leader.id, asked)

    def transfer(self) -> None:
        if leader := self._leader():
            to = self.rng.choice([0, *self.cluster.members])
            self.cluster.step(leader.id, TransferAsked(MemberId(to)))

    def take_snapshot(self) -> None:
        member = self._some()
        if member is None or member.install is not None:
            return
        newest = member.disk.snapshot.id.index if member.disk.snapshot else 0
        if member.applied_through > newest:
            self.cluster.take_snapshot(member.id, keep_count=self.rng.choice([0, 0, 3, 20]))

    def move_snapshot(self) -> None:
        for member in self._up():
            if member.snapshots_asked:
                self.cluster.send_snapshot(member.id, ok=self.rng.random() < 0.7)
        member_ = self._some()
        if member_ is not None and member_.install is not None:
            self.cluster.install(member_.id)

    def peer_lost(self) -> None:
        if member := self._some():
            lost = MemberId(self.rng.choice(list(self.cluster.members)))
            self.cluster.step(member.id, PeerLost(lost, self.rng.random()))

    def disk_state(self) -> None:
        if member := self._some():
            stall = self.rng.choice([0, 0, 5, 50])
            self.cluster.step(member.id, DiskState(10**9, stall))

    # ------------------------------------------------------------ what must hold

    def _check_reads(self) -> None:
        for member in self.cluster.members.values():
            for ready in member.reads:
                known = self.asked.pop((member.id, ready.token))
                if ready.index is not None:
                    self.served_count += 1
                    assert ready.index >= known, "a read that is older than what was known"
            member.reads.clear()

    def _recover(self) -> None:
        """Stop all faults: within some timeouts all are equal, and a write commits."""
        cluster = self.cluster
        cluster.heal()
        for member in cluster.members.values():
            if not member.up:
                cluster.restart(member.id)
            cluster.step(member.id, DiskState(10**9, 0))
        for _ in range(40 * cluster.config.election_ticks):
            for member in cluster.members.values():
                cluster.step(member.id, Tick(self.rng.random()))
            self.move_snapshots()
            cluster.settle()
            self._check_reads()
        leader = self._settled_leader()
        cluster.step(leader.id, Proposed([b"the end"]))
        cluster.settle()
        last = leader.core.last.index
        _, configuration = leader.core.committed_configuration
        assert not configuration.voters_outgoing, "a joint configuration is left"
        for named in configuration.everyone():
            assert last == cluster.members[named.id].applied_through

    def move_snapshots(self) -> None:
        for member in self._up():
            while member.snapshots_asked:
                self.cluster.send_snapshot(member.id)
        for member in self._up():
            if member.install is not None:
                self.cluster.install(member.id)

    def _settled_leader(self) -> Member:
        leaders = [m for m in self._up() if m.core.role is Role.LEADER]
        assert len(leaders) == 1, f"{len(leaders)} leaders after the storm"
        assert leaders[0].core.commit == leaders[0].core.last.index
        return leaders[0]
