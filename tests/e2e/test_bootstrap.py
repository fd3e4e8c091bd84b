"""A FaunaCluster is formed once, whatever happens to the operator meanwhile."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from fauna import fql
from fauna.client import Client
from fauna.http.httpx_client import HTTPXClient

from e2e.members import Members
from kind_test_helpers import product
from kind_test_helpers.cluster import Cluster
from kind_test_helpers.commands import await_that
from kind_test_helpers.places import REPOSITORY
from kind_test_helpers.product import Database, condition

pytestmark = pytest.mark.e2e

HANG_SECONDS = 300.0
LIVES_MAX = 200
LIFE_SECONDS_MAX = 10.0  # one that waits for a pod says nothing; it dies too


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

    status, pods, secret = installed.status(), installed.pods(), installed.secret()
    assert [3, 3, 3] == [status["voters"], status["readyReplicas"], len(pods)]
    assert [True, "Running"] == [status["bootstrapped"], status["phase"]]
    assert 3 == len({pod["spec"]["nodeName"] for pod in pods})
    doors = [installed.endpoint(), *installed.endpoints()]
    doors += [f"http://{pod['status']['podIP']}:{product.CLIENT_PORT}" for pod in pods]
    asked(doors[0], secret, 'Collection.create({ name: "Thing" })')
    asked(doors[0], secret, 'Thing.create({ id: "1", name: "lamp" })')
    assert ["lamp"] * len(doors) == [asked(door, secret, 'Thing.byId("1")!.name') for door in doors]


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


@pytest.mark.new
def test_operator_killed_after_every_step_of_the_bootstrap(
    kubernetes: Cluster, namespace: str
) -> None:
    """An operator that dies after each thing it does forms one cluster of three, once."""
    kubernetes.kubectl("apply", "--server-side", "-f", str(REPOSITORY / "crds"))
    kubernetes.kubectl("wait", "--for=condition=Established", "crd/faunaclusters.fauna.dev")
    database = Database(kubernetes, namespace)
    database.create(product.manifest(kubernetes))
    ids, lives = set[str](), 0
    while condition(database.status(), "Ready") != "True":
        lives += 1
        assert lives < LIVES_MAX
        with operator_process(kubernetes, namespace) as lines:
            ids |= {database.status()["clusterID"] for _ in live_two_steps(lines, database)}
    print(f"\n{lives} lives of the operator")
    assert 1 == len(ids)
    assert 3 == database.status()["voters"]
    assert 1 <= database.status().get("initAttempts", 1)


def live_two_steps(lines: Iterator[str], database: Database) -> Iterator[None]:
    """Follow an operator until it begins its second action, so that the first one is done.

    Yields after each line at which the resource has a cluster id.
    """
    actions = 0
    for line in lines:
        actions += f"{database.namespace}/{database.name}: " in line
        if "clusterID" in database.status():
            yield
        if actions == 2 or condition(database.status(), "Ready") == "True":
            return


@contextmanager
def operator_process(cluster: Cluster, namespace: str) -> Iterator[Iterator[str]]:
    """Run the operator beside the cluster, and end it with kill -9; gives what it logs."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "fauna_operator", "run", f"--namespace={namespace}"),
            *(f"--kubeconfig={cluster.kubeconfig}", f"--lease-namespace={namespace}"),
            *("--health-port=0", "--log-format=json"),
        ],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "POD_NAME": "killed-often"},  # the Lease is its own again at once
    )
    assert process.stderr is not None
    death = threading.Timer(LIFE_SECONDS_MAX, process.kill)
    death.start()
    try:
        with process.stderr:
            yield iter(process.stderr)
    finally:
        death.cancel()
        process.kill()
        process.wait()
