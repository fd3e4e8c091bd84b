"""The rules of an accepted restore as tables: what is seen, and what the next pass does."""

from typing import Any

import msgspec
import pytest

from fauna_operator.events import of_restore
from fauna_operator.model import (
    Answer,
    Claim,
    Configuration,
    ConfigurationId,
    Desired,
    Job,
    Latch,
    Lists,
    Node,
    Observed,
    Origin,
    Peer,
    Pod,
    Report,
    Request,
    Seen,
    WriteLatch,
)
from fauna_operator.model.restores import Confirm
from fauna_operator.plan.recovery import recover, settle_beginning
from fauna_operator.plan.view import NOTHING, Outcome, View
from fauna_operator.render import pod as rendered_pod

ID = "6f1c2b0e9a7d4f53b8e1d2c3a4f5e607"
NOW = 1_000.0
DESIRED = Desired.of(
    {
        "metadata": {"name": "orders", "namespace": "shop", "uid": "u1"},
        "spec": {"storage": {"size": "1Gi"}},
    }
)
LATCH = Latch(ID, 1, 1, 4, bootstrapped=True)
AUTO = {"survivingMember": {"auto": True}}
BACKUP = {"backupName": "nightly"}
STORED = {"storage": {"pvc": {"claimName": "nas"}}, "clusterID": ID, "backupID": "b1"}


def request(of: dict[str, Any], uid: str = "u1", **status: Any) -> Request:
    spec = {
        "source": of,
        "target": {"inPlace": {"clusterName": "orders"}},
        "confirm": {"clusterUID": uid, "acceptDataLoss": True},
    }
    metadata = {"name": "back", "namespace": "shop", "uid": "r1", "resourceVersion": "1"}
    told = {"phase": "Accepted", "startedAt": "2026-01-01T00:00:00Z", **status}
    return Request.of({"metadata": metadata, "spec": spec, "status": told})


def pod(serial: int, **more: Any) -> Pod:
    base = Pod(serial, f"orders-{serial}", f"p{serial}", "1", ip="10.0.0.1", node=f"n{serial}")
    return msgspec.structs.replace(base, **more)


def claim(serial: int, **more: Any) -> Claim:
    base = Claim(serial, f"data-orders-{serial}", f"c{serial}", "1", "u1", LATCH)
    return msgspec.structs.replace(base, **more)


def answer(serial: int, last: int, term: int = 3, **more: Any) -> Answer:
    base = Answer("member", ID, 1, serial, role="follower", last=last, last_term=term)
    return msgspec.structs.replace(base, **more)


def view(
    *answers: Answer,
    asked: Request | None = None,
    pods: tuple[Pod, ...] = (),
    claims: tuple[Claim, ...] = (),
    latch: Latch = LATCH,
    **more: Any,
) -> View:
    nodes = more.pop("nodes", tuple(Node(f"n{n}", ready=True) for n in range(1, 10)))
    found = Observed(
        "1",
        Lists(pods=pods, claims=claims, nodes=nodes),
        status={"voters": more.pop("voters", 3)},
        status_latch=latch,
        map_latch=latch,
        answers={a.member_id: a for a in answers},
        requests=(asked,) if asked else (),
        leaderless_s=more.pop("leaderless_s", 60.0),
        **more,
    )
    return View(DESIRED, found, NOW)


def said(outcome: Outcome) -> list[str]:
    return [str(action) for action in outcome.actions]


def chosen(survivor: int, last: int, source: dict[str, Any] = AUTO) -> Request:
    return request(
        source,
        phase="Fencing",
        message="stopping the other members",
        survivor=f"orders-{survivor}",
        member=survivor,
        oldClusterID=ID,
        newClusterID=ID,
        oldIncarnation=1,
        newIncarnation=2,
        restoredIndex=last,
    )


LEADING = answer(
    2,
    9,
    role="leader",
    configuration=Configuration(ConfigurationId(1, 3, 1), (Peer(2, ""),)),
)


@pytest.mark.parametrize("phase", ["Accepted", "Fencing"])
def test_a_leader_ends_it(phase: str) -> None:
    """While a leader shows a configuration nothing is lost for ever: the request fails."""
    asked = request(AUTO) if phase == "Accepted" else chosen(1, 9)

    outcome = recover(view(answer(1, 9), LEADING, asked=asked, pods=(pod(1),), claims=(claim(1),)))

    assert ["report back Failed: member 2 leads a majority: nothing is lost for ever"] == said(
        outcome
    )


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"leaderless_s": 3.0}, "nobody leads, for less than 15 s: an election may run"),
        ({"voters": 5, "pods": (pod(1), pod(2), pod(3), pod(4))}, "members [2, 3, 4] do not"),
        ({"claims": (claim(1), claim(2))}, "members [2] have volumes and do not answer"),
    ],
)
def test_it_waits(more: dict[str, Any], why: str) -> None:
    """An election, a possible majority out of sight, and a volume that may hold more: wait."""
    given = {"pods": (pod(1),), "claims": (claim(1),), **more}

    outcome = recover(view(answer(1, 9), asked=request(AUTO), **given))

    (line,) = said(outcome)
    assert line.startswith(f"report back Accepted: {why}")


