"""The CRD and the model of it say the same."""

import asyncio
from pathlib import Path
from typing import Any, get_args

import msgspec
import yaml

from fauna_operator.model import Desired, Spec
from fauna_operator.reconcile import Cluster
from fauna_operator_world import NAME, fresh, settle

ROOT = Path(__file__).parent.parent.parent
CRD = yaml.safe_load((ROOT / "crds/faunaclusters.yaml").read_text())
SCHEMA = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]


def defaulted(schema: dict[str, Any], value: Any) -> Any:
    """Fill in defaults as the API server does: outside in."""
    if schema.get("type") != "object" or "properties" not in schema:
        return value
    filled = dict(value)
    for key, inner in schema["properties"].items():
        if key not in filled and "default" in inner:
            filled[key] = inner["default"]
        if key in filled:
            filled[key] = defaulted(inner, filled[key])
    return filled


def test_defaults_are_the_same_in_both() -> None:
    """A spec with the CRD's defaults is the spec with the model's."""
    minimal = {"storage": {"size": "1Gi"}}

    assert msgspec.convert(minimal, Spec) == msgspec.convert(
        defaulted(SCHEMA["spec"], minimal), Spec
    )


def test_a_field_of_the_crd_is_a_field_of_the_model() -> None:
    """Nothing stands in the API that the operator does not read, and the other way round."""
    assert fields(Spec) == properties(SCHEMA["spec"])


def fields(of: Any, prefix: str = "") -> set[str]:
    found = set()
    for field in msgspec.structs.fields(of):
        found.add(prefix + field.encode_name)
        for kind in (field.type, *get_args(field.type)):  # a Struct, or one that may be absent
            if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
                found |= fields(kind, f"{prefix}{field.encode_name}.")
    return found


def properties(schema: dict[str, Any], prefix: str = "") -> set[str]:
    found = set()
    for key, inner in schema.get("properties", {}).items():
        found |= {prefix + key, *properties(inner, f"{prefix}{key}.")}
    return found


def test_examples_are_read() -> None:
    """Each example is a FaunaCluster that the model accepts."""
    for path in sorted((ROOT / "examples").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document["kind"] == "FaunaCluster":
                metadata = {"namespace": "default", "uid": "u", **document["metadata"]}
                assert Desired.of({**document, "metadata": metadata}).spec.storage.size


def test_every_field_of_status_is_in_the_crd() -> None:
    """What the operator writes is not pruned away."""
    world = fresh()
    asyncio.run(settle(world, Cluster(world, world, ("default", NAME))))
    written = world.objects["FaunaCluster", NAME]["status"]

    assert set() == set(written) - set(SCHEMA["status"]["properties"])
