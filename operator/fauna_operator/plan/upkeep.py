"""Is everything there that a member needs? None of this needs a majority, or a leader.

Pods that are missing come back on their volumes, all at once. A claim is made only for a member
that cannot have had data: a voter's claim that is gone is a lost volume, not a missing object.
"""

from fauna_operator.model import (
    Action,
    Annotate,
    Apply,
    Claim,
    Create,
    Delete,
    IssueCertificate,
    MakeAuthority,
    MakeRootSecret,
    Pod,
)
from fauna_operator.model.desired import seconds
from fauna_operator.plan.view import NOTHING, Outcome, View
from fauna_operator.render import budget, claim, holds, pod, services, template_hash
from fauna_operator.render.names import DELETE_AFTER, NONCE, QUARANTINED, ROLE

RENEW_BEFORE_S = 30 * 86_400.0  # a third of a leaf's 90 days
CANNOT_START = frozenset(
    {
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "RunContainerError",
    }
)


def keep_objects(view: View) -> Outcome:
    """Make Secrets, certificates, Services and the budget what they should be."""
    desired, lists = view.desired, view.observed.lists
    actions: list[Action] = []
    notes = NOTHING
    if lists.authority is None and not lists.certificates:
        actions.append(MakeAuthority(f"{desired.name}-ca"))
    elif lists.authority is None:
        notes = Outcome.note(
            "AuthorityLost",
            f"Secret {desired.name}-ca is gone: members go on, but nobody can join and the "
            "operator cannot ask them; restore the Secret",
        )
    if not lists.root_secret:
        if desired.spec.auth.root_secret.name:
            notes = Outcome.note(
                "RootSecretMissing",
                f"spec.auth.rootSecret names Secret {desired.root_secret}, key "
                f"{desired.spec.auth.root_secret.key}, which does not exist",
            )
        else:
            key = desired.spec.auth.root_secret.key
            actions.append(MakeRootSecret(desired.root_secret, key))
    if lists.authority is not None:
        actions.extend(_certificates(view, lists.authority))
    for manifest in (*services(desired), budget(desired, _voters(view))):
        live = lists.objects.get(f"{manifest['kind']}/{manifest['metadata']['name']}")
        if not holds(live, manifest):
            actions.append(Apply(manifest))
    return Outcome(tuple(actions), notes.blocked)


def _voters(view: View) -> int:
    """Return how many vote; without a leader as many as the last one said, never fewer."""
    configuration = view.observed.configuration
    if configuration is not None:
        return len(configuration.voters)
    return int(view.observed.status.get("voters", view.desired.spec.voters))


def _certificates(view: View, authority: str) -> list[Action]:
    desired, found = view.desired, []
    for serial in view.serials:
        leaf = view.observed.lists.certificates.get(serial)
        if (
            leaf is None
            or (leaf.authority, leaf.cluster_id) != (authority, view.latch.cluster_id)
            or leaf.host != desired.host(serial)
            or leaf.not_after - view.now < RENEW_BEFORE_S
        ):
            found.append(serial)
    return [
        IssueCertificate(
            f"{desired.name}-member-tls-{serial}",
            serial,
            desired.host(serial),
            view.latch.cluster_id,
        )
        for serial in found
    ]


def keep_claims(view: View) -> Outcome:
    """Create the volumes of members that cannot have had one with data."""
    configuration = view.observed.configuration
    if view.latch.bootstrapped and configuration is None:
        return NOTHING
    held = set[int]()
    if configuration is not None:
        held = {peer.id for peer in (*configuration.voters, *configuration.voters_outgoing)}
        held |= {p.id for p in configuration.learners if _had_data(view, p.id)}
    replaces = view.lost_voters[0][0].id if configuration and view.lost_voters else 0
    missing = [
        serial
        for serial in view.serials
        if view.observed.claim(serial) is None and serial not in held
    ]
    return Outcome(
        tuple(
            Create(claim(view.desired, view.latch, serial, replaces=replaces)) for serial in missing
        )
    )


def _had_data(view: View, serial: int) -> bool:
    """Tell whether a learner acknowledged something to the leader that it has now."""
    progress = view.observed.progress(serial)
    return progress is not None and progress.match > 0


def keep_pods(view: View) -> Outcome:
    """Recreate every missing pod on its volume, at once: this needs no majority."""
    found = []
    for serial in view.serials:
        volume = view.observed.claim(serial)
        usable = volume is not None and not volume.deleting and not volume.quarantined
        if usable and view.observed.pod(serial) is None:
            found.append(Create(pod(view.rendered, view.latch, serial)))
    return Outcome(tuple(found))


