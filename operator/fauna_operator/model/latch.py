"""Who is this cluster? The few facts that must never be forgotten or drawn twice.

Stored three times: in status, in the ConfigMap `{cluster}-identity`, on every volume claim.
Trap: a fact is used only after it was stored, and `bootstrapped` never becomes false again. The
incarnation rises only together with the `Origin` that says which FaunaRestore raised it, and by
whom it begins: a place that still holds an earlier one is behind, not in disagreement.
"""

from collections.abc import Iterable

import msgspec


class Origin(msgspec.Struct, frozen=True, rename="camel"):
    """How the present incarnation begins: one member, before any other.

    It stays after it is `done`, because the volumes of the earlier incarnation do.
    """

    restore: str  # the FaunaRestore
    uid: str
    member: int  # the serial that begins alone
    from_incarnation: int
    recovers: bool  # it has its data from that incarnation; else a Job filled its volume
    floor_ts: int = 0  # µs; its timestamps start above it
    done: bool = False  # a leader of this incarnation showed its configuration


class Latch(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The identity of a cluster. Serials below `next_member_serial` are taken for ever."""

    cluster_id: str = msgspec.field(name="clusterID")  # 32 hex digits
    incarnation: int
    seed: int  # the serial that alone is told to form the cluster
    next_member_serial: int
    bootstrapped: bool
    origin: Origin | None = None

    @property
    def first_members(self) -> range:
        """Return the serials that exist before there is a configuration that names members."""
        return range(self.seed, self.next_member_serial)

    @property
    def beginning(self) -> Origin | None:
        """Return the origin of an incarnation that has not begun yet."""
        return self.origin if self.origin is not None and not self.origin.done else None


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
    where, last = max(known, key=lambda source: source[1].incarnation)
    for other_where, other in known:
        if not _agree(last, other):
            return Disagreement(
                f"{where} says cluster {last.cluster_id}, incarnation {last.incarnation}, seed "
                f"{last.seed}; {other_where} says {other.cluster_id}, {other.incarnation}, "
                f"{other.seed}"
            )
    same = [latch for _, latch in known if latch.incarnation == last.incarnation]
    origin = next((latch.origin for latch in same if latch.origin and latch.origin.done), None)
    return Latch(
        cluster_id=last.cluster_id,
        incarnation=last.incarnation,
        seed=last.seed,
        next_member_serial=max(latch.next_member_serial for _, latch in known),
        bootstrapped=any(latch.bootstrapped for _, latch in known),
        origin=origin or last.origin,
    )


def _agree(last: Latch, other: Latch) -> bool:
    """Tell whether `other` is the same cluster, now or before the restore that `last` knows."""
    if (last.cluster_id, last.seed) != (other.cluster_id, other.seed):
        return False
    if other.incarnation != last.incarnation:
        return last.origin is not None and other.incarnation <= last.origin.from_incarnation
    return _begun_by(last.origin) == _begun_by(other.origin)


def _begun_by(origin: Origin | None) -> tuple[str, int] | None:
    return (origin.uid, origin.member) if origin is not None else None
