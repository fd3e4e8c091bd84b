"""What is the next step of one backup? `plan(backup, seen, now)`, pure, in order of its rules.

The first rule that wants or waits for something ends the pass. A Job is made only for what the
record says was begun; the record says Completed only by the command's own word that it verified
what was asked. Whatever goes wrong ends in the FaunaBackup and nowhere else.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from fauna_operator.backups.model import (
    ENDED,
    VERIFIES,
    Action,
    Backup,
    Decision,
    Hold,
    Release,
    Run,
    Seen,
    Store,
)
from fauna_operator.backups.render import backup_job, discard_job
from fauna_operator.model.actions import Blocked, Create, Delete
from fauna_operator.model.dates import epoch, iso
from fauna_operator.model.desired import seconds
from fauna_operator.model.stores import BackupStore

DISCARD_S_MAX = 3_600.0  # after it the resource goes and the data stay: nothing hangs for ever


@dataclass(frozen=True)
class View:
    """What one pass knows."""

    backup: Backup
    seen: Seen
    now: float

    @property
    def storage(self) -> BackupStore | None:
        """Return where it would go: its own store, or the cluster's."""
        shared = self.seen.cluster.storage if self.seen.cluster is not None else None
        return self.backup.spec.storage or shared

    @property
    def left_s(self) -> float:
        """Return how long what has begun may still take."""
        until = epoch(self.backup.record.started_at) + seconds(self.backup.spec.timeout)
        return until - self.now

    @property
    def deleted_s(self) -> float:
        """Return for how long it is being deleted, 0 when it is not."""
        return 0.0 if self.backup.deleted is None else self.now - self.backup.deleted

    @property
    def where(self) -> str:
        """Return where the data lie, for people."""
        return self.backup.record.uri or "no place"


Wish = tuple[Action, ...] | Blocked | None
Rule = Callable[[View], Wish]


def end_with_namespace(view: View) -> Wish:
    """A namespace that ends takes no new Jobs: let the resource go; the data stay."""
    if not view.seen.namespace_ending:
        return None
    if view.backup.held:
        return (Release(f"the namespace ends; the data stay at {view.where}"),)
    return _wait("NamespaceEnds", "the namespace is being deleted")


def stop_writing(view: View) -> Wish:
    """A backup that is deleted stops being written before its data are deleted."""
    if view.backup.deleted is None:
        return None
    run = view.seen.run
    if run is not None and not run.deleting and run.state == "Running":
        return (_delete(run, "the backup is deleted"),)
    if view.seen.pods:
        return _wait("Deleting", f"{view.seen.pods} pods of {view.backup.job} still end")
    return None


def let_go(view: View) -> Wish:
    """A backup that is deleted goes when its data are gone, or cannot be deleted."""
    if view.backup.deleted is None:
        return None
    if not view.backup.held:
        return _wait("Deleting", "others hold the resource")
    backup, run = view.backup, view.seen.discard
    reasons = (
        (not backup.record.started_at, "there are no data"),
        (backup.spec.deletion_policy == "Retain", f"the data stay at {view.where}"),
        (run is not None and run.state == "Complete", "its data are deleted"),
        (
            view.deleted_s > DISCARD_S_MAX,
            f"its data could not be deleted and stay at {view.where}",
        ),
        (bool(view.seen.missing), f"{view.seen.missing}; the data stay at {view.where}"),
    )
    why = next((why for holds, why in reasons if holds), "")
    return (Release(why),) if why else None


def discard(view: View) -> Wish:
    """Delete the data of a backup that is deleted, by a Job, again and again."""
    if view.backup.deleted is None:
        return None
    run = view.seen.discard
    if view.seen.readers:
        return _wait("InUse", f"FaunaRestore {view.seen.readers[0]} reads the data")
    if run is None:
        return (Create(discard_job(view.backup)),)
    if run.state == "Failed" and not run.deleting:
        return (_delete(run, f"it failed: {run.message or run.reason}"),)
    return _wait("Deleting", run.waiting or f"{run.name} deletes the data")


def rest_when_ended(view: View) -> Wish:
    """What has ended stays as it is."""
    record = view.backup.record
    return _wait(record.phase, record.error) if record.phase in ENDED else None


def hold(view: View) -> Wish:
    """Hold the resource before there are data that must go with it."""
    if view.backup.spec.deletion_policy == "Delete" and not view.backup.held:
        return (Hold(),)
    return None


def begin(view: View) -> Wish:
    """Latch what is backed up, as what, and where to; when nothing stands against it."""
    backup, record = view.backup, view.backup.record
    if record.started_at:
        return None
    hindrance = _hindrance(view)
    if hindrance is not None:
        if view.now - backup.created > seconds(backup.spec.timeout):
            why = f"not begun within {backup.spec.timeout}: {hindrance.message}"
            return (_failed(view, why),)
        return hindrance
    cluster, storage = view.seen.cluster, view.storage
    assert cluster is not None, "what hinders was asked"
    assert storage is not None, "what hinders was asked"
    begun = msgspec.structs.replace(
        record,
        backup_id=backup.backup_id,
        cluster_id=cluster.cluster_id,
        incarnation=cluster.incarnation,
        image=cluster.image,
        image_pull_policy=cluster.image_pull_policy,
        image_pull_secrets=cluster.image_pull_secrets,
        storage=storage,
        uri=f"{storage.location}/{cluster.cluster_id}/{backup.backup_id}",
        started_at=iso(view.now),
    )
    return (Store(begun, f"begin {begun.backup_id} at {begun.uri}"),)


