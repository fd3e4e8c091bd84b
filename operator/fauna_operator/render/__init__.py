"""How does what is wanted look as Kubernetes objects? Pure functions from model to manifest.

A manifest holds only the fields that we own, in the form in which the API server keeps them, so
that `holds(live, manifest)` can tell whether there is anything to do.
"""

from fauna_operator.render.identity import (
    claim,
    claim_annotations,
    identity_map,
    latch_of,
    latch_text,
)
from fauna_operator.render.network import budget, holds, services
from fauna_operator.render.pods import pod, template_hash
from fauna_operator.render.templates import template_map, templates_of

__all__ = [
    "budget",
    "claim",
    "claim_annotations",
    "holds",
    "identity_map",
    "latch_of",
    "latch_text",
    "pod",
    "services",
    "template_hash",
    "template_map",
    "templates_of",
]
