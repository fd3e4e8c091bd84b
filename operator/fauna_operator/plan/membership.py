"""Who should be in the configuration? One change per pass, on the configuration that was seen.

Order of safety: a dead voter is replaced before it is removed (learner, catch up, one joint
change); a member that leaves is out of the committed configuration before its pod stops.
"""

from fauna_operator.model import Blocked, Peer
from fauna_operator.model.actions import (
    Change,
    ChangeMembership,
    Initialize,
    Open,
    Transfer,
    WriteLatch,
)
from fauna_operator.model.desired import quorum
from fauna_operator.model.latch import Latch
from fauna_operator.plan.view import EMPTY, NOTHING, Outcome, View

LEARNER_IDLE_S_MAX = 15 * 60.0  # without any progress: made again under a new id
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
    if leader is None or leader.open or voters < view.desired.spec.replicas:
        return NOTHING
    return Outcome((Open(leader.member_id, voters),))


def finish_learner(view: View) -> Outcome:
    """Bring the one learner to its end: promoted, swapped in, or dropped."""
    if not view.configuration.learners:
        return NOTHING
    learner = min(view.configuration.learners, key=lambda peer: peer.id)
    if _useless(view, learner):
        return Outcome((_change(view, "remove", learner.id),))
    progress = view.observed.progress(learner.id)
    if progress is not None and progress.caught_up and progress.nonce:
        return Outcome((_promotion(view, learner.id, progress.nonce),))
    pod = view.observed.pod(learner.id)
    if pod is not None and pod.unschedulable:
        return Outcome.stop("Unschedulable", f"member {learner.id}: {pod.unschedulable}")
    behind = f"{progress.lag} entries behind" if progress is not None else "not heard of yet"
    return Outcome.stop("CatchingUp", f"member {learner.id} is {behind}")


def _useless(view: View, learner: Peer) -> bool:
    """Tell whether nobody needs this learner any more, or it will never catch up."""
    needed = len(view.configuration.voters) < view.desired.spec.replicas
    if not needed and not view.lost_voters:
        return True
    claim, why = view.observed.claim(learner.id), view.lost(learner)
    if claim is not None and why and why != EMPTY:
        return True
    pod = view.observed.pod(learner.id)
    started = pod is not None and pod.phase == "Running"
    return started and view.observed.idle_s.get(learner.id, 0.0) > LEARNER_IDLE_S_MAX


def _promotion(view: View, serial: int, nonce: str) -> ChangeMembership:
    if not view.lost_voters:
        return _change(view, "promote", serial, nonce=nonce)
    out = view.lost_voters[0][0].id
    return _change(view, "swap", serial, nonce=nonce, outgoing=out)


def replace_lost(view: View) -> Outcome:
    """Add the successor of a voter whose volume is lost; guarded, and never many at once."""
    too_many = len(view.configuration.voters) > view.desired.spec.replicas
    if not view.lost_voters or too_many:  # then it is simply the first to leave
        return NOTHING
    lost, why = view.lost_voters[0]
    hindrance = _hindrance(view, lost)
    if hindrance is not None:
        blocked = Blocked("ReplaceBlocked", f"member {lost.id}, {why}: {hindrance}", final=True)
        return Outcome(blocked=(blocked,))
    return _add_member(view)


def _hindrance(view: View, lost: Peer) -> str | None:
    """Return why a lost voter may not be replaced now."""
    healing = view.desired.spec.self_healing
    voters = len(view.configuration.voters)
    if not healing.enabled:
        return "spec.selfHealing.enabled is false"
    if view.most_nodes_down():
        return "more than half of the nodes are NotReady"
    if not view.survives(lost.id, voters_after=voters):
        return f"fewer than {quorum(voters)} of the other voters are healthy"
    recent = [
        claim
        for claim in view.observed.lists.claims
        if claim.replaces and view.now - claim.created < HOUR_S
    ]
    if len(recent) >= healing.max_replacements_per_hour:
        return f"{len(recent)} members were replaced within the hour"
    return None


def reach_replicas(view: View) -> Outcome:
    """Add or remove one voter towards `spec.replicas`."""
    voters, wanted = len(view.configuration.voters), view.desired.spec.replicas
    if voters < wanted:
        return _add_member(view)
    if voters > wanted:
        return _remove_member(view)
    return NOTHING


def _add_member(view: View) -> Outcome:
    """Add the lowest serial that is taken and was never used, or take one first."""
    aside = {claim.serial for claim in view.observed.lists.claims if claim.quarantined}
    free = [serial for serial in view.joining if serial not in aside]
    if free:
        host = view.desired.host(free[0])
        return Outcome((_change(view, "add_learner", free[0], host=host),))
    latch = view.latch
    taken = Latch(
        latch.cluster_id,
        latch.incarnation,
        latch.seed,
        latch.next_member_serial + 1,
        latch.bootstrapped,
    )
    return Outcome((WriteLatch(taken),))


def _remove_member(view: View) -> Outcome:
    """Remove one voter: the broken first, then the youngest, the leader last."""
    leader = view.observed.leader
    assert leader is not None, "know_configuration has seen one"
    voters = sorted(view.configuration.voters, key=lambda peer: -peer.id)
    victim = min(
        voters,
        key=lambda peer: (view.healthy(peer.id), peer.id == leader.member_id, -peer.id),
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
