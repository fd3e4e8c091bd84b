"""What members were seen to have is remembered, and seldom written."""

from typing import Any

import pytest

from fauna_operator.model import (
    Answer,
    Configuration,
    ConfigurationId,
    Desired,
    Lists,
    Observed,
    Peer,
    Plan,
    Seen,
)
from fauna_operator.observe import Memory
from fauna_operator.status import status

NOW = 1_800_000_000.0
DESIRED = Desired.of(
    {
        "metadata": {"name": "orders", "namespace": "shop", "uid": "u1"},
        "spec": {"storage": {"size": "1Gi"}},
    }
)
PEERS = tuple(Peer(serial, "", f"n{serial}") for serial in (1, 2))
LEADER = Answer(
    "member",
    "ab",
    1,
    1,
    role="leader",
    configuration=Configuration(ConfigurationId(1, 1, 1), PEERS),
)


def entry(member: int, index: int, ago_s: float) -> dict[str, Any]:
    from_now = {0.0: "2027-01-15T08:00:00Z", 30.0: "2027-01-15T07:59:30Z"}
    at = from_now.get(ago_s, "2027-01-15T07:00:00Z")
    return {"memberID": str(member), "index": index, "tsCeiling": 0, "observedAt": at}


def written(before: list[dict[str, Any]], seen: dict[int, Seen], *, led: bool) -> list[int]:
    answers = {1: LEADER} if led else {}
    found = Observed("1", Lists(), status={"seen": before}, seen=seen, answers=answers)
    return [e["index"] for e in status(DESIRED, found, Plan(), now=NOW).get("seen", [])]


@pytest.mark.parametrize(
    ("ago_s", "led", "expected"),
    [(0.0, True, 5), (30.0, True, 5), (3600.0, True, 9), (0.0, False, 5), (30.0, False, 9)],
)
def test_it_is_written_seldom(ago_s: float, led: bool, expected: int) -> None:
    """Once a minute under a leader, sooner without one, and never at every look."""
    seen = {1: Seen(9, 0, NOW)}

    assert [expected] == written([entry(1, 5, ago_s)], seen, led=led)


def test_a_member_that_is_long_gone_writes_nothing() -> None:
    """An entry that cannot move any more does not make every look a write."""
    before = [entry(1, 5, 0.0), entry(2, 3, 3600.0)]
    seen = {1: Seen(9, 0, NOW), 2: Seen(3, 0, NOW - 3600)}

    assert [5, 3] == written(before, seen, led=True)


def test_a_new_member_is_written_at_once() -> None:
    """Nobody waits a minute for the first word of a member."""
    seen = {1: Seen(5, 0, NOW), 2: Seen(2, 0, NOW)}

    assert [5, 2] == written([entry(1, 5, 0.0)], seen, led=True)


def test_the_most_is_kept_until_a_member_leaves() -> None:
    """A lost member's figure stays while it counts, and goes with its place."""
    memory = Memory()
    memory.update(Observed("1", Lists(), seen={2: Seen(9, 0, NOW), 3: Seen(4, 0, NOW)}), 1.0)

    without = memory.update(Observed("1", Lists(), seen={2: Seen(7, 0, NOW)}), 2.0)
    settled = memory.update(Observed("1", Lists(), answers={1: LEADER}), 3.0)

    assert {2: 9, 3: 4} == {serial: seen.index for serial, seen in without.seen.items()}
    assert {2} == settled.seen.keys()
