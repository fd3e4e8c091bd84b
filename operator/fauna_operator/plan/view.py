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
)
from fauna_operator.model.desired import quorum
from fauna_operator.model.latch import merge

CONTACT_MS_MAX = 2_000  # an answer older than this says nothing about now
LAG_ENTRIES_MAX = 1_000  # more is behind; the readiness of a member uses the same number
EXIT_IDENTITY = 78  # sysexits EX_CONFIG: identity or corruption
EMPTY = "its volume is empty"
# the reasons of exit 78 that say "this directory cannot be believed"; "identity" is a person's work
CORRUPT = frozenset({"chain", "frame", "header", "log", "snapshot", "state"})


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

        Before there is a configuration the first ones; then those in it, and until clients are
        let in also those that wait for their turn. Unknown configuration: whoever has a volume.
        """
        latch, leader = self.latch, self.observed.leader
        if not latch.bootstrapped:
            return tuple(latch.first_members)
        if leader is None or leader.configuration is None:
            claims = (claim for claim in self.observed.lists.claims if not claim.quarantined)
            return tuple(sorted(claim.serial for claim in claims))
        members = [peer.id for peer in leader.configuration.members]
        missing = max(0, self.desired.spec.replicas - len(members))
        waiting = () if leader.open else self.joining[:missing]
        return tuple(sorted({*members, *waiting}))

    def lost(self, peer: Peer) -> str:
        """Return why a member's volume is lost for ever, "" when it is not known to be."""
        return self._lost_claim(peer) or self._lost_directory(peer)

    def _lost_claim(self, peer: Peer) -> str:
        claim = self.observed.claim(peer.id)
        if claim is None:
            return "its volume claim is gone"
        if claim.deleting:
            return "its volume claim is being deleted"
        return "its volume is gone" if claim.phase == "Lost" else ""

    def _lost_directory(self, peer: Peer) -> str:
        answer, pod = self.observed.answers.get(peer.id), self.observed.pod(peer.id)
        if answer is not None and answer.state == "waiting":
            return EMPTY
        if answer is not None and peer.nonce is not None and answer.nonce != peer.nonce:
            return "its volume holds another directory"
        stopped = answer is None and pod is not None and not pod.ready
        if stopped and pod is not None and pod.exit_code == EXIT_IDENTITY:
            return pod.exit_detail or pod.exit_reason if pod.exit_reason in CORRUPT else ""
        return ""

    @cached_property
    def lost_voters(self) -> tuple[tuple[Peer, str], ...]:
        """Return the voters without a volume, with the reason, in order of ids."""
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

    def survives(self, without: int, *, voters_after: int) -> bool:
        """Tell whether the healthy voters other than `without` are a majority afterwards."""
        others = [peer for peer in self.configuration.voters if peer.id != without]
        return sum(self.healthy(peer.id) for peer in others) >= quorum(voters_after)

    def most_nodes_down(self) -> bool:
        """Tell whether more than half of the nodes look NotReady: then nothing is replaced."""
        nodes = self.observed.lists.nodes or ()
        return bool(nodes) and 2 * sum(not node.ready for node in nodes) > len(nodes)
