"""The plan as data: `cases/*.yaml`, each what is there and what the next pass does.

Shorthand of a case: `pods` and `claims` are serials, or mappings of what differs; `voters` and
`learners` make a committed configuration shown by `leader` (default: the first voter); `silent`
do not answer, `behind` have not caught up, `waiting` answer from an empty directory; `*_s` are
durations by serial; `templates` is what is remembered of rollouts. What is not named is as it
should be.
"""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from fauna_operator.model import (
    Answer,
    Certificate,
    Claim,
    Configuration,
    ConfigurationId,
    Desired,
    Latch,
    Lists,
    Node,
    Observed,
    Peer,
    Pod,
    Progress,
    Templates,
)
from fauna_operator.plan import plan
from fauna_operator.render import budget, services, template_hash

CASES = [
    pytest.param(case, id=case["name"])
    for path in sorted((Path(__file__).parent.parent / "cases").glob("*.yaml"))
    for case in yaml.safe_load(path.read_text())
]
NOW = 1000.0
ID = "6f1c2b0e9a7d4f53b8e1d2c3a4f5e607"


@pytest.mark.parametrize("case", CASES)
def test_case(case: dict[str, Any]) -> None:
    """The facts of the case lead to exactly its actions, and to its reasons."""
    desired = wanted(case)

    decided = plan(desired, observed(case, desired), NOW)

    names = hashes(desired)
    expected = [_filled(text, names) for text in case.get("actions", [])]
    assert expected == [str(action) for action in decided.actions]
    assert case.get("blocked", []) == [blocked.reason for blocked in decided.blocked]
    assert case.get("rule", decided.rule) == decided.rule


def hashes(desired: Desired) -> dict[str, str]:
    """Return HASH, of what is asked, and GOOD, of what was before."""
    return {"HASH": template_hash(desired), "GOOD": template_hash(before(desired))}


def before(desired: Desired) -> Desired:
    """Return the same with the image that ran before."""
    image = msgspec.structs.replace(desired.spec.image, tag="before")
    spec = msgspec.structs.replace(desired.spec, image=image)
    return msgspec.structs.replace(desired, spec=spec)


