"""The rights of the chart's roles, compared with what the operator asked a real API server.

The audit log holds the whole session, so the tests that run before this one count too.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from e2e.releases import HANG_SECONDS, NAME, Release, released
from kind_test_helpers import product
from kind_test_helpers.api import Json
from kind_test_helpers.cluster import Cluster
from kind_test_helpers.commands import await_that
from kind_test_helpers.product import Database

pytestmark = [pytest.mark.e2e, pytest.mark.new]

# Rights that only backups and restores use: judged in a session that has tests of them. A
# resource, or a resource with one verb.
BACKUPS = {
    *("faunabackups", "faunabackups/status", "faunascheduledbackups", "jobs", "namespaces"),
    *("faunascheduledbackups/status", "deployments", "persistentvolumeclaims get"),
}
RESTORES = {"faunarestores", "faunarestores/status", "faunaclusters create", "faunabackups create"}


@pytest.fixture
def release(kubernetes: Cluster, namespace: str, tmp_path: Path) -> Iterator[Release]:
    with released(kubernetes, namespace, tmp_path, "admissionPolicies.enabled=false") as made:
        yield made


def test_the_rights_are_those_that_are_used(release: Release) -> None:
    """Over a life with a lost volume: nothing is refused, and no right is unused."""
    database = Database(release.cluster, release.namespace)
    database.create(product.manifest(release.cluster))
    database.await_ready()
    lose_a_volume(database)
    quarantine_ends(database)

    calls = release.asked(by_all=True)

    decision = "authorization.k8s.io/decision"  # a namespace that goes away answers 403 as well
    refused = [each for each in calls if each.get("annotations", {}).get(decision) == "forbid"]
    assert [] == [told(each) for each in refused]
    have, need = granted(release), used(calls)
    assert set() == need - have
    elsewhere = set() if ("fauna.dev", "faunabackups/status", "update") in need else BACKUPS
    if ("fauna.dev", "faunarestores/status", "update") not in need:
        elsewhere = elsewhere | RESTORES
    unused = {f"{resource} {verb}" for _, resource, verb in have - need} - elsewhere
    assert set() == {each for each in unused if each.split()[0] not in elsewhere}


def lose_a_volume(database: Database) -> None:
    """Take a member's claim and pod away, and wait until another one votes in its place."""
    names = {each["metadata"]["name"] for each in database.pods()}
    victim = f"{database.name}-{max(product.serial(name) for name in names)}"
    where = ("-n", database.namespace)
    database.cluster.kubectl("delete", "pvc", f"data-{victim}", *where, "--wait=false")
    database.cluster.kubectl("delete", "pod", victim, *where)

    def replaced() -> bool:
        now = {each["metadata"]["name"] for each in database.pods()}
        ready = product.condition(database.status(), "Ready") == "True"
        return ready and victim not in now and len(now) == len(names)

    await_that(f"{victim} to be replaced", replaced, seconds_max=HANG_SECONDS)


def quarantine_ends(database: Database) -> None:
    """Scale down by two, then let the quarantine of what is left over end now."""
    where, kubectl = ("-n", database.namespace), database.cluster.kubectl
    kubectl("scale", "faunacluster", database.name, "--replicas=1", *where)
    mine = "fauna.dev/quarantined=true"
    path = f"/api/v1/namespaces/{database.namespace}/persistentvolumeclaims"
    found = partial(database.cluster.api.items, f"{path}?labelSelector={mine}")
    await_that("two volumes put aside", lambda: len(found()) >= 2, seconds_max=HANG_SECONDS)
    kubectl("annotate", "pvc", "-l", mine, "fauna.dev/delete-after=1", "--overwrite", *where)
    await_that("them to be deleted", lambda: not found(), seconds_max=HANG_SECONDS)


Right = tuple[str, str, str]  # group, resource or resource/subresource, verb


def granted(release: Release) -> set[Right]:
    """Every right of the release's roles, one by one."""
    base, mine = "/apis/rbac.authorization.k8s.io/v1", release.namespace
    roles = release.cluster.api.items(f"{base}/namespaces/{mine}/roles")
    wide = release.cluster.api.items(f"{base}/clusterroles")
    roles += [each for each in wide if each["metadata"]["name"].startswith(f"{mine}-{NAME}")]
    return {
        (group, resource, verb)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def used(calls: list[Json]) -> set[Right]:
    """Every right that a call needed; an apply that made its object needed `create` too."""
    found = set()
    for each in calls:
        reference = each.get("objectRef", {})
        if "resource" not in reference:
            continue  # discovery: every account may
        parts = [reference["resource"], reference.get("subresource", "")]
        right = (reference.get("apiGroup", ""), "/".join(part for part in parts if part))
        found.add((*right, each["verb"]))
        if each["verb"] == "patch" and each["responseStatus"].get("code") == 201:
            found.add((*right, "create"))
    return found


def told(call: Json) -> str:
    return f"{call['verb']} {call['requestURI']}: {call['responseStatus'].get('message', '')}"