def test_a_follower_of_somebody_unseen_waits() -> None:
    """Who still follows a leader that we cannot see makes us wait."""
    follower = answer(1, 9, leader=Peer(2, ""))

    outcome = recover(
        view(follower, asked=request(AUTO), pods=(pod(1), pod(2)), claims=(claim(1),))
    )

    assert ["report back Accepted: member 1 still follows member 2"] == said(outcome)


def test_pods_come_back_while_it_waits() -> None:
    """Before the choice other rules go on: who has no pod cannot be asked."""
    why = "members [2] have volumes and do not answer; they may have more"

    outcome = recover(
        view(
            answer(1, 9),
            asked=request(AUTO, message=why),
            pods=(pod(1),),
            claims=(claim(1), claim(2)),
        )
    )

    assert ["Waits"] == [blocked.reason for blocked in outcome.blocked]
    assert not outcome.blocked[0].final


@pytest.mark.parametrize(
    ("answers", "survivor"),
    [
        ([(1, 9, 3), (2, 8, 3)], 1),
        ([(1, 9, 3), (2, 5, 4)], 2),
        ([(1, 9, 3), (2, 9, 3)], 1),
    ],
)
def test_the_survivor_has_most(answers: list[tuple[int, int, int]], survivor: int) -> None:
    """The highest (last term, last index) of all who answer; the term counts more."""
    found = [answer(serial, last, term) for serial, last, term in answers]

    outcome = recover(
        view(
            *found,
            asked=request(AUTO),
            pods=(pod(1), pod(2)),
            claims=(claim(1), claim(2)),
            seen={1: Seen(9, 0, 900.0), 3: Seen(30, 5_000_000, 950.0)},
        )
    )

    (report,) = outcome.actions
    status: Any = report.status  # type: ignore[union-attr]
    assert (f"orders-{survivor}", survivor, 1, 2) == (
        status.survivor,
        status.member,
        status.old_incarnation,
        status.new_incarnation,
    )
    last = next(a.last for a in found if a.member_id == survivor)
    assert (30 - last, "1970-01-01T00:15:50Z") == (
        status.lost_at_least.entries,
        status.lost_at_least.observed_at,
    )
    assert last + 1 == status.lost_from_index
    assert 5_000_000 + 110 * 1_000_000 == status.floor_ts


def test_a_named_one_with_less_is_refused() -> None:
    """Who names a survivor that has less than another that answers is refused."""
    outcome = recover(
        view(
            answer(1, 9),
            answer(2, 8),
            asked=request({"survivingMember": {"name": "orders-2"}}),
            pods=(pod(1), pod(2)),
            claims=(claim(1), claim(2)),
        )
    )

    assert ["report back Failed: member 1 has more than orders-2: up to entry 3/9, not 3/8"] == (
        said(outcome)
    )


@pytest.mark.parametrize(
    ("uid", "why"), [("u2", "confirm.clusterUID is not that of this FaunaCluster, u1")]
)
def test_another_cluster_is_refused(uid: str, why: str) -> None:
    """A uid that is not this FaunaCluster's is refused by the cluster itself, too."""
    outcome = recover(view(answer(1, 9), asked=request(AUTO, uid=uid), claims=(claim(1),)))

    assert [f"report back Failed: {why}"] == said(outcome)


def test_a_dry_run_needs_no_word_and_stops_nobody() -> None:
    """It says who would go on and what would be lost, and has ended with that."""
    asked = request(AUTO)
    spec = msgspec.structs.replace(asked.spec, confirm=Confirm(), dry_run=True)
    tried = msgspec.structs.replace(asked, spec=spec)

    outcome = recover(
        view(
            answer(1, 9),
            asked=tried,
            pods=(pod(1),),
            claims=(claim(1),),
            seen={2: Seen(12, 0, 9.0)},
        )
    )

    assert [
        "report back Completed: member 1 would go on from entry 9; lost: at least 3 entries"
    ] == said(outcome)


def test_others_are_stopped_first() -> None:
    """Every other pod is deleted; the survivor's stays until all others are gone."""
    outcome = recover(
        view(
            answer(1, 9),
            answer(2, 8),
            asked=chosen(1, 9),
            pods=(pod(1), pod(2), pod(3)),
            claims=(claim(1), claim(2)),
        )
    )

    assert [
        "delete Pod orders-2 (FaunaRestore back)",
        "delete Pod orders-3 (FaunaRestore back)",
    ] == said(outcome)


