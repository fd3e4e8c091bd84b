"""Who is this cluster? Settled before anything else is touched, and never guessed.

The cluster id is drawn once and stored before it is used. A status that was wiped is rebuilt
from the ConfigMap, the claims and the live members; places that disagree stop everything.
Trap: `bootstrapped` is what keeps a second `init` from forming an empty twin of a cluster.
"""

import msgspec

from fauna_operator.model import Annotate, Answer, Apply, Claim, Create, Latch, WriteLatch
from fauna_operator.model.latch import Disagreement, merge
from fauna_operator.plan.fences import put_aside
from fauna_operator.plan.view import NOTHING, Outcome, View
from fauna_operator.render import claim_annotations, identity_map


def settle_identity(view: View) -> Outcome:
    """Draw, rebuild, or complete the latch in its three places, one place per pass."""
    former = [
        claim
        for claim in view.observed.lists.claims
        if claim.cluster_uid != view.desired.uid and not claim.quarantined
    ]
    if former and view.desired.spec.bootstrap.restore.backup_id:
        return Outcome(tuple(put_aside(claim, "of a former cluster") for claim in former))
    if former:
        return Outcome.stop(
            "VolumesOfFormerCluster",
            f"{', '.join(claim.name for claim in former)} belong to a former FaunaCluster "
            f"{view.desired.name}: delete them, if their data may go, begin with a backup "
            "(spec.bootstrap.restore), which puts them aside, or choose another name",
        )
    latch = _known(view)
    if isinstance(latch, Disagreement):
        return Outcome.stop("IdentityDisagrees", latch.message)
    if latch is None:
        first = max(view.observed.map_serial, _highest_serial(view) + 1)
        after = first + view.desired.spec.replicas
        drawn = Latch(view.observed.fresh_id, 1, first, after, bootstrapped=False)
        return Outcome((WriteLatch(drawn),))
    return _store(view, latch)


def _store(view: View, latch: Latch) -> Outcome:
    """Bring status first, then the ConfigMap, then the claims to what is known."""
    observed = view.observed
    if observed.status_latch != latch:
        return Outcome((WriteLatch(latch),))
    if observed.map_latch != latch:
        manifest = identity_map(view.desired, latch)
        if not observed.map_version:
            return Outcome((Create(manifest),))
        manifest["metadata"]["resourceVersion"] = observed.map_version
        return Outcome((Apply(manifest),))
    annotations: dict[str, str | None] = dict(claim_annotations(view.desired, latch))
    behind = [
        claim
        for claim in observed.lists.claims
        if claim.latch != latch and not claim.quarantined and not _ended(claim, latch)
    ]
    return (
        Outcome(
            tuple(
                Annotate(
                    "PersistentVolumeClaim",
                    claim.name,
                    claim.uid,
                    claim.resource_version,
                    annotations=annotations,
                    why="identity",
                )
                for claim in behind
            )
        )
        if behind
        else NOTHING
    )


def _ended(claim: Claim, latch: Latch) -> bool:
    """Tell whether a volume belongs to an incarnation that has ended; it keeps saying so."""
    begins = latch.origin is not None and latch.origin.member == claim.serial
    return claim.latch is not None and claim.latch.incarnation < latch.incarnation and not begins


def _known(view: View) -> Latch | Disagreement | None:
    """Merge the stored latches and hold them against what live members say of themselves."""
    observed = view.observed
    stored = [
        ("status", observed.status_latch),
        (f"ConfigMap {view.desired.name}-identity", observed.map_latch),
        *(
            (f"claim {claim.name}", claim.latch)
            for claim in observed.lists.claims
            if claim.cluster_uid in ("", view.desired.uid)
        ),
    ]
    latch = merge((where, latch) for where, latch in stored if latch is not None)
    if isinstance(latch, Disagreement):
        return latch
    answers = sorted(observed.answers.items())
    if latch is None and answers:
        latch = _rebuilt(answers)
    if latch is None:
        return None
    for serial, answer in answers:
        if (answer.cluster_id, answer.incarnation) != (latch.cluster_id, latch.incarnation):
            return Disagreement(
                f"member {serial} says cluster {answer.cluster_id}, incarnation "
                f"{answer.incarnation}; the latch says {latch.cluster_id}, {latch.incarnation}"
            )
    return msgspec.structs.replace(
        latch,
        next_member_serial=max(latch.next_member_serial, _highest_serial(view) + 1),
        bootstrapped=latch.bootstrapped or any(a.state != "waiting" for _, a in answers),
    )


def _rebuilt(answers: list[tuple[int, Answer]]) -> Latch:
    """Make a latch of nothing but live members; they had their ids from one that was lost."""
    serials = [serial for serial, _ in answers]
    _, first = answers[0]
    formed = any(answer.state != "waiting" for _, answer in answers)
    return Latch(first.cluster_id, first.incarnation, min(serials), max(serials) + 1, formed)


def _highest_serial(view: View) -> int:
    lists, configuration = view.observed.lists, view.observed.configuration
    seen = [0, *(claim.serial for claim in lists.claims), *(pod.serial for pod in lists.pods)]
    return max(*seen, configuration.highest_member_id if configuration else 0)
