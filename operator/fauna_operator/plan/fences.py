"""Who can no longer do anything, what is lost, and how is that told?

Fenced is: the pod was observed gone, or its Node is gone or tainted out-of-service. A pod that is
being deleted runs until the kubelet says otherwise, and one that does not answer runs as well.
"""

from typing import Any

import msgspec

from fauna_operator.model import Action, Annotate, Claim, Delete, Pod, Report
from fauna_operator.model.dates import iso
from fauna_operator.model.restores import ENDED, FAILED, Loss, Request, RestoreStatus
from fauna_operator.plan.view import NOTHING, Outcome, View
from fauna_operator.render.names import QUARANTINED

FLOOR_AHEAD_S = 60.0  # a client may push the counter so far beyond a ceiling (SAFETY 10)
US = 1_000_000


def fence(view: View, request: Request, *, but: int = 0) -> Outcome:
    """Stop every member but one, and wait until none of them can run; then `NOTHING`."""
    others = [pod for pod in view.observed.lists.pods if pod.serial != but]
    found = tuple(stop_pod(pod, f"FaunaRestore {request.name}") for pod in others if running(pod))
    if found:
        return Outcome(found)
    left = [pod.name for pod in others if not view.node_is_gone(pod)]
    if left:
        return waits(
            view,
            request,
            f"{', '.join(left)} may still run: wait, or mark a dead node with the taint "
            "node.kubernetes.io/out-of-service",
        )
    return NOTHING


def running(pod: Pod) -> bool:
    """Tell whether nobody asked a pod to end yet."""
    return not pod.deleting


def stop_pod(pod: Pod, why: str) -> Action:
    """Return the order to end a pod."""
    return Delete("Pod", pod.name, pod.uid, pod.resource_version, why)


def put_aside(claim: Claim, why: str) -> Action:
    """Return the mark under which a volume is kept and used by nobody; it has no end."""
    marks: dict[str, str | None] = {QUARANTINED: "true"}
    kind = "PersistentVolumeClaim"
    return Annotate(kind, claim.name, claim.uid, claim.resource_version, labels=marks, why=why)


def loss_of(view: View, index: int, *, but: int = 0) -> Loss | None:
    """Return what other members were once seen to have beyond `index`; None: nobody was seen."""
    seen = [entry for serial, entry in view.observed.seen.items() if serial != but]
    if not seen:
        return None
    most = max(seen, key=lambda entry: entry.index)
    return Loss(max(0, most.index - index), iso(most.at))


def floor_of(view: View) -> int:
    """Return a time in µs that no answer of the present incarnation can have reached."""
    seen = view.observed.seen.values()
    ahead_s = (max(0.0, view.now - entry.at) + FLOOR_AHEAD_S for entry in seen)
    known = (entry.ts_ceiling for entry in seen)
    return max(
        (top + int(ahead * US) for top, ahead in zip(known, ahead_s, strict=True) if top),
        default=0,
    )


def waits(view: View, request: Request, why: str) -> Outcome:
    """Say once what a restore waits for; nothing else happens to the cluster meanwhile."""
    if request.status.message != why:
        return report(view, request, message=why)
    return Outcome.stop("Recovering", f"FaunaRestore {request.name}: {why}")


def refuse(view: View, request: Request, why: str) -> Outcome:
    """End a restore that has changed nothing; the cluster goes on as it was."""
    return report(view, request, phase=FAILED, message=why)


def report(view: View, request: Request, **changes: Any) -> Outcome:
    """Write the status of a FaunaRestore, if that changes it."""
    fresh = told(request, view.now, **changes)
    return Outcome((Report(request, fresh),)) if fresh != request.status else NOTHING


def told(request: Request, now: float, **changes: Any) -> RestoreStatus:
    """Return the status with `changes`, its dates, and its condition."""
    before = request.status
    fresh = msgspec.structs.replace(before, **changes)
    if not fresh.started_at:
        fresh = msgspec.structs.replace(fresh, started_at=iso(now))
    if fresh.phase in ENDED and not fresh.completed_at:
        fresh = msgspec.structs.replace(fresh, completed_at=iso(now))
    truth = {"Completed": "True", "Failed": "False"}.get(fresh.phase, "Unknown")
    old = next(iter(before.conditions), {})
    since = old.get("lastTransitionTime") if old.get("status") == truth else None
    condition = {
        "type": "Succeeded",
        "status": truth,
        "reason": fresh.phase,
        "message": fresh.message[:1000],
        "lastTransitionTime": since or iso(now),
    }
    return msgspec.structs.replace(fresh, conditions=(condition,))