ENDING = pod(2, deleting=True)


@pytest.mark.parametrize(
    ("nodes", "fenced"),
    [
        (tuple(Node(f"n{n}", ready=n != 2) for n in (1, 2, 3)), False),
        (None, False),
        (tuple(Node(f"n{n}", ready=True, out_of_service=n == 2) for n in (1, 2, 3)), True),
        (tuple(Node(f"n{n}", ready=True) for n in (1, 3)), True),
    ],
    ids=["not ready", "not known", "out of service", "gone"],
)
def test_unreachable_is_not_fenced(nodes: tuple[Node, ...] | None, *, fenced: bool) -> None:
    """A pod that does not end is waited for, unless its node is gone or taken out of service."""
    outcome = recover(
        view(
            answer(1, 9), asked=chosen(1, 9), pods=(pod(1), ENDING), claims=(claim(1),), nodes=nodes
        )
    )

    if fenced:
        (latch,) = outcome.actions
        assert isinstance(latch, WriteLatch)
        assert 2 == latch.latch.incarnation
        assert Origin("back", "r1", 1, 1, recovers=True) == latch.latch.origin
    else:
        (line,) = said(outcome)
        assert line.startswith("report back Fencing: orders-2 may still run")


def test_one_with_more_turns_up() -> None:
    """A member that answers late and has more is taken instead, or ends a named request."""
    more: dict[str, Any] = {"pods": (pod(1), pod(3)), "claims": (claim(1), claim(3))}
    named = {"survivingMember": {"name": "orders-1"}}

    auto = recover(view(answer(1, 9), answer(3, 12), asked=chosen(1, 9), **more))
    refused = recover(view(answer(1, 9), answer(3, 12), asked=chosen(1, 9, named), **more))

    assert "orders-3" == auto.actions[0].status.survivor  # type: ignore[union-attr]
    assert said(refused)[0].startswith("report back Failed: member 3 has more than orders-1")


def test_a_survivor_that_is_lost_meanwhile_ends_it() -> None:
    """When the survivor's volume goes before the latch, the request fails and nothing changed."""
    outcome = recover(view(asked=chosen(1, 9), pods=(), claims=(claim(2),)))

    assert ["report back Failed: the volume of member 1, which was to go on, is gone"] == (
        said(outcome)
    )


BEGUN = msgspec.structs.replace(
    LATCH, incarnation=2, origin=Origin("back", "r1", 1, 1, recovers=True)
)


def test_after_the_latch_only_the_one_is_left() -> None:
    """Old pods end, then the other volumes are put aside without an end, then it begins."""
    old = view(pods=(pod(1), pod(3)), claims=(claim(1), claim(3)), latch=BEGUN)
    gone = view(pods=(), claims=(claim(1), claim(3)), latch=BEGUN)
    alone = view(pods=(), claims=(claim(1), claim(3, quarantined=True)), latch=BEGUN)

    assert [
        "delete Pod orders-1 (of incarnation 1)",
        "delete Pod orders-3 (of incarnation 1)",
    ] == said(recover(old))
    assert ["annotate PersistentVolumeClaim data-orders-3 (of incarnation 1)"] == (
        said(recover(gone))
    )
    assert {} == recover(gone).actions[0].annotations  # type: ignore[union-attr]
    assert NOTHING == recover(alone)


def test_only_the_survivor_gets_the_flags() -> None:
    """`--recover-single` is on the survivor's command line while the incarnation begins."""
    done = msgspec.structs.replace(BEGUN.origin, done=True)  # type: ignore[type-var]
    later = msgspec.structs.replace(BEGUN, origin=done)

    flags = [
        list(rendered_pod(DESIRED, latch, serial)["spec"]["containers"][0]["args"])
        for latch, serial in ((BEGUN, 1), (BEGUN, 2), (later, 1))
    ]

    assert ["--recover-single", "--from-incarnation=1", "--to-incarnation=2", "--floor-ts=0"] == (
        flags[0][-4:]
    )
    assert [False, False] == ["--recover-single" in words for words in flags[1:]]


def test_the_beginning_is_over_with_a_leader() -> None:
    """A leader of the new incarnation ends the beginning; the mark on the volume goes first."""
    led = answer(
        1,
        9,
        incarnation=2,
        role="leader",
        configuration=Configuration(ConfigurationId(2, 4, 10), (Peer(1, "", "n1"),)),
    )

    marked = settle_beginning(view(led, claims=(claim(1, restore="r1"),), latch=BEGUN))
    done = settle_beginning(view(led, claims=(claim(1),), latch=BEGUN))

    assert ["annotate PersistentVolumeClaim data-orders-1 (restored)"] == said(marked)
    assert done.actions[0].latch.origin.done  # type: ignore[union-attr]


