"""Backups come back: tried, refused, in place, and into a new cluster after all was deleted."""

import time
from collections.abc import Iterator

import pytest

from e2e.backups import BUCKET, Backed, backed, fill
from e2e.restores import EVERY_SECONDS, HANG_SECONDS, Restores
from fauna_client import Client
from kind_test_helpers import product
from kind_test_helpers.api import Json, Refused
from kind_test_helpers.cluster import Cluster
from kind_test_helpers.commands import await_that
from kind_test_helpers.product import Database, exists

pytestmark = [pytest.mark.e2e, pytest.mark.new]

SPACE = "restores"
MEGABYTES = 30
COUNT = "Load.all().count()"


@pytest.fixture(scope="module")
def here(kubernetes: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backed]:
    """Three members with documents, an operator, and a store; for all tests of this file."""
    kubernetes.make_namespace(SPACE)
    with backed(kubernetes, SPACE, tmp_path_factory.mktemp("s3")) as found:
        fill(found.database, MEGABYTES)
        found.backup("first", deletionPolicy="Retain")
        assert "Completed" == found.await_phase("first", "Completed", "Failed")["phase"]
        yield found
        kubernetes.kubectl("delete", "namespace", SPACE, "--wait=false")


def ask(database: Database, text: str) -> object:
    with Client(endpoint=database.endpoint(), secret=database.secret(), query_timeout=60) as client:
        return client.query(text)


def claims(here: Backed) -> set[str]:
    path = f"/api/v1/namespaces/{SPACE}/persistentvolumeclaims"
    return {claim["metadata"]["uid"] for claim in here.cluster.api.items(path)}


def test_a_dry_run_says_what_would_be_lost(here: Backed) -> None:
    """It reads the backup, counts what came after it, and changes nothing."""
    ask(here.database, 'Collection.create({name: "Later"})')
    ask(here.database, "Set.sequence(0, 50).forEach(n => Later.create({n: n}))")
    restores, pods = Restores(here.database), here.database.pods()
    index = here.status("first")["snapshotIndex"]

    restores.ask("try", {"backupName": "first"}, dryRun=True)
    told = restores.await_phase("try", "Completed", "Failed")

    assert ("Completed", index) == (told["phase"], told["restoredIndex"]), told
    print(f"\n{told['message']}")
    assert [p["metadata"]["uid"] for p in pods] == [
        p["metadata"]["uid"] for p in here.database.pods()
    ]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"confirm": {}}, "in place needs confirm.clusterUID"),
        ({"source": {}}, "source names exactly one"),
        ({"target": {}}, "target names exactly one"),
        (
            {"target": {"newCluster": {"name": "x", "spec": {}}}},
            "survivingMember is for inPlace only",
        ),
    ],
)
def test_a_request_that_says_too_little_is_refused(here: Backed, spec: Json, words: str) -> None:
    """The API server refuses what names no source, no target, or was not confirmed."""
    with pytest.raises(Refused, match=words):
        here.cluster.api.create(
            Restores(here.database).path,
            {
                "apiVersion": "fauna.dev/v1alpha1",
                "kind": "FaunaRestore",
                "metadata": {"name": "refused"},
                "spec": {
                    "source": {"survivingMember": {"auto": True}},
                    "target": {"inPlace": {"clusterName": "orders"}},
                    "confirm": {"clusterUID": "a", "acceptDataLoss": True},
                    **spec,
                },
            },
        )


def test_in_place(here: Backed) -> None:
    """The cluster keeps its id, has what the backup had, and no volume is gone."""
    database, restores = here.database, Restores(here.database)
    before, volumes = database.status(), claims(here)
    saved, began = here.status("first"), time.monotonic()

    restores.ask("back", {"backupName": "first"})
    told = restores.await_phase("back", "Completed", "Failed")

    assert "Completed" == told["phase"], told
    print(f"\n{time.monotonic() - began:.0f} s for {MEGABYTES} MB in place; {told}")
    assert saved["stateHash"] == told["stateHash"]
    assert "Completed" == here.status("back-safety")["phase"]
    database.await_ready()
    after = database.status()
    assert before["clusterID"] == after["clusterID"]
    assert before["incarnation"] + 1 == after["incarnation"] == told["newIncarnation"]
    assert volumes <= claims(here)
    assert saved["documentCount"] >= ask(database, COUNT) > 0  # type: ignore[operator]
    assert ask(database, 'Collection.byName("Later") == null')
    ask(database, 'Load.create({text: "and it writes"})')


def test_a_new_cluster_from_nothing_but_the_store(here: Backed) -> None:
    """Everything in Kubernetes is deleted; the documents come back under another cluster id."""
    database, restores = here.database, Restores(here.database)
    saved = here.status("first")
    delete = ("delete", "-n", SPACE, "--wait=false")
    here.cluster.kubectl(*delete, "faunabackup,faunarestore,faunacluster", "--all")
    await_that(
        "the cluster to be gone",
        lambda: not exists(here.cluster, database.path) and not database.pods(),
        seconds_max=HANG_SECONDS,
        every=EVERY_SECONDS,
    )
    here.cluster.kubectl(*delete, "pvc", "--all")
    here.cluster.kubectl(*delete, "configmap/orders-identity", "secret/orders-root")
    await_that("volumes to be gone", lambda: not claims(here), seconds_max=HANG_SECONDS)
    storage = {
        "bucket": BUCKET,
        "endpoint": here.server.endpoint,
        "forcePathStyle": True,
        "credentials": {"secretName": "s3"},
    }
    source = {
        "storage": {"s3": storage},
        "clusterID": saved["clusterID"],
        "backupID": saved["backupID"],
    }
    spec = product.manifest(here.cluster)["spec"]
    began = time.monotonic()

    restores.ask("again", {"external": source}, {"newCluster": {"name": "orders", "spec": spec}})
    told = restores.await_phase("again", "Completed", "Failed")

    assert "Completed" == told["phase"], told
    print(f"\n{time.monotonic() - began:.0f} s into a new cluster; {told}")
    assert saved["stateHash"] == told["stateHash"]
    status = database.status()
    assert saved["clusterID"] != status["clusterID"] == told["newClusterID"]
    assert "initAttempts" not in status
    count = ask(database, COUNT)
    assert saved["documentCount"] >= count > 0  # type: ignore[operator]
    ask(database, 'Load.create({text: "and it writes"})')
