"""What is the next step of a FaunaRestore, up to the point where a cluster's own loop takes over?

    Pending → Trying (dryRun) → Completed
    Pending → [SafetyBackup] → Accepted → …            in place
    Pending → Creating → Completed                      a new cluster, which fills its own seed

Pure. A step is a new status, or an object to make; what a step needs stands in status before it.
"""

import msgspec

from fauna_operator.backups.model import COMPLETED as SAVED
from fauna_operator.backups.model import FAILED as NOT_SAVED
from fauna_operator.backups.model import Backup
from fauna_operator.model import Desired, Job
from fauna_operator.model.dates import iso
from fauna_operator.model.desired import Bootstrap
from fauna_operator.model.restores import (
    ACCEPTED,
    COMPLETED,
    CREATING,
    ENDED,
    FAILED,
    HANDED_OVER,
    PENDING,
    SAVING,
    TRYING,
    External,
    Loss,
    Manifest,
    Request,
    RestoreStatus,
)
from fauna_operator.plan.fences import told
from fauna_operator.render import names
from fauna_operator.render.restores import Filling, trial_job

KINDS = {"storage", "clusterID", "backupID"}


class Target(msgspec.Struct, frozen=True):
    """The FaunaCluster that a restore is about."""

    desired: Desired
    status: Manifest
    spec: Manifest = {}  # as it is stored


class Facts(msgspec.Struct, frozen=True):
    """Everything that one pass knows besides the FaunaRestore itself; None: there is none."""

    target: Target | None = None
    backup: Backup | None = None  # that source.backupName names
    safety: Backup | None = None
    trial: Job | None = None
    others: tuple[str, ...] = ()  # restores that are under way on the same cluster


class Step(msgspec.Struct, frozen=True):
    """What one pass does: at most one status and one object; neither is: wait."""

    status: RestoreStatus | None = None
    create: Manifest | None = None


def decide(request: Request, facts: Facts, now: float) -> Step:
    """Decide the next step; `now` is seconds since 1970."""
    phase = request.status.phase
    if phase in ENDED:
        return Step()
    hindrance = _refusal(request, facts)
    if hindrance:
        return _to(request, now, phase=FAILED, message=hindrance)
    if phase in HANDED_OVER:
        return Step()
    return {PENDING: _begin, TRYING: _try, SAVING: _save, CREATING: _create}[phase](
        request, facts, now
    )


def _refusal(request: Request, facts: Facts) -> str:
    """Return why this can never be done; asked before every step."""
    if request.spec.target.in_place is None:
        return _refusal_of_new(request, facts)
    target, confirm = facts.target, request.spec.confirm
    if target is None:
        begun = request.status.phase != PENDING
        return f"FaunaCluster {request.cluster} was deleted" if begun else ""
    if request.spec.dry_run and not confirm.cluster_uid:
        return ""
    if confirm.cluster_uid != target.desired.uid:
        return f"confirm.clusterUID is not that of FaunaCluster {request.cluster}"
    if not confirm.accept_data_loss and not request.spec.dry_run:
        return "confirm.acceptDataLoss is not true"
    return ""


def _refusal_of_new(request: Request, facts: Facts) -> str:
    place, target = request.spec.target.new_cluster, facts.target
    assert place is not None, "the CRD asks for exactly one"
    if "bootstrap" in place.spec:
        return "target.newCluster.spec.bootstrap is filled in by the restore"
    source = request.status.source
    if target is None or request.spec.dry_run:
        return ""
    mine = source is not None and _read(target.spec.get("bootstrap")) == _read(
        _bootstrap(request, source)
    )
    return "" if mine else f"FaunaCluster {request.cluster} exists already"


def _read(bootstrap: Manifest | None) -> Bootstrap:
    """Read spec.bootstrap: the API server has filled in its defaults, and we have not."""
    return msgspec.convert(bootstrap or {}, Bootstrap)