RESTORING = request(
    BACKUP,
    phase="Restoring",
    message="filling a fresh volume",
    member=4,
    oldIncarnation=1,
    newIncarnation=2,
    floorTs=77,
    source=STORED,
)
FULL = Job("back-restore", "j1", "1", "c4", "Complete", "", {"index": 20, "txn_ts": 5, "term": 2})
TAKEN = msgspec.structs.replace(LATCH, next_member_serial=5)


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        ({"asked": request(BACKUP)}, ["report back Fencing: stopping the members"]),
        (
            {"asked": request(BACKUP, phase="Fencing"), "pods": (pod(1), pod(2))},
            [
                "delete Pod orders-1 (FaunaRestore back)",
                "delete Pod orders-2 (FaunaRestore back)",
            ],
        ),
        (
            {"asked": request(BACKUP, phase="Fencing")},
            ["report back Restoring: filling a fresh volume"],
        ),
        ({"asked": RESTORING}, ["latch bootstrapped, next serial 5"]),
        (
            {"asked": RESTORING, "latch": TAKEN, "claims": (claim(1),)},
            ["create PersistentVolumeClaim data-orders-4"],
        ),
        (
            {"asked": RESTORING, "latch": TAKEN, "claims": (claim(1), claim(4, restore="r1"))},
            ["create Job back-restore"],
        ),
        (
            {
                "asked": RESTORING,
                "latch": TAKEN,
                "claims": (claim(1), claim(4, restore="r1")),
                "jobs": (msgspec.structs.replace(FULL, claim_uid="c9"),),
            },
            ["delete Job back-restore (it filled another volume)"],
        ),
        (
            {
                "asked": RESTORING,
                "latch": TAKEN,
                "claims": (claim(1), claim(4, restore="r1")),
                "jobs": (msgspec.structs.replace(FULL, state="Failed", message="corrupt: x"),),
            },
            ["report back Failed: Job back-restore failed: corrupt: x"],
        ),
        (
            {
                "asked": RESTORING,
                "latch": TAKEN,
                "claims": (claim(1), claim(4, restore="r1")),
                "jobs": (FULL,),
            },
            ["report back Restoring: the volume is full", "latch bootstrapped, next serial 5"],
        ),
        (
            {"latch": TAKEN, "claims": (claim(1), claim(4, restore="r0"))},
            ["annotate PersistentVolumeClaim data-orders-4 (its restore was called off)"],
        ),
    ],
)
def test_in_place_step_by_step(given: dict[str, Any], lines: list[str]) -> None:
    """Stop all, take a serial, fill a fresh volume, latch; a failure changes nothing."""
    assert lines == said(recover(view(**given)))


def test_the_new_incarnation_names_the_fresh_volume() -> None:
    """The commit of a restore in place names the filled member and no source of its own."""
    given = view(
        asked=RESTORING, latch=TAKEN, claims=(claim(1), claim(4, restore="r1")), jobs=(FULL,)
    )

    latch = recover(given).actions[-1].latch  # type: ignore[union-attr]

    assert (2, Origin("back", "r1", 4, 1, recovers=False, floor_ts=77)) == (
        latch.incarnation,
        latch.origin,
    )


def test_an_overtaken_request_is_refused() -> None:
    """A request that was begun at an earlier incarnation does nothing to a later one."""
    later = msgspec.structs.replace(
        TAKEN, incarnation=3, origin=Origin("other", "r9", 2, 2, recovers=True, done=True)
    )

    outcome = recover(view(asked=RESTORING, latch=later, claims=(claim(1),)))

    assert ["report back Failed: the cluster is at incarnation 3 by another restore"] == (
        said(outcome)
    )


def test_people_hear_of_it() -> None:
    """An event tells that members are stopped, that it is done, or why it was refused."""
    leads: dict[str, Any] = {"pods": (pod(1),), "claims": (claim(1),)}
    begun = recover(view(asked=request(BACKUP))).actions[0]
    refused = recover(view(answer(1, 9), LEADING, asked=request(AUTO), **leads)).actions[0]
    waiting = recover(view(answer(1, 9), asked=request(AUTO), leaderless_s=1.0)).actions[0]
    assert isinstance(begun, Report)
    assert isinstance(refused, Report)
    assert isinstance(waiting, Report)

    notes = [of_restore(action) for action in (begun, refused, waiting)]

    assert ["RestoreStarted", "RestoreFailed", None] == [n and n.reason for n in notes]
