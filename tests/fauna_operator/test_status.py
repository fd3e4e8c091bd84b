"""Conditions tell the truth, and only when it changes."""

from typing import Any

import msgspec
import pytest

from fauna_operator.model import (
    Answer,
    Blocked,
    Configuration,
    ConfigurationId,
    Desired,
    Latch,
    Lists,
    Observed,
    Peer,
    Plan,
    Pod,
    Progress,
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
