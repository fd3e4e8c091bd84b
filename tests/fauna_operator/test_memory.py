"""What lasted, and what nobody watched: the timers of one operator process."""

from typing import Any

import msgspec
import pytest

from fauna_operator.model import (
    Answer,
    Claim,
    Configuration,
    ConfigurationId,
    Lists,
    Node,
    Observed,
    Peer,
    Pod,
    Progress,
)
from fauna_operator.observe import Memory

ID = "6f1c2b0e9a7d4f53b8e1d2c3a4f5e607"


def seen(*, leads: bool = True, contact_ms: int | None = 5, **more: Any) -> Observed:
    """Return a look at two voters and a learner; the leader heard 2 `contact_ms` ago."""
    answers = {1: Answer("member", ID, 1, 1)}
    if leads:
        answers[1] = msgspec.structs.replace(
            answers[1],
            role="leader",
            configuration=Configuration(
                ConfigurationId(1, 1, 1), (Peer(1, ""), Peer(2, "")), learners=(Peer(3, ""),)
            ),
            members=(
                Progress(1),
                Progress(2, last_contact_ms=contact_ms),
                Progress(
                    3,
                    last_contact_ms=5,
                    match=more.pop("match", 7),
                    caught_up=more.pop("caught_up", False),
                ),
            ),
        )
    return Observed(**{"resource_version": "1", "lists": Lists(), "answers": answers, **more})


def test_silence_adds_up_while_the_leader_says_so() -> None:
    """A member that the leader does not hear is silent since it was first said."""
    memory = Memory()
    silences = [memory.update(seen(contact_ms=None), at).unheard_s.get(2) for at in (0, 10, 25)]
    assert [0.0, 10.0, 25.0] == silences
    assert {} == memory.update(seen(), 30).unheard_s


def test_an_election_does_not_end_a_silence() -> None:
    """Some seconds without a leader prove nothing in either direction."""
    memory = Memory()
    memory.update(seen(contact_ms=None), 0)
    memory.update(seen(leads=False), 10)
    assert {2: 20.0} == memory.update(seen(contact_ms=None), 20).unheard_s


@pytest.mark.parametrize("way", ["the operator", "the leader"])
def test_what_nobody_watched_did_not_last(way: str) -> None:
    """After a minute without a look, or without a leader, the timers start anew."""
    memory = Memory()
    memory.update(seen(contact_ms=None), 0)
    if way == "the leader":
        for at in (10, 20, 30, 40, 50):
            memory.update(seen(leads=False), at)
    assert {2: 0.0} == memory.update(seen(contact_ms=None), 60).unheard_s


def test_a_read_replica_of_a_quiet_cluster_is_not_stuck() -> None:
    """A learner that has everything has no reason to move; its time begins when it lacks some."""
    memory = Memory()
    looks = [(0, True), (20, True), (25, False), (35, False)]
    idle = [memory.update(seen(caught_up=caught_up), at).idle_s[3] for at, caught_up in looks]
    assert [0.0, 0.0, 5.0, 15.0] == idle


def test_a_learner_that_gets_nowhere_is_stuck() -> None:
    """Its match stands still while it lacks entries."""
    memory = Memory()
    assert [0.0, 20.0, 0.0] == [
        memory.update(seen(match=match), at).idle_s[3] for match, at in ((7, 0), (7, 20), (8, 30))
    ]


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ((Node("n2", ready=True),), {2: 20.0}),
        ((Node("n1", ready=False), Node("n2", ready=True)), {}),
        ((Node("other", ready=True, hostname="n1"),), {}),
        ((), {}),
        (None, {}),
    ],
)
def test_a_node_is_gone_when_it_is_not_listed(
    nodes: tuple[Node, ...] | None, expected: dict[int, float]
) -> None:
    """NotReady is there; nodes that we may not see are not gone; names and labels both count."""
    claims = (Claim(2, "data-2", "c2", "1", nodes=("n1",)), Claim(3, "data-3", "c3", "1"))
    memory = Memory()
    memory.update(seen(lists=Lists(claims=claims, nodes=nodes)), 0)
    found = memory.update(seen(lists=Lists(claims=claims, nodes=nodes)), 20)
    assert expected == found.node_gone_s


def test_ready_and_not_ready_are_timed_by_pod() -> None:
    """A pod that is made again under the same name starts from nothing."""
    memory, found = Memory(), []
    for at, uid, ready in ((0, "a", False), (10, "a", False), (15, "a", True), (30, "a", True)):
        pods = (Pod(1, "orders-1", uid, "1", ready=ready),)
        looked = memory.update(seen(lists=Lists(pods=pods)), at)
        found.append((looked.unready_s, looked.ready_s))
    again = memory.update(seen(lists=Lists(pods=(Pod(1, "orders-1", "b", "1", ready=True),))), 40)
    assert [({"a": 0.0}, {}), ({"a": 10.0}, {}), ({}, {"a": 0.0}), ({}, {"a": 15.0})] == found
    assert {"b": 0.0} == again.ready_s
