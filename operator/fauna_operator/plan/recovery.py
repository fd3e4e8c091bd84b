"""What does an accepted restore do to a cluster that exists, or that begins with data?

    Accepted → Fencing → (Restoring: a Job fills a fresh volume) → latch → Starting → Regrowing

The latch is the commit point: the incarnation rises together with the `Origin` that names the
one member which begins it. Before it everything can be called off, and the cluster goes on as it
was; after it the FaunaRestore is not needed any more. Nothing here ever deletes a volume.
"""

import msgspec

from fauna_operator.model import Action, Annotate, Create, Delete, Job, WriteLatch
from fauna_operator.model.dates import iso
from fauna_operator.model.latch import Origin
from fauna_operator.model.restores import (
    ACCEPTED,
    COMPLETED,
    FAILED,
    FENCING,
    HANDED_OVER,
    REGROWING,
    RESTORING,
    STARTING,
    External,
    Request,
)
from fauna_operator.plan.fences import (
    fence,
    floor_of,
    loss_of,
    put_aside,
    refuse,
    report,
    running,
    stop_pod,
    waits,
)
from fauna_operator.plan.survivors import survive
from fauna_operator.plan.view import NOTHING, Outcome, View
from fauna_operator.render.names import RESTORE
from fauna_operator.render.restores import Filling, restore_job, restored_claim


def recover(view: View) -> Outcome:
    """Carry on what is latched, else what was accepted. Nothing after it runs meanwhile."""
    request, origin = _request(view), view.latch.origin
    if view.latch.beginning is not None:
        return _begin(view, view.latch.beginning, request)
    strays = _strays(view, request)
    if strays:
        return Outcome(strays)
    if request is None:
        return NOTHING
    if origin is not None and origin.uid == request.uid:
        return _conclude(view, request, _next_of(view, request))
    return _approach(view, request)


def _request(view: View) -> Request | None:
    """Return the restore whose turn it is: the one that began, else the oldest."""
    return min(_handed_over(view), key=_turn, default=None)


def _next_of(view: View, request: Request) -> Request | None:
    """Return the restore whose turn it is when `request` has ended."""
    others = [other for other in _handed_over(view) if other.uid != request.uid]
    return min(others, key=_turn, default=None)


def _handed_over(view: View) -> list[Request]:
    return [request for request in view.observed.requests if request.status.phase in HANDED_OVER]


def _turn(request: Request) -> tuple[bool, str, str]:
    return request.status.phase == ACCEPTED, request.created, request.name


def _approach(view: View, request: Request) -> Outcome:
    """Come closer to the latch by one step."""
    hindrance = _hindrance(view, request)
    if hindrance:
        return refuse(view, request, hindrance)
    if not request.recovers:
        return _restore_in_place(view, request)
    outcome = survive(view, request)
    return outcome if outcome != NOTHING else Outcome((_commit(view, request),))


def _hindrance(view: View, request: Request) -> str:
    """Return why a restore must not touch this cluster; asked again before every step."""
    confirm, known = request.spec.confirm, request.status
    tries = request.spec.dry_run  # it says what would be, and never comes to the latch
    if confirm.cluster_uid != view.desired.uid and not (tries and not confirm.cluster_uid):
        return f"confirm.clusterUID is not that of this FaunaCluster, {view.desired.uid}"
    if not confirm.accept_data_loss and not tries:
        return "confirm.acceptDataLoss is not true"
    if not view.latch.bootstrapped:
        return "the cluster has not been formed yet"
    if known.old_incarnation and known.old_incarnation != view.latch.incarnation:
        return f"the cluster is at incarnation {view.latch.incarnation} by another restore"
    return ""


