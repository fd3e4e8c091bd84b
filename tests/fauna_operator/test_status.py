"""Conditions tell the truth, and only when it changes."""

from typing import Any

import msgspec
import pytest

from fauna_operator.model import (
    Action,
    Annotate,
    Answer,
    Blocked,
    ChangeMembership,
    Configuration,
    ConfigurationId,
    Delete,
    Desired,
    Latch,
    Lists,
    Node,
    Observed,
    Peer,
    Plan,
    Pod,
    Progress,
    Transfer,
)
from fauna_operator.status import status

NOW = 1_800_000_000.0
ID = "6f1c2b0e9a7d4f53b8e1d2c3a4f5e607"
LATCH = Latch(ID, 1, 1, 4, bootstrapped=True)


def desired(**spec: Any) -> Desired:
    metadata = {"name": "orders", "namespace": "default", "uid": "u1", "generation": 7}
    return Desired.of({"metadata": metadata, "spec": {"storage": {"size": "1Gi"}, **spec}})


def observed(*, contact_ms: int | None = 5, opened: bool = True, **more: Any) -> Observed:
    """Return three members of which 1 leads; the leader heard 3 `contact_ms` ago."""
    answers = {serial: Answer("member", ID, 1, serial, nonce=f"n{serial}") for serial in (1, 2, 3)}
    answers[1] = msgspec.structs.replace(
        answers[1],
        role="leader",
        term=7,
        open=opened,
        configuration=Configuration(
            ConfigurationId(1, 6, 987),
            tuple(Peer(serial, "", f"n{serial}") for serial in (1, 2, 3)),
            highest_member_id=3,
        ),
        members=(
            Progress(1, last_contact_ms=0),
            Progress(2, last_contact_ms=5),
            Progress(3, last_contact_ms=contact_ms),
        ),
    )
    pods = tuple(
        Pod(serial, f"orders-{serial}", f"p{serial}", "1", ready=True) for serial in (1, 2, 3)
    )
    base: dict[str, Any] = {
        "resource_version": "1",
        "lists": Lists(pods=pods, authority="ca"),
        "status_latch": LATCH,
        "answers": answers,
    }
    return Observed(**(base | more))


def leaderless(answering: int, **more: Any) -> Observed:
    answers = {n: Answer("member", ID, 1, n) for n in range(1, answering + 1)}
    before = {"voters": 3, **more.pop("before", {})}
    return observed(answers=answers, status=before, **more)


def condition(found: dict[str, Any], kind: str) -> tuple[str, str]:
    entry = next(entry for entry in found["conditions"] if entry["type"] == kind)
    return entry["status"], entry["reason"]


NOTHING = Plan()


def told(seen: Observed, decided: Plan = NOTHING, **more: Any) -> dict[str, Any]:
    return status(desired(**more.pop("spec", {})), seen, decided, now=NOW, **more)


@pytest.mark.parametrize(
    ("seen", "kind", "expected"),
    [
        (observed(), "Available", ("True", "QuorumHealthy")),
        (observed(contact_ms=None), "Available", ("True", "QuorumDegraded")),
        (observed(contact_ms=60_000), "Degraded", ("True", "MemberDown")),
        (observed(contact_ms=60_000), "QuorumAtRisk", ("True", "FaultToleranceZero")),
        (observed(), "QuorumAtRisk", ("False", "SurvivesOneLoss")),
        (observed(opened=False), "Available", ("False", "Bootstrapping")),
        (observed(status_latch=None, answers={}), "Available", ("False", "Bootstrapping")),
        (leaderless(0), "Available", ("False", "Unreachable")),
        (leaderless(1), "Available", ("False", "QuorumLost")),
        (leaderless(2), "Available", ("False", "NoLeader")),
        (leaderless(2), "Degraded", ("Unknown", "NoLeader")),
        (observed(lists=Lists()), "TLSReady", ("False", "NoAuthority")),
        (observed(lists=Lists(authority="ca")), "Ready", ("False", "MembersNotReady")),
    ],
)
def test_truth(seen: Observed, kind: str, expected: tuple[str, str]) -> None:
    """The facts lead to the condition."""
    assert expected == condition(told(seen), kind)


def test_ready_pods_prove_nothing() -> None:
    """Three Ready pods without a confirmed leader are not available."""
    assert "False" == condition(told(leaderless(3)), "Available")[0]


@pytest.mark.parametrize(
    ("silent_s", "expected"), [(3.0, "True"), (20.0, "False"), (None, "False")]
)
def test_an_election_is_not_an_outage(silent_s: float | None, expected: str) -> None:
    """For 15 s without a leader the last word stands; then, or after a restart, it does not."""
    before = {"type": "Available", "status": "True", "reason": "QuorumHealthy", "message": ""}
    seen = leaderless(3, before={"conditions": [before]}, leader_silent_s=silent_s)

    assert expected == condition(told(seen), "Available")[0]


