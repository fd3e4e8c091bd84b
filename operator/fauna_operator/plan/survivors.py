"""Which member keeps its data when a majority is lost for ever, and may anything be done yet?

SAFETY 25 and OPERATOR.md §7. A survivor is chosen while everybody who can answer answers, because
who is stopped cannot be asked. Until the new incarnation is latched, a leader ends it all.
Trap: unreachable is not stopped. Whoever does not answer us may still serve clients.
"""

from typing import assert_never

import msgspec

from fauna_operator.model import Answer, Pod
from fauna_operator.model.desired import quorum
from fauna_operator.model.restores import FENCING, Loss, Request
from fauna_operator.plan.fences import fence, floor_of, loss_of, refuse, report, waits
from fauna_operator.plan.view import EXIT_IDENTITY, Outcome, View

LEADERLESS_S_MIN = 15.0  # an election is shorter; a longer silence is an outage


class Choice(msgspec.Struct, frozen=True):
    """The member that has most."""

    answer: Answer


class Wait(msgspec.Struct, frozen=True):
    """Not yet, or not until a person does something."""

    why: str


class Refuse(msgspec.Struct, frozen=True):
    """Never by this request."""

    why: str


def survive(view: View, request: Request) -> Outcome:
    """Choose, fence, and say who: the caller latches it. `NOTHING` is: all is fenced."""
    match judge(view, request):
        case Refuse(why):
            return refuse(view, request, why)
        case Wait(why):
            # missing pods come back meanwhile: who has no pod cannot be asked
            outcome = waits(view, request, why)
            return outcome if outcome.actions or _chosen(request) else Outcome.note("Waits", why)
        case Choice(answer):
            return _fence_others(view, request, answer)
        case verdict:
            assert_never(verdict)


def _chosen(request: Request) -> bool:
    return request.status.phase == FENCING


def _fence_others(view: View, request: Request, answer: Answer) -> Outcome:
    serial, known = answer.member_id, request.status
    now = (FENCING, serial, answer.last)
    if (known.phase, known.member, known.restored_index) != now:
        return _announce(view, request, answer)
    return fence(view, request, but=serial)


def _announce(view: View, request: Request, answer: Answer) -> Outcome:
    """Write down who keeps its data and what that costs, before anybody is stopped."""
    loss = loss_of(view, answer.last, but=answer.member_id)
    told = {
        "survivor": view.desired.member(answer.member_id),
        "member": answer.member_id,
        "old_cluster_id": view.latch.cluster_id,
        "new_cluster_id": view.latch.cluster_id,
        "old_incarnation": view.latch.incarnation,
        "new_incarnation": view.latch.incarnation + 1,
        "floor_ts": floor_of(view),
        "restored_index": answer.last,
        "lost_at_least": loss,
        "lost_from_index": answer.last + 1 if _loses(loss) else 0,
    }
    if request.spec.dry_run:
        return report(view, request, phase="Completed", message=_sentence(loss, answer), **told)
    return report(view, request, phase=FENCING, message="stopping the other members", **told)


def _loses(loss: Loss | None) -> bool:
    return loss is not None and loss.entries > 0


def _sentence(loss: Loss | None, answer: Answer) -> str:
    known = f"at least {loss.entries} entries" if loss and loss.entries else "nothing that is known"
    return f"member {answer.member_id} would go on from entry {answer.last}; lost: {known}"


