"""The Jobs of a backup: one makes it, one deletes its data. And the pod that archives the log.

Restricted pods without a token for the Kubernetes API; Secrets are files; no member is selected
by their labels, and no Service selects them. A Job goes with its FaunaBackup. Exit code 64 means
that the call itself is wrong: no retry can help.
"""

import hashlib
from typing import Any, NamedTuple

import msgspec

from fauna_operator.backups.model import KIND, Backup, Record, Source
from fauna_operator.model import Desired
from fauna_operator.model.desired import seconds
from fauna_operator.model.stores import BackupStore
from fauna_operator.render import names
from fauna_operator.render.pods import USER
from fauna_operator.render.stores import store

Manifest = dict[str, Any]

TLS = "/etc/faunadb/tls"
SCRATCH = "/scratch"
EX_USAGE = 64
KEPT_S = 7 * 86_400  # a finished Job whose result nobody could read yet
DISCARD_S_MAX = 900  # of one Job; there may be several
GRACE_S = 10
ARCHIVE_PORT = 8080
PREFER = {"PreferReplica": "follower", "Leader": "leader"}


class Tool(NamedTuple):
    """Which image does the work, and in which store."""

    image: str
    pull_policy: str
    pull_secrets: tuple[str, ...]
    storage: BackupStore

    @classmethod
    def of(cls, record: Record) -> "Tool":
        """Take what was latched; the cluster may be another by now, or gone."""
        assert record.storage is not None, "plan.begin came first"
        return cls(
            record.image, record.image_pull_policy, record.image_pull_secrets, record.storage
        )


def backup_job(backup: Backup, cluster: Source, left_s: float) -> Manifest:
    """Return the Job that makes the backup within `left_s`."""
    spec, record = backup.spec, backup.record
    members = ",".join(f"{host}:{names.ADMIN_PORT}" for host in cluster.hosts)
    words = [
        "backup",
        f"--members={members}",
        f"--tls-dir={TLS}",
        *_where(backup),
        f"--verify={spec.verify.lower()}",
        f"--prefer={PREFER[spec.target]}",
        f"--scratch-dir={SCRATCH}",
    ]
    tls = {"secretName": tls_secret(spec.cluster_ref.name), "defaultMode": 0o440}
    volumes: list[Manifest] = [{"name": "tls", "secret": tls}]
    mounts: list[Manifest] = [{"name": "tls", "mountPath": TLS, "readOnly": True}]
    # the state, and for verify: Restore a second one; on the disk of the node
    volumes.append({"name": "scratch", "emptyDir": {}})
    mounts.append({"name": "scratch", "mountPath": SCRATCH})
    if spec.bandwidth_mib_per_second:
        words.append(f"--bandwidth-mib-s={spec.bandwidth_mib_per_second}")
    pod = _pod(Tool.of(record), "backup", words, volumes, mounts)
    pod["nodeSelector"] = dict(cluster.node_selector)
    pod["tolerations"] = [dict(each) for each in cluster.tolerations]
    assert record.started_at, "plan.begin came first"
    return _job(backup, backup.job, "backup", pod, tries=spec.backoff_limit, deadline_s=left_s)


def discard_job(backup: Backup) -> Manifest:
    """Return the Job that deletes the data; it needs nothing of the cluster."""
    pod = _pod(Tool.of(backup.record), "discard", ["discard", *_where(backup)], [], [])
    deadline_s = min(DISCARD_S_MAX, seconds(backup.spec.timeout))
    return _job(backup, backup.discard_job, "discard", pod, tries=3, deadline_s=deadline_s)


