"""What is the next step? `plan(desired, observed, now)`, pure, the same answer for the same facts.

Rules are asked in order; each first asks whether its thing is already so; the first that changes
something ends the pass, and the next pass looks again. A rule may instead say what hinders it:
that becomes a condition, and if nothing after it may run, the pass ends too.

House rules: no rule remembers anything; permission to take something away comes from the
committed configuration as the leader just showed it, never from a label or a status that we
wrote; what is unknown is never treated as absent.
"""

from collections.abc import Callable

from fauna_operator.model import Blocked, Desired, Observed, Plan
from fauna_operator.plan import identity, membership, recovery, rollout, upkeep
from fauna_operator.plan.view import NOTHING, Outcome, View

Rule = Callable[[View], Outcome]


def stop_when_deleted(view: View) -> Outcome:
    """A resource that is being deleted is left to the garbage collector; volumes stay."""
    if view.desired.deleting:
        return Outcome.stop("Deleting", "the resource is being deleted; its volumes are kept")
    return NOTHING


def stop_when_paused(view: View) -> Outcome:
    """Nothing is touched while a person works by hand."""
    if view.desired.spec.paused:
        return Outcome.stop("Paused", "spec.paused is true: nothing is changed")
    return NOTHING


RULES: tuple[Rule, ...] = (
    stop_when_deleted,
    stop_when_paused,
    identity.settle_identity,
    recovery.recover,
    upkeep.keep_objects,
    upkeep.keep_claims,
    recovery.fill_seed,
    upkeep.keep_pods,
    rollout.judge_template,
    upkeep.clear_broken_pods,
    membership.bootstrap,
    membership.know_configuration,
    recovery.settle_beginning,
    upkeep.keep_marks,
    upkeep.retire_members,
    membership.finish_change,
    membership.open_to_clients,
    membership.drop_lost_learner,
    membership.replace_lost,
    membership.drop_spare_learner,
    membership.reach_voters,
    membership.reach_replicas,
    rollout.roll_out,
)


def plan(desired: Desired, observed: Observed, now: float) -> Plan:
    """Decide the next step; `now` is seconds since 1970."""
    view = View(desired, observed, now)
    hindered: list[Blocked] = []
    for rule in RULES:
        outcome = rule(view)
        hindered.extend(outcome.blocked)
        if outcome.actions or any(blocked.final for blocked in outcome.blocked):
            return Plan(outcome.actions, rule.__name__, tuple(hindered))
    return Plan((), "", tuple(hindered))


__all__ = ["RULES", "Rule", "plan"]
