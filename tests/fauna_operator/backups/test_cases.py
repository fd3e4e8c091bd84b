"""The plan of one backup as data: `cases.yaml`, each what is there and what the next pass does.

Shorthand of a case: `age_s`, `begun_s` and `deleted_s` are how long ago it was made, begun and
deleted; `run` and `discard` are its Jobs; `result` is what differs in the command's last line.
What is not named is as it should be.
"""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from fauna_operator.backups.model import FINALIZER, Backup, Record, Run, Seen, Source
from fauna_operator.backups.plan import plan
from fauna_operator.model.dates import iso
from fauna_operator.model.stores import BackupStore, S3Store
from fauna_operator_jobs import CLUSTER_ID, backup, result

CASES = [
    pytest.param(case, id=case["name"])
    for case in yaml.safe_load((Path(__file__).parent / "cases.yaml").read_text())
]
NOW = 1_800_000_000.0
UID = "12345678-9abc"
BUCKET = BackupStore(s3=S3Store("backups"))


@pytest.mark.parametrize("case", CASES)
def test_case(case: dict[str, Any]) -> None:
    """The facts of the case lead to exactly its actions, or to what is waited for."""
    decided = plan(wanted(case), seen(case), NOW)

    expected = [text.replace("CLUSTER", CLUSTER_ID) for text in case.get("actions", [])]
    assert expected == [str(action) for action in decided.actions]
    assert case.get("waits") == (decided.blocked.reason if decided.blocked else None)


def wanted(case: dict[str, Any]) -> Backup:
    resource = backup(**case.get("spec", {}))
    metadata = {
        "uid": UID,
        "resourceVersion": "7",
        "creationTimestamp": iso(NOW - case.get("age_s", 60)),
        "finalizers": [FINALIZER] if case.get("held", True) else [],
    }
    if "deleted_s" in case:
        metadata["deletionTimestamp"] = iso(NOW - case["deleted_s"])
    found = Backup.of({**resource, "metadata": {**resource["metadata"], **metadata}})
    if "begun_s" not in case:
        return found
    record = Record(
        backup_id=found.backup_id,
        cluster_id=CLUSTER_ID,
        storage=BUCKET,
        uri=BUCKET.location,
        started_at=iso(NOW - case["begun_s"]),
        completed_at=iso(NOW) if case.get("ended") else "",
    )
    return msgspec.structs.replace(found, record=record)


def seen(case: dict[str, Any]) -> Seen:
    source = Source("orders", CLUSTER_ID, 1, available=True, hosts=("orders-1",), storage=BUCKET)
    source = msgspec.structs.replace(source, **case.get("cluster", {}))
    base = Seen(
        cluster=source,
        run=job("one-backup", case.get("run")),
        discard=job("one-discard", case.get("discard")),
    )
    more = case.get("seen", {})
    return msgspec.structs.replace(
        base,
        **{key: tuple(value) if isinstance(value, list) else value for key, value in more.items()},
    )


def job(name: str, given: dict[str, Any] | None) -> Run | None:
    if given is None:
        return None
    more = dict(given)
    if "result" in given:
        more["result"] = {**result(f"one-{UID[:8]}", "checksum"), **given["result"]}
    return msgspec.convert({"name": name, "uid": "j1", "resource_version": "1", **more}, Run)
