"""What does a cluster keep for its backups? A leaf for Jobs, an archive of its log; pure.

None of it is anything that a member needs, so it has a loop of its own beside the cluster's.
Trap: status of a FaunaCluster has two writers; this one adds `backup` and two conditions, by
compare-and-set, and leaves every other word alone.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from fauna_operator.backups.model import COMPLETED, ENDED, FAILED, Source
from fauna_operator.backups.render import archive_deployment, tls_secret
from fauna_operator.model import Apply, Certificate, Delete, Desired
from fauna_operator.model.conditions import Verdict, conditions
from fauna_operator.model.dates import epoch
from fauna_operator.render.names import TEMPLATE_HASH

Manifest = dict[str, Any]

ROLE = "backup"  # members let it read, and nothing else
RENEW_BEFORE_S = 30 * 86_400.0  # a third of a leaf's 90 days
HEALTHY, ARCHIVED = "BackupHealthy", "ArchiveHealthy"


class Done(msgspec.Struct, frozen=True):
    """One FaunaBackup of the cluster."""

    name: str
    phase: str
    completed_at: str = ""
    verified_at: str = ""


class Around(msgspec.Struct, frozen=True):
    """What is there."""

    source: Source
    desired: Desired
    authority: str | None = None  # fingerprint of the CA; None: there is none yet
    leaf: Certificate | None = None
    backups: tuple[Done, ...] = ()
    archive: Manifest | None = None  # the Deployment

    @property
    def archives(self) -> bool:
        """Tell whether the log is to be archived."""
        return self.desired.spec.backup.archive.enabled and self.source.storage is not None

    @property
    def concerned(self) -> bool:
        """Tell whether this cluster has, or will have, anything to do with backups."""
        return self.source.storage is not None or bool(self.backups)


class IssueLeaf(msgspec.Struct, frozen=True, tag=True):
    """Issue the leaf that Jobs show to members, and store it under `name`."""

    name: str
    cluster_id: str

    def __str__(self) -> str:
        return f"issue certificate {self.name}"


Action = IssueLeaf | Apply | Delete


def plan(around: Around, now: float) -> tuple[Action, ...]:
    """Return what is to be made, or taken away."""
    source, leaf = around.source, around.leaf
    if not around.concerned or around.authority is None or not source.cluster_id:
        return ()
    good = (
        leaf is not None
        and (leaf.authority, leaf.cluster_id) == (around.authority, source.cluster_id)
        and leaf.not_after - now > RENEW_BEFORE_S
    )
    if not good:
        return (IssueLeaf(tls_secret(source.name), source.cluster_id),)
    return _archive(around)


def _archive(around: Around) -> tuple[Action, ...]:
    """Keep the one pod that archives as it should be; it goes when nobody asks for it."""
    live = around.archive
    if around.archives and around.source.hosts:
        wanted = archive_deployment(around.desired, around.source)
        return () if _digest(live) == _digest(wanted) else (Apply(wanted),)
    if live is None or around.archives:
        return ()
    metadata = live["metadata"]
    seen = (metadata["uid"], metadata["resourceVersion"])
    return (Delete("Deployment", metadata["name"], *seen, "spec.backup.archive is off"),)


def _digest(manifest: Manifest | None) -> str:
    annotations = (manifest or {}).get("metadata", {}).get("annotations") or {}
    return str(annotations.get(TEMPLATE_HASH, ""))


def told(
    around: Around, before: Mapping[str, Any], generation: int, now: float
) -> dict[str, Any] | None:
    """Return the status of the cluster with what is ours in it; None when all is said."""
    if not around.concerned:
        return None
    ours = {HEALTHY: _healthy(around.backups)}
    if around.archives:
        ours[ARCHIVED] = _archived(around.archive)
    entries = before.get("conditions") or []
    fresh = conditions(ours, entries, generation, now)
    others = [entry for entry in entries if entry["type"] not in (HEALTHY, ARCHIVED)]
    places = {entry["type"]: index for index, entry in enumerate(entries)}
    merged = sorted([*others, *fresh], key=lambda entry: places.get(entry["type"], len(places)))
    backup = {**(before.get("backup") or {}), **_summary(around.backups)}
    wanted = {**before, "backup": backup, "conditions": merged}
    return None if wanted == before else wanted


def _summary(backups: Iterable[Done]) -> dict[str, str]:
    """Return the last of each kind; a backup that is gone stays in what was said before."""
    found: dict[str, str] = {}
    by_time = sorted(backups, key=lambda done: (done.completed_at, done.name))
    for done in by_time:
        if done.phase == COMPLETED:
            found["lastSuccessfulName"] = done.name
            found["lastSuccessfulTime"] = done.completed_at
        elif done.phase == FAILED:
            found["lastFailedName"] = done.name
            found["lastFailedTime"] = done.completed_at
    verified = [done.verified_at for done in by_time if done.verified_at]
    return {**found, "lastVerifiedTime": max(verified)} if verified else found


def _healthy(backups: Iterable[Done]) -> Verdict:
    """Judge by the last backup that ended."""
    ended = [done for done in backups if done.phase in ENDED and done.completed_at]
    if not ended:
        return "Unknown", "NoBackup", "no backup has ended yet"
    last = max(ended, key=lambda done: (epoch(done.completed_at), done.name))
    if last.phase == FAILED:
        return "False", "LastFailed", f"FaunaBackup {last.name} failed"
    if not last.verified_at:
        return "False", "NotVerified", f"FaunaBackup {last.name} was not verified"
    return "True", "LastVerified", f"FaunaBackup {last.name} is complete and verified"


def _archived(live: Manifest | None) -> Verdict:
    """Believe the archive's own word: it is ready while it is at most a minute behind."""
    if live is not None and (live.get("status") or {}).get("readyReplicas"):
        return "True", "Archiving", "committed entries are stored within a minute"
    name = live["metadata"]["name"] if live is not None else "the archive"
    return "False", "Lagging", f"{name} is not ready: it does not run, or is behind; see its log"
