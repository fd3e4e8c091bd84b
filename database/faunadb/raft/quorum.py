"""Majority arithmetic: what is committed, who won the vote, with whom we are in contact.

Nothing here knows about terms, logs, or messages. Every function is a pure question about
sets of member ids, so that it can be tested against a brute-force answer. One function serves
three ends: the "value" that a majority has reached may be a log index that is on disk, the
number of a read round that was answered, or the tick at which a member was last heard.

Reference: Ongaro's dissertation, section 4.3, for why two overlapping majorities are needed
while membership changes. `outgoing` is empty outside a joint change.

Trap: an empty `voters` would commit everything; it is refused.
"""

from collections.abc import Collection, Mapping
from enum import Enum

from faunadb.raft.entries import MemberId


class Tally(Enum):
    """How a vote stands."""

    PENDING = "pending"
    WON = "won"
    LOST = "lost"


def majority_value(voters: Collection[MemberId], reached: Mapping[MemberId, int]) -> int:
    """Return the highest value that a majority of `voters` has reached.

    A voter missing from `reached` counts as 0. Ids in `reached` that are not voters (learners,
    removed members) are ignored.

    >>> majority_value({MemberId(1), MemberId(2), MemberId(3)},
    ...                {MemberId(1): 12, MemberId(2): 9})
    9
    """
    assert voters, "an empty quorum would commit everything"
    ranked = sorted([reached.get(voter, 0) for voter in voters])
    return ranked[(len(ranked) - 1) // 2]


def joint_value(
    voters: Collection[MemberId], outgoing: Collection[MemberId], reached: Mapping[MemberId, int]
) -> int:
    """Return the highest value that a majority of both groups has reached."""
    value = majority_value(voters, reached)
    return min(value, majority_value(outgoing, reached)) if outgoing else value


def majority_tally(voters: Collection[MemberId], votes: Mapping[MemberId, bool]) -> Tally:
    """Say whether `votes` decide the election among `voters`; a missing vote is open.

    >>> majority_tally({MemberId(1), MemberId(2), MemberId(3)}, {MemberId(2): True}).value
    'pending'
    """
    assert voters, "an empty quorum would elect anybody"
    needed_count = len(voters) // 2 + 1
    granted_count = sum(1 for voter in voters if votes.get(voter) is True)
    refused_count = sum(1 for voter in voters if votes.get(voter) is False)
    if granted_count >= needed_count:
        return Tally.WON
    if len(voters) - refused_count < needed_count:
        return Tally.LOST
    return Tally.PENDING


def joint_tally(
    voters: Collection[MemberId], outgoing: Collection[MemberId], votes: Mapping[MemberId, bool]
) -> Tally:
    """Say whether `votes` win both groups; losing one of them loses the election."""
    tallies = [majority_tally(group, votes) for group in (voters, outgoing) if group]
    if Tally.LOST in tallies:
        return Tally.LOST
    return Tally.PENDING if Tally.PENDING in tallies else Tally.WON
