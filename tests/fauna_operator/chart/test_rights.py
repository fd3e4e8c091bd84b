"""The chart's Role and what the operator asks for, in the model of a cluster.

The other direction, that no right is unused, needs a real API server's audit log: tests/e2e.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from chart_test_helpers import Object, of_kind, render
from fauna_operator import wiring
from fauna_operator.kube import PATHS
from fauna_operator.reconcile import Cluster
from fauna_operator_world import NAME, NAMESPACE, World, fresh, settle

Right = tuple[str, str, str]  # group, resource, verb


def right(kind: str, verb: str, part: str = "") -> Right:
    base, plural = PATHS[kind]
    group = base.split("/")[2] if base.startswith("/apis/") else ""
    return group, plural + part, verb


class Asked(World):
    """A world that notes which rights were needed."""

    rights: set[Right]

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        self.rights.add(right(kind, "get"))
        return await super().get(kind, namespace, name)

    async def find(self, kind: str, namespace: str, selector: str = "") -> list[Object]:
        self.rights.add(right(kind, "list"))
        return await super().find(kind, namespace, selector)

    async def create(self, manifest: Object) -> Object:
        self.rights.add(right(manifest["kind"], "create"))
        return await super().create(manifest)

    async def patch(self, manifest: Object, *, apply: bool, status: bool = False) -> Object:
        self.rights.add(right(manifest["kind"], "patch", "/status" if status else ""))
        if (manifest["kind"], manifest["metadata"]["name"]) not in self.objects:
            self.rights.add(right(manifest["kind"], "create"))
        return await super().patch(manifest, apply=apply, status=status)

    async def replace_status(self, resource: Object) -> Object:
        self.rights.add(right(resource["kind"], "update", "/status"))
        return await super().replace_status(resource)

    async def delete(
        self, kind: str, namespace: str, name: str, preconditions: Mapping[str, Any], **more: Any
    ) -> None:
        self.rights.add(right(kind, "delete"))
        await super().delete(kind, namespace, name, dict(preconditions), **more)


@pytest.fixture(scope="module")
def granted() -> set[Right]:
    found = render()
    rules = [
        rule
        for kind in ("Role", "ClusterRole")
        for r in of_kind(found, kind)
        for rule in r["rules"]
    ]
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def lived() -> set[Right]:
    """The rights of a life: formed, a volume lost, shrunk, and what was put aside deleted."""
    world = Asked()
    world.rights = set()
    world.objects = fresh(replicas=3).objects
    cluster = Cluster(world, world, (NAMESPACE, NAME))
    asyncio.run(settle(world, cluster))
    for kind, name in (("PersistentVolumeClaim", f"data-{NAME}-3"), ("Pod", f"{NAME}-3")):
        del world.objects[kind, name]
    asyncio.run(settle(world, cluster))
    world.objects["FaunaCluster", NAME]["spec"]["replicas"] = 1
    asyncio.run(settle(world, cluster))
    for (kind, _), item in world.objects.items():
        if kind == "PersistentVolumeClaim" and "fauna.dev/delete-after" in item["metadata"].get(
            "annotations", {}
        ):
            item["metadata"]["annotations"]["fauna.dev/delete-after"] = "1"
    asyncio.run(settle(world, cluster))
    return world.rights


def test_no_right_is_missing(granted: set[Right]) -> None:
    """What the operator asks for in a whole life is in its roles."""
    needed = lived()
    assert ("", "persistentvolumeclaims", "delete") in needed
    assert set() == needed - granted


def test_what_is_watched_may_be_watched(granted: set[Right]) -> None:
    """Each stream needs list and watch; what the second client lists needs list."""
    needed = {right(kind, verb) for kind in wiring.WATCHED for verb in ("list", "watch")}
    needed |= {right(kind, "list") for kind in (*wiring.LISTED, *wiring.LABELLED)}
    assert set() == needed - granted


def test_nothing_dangerous_is_granted(granted: set[Right]) -> None:
    """No wildcard, no exec, no eviction, nothing secret cluster-wide, no write of a spec."""
    assert not [each for each in granted if "*" in each]
    assert not [
        each for each in granted if each[1] in ("pods/exec", "pods/eviction", "serviceaccounts")
    ]
    assert not [each for each in granted if each[0] == "rbac.authorization.k8s.io"]
    spec = {verb for group, resource, verb in granted if resource == "faunaclusters"}
    assert not spec & {"update", "patch", "delete", "deletecollection"}
    wide = {
        resource
        for role in of_kind(render(), "ClusterRole")
        for rule in role["rules"]
        for resource in rule["resources"]
    }
    assert {"nodes", "persistentvolumes"} == wide
