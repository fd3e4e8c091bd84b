"""Does every pod run what is asked? One at a time, followers first, the leader last.

A pod is deleted only while every other voter is healthy, so a template that does not start stops
the rollout at its first victim.
"""

from fauna_operator.model import Pod
from fauna_operator.model.actions import Delete, Transfer
from fauna_operator.plan.view import NOTHING, Outcome, View
from fauna_operator.render import template_hash


def roll_out(view: View) -> Outcome:
    """Delete the next pod whose template differs; `keep_pods` brings it back as it should be."""
    wanted = template_hash(view.desired)
    behind = [pod for pod in view.observed.lists.pods if pod.template_hash != wanted]
    if not behind:
        return NOTHING
    leader = view.observed.leader
    assert leader is not None, "know_configuration has seen one"
    victim = min(
        behind,
        key=lambda pod: (pod.ready, pod.serial == leader.member_id, pod.serial),
    )
    voters = view.configuration.voters
    waiting = [p for p in voters if p.id != victim.serial and not _settled(view, p.id)]
    if victim.deleting or waiting:
        first = waiting[0].id if waiting else victim.serial
        return Outcome.stop("RolloutWaits", f"member {first} is not ready yet")
    if victim.serial == leader.member_id and len(voters) > 1:
        heir = next(peer.id for peer in voters if peer.id != victim.serial)
        return Outcome((Transfer(leader.member_id, heir, "its pod is next"),))
    return Outcome((_delete(victim, wanted),))


def _settled(view: View, serial: int) -> bool:
    pod = view.observed.pod(serial)
    return pod is not None and pod.ready and not pod.deleting and view.healthy(serial)


def _delete(pod: Pod, wanted: str) -> Delete:
    why = f"template {pod.template_hash or 'unknown'} is not {wanted}"
    return Delete("Pod", pod.name, pod.uid, pod.resource_version, why)
