"""What is read from the Kubernetes API, and how fresh the leader's word is."""

import asyncio
import time
from typing import Any

import pytest

from fauna_operator.act import Actor
from fauna_operator.database import Address
from fauna_operator.errors import Refused, Stale
from fauna_operator.kube import Object
from fauna_operator.model import (
    Answer,
    ChangeMembership,
    ConfigurationId,
    Delete,
    Desired,
    Lists,
    Node,
    Observed,
    Transfer,
)
from fauna_operator.observe import observe
from fauna_operator.reconcile import Cluster
from fauna_operator.render import names
from fauna_operator_world import NAME, NAMESPACE, World, fresh, settle


def settled() -> World:
    world = fresh()
    asyncio.run(settle(world, Cluster(world, world, (NAMESPACE, NAME))))
    return world


def look(world: World) -> Observed:
    resource = world.objects[names.KIND, NAME]
    return asyncio.run(observe(world, world, resource, Desired.of(resource), now=time.time()))


def volume(key: str, *hosts: str) -> Object:
    expression = {"key": key, "operator": "In", "values": list(hosts)}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    return {
        "kind": "PersistentVolume",
        "metadata": {"name": "pv-2"},
        "spec": {"nodeAffinity": {"required": terms}},
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (volume("kubernetes.io/hostname", "n1"), ("n1",)),
        (volume("topology.kubernetes.io/zone", "a"), None),
        ({"kind": "PersistentVolume", "metadata": {"name": "pv-2"}, "spec": {}}, None),
    ],
)
def test_where_a_volume_is_bound(given: Object, expected: tuple[str, ...] | None) -> None:
    """A local volume names its node, a network volume none; asked only of who is not Ready."""
    world = settled()
    for serial in (1, 2):
        claim = world.objects["PersistentVolumeClaim", f"data-{NAME}-{serial}"]
        claim["spec"]["volumeName"] = "pv-2"
    world.put(given)
    del world.objects["Pod", f"{NAME}-2"]

    found = {claim.serial: claim.nodes for claim in look(world).lists.claims}

    assert {1: None, 2: expected, 3: None} == found


def test_what_is_read_of_a_node() -> None:
    """Readiness, hostname, zone by the key of the spec, and a person's word that it is off."""
    world = settled()
    world.put(
        {
            "kind": "Node",
            "metadata": {
                "name": "n1",
                "labels": {"kubernetes.io/hostname": "h1", "topology.kubernetes.io/zone": "a"},
            },
            "spec": {"taints": [{"key": "node.kubernetes.io/out-of-service", "value": "x"}]},
            "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]},
        }
    )

    expected = Node("n1", ready=False, hostname="h1", zone="a", out_of_service=True)
    assert (expected,) == look(world).lists.nodes


def test_without_rights_nodes_and_volumes_are_unknown() -> None:
    """A namespaced install sees neither, and nothing counts as gone."""

    class Narrow(World):
        async def find(self, kind: str, namespace: str, selector: str = "") -> list[Object]:
            if kind == "Node":
                raise Refused("forbidden")
            return await super().find(kind, namespace, selector)

        async def get(self, kind: str, namespace: str, name: str) -> Object | None:
            if kind == "PersistentVolume":
                raise Refused("forbidden")
            return await super().get(kind, namespace, name)

    world = Narrow(objects=settled().objects)
    world.objects["PersistentVolumeClaim", f"data-{NAME}-2"]["spec"]["volumeName"] = "pv-2"
    del world.objects["Pod", f"{NAME}-2"]

    found = look(world)

    assert None is found.lists.nodes
    assert [None] * 3 == [claim.nodes for claim in found.lists.claims]


def test_the_leader_is_asked_again_after_a_silent_member() -> None:
    """A member that lets us wait makes the leader's answer old: it is asked once more."""
    asked: list[int] = []

    class Slow(World):
        async def ask(self, address: Address) -> Answer:
            asked.append(address.serial)
            if address.serial == 3:
                await asyncio.sleep(1.1)
            return await super().ask(address)

    before = settled()
    world = Slow(**{name: getattr(before, name) for name in before.__dataclass_fields__})

    found = look(world)

    assert [1, 1, 2, 3] == sorted(asked)
    assert found.leader is not None


SEEN = ConfigurationId(1, 1, 1)
TAKES_AWAY: list[Any] = [
    Delete("Pod", f"{NAME}-2", "u", "1", "why"),
    ChangeMembership("remove", 1, 2, SEEN),
    Transfer(1, 2, "why"),
]


@pytest.mark.parametrize("action", TAKES_AWAY, ids=lambda action: type(action).__name__)
def test_nothing_is_taken_away_on_an_old_word(action: Any) -> None:
    """Two seconds after the leader spoke it is asked again before anything goes."""
    world = settled()
    resource = world.objects[names.KIND, NAME]
    old = Observed("1", Lists(), answered_s=time.monotonic() - 3.0)
    actor = Actor(world, world, Desired.of(resource), old, resource, time.time())
    written = len(world.log)

    with pytest.raises(Stale, match="too old"):
        asyncio.run(actor.perform(action))

    assert written == len(world.log)
