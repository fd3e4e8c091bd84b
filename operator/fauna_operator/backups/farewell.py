"""Who lets go of the backups when operator and backups end together, with their namespace?

A namespace that is deleted stops its pods first, ours among them; a resource that waits for our
word would then hold the namespace for ever. So the last thing that we do there is to say it. No
Job can be made in such a namespace: the data stay in the store.
"""

import logging

from fauna_operator.backups.model import FINALIZER, KIND
from fauna_operator.errors import OperatorError
from fauna_operator.kube import Kubernetes, Object

log = logging.getLogger(__name__)


async def let_go_where_all_ends(kube: Kubernetes, namespaces: tuple[str, ...]) -> None:
    """Take our finalizer off all backups of namespaces that are being deleted ("" is all)."""
    try:
        for namespace in namespaces:
            held = [item for item in await kube.find(KIND, namespace) if _held(item)]
            for name in {item["metadata"]["namespace"] for item in held}:
                found = await kube.get("Namespace", "", name)
                if found is not None and "deletionTimestamp" in found["metadata"]:
                    for item in held:
                        if item["metadata"]["namespace"] == name:
                            await _let_go(kube, item)
    except OperatorError as error:
        log.warning("cannot let go of backups: %s", error)


async def _let_go(kube: Kubernetes, item: Object) -> None:
    metadata = item["metadata"]
    log.warning("%s/%s: its namespace ends; its data stay", metadata["namespace"], metadata["name"])
    await kube.patch(
        {
            "apiVersion": item["apiVersion"],
            "kind": KIND,
            "metadata": {
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
                "finalizers": [each for each in metadata["finalizers"] if each != FINALIZER],
            },
        },
        apply=False,
    )


def _held(item: Object) -> bool:
    return FINALIZER in item["metadata"].get("finalizers", ())
