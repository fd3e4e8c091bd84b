"""What is there around one backup? Its cluster, its Jobs, what their pods said, its rivals.

Trap: nothing here decides. A Job or pod of somebody else, or of a former FaunaBackup of this
name, is not ours and is not seen.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from fauna_operator.backups.model import ENDED, KIND, Backup, Run, Seen, Source
from fauna_operator.backups.render import tls_secret
from fauna_operator.errors import Refused, Stale
from fauna_operator.kube import Kubernetes, Object
from fauna_operator.model import Desired
from fauna_operator.render import names


async def observe(kube: Kubernetes, backup: Backup) -> Seen:
    """Look at everything that one backup depends on. Raises `OperatorError` when it cannot."""
    space, cluster = backup.namespace, backup.spec.cluster_ref.name
    try:
        async with asyncio.TaskGroup() as group:
            found = group.create_task(kube.get("FaunaCluster", space, cluster))
            run = group.create_task(kube.get("Job", space, backup.job))
            ends = group.create_task(_namespace_ends(kube, space))
            pods = group.create_task(kube.find("Pod", space, f"{names.BACKUP}={backup.name}"))
            rivals = group.create_task(_rivals(kube, backup))
            discards = group.create_task(_discard(kube, backup))
            readers = group.create_task(_readers(kube, backup))
        source = source_of(found.result())
        missing = await _missing(kube, backup, source)
    except ExceptionGroup as failed:  # one reason is enough
        raise failed.exceptions[0] from None
    made = run_of(run.result(), pods.result(), backup.uid)
    return Seen(
        cluster=source,
        run=made,
        discard=run_of(discards.result(), pods.result(), backup.uid),
        pods=_living(pods.result()),
        running=rivals.result(),
        readers=readers.result(),
        missing=missing,
        namespace_ending=ends.result(),
    )


def run_of(job: Object | None, pods: list[Object], owner: str) -> Run | None:
    """Read a Job of this owner, with what its last pod said."""
    if job is None or owner not in _owners(job):
        return None
    metadata, status = job["metadata"], job.get("status", {})
    mine = sorted(
        (pod for pod in pods if metadata["uid"] in _owners(pod)),
        key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")),
    )
    complete, failed = _condition(status, "Complete"), _condition(status, "Failed")
    said = [words for pod in mine if (words := _said(pod)) is not None]
    results = [words for code, words in said if code == 0]
    last: Mapping[str, Any] = next((words for code, words in reversed(said) if code), {})
    why = ": ".join(str(last[key]) for key in ("reason", "detail") if last.get(key))
    ended = str(failed.get("reason", ""))
    return Run(
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        state="Failed" if failed else "Complete" if complete else "Running",
        reason=ended,
        message=f"{ended}: {why}" if ended == "DeadlineExceeded" and why else why or ended,
        failed=int(status.get("failed", 0)),
        deleting="deletionTimestamp" in metadata,
        waiting=next((why for pod in reversed(mine) if (why := _waiting(pod))), ""),
        result=results[-1] if results and "backup_id" in results[-1] else None,
    )


def source_of(cluster: Object | None) -> Source | None:
    """Read what of a FaunaCluster concerns its backups; one that goes is as good as gone."""
    if cluster is None or "deletionTimestamp" in cluster["metadata"]:
        return None
    desired, status = Desired.of(cluster), cluster.get("status") or {}
    image, scheduling = desired.spec.image, desired.spec.scheduling
    members = status.get("members") or ()
    return Source(
        name=desired.name,
        cluster_id=status.get("clusterID", ""),
        incarnation=int(status.get("incarnation", 0)),
        available=bool(_condition(status, "Available")),
        hosts=tuple(desired.host(int(member["memberID"])) for member in members),
        storage=desired.spec.backup.storage,
        image=image.reference,
        image_pull_policy=image.pull_policy,
        image_pull_secrets=image.pull_secrets,
        node_selector=scheduling.node_selector,
        tolerations=scheduling.tolerations,
    )


async def _missing(kube: Kubernetes, backup: Backup, source: Source | None) -> str:
    """Return, in words, what no Job of this backup can start without."""
    space, begun = backup.namespace, backup.record.storage
    storage = begun or backup.spec.storage or (source.storage if source is not None else None)
    wanted = []
    if storage is not None and storage.secret:
        wanted.append(("Secret", storage.secret))
    if storage is not None and storage.claim:
        wanted.append(("PersistentVolumeClaim", storage.claim))
    if backup.deleted is None:
        wanted.append(("Secret", tls_secret(backup.spec.cluster_ref.name)))
    for kind, name in wanted:
        if await kube.get(kind, space, name) is None:
            return f"there is no {kind} {name}"
    return ""


async def _rivals(kube: Kubernetes, backup: Backup) -> tuple[str, ...]:
    """Return the other backups of the cluster that have begun and not ended."""
    if backup.record.started_at:
        return ()
    found = []
    for item in await kube.find(KIND, backup.namespace):
        status = item.get("status") or {}
        other = item["spec"]["clusterRef"]["name"] == backup.spec.cluster_ref.name
        begun = status.get("startedAt") and not status.get("completedAt")
        if other and begun and item["metadata"]["uid"] != backup.uid:
            found.append(item["metadata"]["name"])
    return tuple(sorted(found))


async def _readers(kube: Kubernetes, backup: Backup) -> tuple[str, ...]:
    """Return the FaunaRestores that read a backup which is being deleted."""
    if backup.deleted is None:
        return ()
    return tuple(sorted(await restored_from(kube, backup.namespace, {backup.name})))


async def restored_from(kube: Kubernetes, namespace: str, backups: set[str]) -> dict[str, str]:
    """Return the FaunaRestores under way from these backups, each with its backup."""
    try:
        items = await kube.find("FaunaRestore", namespace)
    except (Stale, Refused):  # the kind is not installed, or not ours to see
        return {}
    found = {}
    for item in items:
        backup = item["spec"].get("source", {}).get("backupName", "")
        if backup in backups and (item.get("status") or {}).get("phase") not in ENDED:
            found[item["metadata"]["name"]] = backup
    return found


async def _discard(kube: Kubernetes, backup: Backup) -> Object | None:
    if backup.deleted is None:
        return None
    return await kube.get("Job", backup.namespace, backup.discard_job)


async def _namespace_ends(kube: Kubernetes, namespace: str) -> bool:
    """Tell whether the namespace is being deleted; False where we may not ask."""
    try:
        found = await kube.get("Namespace", "", namespace)
    except Refused:
        return False
    return found is not None and "deletionTimestamp" in found["metadata"]


def _living(pods: list[Object]) -> int:
    """Count the pods that may still write a backup."""
    return sum(
        pod["metadata"].get("labels", {}).get(names.COMPONENT) == "backup"
        and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")
        for pod in pods
    )


def _said(pod: Object) -> tuple[int, Mapping[str, Any]] | None:
    """Return exit code and last line of a container that ended; None when it did not."""
    for container in pod.get("status", {}).get("containerStatuses") or ():
        ended = container.get("state", {}).get("terminated")
        if ended is not None:
            return int(ended.get("exitCode", 1)), _line(ended)
    return None


def _line(ended: Object) -> Mapping[str, Any]:
    """Read the one line of JSON that a command leaves; of other words, the last line."""
    text = str(ended.get("message", "")).strip().rpartition("\n")[2]
    try:
        found = msgspec.json.decode(text) if text else {}
    except msgspec.DecodeError:
        return {"reason": ended.get("reason", ""), "detail": text[:500]}
    if not isinstance(found, dict) or not found:
        return {"reason": ended.get("reason", ""), "detail": f"exit code {ended.get('exitCode')}"}
    return found


def _waiting(pod: Object) -> str:
    """Return why a pod does not run, "" when it does or ended."""
    status = pod.get("status", {})
    scheduled = _condition(status, "PodScheduled", "False")
    if scheduled:
        return f"{pod['metadata']['name']}: {scheduled.get('message', 'it finds no node')}"
    for container in status.get("containerStatuses") or ():
        waits = container.get("state", {}).get("waiting")
        if waits and waits.get("reason") not in ("ContainerCreating", "PodInitializing", None):
            return f"{pod['metadata']['name']}: {waits['reason']}: {waits.get('message', '')}"
    return ""


def _owners(item: Object) -> set[str]:
    return {owner["uid"] for owner in item["metadata"].get("ownerReferences") or ()}


def _condition(status: Object, kind: str, truth: str = "True") -> Object:
    """Return the condition of this type if it has this truth, else {}."""
    for entry in status.get("conditions") or ():
        if (entry.get("type"), entry.get("status")) == (kind, truth):
            found: Object = entry
            return found
    return {}
