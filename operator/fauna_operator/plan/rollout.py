"""Does every pod run what is asked? The broken first, followers, the leader last, one at a time.

The next one is taken only when the one before has been Ready for a while and has caught up. A
member that does not become Ready in time ends the rollout: its template is remembered as failed,
and the member gets the last template back with which all were Ready. The others stay as they
are until the spec asks for something else.

What is remembered lies in the ConfigMap `{cluster}-template`, which goes with the resource: the
spec that rendered the last good template (not the pod: an operator of tomorrow renders it the
same, or its golden test would have failed), and the hash of the failed one. Without it nothing
can be undone, and nothing worse happens. Take the key `failed` away to try again.
"""

from fauna_operator.model import Pod, Remember, Templates
from fauna_operator.model.actions import Delete, Transfer
from fauna_operator.plan.view import NOTHING, Outcome, View
from fauna_operator.render import template_hash, template_map


def judge_template(view: View) -> Outcome:
    """Remember that a template failed, once a member has not become Ready with it in time."""
    known = view.observed.lists.templates
    if view.template_failed:
        where = [p.name for p in view.observed.lists.pods if p.template_hash == known.failed]
        return Outcome.note(
            "RolloutStuck",
            f"a member did not become Ready with template {known.failed}; it has {known.good} "
            f"again, and {', '.join(where) or 'none'} keeps the new one. Correct the spec, or "
            f"remove the key `failed` of ConfigMap {view.desired.name}-template to try again",
        )
    if known.good in ("", view.asked_hash):
        return NOTHING
    blamed = [pod for pod in view.observed.lists.pods if _blames_template(view, pod)]
    if not blamed:
        return NOTHING
    failed = Templates(known.good, known.spec, view.asked_hash)
    why = f"that {blamed[0].name} did not become Ready with {view.asked_hash}"
    return Outcome((Remember(template_map(view.desired, failed), why),))


def _blames_template(view: View, pod: Pod) -> bool:
    """Tell whether a pod has not become Ready in time, and neither node nor volume is why."""
    if pod.template_hash != view.asked_hash or pod.ready or pod.deleting:
        return False
    answer = view.observed.answers.get(pod.serial)
    joining = answer is not None and answer.state == "waiting"  # it runs, and has no data yet
    known = view.observed.configuration
    peer = next((p for p in known.members if p.id == pod.serial), None) if known else None
    if known is not None and (peer is None or view.lost(peer)):  # it left, or has lost its data
        return False
    return view.overdue(pod) and view.node_is_ready(pod) and not joining


def roll_out(view: View) -> Outcome:
    """Delete the next pod whose template differs; `keep_pods` brings it back as it should be."""
    wanted = template_hash(view.rendered)
    behind = [pod for pod in view.observed.lists.pods if _is_behind(view, pod, wanted)]
    if not behind:
        return _remember_good(view)
    broken = [pod for pod in behind if not pod.ready and not view.healthy(pod.serial)]
    for victim in sorted(broken, key=lambda pod: pod.serial):
        if not victim.deleting:  # it takes part in nothing, so nobody need be waited for
            return Outcome((_delete(victim, wanted),))
    leader = view.observed.leader
    assert leader is not None, "know_configuration has seen one"
    voters = {peer.id for peer in view.configuration.voters}
    victim = min(
        behind,
        key=lambda pod: (pod.serial == leader.member_id, pod.serial in voters, pod.serial),
    )
    waiting = _unsettled(view, victim, wanted)
    if victim.deleting or waiting:
        first = waiting[0] if waiting else victim.serial
        return Outcome.stop("RolloutWaits", f"member {first} is not ready yet")
    if victim.serial == leader.member_id and len(voters) > 1:
        return Outcome((Transfer(leader.member_id, _heir(view, victim.serial), "its pod is next"),))
    return Outcome((_delete(victim, wanted),))


def _is_behind(view: View, pod: Pod, wanted: str) -> bool:
    """Tell whether a pod should run something else; Ready with what failed elsewhere is fine."""
    tolerated = view.template_failed and pod.ready and pod.template_hash == view.asked_hash
    return pod.template_hash != wanted and not tolerated


def _remember_good(view: View) -> Outcome:
    """Remember the template with which all members have been Ready for a while."""
    known = view.observed.lists.templates
    if view.template_failed or (known.good == view.asked_hash and not known.failed):
        return NOTHING
    members = [peer.id for peer in view.configuration.members]
    if not all(_settled(view, serial) for serial in members):
        return NOTHING
    good = Templates(view.asked_hash, view.desired.spec)
    return Outcome((Remember(template_map(view.desired, good), "the template that all run"),))


def _unsettled(view: View, victim: Pod, wanted: str) -> list[int]:
    """Return the members that must be back before the next one is taken."""
    others = [p for p in view.configuration.members if p.id != victim.serial]
    voters = {peer.id for peer in view.configuration.voters}
    found = []
    for peer in others:
        pod = view.observed.pod(peer.id)
        taken = pod is not None and pod.template_hash == wanted and not view.overdue(pod)
        if (peer.id in voters or taken) and not _settled(view, peer.id):
            found.append(peer.id)
    return found


def _settled(view: View, serial: int) -> bool:
    pod = view.observed.pod(serial)
    if pod is None or not pod.ready or pod.deleting or not view.healthy(serial):
        return False
    least_s = view.desired.spec.update_strategy.min_ready_seconds
    return view.observed.ready_s.get(pod.uid, 0.0) >= least_s


def _heir(view: View, leader: int) -> int:
    """Return the voter that has most of the log, of those that are settled."""

    def match(serial: int) -> int:
        progress = view.observed.progress(serial)
        return progress.match if progress is not None else 0

    others = [peer.id for peer in view.configuration.voters if peer.id != leader]
    return max(others, key=lambda serial: (match(serial), -serial))


def _delete(pod: Pod, wanted: str) -> Delete:
    why = f"template {pod.template_hash or 'unknown'} is not {wanted}"
    return Delete("Pod", pod.name, pod.uid, pod.resource_version, why)
