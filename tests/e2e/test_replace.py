"""Volumes and nodes are lost, under load: what is lost is replaced, and nothing else."""

import contextlib
import time
from collections.abc import Callable, Iterator

import pytest

from e2e.shapes import HANG_SECONDS, QUICK, Shape, under_load
from e2e.workload import Workload
from kind_test_helpers import product
from kind_test_helpers.commands import await_that
from kind_test_helpers.failures import CommandFailed
from kind_test_helpers.product import Database, condition

pytestmark = [pytest.mark.e2e, pytest.mark.new]

HEALING = {"maxReplacementsPerHour": 10}
PEER_PORT = 7500


@pytest.fixture
def shape(installed: Database) -> Shape:
    resource = product.manifest(installed.cluster, updateStrategy=QUICK, selfHealing=HEALING)
    installed.create(resource)
    installed.await_ready()
    return Shape(installed)


def delete_claim(shape: Shape, member: str) -> None:
    where = ("-n", shape.database.namespace, f"pvc/data-{member}")
    shape.database.cluster.kubectl("delete", *where, "--wait=false")


def lose_volume(shape: Shape, member: str) -> None:
    api, space = shape.database.cluster.api, shape.database.namespace
    claim = api.get(f"/api/v1/namespaces/{space}/persistentvolumeclaims/data-{member}")
    path = f"/api/v1/persistentvolumes/{claim['spec']['volumeName']}"
    api.delete(path)
    api.merge(path, {"metadata": {"finalizers": None}})  # before, they would be put there again


def empty_directory(shape: Shape, member: str) -> None:
    space, faults = shape.database.namespace, shape.database.cluster.faults
    faults.destroy_volume(space, f"data-{member}")
    faults.kill(space, member)


def lose_log(shape: Shape, member: str) -> None:
    space, faults = shape.database.namespace, shape.database.cluster.faults
    faults.destroy_volume(space, f"data-{member}", "wal")
    faults.kill(space, member)


WAYS: dict[str, Callable[[Shape, str], None]] = {
    "claim deleted": delete_claim,
    "volume lost": lose_volume,
    "directory emptied": empty_directory,
    "log corrupt": lose_log,
}


def test_every_way_of_losing_a_volume(shape: Shape) -> None:
    """Each leads to a new serial, swapped in by one change; also when it is the leader's."""
    with under_load(shape.database, "replace") as workload:
        for way, lose in WAYS.items():
            replaced(shape, workload, follower(shape), way, lose)
        replaced(shape, workload, shape.status()["leader"], "leader's claim deleted", delete_claim)
    assert "MemberReplaced" in shape.events()


def follower(shape: Shape) -> str:
    return min(set(shape.voters()) - {shape.status()["leader"]})


def replaced(
    shape: Shape, workload: Workload, victim: str, way: str, act: Callable[[Shape, str], None]
) -> None:
    """Do something to a member and wait until another one votes in its place."""
    before, began = shape.voters(), time.monotonic()
    with workload.fault(f"{way} of {victim}"):
        act(shape, victim)
    shape.await_step(f"{victim} to leave", lambda: victim not in shape.voters())
    shape.await_settled(3)
    after = shape.voters()
    [new] = after.keys() - before.keys()
    assert {victim} == before.keys() - after.keys()
    workload.run_until(writes=20)
    print(f"{way}: {new} for {victim} after {time.monotonic() - began:.0f} s")


def node_of(shape: Shape, member: str) -> str:
    [pod] = [p for p in shape.database.pods() if p["metadata"]["name"] == member]
    return str(pod["spec"]["nodeName"])


def test_a_node_that_is_gone_and_one_that_is_cut_off(shape: Shape) -> None:
    """With its node object gone, and on request when only unreachable, a member is replaced."""
    faults = shape.database.cluster.faults
    with under_load(shape.database, "nodes") as workload, contextlib.ExitStack() as lasting:
        victim = follower(shape)
        node = node_of(shape, victim)

        def power_off(_: Shape, __: str) -> None:
            lasting.enter_context(faults.powered_off(node))
            shape.database.cluster.kubectl("delete", "node", node)

        replaced(shape, workload, victim, "node gone", power_off)

        victim = follower(shape)
        cut = node_of(shape, victim)

        def cut_off(_: Shape, __: str) -> None:
            shape.edit(selfHealing={**HEALING, "unreachableAfter": "20s"})
            lasting.enter_context(faults.cut_off(cut))

        replaced(shape, workload, victim, "node cut off", cut_off)
    await_that(
        "all nodes",
        lambda: all(ready(node) for node in shape.database.cluster.api.items("/api/v1/nodes")),
        seconds_max=HANG_SECONDS,
    )


def ready(node: dict[str, object]) -> bool:
    return condition(node["status"], "Ready") == "True"  # type: ignore[arg-type]


def test_a_quorum_that_is_cut_under_ready_pods(shape: Shape) -> None:
    """Pods stay Ready; Available says False within 30 s, and True again afterwards."""
    cluster = shape.database.cluster
    nodes = {node_of(shape, name) for name in shape.voters()}
    pods = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in shape.database.pods()}
    with contextlib.ExitStack() as lasting:
        for node in nodes:
            lasting.enter_context(cluster.faults.closed(node, PEER_PORT))
        began = time.monotonic()
        shape.await_step(
            "Available=False", lambda: condition(shape.status(), "Available") == "False"
        )
        print(f"\nAvailable=False after {time.monotonic() - began:.1f} s")
        assert 3 == shape.status()["readyReplicas"]
    began = time.monotonic()
    shape.await_step("Available=True", lambda: condition(shape.status(), "Available") == "True")
    print(f"Available=True after {time.monotonic() - began:.1f} s")
    shape.await_settled(3)
    assert pods == {p["metadata"]["name"]: p["metadata"]["uid"] for p in shape.database.pods()}
    assert ["QuorumLost", "QuorumRestored"] == [r for r in shape.events() if "Quorum" in r]


@contextlib.contextmanager
def cordoned(shape: Shape, *nodes: str) -> Iterator[None]:
    try:
        yield
    finally:
        for node in nodes:
            shape.database.cluster.kubectl("uncordon", node)


def drain(shape: Shape, node: str, *, seconds: int) -> None:
    selector = f"--pod-selector=fauna.dev/cluster={shape.database.name}"
    flags = ("--ignore-daemonsets", "--delete-emptydir-data", selector, f"--timeout={seconds}s")
    shape.database.cluster.kubectl("drain", node, *flags, seconds_max=seconds + 60)


def test_nodes_are_drained(shape: Shape) -> None:
    """Five members on six nodes: two may be drained at once, a third waits; nobody is replaced."""
    shape.scale(5)
    shape.await_settled(5)
    voters = shape.voters()
    with under_load(shape.database, "drain") as workload:
        first, second, third = (node_of(shape, name) for name in sorted(voters)[:3])
        with cordoned(shape, first, second, third):
            drain(shape, first, seconds=100)
            drain(shape, second, seconds=100)
            with pytest.raises(CommandFailed, match="disruption budget"):
                drain(shape, third, seconds=15)
            workload.run_until(writes=50)
            status = shape.status()
            assert "True" == condition(status, "Available")
            assert "True" == condition(status, "QuorumAtRisk")
        shape.await_settled(5)
        for node in sorted({node_of(shape, name) for name in voters}):
            with cordoned(shape, node):
                drain(shape, node, seconds=100)
            shape.await_settled(5)
    assert voters == shape.voters()