def _hindrance(view: View) -> Blocked | None:
    """Return why it may not begin now."""
    name, cluster = view.backup.spec.cluster_ref.name, view.seen.cluster
    if cluster is None:
        return _wait("NoCluster", f"there is no FaunaCluster {name}")
    sick = not cluster.available and not view.backup.spec.allow_unhealthy_cluster
    nowhere = f"neither spec.storage nor spec.backup.storage of {name} says where to"
    others = f"FaunaBackup {', '.join(view.seen.running)} is running"
    reasons = (
        (not cluster.cluster_id, "NoMembers", f"FaunaCluster {name} has no identity yet"),
        (not cluster.hosts, "NoMembers", f"FaunaCluster {name} has no members yet"),
        (view.storage is None, "NoStorage", nowhere),
        (sick, "ClusterUnavailable", f"FaunaCluster {name} is not Available"),
        (bool(view.seen.missing), "NotReachable", view.seen.missing),
        (bool(view.seen.running), "Waiting", others),
    )
    return next((_wait(reason, message) for holds, reason, message in reasons if holds), None)


def make(view: View) -> Wish:
    """Keep a Job at what was begun, until time is up."""
    seen, spec = view.seen, view.backup.spec
    if seen.run is not None:
        return None
    if view.left_s <= 0:
        return (_failed(view, f"not done within {spec.timeout}"),)
    if seen.cluster is None:
        return (_failed(view, f"FaunaCluster {spec.cluster_ref.name} is gone"),)
    if seen.pods:  # of a Job that somebody deleted
        return _wait("Running", f"{seen.pods} pods of {view.backup.job} still end")
    return (Create(backup_job(view.backup, seen.cluster, view.left_s)),)


def judge(view: View) -> Wish:
    """Believe the Job: that it runs, that it failed, or what its command said last."""
    run = view.seen.run
    if run is None:
        return None
    if run.state == "Running" or run.deleting:
        return _wait("Running", run.waiting or f"{run.name} makes it")
    if run.state == "Failed":
        return (_failed(view, run.message or run.reason),)
    if run.result is None:
        return (_delete(run, "what it said is lost; it is asked again"),)
    return (_concluded(view, run, run.result),)


def _concluded(view: View, run: Run, result: Mapping[str, Any]) -> Store:
    """Believe a command that ended well, if it speaks of this backup and verified it as asked."""
    record, asked = view.backup.record, view.backup.spec.verify
    said = (result.get("backup_id"), result.get("cluster_id"))
    if said != (record.backup_id, record.cluster_id):
        return _failed(view, f"{run.name} made another backup: {said[0]} of {said[1]}")
    verified = str(result.get("verified", "none")).capitalize()
    if VERIFIES.get(verified, -1) < VERIFIES[asked]:
        return _failed(view, f"{run.name} verified it as {verified}, not {asked}")
    documents, stored = result.get("documents", 0), int(result.get("stored_bytes", 0))
    done = msgspec.structs.replace(
        record,
        attempts=run.failed + 1,
        completed_at=iso(view.now),
        incarnation=int(result.get("incarnation", record.incarnation)),
        member=str(result.get("member", "")),
        snapshot_index=int(result.get("index", 0)),
        snapshot_term=int(result.get("term", 0)),
        snapshot_time=iso(moment / 1e6) if (moment := int(result.get("txn_ts", 0))) else "",
        size_bytes=int(result.get("size_bytes", 0)),
        stored_bytes=stored,
        size=people(stored),
        parts=int(result.get("parts", 0)),
        document_count=sum(documents.values()) if isinstance(documents, dict) else documents,
        state_hash=str(result.get("state_hash", "")),
        manifest_sha256=str(result.get("manifest_sha256", "")),
        verified=verified,
        verified_at=iso(view.now) if verified != "None" else "",
    )
    return Store(done, f"complete {record.backup_id} at index {done.snapshot_index}")


RULES: tuple[Rule, ...] = (
    end_with_namespace,
    stop_writing,
    let_go,
    discard,
    rest_when_ended,
    hold,
    begin,
    make,
    judge,
)


def plan(backup: Backup, seen: Seen, now: float) -> Decision:
    """Decide the next step; `now` is seconds since 1970."""
    view = View(backup, seen, now)
    for rule in RULES:
        wish = rule(view)
        if isinstance(wish, Blocked):
            return Decision(rule=rule.__name__, blocked=wish)
        if wish:
            return Decision(wish, rule.__name__)
    raise AssertionError("judge has the last word")


def people(size: int) -> str:
    """Return a number of bytes for people.

    >>> people(1_300_000_000), people(512)
    ('1.2Gi', '512B')
    """
    power = min(max(size.bit_length() - 1, 0) // 10, 4)
    return f"{size / 1024**power:.1f}{'KMGT'[power - 1]}i" if power else f"{size}B"


def _wait(reason: str, message: str) -> Blocked:
    return Blocked(reason, message, final=True)


def _failed(view: View, why: str) -> Store:
    record, run = view.backup.record, view.seen.run
    error = (why or "it failed without a word")[:1000]
    attempts = run.failed if run is not None else record.attempts
    done = msgspec.structs.replace(
        record, attempts=attempts, completed_at=iso(view.now), error=error
    )
    return Store(done, f"fail ({error})")


def _delete(run: Run, why: str) -> Delete:
    return Delete("Job", run.name, run.uid, run.resource_version, why)


__all__ = ["RULES", "people", "plan"]
