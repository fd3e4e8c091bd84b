"""Who counts, and how one configuration leads to the next."""

from itertools import product

import pytest

from faunadb.raft.entries import NOTHING, Configuration, EntryId, Index, MemberId, Peer, Term
from faunadb.raft.membership import (
    EMPTY_CONFIGURATION,
    MEMBERS_MAX,
    VOTERS_MAX,
    Membership,
    add_learner,
    leave_joint,
    promote,
    remove,
    swap,
)


def peer(member: int, nonce: bytes | None = None) -> Peer:
    return Peer(MemberId(member), f"m{member}", bytes([member]) * 16 if nonce is None else nonce)


def configuration(voters: int, learners: int = 0) -> Configuration:
    everyone = [peer(n) for n in range(1, voters + learners + 1)]
    return Configuration(
        tuple(everyone[:voters]), (), tuple(everyone[voters:]), MemberId(voters + learners)
    )


def id_(index: int) -> EntryId:
    return EntryId(Term(1), Index(index))


def test_a_learner_is_added_under_a_fresh_id() -> None:
    """The highest id grows with it and stays when the member goes."""
    added = add_learner(configuration(2), peer(5))
    assert isinstance(added, Configuration)
    gone = remove(added, MemberId(5))

    assert isinstance(gone, Configuration)
    assert gone.highest_member_id == 5
    assert add_learner(gone, peer(5)) == (
        "member 5 cannot join: ids up to 5 were given out, and an id is never used again"
    )


def test_promotion_names_the_directory() -> None:
    """A learner that joined without a nonce gets the one that is promoted; names stay."""
    joined = add_learner(configuration(2), peer(3, b""))
    assert isinstance(joined, Configuration)

    promoted = promote(joined, Peer(MemberId(3), "another name", b"x" * 16))

    assert isinstance(promoted, Configuration)
    assert Peer(MemberId(3), "m3", b"x" * 16) == promoted.peer(MemberId(3))
    assert not promoted.learners


@pytest.mark.parametrize(
    ("planned", "sentence"),
    [
        (add_learner(configuration(3), peer(2)), "member 2 is in the configuration already"),
        (
            add_learner(configuration(3, MEMBERS_MAX - 3), peer(99)),
            "a cluster has at most 32 members",
        ),
        (promote(configuration(3), peer(9)), "member 9 is not a learner"),
        (promote(configuration(3), peer(2)), "member 2 is not a learner"),
        (
            promote(configuration(2, 1), peer(3, b"")),
            "the promotion of member 3 does not name its data directory",
        ),
        (
            promote(configuration(2, 1), peer(3, b"y" * 16)),
            "member 3 has another data directory than the one that joined",
        ),
        (
            promote(configuration(VOTERS_MAX, 1), peer(VOTERS_MAX + 1)),
            "a cluster has at most 7 voters",
        ),
        (remove(configuration(3), MemberId(7)), "member 7 is not in the configuration"),
        (
            remove(configuration(1, 1), MemberId(1)),
            "member 1 is the last voter: without it there is no cluster",
        ),
        (swap(configuration(2), peer(3), MemberId(1)), "member 3 is not a learner"),
        (swap(configuration(2, 1), peer(3), MemberId(9)), "member 9 is not a voter"),
        (swap(configuration(2, 2), peer(3), MemberId(4)), "member 4 is not a voter"),
    ],
)
def test_refusals_are_sentences(planned: Configuration | str, sentence: str) -> None:
    """An operator reads why a change is impossible."""
    assert sentence == planned


def majorities(voters: tuple[Peer, ...]) -> list[set[int]]:
    ids: list[int] = [p.id for p in voters]
    chosen = [
        {i for i, bit in zip(ids, bits, strict=True) if bit}
        for bits in product([0, 1], repeat=len(ids))
    ]
    return [group for group in chosen if len(group) > len(ids) // 2]


def quorums(of: Configuration) -> list[set[int]]:
    groups = [of.voters, *([of.voters_outgoing] if of.voters_outgoing else [])]
    return [set.union(*parts) for parts in product(*(majorities(group) for group in groups))]


@pytest.mark.parametrize("voters", [1, 2, 3, 4, 5])
def test_every_change_keeps_quorums_overlapping(voters: int) -> None:
    """Any quorum before a change meets any quorum after it, at every step of a swap."""
    now = configuration(voters, 1)
    learner = peer(voters + 1)
    swapped = swap(now, learner, MemberId(1))
    assert isinstance(swapped, Configuration)
    steps = [
        (now, promote(now, learner)),
        (now, remove(now, learner.id)),
        (now, swapped),
        (swapped, leave_joint(swapped)),
    ]
    if voters > 1:
        steps.append((now, remove(now, MemberId(1))))
    for before, after in steps:
        assert isinstance(after, Configuration)
        assert all(a & b for a in quorums(before) for b in quorums(after))


def test_a_swap_ends_without_the_outgoing_member() -> None:
    """In between both groups count; the learner is a voter from the beginning."""
    joint = swap(configuration(3, 1), peer(4), MemberId(2))
    assert isinstance(joint, Configuration)

    assert (1, 3, 4) == tuple(p.id for p in joint.voters)
    assert (1, 2, 3) == tuple(p.id for p in joint.voters_outgoing)
    assert (1, 3, 4) == tuple(p.id for p in leave_joint(joint).everyone())


def test_a_truncated_configuration_is_rolled_back() -> None:
    """The one before it is in force again (canonical/raft #323)."""
    some = Membership(id_(1), configuration(3))
    some.append(id_(5), configuration(3, 1))
    assert some.pending

    assert not some.truncate(6)
    assert some.truncate(5)

    assert (id_(1), configuration(3)) == (some.id, some.current)
    assert not some.pending


def test_a_committed_configuration_forgets_those_before_it() -> None:
    """Compare-and-set sees the newest committed one, not the one in force."""
    some = Membership(NOTHING, EMPTY_CONFIGURATION)
    for index, size in ((1, 1), (4, 2), (6, 3)):
        some.append(id_(index), configuration(size))

    assert not some.commit(Index(0))
    assert some.commit(Index(5))
    assert (id_(4), configuration(2)) == some.committed
    assert some.pending
    assert some.may_lead(MemberId(3))


def test_who_removed_itself_may_lead_until_that_has_committed() -> None:
    """Others may wait for the entries that only it has (dissertation 4.2.2)."""
    some = Membership(id_(1), configuration(2))
    without = remove(configuration(2), MemberId(1))
    assert isinstance(without, Configuration)
    some.append(id_(2), without)

    assert not some.is_voter(MemberId(1))
    assert some.may_lead(MemberId(1))
    some.commit(Index(2))
    assert not some.may_lead(MemberId(1))
