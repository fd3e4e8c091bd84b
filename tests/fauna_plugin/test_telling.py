"""What `kubectl fauna status` says, from resources as the operator writes them."""

import asyncio
from typing import Any

from fauna_operator.reconcile import Cluster
from fauna_operator_world import NAME, NAMESPACE, fresh, settle
from fauna_plugin import telling

Object = dict[str, Any]


def condition(kind: str, status: str, reason: str = "", message: str = "") -> Object:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": 2,
    }


def cluster(*conditions: Object, **status: Any) -> Object:
    members = [
        {"name": "orders-1", "role": "Leader", "state": "Member", "ready": True, "node": "node-2"},
        {"name": "orders-3", "role": "Voter", "state": "Silent", "ready": False},
    ]
    return {
        "kind": "FaunaCluster",
        "metadata": {"namespace": "shop", "name": "orders", "generation": 2},
        "spec": {"replicas": 3},
        "status": {
            "phase": "Degraded",
            "readyReplicas": 2,
            "leader": "orders-1",
            "term": 4,
            "incarnation": 1,
            "voters": 3,
            "healthyVoters": 2,
            "members": members,
            "conditions": list(conditions),
            **status,
        },
    }


def backup(name: str, of: str, **status: str) -> Object:
    metadata = {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"}
    spec = {"clusterRef": {"name": of}}
    return {"kind": "FaunaBackup", "metadata": metadata, "spec": spec, "status": status}


def test_all_that_there_is_to_say() -> None:
    """First what it is, then its members, then only what is not as it should be."""
    found = cluster(
        condition("Available", "True", "QuorumDegraded"),
        condition("Degraded", "True", "MemberDown", "the leader does not hear members [3]"),
        operation={"type": "ReplaceMember", "step": "CatchUp", "member": "orders-4"},
        quarantinedVolumes=[{"name": "data-orders-2", "deleteAfter": "2026-02-01T00:00:00Z"}],
    )
    mine = backup("orders-1", "orders", phase="Completed", size="1.2Gi", verified="Restore")

    lines = list(telling.cluster_lines(found, [mine, backup("another", "bank")]))

    assert """\
shop/orders: Degraded, 2 of 3 members ready
leader orders-1, term 4, incarnation 1, 3 voters, 2 of them healthy

MEMBER    ROLE    STATE   READY  NODE    VERSION
orders-1  Leader  Member  yes    node-2  -
orders-3  Voter   Silent  no     -       -

Not as it should be:
  Degraded=True MemberDown: the leader does not hear members [3]

Being done:
  ReplaceMember CatchUp orders-4

Volumes put aside:
  data-orders-2  until 2026-02-01T00:00:00Z

Backups:
  BACKUP    PHASE      SIZE   VERIFIED  COMPLETED
  orders-1  Completed  1.2Gi  Restore   -""" == "\n".join(lines)


def test_a_cluster_that_nobody_looked_at() -> None:
    """A resource without a status is told, not a traceback."""
    fresh = {**cluster(), "status": {}}
    lines = list(telling.cluster_lines(fresh, []))
    assert "shop/orders: not seen by an operator yet, 0 of 3 members ready" == lines[0]
    assert (False, False) == (telling.is_available(fresh), telling.is_ready(fresh))


def test_ready_is_of_the_present_spec() -> None:
    """A Ready that was said about an older generation does not count."""
    found = cluster(condition("Ready", "True"))
    assert telling.is_ready(found)
    found["metadata"]["generation"] = 3
    assert not telling.is_ready(found)


def test_progress_of_each_kind() -> None:
    """One line says how far a cluster, a backup and a restore are."""
    waits = cluster(condition("Ready", "False", "CatchingUp", "member 4 has 7 of 9"))
    assert "Degraded; 2 of 3 ready; CatchingUp: member 4 has 7 of 9" == telling.progress(waits)
    done = backup("b", "orders", phase="Completed", size="4Ki", documentCount="12", verified="None")
    assert "Completed, 4Ki, 12 documents, verified: None" == telling.progress(done)
    failed = backup("b", "orders", phase="Failed", error="no bucket")
    assert "Failed, no bucket" == telling.progress(failed)
    assert [True, True, False] == [
        telling.has_failed(failed),
        telling.has_ended(done),
        telling.has_ended(backup("b", "orders", phase="Running")),
    ]
    assert "Pending" == telling.progress({"kind": "FaunaRestore", "spec": {}, "metadata": {}})


def test_every_condition_of_the_operator_is_known() -> None:
    """What it writes about a settled cluster has a good side here, and is on it."""
    world = fresh(replicas=3)
    asyncio.run(settle(world, Cluster(world, world, (NAMESPACE, NAME))))
    written = world.objects["FaunaCluster", NAME]["status"]["conditions"]
    assert {each["type"] for each in written} <= set(telling.GOOD)
    settled = {each["type"]: each["status"] for each in written}
    assert settled == {kind: telling.GOOD[kind] for kind in settled}


def test_a_condition_is_told_when_it_is_not_as_it_should_be() -> None:
    """And only then."""
    good = [condition(kind, status) for kind, status in telling.GOOD.items()]
    assert "Not as it should be:" not in list(telling.cluster_lines(cluster(*good), []))
    other = {"True": "False", "False": "True"}
    bad = [condition(kind, other[status], "Why") for kind, status in telling.GOOD.items()]
    lines = "\n".join(telling.cluster_lines(cluster(*bad), []))
    assert all(f"  {kind}=" in lines for kind in telling.GOOD)
