"""Labels, annotations and constants that several manifests share."""

from typing import Any

from fauna_operator.model import Desired

GROUP = "fauna.dev"
API_VERSION = f"{GROUP}/v1alpha1"
KIND = "FaunaCluster"

CLUSTER = f"{GROUP}/cluster"
SERIAL = f"{GROUP}/serial"
ROLE = f"{GROUP}/role"
COMPONENT = f"{GROUP}/component"
QUARANTINED = f"{GROUP}/quarantined"
BACKUP = f"{GROUP}/backup"
SCHEDULE = f"{GROUP}/schedule"
MANAGED_BY = "app.kubernetes.io/managed-by"

CLUSTER_UID = f"{GROUP}/cluster-uid"
LATCH = f"{GROUP}/latch"
NONCE = f"{GROUP}/nonce"
REPLACES = f"{GROUP}/replaces"
RESTORE = f"{GROUP}/restore"  # uid of the FaunaRestore that a volume is filled for
CLAIM_UID = f"{GROUP}/claim-uid"  # of the volume that a Job fills
DELETE_AFTER = f"{GROUP}/delete-after"
TEMPLATE_HASH = f"{GROUP}/template-hash"

CLIENT_PORT = 8443
ADMIN_PORT = 8444
PEER_PORT = 7500


def labels(desired: Desired, **more: str) -> dict[str, str]:
    """Return the labels of everything that belongs to a cluster."""
    named = {f"{GROUP}/{key}": value for key, value in more.items()}
    return {CLUSTER: desired.name, MANAGED_BY: "fauna-operator", **named}


def owner(desired: Desired, *, controller: bool = False) -> dict[str, Any]:
    """Return the reference that lets the garbage collector delete a child with its cluster.

    Never `blockOwnerDeletion`: a foreground deletion must not hang on us.
    """
    reference: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": desired.name,
        "uid": desired.uid,
    }
    return {**reference, "controller": True} if controller else reference
