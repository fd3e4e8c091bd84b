"""A member's pod, and the hash that says whether a running one is still as it should be.

The hash covers the rendered member fields only, with the member's own name taken out, and is
fixed by a golden test: a new release of the operator restarts nobody by accident.
Pods fit the *restricted* Pod Security Standard and hold no token for the Kubernetes API.
"""

import hashlib
from typing import Any

import msgspec

from fauna_operator.model import Desired, Latch
from fauna_operator.render import names

Manifest = dict[str, Any]

USER = 65532  # the image's; also the group that owns the volume
DATA = "/var/lib/faunadb"
TLS = "/etc/faunadb/tls"
ROOT = "/etc/faunadb/root"
GRACE_S = 30  # SIGTERM hands leadership over, drains, syncs
NOBODY = 0  # a serial that no member ever has: stands for "any" in the template


def pod(desired: Desired, latch: Latch, serial: int) -> Manifest:
    """Return the pod of member `serial`."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": desired.member(serial),
            "namespace": desired.namespace,
            "labels": names.labels(desired, component="member", serial=str(serial)),
            "annotations": {names.TEMPLATE_HASH: template_hash(desired)},
            "ownerReferences": [names.owner(desired, controller=True)],
        },
        "spec": _with_flags(
            _spec(desired, serial, latch.cluster_id, latch.incarnation), latch, serial
        ),
    }


def _with_flags(spec: Manifest, latch: Latch, serial: int) -> Manifest:
    """Tell the survivor of a lost majority, and nobody else, that it begins the incarnation."""
    origin = latch.beginning
    if origin is not None and origin.recovers and origin.member == serial:
        spec["containers"][0]["args"] += [
            "--recover-single",
            f"--from-incarnation={origin.from_incarnation}",
            f"--to-incarnation={latch.incarnation}",
            f"--floor-ts={origin.floor_ts}",
        ]
    return spec


def template_hash(desired: Desired) -> str:
    """Return 12 hex digits that change exactly when a member would be rendered differently."""
    spec = _spec(desired, NOBODY, "", 0)
    return hashlib.sha256(msgspec.json.encode(spec, order="deterministic")).hexdigest()[:12]


def _spec(desired: Desired, serial: int, cluster_id: str, incarnation: int) -> Manifest:
    scheduling = desired.spec.scheduling
    spec: Manifest = {
        "hostname": desired.member(serial),
        "subdomain": f"{desired.name}-members",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": GRACE_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "affinity": _affinity(desired),
        "containers": [_container(desired, serial, cluster_id, incarnation)],
        "volumes": _volumes(desired, serial),
    }
    if desired.spec.image.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in desired.spec.image.pull_secrets]
    if scheduling.node_selector:
        spec["nodeSelector"] = scheduling.node_selector
    if scheduling.tolerations:
        spec["tolerations"] = list(scheduling.tolerations)
    if scheduling.priority_class_name:
        spec["priorityClassName"] = scheduling.priority_class_name
    if scheduling.zone_spread != "None":
        spec["topologySpreadConstraints"] = [_spread(desired)]
    return spec


def _container(desired: Desired, serial: int, cluster_id: str, incarnation: int) -> Manifest:
    headless = f"{desired.name}-members.{desired.namespace}.svc"
    arguments = {
        "--data-dir": DATA,
        "--cluster-id": cluster_id,
        "--incarnation": str(incarnation),
        "--member-id": str(serial),
        "--name": desired.host(serial),
        "--seeds": headless,
        "--tls-dir": TLS,
        "--root-secret-file": f"{ROOT}/secret",
        "--api-listen": f"0.0.0.0:{names.CLIENT_PORT}",
        "--admin-listen": f"0.0.0.0:{names.ADMIN_PORT}",
        "--peer-listen": f"0.0.0.0:{names.PEER_PORT}",
    }
    resources = desired.spec.resources
    return {
        "name": "faunadb",
        "image": desired.spec.image.reference,
        "imagePullPolicy": desired.spec.image.pull_policy,
        "args": ["serve", *(f"{flag}={value}" for flag, value in arguments.items())],
        "env": [
            {"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        ],
        "ports": [
            {"name": "client", "containerPort": names.CLIENT_PORT},
            {"name": "admin", "containerPort": names.ADMIN_PORT},
            {"name": "peer", "containerPort": names.PEER_PORT},
        ],
        # without a request for local disk the kubelet evicts us first when a node runs short
        "resources": {
            "requests": {"ephemeral-storage": "64Mi", **resources.requests},
            "limits": dict(resources.limits),
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "startupProbe": _probe("/livez", every_s=1, failures=120),
        "livenessProbe": _probe("/livez", every_s=5, failures=3),
        "readinessProbe": _probe("/readyz", every_s=1, failures=2),
        "volumeMounts": [
            {"name": "data", "mountPath": DATA},
            {"name": "tls", "mountPath": TLS, "readOnly": True},
            {"name": "root", "mountPath": ROOT, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 a mount of the pod, not of ours
        ],
    }


def _volumes(desired: Desired, serial: int) -> list[Manifest]:
    return [
        {"name": "data", "persistentVolumeClaim": {"claimName": desired.claim(serial)}},
        {
            "name": "tls",
            "secret": {"secretName": f"{desired.name}-member-tls-{serial}", "defaultMode": 0o440},
        },
        {
            "name": "root",
            "secret": {
                "secretName": desired.root_secret,
                "items": [{"key": desired.spec.auth.root_secret.key, "path": "secret"}],
                "defaultMode": 0o440,
            },
        },
        {"name": "tmp", "emptyDir": {"sizeLimit": "32Mi"}},
    ]


def _affinity(desired: Desired) -> Manifest:
    term = {
        "labelSelector": {"matchLabels": {names.CLUSTER: desired.name, names.COMPONENT: "member"}},
        "topologyKey": "kubernetes.io/hostname",
    }
    if desired.spec.scheduling.node_anti_affinity == "Required":
        return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    preferred = [{"weight": 100, "podAffinityTerm": term}]
    return {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}


def _spread(desired: Desired) -> Manifest:
    scheduling = desired.spec.scheduling
    required = scheduling.zone_spread == "Required"
    return {
        "maxSkew": 1,
        "topologyKey": scheduling.zone_key,
        "whenUnsatisfiable": "DoNotSchedule" if required else "ScheduleAnyway",
        "labelSelector": {"matchLabels": {names.CLUSTER: desired.name, names.COMPONENT: "member"}},
    }


def _probe(path: str, *, every_s: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": names.ADMIN_PORT, "scheme": "HTTPS"},
        "periodSeconds": every_s,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
