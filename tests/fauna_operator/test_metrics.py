"""The operator's series: which there are, and that they end with what they are about."""

import asyncio

from prometheus_client.parser import text_string_to_metric_families

from fauna_operator.metrics import Metrics
from fauna_operator.reconcile import Cluster
from fauna_operator.supervise import Loop
from fauna_operator_world import NAME, NAMESPACE, fresh, settle

KEY = (NAMESPACE, NAME)


def series(metrics: Metrics) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def labels(**more: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({"namespace": NAMESPACE, "name": NAME, **more}.items()))


def test_a_settled_cluster_is_told() -> None:
    """After it settled: passes without errors, no rule to act on, conditions one-hot, counts."""
    world, metrics = fresh(replicas=3), Metrics()
    asyncio.run(settle(world, Cluster(world, world, KEY, metrics)))

    found = series(metrics)

    assert "fauna_operator_plan_rule" not in found
    condition = found["fauna_cluster_condition"]
    ready = [condition[labels(condition="Ready", status=s)] for s in ("True", "False", "Unknown")]
    assert [1.0, 0.0, 0.0] == ready
    counts = ("replicas_wanted", "replicas_ready", "voters", "voters_healthy")
    assert [3.0] * 4 == [found[f"fauna_cluster_{name}"][labels()] for name in counts]


def test_a_failed_pass_is_counted_by_its_error() -> None:
    """Errors are told apart by who must act."""
    world, metrics = fresh(), Metrics()
    world.faults.refuse_reads = 1

    asyncio.run(Loop(Cluster(world, world, KEY, metrics), NAME)._guarded_pass())

    errors = series(metrics)["fauna_operator_reconcile_errors_total"]
    assert {labels(error="Unreachable"): 1.0} == errors


def test_series_end_with_the_resource() -> None:
    """A resource that is gone has no series; a relist drops what it does not find."""
    metrics = Metrics()
    metrics.passed(KEY, 0.1, "Unreachable")
    metrics.decided(KEY, "keep_pods", ["ReplaceBlocked"])
    metrics.saw(resource("FaunaCluster"))
    before = series(metrics)
    assert 1.0 == before["fauna_operator_reconcile_errors_total"][labels(error="Unreachable")]
    assert 1.0 == before["fauna_operator_plan_rule"][labels(rule="keep_pods")]
    assert 1.0 == before["fauna_operator_blocked"][labels(reason="ReplaceBlocked")]

    metrics.forget(KEY)

    assert not [name for name, found in series(metrics).items() if labels() in found]
    metrics.saw(resource("FaunaCluster"))
    metrics.listed("FaunaCluster", "another", [])
    assert 3.0 == series(metrics)["fauna_cluster_replicas_wanted"][labels()]
    metrics.listed("FaunaCluster", "", [])
    assert "fauna_cluster_replicas_wanted" not in series(metrics)


def test_the_newest_verified_backup_counts() -> None:
    """An unfinished or unverified backup does not make the last verified one newer."""
    metrics = Metrics()
    done = {"phase": "Completed", "completedAt": "2026-01-02T00:00:00Z"}
    metrics.listed(
        "FaunaBackup",
        NAMESPACE,
        [
            resource("FaunaBackup", "a", {**done, "verifiedAt": "2026-01-01T00:00:00Z"}),
            resource("FaunaBackup", "b", {**done, "verifiedAt": "1999-01-01T00:00:00Z"}),
            resource("FaunaBackup", "c", done),
            resource(
                "FaunaBackup", "d", {"phase": "Running", "verifiedAt": "2027-01-01T00:00:00Z"}
            ),
        ],
    )

    found = series(metrics)

    assert {labels(): 1767225600.0} == found["fauna_backup_last_verified_timestamp_seconds"]
    assert {labels(): 1767312000.0} == found["fauna_backup_last_completed_timestamp_seconds"]


def resource(
    kind: str, name: str = NAME, status: dict[str, str] | None = None
) -> dict[str, object]:
    spec = {"replicas": 3, "clusterRef": {"name": NAME}}
    metadata = {"namespace": NAMESPACE, "name": name}
    return {"kind": kind, "metadata": metadata, "spec": spec, "status": status or {}}
