"""The chart as a person uses it: install, upgrade, uninstall; what it protects and may do."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from e2e.members import Members
from e2e.releases import CHART, HANG_SECONDS, NAME, Release, await_figure, await_leader, released
from kind_test_helpers import product
from kind_test_helpers.api import Json
from kind_test_helpers.cluster import Cluster
from kind_test_helpers.commands import await_that, run
from kind_test_helpers.failures import CommandFailed
from kind_test_helpers.places import REPOSITORY
from kind_test_helpers.product import Database, exists
from kind_test_helpers.recipes import HELM, KUBECONFORM, KUBERNETES
from kind_test_helpers.tools import ensure

pytestmark = [pytest.mark.e2e, pytest.mark.new]

CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/faunaclusters.fauna.dev"
VARIANTS = [
    (),
    ("watchAllNamespaces=true",),
    ("watchNamespaces[0]=default", "rbac.nodes=false", "replicas=1"),
    ("monitoring.dashboard=true", "crds.install=false"),
]


@pytest.fixture
def release(kubernetes: Cluster, namespace: str, tmp_path: Path) -> Iterator[Release]:
    with released(kubernetes, namespace, tmp_path) as made:
        yield made


def columns(cluster: Cluster) -> list[str]:
    version = cluster.api.get(CRD)["spec"]["versions"][0]
    return [each["name"] for each in version["additionalPrinterColumns"]]


def rendered(*settings: str) -> str:
    return run(
        *(ensure(HELM), "template", NAME, str(CHART), "--namespace", "default"),
        *("--kube-version", KUBERNETES),
        *(word for each in settings for word in ("--set", each)),
    )


def test_crds_are_upgraded_and_stay(kubernetes: Cluster, namespace: str, tmp_path: Path) -> None:
    """An upgrade brings the new CRDs; an uninstall leaves them and every FaunaCluster alone."""
    older = tmp_path / "older"
    shutil.copytree(CHART, older)  # follows the link to crds/
    text = (older / "files/crds/faunaclusters.yaml").read_text()
    (older / "files/crds/faunaclusters.yaml").write_text(
        "".join(line for line in text.splitlines(keepends=True) if "name: Why," not in line)
    )
    release = Release(kubernetes, namespace, tmp_path)
    database = Database(kubernetes, namespace)
    try:
        notes = release.upgrade(chart=older)
        assert f"watches {namespace}." in notes
        assert "Why" not in columns(kubernetes)
        database.create(product.manifest(kubernetes, paused=True))
        before = database.resource()["metadata"]["uid"]

        release.upgrade()
        assert "Why" in columns(kubernetes)

        release.uninstall()
        assert "Why" in columns(kubernetes)
        assert before == database.resource()["metadata"]["uid"]
        deployments = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        assert [] == kubernetes.api.items(deployments)
        release.upgrade()  # and it comes back to the resources that it left
        assert before == database.resource()["metadata"]["uid"]
    finally:
        release.forget()


def test_every_command_of_the_page(kubernetes: Cluster, namespace: str, tmp_path: Path) -> None:
    """`docs/install.md`, line by line, in a namespace of our own."""
    release = Release(kubernetes, namespace, tmp_path)
    (tmp_path / "charts").symlink_to(CHART.parent)
    repository, _, tag = kubernetes.images[NAME].rpartition(":")
    image = {"repository": repository, "tag": tag}
    (tmp_path / "my-values.yaml").write_text(json.dumps({"image": image}))
    kubernetes.kubectl("delete", "namespace", namespace)  # the page begins by making it
    (tmp_path / "kubectl").symlink_to(kubernetes.kubectl_program)
    (tmp_path / "helm").symlink_to(ensure(HELM))
    page = (REPOSITORY / "docs/install.md").read_text()
    lines = [
        line for b in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in b.splitlines()
    ]
    try:
        for line in lines:
            mine = re.sub(r"\bdatabases\b", namespace, line)
            taken = " --take-ownership" if "helm install" in line else ""  # others applied the CRDs
            said = run(
                *("sh", "-ec", mine + taken),
                environment={**release.environment, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
                folder=tmp_path,
                seconds_max=HANG_SECONDS,
            )
            assert said.strip(), line
    finally:
        release.forget()


@pytest.mark.parametrize("settings", VARIANTS, ids=lambda given: ",".join(given) or "default")
def test_the_server_accepts_what_is_rendered(
    kubernetes: Cluster, settings: tuple[str, ...]
) -> None:
    """`helm template | kubectl apply --dry-run=server`, strictly."""
    apply = ("apply", "--dry-run=server", "--validate=strict", "--server-side")
    kubernetes.kubectl(*apply, "--force-conflicts", "-f", "-", stdin=rendered(*settings))


@pytest.mark.parametrize("settings", VARIANTS, ids=lambda given: ",".join(given) or "default")
def test_the_schemas_accept_what_is_rendered(
    kubernetes: Cluster, settings: tuple[str, ...], tmp_path: Path
) -> None:
    """kubeconform, with the schemas of this very API server."""
    objects = [each for each in yaml.safe_load_all(rendered(*settings)) if each]
    for each in objects:
        write_schema(kubernetes, each["apiVersion"], each["kind"], tmp_path)
    told = run(
        *(ensure(KUBECONFORM), "-strict", "-summary", "-output", "json"),
        *("-schema-location", f"{tmp_path}/{{{{.ResourceKind}}}}.json", "-"),
        stdin="\n---\n".join(json.dumps(each) for each in objects),
    )
    summary = json.loads(told)["summary"]
    assert [len(objects), 0, 0, 0] == [
        summary[key] for key in ("valid", "invalid", "errors", "skipped")
    ]


def write_schema(cluster: Cluster, version: str, kind: str, folder: Path) -> None:
    """Write the JSON schema of a kind from the API server's OpenAPI document."""
    path = f"apis/{version}" if "/" in version else f"api/{version}"
    schemas = cluster.api.get(f"/openapi/v3/{path}")["components"]["schemas"]
    group, _, short = version.rpartition("/")
    [name] = [
        name
        for name, schema in schemas.items()
        for each in schema.get("x-kubernetes-group-version-kind", ())
        if (each["group"], each["version"], each["kind"]) == (group, short, kind)
    ]
    whole = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
    (folder / f"{kind.lower()}.json").write_text(json.dumps(whole))


