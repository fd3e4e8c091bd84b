"""The questions that rules ask of desired and observed, answered in one place.

Trap: `View.latch` is the merged latch; a rule after `settle_identity` may rely on it being
stored, one before may not.
"""

from dataclasses import dataclass
from functools import cached_property

import msgspec

from fauna_operator.model import (
    Action,
    Blocked,
    Configuration,
    Desired,
    Latch,
    Observed,
    Peer,
    Pod,
)
from fauna_operator.model.desired import quorum, seconds
from fauna_operator.model.latch import merge
from fauna_operator.model.observed import CONTACT_MS_MAX
from fauna_operator.render import template_hash

LAG_ENTRIES_MAX = 1_000  # more is behind; the readiness of a member uses the same number
EXIT_IDENTITY = 78  # sysexits EX_CONFIG: identity or corruption
NODE_GONE_S_MAX = 60.0  # a kubelet that starts anew may register its node again
EMPTY = "its volume is empty"
# the reasons of exit 78 that say "this directory cannot be believed", by itself or by its peers,
# who know another one under its name; "identity" is a person's work
CORRUPT = frozenset({"chain", "frame", "header", "log", "snapshot", "state", "wrong-nonce"})


class Outcome(msgspec.Struct, frozen=True):
    """What one rule wants: actions, or the reason why not, or nothing."""

    actions: tuple[Action, ...] = ()
    blocked: tuple[Blocked, ...] = ()

    @classmethod
    def stop(cls, reason: str, message: str) -> "Outcome":
        """Nothing after this rule may run."""
        return cls(blocked=(Blocked(reason, message, final=True),))

    @classmethod
    def note(cls, reason: str, message: str) -> "Outcome":
        """This rule cannot do its work; others may."""
        return cls(blocked=(Blocked(reason, message),))


NOTHING = Outcome()