def judge(view: View, request: Request) -> Choice | Wait | Refuse:
    """Say whether the request may be carried out now, and with whom."""
    observed = view.observed
    leader = next((a for a in observed.answers.values() if a.role == "leader"), None)
    if leader is not None and leader.configuration is not None:
        return Refuse(f"member {leader.member_id} leads a majority: nothing is lost for ever")
    named = next((a for a in observed.answers.values() if a.leader is not None), None)
    if named is not None and named.leader is not None:
        return Wait(f"member {named.member_id} still follows member {named.leader.id}")
    if observed.leaderless_s < LEADERLESS_S_MIN:
        return Wait(f"nobody leads, for less than {LEADERLESS_S_MIN:.0f} s: an election may run")
    asked = _chosen(request)  # who was asked to end will end, and is waited for
    pods = [pod for pod in observed.lists.pods if not (asked and pod.deleting)]
    unseen = [pod.serial for pod in pods if may_serve(view, pod)]
    voters = int(observed.status.get("voters", view.desired.spec.voters))
    if len(unseen) >= quorum(voters):
        return Wait(
            f"members {unseen} do not answer and may serve clients without us: end their pods, or "
            "mark their nodes with the taint node.kubernetes.io/out-of-service"
        )
    return _chosen_already(view, request) or _best(view, request)


def may_serve(view: View, pod: Pod) -> bool:
    """Tell whether a member that does not answer may be running all the same."""
    if pod.serial in view.observed.answers or not pod.node or view.node_is_gone(pod):
        return False
    ended = pod.phase in ("Failed", "Succeeded")
    return not (ended or pod.waiting or pod.exit_code == EXIT_IDENTITY)


def _chosen_already(view: View, request: Request) -> Choice | Wait | Refuse | None:
    """Keep to the choice that is written down, unless somebody with more turns up."""
    serial = request.status.member
    if not _chosen(request):
        return None
    claim, answer = view.observed.claim(serial), view.observed.answers.get(serial)
    if claim is None or claim.deleting or claim.quarantined or claim.phase == "Lost":
        return Refuse(f"the volume of member {serial}, which was to go on, is gone")
    if answer is None:
        return Wait(f"member {serial}, which is to go on, does not answer")
    if answer.state != "member":
        return Refuse(f"member {serial}, which was to go on, says that it is {answer.state}")
    better = [a for a in candidates(view) if _has(a) > _has(answer)]
    return Choice(answer) if not better else None


def _best(view: View, request: Request) -> Choice | Wait | Refuse:
    found, source = candidates(view), request.spec.source.surviving_member
    assert source is not None, "the caller has looked"
    missing = [
        claim.serial
        for claim in view.observed.lists.claims
        if not claim.quarantined and not claim.deleting and claim.phase != "Lost"
        if claim.serial not in view.observed.answers and not _hopeless(view, claim.serial)
    ]
    if source.auto and missing and not _chosen(request):
        return Wait(f"members {missing} have volumes and do not answer; they may have more")
    if source.auto:
        return Choice(found[0]) if found else Refuse("no member answers from a volume with data")
    named = next((a for a in found if view.desired.member(a.member_id) == source.name), None)
    if named is None:
        return Wait(f"{source.name} does not answer from a volume with data")
    if _has(found[0]) > _has(named):
        return Refuse(
            f"member {found[0].member_id} has more than {source.name}: up to entry "
            f"{found[0].last_term}/{found[0].last}, not {named.last_term}/{named.last}"
        )
    return Choice(named)


def _hopeless(view: View, serial: int) -> bool:
    """Tell whether a member with a volume cannot answer for a reason that stays."""
    pod = view.observed.pod(serial)
    if pod is None:
        return False  # it comes back on its volume, and is asked
    broken = pod.exit_code == EXIT_IDENTITY
    return broken or bool(pod.unschedulable) or view.node_is_gone(pod)


def candidates(view: View) -> list[Answer]:
    """Return who answers from a directory of this incarnation, the one with most first."""
    latch, found = view.latch, []
    for serial, answer in view.observed.answers.items():
        claim = view.observed.claim(serial)
        usable = claim is not None and not claim.quarantined and not claim.deleting
        mine = (answer.cluster_id, answer.incarnation) == (latch.cluster_id, latch.incarnation)
        if usable and mine and answer.state == "member" and answer.last:
            found.append(answer)
    return sorted(found, key=lambda a: (*(-part for part in _has(a)), a.member_id))


def _has(answer: Answer) -> tuple[int, int]:
    """Return what decides who has more: Raft §5.4.1."""
    return answer.last_term, answer.last