def _restore_in_place(view: View, request: Request) -> Outcome:
    """Stop everybody, fill one fresh volume, then let the new incarnation begin on it."""
    known, latch = request.status, view.latch
    if known.phase == ACCEPTED:
        return report(
            view,
            request,
            phase=FENCING,
            message="stopping the members",
            old_cluster_id=latch.cluster_id,
            new_cluster_id=latch.cluster_id,
            old_incarnation=latch.incarnation,
            new_incarnation=latch.incarnation + 1,
        )
    fenced = fence(view, request)
    if fenced != NOTHING:
        return fenced
    if known.phase == FENCING:
        return report(
            view,
            request,
            phase=RESTORING,
            message="filling a fresh volume",
            member=latch.next_member_serial,
            survivor=view.desired.member(latch.next_member_serial),
            floor_ts=floor_of(view),
        )
    if latch.next_member_serial <= known.member:
        taken = msgspec.structs.replace(latch, next_member_serial=known.member + 1)
        return Outcome((WriteLatch(taken),))
    return _fill(view, request)


def _fill(view: View, request: Request) -> Outcome:
    """Bring the volume and the Job on the way; latch the new incarnation when it is full."""
    known, source = request.status, request.status.source
    assert source is not None, "a restore is accepted with its source"
    claim = view.observed.claim(known.member)
    if claim is None:
        fresh = restored_claim(view.desired, view.latch, known.member, restore=request.uid)
        return Outcome((Create(fresh),))
    if claim.quarantined or claim.deleting:
        return refuse(view, request, f"volume {claim.name} was taken away")
    filling = Filling(
        name=f"{request.name}-restore",
        claim_uid=claim.uid,
        serial=known.member,
        cluster_id=view.latch.cluster_id,
        incarnation=known.new_incarnation,
        source=source,
        target_index=request.spec.source.target_index,
        target_time=request.spec.source.target_time,
        floor_ts=known.floor_ts,
        timeout=request.spec.timeout,
        owner=request,
    )
    job, action = _job(view, filling)
    if action is not None:
        return Outcome((action,))
    assert job is not None, "else it was created"
    if job.state == "Failed":
        return refuse(view, request, f"Job {job.name} failed: {job.message}")
    if job.state != "Complete":
        return waits(view, request, f"Job {job.name} fills {claim.name}")
    loss = loss_of(view, int(job.result.get("index", 0)))
    said = report(view, request, message="the volume is full", **_result(job), lost_at_least=loss)
    return Outcome((*said.actions, _commit(view, request)))


def _result(job: Job) -> dict[str, object]:
    index = int(job.result.get("index", 0))
    micros = int(job.result.get("txn_ts", 0))
    return {
        "restored_index": index,
        "restored_time": iso(micros / 1e6) if micros else "",
        "state_hash": str(job.result.get("state_hash", "")),
        "lost_from_index": index + 1 if index else 0,
    }


def _job(view: View, filling: Filling) -> tuple[Job | None, Action | None]:
    """Return the Job that fills this very volume, or what brings it about."""
    job = next((job for job in view.observed.jobs if job.name == filling.name), None)
    if job is None:
        return None, Create(restore_job(view.desired, filling))
    if job.claim_uid != filling.claim_uid:
        why = "it filled another volume"
        return job, Delete("Job", job.name, job.uid, job.resource_version, why)
    return job, None


def _commit(view: View, request: Request) -> WriteLatch:
    """Return the latch of the new incarnation. From here on there is no way back."""
    known = request.status
    origin = Origin(
        restore=request.name,
        uid=request.uid,
        member=known.member,
        from_incarnation=known.old_incarnation,
        recovers=request.recovers,
        floor_ts=known.floor_ts,
    )
    latch = msgspec.structs.replace(view.latch, incarnation=known.new_incarnation, origin=origin)
    return WriteLatch(latch)


