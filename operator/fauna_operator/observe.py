"""What is there? One look at Kubernetes and one question to every member, all in parallel.

Trap: nothing here decides. What could not be read is left out or raises; it is never replaced
by a guess or by what was seen before.
"""

import asyncio
import secrets
import time
from base64 import b64decode
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

import msgspec

from fauna_operator import pki
from fauna_operator.database import Address, Members
from fauna_operator.errors import OperatorError, Refused, Stale
from fauna_operator.kube import Kubernetes, Object
from fauna_operator.model import (
    Answer,
    Certificate,
    Claim,
    Desired,
    Job,
    Latch,
    Lists,
    Node,
    Observed,
    Pod,
    Request,
    Seen,
)
from fauna_operator.model.dates import epoch
from fauna_operator.model.observed import CONTACT_MS_MAX
from fauna_operator.model.restores import ACCEPTED, HANDED_OVER
from fauna_operator.render import latch_of, names, templates_of

SLOW_S = 1.0  # a round of questions that took longer has an old answer of the leader in it
HOSTNAME = "kubernetes.io/hostname"
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
Key = TypeVar("Key")


GAP_S_MAX = 30.0  # who did not look for so long knows nothing of what lasted meanwhile


class Memory:
    """How long has something lasted, on the monotonic clock of this process? Starts empty.

    A look that comes late, because the operator, the API server or the leader was away, starts
    the timers of silence anew: what nobody watched did not last.
    """

    def __init__(self) -> None:
        self._heard: dict[int, float] = {}
        self._match: dict[int, tuple[int, float]] = {}
        self._led: float | None = None
        self._looked: float | None = None
        self._since: dict[str, dict[Any, float]] = {}
        self._seen: dict[int, Seen] = {}

    def update(self, observed: Observed, now_s: float) -> Observed:
        """Return `observed` with durations filled in."""
        for serial in observed.answers:
            self._heard[serial] = now_s
        for serial in observed.silences:
            self._heard.setdefault(serial, now_s)
        if self._looked is None or now_s - self._looked > GAP_S_MAX:
            self._since.clear()
        self._looked = now_s
        self._follow_leader(observed, now_s)
        lists = observed.lists
        known = {name for node in lists.nodes or () for name in (node.name, node.hostname)}
        gone = {
            claim.serial
            for claim in lists.claims
            if claim.nodes and known and not known & set(claim.nodes)
        }
        pods = {pod.uid: pod.ready and not pod.deleting for pod in lists.pods}
        return msgspec.structs.replace(
            observed,
            silent_s={serial: now_s - self._heard[serial] for serial in observed.silences},
            idle_s={serial: now_s - since for serial, (_, since) in self._match.items()},
            unheard_s=self._last("unheard", self._unheard(observed), now_s),
            node_gone_s=self._last("gone", gone, now_s),
            ready_s=self._last("ready", {uid for uid, ready in pods.items() if ready}, now_s),
            unready_s=self._last("unready", {u for u, ready in pods.items() if not ready}, now_s),
            leader_silent_s=None if self._led is None else now_s - self._led,
            leaderless_s=self._leaderless(observed, now_s),
            seen=self._most(observed),
        )

    def _leaderless(self, observed: Observed, now_s: float) -> float:
        """Return for how long nobody led, of the time in which this process looked."""
        led = any(answer.role == "leader" for answer in observed.answers.values())
        return self._last("leaderless", () if led else ("",), now_s).get("", 0.0)

    def _most(self, observed: Observed) -> dict[int, Seen]:
        """Return the most that each member was ever seen to have, as status and we remember."""
        for serial, seen in observed.seen.items():
            before = self._seen.get(serial)
            if before is None or (before.index, before.ts_ceiling) < (seen.index, seen.ts_ceiling):
                self._seen[serial] = seen
        known = observed.configuration
        if known is not None:  # who left has nothing that could be lost
            members = {peer.id for peer in known.members}
            self._seen = {s: seen for s, seen in self._seen.items() if s in members}
        return dict(self._seen)

    def _follow_leader(self, observed: Observed, now_s: float) -> None:
        leader, configuration = observed.leader, observed.configuration
        if leader is None or configuration is None:
            return
        if self._led is None or now_s - self._led > GAP_S_MAX:
            self._since.pop("unheard", None)
        self._led = now_s
        progress = {member.id: member for member in leader.members or ()}
        before, self._match = self._match, {}
        for peer in configuration.learners:
            seen = progress.get(peer.id)
            match, since = before.get(peer.id, (-1, now_s))
            moved = seen is None or seen.caught_up or seen.match != match
            self._match[peer.id] = (seen.match if seen else 0, now_s if moved else since)

    def _unheard(self, observed: Observed) -> set[int]:
        """Return whom the leader does not hear; without a leader, who was not heard before."""
        leader = observed.leader
        if leader is None:
            return set(self._since.get("unheard", ()))
        return {
            member.id
            for member in leader.members or ()
            if member.id != leader.member_id
            and (member.last_contact_ms is None or member.last_contact_ms > CONTACT_MS_MAX)
        }

    def _last(self, what: str, holds: Collection[Key], now_s: float) -> dict[Key, float]:
        """Return for how long it has held, of all for which it holds now."""
        before = self._since.get(what, {})
        self._since[what] = {key: before.get(key, now_s) for key in holds}
        return {key: now_s - since for key, since in self._since[what].items()}


