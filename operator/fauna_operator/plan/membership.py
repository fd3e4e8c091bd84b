"""Who should be in the configuration? One change per pass, on the configuration that was seen.

Order of safety: a dead voter is replaced before it is removed (learner, catch up, one joint
change); a member that leaves is out of the committed configuration before its pod stops. A
learner that nobody needs any more is dropped, whatever it was added for: so every operation can
be called off until its promotion has committed.

Voters come first, read replicas last. At most one learner at a time is on its way to a vote; the
others are read replicas, which stay learners for ever and never count.
"""

import msgspec

from fauna_operator.model import Peer
from fauna_operator.model.actions import (
    Change,
    ChangeMembership,
    Initialize,
    Open,
    Transfer,
    WriteLatch,
)
from fauna_operator.model.desired import quorum, seconds
from fauna_operator.plan.view import NOTHING, Outcome, View

HOUR_S = 3_600.0


def bootstrap(view: View) -> Outcome:
    """Tell exactly one empty member to form the cluster; which one was stored before."""
    latch = view.latch
    if latch.bootstrapped:
        return NOTHING
    seed = view.observed.answers.get(latch.seed)
    if seed is None:
        why = view.observed.silences.get(latch.seed, "it has no pod yet")
        return Outcome.stop("Bootstrapping", f"waiting for member {latch.seed}: {why}")
    return Outcome((Initialize(latch.seed, latch.cluster_id, latch.incarnation),))


def know_configuration(view: View) -> Outcome:
    """Without a leader's own word nothing that follows may run."""
    if view.observed.configuration is not None:
        return NOTHING
    emptied = [
        claim.serial
        for claim in view.observed.lists.claims
        if claim.nonce and not claim.quarantined and _is_waiting(view, claim.serial)
    ]
    if emptied:
        return Outcome.stop(
            "VolumeLost",
            f"the volumes of members {emptied} were emptied and no majority is left: restore "
            "from a backup, or recover from a surviving member",
        )
    silent = ", ".join(f"{serial}: {why}" for serial, why in view.observed.silences.items())
    return Outcome.stop(
        "NoLeader",
        "no member shows a committed configuration"
        + (f"; not heard: {silent}" if silent else "; an election may be running"),
    )


def _is_waiting(view: View, serial: int) -> bool:
    answer = view.observed.answers.get(serial)
    return answer is not None and answer.state == "waiting"


def finish_change(view: View) -> Outcome:
    """A change that is not committed yet is waited for."""
    if view.configuration.pending or view.configuration.voters_outgoing:
        return Outcome.stop("ChangePending", "a membership change is being committed")
    return NOTHING


def open_to_clients(view: View) -> Outcome:
    """Let clients write once, when there are as many voters as asked."""
    leader, voters = view.observed.leader, len(view.configuration.voters)
    if leader is None or leader.open or voters < view.desired.spec.voters:
        return NOTHING
    return Outcome((Open(leader.member_id, voters),))


def drop_lost_learner(view: View) -> Outcome:
    """Take a learner out whose data is lost; who needs one adds another, under a new id."""
    for learner in view.configuration.learners:
        why = view.lost(learner)
        fresh = view.observed.claim(learner.id) is None and not _heard(view, learner)
        if not why or fresh:
            continue
        hindrance = _reserve(view)
        if hindrance:
            return Outcome.note("ReplaceBlocked", f"member {learner.id}, {why}: {hindrance}")
        return Outcome((_change(view, "remove", learner.id),))
    return NOTHING


def _heard(view: View, learner: Peer) -> bool:
    progress = view.observed.progress(learner.id)
    return progress is not None and progress.match > 0


