"""Backups come back: in place, to a moment, and into a new cluster after all was deleted."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from e2e.backups import BUCKET, Backed, backed, fill
from e2e.restores import EVERY_SECONDS, HANG_SECONDS, Restores
from fauna_client import Client, fql
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
        yield found
        kubernetes.kubectl("delete", "namespace", SPACE, "--wait=false")


@pytest.fixture(scope="module")
def first(here: Backed) -> str:
    """The name of a backup of these documents."""
    return saved(here, "first")


def ask(database: Database, text: str) -> object:
    with Client(endpoint=database.endpoint(), secret=database.secret(), query_timeout=60) as client:
        return client.query(text)


def claims(here: Backed) -> set[str]:
    path = f"/api/v1/namespaces/{SPACE}/persistentvolumeclaims"
    return {claim["metadata"]["uid"] for claim in here.cluster.api.items(path)}


def test_a_dry_run_says_what_would_be_lost(here: Backed, first: str) -> None:
    """It reads the backup, counts what came after it, and changes nothing."""
    ask(here.database, 'if (Collection.byName("Later") == null) Collection.create({name: "Later"})')
    ask(here.database, "Set.sequence(0, 50).forEach(n => Later.create({n: n}))")
    restores, pods = Restores(here.database), here.database.pods()
    index = here.status(first)["snapshotIndex"]

    name = here.fresh("try")
    restores.ask(name, {"backupName": first}, dryRun=True)
    told = restores.await_phase(name, "Completed", "Failed")

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


def test_back_to_a_moment(here: Backed) -> None:
    """Backup and archive together bring back what was at that time, and nothing later."""
    database, restores = here.database, Restores(here.database)
    before = database.status()["incarnation"]
    here.archive(enabled=True)
    base = saved(here, "base")
    with lags(here) as seen:
        fill(database, MEGABYTES)
    ask(database, 'Collection.byName("Mark")?.delete()')
    ask(database, 'Collection.create({name: "Mark"})')
    moment = written(database, 'Mark.create({id: "1"}).id')
    same, name = saved(here, "same"), here.fresh("then")
    mistake = written(database, 'Mark.byId("1")!.delete()')
    await_that(
        "the mistake to be archived",
        lambda: here.archived().get("archived_ts", 0) >= mistake,
        seconds_max=HANG_SECONDS,
        every=EVERY_SECONDS,
    )
    began = time.monotonic()

    restores.ask(name, {"backupName": base, "targetTime": say_time(moment)})
    told = restores.await_phase(name, "Completed", "Failed")

    assert "Completed" == told["phase"], told
    print(f"\n{time.monotonic() - began:.0f} s to a moment; the archive {max(seen):.1f} s behind")
    assert here.status(same)["stateHash"] == told["stateHash"]
    assert here.status(base)["snapshotIndex"] < told["restoredIndex"]
    database.await_ready()
    assert 1 == ask(database, "Mark.all().count()")
    written(database, 'Mark.create({id: "2"}).id')
    await_that(
        "the archive of the new incarnation",
        lambda: here.segments(before + 1),
        seconds_max=HANG_SECONDS,
        every=EVERY_SECONDS,
    )
    assert [] == here.archived()["gaps"]
    here.archive(enabled=False)


def saved(here: Backed, stem: str) -> str:
    """Make a backup that stays; return its name."""
    name = here.fresh(stem)
    here.backup(name, deletionPolicy="Retain")
    assert "Completed" == here.await_phase(name, "Completed", "Failed")["phase"]
    return name


@contextmanager
def lags(here: Backed) -> Iterator[list[float]]:
    """Ask the archive all the time how many seconds it is behind."""
    found, stopped = [0.0], threading.Event()

    def look() -> None:
        while not stopped.wait(EVERY_SECONDS):
            found.append(here.archived().get("lag_s", 0.0))

    with ThreadPoolExecutor(1) as beside:
        looking = beside.submit(look)
        try:
            yield found
        finally:
            stopped.set()
        looking.result()


def written(database: Database, text: str) -> int:
    """Ask, and return the time of the transaction in microseconds since 1970."""
    with Client(endpoint=database.endpoint(), secret=database.secret(), query_timeout=60) as client:
        return client.run(fql(text)).txn_ts


def say_time(micros: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)).isoformat()


def test_in_place(here: Backed, first: str) -> None:
    """The cluster keeps its id, has what the backup had, and no volume is gone."""
    database, restores = here.database, Restores(here.database)
    before, volumes = database.status(), claims(here)
    known, began = here.status(first), time.monotonic()

    name = here.fresh("back")
    restores.ask(name, {"backupName": first})
    told = restores.await_phase(name, "Completed", "Failed")

    assert "Completed" == told["phase"], told
    print(f"\n{time.monotonic() - began:.0f} s for {MEGABYTES} MB in place; {told}")
    assert known["stateHash"] == told["stateHash"]
    assert "Completed" == here.status(f"{name}-safety")["phase"]
    database.await_ready()
    after = database.status()
    assert before["clusterID"] == after["clusterID"]
    assert before["incarnation"] + 1 == after["incarnation"] == told["newIncarnation"]
    assert volumes <= claims(here)
    assert known["documentCount"] >= ask(database, COUNT) > 0  # type: ignore[operator]
    assert ask(database, 'Collection.byName("Later") == null')
    ask(database, 'Load.create({text: "and it writes"})')


def test_a_new_cluster_from_nothing_but_the_store(here: Backed, first: str) -> None:
    """Everything in Kubernetes is deleted; the documents come back under another cluster id."""
    database, restores = here.database, Restores(here.database)
    known = here.status(first)
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
        "clusterID": known["clusterID"],
        "backupID": known["backupID"],
    }
    spec = product.manifest(here.cluster)["spec"]
    began = time.monotonic()

    restores.ask("again", {"external": source}, {"newCluster": {"name": "orders", "spec": spec}})
    told = restores.await_phase("again", "Completed", "Failed")

    assert "Completed" == told["phase"], told
    print(f"\n{time.monotonic() - began:.0f} s into a new cluster; {told}")
    assert known["stateHash"] == told["stateHash"]
    status = database.status()
    assert known["clusterID"] != status["clusterID"] == told["newClusterID"]
    assert "initAttempts" not in status
    count = ask(database, COUNT)
    assert known["documentCount"] >= count > 0  # type: ignore[operator]
    ask(database, 'Load.create({text: "and it writes"})')