def test_the_date_changes_with_the_truth_only() -> None:
    """Another reason keeps the date, another truth does not."""
    first = told(observed())
    later = msgspec.structs.replace(observed(contact_ms=None), status=first)

    second = status(desired(), later, Plan(), now=NOW + 100)

    dates = {entry["type"]: entry["lastTransitionTime"] for entry in second["conditions"]}
    assert "2027-01-15T08:00:00Z" == dates["Available"]
    assert "2027-01-15T08:01:40Z" == dates["Degraded"]


def test_the_same_facts_write_nothing_new() -> None:
    """A second look at a quiet cluster gives the very same status."""
    first = told(observed())
    again = msgspec.structs.replace(observed(), status=first)

    assert first == status(desired(), again, Plan(), now=NOW + 1000)


@pytest.mark.parametrize(
    ("reason", "kind", "expected"),
    [
        ("CatchingUp", "Progressing", ("True", "Scaling")),
        ("RolloutStuck", "Degraded", ("True", "RolloutStuck")),
        ("RolloutStuck", "Progressing", ("False", "Stalled")),
        ("RolloutWaits", "Progressing", ("True", "Updating")),
        ("Unschedulable", "Progressing", ("False", "Unschedulable")),
        ("ReplaceBlocked", "Degraded", ("True", "ReplaceBlocked")),
        ("ReplaceBlocked", "Progressing", ("False", "Stalled")),
        ("AuthorityLost", "TLSReady", ("False", "AuthorityLost")),
        ("IdentityDisagrees", "Ready", ("False", "IdentityDisagrees")),
    ],
)
def test_what_hinders_is_told(reason: str, kind: str, expected: tuple[str, str]) -> None:
    """A rule's reason becomes a condition's."""
    decided = Plan((), "a_rule", (Blocked(reason, "because"),))

    assert expected == condition(told(observed(), decided), kind)


def test_trouble_of_the_last_pass_is_told() -> None:
    """An error while acting is a condition, not only a line in a log."""
    found = told(observed(), trouble=Blocked("ReconcileFailed", "forbidden"))

    assert ("False", "ReconcileFailed") == condition(found, "Ready")


def test_the_configuration_outlives_its_leader() -> None:
    """Without a leader status keeps the last known configuration, and claims nobody healthy."""
    before = told(observed())
    found = told(observed(answers={}, status=before))

    assert before["configuration"] == found["configuration"]
    assert (3, 0, "") == (found["voters"], found["healthyVoters"], found["leader"])


def test_phases() -> None:
    """One word for people."""
    assert "Running" == told(observed())["phase"]
    assert "Degraded" == told(observed(contact_ms=None))["phase"]
    assert "Paused" == told(observed(), spec={"paused": True})["phase"]
    assert "QuorumLost" == told(leaderless(1))["phase"]
    assert "Unreachable" == told(leaderless(0))["phase"]


def test_states_of_members() -> None:
    """Each member's state says what is known of it."""
    pods = (
        Pod(1, "orders-1", "p1", "1", exit_code=78),
        Pod(2, "orders-2", "p2", "1", unschedulable="no node"),
        Pod(3, "orders-3", "p3", "1", phase="Pending"),
        Pod(4, "orders-4", "p4", "1"),
        Pod(5, "orders-5", "p5", "1"),
    )
    answers = {5: Answer("waiting", ID, 1, 5)}
    found = told(observed(lists=Lists(pods=pods), answers=answers))

    states = ["Quarantined", "Unschedulable", "Starting", "Silent", "Waiting"]
    assert states == [member["state"] for member in found["members"]]


def placed(*nodes: str, zones: dict[str, str], **scheduling: str) -> dict[str, Any]:
    """Return status with the three members on these nodes."""
    pods = tuple(
        Pod(n, f"orders-{n}", f"p{n}", "1", ready=True, node=node)
        for n, node in enumerate(nodes, start=1)
    )
    known = tuple(Node(name, ready=True, zone=zone) for name, zone in zones.items())
    seen = observed(lists=Lists(pods=pods, authority="ca", nodes=known))
    return told(seen, spec={"scheduling": scheduling})


ZONES = {"n1": "a", "n2": "a", "n3": "b", "n4": "c"}


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        (("n1", "n3", "n4"), ("True", "Spread")),
        (("n1", "n2", "n3"), ("False", "ZoneHoldsMajority")),
        (("n1", "n1", "n3"), ("False", "NodeShared")),
    ],
)
def test_topology(nodes: tuple[str, ...], expected: tuple[str, str]) -> None:
    """Voters stand on distinct nodes, and no zone of several holds a majority."""
    assert expected == condition(placed(*nodes, zones=ZONES), "TopologySatisfied")