def replace_lost(view: View) -> Outcome:
    """Bring in the successor of a voter that is lost; guarded, and never many at once."""
    too_many = len(view.configuration.voters) > view.desired.spec.voters
    if not view.lost_voters or too_many:  # then it is simply the first to leave
        return NOTHING
    successor = _successor(view)
    lost, why = _succeeded(view, successor)
    hindrance = _hindrance(view, lost) or ("" if successor else _too_often(view))
    if hindrance:
        return Outcome.note("ReplaceBlocked", f"member {lost.id}, {why}: {hindrance}")
    if successor is None:
        return _add_member(view)
    leader = view.observed.leader
    assert leader is not None, "know_configuration has seen one"
    heirs = [p.id for p in view.configuration.voters if p.id != lost.id and view.healthy(p.id)]
    if lost.id == leader.member_id and heirs and _caught_up(view, successor):
        return Outcome((Transfer(lost.id, heirs[0], "its volume is lost"),))
    return _finish(view, successor, lost)


def _successor(view: View) -> Peer | None:
    """Return the learner that was added for a lost voter: one at a time, whoever was lost since.

    Its claim says so, or it is one too many for a read replica: one of the first members, whose
    claim is older than the loss.
    """
    learners = sorted(view.configuration.learners, key=lambda peer: peer.id)
    for learner in learners:
        claim = view.observed.claim(learner.id)
        if claim is None or claim.replaces:
            return learner
    return learners[-1] if len(learners) > view.desired.spec.read_replicas else None


def _succeeded(view: View, successor: Peer | None) -> tuple[Peer, str]:
    """Return the lost voter whose turn it is: the one that the successor was added for."""
    claim = view.observed.claim(successor.id) if successor is not None else None
    meant = [found for found in view.lost_voters if claim and found[0].id == claim.replaces]
    return (meant or view.lost_voters)[0]


def _hindrance(view: View, lost: Peer) -> str:
    """Return why a lost voter may not be replaced now, "" when it may."""
    voters = len(view.configuration.voters)
    others = [peer for peer in view.configuration.voters if peer.id != lost.id]
    # one whose claim is on its way out still holds its data, and counts while it is heard
    present = sum(view.healthy(peer.id) for peer in others) + view.healthy(lost.id)
    if reserve := _reserve(view):
        return reserve
    return "" if present >= quorum(voters) else f"fewer than {quorum(voters)} others are healthy"


def _reserve(view: View) -> str:
    """Return why nothing is replaced now, however lost it looks."""
    if not view.desired.spec.self_healing.enabled:
        return "spec.selfHealing.enabled is false"
    return "more than half of the nodes are NotReady" if view.most_nodes_down() else ""


def _too_often(view: View) -> str:
    recent = [
        claim
        for claim in view.observed.lists.claims
        if claim.replaces and view.now - claim.created < HOUR_S
    ]
    if len(recent) >= view.desired.spec.self_healing.max_replacements_per_hour:
        return f"{len(recent)} members were replaced within the hour"
    return ""


def drop_spare_learner(view: View) -> Outcome:
    """Take out the youngest learner that is more than what is asked, the broken ones first."""
    spec, configuration = view.desired.spec, view.configuration
    successors = set[int]()
    if len(configuration.voters) <= spec.voters and spec.self_healing.enabled:
        successor = _successor(view) if view.lost_voters else None
        successors = {successor.id} if successor is not None else set()
    missing = max(0, spec.voters - len(configuration.voters))
    useful = spec.read_replicas + max(missing, len(successors))
    if len(configuration.learners) <= useful:
        return NOTHING
    victim = min(
        configuration.learners, key=lambda p: (p.id in successors, view.healthy(p.id), -p.id)
    )
    return Outcome((_change(view, "remove", victim.id),))


def reach_voters(view: View) -> Outcome:
    """Add or remove one voter towards what is asked; even numbers are only passed through."""
    voters, wanted = len(view.configuration.voters), view.desired.spec.voters
    if voters > wanted:
        return _remove_voter(view)
    if voters == wanted:
        return NOTHING
    learners = sorted(
        view.configuration.learners,
        key=lambda p: (not _caught_up(view, p), _stalled(view, p), p.id),
    )
    return _finish(view, learners[0]) if learners else _add_member(view)


