"""One counter, moved by the middle of the voters' clocks (SAFETY 8 to 11)."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faunadb.errors import InvalidRequest
from faunadb.node.timestamps import (
    CLOCK_OFF_MAX_US,
    LAST_TXN_TS_AHEAD_MAX_US,
    ClockMedian,
    Counter,
)

HOUR_US = 3_600_000_000
VOTERS = (1, 2, 3)


def median(clocks: dict[int, int]) -> ClockMedian:
    found = ClockMedian()
    for member, wall_us in clocks.items():
        found.heard(member, wall_us, 0)
    return found


@given(
    right=st.lists(st.integers(-CLOCK_OFF_MAX_US // 2, CLOCK_OFF_MAX_US // 2), min_size=2),
    wrong=st.integers(-HOUR_US, HOUR_US),
)
def test_a_minority_of_clocks_moves_nothing(right: list[int], wrong: int) -> None:
    """The lower median lies among the right clocks while they are the majority."""
    right = right[:3]
    clocks = {n: HOUR_US + off for n, off in enumerate(right)} | {9: HOUR_US + wrong}
    now_us = median(clocks).now_us(clocks, 0)

    assert now_us is not None
    assert now_us <= HOUR_US + max(right)
    if len(clocks) % 2:
        assert HOUR_US + min(right) <= now_us


def test_no_time_before_a_majority_was_heard() -> None:
    """One of three is not enough, and who is no voter does not count."""
    assert median({1: 5, 7: 5, 8: 5}).now_us(VOTERS, 0) is None
    assert 5 == median({1: 5, 3: 9}).now_us(VOTERS, 0)
    assert 9 == median({1: 5, 2: 11, 3: 9}).now_us(VOTERS, 0)


def test_time_goes_on_between_what_is_heard() -> None:
    """By the monotonic clock of this member; a new term hears anew."""
    found = median({1: 100, 2: 100, 3: 100})
    assert 150 == found.now_us(VOTERS, 50)
    found.reset()
    assert found.now_us(VOTERS, 50) is None


@pytest.mark.parametrize("off_us", [HOUR_US, -HOUR_US])
def test_who_is_off_is_known(off_us: int) -> None:
    """And nobody else."""
    found = median({1: HOUR_US, 2: HOUR_US + off_us, 3: HOUR_US})

    assert {2} == found.off(VOTERS)


@given(st.lists(st.one_of(st.none(), st.integers(0, 10_000)), max_size=50), st.integers(1, 9))
def test_no_timestamp_comes_twice(clocks: list[int | None], count: int) -> None:
    """Whatever the clock does, timestamps only grow."""
    counter = Counter(1000)
    firsts = [counter.issue(now_us, count) for now_us in clocks]

    assert all(first > 1000 for first in firsts)
    assert all(b - a >= count for a, b in pairwise(firsts))


def test_a_client_s_time_is_believed_for_a_minute() -> None:
    """Beyond the ceiling or the counter, whichever is later; it never lowers anything."""
    counter = Counter(1000)
    counter.raise_to(500, 0)
    assert 1001 == counter.issue(None)
    counter.raise_to(2000 + LAST_TXN_TS_AHEAD_MAX_US, 2000)
    assert 2001 + LAST_TXN_TS_AHEAD_MAX_US == counter.issue(None)
    with pytest.raises(InvalidRequest):
        counter.raise_to(counter.last_us + LAST_TXN_TS_AHEAD_MAX_US + 1, 2000)
