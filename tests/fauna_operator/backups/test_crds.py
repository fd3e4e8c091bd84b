"""The CRDs of backups and the model of them say the same."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from fauna_operator.backups.model import BackupSpec, Record
from fauna_operator.backups.schedule import Memory, ScheduleSpec

ROOT = Path(__file__).parent.parent.parent.parent
MINIMAL = {"clusterRef": {"name": "orders"}}
MODELS: dict[str, tuple[Any, dict[str, Any]]] = {
    "faunabackups": (BackupSpec, MINIMAL),
    "faunascheduledbackups": (
        ScheduleSpec,
        {"schedule": "@daily", "template": {"spec": MINIMAL}},
    ),
}


def schema(plural: str) -> dict[str, Any]:
    crd = yaml.safe_load((ROOT / f"crds/{plural}.yaml").read_text())
    found: dict[str, Any] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    return found


def defaulted(of: dict[str, Any], value: Any) -> Any:
    """Fill in defaults as the API server does: outside in."""
    if of.get("type") != "object" or "properties" not in of:
        return value
    filled = dict(value)
    for key, inner in of["properties"].items():
        if key not in filled and "default" in inner:
            filled[key] = inner["default"]
        if key in filled:
            filled[key] = defaulted(inner, filled[key])
    return filled


@pytest.mark.parametrize("plural", MODELS)
def test_defaults_are_the_same_in_both(plural: str) -> None:
    """A spec with the CRD's defaults is the spec with the model's."""
    model, minimal = MODELS[plural]
    spec = schema(plural)["spec"]

    assert msgspec.convert(minimal, model) == msgspec.convert(defaulted(spec, minimal), model)


@pytest.mark.parametrize("storage", [{"s3": {"bucket": "abc"}}, {"pvc": {"claimName": "nas"}}])
def test_stores_have_the_same_defaults_in_both(storage: dict[str, Any]) -> None:
    """Also inside of a store."""
    minimal = {**MINIMAL, "storage": storage}
    spec = schema("faunabackups")["spec"]

    assert msgspec.convert(minimal, BackupSpec) == msgspec.convert(
        defaulted(spec, minimal), BackupSpec
    )


@pytest.mark.parametrize("plural", MODELS)
def test_every_field_is_read(plural: str) -> None:
    """Nothing stands in the API that the operator does not read, and the other way round."""
    model, _ = MODELS[plural]
    written = set(schema(plural)["spec"]["properties"])

    assert {field.encode_name for field in msgspec.structs.fields(model)} == written


@pytest.mark.parametrize(
    ("plural", "model"), [("faunabackups", Record), ("faunascheduledbackups", Memory)]
)
def test_every_field_that_is_remembered_is_in_the_crd(plural: str, model: Any) -> None:
    """What is latched is not pruned away."""
    properties = schema(plural)["status"]["properties"]

    assert set() == {f.encode_name for f in msgspec.structs.fields(model)} - set(properties)


def test_the_example_is_read() -> None:
    """The example's backup and schedule are what the model accepts."""
    one, nightly = yaml.safe_load_all((ROOT / "examples/backup.yaml").read_text())

    assert "Restore" == msgspec.convert(one["spec"], BackupSpec).verify
    assert 14 == msgspec.convert(nightly["spec"], ScheduleSpec).retention.keep_last