def reach_replicas(view: View) -> Outcome:
    """Add one read replica; it is not waited for, because nothing counts on it."""
    if len(view.configuration.learners) < view.desired.spec.read_replicas:
        return _add_member(view)
    return NOTHING


def _finish(view: View, learner: Peer, lost: Peer | None = None) -> Outcome:
    """Bring a learner to its vote: now, or when it has caught up, or never."""
    progress = view.observed.progress(learner.id)
    if progress is not None and progress.caught_up and progress.nonce:
        if lost is None:
            return Outcome((_change(view, "promote", learner.id, nonce=progress.nonce),))
        change = _change(view, "swap", learner.id, nonce=progress.nonce, outgoing=lost.id)
        return Outcome((change,))
    if _stalled(view, learner):
        return Outcome((_change(view, "remove", learner.id),))
    pod = view.observed.pod(learner.id)
    if pod is not None and pod.unschedulable:
        return Outcome.stop("Unschedulable", f"member {learner.id}: {pod.unschedulable}")
    behind = f"{progress.lag} entries behind" if progress is not None else "not heard of yet"
    return Outcome.stop("CatchingUp", f"member {learner.id} is {behind}")


def _caught_up(view: View, learner: Peer) -> bool:
    progress = view.observed.progress(learner.id)
    return progress is not None and progress.caught_up


def _stalled(view: View, learner: Peer) -> bool:
    """Tell whether a learner has run for long and got nowhere: another one may."""
    pod = view.observed.pod(learner.id)
    started = pod is not None and pod.phase == "Running"
    limit_s = seconds(view.desired.spec.update_strategy.member_ready_timeout)
    idle_s = view.observed.idle_s.get(learner.id, 0.0)
    return started and not _caught_up(view, learner) and idle_s > limit_s


def _add_member(view: View) -> Outcome:
    """Add the lowest serial that is taken and was never used, or take one first."""
    aside = {claim.serial for claim in view.observed.lists.claims if claim.quarantined}
    free = [serial for serial in view.joining if serial not in aside]
    if free:
        host = view.desired.host(free[0])
        return Outcome((_change(view, "add_learner", free[0], host=host),))
    latch = view.latch
    taken = msgspec.structs.replace(latch, next_member_serial=latch.next_member_serial + 1)
    return Outcome((WriteLatch(taken),))


def _remove_voter(view: View) -> Outcome:
    """Remove one voter: the broken first, the youngest of the fullest zone, the leader last."""
    leader = view.observed.leader
    assert leader is not None, "know_configuration has seen one"
    voters = view.configuration.voters
    lost = {peer.id for peer, _ in view.lost_voters}
    zones = [view.zone(peer.id) for peer in voters]
    victim = min(
        voters,
        key=lambda peer: (
            peer.id not in lost,
            view.healthy(peer.id),
            peer.id == leader.member_id,
            -zones.count(view.zone(peer.id)),
            -peer.id,
        ),
    )
    if not view.survives(victim.id, voters_after=len(voters) - 1):
        return Outcome.stop("RemoveBlocked", f"without member {victim.id} there is no majority")
    if victim.id == leader.member_id:
        heir = next(p.id for p in voters if p.id != victim.id and view.healthy(p.id))
        return Outcome((Transfer(leader.member_id, heir, "the leader leaves last"),))
    return Outcome((_change(view, "remove", victim.id),))


def _change(
    view: View, op: Change, serial: int, *, host: str = "", nonce: str = "", outgoing: int = 0
) -> ChangeMembership:
    leader = view.observed.leader
    assert leader is not None, "know_configuration has seen one"
    return ChangeMembership(
        op,
        leader.member_id,
        serial,
        view.configuration.id,
        host=host,
        nonce=nonce,
        outgoing=outgoing,
    )
