"""What does a person read about a FaunaCluster? Lines made of the resources as they are; pure."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

Object = dict[str, Any]

GOOD = {  # condition -> the status that needs no line
    "Available": "True",
    "Ready": "True",
    "Progressing": "False",
    "Degraded": "False",
    "QuorumAtRisk": "False",
    "TLSReady": "True",
    "TopologySatisfied": "True",
    "BackupHealthy": "True",
    "ArchiveHealthy": "True",
    "Paused": "False",
}
ENDED = ("Completed", "Failed")


def cluster_lines(cluster: Object, backups: Sequence[Object]) -> Iterator[str]:
    """Yield everything about one cluster: first what it is, then what is not as it should be."""
    metadata, spec, status = cluster["metadata"], cluster["spec"], cluster.get("status") or {}
    ready, wanted = status.get("readyReplicas", 0), spec.get("replicas", 3)
    phase = status.get("phase", "not seen by an operator yet")
    yield f"{metadata['namespace']}/{metadata['name']}: {phase}, {ready} of {wanted} members ready"
    yield (
        f"leader {status.get('leader') or 'not known'}, term {status.get('term', '-')},"
        f" incarnation {status.get('incarnation', '-')}, {status.get('voters', 0)} voters,"
        f" {status.get('healthyVoters', 0)} of them healthy"
    )
    yield from _block("", _members(status.get("members", ())))
    yield from _block("Not as it should be", _conditions(status.get("conditions", ())))
    if operation := status.get("operation"):
        words = (operation.get(key) for key in ("type", "step", "member", "blockedBy"))
        yield from _block("Being done", [" ".join(word for word in words if word)])
    aside = [
        f"{each['name']}  until {each['deleteAfter']}"
        for each in status.get("quarantinedVolumes", ())
    ]
    yield from _block("Volumes put aside", aside)
    yield from _block("Backups", _backups(metadata["name"], backups))


def is_available(cluster: Object) -> bool:
    """Tell whether clients can write."""
    return _condition(cluster, "Available").get("status") == "True"


def is_ready(cluster: Object) -> bool:
    """Tell whether all is as its present spec asks."""
    found, generation = _condition(cluster, "Ready"), cluster["metadata"].get("generation")
    return found.get("status") == "True" and found.get("observedGeneration") == generation


def progress(resource: Object) -> str:
    """Return one line that changes while something moves: a cluster, a backup, or a restore."""
    status = resource.get("status") or {}
    if resource["kind"] == "FaunaCluster":
        ready = _condition(resource, "Ready")
        members = f"{status.get('readyReplicas', 0)} of {resource['spec'].get('replicas', 3)} ready"
        why = (
            ""
            if ready.get("status") == "True"
            else f"{ready.get('reason', '')}: {ready.get('message', '')}"
        )
        return "; ".join(part for part in (status.get("phase", "Pending"), members, why) if part)
    words = [status.get("phase", "Pending")]
    if attempts := status.get("attempts", 0):
        words += [f"try {attempts}"] if attempts > 1 else []
    words += [str(status[key]) for key in ("message", "error") if status.get(key)]
    if resource["kind"] == "FaunaBackup" and status.get("phase") == "Completed":
        words += [f"{status.get('size', '?')}, {status.get('documentCount', '?')} documents"]
        words += [f"verified: {status.get('verified', 'None')}"]
    return ", ".join(words)


def has_ended(resource: Object) -> bool:
    """Tell whether a backup or a restore will not change any more."""
    return (resource.get("status") or {}).get("phase") in ENDED


def has_failed(resource: Object) -> bool:
    """Tell whether a backup or a restore ended without its result."""
    return (resource.get("status") or {}).get("phase") == "Failed"


def _members(members: Iterable[Object]) -> list[str]:
    rows = [("MEMBER", "ROLE", "STATE", "READY", "NODE", "VERSION")]
    rows += [
        (
            each["name"],
            each.get("role", ""),
            each.get("state", ""),
            "yes" if each.get("ready") else "no",
            each.get("node", "") or "-",
            each.get("version", "") or "-",
        )
        for each in members
    ]
    return _table(rows)


def _conditions(conditions: Iterable[Object]) -> list[str]:
    return [
        f"{each['type']}={each['status']} {each.get('reason', '')}: {each.get('message', '')}"
        for each in conditions
        if each["type"] in GOOD and GOOD[each["type"]] != each["status"]
    ]


def _backups(name: str, backups: Sequence[Object]) -> list[str]:
    mine = [each for each in backups if each["spec"]["clusterRef"]["name"] == name]
    if not mine:
        return []
    rows = [("BACKUP", "PHASE", "SIZE", "VERIFIED", "COMPLETED")]
    for each in sorted(mine, key=lambda each: each["metadata"].get("creationTimestamp", "")):
        status = each.get("status") or {}
        told = [status.get(key) or "-" for key in ("phase", "size", "verified", "completedAt")]
        rows.append((each["metadata"]["name"], told[0], told[1], told[2], told[3]))
    return _table(rows)


def _block(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield ""
        if title:
            yield f"{title}:"
        yield from (f"  {line}" if title else line for line in lines)


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return [
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _condition(resource: Object, kind: str) -> Object:
    conditions = (resource.get("status") or {}).get("conditions", ())
    return next((each for each in conditions if each["type"] == kind), {})
