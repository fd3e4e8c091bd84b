"""The CRD on a real API server: what is refused, and with which sentence."""

import json
from pathlib import Path
from typing import Any

import pytest

from kind_test_helpers.cluster import Cluster
from kind_test_helpers.failures import CommandFailed

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def crd(kubernetes: Cluster) -> Cluster:
    kubernetes.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
    kubernetes.kubectl("wait", "--for=condition=Established", "crd/faunaclusters.fauna.dev")
    return kubernetes


def manifest(name: str = "orders", **spec: Any) -> str:
    return json.dumps(
        {
            "apiVersion": "fauna.dev/v1alpha1",
            "kind": "FaunaCluster",
            "metadata": {"name": name},
            "spec": {"storage": {"size": "1Gi"}, **spec},
        }
    )


REFUSED = [
    ({"replicas": 2}, "replicas is 1, or 3 to 31"),
    ({"replicas": 0}, "greater than or equal to 1"),
    ({"replicas": 32}, "less than or equal to 31"),
    ({"maxVoters": 4}, "maxVoters is 1, 3, 5, or 7"),
    ({"selfHealing": {"unreachableAfter": "5s"}}, "unreachableAfter is empty, or at least 20s"),
    ({"updateStrategy": {"memberReadyTimeout": "soon"}}, "updateStrategy.memberReadyTimeout"),
    ({"storage": {"size": "0"}}, "size is a positive quantity"),
    ({"storage": {"size": "much"}}, "size is a positive quantity"),
    ({"storage": {}}, "spec.storage.size"),
    ({"image": {"digest": "sha256:1"}}, "spec.image.digest"),
    ({"image": {"pullPolicy": "Sometimes"}}, "spec.image.pullPolicy"),
    ({"scheduling": {"nodeAntiAffinity": "Never"}}, "spec.scheduling.nodeAntiAffinity"),
    ({"selfHealing": {"maxReplacementsPerHour": -1}}, "maxReplacementsPerHour"),
    ({"name": "a" * 41}, "a name has at most 40 characters"),
    ({"name": "1orders"}, "a name begins with a letter"),
    ({"name": "or.ders"}, "a name begins with a letter"),
]


@pytest.mark.parametrize(("spec", "sentence"), REFUSED, ids=lambda given: str(given)[:40])
def test_refused_at_creation(
    crd: Cluster, namespace: str, spec: dict[str, Any], sentence: str
) -> None:
    """A spec that cannot work is refused with a sentence that says why."""
    with pytest.raises(CommandFailed, match=sentence):
        crd.kubectl("create", "-n", namespace, "-f", "-", stdin=manifest(**spec))


CHANGES = [
    ({"storage": {"size": "2Gi"}}, "size cannot be changed yet"),
    ({"storage": {"storageClassName": "fast"}}, "storageClassName cannot be added or removed"),
    ({"auth": {"rootSecret": {"name": "other"}}}, "auth.rootSecret cannot be changed"),
    ({"replicas": 2}, "replicas is 1, or 3 to 31"),
]


@pytest.mark.parametrize(("change", "sentence"), CHANGES, ids=lambda given: str(given)[:40])
def test_refused_as_a_change(
    crd: Cluster, namespace: str, change: dict[str, Any], sentence: str
) -> None:
    """What cannot be changed later is refused then."""
    crd.kubectl("create", "-n", namespace, "-f", "-", stdin=manifest())
    patch = json.dumps({"spec": change})
    with pytest.raises(CommandFailed, match=sentence):
        crd.kubectl("patch", "-n", namespace, "fauna", "orders", "--type=merge", "-p", patch)


def test_two_is_refused_through_scale_too(crd: Cluster, namespace: str) -> None:
    """`kubectl scale` meets the same rule; 5 is fine."""
    crd.kubectl("create", "-n", namespace, "-f", "-", stdin=manifest(paused=True))
    with pytest.raises(CommandFailed, match="replicas is 1, or 3 to 31"):
        crd.kubectl("scale", "-n", namespace, "faunacluster", "orders", "--replicas=2")

    crd.kubectl("scale", "-n", namespace, "faunacluster", "orders", "--replicas=5")

    found = json.loads(crd.kubectl("get", "-n", namespace, "fauna", "orders", "-o", "json"))
    assert 5 == found["spec"]["replicas"]


def test_what_is_drawn_once_stays(crd: Cluster, namespace: str) -> None:
    """Status refuses another cluster id, and `bootstrapped` going back to false."""
    crd.kubectl("create", "-n", namespace, "-f", "-", stdin=manifest(paused=True))
    status(crd, namespace, {"clusterID": "aa", "bootstrapped": True})
    with pytest.raises(CommandFailed, match="a cluster id is drawn once"):
        status(crd, namespace, {"clusterID": "bb"})
    with pytest.raises(CommandFailed, match="bootstrapped never becomes false"):
        status(crd, namespace, {"bootstrapped": False})


def status(cluster: Cluster, namespace: str, fields: dict[str, Any]) -> None:
    patch = json.dumps({"status": fields})
    where = ("-n", namespace, "fauna", "orders", "--subresource=status")
    cluster.kubectl("patch", *where, "--type=merge", "-p", patch)


def test_the_example_is_accepted(crd: Cluster, namespace: str) -> None:
    """Every example is what the API server takes, with defaults filled in."""
    for example in sorted((ROOT / "examples").glob("*.yaml")):
        crd.kubectl("create", "-n", namespace, "--dry-run=server", "-f", str(example))