async def observe(
    kube: Kubernetes, members: Members, resource: Object, desired: Desired, *, now: float
) -> Observed:
    """Look at everything that belongs to one cluster. Raises `OperatorError` when it cannot."""
    lists, authority, stored = await _lists(kube, desired)
    status = resource.get("status") or {}
    if authority is not None and (latch := _any_latch(status, stored, lists)) is not None:
        members.trust(authority, latch.cluster_id, now)
    answers, silences, answered_s = await _ask(members, desired, lists)
    mine = stored is not None and _annotation(stored, names.CLUSTER_UID) == desired.uid
    text = (stored or {}).get("data", {}).get("latch", "")
    last = _latch(text)
    requests = await requests_of(kube, desired)
    found = Observed(
        resource_version=resource["metadata"]["resourceVersion"],
        lists=lists,
        status=status,
        status_latch=_status_latch(status),
        map_latch=last if mine else None,
        map_serial=last.next_member_serial if last else 1,
        map_version=stored["metadata"]["resourceVersion"] if stored else "",
        answers=answers,
        silences=silences,
        answered_s=answered_s,
        seen=_seen(status, answers, now),
        requests=requests,
        jobs=await _jobs(kube, desired, status, requests),
        fresh_id=secrets.token_hex(16),
    )
    return found.believed()


async def ask_again(members: Members, desired: Desired, before: Observed, now: float) -> Observed:
    """Put the questions to members again, of an earlier look at Kubernetes that still holds."""
    answers, silences, answered_s = await _ask(members, desired, before.lists)
    found = msgspec.structs.replace(
        before,
        answers=answers,
        silences=silences,
        answered_s=answered_s,
        seen=_seen(before.status, answers, now),
    )
    return found.believed()


def _seen(status: Mapping[str, Any], answers: Mapping[int, Answer], now: float) -> dict[int, Seen]:
    """Return what status remembers of members, and what they say now, if that is more."""
    found = {
        int(entry["memberID"]): Seen(
            int(entry["index"]),
            int(entry["tsCeiling"]),
            epoch(at) if (at := entry["observedAt"]) else 0.0,
        )
        for entry in status.get("seen") or ()
    }
    for serial, answer in answers.items():
        known = found.get(serial)
        fresh = Seen(answer.last, answer.ts_ceiling, now)
        if answer.last and (known is None or _position(known) < _position(fresh)):
            found[serial] = fresh
    return found


def _position(seen: Seen) -> tuple[int, int]:
    return seen.index, seen.ts_ceiling


async def requests_of(kube: Kubernetes, desired: Desired) -> tuple[Request, ...]:
    """Return the FaunaRestores that were handed over to a cluster, the running one first."""
    try:
        items = await kube.find("FaunaRestore", desired.namespace)
    except (Refused, Stale):  # the kind is not installed, or not ours to see
        return ()
    found = []
    for item in items:
        try:
            request = Request.of(item)
        except (KeyError, msgspec.ValidationError):
            continue
        place = request.spec.target.in_place
        mine = place is not None and place.cluster_name == desired.name
        if mine and request.status.phase in HANDED_OVER:
            found.append(request)
    return tuple(sorted(found, key=lambda r: (r.status.phase == ACCEPTED, r.created, r.name)))


