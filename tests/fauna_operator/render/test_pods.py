"""A member's pod: restricted, bound to its volume, and the same for every release."""

from typing import Any

import pytest

from fauna_operator.model import Desired, Latch
from fauna_operator.render import claim, pod, services, template_hash
from fauna_operator.render.network import budget

LATCH = Latch("6f1c2b0e9a7d4f53b8e1d2c3a4f5e607", 1, 1, 4, bootstrapped=True)
GOLDEN = "26ecc59d2601"


def wanted(**spec: Any) -> Desired:
    metadata = {"name": "orders", "namespace": "shop", "uid": "u1"}
    return Desired.of({"metadata": metadata, "spec": {"storage": {"size": "1Gi"}, **spec}})


def test_the_template_hash_is_golden() -> None:
    """A new release of the operator restarts nobody by accident: this line changes on purpose."""
    assert GOLDEN == template_hash(wanted())


def test_the_hash_is_of_what_members_share() -> None:
    """Replicas, pausing and healing change no pod; image, resources and scheduling do."""
    same: list[dict[str, Any]] = [
        {"replicas": 5},
        {"paused": True},
        {"selfHealing": {"enabled": False}},
    ]
    other: list[dict[str, Any]] = [
        {"image": {"tag": "next"}},
        {"resources": {"requests": {"cpu": "2"}}},
        {"scheduling": {"nodeAntiAffinity": "Preferred"}},
        {"scheduling": {"nodeSelector": {"disk": "fast"}}},
        {"scheduling": {"tolerations": [{"key": "a", "operator": "Exists"}]}},
        {"scheduling": {"priorityClassName": "high"}},
        {"scheduling": {"zoneSpread": "None"}},
        {"image": {"pullSecrets": ["registry"]}},
        {"auth": {"rootSecret": {"name": "mine"}}},
    ]

    assert {GOLDEN} == {template_hash(wanted(**spec)) for spec in same}
    assert len(other) == len({template_hash(wanted(**spec)) for spec in other} - {GOLDEN})


def test_the_restricted_standard() -> None:
    """Every field that the restricted Pod Security Standard asks for is there."""
    spec = pod(wanted(), LATCH, 1)["spec"]
    (container,) = spec["containers"]

    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(spec)
    assert {"persistentVolumeClaim", "secret", "emptyDir"} == {
        kind for volume in spec["volumes"] for kind in volume if kind != "name"
    }
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["runAsUser"] > 0
    assert {"type": "RuntimeDefault"} == spec["securityContext"]["seccompProfile"]
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert {"drop": ["ALL"]} == container["securityContext"]["capabilities"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert not spec["automountServiceAccountToken"]
    assert all("hostPort" not in port for port in container["ports"])


def test_secrets_are_files() -> None:
    """No secret stands in an environment variable or an argument."""
    (container,) = pod(wanted(), LATCH, 1)["spec"]["containers"]
    assert [] == [e for e in container["env"] if "secretKeyRef" in e.get("valueFrom", {})]


def test_members_differ_only_in_their_name() -> None:
    """The pods of two members are equal but for serial, name, and volume."""
    one, two = (str(pod(wanted(), LATCH, serial)) for serial in (1, 2))

    swapped = one.replace("orders-1", "orders-2").replace("member-id=1", "member-id=2")
    swapped = swapped.replace("member-tls-1", "member-tls-2").replace(
        "serial': '1'", "serial': '2'"
    )
    assert two == swapped


def test_the_door_of_the_server() -> None:
    """A member is started with its identity, its names, and nothing that could form a cluster."""
    (container,) = pod(wanted(), LATCH, 7)["spec"]["containers"]

    assert "serve" == container["args"][0]
    assert [
        "--data-dir=/var/lib/faunadb",
        "--cluster-id=6f1c2b0e9a7d4f53b8e1d2c3a4f5e607",
        "--incarnation=1",
        "--member-id=7",
        "--name=orders-7.orders-members.shop.svc",
        "--seeds=orders-members.shop.svc",
        "--tls-dir=/etc/faunadb/tls",
        "--root-secret-file=/etc/faunadb/root/secret",
    ] == container["args"][1:9]


def test_owners() -> None:
    """Pods and Services go with the resource, volumes do not."""
    assert [True] == [
        o["controller"] for o in pod(wanted(), LATCH, 1)["metadata"]["ownerReferences"]
    ]
    assert all(s["metadata"]["ownerReferences"][0]["uid"] == "u1" for s in services(wanted()))
    assert "ownerReferences" not in claim(wanted(), LATCH, 1)["metadata"]


def test_names_are_found_before_members_are_ready() -> None:
    """The headless Service publishes addresses that are not ready; the others do not."""
    found = {s["metadata"]["name"]: s["spec"] for s in services(wanted())}

    assert {"orders", "orders-read", "orders-leader", "orders-members"} == set(found)
    assert found["orders-members"]["publishNotReadyAddresses"]
    assert "publishNotReadyAddresses" not in found["orders"]
    assert "leader" == found["orders-leader"]["selector"]["fauna.dev/role"]


@pytest.mark.parametrize(
    ("replicas", "voters", "least"), [(1, 1, 1), (3, 3, 2), (3, 5, 3), (5, 3, 3)]
)
def test_the_budget_is_a_majority(replicas: int, voters: int, least: int) -> None:
    """A drain leaves a majority of the voters there are or will be, whichever is more."""
    assert least == budget(wanted(replicas=replicas), voters)["spec"]["minAvailable"]
