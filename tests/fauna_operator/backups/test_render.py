"""The Jobs of a backup: restricted, with files instead of secrets in words, and no member."""

from typing import Any

import msgspec
import pytest

from fauna_operator.backups.model import Backup, Record, Source
from fauna_operator.backups.render import backup_job, discard_job
from fauna_operator.model.stores import BackupStore
from fauna_operator_jobs import CLUSTER_ID, STORAGE, backup

PVC = {"pvc": {"claimName": "nas", "subPath": "orders"}}
SOURCE = Source(
    "orders",
    CLUSTER_ID,
    1,
    hosts=("orders-1.orders-members.default.svc", "orders-3.orders-members.default.svc"),
    node_selector={"disk": "slow"},
)


def begun(storage: dict[str, Any], **spec: Any) -> Backup:
    resource = backup(**spec)
    more = {
        "uid": "12345678-9abc",
        "resourceVersion": "7",
        "creationTimestamp": "2026-11-24T00:00:00Z",
    }
    found = Backup.of({**resource, "metadata": {**resource["metadata"], **more}})
    record = Record(
        backup_id=found.backup_id,
        cluster_id=CLUSTER_ID,
        image="faunadb:1",
        image_pull_policy="IfNotPresent",
        storage=msgspec.convert(storage, BackupStore),
        started_at="2026-11-24T00:00:01Z",
    )
    return msgspec.structs.replace(found, record=record)


def pod(job: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    spec = job["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    return spec, container


def test_the_words_of_a_backup() -> None:
    """Members, ids and store stand in its arguments; credentials are a folder."""
    _, container = pod(backup_job(begun(STORAGE, bandwidthMiBPerSecond=20), SOURCE, 3599.5))

    assert [
        "backup",
        "--members=orders-1.orders-members.default.svc:8444,orders-3.orders-members.default.svc:8444",
        "--tls-dir=/etc/faunadb/tls",
        f"--cluster-id={CLUSTER_ID}",
        "--backup-id=one-12345678",
        "--verify=checksum",
        "--prefer=follower",
        "--scratch-dir=/scratch",
        "--bandwidth-mib-s=20",
        "--store=s3://backups",
        "--credentials-dir=/etc/faunadb/store",
    ] == container["args"]


@pytest.mark.parametrize("storage", [STORAGE, PVC])
@pytest.mark.parametrize("verb", ["backup", "discard"])
def test_the_restricted_standard(storage: dict[str, Any], verb: str) -> None:
    """Every field that the restricted Pod Security Standard asks for is there, and no token."""
    made = begun(storage)
    spec, container = pod(backup_job(made, SOURCE, 60) if verb == "backup" else discard_job(made))

    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(spec)
    assert not spec["automountServiceAccountToken"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert {"type": "RuntimeDefault"} == spec["securityContext"]["seccompProfile"]
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert {"drop": ["ALL"]} == container["securityContext"]["capabilities"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert "env" not in container
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in spec["volumes"]}


def test_a_volume_is_a_folder() -> None:
    """With `pvc` the claim is mounted whole, and the store is a folder in it."""
    spec, container = pod(discard_job(begun(PVC)))

    assert "--store=file:///backups/orders" in container["args"]
    claims = [
        volume["persistentVolumeClaim"]
        for volume in spec["volumes"]
        if "persistentVolumeClaim" in volume
    ]
    assert [{"claimName": "nas"}] == claims


def test_a_job_is_not_a_member_and_goes_with_its_backup() -> None:
    """Nothing selects it; its deadline is what is left; a wrong call is not tried twice."""
    job = backup_job(begun(STORAGE, backoffLimit=2), SOURCE, 3599.5)

    assert "backup" == job["metadata"]["labels"]["fauna.dev/component"]
    assert not {"fauna.dev/role", "fauna.dev/serial"} & set(job["metadata"]["labels"])
    assert ["12345678-9abc"] == [owner["uid"] for owner in job["metadata"]["ownerReferences"]]
    assert (2, 3599) == (job["spec"]["backoffLimit"], job["spec"]["activeDeadlineSeconds"])
    rule = job["spec"]["podFailurePolicy"]["rules"][0]
    assert ("FailJob", [64]) == (rule["action"], rule["onExitCodes"]["values"])
    assert {"disk": "slow"} == job["spec"]["template"]["spec"]["nodeSelector"]