def test_one_zone_is_no_fault() -> None:
    """Where all nodes are in one zone, or in none, nothing can be spread over zones."""
    for zone in ("a", ""):
        zones = dict.fromkeys(("n1", "n2", "n3"), zone)
        found = placed("n1", "n2", "n3", zones=zones)
        assert ("True", "Spread") == condition(found, "TopologySatisfied")


def test_topology_degrades_only_where_it_is_required() -> None:
    """What is preferred is told, what is required is missed."""
    nodes = ("n1", "n2", "n3")
    preferred = placed(*nodes, zones=ZONES)
    required = placed(*nodes, zones=ZONES, zoneSpread="Required")
    assert ("False", "FullRedundancy") == condition(preferred, "Degraded")
    assert ("True", "TopologyUnsatisfied") == condition(required, "Degraded")


def test_read_replicas_are_asked_for() -> None:
    """Three voters of four members are whole only with their read replica."""
    found = told(observed(), spec={"replicas": 4})
    assert ("True", "ReadReplicasMissing") == condition(found, "Degraded")
    assert ("False", "MembersNotReady") == condition(found, "Ready")


def test_a_stuck_pod_of_a_former_member_is_no_member() -> None:
    """A pod that left and cannot end, on a dead node, does not keep the cluster from Ready."""
    pods = (*observed().lists.pods, Pod(9, "orders-9", "p9", "1", deleting=True))
    found = told(observed(lists=Lists(pods=pods, authority="ca")))
    assert ("True", "AllMembersReady") == condition(found, "Ready")


ADD = ChangeMembership("add_learner", 1, 4, ConfigurationId(1, 6, 987), host="h")
PROMOTE = ChangeMembership("promote", 1, 4, ConfigurationId(1, 6, 987), nonce="n")


def test_an_operation_is_told_from_beginning_to_end() -> None:
    """Type, step, member, and when it began; absent when nothing is being done."""
    catching = Plan((), "reach_voters", (Blocked("CatchingUp", "4 is behind", final=True),))
    steps = [
        (Plan((ADD,), "reach_voters"), "AddLearner"),
        (Plan((Annotate("Pod", "orders-4", "u", "1", why="learner"),), "keep_marks"), "AddLearner"),
        (catching, "CatchUp"),
        (Plan((PROMOTE,), "reach_voters"), "Promote"),
    ]
    found: dict[str, Any] = {}
    for at, (decided, step) in enumerate(steps):
        found = status(desired(), observed(status=found), decided, now=NOW + at)
        assert {
            "type": "AddMember",
            "step": step,
            "member": "orders-4",
            "startedAt": "2027-01-15T08:00:00Z",
        } == found["operation"]
    assert "operation" not in status(desired(), observed(status=found), NOTHING, now=NOW)


def test_an_election_does_not_end_an_operation() -> None:
    """While nobody leads, what was being done is still being done."""
    before = told(observed(), Plan((Transfer(1, 2, "why"),), "roll_out"))
    waits = Plan((), "know_configuration", (Blocked("NoLeader", "an election", final=True),))

    found = status(desired(), leaderless(3, before=before), waits, now=NOW + 1)

    assert before["operation"] == found["operation"]


@pytest.mark.parametrize(
    ("rule", "action", "expected"),
    [
        ("replace_lost", ADD, ("ReplaceMember", "AddLearner", "orders-4")),
        ("reach_voters", Transfer(1, 2, "why"), ("RemoveMember", "Transfer", "orders-1")),
        ("roll_out", Transfer(1, 2, "why"), ("Rollout", "Transfer", "orders-1")),
        (
            "retire_members",
            Delete("Pod", "orders-4", "u", "1", "why"),
            ("RemoveMember", "StopPod", "orders-4"),
        ),
        (
            "retire_members",
            Annotate("PersistentVolumeClaim", "data-orders-4", "u", "1"),
            ("RemoveMember", "QuarantineVolume", "orders-4"),
        ),
    ],
)
def test_operations(rule: str, action: Action, expected: tuple[str, str, str]) -> None:
    """What the plan does has a name."""
    found = told(observed(), Plan((action,), rule))["operation"]
    assert expected == (found["type"], found["step"], found["member"])


def test_an_operation_says_what_blocks_it() -> None:
    """The reason and its sentence."""
    decided = Plan((), "", (Blocked("ReplaceBlocked", "member 2: no majority"),))
    found = told(observed(), decided)["operation"]
    assert "ReplaceBlocked: member 2: no majority" == found["blockedBy"]
