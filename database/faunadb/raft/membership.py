"""Who counts: the configurations in the log, and how one leads to the next.

A configuration is in force from the moment its entry is appended, committed or not (Raft 6),
so a member keeps those that may still be truncated away, and goes back to the one before.

At most one voter differs between two simple configurations, so their majorities overlap. A
swap, where two differ, goes through a joint configuration (dissertation 4.3), which the leader
leaves by itself once it has committed.

The four changes are functions from a configuration to the next one or to a refusal, a sentence
for the operator. Whether it is the moment for a change is asked in `leader.py`.

Trap: ids are never used again. `highest_member_id` only grows, also when the member goes.
"""

from faunadb.raft.entries import (
    NOTHING,
    Configuration,
    EntryId,
    Index,
    MemberId,
    Peer,
)

VOTERS_MAX = 7  # beyond that every write waits for more disks and survives nothing more
MEMBERS_MAX = 32  # voters and learners, 31 and a successor; each costs a stream of entries
NONCE_BYTES = 16

EMPTY_CONFIGURATION = Configuration(voters=())


class Membership:
    """The committed configuration and those after it, oldest first."""

    def __init__(self, id_: EntryId, configuration: Configuration) -> None:
        self._history: list[tuple[EntryId, Configuration]] = [(id_, configuration)]
        self._remember()

    def _remember(self) -> None:
        """Keep what is asked at every message beside the configuration in force."""
        self.id, self.current = self._history[-1]
        self.voters = frozenset(peer.id for peer in self.current.voters)
        self.outgoing = frozenset(peer.id for peer in self.current.voters_outgoing)
        self.nonces = {peer.id: peer.nonce for peer in self.current.everyone()}

    @property
    def committed(self) -> tuple[EntryId, Configuration]:
        """The newest configuration that is known to be committed."""
        return self._history[0]

    @property
    def pending(self) -> bool:
        """Say whether a configuration is in force that is not known to be committed."""
        return len(self._history) > 1

    def is_voter(self, member: MemberId) -> bool:
        return member in self.voters or member in self.outgoing

    def may_lead(self, member: MemberId) -> bool:
        """Say whether `member` votes in the configuration in force, or in one that may return.

        A leader that removed itself is needed until that has committed: it may be the only one
        with the newest entries, for which the others wait (dissertation 4.2.2).
        """
        return any(configuration.is_voter(member) for _, configuration in self._history)

    def append(self, id_: EntryId, configuration: Configuration) -> None:
        """Put a configuration in force, because its entry was appended."""
        assert id_.index > self.id.index or self.id == NOTHING
        self._history.append((id_, configuration))
        self._remember()

    def truncate(self, from_index: int) -> bool:
        """Go back behind entries that were truncated; say whether that changed anything."""
        kept = [item for item in self._history if item[0].index < from_index]
        assert kept, "a committed configuration is never truncated"
        changed = len(kept) < len(self._history)
        if changed:
            self._history = kept
            self._remember()
        return changed

    def commit(self, index: Index) -> bool:
        """Forget what the newest committed configuration replaced; say whether one committed."""
        newest = max(
            (at for at, item in enumerate(self._history) if item[0].index <= index), default=0
        )
        del self._history[:newest]
        return newest > 0

    def reset(self, id_: EntryId, configuration: Configuration) -> None:
        """Start over from a snapshot."""
        self._history = [(id_, configuration)]
        self._remember()


# ---------------------------------------------------------------- changes


def add_learner(configuration: Configuration, peer: Peer) -> Configuration | str:
    """Let `peer` receive the log without a vote. Its nonce may still be unknown (b"")."""
    if configuration.peer(peer.id) is not None:
        return f"member {peer.id} is in the configuration already"
    if peer.id <= configuration.highest_member_id:
        return (
            f"member {peer.id} cannot join: ids up to {configuration.highest_member_id} "
            "were given out, and an id is never used again"
        )
    if len(configuration.everyone()) >= MEMBERS_MAX:
        return f"a cluster has at most {MEMBERS_MAX} members"
    return Configuration(
        voters=configuration.voters,
        learners=(*configuration.learners, peer),
        highest_member_id=peer.id,
    )


def promote(configuration: Configuration, peer: Peer) -> Configuration | str:
    """Give a learner its vote; `peer.nonce` names the directory that votes from now on."""
    refusal = _cannot_promote(configuration, peer)
    if refusal:
        return refusal
    if len(configuration.voters) >= VOTERS_MAX:
        return f"a cluster has at most {VOTERS_MAX} voters"
    return Configuration(
        voters=(*configuration.voters, _named(configuration, peer)),
        learners=tuple(p for p in configuration.learners if p.id != peer.id),
        highest_member_id=configuration.highest_member_id,
    )


def remove(configuration: Configuration, member: MemberId) -> Configuration | str:
    """Take a voter or learner out."""
    if configuration.peer(member) is None:
        return f"member {member} is not in the configuration"
    voters = tuple(p for p in configuration.voters if p.id != member)
    if not voters:
        return f"member {member} is the last voter: without it there is no cluster"
    return Configuration(
        voters=voters,
        learners=tuple(p for p in configuration.learners if p.id != member),
        highest_member_id=configuration.highest_member_id,
    )


def swap(configuration: Configuration, peer: Peer, outgoing: MemberId) -> Configuration | str:
    """Give a learner its vote and take one from `outgoing`, in one joint change."""
    refusal = _cannot_promote(configuration, peer)
    if refusal:
        return refusal
    if outgoing not in {p.id for p in configuration.voters}:
        return f"member {outgoing} is not a voter"
    staying = tuple(p for p in configuration.voters if p.id != outgoing)
    return Configuration(
        voters=(*staying, _named(configuration, peer)),
        voters_outgoing=configuration.voters,
        learners=tuple(p for p in configuration.learners if p.id != peer.id),
        highest_member_id=configuration.highest_member_id,
    )


def leave_joint(configuration: Configuration) -> Configuration:
    """End a joint change: the outgoing voters that did not stay are gone."""
    assert configuration.voters_outgoing, "only a joint configuration is left"
    return Configuration(
        voters=configuration.voters,
        learners=configuration.learners,
        highest_member_id=configuration.highest_member_id,
    )


def _cannot_promote(configuration: Configuration, peer: Peer) -> str:
    known = next((p for p in configuration.learners if p.id == peer.id), None)
    if known is None:
        return f"member {peer.id} is not a learner"
    if len(peer.nonce) != NONCE_BYTES:
        return f"the promotion of member {peer.id} does not name its data directory"
    if known.nonce not in {b"", peer.nonce}:
        return f"member {peer.id} has another data directory than the one that joined"
    return ""


def _named(configuration: Configuration, peer: Peer) -> Peer:
    known = configuration.peer(peer.id)
    assert known is not None
    return Peer(known.id, known.name, peer.nonce)
