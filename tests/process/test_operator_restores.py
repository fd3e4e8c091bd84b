"""The operator's rules of a lost majority on what real members say, and its words to the survivor.

Kubernetes is a drawing here: pods and claims are values; what members answer is real.
"""

import msgspec
import pytest

from fauna_operator.model import (
    Answer,
    Claim,
    Desired,
    Latch,
    Lists,
    Node,
    Observed,
    Pod,
    Report,
    Request,
    WriteLatch,
)
from fauna_operator.plan.recovery import recover, settle_beginning
from fauna_operator.plan.view import View
from fauna_operator.render import pod as rendered
from process.cluster import Cluster, MemberProcess, wait_until

pytestmark = pytest.mark.process

DESIRED = Desired.of(
    {
        "metadata": {"name": "orders", "namespace": "shop", "uid": "u1"},
        "spec": {"storage": {"size": "1Gi"}},
    }
)
RESOURCE = {
    "metadata": {"name": "again", "namespace": "shop", "uid": "r1", "resourceVersion": "1"},
    "spec": {
        "source": {"survivingMember": {"auto": True}},
        "target": {"inPlace": {"clusterName": "orders"}},
        "confirm": {"clusterUID": "u1", "acceptDataLoss": True},
    },
    "status": {"phase": "Accepted", "startedAt": "2026-01-01T00:00:00Z"},
}


def seen(members: list[MemberProcess], latch: Latch, request: Request) -> View:
    """What a look finds: a pod and a claim for each member that still has a folder."""
    answers = {}
    for member in members:
        said = member.status()
        if said:
            answers[member.place.id] = msgspec.convert(said, Answer)
    ids = [member.place.id for member in members]
    pods = tuple(
        Pod(n, f"orders-{n}", f"p{n}", "1", node=f"n{n}", incarnation=latch.incarnation)
        for n in ids
    )
    claims = tuple(Claim(n, f"data-orders-{n}", f"c{n}", "1", "u1", latch) for n in ids)
    found = Observed(
        "1",
        Lists(pods=pods, claims=claims, nodes=tuple(Node(f"n{n}", ready=True) for n in ids)),
        status={"voters": 3},
        status_latch=latch,
        map_latch=latch,
        answers=answers,
        requests=(request,),
        leaderless_s=60.0,
    )
    return View(DESIRED, found.believed(), 1_000.0)


def test_real_members_are_judged_and_recovered(three: Cluster) -> None:
    """Refused while they lead; then the survivor is chosen, told, and believed again."""
    members, request = list(three.members), Request.of(RESOURCE)
    latch = Latch(three.cluster_id, 1, 1, 4, bootstrapped=True)
    three.leader().query('Collection.create({name: "Kept"})')
    refused = recover(seen(members, latch, request))
    assert "leads a majority" in str(refused.actions[0])

    survivor, *lost = members
    for member in lost:
        member.kill()

    def chosen() -> Request | None:
        [action] = recover(seen([survivor], latch, request)).actions
        assert isinstance(action, Report)
        asked = msgspec.structs.replace(request, status=action.status)
        return asked if action.status.phase == "Fencing" else None

    asked = wait_until(chosen, "the survivor is chosen")
    known = survivor.status()
    assert ("orders-1", known["last"]) == (asked.status.survivor, asked.status.restored_index)
    assert known["last_term"] > 0

    [commit] = recover(seen([survivor], latch, asked)).actions
    assert isinstance(commit, WriteLatch)
    survivor.kill()
    words = rendered(DESIRED, commit.latch, 1)["spec"]["containers"][0]["args"]
    plain = list(survivor.arguments)
    plain[plain.index("--incarnation") + 1] = "2"
    survivor.arguments = [*plain, *words[-4:]]
    survivor.start()
    wait_until(survivor.leads, "the survivor leads")

    done = wait_until(
        lambda: settle_beginning(seen([survivor], commit.latch, asked)).actions,
        "the beginning is over",
    )
    [last] = done
    assert isinstance(last, WriteLatch)
    assert last.latch.origin is not None
    assert last.latch.origin.done
