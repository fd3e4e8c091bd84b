"""The latch as it is stored outside status, and the volume claims that carry it.

Neither the ConfigMap nor the claims have an owner: they outlive the resource on purpose, so that
deleting a FaunaCluster by mistake deletes no data.
"""

from typing import Any

import msgspec

from fauna_operator.model import Desired, Latch
from fauna_operator.render import names

Manifest = dict[str, Any]


def latch_text(latch: Latch) -> str:
    """Return the one line in which a latch is stored.

    >>> latch_of(latch_text(Latch("ab", 1, 1, 4, True))).next_member_serial
    4
    """
    return msgspec.json.encode(latch).decode()


def latch_of(text: str) -> Latch:
    """Undo `latch_text`. Raises `msgspec.DecodeError` for text that is not ours."""
    return msgspec.json.decode(text, type=Latch)


def identity_map(desired: Desired, latch: Latch) -> Manifest:
    """Return the ConfigMap `{cluster}-identity`."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": f"{desired.name}-identity",
            "namespace": desired.namespace,
            "labels": names.labels(desired, component="identity"),
            "annotations": {names.CLUSTER_UID: desired.uid},
        },
        "data": {"latch": latch_text(latch)},
    }


def claim_annotations(desired: Desired, latch: Latch) -> dict[str, str]:
    """Return what every volume claim says about the cluster that it belongs to."""
    return {names.CLUSTER_UID: desired.uid, names.LATCH: latch_text(latch)}


def claim(desired: Desired, latch: Latch, serial: int, *, replaces: int = 0) -> Manifest:
    """Return a member's volume claim."""
    spec: Manifest = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": desired.spec.storage.size}},
    }
    if desired.spec.storage.storage_class_name is not None:
        spec["storageClassName"] = desired.spec.storage.storage_class_name
    annotations = claim_annotations(desired, latch)
    if replaces:
        annotations[names.REPLACES] = str(replaces)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": desired.claim(serial),
            "namespace": desired.namespace,
            "labels": names.labels(desired, component="member", serial=str(serial)),
            "annotations": annotations,
        },
        "spec": spec,
    }