@dataclass(frozen=True)
class View:
    """Desired and observed of one pass."""

    desired: Desired
    observed: Observed
    now: float

    @cached_property
    def latch(self) -> Latch:
        """Return the identity. Only for rules after `settle_identity`."""
        observed = self.observed
        stored = (("status", observed.status_latch), ("the ConfigMap", observed.map_latch))
        latch = merge((where, latch) for where, latch in stored if latch is not None)
        assert isinstance(latch, Latch), "settle_identity lets nobody past without one"
        return latch

    @property
    def configuration(self) -> Configuration:
        """Return the committed configuration. Only for rules after `know_configuration`."""
        found = self.observed.configuration
        assert found is not None, "know_configuration lets nobody past without one"
        return found

    @cached_property
    def joining(self) -> range:
        """Return the serials that are taken but were never in a configuration."""
        configuration = self.observed.configuration
        if configuration is None:
            return range(0)
        return range(configuration.highest_member_id + 1, self.latch.next_member_serial)

    @cached_property
    def serials(self) -> tuple[int, ...]:
        """Return the members that should have a pod.

        Before there is a configuration the first ones; then those in it, and those of the first
        that wait for their turn. Unknown configuration: whoever has a volume.
        """
        latch, leader = self.latch, self.observed.leader
        if not latch.bootstrapped:
            return tuple(latch.first_members)
        if leader is None or leader.configuration is None:
            claims = (claim for claim in self.observed.lists.claims if not claim.quarantined)
            return tuple(sorted(claim.serial for claim in claims))
        members = [peer.id for peer in leader.configuration.members]
        missing = max(0, self.desired.spec.replicas - len(members))
        volumes = {claim.serial for claim in self.observed.lists.claims if not claim.quarantined}
        waiting = [serial for serial in self.joining if not leader.open or serial in volumes]
        return tuple(sorted({*members, *waiting[:missing]}))

    @cached_property
    def rendered(self) -> Desired:
        """Return what pods are rendered from: the spec, or the last good one if that failed."""
        good = self.observed.lists.templates.spec
        if not self.template_failed or good is None:
            return self.desired
        return msgspec.structs.replace(self.desired, spec=good)

    @cached_property
    def asked_hash(self) -> str:
        """Return the hash of the template that the spec asks for."""
        return template_hash(self.desired)

    @property
    def template_failed(self) -> bool:
        """Tell whether a member did not become Ready with what the spec asks for."""
        known = self.observed.lists.templates
        return known.failed == self.asked_hash and known.good not in ("", known.failed)

    def overdue(self, pod: Pod) -> bool:
        """Tell whether a pod has not become Ready for longer than it may take."""
        limit_s = seconds(self.desired.spec.update_strategy.member_ready_timeout)
        return self.observed.unready_s.get(pod.uid, 0.0) > limit_s

    def lost(self, peer: Peer) -> str:
        """Return why a member is lost for ever, "" when it is not known to be."""
        return self._lost_claim(peer) or self._lost_directory(peer) or self._lost_node(peer)

    def _lost_claim(self, peer: Peer) -> str:
        claim = self.observed.claim(peer.id)
        if claim is None:
            return "its volume claim is gone"
        if claim.deleting:
            return "its volume claim is being deleted"
        return "its volume is gone" if claim.phase == "Lost" else ""

    def _lost_directory(self, peer: Peer) -> str:
        """Hold what lies on the volume against what was there when we looked before."""
        answer, pod = self.observed.answers.get(peer.id), self.observed.pod(peer.id)
        claim = self.observed.claim(peer.id)
        held = peer.nonce or (claim.nonce if claim is not None else "")
        if answer is not None and answer.state == "waiting":
            return EMPTY if held or peer in self.configuration.voters else ""
        if answer is not None and held and answer.nonce not in (held, None):
            return "its volume holds another directory"
        stopped = answer is None and pod is not None and not pod.ready
        if stopped and pod is not None and pod.exit_code == EXIT_IDENTITY:
            return pod.exit_detail or pod.exit_reason if pod.exit_reason in CORRUPT else ""
        return ""

    def _lost_node(self, peer: Peer) -> str:
        """Judge by what lasted: each of these may be over in a minute, but for the timers."""
        observed = self.observed
        if peer.id in observed.answers:
            return ""
        if observed.node_gone_s.get(peer.id, 0.0) > NODE_GONE_S_MAX:
            return "the node of its volume is gone"
        after = self.desired.spec.self_healing.unreachable_after
        unheard_s = observed.unheard_s.get(peer.id, 0.0)
        if after and unheard_s > seconds(after) and not self._explained(peer.id):
            return f"unreachable for longer than {after}"
        return ""

    def _explained(self, serial: int) -> bool:
        """Tell whether silence has a cause that another member would share, or is no wonder."""
        pod, claim = self.observed.pod(serial), self.observed.claim(serial)
        if claim is not None and not claim.nonce:  # it never joined
            return True
        if pod is None or pod.ready:
            return pod is None
        fails = bool(pod.node) and self.node_is_ready(pod)  # its kubelet says why
        rolling = self.observed.lists.templates.good not in ("", self.asked_hash)
        return fails or (rolling and pod.template_hash == self.asked_hash)

    @cached_property
    def lost_voters(self) -> tuple[tuple[Peer, str], ...]:
        """Return the voters that are lost, with the reason, in order of ids."""
        found = ((peer, self.lost(peer)) for peer in self.configuration.voters)
        return tuple(sorted(((peer, why) for peer, why in found if why), key=lambda p: p[0].id))

    def healthy(self, serial: int) -> bool:
        """Tell whether the leader hears this member now and it is not far behind."""
        leader, progress = self.observed.leader, self.observed.progress(serial)
        if leader is not None and leader.member_id == serial:
            return True
        return (
            progress is not None
            and progress.last_contact_ms is not None
            and progress.last_contact_ms <= CONTACT_MS_MAX
            and progress.lag <= LAG_ENTRIES_MAX
        )

    def zone(self, serial: int) -> str:
        """Return where a member runs, "" when that is not known."""
        pod = self.observed.pod(serial)
        nodes = self.observed.lists.nodes or ()
        return next((node.zone for node in nodes if pod and node.name == pod.node), "")

    def node_is_gone(self, pod: Pod) -> bool:
        """Tell whether nothing of a pod can run any more: no such node, or out of service."""
        nodes = {node.name: node for node in self.observed.lists.nodes or ()}
        if not nodes or not pod.node:
            return False
        return pod.node not in nodes or nodes[pod.node].out_of_service

    def node_is_ready(self, pod: Pod) -> bool:
        """Tell whether a pod's node is well; so is one that we may not see, or none yet."""
        nodes = {node.name: node.ready for node in self.observed.lists.nodes or ()}
        return nodes.get(pod.node, not nodes or not pod.node)

    def survives(self, without: int, *, voters_after: int) -> bool:
        """Tell whether the healthy voters other than `without` are a majority afterwards."""
        others = [peer for peer in self.configuration.voters if peer.id != without]
        return sum(self.healthy(peer.id) for peer in others) >= quorum(voters_after)

    def most_nodes_down(self) -> bool:
        """Tell whether more than half of the nodes look NotReady: then nothing is replaced."""
        nodes = self.observed.lists.nodes or ()
        return bool(nodes) and 2 * sum(not node.ready for node in nodes) > len(nodes)
