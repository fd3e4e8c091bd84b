"""The four Services, the disruption budget, and the question whether they are already so."""

from typing import Any

from fauna_operator.model import Desired
from fauna_operator.model.desired import quorum
from fauna_operator.render import names

Manifest = dict[str, Any]


def services(desired: Desired) -> tuple[Manifest, ...]:
    """Return the Services: for clients, for reads, for the leader, and for names (headless)."""
    members = {names.CLUSTER: desired.name, names.COMPONENT: "member"}
    client = [_port("client", names.CLIENT_PORT)]
    every = [*client, _port("admin", names.ADMIN_PORT), _port("peer", names.PEER_PORT)]
    return (
        _service(desired, desired.name, members, client),
        _service(desired, f"{desired.name}-read", members, client),
        _service(desired, f"{desired.name}-leader", {**members, names.ROLE: "leader"}, client),
        _service(
            desired,
            f"{desired.name}-members",
            members,
            every,
            # a member must be found before it is ready: it becomes ready by being found
            {"clusterIP": "None", "publishNotReadyAddresses": True},
        ),
    )


def budget(desired: Desired, voters: int) -> Manifest:
    """Return the budget: a drain may never leave less than a majority of voters.

    `minAvailable` and not `maxUnavailable`, whose base shrinks with the number of pods.
    """
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(desired, desired.name),
        "spec": {
            "minAvailable": quorum(max(voters, desired.spec.voters)),
            "selector": {
                "matchLabels": {names.CLUSTER: desired.name},
                "matchExpressions": [
                    {"key": names.ROLE, "operator": "In", "values": ["leader", "voter"]}
                ],
            },
        },
    }


def holds(live: object, wanted: object) -> bool:
    """Tell whether `live` already has everything that `wanted` says; more in `live` is fine.

    >>> holds({"a": 1, "b": [{"c": 2, "d": 3}]}, {"b": [{"c": 2}]})
    True
    >>> holds({"b": [1, 2]}, {"b": [1]})
    False
    """
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(
            key in live and holds(live[key], value) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(live, list)
            and len(live) == len(wanted)
            and all(holds(mine, theirs) for mine, theirs in zip(live, wanted, strict=True))
        )
    return live == wanted


def _service(
    desired: Desired,
    name: str,
    selector: dict[str, str],
    ports: list[Manifest],
    more: Manifest | None = None,
) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(desired, name),
        "spec": {"selector": selector, "ports": ports, "type": "ClusterIP", **(more or {})},
    }


def _metadata(desired: Desired, name: str) -> Manifest:
    return {
        "name": name,
        "namespace": desired.namespace,
        "labels": names.labels(desired),
        "ownerReferences": [names.owner(desired)],
    }


def _port(name: str, port: int) -> Manifest:
    return {"name": name, "port": port, "targetPort": port, "protocol": "TCP"}
