"""What does a resource say of itself in one word each? Conditions, with the date of their truth."""

from collections.abc import Iterable, Mapping
from typing import Any

from fauna_operator.model.dates import iso

Verdict = tuple[str, str, str]  # "True" | "False" | "Unknown", reason, message


def conditions(
    verdicts: Mapping[str, Verdict],
    before: Iterable[Mapping[str, Any]],
    generation: int,
    now: float,
) -> list[dict[str, Any]]:
    """Return conditions; one is dated anew only when its truth changed."""
    known = {old.get("type"): old for old in before}
    found = []
    for kind, (truth, reason, message) in verdicts.items():
        old = known.get(kind, {})
        since = old.get("lastTransitionTime") if old.get("status") == truth else None
        found.append(
            {
                "type": kind,
                "status": truth,
                "reason": reason,
                "message": message[:1000],
                "observedGeneration": generation,
                "lastTransitionTime": since or iso(now),
            }
        )
    return found
