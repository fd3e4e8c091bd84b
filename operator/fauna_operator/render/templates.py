"""What is remembered of rollouts, as it is stored: the ConfigMap `{cluster}-template`.

It goes with the resource: a new FaunaCluster has no last good template.
Trap: a text that cannot be read counts as nothing remembered, never as a failure.
"""

from typing import Any

import msgspec

from fauna_operator.model import Desired, Spec, Templates
from fauna_operator.render import names

Manifest = dict[str, Any]


def template_map(desired: Desired, known: Templates) -> Manifest:
    """Return the ConfigMap; applying it takes away what it does not say."""
    data = {"good": known.good, "spec": msgspec.json.encode(known.spec).decode()}
    if known.failed:
        data["failed"] = known.failed
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": f"{desired.name}-template",
            "namespace": desired.namespace,
            "labels": names.labels(desired, component="template"),
            "ownerReferences": [names.owner(desired)],
        },
        "data": data,
    }


def templates_of(stored: Manifest | None) -> Templates:
    """Undo `template_map`."""
    data = (stored or {}).get("data") or {}
    try:
        spec = msgspec.json.decode(data.get("spec", ""), type=Spec)
    except msgspec.DecodeError:
        return Templates()
    return Templates(str(data.get("good", "")), spec, str(data.get("failed", "")))