async def _jobs(
    kube: Kubernetes, desired: Desired, status: Object, requests: tuple[Request, ...]
) -> tuple[Job, ...]:
    """Return the Jobs that fill a volume of this cluster; looked for only when one may run."""
    wanted = [f"{request.name}-restore" for request in requests if not request.recovers]
    if desired.spec.bootstrap.restore.backup_id and not status.get("restored"):
        wanted.append(f"{desired.name}-seed-restore")
    found = [await job_of(kube, desired.namespace, name) for name in wanted]
    return tuple(job for job in found if job is not None)


async def job_of(kube: Kubernetes, namespace: str, name: str) -> Job | None:
    """Return a Job with the last words of its pods, or None when there is none."""
    item = await kube.get("Job", namespace, name)
    if item is None:
        return None
    metadata, state, message = item["metadata"], "Running", ""
    for condition in item.get("status", {}).get("conditions") or ():
        if condition.get("type") in ("Complete", "Failed") and condition.get("status") == "True":
            state, message = condition["type"], condition.get("message", "")
    words: dict[str, Any] = {}
    if state != "Running":
        pods = await kube.find("Pod", namespace, f"batch.kubernetes.io/job-name={name}")
        words = _last_words(pods)
    if state == "Failed" and words:
        message = f"{words.get('reason', '')}: {words.get('detail', '')}"
    return Job(
        name=name,
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        claim_uid=_annotation(item, names.CLAIM_UID),
        state=state,
        message=message,
        result=words if state == "Complete" else {},
    )


def _last_words(pods: list[Object]) -> dict[str, Any]:
    """Return the one line of JSON of the pod that ended last; {} when there is none."""
    ended = []
    for pod in pods:
        for container in pod.get("status", {}).get("containerStatuses") or ():
            last = container.get("state", {}).get("terminated") or {}
            ended.append((last.get("finishedAt", ""), last.get("message", "")))
    if not ended:
        return {}
    line = max(ended)[1].strip().rpartition("\n")[2]
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError:
        return {"detail": line[:500]} if line else {}


def _incarnation(item: Object) -> int:
    """Return the incarnation that a member's pod was started for, 0 when it does not say."""
    for container in item.get("spec", {}).get("containers") or ():
        for word in container.get("args") or ():
            if word.startswith("--incarnation="):
                return int(word.partition("=")[2])
    return 0


async def _lists(
    kube: Kubernetes, desired: Desired
) -> tuple[Lists, pki.KeyPair | None, Object | None]:
    """Read all objects of the cluster; also return its CA and the ConfigMap of its identity."""
    space, mine = desired.namespace, f"{names.CLUSTER}={desired.name}"
    kinds = ("Pod", "PersistentVolumeClaim", "Service", "PodDisruptionBudget", "Secret")
    try:
        async with asyncio.TaskGroup() as group:
            found = {kind: group.create_task(kube.find(kind, space, mine)) for kind in kinds}
            stored = group.create_task(kube.get("ConfigMap", space, f"{desired.name}-identity"))
            root = group.create_task(kube.get("Secret", space, desired.root_secret))
            nodes = group.create_task(_nodes(kube, desired.spec.scheduling.zone_key))
            template = group.create_task(kube.get("ConfigMap", space, f"{desired.name}-template"))
    except ExceptionGroup as failed:  # one reason is enough
        raise failed.exceptions[0] from None
    kept = {secret["metadata"]["name"]: _data(secret) for secret in found["Secret"].result()}
    authority = _key_pair(kept.get(f"{desired.name}-ca"))
    root_data = _data(root.result() or {})
    objects = {
        f"{kind}/{item['metadata']['name']}": item
        for kind in ("Service", "PodDisruptionBudget")
        for item in found[kind].result()
    }
    pods = tuple(pod for item in found["Pod"].result() if (pod := _pod(item)))
    well = {pod.serial for pod in pods if pod.ready}
    volumes = [item for item in found["PersistentVolumeClaim"].result() if _serial(item)]
    bound = {
        _serial(item): await _bound(kube, item) for item in volumes if _serial(item) not in well
    }
    lists = Lists(
        pods=pods,
        claims=tuple(_claim(item, bound.get(_serial(item))) for item in volumes),
        objects=objects,
        certificates=_certificates(desired, kept),
        authority=pki.fingerprint(authority.certificate) if authority else None,
        root_secret=desired.spec.auth.root_secret.key in root_data,
        nodes=nodes.result(),
        templates=templates_of(template.result()),
    )
    return lists, authority, stored.result()


