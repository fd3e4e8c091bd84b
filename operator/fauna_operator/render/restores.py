"""The Job that fills one fresh volume from a backup, and that volume.

The Job refuses a directory that is something already, and its rename of IDENTITY is the commit
point; so it may be tried again whatever happened to it. It runs where a member could run, has no
token for the Kubernetes API, and is no member: Services and budgets do not select it.
"""

from typing import Any

import msgspec

from fauna_operator.model import Desired, Latch
from fauna_operator.model.desired import seconds
from fauna_operator.model.restores import External, Request
from fauna_operator.render import names
from fauna_operator.render.identity import claim
from fauna_operator.render.pods import DATA, USER
from fauna_operator.render.stores import store

Manifest = dict[str, Any]

TRIES_AGAIN = 3
# exit codes that no second try can change: a wrong call, and bytes that are not what was written
HOPELESS = (64, 78)


class Filling(msgspec.Struct, frozen=True):
    """Which volume is filled, with what, and as whose."""

    name: str  # of the Job
    claim_uid: str
    serial: int
    cluster_id: str
    incarnation: int
    source: External
    target_index: int | None
    target_time: str
    floor_ts: int  # µs
    timeout: str
    owner: Request | None  # None: the FaunaCluster itself


def restored_claim(desired: Desired, latch: Latch, serial: int, *, restore: str) -> Manifest:
    """Return a claim that belongs to a restore until its incarnation has begun."""
    manifest = claim(desired, latch, serial)
    manifest["metadata"]["annotations"][names.RESTORE] = restore
    return manifest


def restore_job(desired: Desired, filling: Filling) -> Manifest:
    """Return the Job that fills a volume."""
    arguments = {
        "--data-dir": DATA,
        "--cluster-id": filling.cluster_id,
        "--incarnation": str(filling.incarnation),
        "--member-id": str(filling.serial),
        "--name": desired.host(filling.serial),
    }
    if filling.floor_ts:
        arguments["--floor-ts"] = str(filling.floor_ts)
    volume: Manifest = {
        "name": "data",
        "persistentVolumeClaim": {"claimName": desired.claim(filling.serial)},
    }
    return _job(desired, filling, arguments, volume)


def trial_job(desired: Desired, filling: Filling) -> Manifest:
    """Return the Job that only says what a restore would do."""
    arguments = {
        "--data-dir": DATA,
        "--cluster-id": filling.cluster_id,
        "--incarnation": str(filling.incarnation),
        "--member-id": "1",
        "--name": desired.host(1),
        "--dry-run": "",
    }
    volume: Manifest = {"name": "data", "emptyDir": {"sizeLimit": "64Mi"}}
    return _job(desired, filling, arguments, volume)


def _job(
    desired: Desired, filling: Filling, arguments: dict[str, str], volume: Manifest
) -> Manifest:
    if filling.target_index is not None:
        arguments["--target-index"] = str(filling.target_index)
    if filling.target_time:
        arguments["--target-time"] = filling.target_time
    owner = names.owner(desired, controller=True)
    if filling.owner is not None:
        owner = {
            "apiVersion": names.API_VERSION,
            "kind": "FaunaRestore",
            "name": filling.owner.name,
            "uid": filling.owner.uid,
            "controller": True,
        }
    labels = names.labels(desired, component="restore")
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": filling.name,
            "namespace": desired.namespace,
            "labels": labels,
            "annotations": {names.CLAIM_UID: filling.claim_uid},
            "ownerReferences": [owner],
        },
        "spec": {
            "backoffLimit": TRIES_AGAIN,
            "activeDeadlineSeconds": int(seconds(filling.timeout)),
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {
                            "containerName": "restore",
                            "operator": "In",
                            "values": list(HOPELESS),
                        },
                    }
                ]
            },
            "template": {
                "metadata": {"labels": labels},
                "spec": _pod(desired, filling, arguments, volume),
            },
        },
    }


def _pod(
    desired: Desired, filling: Filling, arguments: dict[str, str], volume: Manifest
) -> Manifest:
    image, scheduling, source = desired.spec.image, desired.spec.scheduling, filling.source
    reached = store(source.storage.plain, writes=False)
    words = [f"{flag}={value}" if value else flag for flag, value in arguments.items()]
    spec: Manifest = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "restore",
                "image": image.reference,
                "imagePullPolicy": image.pull_policy,
                "args": [
                    "restore",
                    *reached.arguments,
                    f"--from-cluster-id={source.cluster_id}",
                    f"--backup-id={source.backup_id}",
                    *words,
                ],
                "resources": {
                    "requests": {"ephemeral-storage": "64Mi", **desired.spec.resources.requests},
                    "limits": dict(desired.spec.resources.limits),
                },
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": [
                    {"name": "data", "mountPath": DATA},
                    {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 a mount of the pod
                    *reached.mounts,
                ],
            }
        ],
        "volumes": [
            volume,
            {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
            *reached.volumes,
        ],
    }
    if image.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in image.pull_secrets]
    if scheduling.node_selector:
        spec["nodeSelector"] = scheduling.node_selector
    if scheduling.tolerations:
        spec["tolerations"] = list(scheduling.tolerations)
    return spec