def _begin(view: View, origin: Origin, request: Request | None) -> Outcome:
    """Leave only the one member: the pods of the others end, their volumes are put aside."""
    lists, latch = view.observed.lists, view.latch
    old = [p for p in lists.pods if p.serial != origin.member or p.incarnation != latch.incarnation]
    why = f"of incarnation {origin.from_incarnation}"
    ending = tuple(stop_pod(pod, why) for pod in old if running(pod))
    if ending:
        return Outcome(ending)
    left = [pod.name for pod in old if not view.node_is_gone(pod)]
    if left:
        return Outcome.stop("Recovering", f"{', '.join(left)}, {why}, are ending")
    aside = tuple(
        put_aside(claim, why)
        for claim in lists.claims
        if claim.serial != origin.member and not claim.quarantined and not claim.deleting
    )
    if aside:
        return Outcome(aside)
    if request is not None and request.uid == origin.uid and request.status.phase != STARTING:
        message = f"member {origin.member} begins incarnation {latch.incarnation}"
        return report(view, request, phase=STARTING, message=message)
    return NOTHING


def settle_beginning(view: View) -> Outcome:
    """Note that the new incarnation has a leader; from then on it is a cluster like any other."""
    origin = view.latch.beginning
    if origin is None:
        return NOTHING
    if view.configuration.id.incarnation != view.latch.incarnation:
        return Outcome.stop("Recovering", "the leader is not of the new incarnation")
    claim = view.observed.claim(origin.member)
    if claim is not None and claim.restore:
        plain: dict[str, str | None] = {RESTORE: None}
        action = Annotate(
            "PersistentVolumeClaim",
            claim.name,
            claim.uid,
            claim.resource_version,
            annotations=plain,
            why="restored",
        )
        return Outcome((action,))
    done = msgspec.structs.replace(origin, done=True)
    return Outcome((WriteLatch(msgspec.structs.replace(view.latch, origin=done)),))


def _conclude(view: View, request: Request, following: Request | None) -> Outcome:
    """Tell how the cluster grows back; this hinders nothing.

    A majority that is lost again before all voters are back is brought back by `following`.
    """
    leader, wanted = view.observed.leader, view.desired.spec.voters
    voters = len(leader.configuration.voters) if leader and leader.configuration else 0
    if leader is not None and leader.open and voters == wanted:
        return report(view, request, phase=COMPLETED, message=f"{voters} members vote")
    message = f"{voters} of {wanted} members vote"
    if following is not None and leader is None and request.status.phase == REGROWING:
        message = f"{message}; FaunaRestore {following.name} goes on from here"
        return report(view, request, phase=FAILED, message=message)
    return report(view, request, phase=REGROWING, message=message)


def _strays(view: View, request: Request | None) -> tuple[Action, ...]:
    """Put aside the volumes of restores that were called off: nobody may join from one."""
    origin = view.latch.origin
    kept = {origin.uid if origin else "", request.uid if request else ""}
    return tuple(
        put_aside(claim, "its restore was called off")
        for claim in view.observed.lists.claims
        if claim.restore and claim.restore not in kept
        if not claim.quarantined and not claim.deleting
    )


def fill_seed(view: View) -> Outcome:
    """Fill the volume of the first member from a backup before any pod exists; no init is sent."""
    wanted, latch = view.desired.spec.bootstrap.restore, view.latch
    claim = view.observed.claim(latch.seed)
    if not wanted.backup_id or latch.bootstrapped or claim is None:
        return NOTHING
    if view.observed.lists.pods:
        found = (stop_pod(pod, "before its data") for pod in view.observed.lists.pods)
        return Outcome(tuple(found))
    filling = Filling(
        name=f"{view.desired.name}-seed-restore",
        claim_uid=claim.uid,
        serial=latch.seed,
        cluster_id=latch.cluster_id,
        incarnation=latch.incarnation,
        source=External(wanted.storage, wanted.cluster_id, wanted.backup_id),
        target_index=wanted.target_index,
        target_time=wanted.target_time,
        floor_ts=0,
        timeout=wanted.timeout,
        owner=None,
    )
    job, action = _job(view, filling)
    if action is not None:
        return Outcome((action,))
    assert job is not None, "else it was created"
    if job.state == "Failed":
        return Outcome.stop("RestoreFailed", f"Job {job.name} failed: {job.message}")
    if job.state != "Complete":
        return Outcome.stop("Restoring", f"Job {job.name} fills {claim.name}")
    return Outcome((WriteLatch(msgspec.structs.replace(latch, bootstrapped=True)),))
