"""Three members lose their leader in every way a process can be lost, and lose no write."""

import signal
import time

import pytest

from faunadb_sim.history import Operation
from faunadb_sim.linearizable import check
from process.cluster import Cluster, wait_until
from process.load import load

pytestmark = pytest.mark.process
KILLS_COUNT = 5
WRITES_MIN = 1000  # a run with fewer proves nothing
STOP_S_MAX = 10.0  # what SIGTERM may take


def test_formation(three: Cluster) -> None:
    """One founded member and two added ones are three voters of one configuration."""
    status = three.leader().status()

    assert ["voters", 3] == ["voters", len(status["configuration"]["voters"])]
    assert [True, False] == [status["open"], status["configuration"]["pending"]]
    assert {m["nonce"] for m in status["configuration"]["voters"]} == {
        member.status()["nonce"] for member in three.members
    }


def test_leader_killed_again_and_again_under_load(three: Cluster) -> None:
    """kill -9 of the leader, five times under load: every answer fits one order."""
    gaps_s = []
    with load(three) as running:
        running.wait_for_writes(WRITES_MIN // KILLS_COUNT)
        for _ in range(KILLS_COUNT):
            leader, began_ns = three.leader(), time.monotonic_ns()
            leader.kill()
            running.wait_for_writes(WRITES_MIN // KILLS_COUNT)
            gaps_s.append(running.longest_gap_s(began_ns))
            leader.start()
            three.wait_until_all_agree()

    print("seconds without a write after kill -9:", [round(gap, 2) for gap in gaps_s])
    _judge(running.history)


def test_all_killed_at_once(three: Cluster) -> None:
    """kill -9 of all three under load: they come back with every acknowledged write."""
    with load(three) as running:
        running.wait_for_writes(WRITES_MIN)
        for member in three.members:
            member.signal(signal.SIGKILL)
        for member in three.members:
            member.kill()
            member.start()
        running.wait_for_writes(WRITES_MIN // 10)
    three.wait_until_all_agree()

    _judge(running.history)


def test_leader_stopped_and_continued(three: Cluster) -> None:
    """A leader that hangs is replaced; when it goes on it serves nothing stale."""
    with load(three) as running:
        running.wait_for_writes(WRITES_MIN // 2)
        leader = three.leader()
        term = leader.status()["term"]
        leader.signal(signal.SIGSTOP)
        others = [member for member in three.members if member is not leader]
        wait_until(lambda: any(member.leads() for member in others), "another one leads")
        running.wait_for_writes(WRITES_MIN // 4)
        leader.signal(signal.SIGCONT)
        wait_until(
            lambda: leader.status().get("term", 0) > term and not leader.leads(), "it follows"
        )
        running.wait_for_writes(WRITES_MIN // 4)
    three.wait_until_all_agree()

    _judge(running.history)


def test_sigterm_of_the_leader(three: Cluster) -> None:
    """SIGTERM transfers leadership, says that all is synced, and exits 0 within 10 s."""
    leader = three.leader()
    others = [member for member in three.members if member is not leader]
    elected = f"role=leader term={leader.status()['term'] + 1} "
    with load(three) as running:
        running.wait_for_writes(WRITES_MIN // 4)
        began_s = time.monotonic()
        leader.signal(signal.SIGTERM)
        code = leader.exit_code(STOP_S_MAX)
        took_s = time.monotonic() - began_s
        running.wait_for_writes(WRITES_MIN)
    clean = [path.name for path in leader.data_dir.glob("state-*/CLEAN")]
    heirs = [member for member in others if elected in member.log.read_text()]
    leader.start()
    three.wait_until_all_agree()

    print(f"SIGTERM: {took_s:.2f} s")
    assert (0, ["CLEAN"]) == (code, clean)
    assert 1 == len(heirs), "the first election after the signal was the transfer's, and was won"
    assert [] == list(leader.data_dir.glob("state-*/CLEAN")), "a running member is not clean"
    _judge(running.history)


def _judge(history: list[Operation]) -> None:
    assert len([o for o in history if o.outcome == "ok" and o.kind != "read"]) >= WRITES_MIN
    assert check(history) is None
