"""A FaunaCluster is formed once, whatever happens to the operator meanwhile."""

import signal
from pathlib import Path

import httpx
import pytest
from fauna import fql
from fauna.client import Client
from fauna.http.httpx_client import HTTPXClient

from e2e.killer import Killer
from e2e.members import Members
from kind_test_helpers import product
from kind_test_helpers.cluster import Cluster
from kind_test_helpers.commands import await_that
from kind_test_helpers.gate import Gate
from kind_test_helpers.places import REPOSITORY
from kind_test_helpers.product import Database, condition

pytestmark = pytest.mark.e2e

HANG_SECONDS = 300.0


def asked(endpoint: str, secret: str, question: str) -> object:
    """Ask through the official driver."""
    with httpx.Client(timeout=30, trust_env=False) as http:
        client = Client(endpoint=endpoint, secret=secret, http_client=HTTPXClient(http))
        answer: object = client.query(fql(question)).data
        return answer


def test_from_nothing_to_ready(installed: Database) -> None:
    """Three members vote on three nodes, and the official driver is answered at every door."""
    installed.create(product.manifest(installed.cluster))

    print(f"\n{installed.await_ready():.1f} s from apply to Ready")

    status, pods = installed.status(), installed.pods()
    assert [3, 3, 3] == [status["voters"], status["readyReplicas"], len(pods)]
    assert [True, "Running"] == [status["bootstrapped"], status["phase"]]
    assert 3 == len({pod["spec"]["nodeName"] for pod in pods})
    assert_answers_at_every_door(installed)


def test_wiped_status_is_rebuilt(members: Members) -> None:
    """A status that was lost is rebuilt with the same cluster id, and nothing is made again."""
    database = members.database
    before, uids, restarts = database.status(), members.uids(), members.restarts()

    database.cluster.kubectl(
        *("patch", "faunacluster", database.name, "-n", database.namespace),
        *("--subresource=status", "--type=json", "-p", '[{"op": "remove", "path": "/status"}]'),
    )

    def rebuilt() -> bool:
        status = database.status()
        return "clusterID" in status and condition(status, "Ready") == "True"

    await_that("a rebuilt status", rebuilt, seconds_max=HANG_SECONDS)
    members.await_whole()
    after = database.status()
    kept = ("clusterID", "incarnation", "bootstrapped", "nextMemberSerial", "voters")
    assert [before[name] for name in kept] == [after[name] for name in kept]
    assert (uids, restarts) == (members.uids(), members.restarts())


def test_operator_killed_after_every_write_of_the_bootstrap(
    kubernetes: Cluster, namespace: str, tmp_path: Path
) -> None:
    """An operator that dies right after each write that it makes forms one cluster, once."""
    kubernetes.kubectl("apply", "--server-side", "-f", str(REPOSITORY / "crds"))
    kubernetes.kubectl("wait", "--for=condition=Established", "crd/faunaclusters.fauna.dev")
    database = Database(kubernetes, namespace)
    database.create(product.manifest(kubernetes))
    killer, kubeconfig = Killer(), tmp_path / "kubeconfig"

    def over() -> bool:
        return killer.killed() or condition(database.status(), "Ready") == "True"

    with Gate(kubernetes.api, killer.told).open(kubeconfig):
        while condition(database.status(), "Ready") != "True":
            with killer.operator(kubeconfig, namespace):
                await_that("its end", over, seconds_max=HANG_SECONDS)
    print(f"\n{killer.report()}")
    status, made = database.status(), killer.made()
    assert {status["clusterID"]} == killer.cluster_ids()
    assert [3, 4] == [status["voters"], status["nextMemberSerial"]]
    assert status["initAttempts"] > 1  # it died between announcing and forming
    assert sorted(set(made)) == sorted(made)
    assert [] == [write for write in killer.writes if write.method == "DELETE"]
    assert killer.deaths > len(made) > 0
    assert [-signal.SIGKILL] * len(killer.ends) == killer.ends
    assert_answers_at_every_door(database)


def assert_answers_at_every_door(database: Database) -> None:
    """The official driver is answered at each Service and each pod."""
    pods, secret = database.pods(), database.secret()
    doors = [database.endpoint(), *database.endpoints()]
    doors += [f"http://{pod['status']['podIP']}:{product.CLIENT_PORT}" for pod in pods]
    asked(doors[0], secret, 'Collection.create({ name: "Thing" })')
    asked(doors[0], secret, 'Thing.create({ id: "1", name: "lamp" })')
    assert ["lamp"] * len(doors) == [asked(door, secret, 'Thing.byId("1")!.name') for door in doors]