def _begin(request: Request, facts: Facts, now: float) -> Step:
    """Find what is named; then try, save, create, or hand over."""
    source = _source(request, facts)
    if isinstance(source, Step):
        return source
    if isinstance(source, str):
        return _wait(request, now, source)
    if request.spec.target.in_place is not None and facts.target is None:
        return _wait(request, now, f"there is no FaunaCluster {request.cluster}")
    if facts.others:
        return _wait(request, now, f"{', '.join(facts.others)} is under way")
    return _to(request, now, source=source, **_first(request, source))


def _first(request: Request, source: External | None) -> dict[str, str]:
    """Return the first phase that does something."""
    spec = request.spec
    if spec.dry_run and source is not None:
        return {"phase": TRYING, "message": "reading the backup"}
    if spec.target.in_place is None:
        return {"phase": CREATING, "message": "making the cluster"}
    if request.recovers or not spec.target.in_place.safety_backup:
        return {"phase": ACCEPTED, "message": "handed to the cluster"}
    name = f"{request.name}-safety"
    return {"phase": SAVING, "message": f"making FaunaBackup {name}", "safety_backup_name": name}


def _source(request: Request, facts: Facts) -> External | Step | str | None:
    """Return the backup, or what it waits for; None when the data come from a member."""
    asked = request.spec.source
    if asked.external is not None or request.recovers:
        return asked.external
    if facts.backup is None:
        return f"there is no FaunaBackup {asked.backup_name}"
    record = facts.backup.record
    if record.phase == NOT_SAVED:
        status = told(request, 0.0, phase=FAILED, message=f"FaunaBackup {asked.backup_name} failed")
        return Step(status)
    if record.phase != SAVED or record.storage is None:
        return f"FaunaBackup {asked.backup_name} is {record.phase}"
    return External(record.storage, record.cluster_id, record.backup_id)


def _try(request: Request, facts: Facts, now: float) -> Step:
    """Let a Job read the backup, and tell what it would bring and what would be lost."""
    job, source = facts.trial, request.status.source
    assert source is not None, "written with the phase"
    if job is None:
        filling = Filling(
            name=trial_name(request),
            claim_uid="",
            serial=1,
            cluster_id=source.cluster_id,
            incarnation=1,
            source=source,
            target_index=request.spec.source.target_index,
            target_time=request.spec.source.target_time,
            floor_ts=0,
            timeout=request.spec.timeout,
            owner=request,
        )
        return Step(create=trial_job(_desired(request, facts), filling))
    if job.state == "Failed":
        return _to(request, now, phase=FAILED, message=f"Job {job.name} failed: {job.message}")
    if job.state != "Complete":
        return Step()
    index, micros = int(job.result.get("index", 0)), int(job.result.get("txn_ts", 0))
    loss = _loss(facts.target, index) if request.spec.target.in_place is not None else None
    known = f"at least {loss.entries} entries would be lost" if loss else "nothing would be lost"
    return _to(
        request,
        now,
        phase=COMPLETED,
        message=f"entry {index} would be restored; {known}",
        restored_index=index,
        restored_time=iso(micros / 1e6) if micros else "",
        state_hash=str(job.result.get("state_hash", "")),
        lost_at_least=loss,
        lost_from_index=index + 1 if loss and loss.entries else 0,
    )


def trial_name(request: Request) -> str:
    """Return the name of the Job of a dry run."""
    return f"{request.name}-trial"


def _desired(request: Request, facts: Facts) -> Desired:
    """Return a cluster whose image and nodes the Job of a dry run may use."""
    if facts.target is not None:
        return facts.target.desired
    metadata = {"name": request.cluster, "namespace": request.namespace, "uid": ""}
    place = request.spec.target.new_cluster
    assert place is not None, "in place there is a target by now"
    return Desired.of({"metadata": metadata, "spec": place.spec})


def _loss(target: Target | None, index: int) -> Loss | None:
    seen = (target.status.get("seen") if target is not None else None) or ()
    most = max(seen, key=lambda entry: int(entry["index"]), default=None)
    if most is None:
        return None
    return Loss(max(0, int(most["index"]) - index), str(most["observedAt"]))


