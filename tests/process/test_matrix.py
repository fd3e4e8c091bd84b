"""Everything that processes and networks can do to three and five members, under one load.

Registers, unique seats and transfers between accounts are written through all members while one
thing after the other goes wrong; all answers together must be linearizable and the sum of all
money stays. `MATRIX_ROUNDS=10` goes through it all ten times, each time in another order;
`MATRIX_RESTARTS=100` kills and starts all members at once so often.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from random import Random

import pytest

from e2e.workload import Workload
from process.cluster import Cluster, MemberProcess, cluster
from process.networks import Network, network

pytestmark = [pytest.mark.process, pytest.mark.new]
ROUNDS = int(os.environ.get("MATRIX_ROUNDS", "1"))
RESTARTS = int(os.environ.get("MATRIX_RESTARTS", "5"))
SEED = int(os.environ.get("MATRIX_SEED", "1"))
WRITES = 40  # acknowledged under each fault that leaves a majority, and after each
WRITES_MIN = 1000  # a run with fewer proves nothing
FAULTS_OF_MANY = 5  # five members share two processors
IDLE_SHARE_MAX = 0.3  # of the faults may come when no write is under way


class World:
    """The members, their links, and which member is meant."""

    def __init__(self, members: Cluster, net: Network, chance: Random) -> None:
        self.members, self.net, self.chance = members, net, chance

    def follower(self) -> MemberProcess:
        return self.chance.choice(self.members.followers())

    def minority(self) -> list[MemberProcess]:
        """Return the leader and as many others as may fail with it."""
        leader, followers = self.members.leader(), self.members.followers()
        self.chance.shuffle(followers)
        return [leader, *followers][: (len(self.members.members) - 1) // 2]


Fault = Callable[[World], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def killed(*members: MemberProcess) -> Iterator[None]:
    for member in members:
        member.signal(signal.SIGKILL)
    for member in members:
        member.kill()
    yield
    for member in members:
        member.start()


@contextlib.contextmanager
def stopped(*members: MemberProcess) -> Iterator[None]:
    for member in members:
        member.signal(signal.SIGSTOP)
    yield
    for member in members:
        member.signal(signal.SIGCONT)


@contextlib.contextmanager
def healed(net: Network) -> Iterator[None]:
    yield
    net.heal()


def linked(act: Callable[[Network, int], None], whom: Callable[[World], MemberProcess]) -> Fault:
    """A fault of the links of one member."""

    def fault(world: World) -> contextlib.AbstractContextManager[None]:
        act(world.net, whom(world).place.id)
        return healed(world.net)

    return fault


def leader(world: World) -> MemberProcess:
    return world.members.leader()


def follower(world: World) -> MemberProcess:
    return world.follower()


FAULTS: dict[str, Fault] = {
    "kill -9 of a follower": lambda world: killed(world.follower()),
    "kill -9 of the leader": lambda world: killed(world.members.leader()),
    "kill -9 of a minority": lambda world: killed(*world.minority()),
    "a follower stops": lambda world: stopped(world.follower()),
    "the leader stops": lambda world: stopped(world.members.leader()),
    "the leader is cut off": linked(Network.cut, leader),
    "the leader hears nobody": linked(Network.deafen, leader),
    "nobody hears the leader": linked(Network.silence, leader),
    "a follower hears nobody": linked(Network.deafen, follower),
    "nobody hears a follower": linked(Network.silence, follower),
    "the leader's links are lossy": linked(lambda net, of: net.lose(of, 0.2), leader),
    "a follower's links are lossy": linked(lambda net, of: net.lose(of, 0.2), follower),
    "a follower's link is slow": linked(lambda net, of: net.slow(of, "1mbit"), follower),
}


@pytest.mark.parametrize("count", [3, 5])
def test_matrix(count: int) -> None:
    """Whatever happens to a minority, the others go on; all answers fit one order."""
    chance = Random(SEED * 10 + count)
    with world_of(count, chance) as world, workload_of(world.members, count) as workload:
        for name in order(chance, count):
            with workload.fault(f"{count} members, {name}") as fault:
                undone = FAULTS[name](world)
            with undone:
                workload.await_recovery(fault)
                workload.run_until(writes=WRITES)
            world.members.wait_until_all_agree()
            workload.run_until(writes=WRITES)
        restarts(world.members, workload, RESTARTS if count == 3 else 1)
        workload.run_until(writes=max(0, WRITES_MIN - workload.acknowledged()))

    judge(workload)


def order(chance: Random, count: int) -> list[str]:
    """Return all faults, in another order in each round; some of them where members are many."""
    each = len(FAULTS) if count == 3 or ROUNDS > 1 else FAULTS_OF_MANY
    return [name for _ in range(ROUNDS) for name in chance.sample(list(FAULTS), each)]


def judge(workload: Workload) -> None:
    """Everything must fit one order; a fault at which nothing was under way counts for nothing."""
    print(workload.report())
    idle = [fault for fault in workload.faults if not workload.in_flight(fault)]
    assert len(idle) <= len(workload.faults) * IDLE_SHARE_MAX
    workload.faults = [fault for fault in workload.faults if fault not in idle]
    workload.assert_linearizable(WRITES_MIN)


def restarts(members: Cluster, workload: Workload, count: int) -> None:
    """Kill all at once and start all at once, again and again under load (PySyncObj #84, #201)."""
    for number in range(count):
        with workload.fault(f"restart {number + 1} of all") as fault, killed(*members.members):
            pass
        workload.await_recovery(fault)
        workload.run_until(writes=WRITES)
    members.wait_until_all_agree()


@contextlib.contextmanager
def world_of(count: int, chance: Random) -> Iterator[World]:
    with (
        network(count) as net,
        cluster(count, places=net.places, programs=net.programs) as members,
    ):
        yield World(members, net, chance)


def workload_of(members: Cluster, seed: int) -> Workload:
    return Workload([member.place.endpoint for member in members.members], seed=seed)