def _filled(text: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        text = text.replace(name, value)
    return text


def wanted(case: dict[str, Any]) -> Desired:
    metadata = {"name": "orders", "namespace": "default", "uid": "u1", "generation": 1}
    if case.get("deleting"):
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return Desired.of(
        {"metadata": metadata, "spec": {"storage": {"size": "1Gi"}, **case.get("spec", {})}}
    )


def observed(case: dict[str, Any], desired: Desired) -> Observed:
    bare = set(case) <= {"name", "actions", "rule"}
    latch = None if bare and case["actions"][:1] != [] else _latch(case.get("latch", {}))
    stored = latch if "map" not in case else _latch(case["map"])
    return Observed(
        resource_version="1",
        lists=_lists(case, desired, latch if latch is not None else stored),
        status_latch=latch,
        map_latch=stored,
        map_version="1" if stored else "",
        answers=_answers(case),
        silences=dict.fromkeys(case.get("silent", []), "no answer"),
        idle_s=case.get("idle_s", {}),
        unheard_s=case.get("unheard_s", {}),
        node_gone_s=case.get("node_gone_s", {}),
        ready_s={f"p{serial}": 1000.0 for serial in range(20)}
        | {f"p{serial}": s for serial, s in case.get("ready_s", {}).items()},
        unready_s={f"p{serial}": s for serial, s in case.get("unready_s", {}).items()},
        status=case.get("status", {}),
        fresh_id=ID,
    )


def _latch(given: Any) -> Latch | None:
    if given == "none":
        return None
    base = {
        "clusterID": ID,
        "incarnation": 1,
        "seed": 1,
        "nextMemberSerial": 4,
        "bootstrapped": True,
    }
    return msgspec.convert(base | given, Latch)


def _lists(case: dict[str, Any], desired: Desired, latch: Latch | None) -> Lists:
    known = case.get("objects") != "none"
    voters = case.get("budget") or len(case.get("voters", [])) or desired.spec.voters
    manifests = (*services(desired), budget(desired, voters))
    lasting = dict.fromkeys(range(1, 20), NOW + 60 * 86400)
    lasting |= dict.fromkeys(case.get("expiring", []), NOW + 5 * 86400)
    return Lists(
        pods=tuple(_pod(given, case, desired) for given in case.get("pods", [])),
        claims=tuple(_claim(given, case, latch) for given in case.get("claims", [])),
        objects={f"{m['kind']}/{m['metadata']['name']}": m for m in manifests} if known else {},
        certificates={
            serial: Certificate(ID, desired.host(serial), until, "ca")
            for serial, until in lasting.items()
            if known
        },
        authority="ca" if known and case.get("authority") != "none" else None,
        root_secret=known and case.get("root_secret", True),
        nodes=tuple(_node(n, given) for n, given in enumerate(case.get("nodes", [True]))),
        templates=_templates(case, desired),
    )


def _node(number: int, given: Any) -> Node:
    more = given if isinstance(given, dict) else {"ready": given}
    return msgspec.convert({"name": str(number), "ready": True, **more}, Node)


def _templates(case: dict[str, Any], desired: Desired) -> Templates:
    """By default what is asked is what is known to be good; `good: GOOD` is what was before."""
    names = hashes(desired)
    given = {k: _filled(v, names) for k, v in case.get("templates", {"good": "HASH"}).items()}
    spec = before(desired).spec if given.get("good") == names["GOOD"] else desired.spec
    return Templates(spec=spec, **given)


def _pod(given: Any, case: dict[str, Any], desired: Desired) -> Pod:
    more = given if isinstance(given, dict) else {"serial": given}
    serial = more["serial"]
    role = "voter" if serial in case.get("voters", []) else "learner"
    base = {
        "name": desired.member(serial),
        "uid": f"p{serial}",
        "resource_version": "1",
        "ready": True,
        "ip": "10.0.0.1",
        "role": "leader" if serial == _leader(case) else role,
        "template_hash": template_hash(desired),
    }
    if "template_hash" in more:
        more = {**more, "template_hash": _filled(more["template_hash"], hashes(desired))}
    return msgspec.convert(base | more, Pod)


def _claim(given: Any, case: dict[str, Any], latch: Latch | None) -> Claim:
    more = given if isinstance(given, dict) else {"serial": given}
    base = {
        "name": f"data-orders-{more['serial']}",
        "uid": f"c{more['serial']}",
        "resource_version": "1",
        "cluster_uid": case.get("claim_uid", "u1"),
        "nonce": f"n{more['serial']}",
    }
    return msgspec.structs.replace(msgspec.convert(base | more, Claim), latch=latch)


def _leader(case: dict[str, Any]) -> int:
    return int(case.get("leader", (case.get("voters") or [0])[0]))


def _answers(case: dict[str, Any]) -> dict[int, Answer]:
    waiting, silent = case.get("waiting", []), case.get("silent", [])
    voters, learners = case.get("voters", []), case.get("learners", [])
    given = {pod["serial"] if isinstance(pod, dict) else pod for pod in case.get("pods", [])}
    cluster_id = case.get("says", ID)
    answers = {serial: Answer("waiting", cluster_id, 1, serial) for serial in waiting}
    for serial in (*voters, *learners):
        if serial in given and serial not in (*waiting, *silent):
            answers[serial] = Answer("member", cluster_id, 1, serial, nonce=f"n{serial}")
    leader = _leader(case)
    if leader in answers and leader not in waiting:
        answers[leader] = msgspec.structs.replace(
            answers[leader],
            role="leader",
            open=case.get("open", True),
            configuration=Configuration(
                ConfigurationId(1, 6, 987),
                tuple(Peer(serial, "", f"n{serial}") for serial in voters),
                pending=case.get("pending", False),
                learners=tuple(Peer(serial, "") for serial in learners),
                highest_member_id=max(voters + learners),
            ),
            members=tuple(
                Progress(
                    serial,
                    nonce=f"n{serial}",
                    match=case.get("match", {}).get(serial, 100 if serial in given else 0),
                    last_contact_ms=10 if serial in answers and serial not in waiting else None,
                    caught_up=serial not in case.get("behind", []),
                )
                for serial in (*voters, *learners)
            ),
        )
    return answers