def archive_deployment(desired: Desired, cluster: Source) -> Manifest:
    """Return the one pod that stores committed entries as they come, and its Deployment."""
    assert cluster.storage is not None, "the CRD asks for it"
    members = ",".join(f"{host}:{names.ADMIN_PORT}" for host in cluster.hosts)
    words = [
        "archive",
        f"--members={members}",
        f"--tls-dir={TLS}",
        f"--cluster-id={cluster.cluster_id}",
        f"--listen=0.0.0.0:{ARCHIVE_PORT}",
    ]
    tls = {"secretName": tls_secret(desired.name), "defaultMode": 0o440}
    tool = Tool(
        cluster.image, cluster.image_pull_policy, cluster.image_pull_secrets, cluster.storage
    )
    pod = _pod(
        tool,
        "archive",
        words,
        [{"name": "tls", "secret": tls}],
        [{"name": "tls", "mountPath": TLS, "readOnly": True}],
    )
    pod["restartPolicy"] = "Always"
    pod["nodeSelector"] = dict(cluster.node_selector)
    pod["tolerations"] = [dict(each) for each in cluster.tolerations]
    (container,) = pod["containers"]
    container["ports"] = [{"name": "archive", "containerPort": ARCHIVE_PORT}]
    container["readinessProbe"] = {
        "httpGet": {"path": "/readyz", "port": ARCHIVE_PORT},
        "periodSeconds": 5,
        "timeoutSeconds": 5,
    }
    labels = {**names.labels(desired), names.COMPONENT: "archive"}
    selected = {key: labels[key] for key in (names.CLUSTER, names.COMPONENT)}
    spec = {
        "replicas": 1,
        "strategy": {"type": "Recreate"},  # two would store every entry twice
        "selector": {"matchLabels": selected},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    digest = hashlib.sha256(msgspec.json.encode(spec, order="deterministic")).hexdigest()[:12]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": f"{desired.name}-archive",
            "namespace": desired.namespace,
            "labels": labels,
            "annotations": {names.TEMPLATE_HASH: digest},
            "ownerReferences": [names.owner(desired, controller=True)],
        },
        "spec": spec,
    }


def tls_secret(cluster: str) -> str:
    """Return the name of the Secret with the leaf that Jobs show to members."""
    return f"{cluster}-backup-tls"


def _where(backup: Backup) -> list[str]:
    record = backup.record
    return [f"--cluster-id={record.cluster_id}", f"--backup-id={record.backup_id}"]


def _job(
    backup: Backup, name: str, component: str, pod: Manifest, *, tries: int, deadline_s: float
) -> Manifest:
    labels = {
        names.CLUSTER: backup.spec.cluster_ref.name,
        names.BACKUP: backup.name,
        names.COMPONENT: component,
        names.MANAGED_BY: "fauna-operator",
    }
    wrong_call = {"containerName": component, "operator": "In", "values": [EX_USAGE]}
    disrupted = [{"type": "DisruptionTarget", "status": "True"}]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": backup.namespace,
            "labels": labels,
            "ownerReferences": [
                {
                    "apiVersion": names.API_VERSION,
                    "kind": KIND,
                    "name": backup.name,
                    "uid": backup.uid,
                    "controller": True,
                }
            ],
        },
        "spec": {
            "backoffLimit": tries,
            "activeDeadlineSeconds": max(1, int(deadline_s)),
            "ttlSecondsAfterFinished": KEPT_S,
            "podReplacementPolicy": "Failed",  # never two pods that write one backup
            "podFailurePolicy": {
                "rules": [
                    {"action": "FailJob", "onExitCodes": wrong_call},
                    {"action": "Ignore", "onPodConditions": disrupted},
                ]
            },
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _pod(
    tool: Tool, name: str, words: list[str], volumes: list[Manifest], mounts: list[Manifest]
) -> Manifest:
    reached = store(tool.storage.plain, writes=True)
    spec: Manifest = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_S,
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
                "name": name,
                "image": tool.image,
                "imagePullPolicy": tool.pull_policy,
                "args": [*words, *reached.arguments],
                "resources": {
                    "requests": {"cpu": "100m", "memory": "256Mi", "ephemeral-storage": "64Mi"},
                    "limits": {"memory": "1Gi"},
                },
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": [
                    *mounts,
                    *reached.mounts,
                    {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 a mount of the pod
                ],
            }
        ],
        "volumes": [
            *volumes,
            *reached.volumes,
            {"name": "tmp", "emptyDir": {"sizeLimit": "32Mi"}},
        ],
    }
    if tool.pull_secrets:
        spec["imagePullSecrets"] = [{"name": each} for each in tool.pull_secrets]
    return spec