async def _nodes(kube: Kubernetes, zone_key: str) -> tuple[Node, ...] | None:
    """Return the nodes, or None where a namespaced install may not list them."""
    try:
        items = await kube.find("Node", "")
    except Refused:
        return None
    return tuple(_node(item, zone_key) for item in items)


def _node(item: Object, zone_key: str) -> Node:
    labels = item["metadata"].get("labels", {})
    taints = item.get("spec", {}).get("taints") or ()
    return Node(
        item["metadata"]["name"],
        is_ready(item),
        hostname=labels.get(HOSTNAME, ""),
        zone=labels.get(zone_key, ""),
        out_of_service=any(taint.get("key") == OUT_OF_SERVICE for taint in taints),
    )


async def _bound(kube: Kubernetes, claim: Object) -> tuple[str, ...] | None:
    """Return the nodes that a claim's volume is bound to; asked only of members that are not well.

    None: to none, as a network volume, or not known, as where we may not read volumes.
    """
    name = claim.get("spec", {}).get("volumeName", "")
    try:
        volume = await kube.get("PersistentVolume", "", name) if name else None
    except Refused:
        return None
    affinity = ((volume or {}).get("spec", {}).get("nodeAffinity") or {}).get("required") or {}
    found = [
        value
        for term in affinity.get("nodeSelectorTerms") or ()
        for expression in term.get("matchExpressions") or ()
        if expression.get("key") == HOSTNAME and expression.get("operator") == "In"
        for value in expression.get("values") or ()
    ]
    return tuple(found) or None


async def _ask(
    members: Members, desired: Desired, lists: Lists
) -> tuple[dict[int, Answer], dict[int, str], float]:
    """Ask every pod that has an address; say of the others why they were not asked.

    Also returns when the leader answered. Where a silent member made us wait, the leader is asked
    once more, so that what is decided stands on a fresh word.
    """
    answers: dict[int, Answer] = {}
    silences: dict[int, str] = {}

    async def ask(pod: Pod) -> None:
        if not pod.ip or pod.phase not in ("Running", "Pending"):
            silences[pod.serial] = pod.unschedulable or pod.waiting or f"its pod is {pod.phase}"
            return
        try:
            address = Address(pod.serial, pod.ip, desired.host(pod.serial))
            answers[pod.serial] = await members.ask(address)
        except OperatorError as error:
            answers.pop(pod.serial, None)
            silences[pod.serial] = str(error)

    asked_s = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for pod in lists.pods:
            group.create_task(ask(pod))
    if time.monotonic() - asked_s > SLOW_S:
        leaders = {serial for serial, answer in answers.items() if answer.role == "leader"}
        asked_s = time.monotonic()
        for pod in lists.pods:
            if pod.serial in leaders:
                await ask(pod)
    return dict(sorted(answers.items())), dict(sorted(silences.items())), asked_s


