"""A majority is lost for ever, under load: one survivor, a new incarnation, three members again."""

import contextlib
import itertools
import threading
import time
from typing import Self

import pytest

from e2e.restores import HANG_SECONDS, Restores
from e2e.sessions import ClientSession, NotApplied, Unknown
from e2e.shapes import QUICK, Shape, under_load
from kind_test_helpers import product
from kind_test_helpers.api import Json
from kind_test_helpers.commands import await_that
from kind_test_helpers.product import Database

pytestmark = [pytest.mark.e2e, pytest.mark.new]

AUTO = {"survivingMember": {"auto": True}}
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
WRITERS = 6
_MAKE = """
if (Collection.byName("Kept") == null) {
  Collection.create({ name: "Kept", indexes: { byNumber: { values: [{ field: "number" }] } } })
}
"""
_WRITE = "Kept.create({ number: ${number} }).number"
_RANGE = "Kept.byNumber({ from: ${first}, to: ${last} }).map(.number).toArray()"
CHUNK = 500


class Writers:
    """Clients that write numbers, and the transaction time of each that was acknowledged."""

    def __init__(self, endpoint: str, secret: str) -> None:
        self._endpoint, self._secret = endpoint, secret
        self.acknowledged: dict[int, int] = {}
        self._numbers = itertools.count(1)
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        with contextlib.closing(ClientSession([self._endpoint] * 2, self._secret)) as session:
            session.run(_MAKE)
        for _ in range(WRITERS):
            self._threads.append(threading.Thread(target=self._write, daemon=True))
            self._threads[-1].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(HANG_SECONDS)

    def _write(self) -> None:
        with contextlib.closing(ClientSession([self._endpoint] * 2, self._secret)) as session:
            while not self._stopped.is_set():
                number = next(self._numbers)
                try:
                    _, ts = session.run(_WRITE, number=number)
                except (NotApplied, Unknown):
                    continue
                self.acknowledged[number] = ts


def kept(endpoint: str, secret: str, last: int) -> set[int]:
    """The numbers up to `last` that are there."""
    found: set[int] = set()
    with contextlib.closing(ClientSession([endpoint] * 2, secret)) as session:
        for first in range(1, last + 1, CHUNK):
            until = time.monotonic() + HANG_SECONDS
            while True:
                try:
                    numbers, _ = session.run(_RANGE, first=first, last=first + CHUNK - 1)
                except (NotApplied, Unknown):
                    assert time.monotonic() < until
                    continue
                found.update(numbers)
                break
    return found


def assert_prefix(acknowledged: dict[int, int], there: set[int]) -> int:
    """What was acknowledged is there up to some transaction, and nothing of it after that."""
    lost = [ts for number, ts in acknowledged.items() if number not in there]
    held = [ts for number, ts in acknowledged.items() if number in there]
    assert held
    assert not lost or max(held) < min(lost)
    return len(lost)


def taint(database: Database, node: str, *, away: bool = False) -> None:
    minus = "-" if away else ""
    value = "" if away else "=nodeshutdown"
    database.cluster.kubectl("taint", "node", node, f"{OUT_OF_SERVICE}{value}:NoExecute{minus}")


