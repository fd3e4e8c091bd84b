"""Majority arithmetic against an answer by brute force."""

from collections.abc import Mapping
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from faunadb.raft.entries import MemberId
from faunadb.raft.quorum import Tally, joint_tally, joint_value, majority_tally, majority_value

MEMBERS = st.integers(1, 9).map(MemberId)
VOTERS = st.frozensets(MEMBERS, min_size=1, max_size=7)
OUTGOING = st.frozensets(MEMBERS, max_size=7)
REACHED = st.dictionaries(MEMBERS, st.integers(0, 20))
VOTES = st.dictionaries(MEMBERS, st.booleans())


def majorities(group: frozenset[MemberId]) -> list[frozenset[MemberId]]:
    size = len(group) // 2 + 1
    return [frozenset(chosen) for chosen in combinations(sorted(group), size)]


def reached_by_quorum(
    groups: list[frozenset[MemberId]], reached: Mapping[MemberId, int], value: int
) -> bool:
    return all(
        any(all(reached.get(m, 0) >= value for m in majority) for majority in majorities(group))
        for group in groups
    )


@settings(max_examples=300)
@given(VOTERS, OUTGOING, REACHED)
def test_joint_value_is_the_highest_that_both_majorities_reached(
    voters: frozenset[MemberId], outgoing: frozenset[MemberId], reached: dict[MemberId, int]
) -> None:
    """Trying every majority of both groups gives the same value."""
    groups = [group for group in (voters, outgoing) if group]
    expected = max(v for v in range(21) if reached_by_quorum(groups, reached, v))

    assert expected == joint_value(voters, outgoing, reached)


@settings(max_examples=300)
@given(VOTERS, OUTGOING, VOTES)
def test_joint_tally_agrees_with_every_way_to_complete_the_vote(
    voters: frozenset[MemberId], outgoing: frozenset[MemberId], votes: dict[MemberId, bool]
) -> None:
    """Won or lost is what no further vote can change."""
    groups = [group for group in (voters, outgoing) if group]

    def won(default: bool) -> bool:
        said = {m: int(votes.get(m, default)) for m in map(MemberId, range(1, 10))}
        return reached_by_quorum(groups, said, 1)

    expected = Tally.WON if won(default=False) else Tally.PENDING
    if not won(default=True):
        expected = Tally.LOST

    assert expected == joint_tally(voters, outgoing, votes)


@given(VOTERS, REACHED)
def test_two_majorities_overlap(voters: frozenset[MemberId], reached: dict[MemberId, int]) -> None:
    """A value that one majority reached is seen by every other majority."""
    value = majority_value(voters, reached)

    for majority in majorities(voters):
        assert max(reached.get(member, 0) for member in majority) >= value


def test_strangers_do_not_count() -> None:
    """Learners and removed members change neither what is committed nor who is elected."""
    voters = {MemberId(1), MemberId(2), MemberId(3)}
    strangers = {MemberId(8): 9, MemberId(9): 9}

    assert majority_value(voters, {MemberId(1): 9, **strangers}) == 0
    yes = {MemberId(1): True, MemberId(8): True, MemberId(9): True}
    assert majority_tally(voters, yes) is Tally.PENDING