def _pod(item: Object) -> Pod | None:
    serial = _serial(item)
    if serial is None:
        return None
    metadata, status = item["metadata"], item.get("status", {})
    containers = status.get("containerStatuses") or [{}]
    state, last = containers[0].get("state", {}), containers[0].get("lastState", {})
    ended = state.get("terminated") or last.get("terminated") or {}
    reason, detail = _termination(ended.get("message", ""))
    scheduled = _condition(status, "PodScheduled")
    owners = metadata.get("ownerReferences") or ()
    return Pod(
        serial=serial,
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        owner_uid=next((owner["uid"] for owner in owners if owner.get("controller")), ""),
        phase=status.get("phase", "Pending"),
        ready=is_ready(item),
        deleting="deletionTimestamp" in metadata,
        ip=status.get("podIP", ""),
        incarnation=_incarnation(item),
        node=item.get("spec", {}).get("nodeName", ""),
        role=metadata.get("labels", {}).get(names.ROLE, ""),
        template_hash=_annotation(item, names.TEMPLATE_HASH),
        unschedulable=scheduled.get("message", "") if scheduled.get("status") == "False" else "",
        restarts=containers[0].get("restartCount", 0),
        waiting=state.get("waiting", {}).get("reason", ""),
        exit_code=ended.get("exitCode"),
        exit_reason=reason,
        exit_detail=detail,
    )


def _claim(item: Object, nodes: tuple[str, ...] | None) -> Claim:
    metadata = item["metadata"]
    return Claim(
        serial=_serial(item) or 0,
        restore=_annotation(item, names.RESTORE),
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        cluster_uid=_annotation(item, names.CLUSTER_UID),
        latch=_latch(_annotation(item, names.LATCH)),
        phase=item.get("status", {}).get("phase", "Pending"),
        deleting="deletionTimestamp" in metadata,
        nonce=_annotation(item, names.NONCE),
        replaces=int(_annotation(item, names.REPLACES) or 0),
        created=epoch(made) if (made := metadata.get("creationTimestamp")) else 0.0,
        quarantined=metadata.get("labels", {}).get(names.QUARANTINED) == "true",
        delete_after=float(_annotation(item, names.DELETE_AFTER) or 0.0),
        nodes=nodes,
    )


def _certificates(
    desired: Desired, kept: Mapping[str, Mapping[str, bytes]]
) -> dict[int, Certificate]:
    """Read the members' leaves; one that cannot be read counts as missing."""
    found, prefix = {}, f"{desired.name}-member-tls-"
    for name, data in kept.items():
        serial = name.removeprefix(prefix)
        if name.startswith(prefix) and serial.isdecimal():
            try:
                found[int(serial)] = pki.inspect(data["tls.crt"], data["ca.crt"])
            except (KeyError, ValueError):
                continue
    return found


def _any_latch(status: Object, stored: Object | None, lists: Lists) -> Latch | None:
    """Return any latch, for the cluster id in our own leaf; members check it anyway."""
    found = [_status_latch(status), _latch((stored or {}).get("data", {}).get("latch", ""))]
    found += [claim.latch for claim in lists.claims]
    return next((latch for latch in found if latch is not None), None)


def _status_latch(status: Object) -> Latch | None:
    try:
        return msgspec.convert(status, Latch)
    except msgspec.ValidationError:
        return None


def _latch(text: str) -> Latch | None:
    try:
        return latch_of(text) if text else None
    except msgspec.DecodeError:
        return None


def _termination(message: str) -> tuple[str, str]:
    """Read the one line of JSON that a member leaves when it stops for good."""
    line = message.strip().rpartition("\n")[2]
    try:
        found = msgspec.json.decode(line, type=dict[str, Any]) if line else {}
    except msgspec.DecodeError:
        return "", line[:200]
    return str(found.get("reason", "")), str(found.get("detail", ""))


def _key_pair(data: Mapping[str, bytes] | None) -> pki.KeyPair | None:
    if not data or "tls.crt" not in data or "tls.key" not in data:
        return None
    return pki.KeyPair(data["tls.crt"], data["tls.key"])


def _data(secret: Object) -> dict[str, bytes]:
    return {key: b64decode(value) for key, value in (secret.get("data") or {}).items()}


def _serial(item: Object) -> int | None:
    text = item["metadata"].get("labels", {}).get(names.SERIAL, "")
    return int(text) if text.isdecimal() else None


def _annotation(item: Object, key: str) -> str:
    return str(item["metadata"].get("annotations", {}).get(key, ""))


def _condition(status: Object, kind: str) -> Object:
    conditions = status.get("conditions") or ()
    return next((entry for entry in conditions if entry.get("type") == kind), {})


def is_ready(item: Object) -> bool:
    """Tell whether a pod or a node says that it is ready."""
    return _condition(item.get("status", {}), "Ready").get("status") == "True"