def bare(pod: Json) -> Json:
    """A pod as somebody would create it again."""
    metadata = {key: pod["metadata"][key] for key in ("name", "labels", "annotations")}
    spec = {key: value for key, value in pod["spec"].items() if key != "nodeName"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def test_two_of_three_are_lost(installed: Database) -> None:
    """One volume is destroyed, one node is off: the third goes on, and three grow from it."""
    cluster, space = installed.cluster, installed.namespace
    installed.create(product.manifest(cluster, updateStrategy=QUICK))
    installed.await_ready()
    shape, restores = Shape(installed), Restores(installed)
    endpoint, secret = installed.endpoint(), installed.secret()
    nodes = {pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in installed.pods()}
    outside = cluster_door(installed)
    leader = shape.status()["leader"]
    off = next(name for name in sorted(nodes) if name != leader and nodes[name] != outside)
    [survivor] = nodes.keys() - {leader, off}
    former = next(pod for pod in installed.pods() if pod["metadata"]["name"] == off)

    with contextlib.ExitStack() as lasting, Writers(endpoint, secret) as writers:
        await_that("writes", lambda: len(writers.acknowledged) > 500, seconds_max=HANG_SECONDS)
        lasting.enter_context(cluster.faults.powered_off(nodes[off]))
        cluster.faults.destroy_volume(space, f"data-{leader}")
        where = ("-n", space, f"pvc/data-{leader}")
        cluster.kubectl("delete", *where, "--wait=false")
        cluster.faults.delete(space, leader, force=True)
        began = time.monotonic()
        restores.ask("again", AUTO)
        waiting = restores.await_message("again", f"members [{off.rpartition('-')[2]}] have")
        assert "Accepted" == waiting["phase"]
        assert 1 == shape.status()["incarnation"]
        old = dict(writers.acknowledged)

        taint(installed, nodes[off])
        told = restores.await_phase("again", "Completed", "Failed")
        assert "Completed" == told["phase"], told
        print(f"\n{time.monotonic() - began:.0f} s from the request to three voters; {told}")
        assert (survivor, 2) == (told["survivor"], told["newIncarnation"])
        before = len(writers.acknowledged)
        await_that(
            "writes again", lambda: len(writers.acknowledged) > before, seconds_max=HANG_SECONDS
        )
    lasting.close()
    taint(installed, nodes[off], away=True)

    shape.await_settled(3)
    assert survivor in shape.voters()
    aside = {claim["metadata"]["name"] for claim in shape.claims(quarantined=True)}
    assert f"data-{off}" in aside
    there = kept(endpoint, secret, max(writers.acknowledged))
    lost = assert_prefix(old, there)
    assert writers.acknowledged.keys() - old.keys() <= there
    print(f"{lost} of {len(writers.acknowledged)} acknowledged writes are lost")

    with under_load(installed, "former") as workload:
        with workload.fault(f"{off} comes back"):
            cluster.api.create(f"/api/v1/namespaces/{space}/pods", bare(former))
        workload.run_until(writes=200)
        await_that(
            f"{off} to be gone",
            lambda: off not in [pod["metadata"]["name"] for pod in installed.pods()],
            seconds_max=HANG_SECONDS,
        )
        workload.run_until(writes=200)
    assert 2 == shape.status()["incarnation"]
    shape.await_settled(3)


def cluster_door(database: Database) -> str:
    """The node through which clients of this test come."""
    for node in database.cluster.api.items("/api/v1/nodes"):
        addresses = [each["address"] for each in node["status"]["addresses"]]
        if database.cluster.node_address in addresses:
            return str(node["metadata"]["name"])
    return ""


def test_a_living_majority_is_never_given_up(installed: Database) -> None:
    """While a leader answers, a recovery is refused and nobody is stopped; so is a wrong uid."""
    installed.create(product.manifest(installed.cluster, updateStrategy=QUICK))
    installed.await_ready()
    restores, shape = Restores(installed), Shape(installed)
    before = {pod["metadata"]["uid"] for pod in installed.pods()}

    restores.ask("again", AUTO)
    told = restores.await_phase("again", "Completed", "Failed")
    assert "Failed" == told["phase"]
    assert "leads a majority" in told["message"]

    restores.ask("other", AUTO, confirm={"clusterUID": "somebody", "acceptDataLoss": True})
    told = restores.await_phase("other", "Completed", "Failed")
    assert ("Failed", True) == (told["phase"], "clusterUID" in told["message"])
    assert before == {pod["metadata"]["uid"] for pod in installed.pods()}
    assert 1 == shape.status()["incarnation"]
