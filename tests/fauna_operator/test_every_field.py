"""Every field of the CRD that may change, changed by its schema and back: no needless restart."""

import asyncio
import copy
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fauna_operator.model import Desired
from fauna_operator.reconcile import Cluster
from fauna_operator.render import names, template_hash
from fauna_operator_world import NAME, NAMESPACE, World, conditions, fresh, settle

Json = dict[str, Any]
Field = tuple[str, ...]

ROOT = Path(__file__).parent.parent.parent
CRD = yaml.safe_load((ROOT / "crds/faunaclusters.yaml").read_text())
SPEC = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
ONCE = "self == oldSelf"
READ_ONCE = ("bootstrap",)
STORED: Json = {"s3": {"bucket": "backups"}}
OTHER: dict[Field, Any] = {  # where a pattern, or a rule of CEL, allows less than the type
    ("replicas",): 5,
    ("maxVoters",): 1,
    ("image", "digest"): "sha256:" + "ab" * 32,
    ("image", "pullSecrets"): ["registry"],
    ("scheduling", "tolerations"): [{"key": "dedicated", "operator": "Exists"}],
    ("selfHealing", "unreachableAfter"): "10m",
    ("updateStrategy", "memberReadyTimeout"): "20m",
    ("storage", "volumePolicy", "quarantineFor"): "24h",
    ("backup", "storage", "s3", "endpoint"): "http://minio:9000",
}


def leaves(schema: Json, path: Field = ()) -> Iterator[tuple[Field, Json]]:
    """Yield every field that may change, which is no object of fields itself."""
    for key, inner in schema["properties"].items():
        rules = [rule["rule"] for rule in inner.get("x-kubernetes-validations", ())]
        if ONCE in rules or (*path, key) == READ_ONCE:
            continue
        if "properties" in inner:
            yield from leaves(inner, (*path, key))
        else:
            yield (*path, key), inner


def other(path: Field, schema: Json) -> Any:
    """Return a value that the schema allows and that is not the default."""
    if path in OTHER:
        return OTHER[path]
    default = schema.get("default")
    if "enum" in schema:
        return next(value for value in schema["enum"] if value != default)
    match schema["type"]:
        case "boolean":
            return not default
        case "integer":
            return int(default or 0) + 1
        case "object":
            return {"memory": "2Gi"}
        case kind:
            assert kind == "string", f"{path} needs a value in OTHER"
            return "another"


def edited(spec: Json, path: Field, value: Any) -> Json:
    """Return a spec with one field changed, valid beside the others."""
    new = copy.deepcopy(spec)
    if path[0] == "backup":
        store = {"pvc": {"claimName": "claim"}} if "pvc" in path else copy.deepcopy(STORED)
        new["backup"] = {"storage": store}
    inner = new
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
    inner[path[-1]] = value
    return new


def edit(world: World, spec: Json) -> None:
    """Write a spec as a person does."""
    resource = world.objects[names.KIND, NAME]
    resource["spec"] = copy.deepcopy(spec)
    resource["metadata"]["generation"] += 1
    world._bump(resource)


def pods(world: World) -> dict[str, str]:
    """Return the uid of each pod."""
    return {
        name: item["metadata"]["uid"]
        for (kind, name), item in world.objects.items()
        if kind == "Pod"
    }


FIELDS = [(path, other(path, schema)) for path, schema in leaves(SPEC)]


@pytest.fixture(scope="module")
def begun() -> World:
    """A settled cluster of three, to be copied."""
    world = fresh(replicas=3)
    asyncio.run(settle(world, Cluster(world, world, (NAMESPACE, NAME))))
    return world


@pytest.mark.parametrize(
    ("path", "value"), FIELDS, ids=lambda given: ".".join(given) if isinstance(given, tuple) else ""
)
def test_a_field_changed_and_back(begun: World, path: Field, value: Any) -> None:
    """It converges both times; a pod is made anew only where its template is another."""
    world = begun.copy()
    before = copy.deepcopy(world.objects[names.KIND, NAME]["spec"])
    after = edited(before, path, value)
    loop = Cluster(world, world, (NAMESPACE, NAME))
    for spec in (after, before):
        old = Desired.of(world.objects[names.KIND, NAME])
        had = pods(world)
        edit(world, spec)
        new = Desired.of(world.objects[names.KIND, NAME])

        asyncio.run(settle(world, loop))

        now = pods(world)
        kept = {name for name in had if now.get(name) == had[name]}
        stayed = set(had) & set(now)
        assert (stayed if template_hash(old) == template_hash(new) else set()) == kept
        assert len(now) == new.spec.replicas
        expected = ("False", "Paused") if new.spec.paused else ("True", "AllMembersReady")
        assert expected == conditions(world)["Ready"]


def test_the_spec_is_edited_every_second_for_a_minute(begun: World) -> None:
    """Sixty changes of mind, and the last one is what comes."""
    world = begun.copy()
    seconds = itertools.count()
    loop = Cluster(world, world, (NAMESPACE, NAME), clock=lambda: float(next(seconds)))
    base = world.objects[names.KIND, NAME]["spec"]

    async def live() -> None:
        for second in range(60):
            tag, replicas = ("one", "two", "three")[second % 3], (3, 5, 1, 4)[second % 4]
            edit(world, {**base, "replicas": replicas, "image": {"tag": tag}})
            await loop.one_pass()
            world.kubelets()
        edit(world, {**base, "replicas": 5, "image": {"tag": "last"}})
        await settle(world, loop, passes=400)

    asyncio.run(live())

    images = {
        item["spec"]["containers"][0]["image"]
        for (kind, _), item in world.objects.items()
        if kind == "Pod"
    }
    assert ({"faunadb:last"}, 5, 1) == (images, len(world.voters), world.formed)
    assert ("True", "AllMembersReady") == conditions(world)["Ready"]


def test_a_volume_is_kept_as_long_as_the_spec_says(begun: World) -> None:
    """Scaled down with a day of quarantine, the volumes of who left go after a day."""
    world = begun.copy()
    base = world.objects[names.KIND, NAME]["spec"]
    policy = {"volumePolicy": {"quarantineFor": "24h"}}
    edit(world, {**base, "replicas": 1, "storage": {**base["storage"], **policy}})
    began = time.time()

    asyncio.run(settle(world, Cluster(world, world, (NAMESPACE, NAME))))

    until = [
        float(item["metadata"]["annotations"][names.DELETE_AFTER])
        for (kind, _), item in world.objects.items()
        if kind == "PersistentVolumeClaim" and names.QUARANTINED in item["metadata"]["labels"]
    ]
    assert [24, 24] == [round((each - began) / 3600) for each in until]