def _save(request: Request, facts: Facts, now: float) -> Step:
    """Wait for a backup of what is about to be given up."""
    name, safety = request.status.safety_backup_name, facts.safety
    if safety is None:
        return Step(create=_safety_backup(request, facts))
    record = safety.record
    if record.phase == NOT_SAVED:
        why = f"FaunaBackup {name} failed: {record.error}; safetyBackup: false leaves it out"
        return _to(request, now, phase=FAILED, message=why)
    if record.phase != SAVED:
        return _wait(request, now, f"FaunaBackup {name} is {record.phase}")
    return _to(request, now, phase=ACCEPTED, message="handed to the cluster")


def _safety_backup(request: Request, facts: Facts) -> Manifest:
    """Return the backup of the present state; it lies beside the others, and stays."""
    source, target = request.status.source, facts.target
    assert source is not None, "written with the phase"
    spec: Manifest = {"clusterRef": {"name": request.cluster}, "deletionPolicy": "Retain"}
    own = (target.spec.get("backup") or {}).get("storage") if target is not None else None
    if not own:
        spec["storage"] = source.storage.plain
    return {
        "apiVersion": names.API_VERSION,
        "kind": "FaunaBackup",
        "metadata": {
            "name": request.status.safety_backup_name,
            "namespace": request.namespace,
            "labels": {names.CLUSTER: request.cluster, names.MANAGED_BY: "fauna-operator"},
        },
        "spec": spec,
    }


def _create(request: Request, facts: Facts, now: float) -> Step:
    """Make the cluster; its own loop fills the volume of its first member."""
    source, target, place = request.status.source, facts.target, request.spec.target.new_cluster
    assert source is not None, "written with the phase"
    assert place is not None, "only a new cluster is created"
    if target is None:
        spec = {**place.spec, "bootstrap": _bootstrap(request, source)}
        metadata = {"name": place.name, "namespace": request.namespace}
        kind = {"apiVersion": names.API_VERSION, "kind": names.KIND}
        return Step(create={**kind, "metadata": metadata, "spec": spec})
    ready = _condition(target, "Ready")
    if ready.get("reason") == "RestoreFailed":
        return _to(request, now, phase=FAILED, message=str(ready.get("message", "")))
    restored = target.status.get("restored") or {}
    changes = {
        "new_cluster_id": str(target.status.get("clusterID", "")),
        "old_cluster_id": source.cluster_id,
        "survivor": target.desired.member(int(target.status.get("seed", 1))),
        "new_incarnation": int(target.status.get("incarnation", 1)),
        "restored_index": int(restored.get("index", 0)),
        "state_hash": str(restored.get("stateHash", "")),
    }
    if ready.get("status") == "True":
        return _to(request, now, phase=COMPLETED, message="the cluster is ready", **changes)
    message = f"{target.status.get('phase', 'Pending')}: {ready.get('message', '')}"
    return _to(request, now, message=message, **changes)


def _bootstrap(request: Request, source: External) -> Manifest:
    asked = request.spec.source
    restore: Manifest = {
        "storage": source.storage.plain,
        "clusterID": source.cluster_id,
        "backupID": source.backup_id,
        "timeout": request.spec.timeout,
    }
    if asked.target_time:
        restore["targetTime"] = asked.target_time
    if asked.target_index is not None:
        restore["targetIndex"] = asked.target_index
    return {"restore": restore}


def _condition(target: Target, kind: str) -> Manifest:
    conditions = target.status.get("conditions") or ()
    return next((entry for entry in conditions if entry.get("type") == kind), {})


def _wait(request: Request, now: float, message: str) -> Step:
    return _to(request, now, message=message)


def _to(request: Request, now: float, **changes: object) -> Step:
    """Write status, if that changes it."""
    fresh = told(request, now, **changes)
    return Step(fresh) if fresh != request.status or not request.resource.get("status") else Step()
