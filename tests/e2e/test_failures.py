"""Members, nodes and networks fail under a load of two kinds of clients: what do the clients see?

Each test prints the seconds until a write was acknowledged again, and its history is judged.
"""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from e2e.members import Members
from e2e.workload import Workload
from kind_test_helpers.bad_disk import compile_shim, failing, slow
from kind_test_helpers.faults import Faults
from kind_test_helpers.places import run_folder

pytestmark = pytest.mark.e2e

KILLS = 10
OUTAGE_SECONDS = 60.0
SLOW_SYNC_SECONDS = 1.0


@contextlib.contextmanager
def judged(members: Members, name: str) -> Iterator[Workload]:
    """Clients write and read all the time; afterwards every answer fits one order."""
    # so many that one of them has a write under way whenever a fault comes
    workload = Workload(members.endpoints, members.secret, clients=12)
    try:
        with workload:
            workload.run_until(writes=100)
            yield workload
            members.await_whole()
            workload.run_until(writes=max(100, 1000 - workload.acknowledged()))
        workload.assert_linearizable()
    except BaseException:
        workload.save(run_folder() / "failures" / f"{name}.history.jsonl")
        raise
    finally:
        print(f"\n{workload.report()}")


def test_leader_killed_again_and_again(members: Members) -> None:
    """The leader dies ten times, by kill -9 and by forced deletion, and no write is lost."""
    space, faults = members.database.namespace, members.database.cluster.faults
    pauses = []
    with judged(members, "leader-killed") as workload:
        for turn in range(KILLS):
            leader = members.leader()
            forced = bool(turn % 2)
            way = "forced deletion" if forced else "kill -9"
            with workload.fault(f"{way} of {leader}") as fault:
                if forced:
                    faults.delete(space, leader, force=True)
                else:
                    faults.kill(space, leader)
            workload.await_recovery(fault)
            workload.run_until(writes=50)
            members.await_whole()
            pauses.append(round(workload.silence_s(fault), 2))
            assert leader != members.leader()
    print(f"seconds to the next write: median {statistics.median(pauses):.2f}, all {pauses}")


def test_each_pod_deleted_in_turn(members: Members) -> None:
    """Every pod is deleted once and comes back on its volume, while clients go on."""
    before = members.uids()
    with judged(members, "each-in-turn") as workload:
        for pod in [each["metadata"]["name"] for each in members.database.pods()]:
            with workload.fault(f"deletion of {pod}") as fault:
                members.database.cluster.faults.delete(members.database.namespace, pod)
            workload.await_recovery(fault)
            members.await_whole()
    _assert_same_volumes_other_pods(before, members.uids())


def test_all_pods_deleted_at_once(members: Members) -> None:
    """All pods are gone at once and come back together with everything acknowledged."""
    before = members.uids()
    with judged(members, "all-at-once") as workload:
        workload.run_until(writes=300)
        with workload.fault("forced deletion of all pods") as fault:
            for pod in members.database.pods():
                members.database.cluster.faults.delete(
                    members.database.namespace, pod["metadata"]["name"], force=True
                )
        workload.await_recovery(fault)
    _assert_same_volumes_other_pods(before, members.uids())


LASTING: dict[str, Callable[[Faults, str], AbstractContextManager[None]]] = {
    "frozen": Faults.frozen,
    "cut off": Faults.cut_off,
    "mute": Faults.mute,
    "deaf": Faults.deaf,
}


@pytest.mark.parametrize("way", LASTING)
def test_node_of_the_leader(members: Members, way: str) -> None:
    """The leader's node fails without ending; the others go on, and it comes back whole."""
    before, restarts = members.uids(), members.restarts()
    with judged(members, f"node-{way}") as workload:
        node = members.node(members.leader())
        with contextlib.ExitStack() as lasting:
            with workload.fault(f"{node} {way}") as fault:
                lasting.enter_context(LASTING[way](members.database.cluster.faults, node))
            workload.await_recovery(fault)
            workload.run_until(writes=100)
    print(f"restarts before and after: {restarts} {members.restarts()}")
    assert before == members.uids()


def test_api_server_stopped(members: Members) -> None:
    """A minute without an API server replaces nothing, and writes go on."""
    before, restarts = members.uids(), members.restarts()
    with judged(members, "api-server") as workload, contextlib.ExitStack() as lasting:
        with workload.fault("API server stopped"):
            faults = members.database.cluster.faults
            lasting.enter_context(faults.without_control("apiserver"))
        until = time.monotonic() + OUTAGE_SECONDS
        while time.monotonic() < until:
            workload.run_until(writes=50)
    assert before == members.uids()
    assert restarts == members.restarts()


@pytest.mark.new
def test_disk_of_the_leader(members: Members, tmp_path: Path) -> None:
    """The leader's log is on a slow disk, then on one that fails; the others go on both times."""
    space, faults = members.database.namespace, members.database.cluster.faults
    library = compile_shim(tmp_path)
    with contextlib.ExitStack() as shims:
        for pod in members.database.pods():
            shims.enter_context(faults.shimmed(space, pod["metadata"]["name"], library))
            members.await_whole()
        with judged(members, "disk") as workload:
            for order in (slow(SLOW_SYNC_SECONDS, "/wal/"), failing("sync", "/wal/")):
                leader = members.leader()
                with contextlib.ExitStack() as lasting:
                    with workload.fault(f"{leader}: {order}") as fault:
                        hurt = faults.bad_disk(space, f"data-{leader}", order)
                        lasting.enter_context(hurt)
                    workload.await_recovery(fault)
                    workload.run_until(writes=100)
                members.await_whole()


def _assert_same_volumes_other_pods(before: dict[str, str], after: dict[str, str]) -> None:
    assert before.keys() == after.keys()
    kept = {name for name in before if before[name] == after[name]}
    assert {name for name in before if name.startswith("data-")} == kept
