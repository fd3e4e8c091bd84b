"""What members run is changed under load, by a template that works and by one that does not."""

import json
from functools import partial

import pytest

from e2e.shapes import QUICK, Shape, under_load
from e2e.workload import Workload
from faunadb_sim.history import Outcome
from kind_test_helpers import product
from kind_test_helpers.product import Database, condition

pytestmark = [pytest.mark.e2e, pytest.mark.new]

PATIENT = {**QUICK, "memberReadyTimeout": "15m"}  # a slow machine is not a broken template


@pytest.fixture
def shape(installed: Database) -> Shape:
    installed.create(product.manifest(installed.cluster, updateStrategy=PATIENT))
    installed.await_ready()
    found = Shape(installed)
    found.await_template()
    found.await_settled(3)
    return found


def pod_uids(shape: Shape) -> dict[str, str]:
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in shape.database.pods()}


def failed_for_the_client(workload: Workload) -> list[str]:
    """Return the writes that failed although `fauna_client` retried: every second client."""
    return [
        f"{operation.kind} {operation.outcome}"
        for operation in workload.history
        if operation.outcome is not Outcome.OK
        and operation.client.startswith("client-")
        and int(operation.client.removeprefix("client-")) % 2 == 0
    ]


def test_resources_change_under_load(shape: Shape) -> None:
    """Every pod is made again, the leader's last, and no client sees a failed write."""
    before, claims = pod_uids(shape), shape.voters()
    with under_load(shape.database, "rollout") as workload:
        shape.edit(resources={"requests": {"cpu": "90m", "memory": "256Mi"}})
        shape.await_step("the rollout", lambda: not before.items() & pod_uids(shape).items())
        shape.await_settled(3)
        workload.run_until(writes=50)
    assert [] == failed_for_the_client(workload)
    assert claims == shape.voters()
    told = [reason for reason in shape.events() if reason.startswith("Rollout")]
    assert ["RolloutStarted", "RolloutFinished"] == told


def test_an_image_that_does_not_start(shape: Shape) -> None:
    """One member tries it and gets its image back; a corrected spec goes on."""
    before = pod_uids(shape)
    shape.edit(updateStrategy={**QUICK, "memberReadyTimeout": "15s"})
    with under_load(shape.database, "bad-image") as workload:
        shape.edit(image={"tag": "there-is-no-such-tag", "pullPolicy": "Never"})

        def stuck() -> bool:
            status = shape.status()
            whole = status["readyReplicas"] == 3 and condition(status, "Available") == "True"
            reasons = [each["reason"] for each in status["conditions"]]
            return whole and "RolloutStuck" in reasons

        shape.await_step("the rollout to be stopped and undone", stuck)
        workload.run_until(writes=50)
        after = pod_uids(shape)
        assert 2 == len(before.items() & after.items())
        assert "RolloutPaused" in shape.events()

        _, _, tag = shape.database.cluster.images["faunadb"].rpartition(":")
        shape.edit(
            image={"tag": tag, "pullPolicy": "IfNotPresent"},
            resources={"requests": {"cpu": "80m", "memory": "256Mi"}},
            updateStrategy=PATIENT,
        )
        shape.await_step("the rollout", lambda: not before.items() & pod_uids(shape).items())
        shape.await_settled(3)
    assert [] == failed_for_the_client(workload)


def test_a_change_of_mind_and_a_scale_in_the_middle(shape: Shape) -> None:
    """Another template, and two members more, while a rollout runs: all arrive."""
    before = pod_uids(shape)
    shape.edit(resources={"requests": {"cpu": "90m", "memory": "256Mi"}})
    shape.await_step("the first pod", lambda: len(before.items() & pod_uids(shape).items()) == 2)

    shape.edit(resources={"requests": {"cpu": "85m", "memory": "256Mi"}}, replicas=5)

    shape.await_settled(5)
    asked = {
        pod["spec"]["containers"][0]["resources"]["requests"]["cpu"]
        for pod in shape.database.pods()
    }
    assert {"85m"} == asked


def test_the_operator_dies_at_every_pod(shape: Shape) -> None:
    """Its next life goes on where the last one stopped: all pods are made again, each once."""
    before = pod_uids(shape)
    made = set(before.values())
    with under_load(shape.database, "operator-dies") as workload:
        shape.edit(resources={"requests": {"cpu": "90m", "memory": "256Mi"}})
        for left in (2, 1, 0):
            are_left = partial(old_pods_are, shape, before, made, left)
            shape.await_step(f"{left} old pods", are_left)
            kill_operator(shape.database)
        shape.await_settled(3)
        made.update(pod_uids(shape).values())
    assert [] == failed_for_the_client(workload)
    assert 6 == len(made)
    told = [reason for reason in shape.events() if reason.startswith("Rollout")]
    assert "RolloutFinished" == told[-1]


def test_another_operator_restarts_no_member(shape: Shape) -> None:
    """An upgrade of the operator is none of the members: the same pods, never restarted."""
    before, database = pod_uids(shape), shape.database
    deployment = ("-n", database.namespace, "deployment/fauna-operator")
    patch = {"spec": {"template": {"metadata": {"annotations": {"version": "another"}}}}}
    database.cluster.kubectl("patch", *deployment, "--type=merge", "-p", json.dumps(patch))
    database.cluster.kubectl("rollout", "status", *deployment, "--timeout=240s", seconds_max=250)

    shape.edit(updateStrategy={**PATIENT, "minReadySeconds": 2})  # it shows that it has looked
    shape.await_settled(3)

    assert before == pod_uids(shape)
    assert {0} == {
        each["restartCount"]
        for pod in database.pods()
        for each in pod["status"]["containerStatuses"]
    }


def old_pods_are(shape: Shape, before: dict[str, str], made: set[str], count: int) -> bool:
    """Whether so many pods are what they were; note the uids of all."""
    found = pod_uids(shape)
    made.update(found.values())
    return len(before.items() & found.items()) == count


def kill_operator(database: Database) -> None:
    """Take its pod away without a word to it."""
    chosen = ("-n", database.namespace, "-l", "app.kubernetes.io/name=fauna-operator")
    database.cluster.kubectl("delete", "pod", *chosen, "--force", "--grace-period=0")
