"""Members come and go by `kubectl scale`, under load, and a person may change their mind."""

import re
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from e2e.backups import fill
from e2e.shapes import QUICK, Shape, under_load
from kind_test_helpers import product
from kind_test_helpers.cluster import Cluster
from kind_test_helpers.product import Database, condition

pytestmark = [pytest.mark.e2e, pytest.mark.new]

MEGABYTES = 280  # the log is cut after 256 MiB: who joins then is sent a snapshot
ZONE = "topology.kubernetes.io/zone"


@pytest.fixture
def shape(installed: Database) -> Shape:
    installed.create(product.manifest(installed.cluster, updateStrategy=QUICK))
    installed.await_ready()
    return Shape(installed)


def test_by_kubectl_scale(shape: Shape) -> None:
    """3 to 5, 3, 1, 3, 4: no write is lost, and no name is used twice."""
    seen = set(shape.voters())
    with under_load(shape.database, "scale") as workload:
        for count in (5, 3, 1, 3, 4):
            before = set(shape.voters())
            shape.scale(count)
            status = shape.await_settled(count)
            members = {member["name"] for member in status["members"]}
            assert not (members - before) & seen
            seen |= members
            workload.run_until(writes=50)
            print(f"{count}: {sorted(members)}, next serial {status['nextMemberSerial']}")
    aside = {claim["metadata"]["name"] for claim in shape.claims(quarantined=True)}
    assert {f"data-{name}" for name in seen - set(members)} == aside
    reasons = shape.events()
    assert {"MemberAdded", "MemberPromoted", "MemberRemoved", "VolumeQuarantined"} <= set(reasons)
    assert reasons.count("MemberRemoved") == reasons.count("VolumeQuarantined") == len(aside)


def test_members_with_much_data(shape: Shape) -> None:
    """With 280 MB of documents who joins or succeeds another one is sent a snapshot under load."""
    seconds = fill(shape.database, MEGABYTES)
    print(f"\n{MEGABYTES} MB in {seconds:.0f} s: {MEGABYTES / seconds:.1f} MB/s")
    before = set(shape.voters())
    with under_load(shape.database, "much-data") as workload:
        shape.scale(5)
        shape.await_settled(5)
        leader = shape.status()["leader"]
        with workload.fault(f"claim of {leader} deleted"):
            where = ("-n", shape.database.namespace, f"pvc/data-{leader}")
            shape.database.cluster.kubectl("delete", *where, "--wait=false")
        shape.await_step(f"{leader} to leave", lambda: leader not in shape.voters())
        shape.await_settled(5)
        joined = set(shape.voters()) - before
        assert 2 + (leader in before) == len(joined)
        assert joined == {name for name in joined if shape.received_snapshot(name)}
        shape.scale(3)
        shape.await_settled(3)


@pytest.fixture
def zones(kubernetes: Cluster) -> Iterator[dict[str, str]]:
    """Three zones of two nodes each; then the zones of before."""
    before = {
        node["metadata"]["name"]: node["metadata"]["labels"][ZONE]
        for node in kubernetes.api.items("/api/v1/nodes")
    }
    now = {name: "abc"[at % 3] for at, name in enumerate(sorted(before))}
    try:
        _put(kubernetes, now)
        yield now
    finally:
        _put(kubernetes, before)


def _put(kubernetes: Cluster, zones: dict[str, str]) -> None:
    for node, zone in zones.items():
        kubernetes.kubectl("label", "--overwrite", "node", node, f"{ZONE}={zone}")


def test_zones(zones: dict[str, str], installed: Database) -> None:
    """Members are spread over three zones, and the first to leave is of the fullest one."""
    spread = {"zoneSpread": "Required"}
    installed.create(product.manifest(installed.cluster, updateStrategy=QUICK, scheduling=spread))
    installed.await_ready()
    shape = Shape(installed)
    with under_load(installed, "zones"):
        for count, expected in ((3, [1, 1, 1]), (5, [1, 2, 2]), (3, [1, 1, 1])):
            shape.scale(count)
            status = shape.await_settled(count)
            held = Counter(zones[member["node"]] for member in status["members"])
            assert expected == sorted(held.values())
            assert "True" == condition(status, "TopologySatisfied")
            print(f"{count} members: {dict(held)}")


def learner(shape: Shape) -> bool:
    return bool(shape.status().get("learners"))


def bound(shape: Shape) -> bool:
    pods = [pod for pod in shape.database.pods() if "nodeName" in pod["spec"]]
    return len(pods) > 3


def promoted(shape: Shape) -> bool:
    return int(shape.status().get("voters", 0)) > 3


def promoted_twice(shape: Shape) -> bool:
    return int(shape.status().get("voters", 0)) == 5


def removed(shape: Shape) -> bool:
    return int(shape.status().get("voters", 5)) < 5


def stopped(shape: Shape) -> bool:
    return removed(shape) and len(shape.database.pods()) < 5


def put_aside(shape: Shape) -> bool:
    """More volumes are put aside than members left before."""
    taken = int(shape.status()["nextMemberSerial"]) - 1
    return len(shape.claims(quarantined=True)) > taken - 5


def test_a_change_of_mind(shape: Shape) -> None:
    """The spec goes back at each step that can be seen, up and down, and it ends as asked."""
    with under_load(shape.database, "change-of-mind") as workload:
        for step in (learner, bound, promoted, promoted_twice):
            reversed_at(shape, 3, 5, step)
            workload.run_until(writes=20)
        shape.scale(5)
        shape.await_settled(5)
        for step in (removed, stopped, put_aside):
            reversed_at(shape, 5, 3, step)
            workload.run_until(writes=20)


def reversed_at(shape: Shape, now: int, then: int, step: Callable[[Shape], bool]) -> None:
    """Ask for another number and, at a step of it, for the former one."""
    before = shape.voters()
    shape.scale(then)
    shape.await_step(f"{now} to {then}: {step.__name__}", lambda: step(shape))
    shape.scale(now)
    shape.await_settled(now)
    after = shape.voters()
    assert {name: after[name] for name in before.keys() & after.keys()} == {
        name: before[name] for name in before.keys() & after.keys()
    }
    aside = {claim["metadata"]["name"] for claim in shape.claims(quarantined=True)}
    assert not {f"data-{name}" for name in after} & aside
    serials = [int(re.sub(r".*-", "", name)) for name in after]
    assert max(serials) < shape.status()["nextMemberSerial"]
    print(f"{now} to {then} and back at {step.__name__}: {sorted(after)}")


def test_a_quarantine_ends(shape: Shape) -> None:
    """The volume of a member that left is deleted when its time is over, and not before."""
    shape.scale(1)
    shape.await_settled(1)
    first, second = shape.claims(quarantined=True)
    path = f"/api/v1/namespaces/{shape.database.namespace}/persistentvolumeclaims"
    over = {"metadata": {"annotations": {"fauna.dev/delete-after": "1"}}}
    shape.database.cluster.api.merge(f"{path}/{first['metadata']['name']}", over)

    shape.await_step("one volume to go", lambda: len(shape.claims(quarantined=True)) == 1)

    assert [second["metadata"]["uid"]] == [
        claim["metadata"]["uid"] for claim in shape.claims(quarantined=True)
    ]
    assert "VolumeDeleted" in shape.events()