def test_the_standby_watches_nothing_and_takes_over(release: Release) -> None:
    """Of two pods one watches; the other asks for the Lease alone, until the first one is gone."""
    chosen = ("-l", f"app.kubernetes.io/name={NAME}", "-n", release.namespace)
    release.cluster.kubectl("rollout", "status", "deployment", *chosen, "--timeout=240s")
    first = await_leader(release)
    await_figure(release, first, "fauna_operator_leader", 1.0)
    await_that("it to watch", lambda: watches(release, first), seconds_max=HANG_SECONDS)
    [second] = [pod for pod in release.pods() if pod != first]
    assert 0.0 == release.scrape(second)["fauna_operator_leader"]
    assert {"leases"} == {resource for resource, _ in calls_of(release, second)}

    release.cluster.kubectl("delete", "pod", first, "-n", release.namespace)

    heir = await_leader(release, other_than=first)  # the second, or the one that came instead
    await_figure(release, heir, "fauna_operator_leader", 1.0)
    await_that("the heir to watch", lambda: watches(release, heir), seconds_max=HANG_SECONDS)
    others = {pod for pod in release.pods() if pod != heir}
    assert not {pod for pod in others if watches(release, pod)}


def watches(release: Release, pod: str) -> bool:
    return {("faunaclusters", "watch"), ("pods", "watch")} <= calls_of(release, pod)


def calls_of(release: Release, pod: str) -> set[tuple[str, str]]:
    """Resources and verbs that one pod asked for."""
    key = "authentication.kubernetes.io/pod-name"
    return {
        (reference["resource"], each["verb"])
        for each in release.asked()
        for reference in [each.get("objectRef", {})]
        if "resource" in reference and pod in each["user"].get("extra", {}).get(key, ())
    }


