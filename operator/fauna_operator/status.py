"""What do people and machines need to know? Status and conditions, from the members' own word.

Pure: the same facts give the same status, so that it is written only when it changed. Figures
that move all the time (lag, applied index) are metrics and stay out.
Trap: a pod that is Ready proves nothing about a majority; only the leader's confirmed
configuration does.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from fauna_operator.model import (
    Action,
    Annotate,
    Blocked,
    ChangeMembership,
    Delete,
    Desired,
    Latch,
    Observed,
    Plan,
    Seen,
    Transfer,
    WriteLatch,
)
from fauna_operator.model.conditions import Verdict, conditions
from fauna_operator.model.dates import iso
from fauna_operator.model.desired import quorum
from fauna_operator.model.observed import CONTACT_MS_MAX
from fauna_operator.render import template_hash
from fauna_operator.render.names import CLUSTER, COMPONENT

Status = dict[str, Any]
OTHERS = frozenset({"BackupHealthy", "ArchiveHealthy"})  # conditions that another loop writes

SEEN_LEADERLESS_S = 5.0
SEEN_EVERY_S = 60.0  # more often would make every look a write
QUIET_S_MAX = 15.0  # an election is shorter; a longer silence is an outage
PROGRESS = {
    "Bootstrapping": "Bootstrapping",
    "CatchingUp": "Scaling",
    "ChangePending": "Scaling",
    "Retiring": "Scaling",
    "RolloutWaits": "Updating",
    "RolloutStuck": "Stalled",
    "RemoveBlocked": "Stalled",
    "ReplaceBlocked": "Stalled",
    "Unschedulable": "Unschedulable",
    "ReconcileFailed": "Stalled",
    "Recovering": "Restoring",
    "Restoring": "Restoring",
    "RestoreFailed": "Stalled",
}
WORK = {
    "replace_lost": "Replacing",
    "drop_lost_learner": "Replacing",
    "drop_spare_learner": "Scaling",
    "reach_voters": "Scaling",
    "reach_replicas": "Scaling",
    "roll_out": "Updating",
    "recover": "Restoring",
    "settle_beginning": "Restoring",
    "fill_seed": "Restoring",
}
TYPES = {  # of an operation, by the rule that acts for it
    "bootstrap": "Bootstrap",
    "open_to_clients": "Bootstrap",
    "replace_lost": "ReplaceMember",
    "drop_lost_learner": "ReplaceMember",
    "drop_spare_learner": "RemoveMember",
    "retire_members": "RemoveMember",
    "reach_voters": "AddMember",
    "reach_replicas": "AddMember",
    "roll_out": "Rollout",
}
CHANGES = {
    "add_learner": "AddLearner",
    "promote": "Promote",
    "remove": "Remove",
    "swap": "Swap",
}
HELD_UP = {  # reason -> type and step of the operation that it holds up
    "Bootstrapping": ("Bootstrap", "FirstMember"),
    "RemoveBlocked": ("RemoveMember", "Remove"),
    "ReplaceBlocked": ("ReplaceMember", "AddLearner"),
    "RolloutStuck": ("Rollout", "Stuck"),
    "RolloutWaits": ("Rollout", "WaitForReady"),
}
WAITING = {
    "CatchingUp": "CatchUp",
    "ChangePending": "Commit",
    "Retiring": "StopPod",
    "Unschedulable": "CatchUp",
}


def status(
    desired: Desired,
    observed: Observed,
    decided: Plan,
    *,
    now: float,
    trouble: Blocked | None = None,
) -> Status:
    """Return the whole status; `trouble` is what went wrong when the last plan was carried out."""
    blocked = (*decided.blocked, *((trouble,) if trouble else ()))
    available = _available(desired, observed)
    progressing = _progressing(decided, blocked, observed)
    degraded = _degraded(desired, observed, blocked)
    verdicts = {
        "Available": available,
        "Ready": _ready(desired, observed, decided, blocked, available),
        "Progressing": progressing,
        "Degraded": degraded,
        "QuorumAtRisk": _at_risk(observed),
        "TopologySatisfied": _topology(observed),
        "TLSReady": _tls(observed, blocked),
        "Paused": (_truth(desired.spec.paused), "Asked" if desired.spec.paused else "NotAsked", ""),
    }
    before = observed.status.get("conditions", ())
    return {
        **_latch(observed.status_latch),
        "observedGeneration": desired.generation,
        "phase": _phase(desired, available, progressing, degraded),
        "selector": f"{CLUSTER}={desired.name},{COMPONENT}=member",
        **_counts(desired, observed),
        "members": _members(desired, observed),
        **_operation(desired, observed, decided, now),
        **_restoring(observed),
        **_seen(observed, now),
        "quarantinedVolumes": _quarantined(observed),
        "conditions": [
            *conditions(verdicts, before, desired.generation, now),
            *(dict(old) for old in before if old.get("type") in OTHERS),
        ],
    }


def _operation(desired: Desired, observed: Observed, decided: Plan, now: float) -> Status:
    """Return what is being done, with the time at which it began; {} when nothing is.

    Upkeep in between (a label, a pod on its volume), or a while without a leader, belongs to the
    operation before it.
    """
    before = observed.status.get("operation") or {}
    found = _doing(desired, decided) or _held_up(before, decided)
    if found is None:
        busy = decided.actions or any(blocked.final for blocked in decided.blocked)
        return {"operation": before} if before and busy else {}
    same = ("type",) if found["type"] == "Rollout" else ("type", "member")
    if all(before.get(key) == found.get(key) for key in same):
        found["startedAt"] = before.get("startedAt", iso(now))
    return {"operation": {"startedAt": iso(now), **found}}


def _doing(desired: Desired, decided: Plan) -> Status | None:
    kind = TYPES.get(decided.rule)
    if kind is None or not decided.actions:
        return None
    action = decided.actions[0]
    step, member = _step(desired, action)
    if kind == "AddMember" and (step in ("Remove", "Transfer")):
        kind = "RemoveMember"
    if step in ("DeleteVolume", "Remember"):  # nobody waits for these
        return None
    return {"type": kind, "step": step, **({"member": member} if member else {})}


def _step(desired: Desired, action: Action) -> tuple[str, str]:
    found = type(action).__name__, ""
    match action:
        case ChangeMembership():
            found = CHANGES[action.op], desired.member(action.serial)
        case Transfer():
            found = "Transfer", desired.member(action.leader)
        case WriteLatch():
            found = "TakeSerial", desired.member(action.latch.next_member_serial - 1)
        case Delete():
            found = "StopPod" if action.kind == "Pod" else "DeleteVolume", action.name
        case Annotate():
            found = "QuarantineVolume", action.name.removeprefix("data-")
    return found


def _held_up(before: Status, decided: Plan) -> Status | None:
    for hindrance in reversed(decided.blocked):  # the final one stands last
        if hindrance.reason in HELD_UP:
            kind, step = HELD_UP[hindrance.reason]
        elif hindrance.reason in WAITING:
            kind, step = before.get("type", "AddMember"), WAITING[hindrance.reason]
        else:
            continue
        waits = hindrance.reason in ("CatchingUp", "RolloutWaits", "ChangePending", "Retiring")
        member = {"member": before["member"]} if before.get("member") else {}
        blocked = {} if waits else {"blockedBy": f"{hindrance.reason}: {hindrance.message}"[:500]}
        return {"type": kind, "step": step, **member, **blocked}
    return None


def _latch(latch: Latch | None) -> Status:
    """Keep what status itself holds; it changes only by `WriteLatch`."""
    return msgspec.to_builtins(latch) if latch is not None else {}


def _restoring(observed: Observed) -> Status:
    """Say which restore is under way, before it stops anybody, and what the first one brought."""
    found: Status = {}
    if observed.requests:
        first = observed.requests[0]
        found["recovery"] = {"restore": first.name, "phase": first.status.phase}
    filled = [job for job in observed.jobs if job.state == "Complete" and job.result]
    if filled:
        result = filled[0].result
        keys = (("index", "index"), ("term", "term"), ("state_hash", "stateHash"))
        found["restored"] = {name: result[key] for key, name in keys if key in result}
    elif "restored" in observed.status:
        found["restored"] = observed.status["restored"]
    return found


def _seen(observed: Observed, now: float) -> Status:
    """Keep the most that each member was seen to have, for the day on which it is lost.

    It moves all the time, so it is written once a minute, and sooner when nobody leads any more.
    """
    before = observed.status.get("seen") or ()
    fresh = [
        {"memberID": str(serial), "observedAt": iso(seen.at), **_position(seen)}
        for serial, seen in sorted(observed.seen.items())
    ]
    known = {entry["memberID"]: entry for entry in before}
    moved = [e for e in fresh if _at(known.get(e["memberID"], {})) != _at(e)]
    oldest = min(
        (str(known.get(e["memberID"], {}).get("observedAt", "")) for e in moved), default=""
    )
    every_s = SEEN_EVERY_S if observed.leader is not None else SEEN_LEADERLESS_S
    left = known.keys() - {entry["memberID"] for entry in fresh}
    due = bool(left) or (bool(moved) and oldest <= iso(now - every_s))
    entries = fresh if due else list(before)
    return {"seen": entries} if entries else {}


def _position(seen: Seen) -> Status:
    return {"index": seen.index, "tsCeiling": seen.ts_ceiling}


def _at(entry: Mapping[str, Any]) -> tuple[Any, Any]:
    return entry.get("index"), entry.get("tsCeiling")


def _counts(desired: Desired, observed: Observed) -> Status:
    """Count pods, and members of the configuration; without a leader the last known stay."""
    pods, leader, known = observed.lists.pods, observed.leader, observed.configuration
    wanted = template_hash(desired)
    found: Status = {
        "replicas": len(pods),
        "readyReplicas": sum(pod.ready for pod in pods),
        "updatedReplicas": sum(pod.template_hash == wanted for pod in pods),
    }
    if known is None or leader is None:
        kept = ("voters", "learners", "term", "configuration")
        found |= {key: observed.status[key] for key in kept if key in observed.status}
        return {**found, "healthyVoters": 0, "leader": ""}
    return {
        **found,
        "voters": len(known.voters),
        "healthyVoters": sum(_healthy(observed, peer.id) for peer in known.voters),
        "learners": len(known.learners),
        "leader": desired.member(leader.member_id),
        "term": leader.term,
        "configuration": {
            "incarnation": known.id.incarnation,
            "term": known.id.term,
            "index": known.id.index,
        },
    }


def _members(desired: Desired, observed: Observed) -> list[Status]:
    known = observed.configuration
    voters = {peer.id for peer in known.voters} if known else set()
    learners = {peer.id for peer in known.learners} if known else set()
    serials = {pod.serial for pod in observed.lists.pods} | voters | learners
    found = []
    for serial in sorted(serials):
        pod, answer = observed.pod(serial), observed.answers.get(serial)
        role = "Voter" if serial in voters else "Learner" if serial in learners else "Unknown"
        if answer is not None and answer.role == "leader" and answer is observed.leader:
            role = "Leader"
        found.append(
            {
                "name": desired.member(serial),
                "memberID": str(serial),
                "claimName": desired.claim(serial),
                "node": pod.node if pod else "",
                "role": role,
                "state": _state(observed, serial),
                "ready": bool(pod and pod.ready),
                "version": answer.version if answer else "",
            }
        )
    return found


def _state(observed: Observed, serial: int) -> str:
    pod, answer = observed.pod(serial), observed.answers.get(serial)
    if pod is None:
        return "NoPod"
    if answer is not None:
        return {"waiting": "Waiting", "member": "Member", "removed": "Removed"}.get(
            answer.state, answer.state
        )
    if pod.exit_code == 78:
        return "Quarantined"
    if pod.unschedulable:
        return "Unschedulable"
    return "Starting" if pod.phase == "Pending" else "Silent"


def _quarantined(observed: Observed) -> list[Status]:
    return [
        {"name": claim.name, "deleteAfter": iso(claim.delete_after)}
        for claim in sorted(observed.lists.claims, key=lambda claim: claim.serial)
        if claim.quarantined
    ]


def _healthy(observed: Observed, serial: int) -> bool:
    if observed.leader is not None and observed.leader.member_id == serial:
        return True
    progress = observed.progress(serial)
    contact = progress.last_contact_ms if progress is not None else None
    return contact is not None and contact <= CONTACT_MS_MAX


def _available(desired: Desired, observed: Observed) -> Verdict:
    """A leader whose read round a majority confirmed, in a cluster that is open to clients."""
    leader, known, latch = observed.leader, observed.configuration, observed.status_latch
    if leader is not None and known is not None:
        if not leader.open:
            return "False", "Bootstrapping", f"{len(known.voters)} of {desired.spec.voters} vote"
        down = [p.id for p in known.voters if not _healthy(observed, p.id)]
        if down:
            return "True", "QuorumDegraded", f"the leader does not hear members {down}"
        return "True", "QuorumHealthy", f"all {len(known.voters)} voters hear their leader"
    if latch is None or not latch.bootstrapped:
        return "False", "Bootstrapping", "the cluster is not formed yet"
    return _leaderless(desired, observed)


def _leaderless(desired: Desired, observed: Observed) -> Verdict:
    """Without a confirmed leader: an election for some seconds, then an outage with its cause."""
    before = _previous(observed, "Available")
    if before and observed.leader_silent_s is not None and observed.leader_silent_s < QUIET_S_MAX:
        return before
    members = sum(answer.state == "member" for answer in observed.answers.values())
    if not observed.answers:
        return "False", "Unreachable", "no member answers the operator"
    voters = int(observed.status.get("voters", desired.spec.voters))
    if members < quorum(voters):
        return "False", "QuorumLost", f"{members} of {voters} voters answer; {quorum(voters)} must"
    return "False", "NoLeader", "members answer, but none of them can reach a majority"


def _ready(
    desired: Desired,
    observed: Observed,
    decided: Plan,
    blocked: Iterable[Blocked],
    available: Verdict,
) -> Verdict:
    for hindrance in blocked:
        return "False", hindrance.reason, hindrance.message
    if available[0] != "True":
        return "False", available[1], available[2]
    if decided.actions:
        return "False", "Working", str(decided)
    known = observed.configuration
    members = [observed.pod(peer.id) for peer in known.members] if known else []
    pods = [pod for pod in members if pod is not None]  # one that left may be stuck in its end
    unready = [pod.name for pod in pods if not pod.ready or pod.deleting]
    if unready or len(pods) < desired.spec.replicas:
        return "False", "MembersNotReady", f"{', '.join(unready) or 'a pod is missing'}"
    return "True", "AllMembersReady", ""


def _progressing(decided: Plan, blocked: Iterable[Blocked], observed: Observed) -> Verdict:
    for hindrance in blocked:
        if hindrance.reason in PROGRESS:
            reason = PROGRESS[hindrance.reason]
            moving = reason not in ("Stalled", "Unschedulable")
            return _truth(moving), reason, hindrance.message
    lost = [pod for pod in observed.lists.pods if pod.unschedulable]
    if lost:
        nodes = observed.lists.nodes
        among = f" ({len(nodes)} nodes)" if nodes is not None else ""
        return "False", "Unschedulable", f"{lost[0].name}{among}: {lost[0].unschedulable}"
    if decided.actions:
        reason = WORK.get(decided.rule, "Reconciling")
        return "True", reason, "; ".join(str(action) for action in decided.actions)
    return "False", "Idle", ""


def _degraded(desired: Desired, observed: Observed, blocked: Iterable[Blocked]) -> Verdict:
    for hindrance in blocked:
        if hindrance.reason in ("ReplaceBlocked", "VolumeLost", "AuthorityLost", "RolloutStuck"):
            return "True", hindrance.reason, hindrance.message
    known = observed.configuration
    if known is None:
        formed = observed.status_latch is not None and observed.status_latch.bootstrapped
        return ("Unknown" if formed else "False"), "NoLeader", "the configuration is not known"
    return _less_than_asked(desired, observed) or ("False", "FullRedundancy", "")


def _less_than_asked(desired: Desired, observed: Observed) -> Verdict | None:
    """Return the first thing that is less than what the spec asks for."""
    spec, known = desired.spec, observed.configuration
    assert known is not None, "asked only with a configuration"
    down = [peer.id for peer in known.voters if not _healthy(observed, peer.id)]
    away = [peer.id for peer in known.learners if not _healthy(observed, peer.id)]
    met, reason, topology = _topology(observed)
    strict = {
        "NodeShared": spec.scheduling.node_anti_affinity == "Required",
        "ZoneHoldsMajority": spec.scheduling.zone_spread == "Required",
    }
    found = (
        (down, "MemberDown", f"the leader does not hear members {down}"),
        (
            len(known.voters) < spec.voters,
            "VotersMissing",
            f"{len(known.voters)} of {spec.voters} vote",
        ),
        (
            len(known.learners) < spec.read_replicas,
            "ReadReplicasMissing",
            f"{len(known.learners)} of {spec.read_replicas} read replicas",
        ),
        (away, "ReadReplicaDown", f"the leader does not hear read replicas {away}"),
        (met == "False" and strict.get(reason), "TopologyUnsatisfied", topology),
    )
    return next((("True", why, told) for holds, why, told in found if holds), None)


def _topology(observed: Observed) -> Verdict:
    """Tell whether voters stand on distinct nodes, and no zone of several has a majority."""
    known, nodes = observed.configuration, observed.lists.nodes
    if known is None or nodes is None:
        return "Unknown", "NotKnown", "the configuration or the nodes are not known"
    zones = {node.name: node.zone for node in nodes}
    pods = [pod for peer in known.voters if (pod := observed.pod(peer.id)) and pod.node]
    shared = [node for node, count in Counter(pod.node for pod in pods).items() if count > 1]
    if shared:
        return "False", "NodeShared", f"several voters run on {', '.join(sorted(shared))}"
    held = Counter(zones.get(pod.node, "") for pod in pods)
    several = len({zone for zone in zones.values() if zone}) > 1
    full = [z for z, n in held.items() if z and n >= quorum(len(known.voters))]
    if several and full and len(known.voters) > 1:
        return "False", "ZoneHoldsMajority", f"a majority of the voters runs in zone {full[0]}"
    return "True", "Spread", ""


def _at_risk(observed: Observed) -> Verdict:
    known = observed.configuration
    if known is None:
        return "Unknown", "NoLeader", "the configuration is not known"
    voters = len(known.voters)
    healthy = sum(_healthy(observed, peer.id) for peer in known.voters)
    if healthy - 1 < quorum(voters):
        return "True", "FaultToleranceZero", f"{healthy} of {voters} voters are healthy"
    return "False", "SurvivesOneLoss", ""


def _tls(observed: Observed, blocked: Iterable[Blocked]) -> Verdict:
    for hindrance in blocked:
        if hindrance.reason == "AuthorityLost":
            return "False", hindrance.reason, hindrance.message
    if observed.lists.authority is None:
        return "False", "NoAuthority", "the CA is not made yet"
    return "True", "Valid", ""


def _phase(desired: Desired, available: Verdict, progressing: Verdict, degraded: Verdict) -> str:
    """Return one word for people; machines read conditions."""
    if desired.deleting:
        return "Terminating"
    if desired.spec.paused:
        return "Paused"
    if progressing[0] == "True" and progressing[1] == "Restoring":
        return "Recovering"
    if available[0] != "True":
        return "QuorumLost" if available[1] in ("QuorumLost", "NoLeader") else available[1]
    if progressing[0] == "True" and progressing[1] in ("Scaling", "Updating", "Replacing"):
        return progressing[1]
    return "Degraded" if degraded[0] == "True" else "Running"


def _previous(observed: Observed, kind: str) -> Verdict | None:
    for old in observed.status.get("conditions", ()):
        if old.get("type") == kind:
            return old.get("status", ""), old.get("reason", ""), old.get("message", "")
    return None


def _truth(value: bool) -> str:  # noqa: FBT001 it is what it turns into text
    return "True" if value else "False"
