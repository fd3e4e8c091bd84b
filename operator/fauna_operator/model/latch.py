"""Who is this cluster? The few facts that must never be forgotten or drawn twice.

Stored three times: in status, in the ConfigMap `{cluster}-identity`, on every volume claim.
Trap: a fact is used only after it was stored, and `bootstrapped` never becomes false again.
"""

from collections.abc import Iterable

import msgspec


class Latch(msgspec.Struct, frozen=True, rename="camel"):
    """The identity of a cluster. Serials below `next_member_serial` are taken for ever."""

    cluster_id: str = msgspec.field(name="clusterID")  # 32 hex digits
    incarnation: int
    seed: int  # the serial that alone is told to form the cluster
    next_member_serial: int
    bootstrapped: bool

    @property
    def first_members(self) -> range:
        """Return the serials that exist before there is a configuration that names members."""
        return range(self.seed, self.next_member_serial)


class Disagreement(msgspec.Struct, frozen=True):
    """Two places name different identities; a person must look."""

    message: str


def merge(sources: Iterable[tuple[str, Latch]]) -> Latch | Disagreement | None:
    """Return what all sources together know; `None` when there is none.

    Identity must be equal everywhere; what only ever grows is taken at its highest, because a
    crash between two of the three writes leaves the others behind.
    """
    known = list(sources)
    if not known:
        return None
    where, first = known[0]
    for other_where, other in known[1:]:
        if (other.cluster_id, other.incarnation, other.seed) != (
            first.cluster_id,
            first.incarnation,
            first.seed,
        ):
            return Disagreement(
                f"{where} says cluster {first.cluster_id}, incarnation {first.incarnation}, seed "
                f"{first.seed}; {other_where} says {other.cluster_id}, {other.incarnation}, "
                f"{other.seed}"
            )
    return Latch(
        cluster_id=first.cluster_id,
        incarnation=first.incarnation,
        seed=first.seed,
        next_member_serial=max(latch.next_member_serial for _, latch in known),
        bootstrapped=any(latch.bootstrapped for _, latch in known),
    )