def test_protected_clusters_are_not_deleted(release: Release) -> None:
    """A FaunaCluster with deletionProtection stays, with a sentence, until it is lifted."""
    database = Database(release.cluster, release.namespace)
    database.create(product.manifest(release.cluster, paused=True, deletionProtection=True))
    where = ("faunacluster", "orders", "-n", release.namespace)
    refused(release, "deletionProtection is true", "delete", *where)

    lift = ("--type=merge", "-p", '{"spec": {"deletionProtection": false}}')
    release.cluster.kubectl("patch", *where, *lift)
    release.cluster.kubectl("delete", *where)
    assert not exists(release.cluster, database.path)


def refused(release: Release, sentence: str, *command: str) -> None:
    """Try until it is refused: a policy is in force some moments after it was stored."""

    def tried() -> bool:
        with pytest.raises(CommandFailed, match=sentence):
            release.cluster.kubectl(*command, "--dry-run=server")
        return True

    def in_force() -> bool | None:
        try:
            return tried()
        except pytest.fail.Exception:
            return None

    await_that(f"to be refused: {sentence}", in_force, seconds_max=HANG_SECONDS)
    with pytest.raises(CommandFailed, match=sentence):
        release.cluster.kubectl(*command)


def test_claims_of_members_are_not_deleted(release: Release) -> None:
    """A labelled claim stays unless it is quarantined; others are nobody's business."""
    space = ("-n", release.namespace)
    for name, labels in (
        ("kept", {"fauna.dev/cluster": "orders"}),
        ("quarantined", {"fauna.dev/cluster": "orders", "fauna.dev/quarantined": "true"}),
        ("foreign", {}),
    ):
        release.cluster.apply(claim(release.namespace, name, labels))

    refused(release, "holds the data of a FaunaCluster's member", "delete", "pvc", "kept", *space)

    release.cluster.kubectl("delete", "pvc", "quarantined", "foreign", *space)
    release.cluster.kubectl("label", "pvc", "kept", "fauna.dev/quarantined=true", *space)
    release.cluster.kubectl("delete", "pvc", "kept", *space)


def claim(namespace: str, name: str, labels: dict[str, str]) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Mi"}},
            "storageClassName": "nothing-provides-this",
        },
    }


def test_a_namespace_goes_with_what_it_protects_only_on_request(release: Release) -> None:
    """By default a protected cluster holds its namespace; with the exemption it goes along."""
    cluster, path = release.cluster, f"/api/v1/namespaces/{release.namespace}"
    database = Database(cluster, release.namespace)
    database.create(product.manifest(cluster, paused=True, deletionProtection=True))
    refused(
        release,
        "deletionProtection is true",
        "delete",
        "faunacluster",
        "orders",
        "-n",
        release.namespace,
    )
    release.upgrade("admissionPolicies.exemptNamespaceController=true")

    cluster.kubectl("delete", "namespace", release.namespace, "--wait=false")

    await_that(
        "the namespace to be gone", lambda: not exists(cluster, path), seconds_max=HANG_SECONDS
    )
    cluster.make_namespace(release.namespace)  # for the fixture that takes it away


def test_every_alert_and_panel_has_its_figure(shared: Members) -> None:
    """Each metric that an alert or the dashboard asks for is in a scrape of a real process."""
    database = shared.database
    release = Release(database.cluster, database.namespace, Path())
    operator = release.scrape(await_leader(release))
    member = release.scrape(database.pods()[0]["metadata"]["name"], "8444")
    assert member["faunadb_commit_index"] > 0

    asked = (CHART / "files/alerts.yaml").read_text()
    asked += "".join(path.read_text() for path in (CHART / "dashboards").glob("*.json"))
    named = set(re.findall(r"\b(?:fauna|faunadb|process)_[a-z_]+", asked)) - {"fauna_dev_cluster"}
    wanted = {name.removesuffix("_bucket") for name in named}
    assert set() == wanted - set(operator) - set(member)


def test_the_columns_answer_the_first_question(shared: Members) -> None:
    """`kubectl get` answers whether it is available, and why not."""
    database = shared.database
    line = database.cluster.kubectl("get", "faunacluster", database.name, "-n", database.namespace)
    header, row = line.splitlines()[:2]
    assert ["PHASE", "DESIRED", "READY", "VOTERS", "LEADER", "AVAILABLE", "WHY"] == header.split()[
        1:8
    ]
    assert ["Running", "3", "3", "3"] == row.split()[1:5]
    assert ["True", "AllMembersReady"] == row.split()[6:8]