def clear_broken_pods(view: View) -> Outcome:
    """Delete pods that ended, that cannot start and would be rendered differently by now.

    A pod that is stuck in its end goes by force only when nothing of it can run any more: its
    node is not there, or a person marked it as out of service.
    """
    wanted = template_hash(view.rendered)
    found = []
    for seen in view.observed.lists.pods:
        if seen.deleting:
            if view.node_is_gone(seen):
                found.append(_delete_pod(seen, "its node is gone", force=True))
        elif seen.phase in ("Failed", "Succeeded"):
            found.append(_delete_pod(seen, seen.phase))
        elif seen.template_hash != wanted and _cannot_start(seen):
            found.append(_delete_pod(seen, "cannot start, and its template changed"))
        elif seen.template_hash != wanted and _gave_up(view, seen):
            found.append(_delete_pod(seen, "did not become Ready, and its template changed"))
    return Outcome(tuple(found))


def _cannot_start(seen: Pod) -> bool:
    return not seen.ready and (seen.waiting in CANNOT_START or bool(seen.unschedulable))


def _gave_up(view: View, seen: Pod) -> bool:
    """Tell whether a pod runs, is not Ready for too long, and takes no part in the cluster."""
    return not seen.ready and view.overdue(seen) and not view.healthy(seen.serial)


def keep_marks(view: View) -> Outcome:
    """Label pods by their part in the configuration; note the nonce of each directory once."""
    leader, configuration = view.observed.leader, view.configuration
    voters = {peer.id for peer in configuration.voters}
    found: list[Action] = []
    for seen in view.observed.lists.pods:
        role = "voter" if seen.serial in voters else "learner"
        if leader is not None and seen.serial == leader.member_id:
            role = "leader"
        if seen.role != role and not seen.deleting:
            found.append(_mark(seen, labels={ROLE: role}, why=role))
    recorded = {peer.id: peer.nonce for peer in configuration.voters}
    for peer in configuration.learners:
        progress = view.observed.progress(peer.id)
        if progress is not None and progress.match:
            recorded[peer.id] = progress.nonce
    for volume in view.observed.lists.claims:
        nonce = recorded.get(volume.serial)
        if nonce and not volume.nonce and not volume.deleting:
            found.append(_mark(volume, annotations={NONCE: nonce}, why="nonce"))
    return Outcome(tuple(found))


def retire_members(view: View) -> Outcome:
    """Stop the pods of members that left, then put their volumes aside, then delete them.

    That they left is read from the committed configuration of this very pass; a change that is
    pending leaves everything alone. A pod that is about to end is waited for, unless its node is
    dead: nobody knows when that one ends, and a member that left is missed by nobody.
    """
    configuration, lists = view.configuration, view.observed.lists
    if configuration.pending:
        return NOTHING
    kept = {*view.serials, *(peer.id for peer in configuration.members)}
    why = f"not in configuration {configuration.id}"
    gone = [p for p in lists.pods if p.serial not in kept and not p.deleting]
    if gone:
        return Outcome(tuple(_delete_pod(seen, why) for seen in gone))
    running = {seen.serial for seen in lists.pods}
    found: list[Action] = []
    for volume in lists.claims:
        if volume.serial in kept or volume.serial in running or volume.deleting:
            continue
        if volume.cluster_uid != view.desired.uid:
            continue
        if not volume.quarantined:
            kept_s = seconds(view.desired.spec.storage.volume_policy.quarantine_for)
            until = {DELETE_AFTER: str(int(view.now + kept_s))}
            marks: dict[str, str | None] = {QUARANTINED: "true"}
            found.append(_mark(volume, annotations=until, labels=marks, why="quarantined"))
        elif volume.delete_after and view.now >= volume.delete_after:
            found.append(_delete_claim(volume))
    ending = [p.name for p in lists.pods if p.serial not in kept and view.node_is_ready(p)]
    if ending and not found:
        return Outcome.note("Retiring", f"{', '.join(ending)} left and is about to end")
    return Outcome(tuple(found))


def _mark(
    seen: Pod | Claim,
    *,
    why: str,
    annotations: dict[str, str | None] | dict[str, str] | None = None,
    labels: dict[str, str | None] | dict[str, str] | None = None,
) -> Annotate:
    return Annotate(
        "Pod" if isinstance(seen, Pod) else "PersistentVolumeClaim",
        seen.name,
        seen.uid,
        seen.resource_version,
        annotations={**(annotations or {})},
        labels={**(labels or {})},
        why=why,
    )


def _delete_pod(seen: Pod, why: str, *, force: bool = False) -> Delete:
    return Delete("Pod", seen.name, seen.uid, seen.resource_version, why, force=force)


def _delete_claim(seen: Claim) -> Delete:
    why = "its quarantine is over"
    return Delete("PersistentVolumeClaim", seen.name, seen.uid, seen.resource_version, why)
